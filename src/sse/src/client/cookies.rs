//! Cookies that the stream's own origin sets, kept as long as the client: load balancers use them
//! to lead a reconnect to where the connection before was.

use std::time::SystemTime;

use reqwest::header::{HeaderMap, HeaderValue, SET_COOKIE};

/// A server cannot make us keep more than this.
const MOST: usize = 50;
const LONGEST: usize = 4096;

/// Name and value pairs of one origin. Paths and domains are not looked at: there is one URL.
#[derive(Default)]
pub(super) struct Jar(Vec<(String, String)>);

impl Jar {
    /// Takes what an answer sets; `secure` says whether it came by https.
    pub(super) fn keep(&mut self, headers: &HeaderMap, secure: bool) {
        for cookie in headers.get_all(SET_COOKIE) {
            let Ok(text) = cookie.to_str() else { continue };
            if text.len() <= LONGEST {
                self.set(text, secure, SystemTime::now());
            }
        }
    }

    fn set(&mut self, text: &str, secure: bool, now: SystemTime) {
        let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
        let Some((name, value)) = pair.split_once('=') else { return };
        let (name, value) = (name.trim(), value.trim());
        let mut dead = None;
        for attribute in attributes.split(';') {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "secure" if !secure => return,
                "max-age" => dead = value.trim().parse::<i64>().ok().map(|age| age <= 0).or(dead),
                // The other one counts where both are given.
                "expires" if dead.is_none() => {
                    dead = httpdate::parse_http_date(value.trim()).ok().map(|until| until <= now);
                }
                _ => {}
            }
        }
        self.0.retain(|(kept, _)| kept != name);
        if dead != Some(true) && !name.is_empty() && self.0.len() < MOST {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The `Cookie` header, if there is anything to say.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut header = HeaderValue::from_str(&pairs.join("; ")).ok()?;
        header.set_sensitive(true);
        (!pairs.is_empty()).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_dropped() {
        let mut jar = Jar::default();
        let shown = |jar: &Jar| jar.header().map(|it| it.to_str().unwrap_or_default().to_owned());
        assert_eq!(shown(&jar), None);
        let mut set = |text: &str| {
            jar.set(text, false, SystemTime::now());
            shown(&jar).unwrap_or_default()
        };
        assert_eq!(set("a=1; Path=/; HttpOnly"), "a=1");
        assert_eq!(set("b=2; Max-Age=60"), "a=1; b=2");
        assert_eq!(set("a=3"), "b=2; a=3");
        assert_eq!(set("c=4; Secure"), "b=2; a=3");
        assert_eq!(set("no pair"), "b=2; a=3");
        assert_eq!(set("b=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), "a=3");
        assert_eq!(set("a=5; Max-Age=0"), "");
    }
}

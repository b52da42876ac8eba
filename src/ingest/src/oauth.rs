//! OAuth 2 client credentials (RFC 6749, section 4.4): a token for the source, fetched when it is
//! needed, kept until shortly before it expires, and renewed when the source refuses it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Error;

const MAX_BYTES: usize = 64 << 10;
/// A token is renewed so long before its end, or when a tenth of its life is left.
const EARLY: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a token is asked for.
#[derive(Clone, Default)]
pub struct ClientCredentials {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub scope: Option<String>,
    pub audience: Option<String>,
    /// Whether id and secret stand in the body instead of the `Authorization` header.
    pub in_body: bool,
}

impl ClientCredentials {
    /// Credentials for [`sse::ClientConfig::credentials`]. The token endpoint is reached as the
    /// source is: with its authorities, proxy and time limits, but nothing that is for it alone.
    ///
    /// # Errors
    /// `Config` for an address that cannot be asked.
    pub fn for_source(
        &self,
        source: &sse::ClientConfig,
    ) -> Result<Arc<dyn sse::Credentials>, Error> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(self.audience.as_deref().map(|audience| ("audience", audience)));
        let mut url = self.token_url.clone();
        if self.in_body {
            form.push(("client_id", &self.client_id));
            form.push(("client_secret", &self.client_secret));
        } else if let Some((scheme, rest)) = self.token_url.split_once("://") {
            // The client turns them into a header and shows no address with them.
            let (id, secret) = (escaped(&self.client_id), escaped(&self.client_secret));
            url = format!("{scheme}://{id}:{secret}@{rest}");
        }
        let form: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let mut config = sse::ClientConfig::new(url);
        config.method = "POST".into();
        config.body = Some(form.join("&").into());
        let kind = "application/x-www-form-urlencoded";
        config.headers.push(("Content-Type".into(), kind.into()));
        config.tls.ca_file.clone_from(&source.tls.ca_file);
        config.proxy.clone_from(&source.proxy);
        config.connect_timeout = source.connect_timeout;
        config.read_timeout = source.read_timeout;
        // A redirect could lead the secret elsewhere.
        config.max_redirects = 0;
        let endpoint = sse::Pages::new(config, MAX_BYTES)?;
        Ok(Arc::new(Tokens(Arc::new(Inner { endpoint, token: Mutex::new(None) }))))
    }
}

/// As in a form and in a URL's user info.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

struct Tokens(Arc<Inner>);

struct Inner {
    endpoint: sse::Pages,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: String,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    /// Seconds; some servers write them as text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Answer {
    fn life(&self) -> Duration {
        let seconds = self.expires_in.as_ref().and_then(|value| match value {
            serde_json::Value::String(text) => text.parse::<f64>().ok(),
            other => other.as_f64(),
        });
        seconds.map_or(LONGEST, |seconds| {
            Duration::try_from_secs_f64(seconds).unwrap_or_default().min(LONGEST)
        })
    }
}

impl sse::Credentials for Tokens {
    fn authorization(&self, renew: bool) -> sse::Authorization {
        let inner = self.0.clone();
        Box::pin(async move {
            let mut token = inner.token.lock().await;
            match &*token {
                Some(token) if !renew && Instant::now() < token.until => {}
                _ => *token = Some(inner.fetch().await?),
            }
            Ok(token.as_ref().map(|token| token.header.clone()).unwrap_or_default())
        })
    }
}

impl Inner {
    async fn fetch(&self) -> Result<Token, sse::Error> {
        let asked_at = Instant::now();
        let page = self.endpoint.fetch(&[]).await?;
        let answer: Answer = serde_json::from_slice(&page.body).map_err(|_| {
            sse::Error::refused(format!(
                "{}: the answer holds no access_token; check the token address",
                page.head.url
            ))
        })?;
        let life = answer.life();
        if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            let at = &page.head.url;
            return Err(sse::Error::refused(format!("{at}: the token is no bearer token")));
        }
        tracing::debug!("a token from {} for {:.0} s", page.head.url, life.as_secs_f64());
        Ok(Token {
            header: format!("Bearer {}", answer.access_token),
            until: asked_at + life - EARLY.min(life / 10),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_or_a_text() {
        for (json, seconds) in [
            (r#"{"access_token":"t","expires_in":3600}"#, 3600),
            (r#"{"access_token":"t","expires_in":"60"}"#, 60),
            (r#"{"access_token":"t","expires_in":-5}"#, 0),
            (r#"{"access_token":"t"}"#, LONGEST.as_secs()),
        ] {
            let answer: Answer = serde_json::from_str(json).unwrap();
            assert_eq!(answer.life().as_secs(), seconds, "{json}");
        }
    }

    #[test]
    fn a_secret_of_any_signs_is_carried() {
        assert_eq!(escaped("a-Z_9.~"), "a-Z_9.~");
        assert_eq!(escaped("p@ss:w/rd+é "), "p%40ss%3Aw%2Frd%2B%C3%A9%20");
    }
}

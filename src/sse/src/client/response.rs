//! How an answer is judged.

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::{Error, ErrorKind};

/// Refuses what is no readable event stream.
pub(super) fn check_content(at: &str, headers: &HeaderMap) -> Result<(), Error> {
    let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let found = value(CONTENT_TYPE).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/event-stream") {
        let message = format!(
            "{at}: the content type is {:?} instead of text/event-stream; correct the url",
            found.chars().take(80).collect::<String>()
        );
        return Err(Error::new(ErrorKind::Rejected, message));
    }
    match value(CONTENT_ENCODING) {
        Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => {
            let message = format!(
                "{at}: the stream is compressed as {encoding:.20?}, which was not asked for; turn \
                 off compression for it in the server or proxy, or allow gzip, br and zstd by \
                 compression"
            );
            Err(Error::new(ErrorKind::Rejected, message))
        }
        _ => Ok(()),
    }
}

/// What a person can do about a final status.
pub(super) fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 | 407 => "check the credentials and headers",
        404 | 405 => "check the url and the request method",
        409 | 410 | 416 => "the position is no longer held there, start from another one",
        500.. | 429 => "try again later",
        _ => "check the url and what the server's log says",
    }
}

//! The bearer token that clients may be asked for: read once, never shown, compared in constant
//! time.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

/// A shared secret. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Token(String);

/// As it comes from the command line; [`Token::checked`] checks it, because the command line's own
/// errors would quote it.
impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Token {
    /// The token, if it can stand in a header.
    ///
    /// # Errors
    /// If it is empty or holds anything but visible ASCII; `origin` names where it came from.
    pub fn checked(self, origin: &str) -> Result<Self, String> {
        if !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(self);
        }
        Err(format!("{origin} is empty or holds blanks or signs beyond ascii; choose another"))
    }

    /// The token in the first line of a file.
    ///
    /// # Errors
    /// If the file cannot be read or holds no usable token.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("token file {} cannot be read: {error}; check the path", path.display())
        })?;
        let line = text.lines().next().unwrap_or_default().trim_end().to_owned();
        Self(line).checked(&format!("the first line of token file {}", path.display()))
    }

    /// Whether the value of an `Authorization` header carries this token. How long that takes
    /// depends on the lengths, not on where the two differ.
    pub fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(7) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(*)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_admitted() {
        let token = Token::from("s3cret".to_owned()).checked("it").unwrap();
        assert!(token.is_in(b"Bearer s3cret") && token.is_in(b"bearer s3cret"));
        for wrong in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret ", "Basic s3cret"] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(*)");
    }

    #[test]
    fn an_unusable_token_is_refused_without_quoting_it() {
        for wrong in ["", "s3cret two", "s3crét"] {
            let said = Token::from(wrong.to_owned()).checked("--token").unwrap_err();
            assert!(said.contains("--token") && !said.contains("s3cr"), "{said}");
        }
    }
}

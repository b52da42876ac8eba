//! Who may see what: bearer tokens with a role, read once, never shown, compared in constant time.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

/// What a client may see. An operator sees what a viewer sees, and what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Viewer,
    Operator,
}

/// The tokens of a file.
pub struct Tokens(Vec<(Role, String)>);

impl Tokens {
    /// Reads lines `ROLE:TOKEN`; empty ones and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, a line is no role with a token, or there is none at all. The
    /// message names the line, never what it says.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("token file {name} cannot be read: {error}; check the path")
        })?;
        Self::parse(&text).map_err(|problem| format!("token file {name}: {problem}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let role = line.split_once(':').and_then(|(role, token)| {
                let usable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
                match role {
                    "viewer" if usable => Some((Role::Viewer, token)),
                    "operator" if usable => Some((Role::Operator, token)),
                    _ => None,
                }
            });
            let Some((role, token)) = role else {
                let number = number + 1;
                return Err(format!(
                    "line {number} is not viewer:TOKEN or operator:TOKEN with visible ascii signs; \
                     mend it"
                ));
            };
            tokens.push((role, token.to_owned()));
        }
        if tokens.is_empty() {
            return Err(
                "it holds no token; add a line like viewer:TOKEN, or leave the option out".into()
            );
        }
        Ok(Self(tokens))
    }

    /// The role of the token in the value of an `Authorization` header. Every token is looked at,
    /// so that the time it takes tells nothing of which was near.
    pub fn role(&self, authorization: &[u8]) -> Option<Role> {
        let (scheme, given) = authorization.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let matches = |token: &str| bool::from(given.ct_eq(token.as_bytes()));
        self.0.iter().filter(|(_, token)| matches(token)).map(|(role, _)| *role).max()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(*)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_role_and_only_the_whole_one() {
        let tokens = Tokens::parse("# ours\nviewer:look\n\noperator:mend:it\n").unwrap();
        assert_eq!(tokens.role(b"Bearer look"), Some(Role::Viewer));
        assert_eq!(tokens.role(b"bearer mend:it"), Some(Role::Operator));
        for wrong in ["", "Bearer", "Bearer ", "Bearer loo", "Bearer look ", "Basic look", "look"] {
            assert_eq!(tokens.role(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(*)");
    }

    #[test]
    fn an_unusable_file_is_refused_without_quoting_it() {
        for wrong in ["", "# none", "viewer:", "boss:s3cret", "s3cret", "viewer:s3cret two"] {
            let said = Tokens::parse(wrong).unwrap_err();
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

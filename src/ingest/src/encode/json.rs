//! JSON text into `json` and `jsonb` columns: checked for what PostgreSQL refuses.

use super::{Json, Misfit};

/// Levels of nesting. PostgreSQL's limit is that of its stack (some ten thousand by default), and
/// running into that is an error of the session rather than of the data.
const MAX_DEPTH: usize = 1000;

/// Appends valid JSON text as a field of `json` (no version) or `jsonb` (version byte 1).
pub(super) fn put_json_text(
    out: &mut Vec<u8>,
    json: Json<'_>,
    version: Option<u8>,
) -> Result<(), Misfit> {
    let Json { text: json, plain } = json;
    if version.is_some() && !plain {
        check_escapes(json.as_bytes())?;
    }
    check_depth(json.as_bytes())?;
    let len = i32::try_from(json.len() + version.iter().len())
        .map_err(|_| Misfit::Range { why: "over 2 GiB" })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend(version);
    out.extend_from_slice(json.as_bytes());
    Ok(())
}

/// Whether `jsonb` can hold a valid JSON text.
pub(crate) fn is_jsonb(json: Json<'_>) -> bool {
    let bytes = json.text.as_bytes();
    (json.plain || check_escapes(bytes).is_ok()) && check_depth(bytes).is_ok()
}

/// `jsonb` refuses the character U+0000 and halves of surrogate pairs.
fn check_escapes(json: &[u8]) -> Result<(), Misfit> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\\', &json[from..]) {
        let escape = from + at;
        match escaped_unit(&json[escape..]) {
            Some(0) => return Err(Misfit::Nul),
            Some(0xd800..=0xdbff) => match escaped_unit(&json[escape + 6..]) {
                Some(0xdc00..=0xdfff) => from = escape + 12,
                _ => return Err(Misfit::Type { needed: "text without half characters" }),
            },
            Some(0xdc00..=0xdfff) => {
                return Err(Misfit::Type { needed: "text without half characters" });
            }
            // Skip the escaped character, so that an escaped backslash starts nothing.
            _ => from = escape + 2,
        }
    }
    Ok(())
}

/// The UTF-16 unit that `\uXXXX` at the beginning spells.
fn escaped_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn check_depth(json: &[u8]) -> Result<(), Misfit> {
    let too_deep = Misfit::Range { why: "nested deeper than 1000 levels" };
    // Most texts are too short or have too few brackets to be looked at.
    if json.len() <= 2 * MAX_DEPTH || memchr::memchr2_iter(b'[', b'{', json).count() <= MAX_DEPTH {
        return Ok(());
    }
    let mut depth = 0usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' if depth == MAX_DEPTH => return Err(too_deep),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                while let Some(byte) = bytes.next().filter(|byte| **byte != b'"') {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

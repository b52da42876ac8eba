//! Bytes written as text into `bytea`.

use super::{Misfit, put};

const BASE64: Misfit = Misfit::Type { needed: "a string with base64" };
const HEX: Misfit = Misfit::Type { needed: "a string with pairs of hexadecimal digits" };

/// Base64 with the usual or the URL's alphabet, with or without padding, and nothing else: no
/// white space, and no bits that belong to no byte.
pub(super) fn put_base64(out: &mut Vec<u8>, text: &str) -> Result<(), Misfit> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if digits.len() % 4 == 1 || padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return Err(BASE64);
    }
    put_decoded(out, |out| {
        for group in digits.as_bytes().chunks(4) {
            let mut bits = 0u32;
            for digit in group {
                bits = bits << 6 | sextet(*digit).ok_or(BASE64)?;
            }
            let bytes = group.len() * 6 / 8;
            let spare = group.len() * 6 % 8;
            if bits & ((1 << spare) - 1) != 0 {
                return Err(BASE64);
            }
            out.extend_from_slice(&(bits >> spare).to_be_bytes()[4 - bytes..]);
        }
        Ok(())
    })
}

fn sextet(digit: u8) -> Option<u32> {
    Some(
        match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        }
        .into(),
    )
}

/// Pairs of hexadecimal digits, after `\x` or `0x` or nothing.
pub(super) fn put_hex(out: &mut Vec<u8>, text: &str) -> Result<(), Misfit> {
    let digits = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
    if !digits.len().is_multiple_of(2) {
        return Err(HEX);
    }
    let value = |digit: u8| char::from(digit).to_digit(16).ok_or(HEX);
    put_decoded(out, |out| {
        for pair in digits.as_bytes().chunks(2) {
            out.push((value(pair[0])? << 4 | value(pair[1])?) as u8);
        }
        Ok(())
    })
}

/// Appends a field of what `decode` appends, or nothing.
fn put_decoded(
    out: &mut Vec<u8>,
    decode: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let start = out.len();
    put(out, &[])?;
    let decoded = decode(out).and_then(|()| {
        i32::try_from(out.len() - start - 4).map_err(|_| Misfit::Range { why: "over 2 GiB" })
    });
    match decoded {
        Ok(len) => out[start..start + 4].copy_from_slice(&len.to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    decoded.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(put: fn(&mut Vec<u8>, &str) -> Result<(), Misfit>, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match put(&mut out, text) {
            Ok(()) => Some(out.split_off(4)),
            Err(_) => {
                assert!(out.is_empty(), "{text}");
                None
            }
        }
    }

    #[test]
    fn bytes_are_read_in_every_usual_spelling() {
        for text in ["+/8=", "-_8", "-_8="] {
            assert_eq!(field(put_base64, text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(field(put_base64, ""), Some(vec![]));
        assert_eq!(field(put_base64, "AAAA"), Some(vec![0; 3]));
        for text in ["00fF", "0x00ff", "\\x00FF"] {
            assert_eq!(field(put_hex, text), Some(vec![0, 0xff]), "{text}");
        }
    }

    #[test]
    fn what_is_no_bytes_is_refused() {
        for text in ["A", "AA=", "AAAA=", "A===", "A=AA", "A A=", "QR==", "AB\n=", "é"] {
            assert_eq!(field(put_base64, text), None, "{text:?}");
        }
        for text in ["0", "0g", "0x0", " 00", "0é"] {
            assert_eq!(field(put_hex, text), None, "{text:?}");
        }
    }
}

//! Uuids as text to their 16 bytes.

/// A uuid in any form that is in use; `None` where the text is none.
pub(super) fn parse(text: &str) -> Option<[u8; 16]> {
    hyphenated(text.as_bytes())
        .or_else(|| uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes))
}

/// The common form, 8-4-4-4-12: eight digits at a time.
#[inline(always)]
fn hyphenated(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let word = |at: usize| -> [u8; 8] { std::array::from_fn(|place| text[at + place]) };
    // Two groups of four with the hyphen between them taken out.
    let pair = |at: usize| -> [u8; 8] {
        std::array::from_fn(|place| text[at + place + usize::from(place >= 4)])
    };
    let hyphens = [text[8], text[13], text[18], text[23]];
    let (a, a_is_hex) = eight_digits(word(0));
    let (b, b_is_hex) = eight_digits(pair(9));
    let (c, c_is_hex) = eight_digits(pair(19));
    let (d, d_is_hex) = eight_digits(word(28));
    let good = hyphens == [b'-'; 4] && a_is_hex & b_is_hex & c_is_hex & d_is_hex;
    let value =
        (u128::from(a) << 96) | (u128::from(b) << 64) | (u128::from(c) << 32) | u128::from(d);
    good.then(|| value.to_be_bytes())
}

/// The value of eight hexadecimal digits, and whether they are such. All at once: a byte of a word
/// belongs to each digit.
#[inline(always)]
fn eight_digits(digits: [u8; 8]) -> (u32, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = ONES * 0x80;
    let word = u64::from_be_bytes(digits);
    // With the top bit as a guard no byte borrows from its neighbour: it stays where a byte is at
    // least so large.
    let at_least = |word: u64, least: u8| ((word | TOP) - ONES * u64::from(least)) & TOP;
    let lower = word | (ONES * 0x20);
    let is_digit = at_least(word, b'0') & !at_least(word, b'9' + 1);
    let is_letter = at_least(lower, b'a') & !at_least(lower, b'f' + 1);
    let is_hex = (is_digit | is_letter) & !word & TOP == TOP;
    // Letters are nine behind what their low bits say.
    let nibbles = (word & (ONES * 0x0f)) + (is_letter >> 7) * 9;
    let bytes = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    ((pairs | (pairs >> 16)) as u32, is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_judged_at_every_place() {
        let good = "0193b3f0-0a1b-7c2d-8e3f-4A5B6C7D8E9F";
        assert!(super::parse(good).is_some());
        for place in 0..36 {
            for byte in 0..=0x7f {
                let mut text = good.as_bytes().to_vec();
                text[place] = byte;
                let text = std::str::from_utf8(&text).unwrap();
                let theirs = uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes);
                assert_eq!(super::hyphenated(text.as_bytes()), theirs, "{text:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_digits_but_for_their_top_bit_are_none() {
        let good = "0193b3f0-0a1b-7c2d-8e3f-4a5b6c7d8e9f";
        for place in [0, 6, 9, 14, 19, 24, 28, 34] {
            let mut text = good.to_owned();
            // U+00B3 is C2 B3, which are `B` and `3` without their top bits.
            text.replace_range(place..place + 2, "\u{b3}");
            assert_eq!(super::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_forms_are_read_as_the_crate_does(
            bytes: [u8; 16],
            form in proptest::sample::select(vec!["", "u", "s", "b", "n"]),
        ) {
            let uuid = uuid::Uuid::from_bytes(bytes);
            let text = match form {
                "u" => uuid.hyphenated().to_string().to_uppercase(),
                "s" => uuid.simple().to_string(),
                "b" => uuid.braced().to_string(),
                "n" => uuid.urn().to_string(),
                _ => uuid.to_string(),
            };
            prop_assert_eq!(super::parse(&text), Some(bytes));
        }
    }
}

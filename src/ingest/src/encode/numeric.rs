//! Decimal literals to PostgreSQL's `numeric`, exact or refused.

use super::Misfit;

/// `numeric`'s type modifier: precision and scale, or `Some(None)` for none. `None` for a negative
/// scale, which we do not convert.
pub(super) fn numeric_limits(modifier: i32) -> Option<Option<(u16, u16)>> {
    if modifier < 4 {
        return Some(None);
    }
    let packed = modifier - 4;
    let precision = u16::try_from(packed >> 16).ok()?;
    let scale = packed & 0x7ff;
    (scale < 0x400).then_some(Some((precision, u16::try_from(scale).ok()?)))
}

/// The binary form of `numeric` (`numeric_send`): base-10000 digits, the weight of the first, the
/// sign and the number of decimals shown.
pub(super) fn put_numeric(
    out: &mut Vec<u8>,
    literal: &str,
    limits: Option<(u16, u16)>,
) -> Result<(), Misfit> {
    if put_plain(out, literal.as_bytes(), limits).is_some() {
        return Ok(());
    }
    put_any(out, literal, limits)
}

/// Any literal, exponents and thousands of digits included.
fn put_any(out: &mut Vec<u8>, literal: &str, limits: Option<(u16, u16)>) -> Result<(), Misfit> {
    let number = Decimal::parse(literal)?;
    let shown = match limits {
        None => number.decimals.max(0),
        Some((precision, scale)) => {
            if number.significant_decimals() > i32::from(scale) {
                return Err(Misfit::Range { why: "more decimals than the column keeps" });
            }
            let room = i32::from(precision) - i32::from(scale);
            if !number.is_zero() && number.integer_digits() > room {
                return Err(Misfit::Range { why: "too large for the column's precision" });
            }
            i32::from(scale)
        }
    };
    if number.integer_digits() > 131_072 || shown > 16_383 {
        return Err(Misfit::Range { why: "beyond what numeric can hold" });
    }

    // Walk the digits in groups of four, aligned to the decimal point.
    let significant = number.significant();
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    // Up to 36,866 groups: the count is unsigned.
    let (mut count, mut weight) = (0u16, 0i16);
    if !significant.is_empty() {
        // Power of ten of the first digit, and of the group it falls into.
        let first = number.exponent_of_first(significant);
        let mut group = first.div_euclid(4);
        weight = group as i16;
        let mut digits = significant.iter();
        let mut power = first;
        let mut next = digits.next();
        while let Some(&digit) = next {
            let mut value = 0i16;
            let mut digit = Some(digit);
            for place in (group * 4..group * 4 + 4).rev() {
                value *= 10;
                if place == power
                    && let Some(d) = digit
                {
                    value += i16::from(d - b'0');
                    next = digits.next();
                    digit = next.copied();
                    power -= 1;
                }
            }
            out.extend_from_slice(&value.to_be_bytes());
            count += 1;
            group -= 1;
        }
    }
    let sign: u16 = if number.negative && count > 0 { 0x4000 } else { 0 };
    let len = 8 + 2 * i32::from(count);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&count.to_be_bytes());
    out[start + 6..start + 8].copy_from_slice(&weight.to_be_bytes());
    out[start + 8..start + 10].copy_from_slice(&sign.to_be_bytes());
    out[start + 10..start + 12].copy_from_slice(&(shown as i16).to_be_bytes());
    Ok(())
}

/// Plain decimals of up to 18 digits that the column holds as they are: most that there are.
/// `None` leaves a literal to the full reader.
#[inline]
fn put_plain(out: &mut Vec<u8>, literal: &[u8], limits: Option<(u16, u16)>) -> Option<()> {
    let (negative, literal) = match literal {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, literal),
    };
    if literal.len() > 19 {
        return None;
    }
    let (whole, rest) = leading_digits(literal);
    let (fraction, end) = match rest {
        [b'.', rest @ ..] => leading_digits(rest),
        _ => (0, rest),
    };
    let whole_len = literal.len() - rest.len();
    let decimals = rest.len().saturating_sub(1);
    if whole_len == 0
        || whole_len + decimals > 18
        || decimals > 16
        || !end.is_empty()
        || rest.len() == 1
    {
        return None;
    }
    let shown = match limits {
        None => decimals as u16,
        Some((precision, scale)) => {
            let room = u32::from(precision.checked_sub(scale)?);
            let fits = room > 18 || whole < POWERS[room as usize];
            (decimals <= usize::from(scale) && fits).then_some(scale)?
        }
    };

    // Groups of four digits; those of the fraction, at most four, from the fifth on.
    let mut groups = [0u16; 9];
    let put = |groups: &mut [u16], mut left: u64| {
        for group in groups.iter_mut().rev() {
            if left == 0 {
                break;
            }
            *group = (left % 10_000) as u16;
            left /= 10_000;
        }
    };
    let filled = decimals.div_ceil(4);
    put(&mut groups[..5], whole);
    put(&mut groups[5..5 + filled], fraction * POWERS[filled * 4 - decimals]);
    let first = groups.iter().position(|group| *group != 0);
    let last = groups.iter().rposition(|group| *group != 0);
    let used = first.zip(last).map_or(&[][..], |(first, last)| &groups[first..=last]);
    let weight = first.map_or(0, |first| 4 - first as i16);
    let sign: u16 = if negative && !used.is_empty() { 0x4000 } else { 0 };

    let mut field = [0u8; 32];
    let len = 8 + 2 * used.len();
    field[..4].copy_from_slice(&(len as i32).to_be_bytes());
    field[4..6].copy_from_slice(&(used.len() as u16).to_be_bytes());
    field[6..8].copy_from_slice(&weight.to_be_bytes());
    field[8..10].copy_from_slice(&sign.to_be_bytes());
    field[10..12].copy_from_slice(&shown.to_be_bytes());
    for (place, group) in field[12..].chunks_exact_mut(2).zip(used) {
        place.copy_from_slice(&group.to_be_bytes());
    }
    out.extend_from_slice(&field[..4 + len]);
    Some(())
}

const POWERS: [u64; 19] = {
    let mut powers = [1; 19];
    let mut at = 1;
    while at < 19 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The value of the digits at the beginning, of which there are fewer than 20, and what follows.
#[inline(always)]
fn leading_digits(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0u64;
    for (at, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, &text[at..]);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, &[])
}

/// A decimal literal taken apart: `digits` times ten to the power of `-decimals`.
struct Decimal {
    negative: bool,
    /// ASCII digits, leading and trailing zeros included.
    digits: Vec<u8>,
    decimals: i32,
}

impl Decimal {
    fn parse(literal: &str) -> Result<Self, Misfit> {
        let wrong = || Misfit::Type { needed: "a number" };
        let (negative, rest) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(wrong());
                }
                let exponent: i32 = exponent
                    .strip_prefix('+')
                    .unwrap_or(exponent)
                    .parse()
                    .map_err(|_| Misfit::Range { why: "beyond what numeric can hold" })?;
                if exponent.abs() > 140_000 {
                    return Err(Misfit::Range { why: "beyond what numeric can hold" });
                }
                (mantissa, exponent)
            }
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(wrong());
        }
        let mut digits = Vec::with_capacity(whole.len() + fraction.len());
        digits.extend_from_slice(whole.as_bytes());
        digits.extend_from_slice(fraction.as_bytes());
        let decimals = i32::try_from(fraction.len()).map_err(|_| wrong())? - exponent;
        Ok(Self { negative, digits, decimals })
    }

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|digit| *digit == b'0')
    }

    /// The digits without leading and trailing zeros.
    fn significant(&self) -> &[u8] {
        let first = self.digits.iter().position(|d| *d != b'0').unwrap_or(self.digits.len());
        let last = self.digits.iter().rposition(|d| *d != b'0').map_or(first, |at| at + 1);
        &self.digits[first..last]
    }

    /// Power of ten of the first significant digit.
    fn exponent_of_first(&self, significant: &[u8]) -> i32 {
        let first = self.digits.iter().position(|d| *d != b'0').unwrap_or(0);
        debug_assert!(!significant.is_empty());
        (self.digits.len() - first) as i32 - 1 - self.decimals
    }

    fn integer_digits(&self) -> i32 {
        let significant = self.significant();
        if significant.is_empty() { 0 } else { self.exponent_of_first(significant) + 1 }
    }

    fn significant_decimals(&self) -> i32 {
        let significant = self.significant();
        if significant.is_empty() {
            return 0;
        }
        significant.len() as i32 - 1 - self.exponent_of_first(significant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The two readers agree on all that the fast one takes.
        #[test]
        fn the_fast_way_writes_what_the_full_one_does(
            literal in "-?(0{0,3}[1-9][0-9]{0,20}|0{0,6}|[0-9]{1,4}0{4,9})(\\.(0{0,9}|[0-9]{0,20}|0{0,8}[1-9]{1,3}0{0,4}))?",
            limits in proptest::option::of((1u16..40, 0u16..20)),
        ) {
            let (mut fast, mut full) = (Vec::new(), Vec::new());
            let result = put_any(&mut full, &literal, limits);
            match put_plain(&mut fast, literal.as_bytes(), limits) {
                Some(()) => {
                    prop_assert_eq!(result, Ok(()));
                    prop_assert_eq!(fast, full);
                }
                None => prop_assert!(fast.is_empty()),
            }
        }

        #[test]
        fn the_fast_way_takes_no_more_than_the_full_one(literal in "[-+0-9.eE ]{0,8}") {
            let mut out = Vec::new();
            if put_plain(&mut out, literal.as_bytes(), None).is_some() {
                prop_assert_eq!(put_any(&mut Vec::new(), &literal, None), Ok(()));
            }
        }
    }

    #[test]
    fn money_takes_the_fast_way() {
        for literal in
            ["0", "-0.00", "12.5", "99999999.99", "123456789012345678", "0.0000000000000001"]
        {
            assert_eq!(put_plain(&mut Vec::new(), literal.as_bytes(), None), Some(()), "{literal}");
        }
    }
}

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

//! Numbers of JSON as BSON holds them without changing their value.
//!
//! Integers are int32 or int64 by size. A number with a fraction or an exponent is a double where
//! a double holds its digits; it, and an integer beyond int64, is a Decimal128 where that does.

/// A number, with its BSON type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// 0x10
    Int32(i32),
    /// 0x12
    Int64(i64),
    /// 0x01
    Double(f64),
    /// 0x13
    Decimal128([u8; 16]),
}

const EXPONENT_BIAS: i64 = 6176;
const MOST_EXPONENT: i64 = 6111;
const LEAST_EXPONENT: i64 = -6176;
const MOST_DIGITS: usize = 34;
/// No double has more significant digits than this in its exact decimal expansion.
const DIGITS_OF_DOUBLES: usize = 767;

/// Decimal128 of "not a number" and of the infinities.
const NAN: u128 = 0x7c << 120;
const INFINITY: u128 = 0x78 << 120;

/// `± digits × 10^exponent`; the digits have no leading zero, and none stand for zero.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads digits with an optional point and exponent; the caller took the sign off.
    fn parse(negative: bool, text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturated(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Some(Self { negative, digits: digits.trim_start_matches('0').to_owned(), exponent })
    }

    /// Without trailing zeros, as an exponent says them too.
    fn normal(mut self) -> Self {
        let kept = self.digits.trim_end_matches('0').len();
        self.exponent = self.exponent.saturating_add(count(self.digits.len() - kept));
        self.digits.truncate(kept);
        if kept == 0 {
            self.exponent = 0;
        }
        self
    }

    /// The Decimal128 of exactly this value; the exponent is kept where it fits.
    fn decimal128(mut self) -> Option<[u8; 16]> {
        if self.digits.is_empty() {
            self.exponent = self.exponent.clamp(LEAST_EXPONENT, MOST_EXPONENT);
        }
        while (self.digits.len() > MOST_DIGITS || self.exponent < LEAST_EXPONENT)
            && self.digits.ends_with('0')
        {
            self.digits.pop();
            self.exponent += 1;
        }
        while self.exponent > MOST_EXPONENT && self.digits.len() < MOST_DIGITS {
            self.digits.push('0');
            self.exponent -= 1;
        }
        if self.digits.len() > MOST_DIGITS
            || !(LEAST_EXPONENT..=MOST_EXPONENT).contains(&self.exponent)
        {
            return None;
        }
        let digits = if self.digits.is_empty() { 0 } else { self.digits.parse::<u128>().ok()? };
        let exponent = u128::try_from(self.exponent + EXPONENT_BIAS).ok()?;
        let bits = u128::from(self.negative) << 127 | exponent << 113 | digits;
        Some(bits.to_le_bytes())
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("invariant: a text is shorter than 2^63 bytes")
}

/// The exponent of a number; one that no number of ours has is as good as any other.
fn saturated(text: &str) -> Option<i64> {
    const FAR: i64 = 1 << 40;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<i64>().unwrap_or(FAR).min(FAR);
    Some(if negative { -value } else { value })
}

/// A number token of JSON.
pub(super) fn number(token: &str) -> Result<Number, String> {
    let (negative, digits) = match token.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, token),
    };
    check_grammar(digits).ok_or_else(|| format!("`{}` is no JSON number", short(token)))?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if negative && digits == "0" {
            // An integer has no sign of zero, a double has.
            return Ok(Number::Double(-0.0));
        }
        if let Ok(value) = token.parse::<i64>() {
            return Ok(i32::try_from(value).map_or(Number::Int64(value), Number::Int32));
        }
    } else if let Some(value) = exact_double(token) {
        return Ok(Number::Double(value));
    }
    let decimal = Decimal::parse(negative, digits).and_then(Decimal::decimal128);
    decimal.map(Number::Decimal128).ok_or_else(|| {
        format!(
            "the number {} has more digits than any BSON number holds: write it as a string",
            short(token)
        )
    })
}

/// The grammar of RFC 8259, section 6, without the sign.
fn check_grammar(digits: &str) -> Option<()> {
    let run = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = run(digits);
    if whole == 0 || (whole > 1 && digits.starts_with('0')) {
        return None;
    }
    let mut rest = &digits[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = run(fraction);
        rest = &fraction[length..];
        (length > 0).then_some(())?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = run(exponent);
        rest = &exponent[length..];
        (length > 0).then_some(())?;
    }
    rest.is_empty().then_some(())
}

/// The double that holds all digits of a number: printed with as many digits, or with as few as
/// name it, it is the same number again.
pub(super) fn exact_double(token: &str) -> Option<f64> {
    let value = token.parse::<f64>().ok()?;
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let plain = digits <= 15 && !token.contains(['e', 'E', 'n', 'N', 'i', 'I']);
    // Any decimal of 15 digits comes back from the double next to it.
    if plain {
        return Some(value);
    }
    let (negative, digits) = match token.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, token.strip_prefix('+').unwrap_or(token)),
    };
    let written = Decimal::parse(negative, digits)?.normal();
    if written.digits.is_empty() {
        return Some(value);
    }
    if !value.is_finite() || value == 0.0 {
        return None;
    }
    let printed = |text: String| {
        let digits = text.trim_start_matches('-').to_owned();
        Decimal::parse(negative, &digits).map(Decimal::normal)
    };
    let length = written.digits.len();
    let held = printed(format!("{value:e}")).as_ref() == Some(&written)
        || length <= DIGITS_OF_DOUBLES
            && printed(format!("{value:.*e}", length - 1)).as_ref() == Some(&written);
    held.then_some(value)
}

/// The Decimal128 that a text names, as its specification has it ("From String Representation"),
/// without rounding.
pub(super) fn decimal128(text: &str) -> Option<[u8; 16]> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.eq_ignore_ascii_case("nan") {
        return Some(NAN.to_le_bytes());
    }
    if rest.eq_ignore_ascii_case("inf") || rest.eq_ignore_ascii_case("infinity") {
        return Some((u128::from(negative) << 127 | INFINITY).to_le_bytes());
    }
    Decimal::parse(negative, rest)?.decimal128()
}

/// The beginning of a text that may be long.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::decimal::decimal128_text;

    fn decimal(text: &str) -> Number {
        Number::Decimal128(decimal128(text).unwrap())
    }

    #[test]
    fn integers_have_the_smallest_type_that_holds_them() {
        for (token, expected) in [
            ("0", Number::Int32(0)),
            ("-1", Number::Int32(-1)),
            ("2147483647", Number::Int32(i32::MAX)),
            ("2147483648", Number::Int64(1 << 31)),
            ("-9223372036854775808", Number::Int64(i64::MIN)),
            ("9223372036854775808", decimal("9223372036854775808")),
            ("-9223372036854775809", decimal("-9223372036854775809")),
            ("9999999999999999999999999999999999", decimal("9999999999999999999999999999999999")),
            ("1000000000000000000000000000000000000000", decimal("1E39").max_digits()),
        ] {
            assert_eq!(number(token).unwrap(), expected, "{token}");
        }
        assert!(number("99999999999999999999999999999999999").is_err());
    }

    impl Number {
        /// The same value with as many digits as there can be.
        fn max_digits(self) -> Self {
            let Self::Decimal128(bytes) = self else { return self };
            assert_eq!(decimal128_text(bytes), "1E+39");
            decimal("1.000000000000000000000000000000000E39")
        }
    }

    #[test]
    fn a_fraction_is_a_double_only_where_it_keeps_its_digits() {
        for (token, expected) in [
            ("53.630839129292724", Number::Double(53.630_839_129_292_724)),
            ("-0.0", Number::Double(-0.0)),
            ("1.10", Number::Double(1.1)),
            ("1e2", Number::Double(100.0)),
            // As `%.17g` and `%.20f` print a tenth.
            ("0.10000000000000001", Number::Double(0.1)),
            ("0.10000000000000000555", Number::Double(0.1)),
            ("5e-324", Number::Double(5e-324)),
            ("1.7976931348623157e308", Number::Double(f64::MAX)),
            ("3.14159265358979323846", decimal("3.14159265358979323846")),
            ("0.1000000000000000000000001", decimal("0.1000000000000000000000001")),
            ("1e400", decimal("1E+400")),
            ("1e-400", decimal("1E-400")),
        ] {
            assert_eq!(number(token).unwrap(), expected, "{token}");
        }
        assert_eq!(exact_double("9007199254740993"), None);
        assert_eq!(exact_double("9999999999999999"), None);
        let Number::Double(zero) = number("-0").unwrap() else { panic!("no double") };
        assert!(zero == 0.0 && zero.is_sign_negative());
        for token in ["1e9999", "0.12345678901234567890123456789012345678"] {
            assert!(number(token).unwrap_err().contains("more digits"), "{token}");
        }
        for token in ["01", "1.", ".5", "1e", "-", "+1", "1e+", "--1", "0x10", "1.5.5"] {
            assert!(number(token).unwrap_err().contains("no JSON number"), "{token}");
        }
    }

    proptest! {
        #[test]
        fn every_double_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value:e}"), format!("{value:.16e}"), format!("{value:.30e}")] {
                let back = exact_double(&text).map(f64::to_bits);
                prop_assert_eq!(back, Some(bits), "{}", text);
            }
        }

        #[test]
        fn decimals_keep_their_digits(negative: bool, digits in 0_u128..10_u128.pow(34), exponent in -6176_i32..=6111) {
            let text = format!("{}{digits}E{exponent}", if negative { "-" } else { "" });
            let bytes = decimal128(&text).unwrap();
            let parts = crate::document::decimal::decimal128_parts(bytes);
            prop_assert_eq!(parts, crate::document::decimal::Decimal::Finite { negative, digits, exponent });
            prop_assert_eq!(decimal128(&decimal128_text(bytes)).unwrap(), bytes);
        }
    }
}

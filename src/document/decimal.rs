//! Decimal128: IEEE 754-2008, binary integer significand encoding, as the BSON Decimal128
//! specification lays it out.

use std::fmt::Write as _;

/// The parts of a Decimal128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// `± digits × 10^exponent`
    Finite {
        /// Sign; zero has one too.
        negative: bool,
        /// At most 34 decimal digits.
        digits: u128,
        /// -6176 to 6111.
        exponent: i32,
    },
    /// Not a number.
    NaN,
    /// ±Infinity.
    Infinity {
        /// Sign.
        negative: bool,
    },
}

impl Decimal {
    /// The greatest exponent.
    pub const MAX_EXPONENT: i32 = 6111;
}

const EXPONENT_BIAS: i32 = 6176;
const MAX_DIGITS: u128 = 10_u128.pow(34) - 1;

/// Takes a Decimal128 (little-endian bytes) apart.
pub fn decimal128_parts(bytes: [u8; 16]) -> Decimal {
    let bits = u128::from_le_bytes(bytes);
    let negative = bits >> 127 == 1;
    let combination = (bits >> 122) & 0x1f;
    if combination == 0x1f {
        return Decimal::NaN;
    }
    if combination == 0x1e {
        return Decimal::Infinity { negative };
    }
    let field = |shift: u32| i32::try_from((bits >> shift) & 0x3fff).unwrap_or(0) - EXPONENT_BIAS;
    if combination >> 3 == 3 {
        // This form's significand is always above 34 digits, which the specification reads as 0.
        return Decimal::Finite { negative, digits: 0, exponent: field(111) };
    }
    let digits = bits & ((1 << 113) - 1);
    let digits = if digits > MAX_DIGITS { 0 } else { digits };
    Decimal::Finite { negative, digits, exponent: field(113) }
}

/// The bytes of `± digits × 10^exponent`: at most 34 digits, an exponent from -6176 to 6111.
pub fn decimal128(negative: bool, digits: u128, exponent: i32) -> [u8; 16] {
    let exponent = u128::from((exponent + EXPONENT_BIAS).unsigned_abs());
    (u128::from(negative) << 127 | exponent << 113 | digits).to_le_bytes()
}

/// The canonical text of the specification ("To String Representation"), as Extended JSON has it.
pub fn decimal128_text(bytes: [u8; 16]) -> String {
    let (negative, digits, exponent) = match decimal128_parts(bytes) {
        Decimal::NaN => return "NaN".to_owned(),
        Decimal::Infinity { negative } => {
            return if negative { "-Infinity" } else { "Infinity" }.to_owned();
        }
        Decimal::Finite { negative, digits, exponent } => (negative, digits.to_string(), exponent),
    };
    let mut text = String::new();
    if negative {
        text.push('-');
    }
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let scientific = exponent + (length - 1);
    if exponent > 0 || scientific < -6 {
        text.push_str(&digits[..1]);
        if digits.len() > 1 {
            text.push('.');
            text.push_str(&digits[1..]);
        }
        let _ = write!(text, "E{scientific:+}");
    } else {
        push_plain(&mut text, &digits, exponent);
    }
    text
}

/// What PostgreSQL's `numeric` prints for this value: no exponent, the scale kept.
pub fn numeric_text(bytes: [u8; 16]) -> String {
    match decimal128_parts(bytes) {
        Decimal::NaN => "NaN".to_owned(),
        Decimal::Infinity { negative: true } => "-Infinity".to_owned(),
        Decimal::Infinity { negative: false } => "Infinity".to_owned(),
        Decimal::Finite { negative, digits, exponent } => {
            let mut text = String::new();
            // numeric has no negative zero.
            if negative && digits != 0 {
                text.push('-');
            }
            push_plain(
                &mut text,
                &digits.to_string(),
                if digits == 0 { exponent.min(0) } else { exponent },
            );
            text
        }
    }
}

/// Writes `digits × 10^exponent` without an exponent.
fn push_plain(text: &mut String, digits: &str, exponent: i32) {
    if exponent >= 0 {
        text.push_str(digits);
        text.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize));
        return;
    }
    let scale = exponent.unsigned_abs() as usize;
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        text.push_str(whole);
        text.push('.');
        text.push_str(fraction);
    } else {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', scale - digits.len()));
        text.push_str(digits);
    }
}

//! Numbers as decimal text, exactly.

use bson::RawBsonRef;

/// A number of any BSON type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Finite {
        negative: bool,
        /// Digits without leading zeros; empty for zero.
        digits: String,
        /// How many of the digits follow the point; zeros follow the digits where it is negative.
        scale: i64,
    },
    NaN,
    Infinity {
        negative: bool,
    },
}

impl Number {
    /// The number that a value is; none for what is no number.
    pub(super) fn of(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Int32(number) => Self::parse(&number.to_string()),
            RawBsonRef::Int64(number) => Self::parse(&number.to_string()),
            // The shortest digits that name this double and no other.
            RawBsonRef::Double(number) => Self::parse(&number.to_string()),
            RawBsonRef::Decimal128(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Reads decimal text, with an exponent or without.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        match unsigned {
            "NaN" => return Some(Self::NaN),
            "Infinity" | "inf" => return Some(Self::Infinity { negative }),
            _ => {}
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        Some(Self::Finite { negative, digits: all.trim_start_matches('0').to_owned(), scale })
    }

    pub(super) fn is_negative_zero(&self) -> bool {
        matches!(self, Self::Finite { negative: true, digits, .. } if digits.is_empty())
    }

    /// Digits before the point and after it; none for what is not finite. All digits that the number
    /// was written with stay.
    pub(super) fn parts(&self) -> Option<(String, String)> {
        let Self::Finite { digits, scale, .. } = self else { return None };
        let Ok(places) = usize::try_from(*scale) else {
            let zeros = usize::try_from(scale.unsigned_abs()).ok()?;
            let zeros = if digits.is_empty() { 0 } else { zeros };
            return Some((format!("{digits}{}", "0".repeat(zeros)), String::new()));
        };
        let padded = format!("{digits:0>places$}");
        let (whole, fraction) = padded.split_at(padded.len() - places);
        Some((whole.to_owned(), fraction.to_owned()))
    }

    /// As `numeric` prints it: no exponent, no sign of zero.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::NaN => "NaN".to_owned(),
            Self::Infinity { negative: true } => "-Infinity".to_owned(),
            Self::Infinity { negative: false } => "Infinity".to_owned(),
            Self::Finite { negative, digits, .. } => {
                let (whole, fraction) = self.parts().unwrap_or_default();
                let sign = if *negative && !digits.is_empty() { "-" } else { "" };
                let whole = if whole.is_empty() { "0" } else { whole.as_str() };
                let point = if fraction.is_empty() { "" } else { "." };
                format!("{sign}{whole}{point}{fraction}")
            }
        }
    }

    /// The same without zeros at the end of its fraction: equal for equal numbers.
    pub(super) fn reduced(&self) -> String {
        let plain = self.plain();
        if !plain.contains('.') {
            return plain;
        }
        plain.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The whole number that it is, if 64 bits hold it.
    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Self::Finite { .. } => self.reduced().parse().ok(),
            _ => None,
        }
    }
}

/// The exact decimal digits of a double, reduced.
pub(super) fn exact_digits(number: f64) -> String {
    // No double has more digits after its point.
    let text = format!("{number:.1074}");
    Number::parse(&text).map(|number| number.reduced()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (text, plain, whole) in [
            ("1.50", "1.50", None),
            ("-0", "0", Some(0)),
            ("1E+3", "1000", Some(1000)),
            ("12E-4", "0.0012", None),
            ("0E+10", "0", Some(0)),
            ("0.000", "0.000", Some(0)),
            ("-7.00", "-7.00", Some(-7)),
            ("9223372036854775808", "9223372036854775808", None),
            ("NaN", "NaN", None),
            ("-Infinity", "-Infinity", None),
        ] {
            let number = Number::parse(text).unwrap();
            assert_eq!(number.plain(), plain, "{text}");
            assert_eq!(number.whole(), whole, "{text}");
        }
        assert_eq!(exact_digits(0.5), "0.5");
        assert_eq!(exact_digits(1e22), "10000000000000000000000");
        assert!(exact_digits(0.1).starts_with("0.1000000000000000055511151231257827"));
    }
}

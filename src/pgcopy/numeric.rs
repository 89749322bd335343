//! `numeric`: base-10000 digits with a weight, a sign and a display scale.

/// Sign words of `numeric_send`.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The scale that the server sends with an infinity: bits of the sign word, read as a short header.
const INFINITE_SCALE: u16 = 32;

/// Appends the length and bytes of decimal text as PostgreSQL prints it, without an exponent.
/// Leading and trailing zero digits are left out, as the server does, so that the bytes come back
/// as they were sent. False when the text is no decimal number or beyond the format.
pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) -> bool {
    let special = match text {
        "NaN" => Some((NAN, 0)),
        "Infinity" => Some((POSITIVE_INFINITY, INFINITE_SCALE)),
        "-Infinity" => Some((NEGATIVE_INFINITY, INFINITE_SCALE)),
        _ => None,
    };
    if let Some((sign, scale)) = special {
        header(out, 0, 0, sign, scale);
        return true;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return false;
    }
    let mut groups: Vec<u16> = Vec::with_capacity(digits.len() / 4 + 2);
    let group =
        |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let first = whole.len() % 4;
    if first > 0 {
        groups.push(group(&whole.as_bytes()[..first]));
    }
    groups.extend(whole.as_bytes()[first..].chunks(4).map(group));
    let Ok(whole_groups) = i32::try_from(groups.len()) else { return false };
    for chunk in fraction.as_bytes().chunks(4) {
        let mut padded = [b'0'; 4];
        padded[..chunk.len()].copy_from_slice(chunk);
        groups.push(group(&padded));
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups[leading..].iter().rev().take_while(|group| **group == 0).count();
    let kept = &groups[leading..groups.len() - trailing];
    let weight = if kept.is_empty() {
        0
    } else {
        whole_groups - 1 - i32::try_from(leading).unwrap_or(i32::MAX)
    };
    let (Ok(count), Ok(weight), Ok(scale)) =
        (u16::try_from(kept.len()), i16::try_from(weight), u16::try_from(fraction.len()))
    else {
        return false;
    };
    // The scale has 14 bits.
    if scale > 0x3fff {
        return false;
    }
    let sign = if negative && !kept.is_empty() { NEGATIVE } else { POSITIVE };
    header(out, count, weight, sign, scale);
    for group in kept {
        out.extend(group.to_be_bytes());
    }
    true
}

fn header(out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16) {
    out.extend((8 + 2 * i32::from(count)).to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend(scale.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(encode_text(text, &mut out), "{text}");
        out
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encoded("0"), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded("1.50"), [0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88]);
        assert_eq!(encoded("-10000"), [0, 0, 0, 10, 0, 1, 0, 1, 0x40, 0, 0, 0, 0, 1]);
        assert_eq!(encoded("0.00001"), [0, 0, 0, 10, 0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x03, 0xe8]);
        assert_eq!(encoded("Infinity"), [0, 0, 0, 8, 0, 0, 0, 0, 0xd0, 0, 0, 0x20]);
        assert_eq!(encoded("NaN"), [0, 0, 0, 8, 0, 0, 0, 0, 0xc0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "1e5", ".5", "1.2.3", "abc"] {
            assert!(!encode_text(text, &mut Vec::new()), "{text}");
        }
    }
}

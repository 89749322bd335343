//! Text that a regular expression matches.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Repetitions without an upper bound are this much longer than their lower one.
const MORE: u32 = 4;

/// The text of this number: different numbers give different texts as long as the pattern has
/// that many. None when the pattern cannot be read.
pub(super) fn matching(pattern: &str, number: u64) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    let mut rest = number;
    write(&hir, &mut rest, &mut text)?;
    Some(text)
}

/// Takes what is left of the number as the choices on the way.
fn choose(rest: &mut u64, among: u64) -> u64 {
    let chosen = *rest % among.max(1);
    *rest /= among.max(1);
    chosen
}

fn write(hir: &Hir, rest: &mut u64, text: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let (start, end) = class.ranges().first().map(|range| (range.start(), range.end()))?;
            // Nobody asks for the digits of all scripts: the first range has enough.
            let among = u64::from(u32::from(end) - u32::from(start)) + 1;
            let at = u32::try_from(choose(rest, among.min(64))).ok()?;
            text.push(char::from_u32(u32::from(start) + at)?);
        }
        HirKind::Class(Class::Bytes(class)) => {
            let range = class.ranges().first()?;
            let among = u64::from(range.end() - range.start()) + 1;
            let at = u8::try_from(choose(rest, among)).ok()?;
            text.push(char::from(range.start() + at));
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + MORE);
            let times = repetition.min
                + u32::try_from(choose(rest, u64::from(most - repetition.min) + 1)).ok()?;
            for _ in 0..times {
                write(&repetition.sub, rest, text)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, rest, text)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write(part, rest, text)?;
            }
        }
        HirKind::Alternation(choices) => {
            let at = choose(rest, choices.len() as u64);
            write(choices.get(usize::try_from(at).ok()?)?, rest, text)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_their_pattern_and_differ() {
        for pattern in [r"^PRO-\d{3}$", "^(a|b)[x-z]+c?$", r"^[^@\s]+@example\.(com|org)$"] {
            let check = regex::Regex::new(pattern).unwrap();
            let texts: Vec<String> =
                (0..50).map(|number| matching(pattern, number).unwrap()).collect();
            assert!(texts.iter().all(|text| check.is_match(text)), "{pattern}: {texts:?}");
        }
        let mut texts: Vec<_> = (0..1000).map(|number| matching(r"^PRO-\d{3}$", number)).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 1000);
    }
}

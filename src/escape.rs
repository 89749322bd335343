//! Text of others made harmless: names, values and messages come from data, and a terminal obeys
//! some of their characters or hides them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal or a browser obeys a character, or shows nothing in its place: controls of
/// ISO 6429, marks of the bidirectional algorithm (UAX 9), breaks of lines, characters without a
/// width, tags, noncharacters.
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xAD | 0x61C | 0x115F | 0x1160 | 0x180E | 0x200B | 0x200E | 0x200F | 0x2028..=0x202E
            | 0x2060..=0x206F | 0x3164 | 0xFDD0..=0xFDEF | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE00FF | 0xE01F0..=0xE0FFF)
        || u32::from(character) & 0xFFFE == 0xFFFE
}

/// A text on one line: harmful characters, line breaks and tabs among them, are `\u{…}`.
///
/// No two texts give the same line. Backslashes are doubled only before `u{` and before what is
/// escaped, so that JSON, regular expressions and SQL stay as they are.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) && !text.contains("\\u{") {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut backslashes = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\\' {
            backslashes += 1;
            continue;
        }
        let harmful = is_harmful(character);
        let looks_escaped = character == 'u' && characters.peek() == Some(&'{');
        let times = if harmful || looks_escaped { 2 } else { 1 };
        escaped.extend(std::iter::repeat_n('\\', backslashes * times));
        backslashes = 0;
        if harmful {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped.extend(std::iter::repeat_n('\\', backslashes));
    Cow::Owned(escaped)
}

/// The same value as JSON: harmful characters of its strings are `\u….`. Line breaks and tabs stay:
/// in JSON they stand between values only.
pub fn json(text: &str) -> Cow<'_, str> {
    replace(text, |escaped, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

/// The same value as TOML whose texts are basic strings: harmful characters are `\u….` or
/// `\U….….`. Those of comments look alike.
pub fn toml(text: &str) -> Cow<'_, str> {
    replace(text, |escaped, character| {
        let code = u32::from(character);
        let _ = if code > 0xFFFF {
            write!(escaped, "\\U{code:08X}")
        } else {
            write!(escaped, "\\u{code:04X}")
        };
    })
}

/// Lines of a text that has some of its own: only what is harmful within them is escaped.
pub fn lines(text: &str) -> Cow<'_, str> {
    replace(text, |escaped, character| {
        let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
    })
}

fn replace(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let harmful = |character: char| is_harmful(character) && !matches!(character, '\n' | '\t');
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if harmful(character) {
            escape(&mut escaped, character);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Characters that matter, and any others.
    fn texts() -> impl Strategy<Value = String> {
        let telling = "\\u{}na0\n\r\t\u{1b}\u{7}\u{7f}\u{85}\u{9b}\u{61c}\u{200b}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}";
        let telling: Vec<char> = telling.chars().collect();
        let character = prop_oneof![3 => proptest::sample::select(telling), 1 => any::<char>()];
        vec(character, 0..24).prop_map(|characters| characters.into_iter().collect())
    }

    /// Reads what [`line`] writes.
    fn read(line: &str) -> String {
        let (mut text, mut rest) = (String::new(), line);
        while let Some(start) = rest.find('\\') {
            text.push_str(&rest[..start]);
            rest = &rest[start..];
            let run = rest.len() - rest.trim_start_matches('\\').len();
            let after = &rest[run..];
            let Some(code) = after.strip_prefix("u{") else {
                text.push_str(&rest[..run]);
                rest = after;
                continue;
            };
            text.push_str(&rest[..run / 2]);
            rest = after;
            if run % 2 == 1 {
                let (digits, others) = code.split_once('}').unwrap();
                text.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
                rest = others;
            }
        }
        text + rest
    }

    proptest! {
        #[test]
        fn a_line_holds_nothing_harmful_and_tells_its_text(text in texts()) {
            let line = line(&text);
            prop_assert!(!line.contains(is_harmful), "{:?}", line);
            prop_assert_eq!(read(&line), text);
        }

        #[test]
        fn json_and_toml_stay_what_they_were(text in texts()) {
            let value = serde_json::json!({"key": text});
            for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let escaped = json(&written);
                let harmful = |c: char| is_harmful(c) && c != '\n';
                prop_assert!(!escaped.contains(harmful), "{:?}", escaped);
                let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
                prop_assert_eq!(&read, &value);
            }
        }
    }

    #[test]
    fn text_that_is_harmless_stays_as_it_is() {
        for text in
            ["a\\nb", "{\"a\": \"x\\u202ey\"}", "^\\d+$", "C:\\new\\", "שלום", "👩\u{200d}🔬"]
        {
            assert_eq!(line(text), text);
        }
        assert_eq!(line("a\nb\u{1b}[2J"), "a\\u{a}b\\u{1b}[2J");
        assert_eq!(toml("\"\u{9b}\u{e0041}\""), "\"\\u009B\\U000E0041\"");
    }
}

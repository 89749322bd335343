//! Tokens of JSON (RFC 8259) out of bytes.

use memchr::memchr2;

/// What ends the reading of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends inside it.
    End,
    /// The text cannot be followed any further.
    Syntax(usize, String),
}

/// A place in a text.
pub(super) struct Cursor<'t> {
    pub(super) text: &'t [u8],
    pub(super) offset: usize,
    /// The first thing that can be followed, but not be had as BSON.
    pub(super) refused: Option<(usize, String)>,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, offset: 0, refused: None }
    }

    /// Notes why the document cannot be had; the first reason stays.
    pub(super) fn refuse(&mut self, offset: usize, reason: impl FnOnce() -> String) {
        if self.refused.is_none() {
            self.refused = Some((offset, reason()));
        }
    }

    /// The next byte that is not white space; it is not passed.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Stop> {
        while let Some(byte) = self.text.get(self.offset) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Ok(*byte);
            }
            self.offset += 1;
        }
        Err(Stop::End)
    }

    pub(super) fn syntax<T>(&self, reason: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Syntax(self.offset, reason.into()))
    }

    /// Appends the content of a string; the cursor is on its opening quote.
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let start = self.offset;
        self.offset += 1;
        loop {
            let rest = &self.text[self.offset..];
            let length = memchr2(b'"', b'\\', rest);
            let plain = &rest[..length.unwrap_or(rest.len())];
            self.plain(plain, start)?;
            let Some(length) = length else { return Err(Stop::End) };
            out.extend_from_slice(plain);
            self.offset += length;
            if rest[length] == b'"' {
                self.offset += 1;
                return Ok(());
            }
            self.escape(out)?;
        }
    }

    /// Checks a piece of a string that has no escapes.
    #[inline]
    fn plain(&mut self, piece: &[u8], start: usize) -> Result<(), Stop> {
        if piece.is_ascii() {
            // Control characters are rare, and looked for without leaving the loop.
            if piece.iter().all(|byte| *byte >= 0x20) {
                return Ok(());
            }
        } else if let Err(error) = str::from_utf8(piece)
            && (error.error_len().is_some() || self.offset + piece.len() < self.text.len())
        {
            let offset = self.offset + error.valid_up_to();
            self.refuse(offset, || "a string is not UTF-8".to_owned());
        }
        if let Some(index) = piece.iter().position(|byte| *byte < 0x20) {
            let offset = self.offset + index;
            if matches!(piece[index], b'\n' | b'\r') {
                let reason = "the line ends inside a string: its closing quote is missing";
                return Err(Stop::Syntax(start, reason.to_owned()));
            }
            let byte = piece[index];
            self.refuse(offset, || {
                format!("a string holds the control character U+{byte:04X} without an escape")
            });
        }
        Ok(())
    }

    /// Appends the character that an escape stands for; the cursor is on its backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let offset = self.offset;
        let Some(letter) = self.text.get(offset + 1) else { return Err(Stop::End) };
        self.offset += 2;
        let byte = match letter {
            b'"' | b'\\' | b'/' => *letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some(unit) = self.hex()? else {
                    self.refuse(offset, || {
                        "`\\u` is not followed by four hexadecimal digits".to_owned()
                    });
                    return Ok(());
                };
                return self.unit(offset, unit, out);
            }
            b'\n' | b'\r' => {
                let reason = "the line ends inside a string: its closing quote is missing";
                return Err(Stop::Syntax(offset, reason.to_owned()));
            }
            _ => {
                let letter = char::from(*letter);
                self.refuse(offset, || {
                    format!("`\\{}` is no escape of JSON", letter.escape_default())
                });
                return Ok(());
            }
        };
        out.push(byte);
        Ok(())
    }

    /// The character of a UTF-16 unit, with the one that follows where it is half of a pair.
    fn unit(&mut self, offset: usize, unit: u16, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut units = vec![unit];
        if (0xd800..0xdc00).contains(&unit) {
            match self.text.get(self.offset..self.offset + 2) {
                Some([b'\\', b'u']) => {
                    let before = self.offset;
                    self.offset += 2;
                    match self.hex()? {
                        Some(low) if (0xdc00..0xe000).contains(&low) => units.push(low),
                        // It is looked at again by itself.
                        _ => self.offset = before,
                    }
                }
                Some(_) => {}
                None => return Err(Stop::End),
            }
        }
        let mut characters = char::decode_utf16(units);
        match characters.next() {
            Some(Ok(character)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => self.refuse(offset, || {
                format!(
                    "\\u{unit:04x} is half of a pair (a lone surrogate) and stands for no character"
                )
            }),
        }
        Ok(())
    }

    /// Four hexadecimal digits, if they are.
    fn hex(&mut self) -> Result<Option<u16>, Stop> {
        let Some(digits) = self.text.get(self.offset..self.offset + 4) else {
            return Err(Stop::End);
        };
        let value = digits.iter().try_fold(0_u16, |value, digit| {
            Some(value << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?)
        });
        if value.is_some() {
            self.offset += 4;
        }
        Ok(value)
    }

    /// The bytes of a number or word; more may follow where the text ends with them.
    pub(super) fn bare(&mut self) -> Result<&'t str, Stop> {
        let rest = &self.text[self.offset..];
        let inside = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$')
        };
        let Some(length) = rest.iter().position(|byte| !inside(byte)) else {
            return Err(Stop::End);
        };
        if length == 0 {
            return self.syntax(format!("a value is expected, {} is there", named(rest[0])));
        }
        self.offset += length;
        // All of them are ASCII.
        Ok(str::from_utf8(&rest[..length]).unwrap_or_default())
    }
}

/// A byte as a message shows it.
pub(super) fn named(byte: u8) -> String {
    match byte {
        0x21..=0x7e => format!("`{}`", char::from(byte)),
        _ => format!("byte 0x{byte:02x}"),
    }
}

//! JSON syntax: a cursor that checks and skips values without recursion, with Go's error messages, and compaction.

use std::borrow::Cow;

use super::DecodeError;
use super::bytes::{position, text};

/// Upstream's nesting limit.
const MAX_DEPTH: usize = 10_000;

/// A position in JSON text.
pub(super) struct Scanner<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Scanner { data, at: 0 }
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.data.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space, not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.data.get(self.at).copied()
    }

    /// The error for the byte at the cursor.
    #[cold]
    pub(super) fn unexpected(&self, context: &str) -> DecodeError {
        match self.data.get(self.at) {
            None => DecodeError::Syntax {
                message: "unexpected end of JSON input".to_string(),
                offset: self.at,
            },
            Some(byte) => DecodeError::Syntax {
                message: format!("invalid character {} {context}", quote_char(*byte)),
                offset: self.at,
            },
        }
    }

    #[cold]
    pub(super) fn too_deep(&self) -> DecodeError {
        DecodeError::Syntax {
            message: "exceeded max depth".to_string(),
            offset: self.at,
        }
    }

    /// Consumes a string and gives its text without the quotes, still escaped, and whether it needs unescaping.
    pub(super) fn string_raw(&mut self) -> Result<(&'a [u8], bool), DecodeError> {
        debug_assert_eq!(self.data.get(self.at), Some(&b'"'));
        self.at += 1;
        let start = self.at;
        let mut special = false;
        loop {
            self.at += plain(&self.data[self.at..]);
            match self.data.get(self.at) {
                None => return Err(self.unexpected("in string literal")),
                Some(b'"') => {
                    let raw = &self.data[start..self.at];
                    self.at += 1;
                    return Ok((raw, special));
                }
                Some(b'\\') => {
                    special = true;
                    self.at += 1;
                    match self.data.get(self.at) {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {
                            self.at += 1
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                match self.data.get(self.at) {
                                    Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                                    _ => {
                                        return Err(
                                            self.unexpected("in \\u hexadecimal character escape")
                                        );
                                    }
                                }
                            }
                        }
                        _ => return Err(self.unexpected("in string escape code")),
                    }
                }
                Some(0..0x20) => return Err(self.unexpected("in string literal")),
                Some(_) => {
                    special = true;
                    self.at += 1;
                }
            }
        }
    }

    /// Consumes a string and gives its text.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let (raw, special) = self.string_raw()?;
        Ok(if special { unescape(raw) } else { text(raw) })
    }

    /// Consumes a number and gives its text.
    pub(super) fn number(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        if self.data.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.data.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.data.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.data.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.data.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.data.get(self.at) {
                self.at += 1;
            }
            if !self.data.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(std::str::from_utf8(&self.data[start..self.at]).unwrap_or_default())
    }

    fn digits(&mut self) {
        while self.data.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    /// Consumes `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), DecodeError> {
        for (index, expected) in word.bytes().enumerate() {
            if self.data.get(self.at) != Some(&expected) {
                if index == 0 {
                    return Err(self.unexpected("looking for beginning of value"));
                }
                return Err(self.unexpected(&format!(
                    "in literal {word} (expecting '{}')",
                    char::from(expected)
                )));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Consumes one value of any type and gives its text as it stands.
    pub(super) fn skip_value(&mut self, depth: usize) -> Result<&'a [u8], DecodeError> {
        self.skip_space();
        let start = self.at;
        // One entry per open container: true for an object.
        let mut open: Vec<bool> = Vec::new();
        'value: loop {
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    if depth + open.len() + 1 > MAX_DEPTH {
                        return Err(self.too_deep());
                    }
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        open.push(true);
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if depth + open.len() + 1 > MAX_DEPTH {
                        return Err(self.too_deep());
                    }
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(false);
                        continue 'value;
                    }
                }
                Some(b'"') => {
                    self.string_raw()?;
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                _ => return Err(self.unexpected("looking for beginning of value")),
            }
            // A value is complete: close containers until one goes on.
            loop {
                match open.last() {
                    None => return Ok(&self.data[start..self.at]),
                    Some(true) => match self.peek() {
                        Some(b',') => {
                            self.at += 1;
                            self.key()?;
                            continue 'value;
                        }
                        Some(b'}') => self.at += 1,
                        _ => return Err(self.unexpected("after object key:value pair")),
                    },
                    Some(false) => match self.peek() {
                        Some(b',') => {
                            self.at += 1;
                            continue 'value;
                        }
                        Some(b']') => self.at += 1,
                        _ => return Err(self.unexpected("after array element")),
                    },
                }
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Result<(), DecodeError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string_raw()?;
        self.colon()
    }

    pub(super) fn colon(&mut self) -> Result<(), DecodeError> {
        if self.peek() != Some(b':') {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    /// Checks that nothing but space is left.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("after top-level value")),
        }
    }
}

/// How many bytes at the start of a string's rest are plain ASCII: no quote, no backslash, no control character. Eight at a time, since
/// most strings are short; a bit stands for each byte that is not plain, and the lowest one is right.
fn plain(rest: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, tail) = rest.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zero(word ^ ONES * u64::from(b'"'));
        let backslash = zero(word ^ ONES * u64::from(b'\\'));
        let found = control | quote | backslash | word & HIGH;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..);
    words.len() * 8 + tail.iter().take_while(|byte| is_plain(byte)).count()
}

fn quote_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => "'\"'".to_string(),
        b'\\' => r"'\\'".to_string(),
        b'\n' => r"'\n'".to_string(),
        b'\r' => r"'\r'".to_string(),
        b'\t' => r"'\t'".to_string(),
        0x07 => r"'\a'".to_string(),
        0x08 => r"'\b'".to_string(),
        0x0b => r"'\v'".to_string(),
        0x0c => r"'\f'".to_string(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa1 | 0xad => format!("'\\u{:04x}'", byte),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// The text of a string literal. Lone surrogates and broken UTF-8 become U+FFFD, as in Go.
fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return text(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            let end = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |found| at + found);
            out.extend_from_slice(&raw[at..end]);
            at = end;
            continue;
        }
        match raw.get(at + 1) {
            Some(b'u') => {
                let first = hex4(&raw[at + 2..]);
                at += 6;
                let mut c = char::from_u32(first);
                if (0xd800..0xdc00).contains(&first) && raw[at..].starts_with(b"\\u") {
                    let second = hex4(&raw[at + 2..]);
                    if (0xdc00..0xe000).contains(&second) {
                        c = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                        at += 6;
                    }
                }
                let mut buffer = [0; 4];
                out.extend_from_slice(c.unwrap_or('\u{fffd}').encode_utf8(&mut buffer).as_bytes());
            }
            Some(byte) => {
                out.push(match byte {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                at += 2;
            }
            None => at += 1,
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(broken) => Cow::Owned(String::from_utf8_lossy(broken.as_bytes()).into_owned()),
    }
}

fn hex4(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |sum, digit| {
        sum << 4 | char::from(*digit).to_digit(16).unwrap_or(0)
    })
}

/// Compacts JSON text as Go's encoder does with raw messages: no space outside strings, and `<`, `>`, `&`, U+2028 and
/// U+2029 escaped.
pub fn compact(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    write_compact(raw, &mut out);
    out
}

pub(super) fn write_compact(raw: &[u8], out: &mut Vec<u8>) {
    // What a server wrote is compact already; in a first look only blanks in strings cannot be told from those outside. Other
    // control characters than blanks are in no JSON.
    let needs_a_look = |byte: u8| {
        (byte <= b' ') | (byte == b'<') | (byte == b'>') | (byte == b'&') | (byte == 0xe2)
    };
    if position(raw, needs_a_look).is_none() {
        out.extend_from_slice(raw);
        return;
    }
    let mut in_string = false;
    let mut escaped = false;
    let mut start = 0;
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        let replacement: &[u8] = match byte {
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0xe2 if raw[at..].starts_with(b"\xe2\x80\xa8") => b"\\u2028",
            0xe2 if raw[at..].starts_with(b"\xe2\x80\xa9") => b"\\u2029",
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => b"",
            _ => {
                if escaped {
                    escaped = false;
                } else if byte == b'\\' {
                    escaped = in_string;
                } else if byte == b'"' {
                    in_string = !in_string;
                }
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&raw[start..at]);
        out.extend_from_slice(replacement);
        at += if byte == 0xe2 { 3 } else { 1 };
        start = at;
        escaped = false;
    }
    out.extend_from_slice(&raw[start..]);
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_not_plain_is_found_at_every_place() {
        for bad in 0..=u8::MAX {
            let is_plain = (0x20..0x80).contains(&bad) && bad != b'"' && bad != b'\\';
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = bad;
                assert_eq!(
                    plain(&bytes),
                    if is_plain { 20 } else { place },
                    "{bad} at {place}"
                );
                // What comes behind it does not matter.
                bytes[place..].fill(bad);
                assert_eq!(
                    plain(&bytes),
                    if is_plain { 20 } else { place },
                    "{bad} from {place}"
                );
            }
        }
    }
}

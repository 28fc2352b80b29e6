//! Text to tokens. The longest match wins, as in upstream's grammar (parser/gen/CEL.g4).

/// The kinds of tokens, in the order of upstream's grammar: error messages list them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum TokenKind {
    Eof = 0,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Identifier,
    EscapedIdentifier,
}

impl TokenKind {
    /// All kinds; `ALL[kind as usize] == kind`.
    pub(crate) const ALL: [TokenKind; 36] = {
        use TokenKind::*;
        [
            Eof,
            Equals,
            NotEquals,
            In,
            Less,
            LessEquals,
            GreaterEquals,
            Greater,
            And,
            Or,
            LeftBracket,
            RightBracket,
            LeftBrace,
            RightBrace,
            LeftParen,
            RightParen,
            Dot,
            Comma,
            Minus,
            Not,
            Question,
            Colon,
            Plus,
            Star,
            Slash,
            Percent,
            True,
            False,
            Null,
            Float,
            Int,
            Uint,
            String,
            Bytes,
            Identifier,
            EscapedIdentifier,
        ]
    };

    /// As lists of what is expected name it.
    pub(crate) fn display(self) -> &'static str {
        use TokenKind::*;
        match self {
            Eof => "<EOF>",
            Equals => "'=='",
            NotEquals => "'!='",
            In => "'in'",
            Less => "'<'",
            LessEquals => "'<='",
            GreaterEquals => "'>='",
            Greater => "'>'",
            And => "'&&'",
            Or => "'||'",
            LeftBracket => "'['",
            RightBracket => "']'",
            LeftBrace => "'{'",
            RightBrace => "'}'",
            LeftParen => "'('",
            RightParen => "')'",
            Dot => "'.'",
            Comma => "','",
            Minus => "'-'",
            Not => "'!'",
            Question => "'?'",
            Colon => "':'",
            Plus => "'+'",
            Star => "'*'",
            Slash => "'/'",
            Percent => "'%'",
            True => "'true'",
            False => "'false'",
            Null => "'null'",
            Float => "NUM_FLOAT",
            Int => "NUM_INT",
            Uint => "NUM_UINT",
            String => "STRING",
            Bytes => "BYTES",
            Identifier => "IDENTIFIER",
            EscapedIdentifier => "ESC_IDENTIFIER",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'s> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'s str,
    /// Where it starts, in code points.
    pub(crate) offset: u32,
    /// Where it starts, in bytes.
    pub(crate) start: usize,
}

/// Text that is no token.
#[derive(Clone, Debug)]
pub(crate) struct LexError {
    pub(crate) offset: u32,
    /// Where it starts, in bytes.
    pub(crate) start: usize,
    pub(crate) text: String,
}

/// All tokens with one `Eof` at the end, and what could not be read.
pub(crate) fn tokens(source: &str) -> (Vec<Token<'_>>, Vec<LexError>) {
    let mut tokens = Vec::with_capacity(source.len() / 3 + 2);
    let mut errors = Vec::new();
    let mut at = 0;
    let mut offset = 0u32;
    while at < source.len() {
        let rest = &source[at..];
        let (length, kind) = match next(rest) {
            Ok(found) => found,
            Err(failed_at) => {
                // Everything up to and with the character that did not fit is lost.
                let length = rest[failed_at..]
                    .chars()
                    .next()
                    .map_or(failed_at, |c| failed_at + c.len_utf8());
                errors.push(LexError {
                    offset,
                    start: at,
                    text: rest[..length].to_owned(),
                });
                (length, None)
            }
        };
        let text = &rest[..length];
        if let Some(kind) = kind {
            tokens.push(Token {
                kind,
                text,
                offset,
                start: at,
            });
        }
        at += length;
        offset += text.chars().count() as u32;
    }
    tokens.push(Token {
        kind: TokenKind::Eof,
        text: "",
        offset,
        start: at,
    });
    (tokens, errors)
}

/// The length and kind of the next token (no kind for what is skipped), or how far reading went before nothing fitted.
fn next(rest: &str) -> Result<(usize, Option<TokenKind>), usize> {
    use TokenKind::*;
    let bytes = rest.as_bytes();
    let second = bytes.get(1).copied().unwrap_or(0);
    let found = match bytes[0] {
        b'\t' | b' ' | b'\r' | b'\n' | 0x0c => {
            let end = bytes
                .iter()
                .position(|b| !matches!(b, b'\t' | b' ' | b'\r' | b'\n' | 0x0c));
            return Ok((end.unwrap_or(bytes.len()), None));
        }
        b'/' if second == b'/' => {
            return Ok((
                bytes
                    .iter()
                    .position(|b| *b == b'\n')
                    .unwrap_or(bytes.len()),
                None,
            ));
        }
        b'=' if second == b'=' => (2, Equals),
        b'=' => return Err(1),
        b'!' if second == b'=' => (2, NotEquals),
        b'!' => (1, Not),
        b'<' if second == b'=' => (2, LessEquals),
        b'<' => (1, Less),
        b'>' if second == b'=' => (2, GreaterEquals),
        b'>' => (1, Greater),
        b'&' if second == b'&' => (2, And),
        b'|' if second == b'|' => (2, Or),
        b'&' | b'|' => return Err(1),
        b'[' => (1, LeftBracket),
        b']' => (1, RightBracket),
        b'{' => (1, LeftBrace),
        b'}' => (1, RightBrace),
        b'(' => (1, LeftParen),
        b')' => (1, RightParen),
        b'.' if second.is_ascii_digit() => {
            (1 + exponent_end(&bytes[1..], digits(&bytes[1..])), Float)
        }
        b'.' => (1, Dot),
        b',' => (1, Comma),
        b'-' => (1, Minus),
        b'?' => (1, Question),
        b':' => (1, Colon),
        b'+' => (1, Plus),
        b'*' => (1, Star),
        b'/' => (1, Slash),
        b'%' => (1, Percent),
        b'0'..=b'9' => number(bytes),
        b'"' | b'\'' => (string(bytes, 0, false)?, String),
        b'`' => escaped_identifier(bytes)?,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => word(bytes),
        _ => return Err(0),
    };
    Ok((found.0, Some(found.1)))
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Where the exponent after `at` ends, or `at` when there is none.
fn exponent_end(bytes: &[u8], at: usize) -> usize {
    if !matches!(bytes.get(at), Some(b'e' | b'E')) {
        return at;
    }
    let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
    match digits(&bytes[at + 1 + sign..]) {
        0 => at,
        count => at + 1 + sign + count,
    }
}

fn number(bytes: &[u8]) -> (usize, TokenKind) {
    if bytes.starts_with(b"0x") {
        let end = 2 + bytes[2..]
            .iter()
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        if end > 2 {
            return match bytes.get(end) {
                Some(b'u' | b'U') => (end + 1, TokenKind::Uint),
                _ => (end, TokenKind::Int),
            };
        }
    }
    let whole = digits(bytes);
    if matches!(bytes.get(whole), Some(b'u' | b'U')) {
        return (whole + 1, TokenKind::Uint);
    }
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(&bytes[whole + 1..]);
        if fraction > 0 {
            end = whole + 1 + fraction;
        }
    }
    let end = exponent_end(bytes, end);
    (
        end,
        if end == whole {
            TokenKind::Int
        } else {
            TokenKind::Float
        },
    )
}

/// An identifier, a reserved word, or a string or bytes literal with letters in front.
fn word(bytes: &[u8]) -> (usize, TokenKind) {
    let is_quote = |at: usize| matches!(bytes.get(at), Some(b'"' | b'\''));
    let is_raw = |at: usize| matches!(bytes.get(at), Some(b'r' | b'R'));
    let is_bytes = matches!(bytes[0], b'b' | b'B');
    let prefix = usize::from(is_bytes);
    let literal = if is_quote(prefix) && (is_bytes || prefix == 1) {
        string(bytes, prefix, false).ok()
    } else if is_raw(prefix) && is_quote(prefix + 1) {
        string(bytes, prefix + 1, true).ok()
    } else {
        None
    };
    if let Some(end) = literal {
        return (
            end,
            if is_bytes {
                TokenKind::Bytes
            } else {
                TokenKind::String
            },
        );
    }
    let end = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count();
    let kind = match &bytes[..end] {
        b"in" => TokenKind::In,
        b"true" => TokenKind::True,
        b"false" => TokenKind::False,
        b"null" => TokenKind::Null,
        _ => TokenKind::Identifier,
    };
    (end, kind)
}

fn escaped_identifier(bytes: &[u8]) -> Result<(usize, TokenKind), usize> {
    let inside = bytes[1..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/' | b' '))
        .count();
    match bytes.get(1 + inside) {
        Some(b'`') if inside > 0 => Ok((inside + 2, TokenKind::EscapedIdentifier)),
        _ => Err(1 + inside),
    }
}

/// Where the literal whose quote is at `quote` ends, or how far it could be read.
fn string(bytes: &[u8], quote: usize, raw: bool) -> Result<usize, usize> {
    let mark = bytes[quote];
    let triple = bytes[quote..].starts_with(&[mark, mark, mark]);
    if triple {
        match string_body(bytes, quote + 3, mark, true, raw) {
            Ok(end) => return Ok(end),
            // The first two quotes are an empty literal of their own.
            Err(_) => return Ok(quote + 2),
        }
    }
    string_body(bytes, quote + 1, mark, false, raw)
}

fn string_body(
    bytes: &[u8],
    mut at: usize,
    mark: u8,
    triple: bool,
    raw: bool,
) -> Result<usize, usize> {
    loop {
        match bytes.get(at) {
            None => return Err(at),
            Some(b) if *b == mark && !triple => return Ok(at + 1),
            Some(b) if *b == mark && bytes[at..].starts_with(&[mark, mark, mark]) => {
                return Ok(at + 3);
            }
            Some(b'\n' | b'\r') if !triple => return Err(at),
            Some(b'\\') if !raw => at = escape(bytes, at)?,
            Some(_) => at += 1,
        }
    }
}

fn escape(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let hex = |count: usize| {
        let found = bytes[at + 2..]
            .iter()
            .take(count)
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        if found == count {
            Ok(at + 2 + count)
        } else {
            Err(at + 2 + found)
        }
    };
    match bytes.get(at + 1) {
        Some(
            b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`',
        ) => Ok(at + 2),
        Some(b'x' | b'X') => hex(2),
        Some(b'u') => hex(4),
        Some(b'U') => hex(8),
        Some(b'0'..=b'3') => {
            let found = bytes[at + 2..]
                .iter()
                .take(2)
                .take_while(|b| matches!(b, b'0'..=b'7'))
                .count();
            if found == 2 {
                Ok(at + 4)
            } else {
                Err(at + 2 + found)
            }
        }
        _ => Err(at + 1),
    }
}

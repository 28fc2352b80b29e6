//! The values of literals. Upstream: parser/unescape.go and parser/parser.go of cel-go.

use super::lexer::{Token, TokenKind};
use crate::value::Value;

/// The value of a literal; none where the token is no literal or cannot have a sign.
pub(super) fn value(sign: &str, token: &Token<'_>) -> Option<Result<Value<'static>, &'static str>> {
    Some(match token.kind {
        TokenKind::Int => {
            let parsed = match token.text.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(&format!("{sign}{digits}"), 16),
                None => format!("{sign}{}", token.text).parse(),
            };
            parsed.map(Value::Int).map_err(|_| "invalid int literal")
        }
        TokenKind::Float => match format!("{sign}{}", token.text).parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => Err("invalid double literal"),
        },
        _ if !sign.is_empty() => return None,
        TokenKind::Uint => {
            let digits = &token.text[..token.text.len() - 1];
            let parsed = match digits.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            parsed.map(Value::Uint).map_err(|_| "invalid uint literal")
        }
        TokenKind::String => string(token.text).map(Value::from),
        TokenKind::Bytes => bytes(&token.text[1..]).map(|bytes| Value::Bytes(bytes.into())),
        TokenKind::True => Ok(Value::Bool(true)),
        TokenKind::False => Ok(Value::Bool(false)),
        TokenKind::Null => Ok(Value::Null),
        _ => return None,
    })
}

/// The text of a string literal, quotes and prefix included.
fn string(literal: &str) -> Result<String, &'static str> {
    let bytes = unescape(literal, false)?;
    String::from_utf8(bytes).map_err(|_| "invalid unicode code point")
}

/// The bytes of a bytes literal, without the `b` in front.
fn bytes(literal: &str) -> Result<Vec<u8>, &'static str> {
    unescape(literal, true)
}

const BROKEN: &str = "unable to unescape string";

fn unescape(literal: &str, is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let literal = literal.replace("\r\n", "\n").replace('\r', "\n");
    let (raw, quoted) = match literal.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, literal.as_str()),
    };
    let body = ["'''", "\"\"\"", "'", "\""]
        .into_iter()
        .find_map(|mark| {
            (quoted.len() >= 2 * mark.len())
                .then(|| quoted.strip_prefix(mark)?.strip_suffix(mark))
                .flatten()
        })
        .ok_or(BROKEN)?;
    if raw || !body.contains('\\') {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], is_bytes, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Writes the character after a backslash, returns what follows it.
fn escape<'s>(text: &'s str, is_bytes: bool, out: &mut Vec<u8>) -> Result<&'s str, &'static str> {
    let simple = match text.as_bytes().first() {
        None => return Err("unable to unescape string, found '\\' as last character"),
        Some(b'a') => 0x07,
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'v') => 0x0b,
        Some(c @ (b'\\' | b'\'' | b'"' | b'`' | b'?')) => *c,
        Some(b'x' | b'X') => return code(text, 1, 3, 16, is_bytes, out),
        Some(b'u') if !is_bytes => return code(text, 1, 5, 16, is_bytes, out),
        Some(b'U') if !is_bytes => return code(text, 1, 9, 16, is_bytes, out),
        Some(b'0'..=b'3') => return code(text, 0, 3, 8, is_bytes, out),
        _ => return Err(BROKEN),
    };
    out.push(simple);
    Ok(&text[1..])
}

fn code<'s>(
    text: &'s str,
    from: usize,
    to: usize,
    radix: u32,
    is_bytes: bool,
    out: &mut Vec<u8>,
) -> Result<&'s str, &'static str> {
    let digits = text.get(from..to).ok_or(BROKEN)?;
    let number = u32::from_str_radix(digits, radix).map_err(|_| BROKEN)?;
    if is_bytes {
        out.push(number as u8);
    } else {
        let character = char::from_u32(number).ok_or("invalid unicode code point")?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(&text[to..])
}

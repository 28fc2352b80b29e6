//! Go's quoted strings (`strconv.Quote`, the `%q` verb), because they show in error messages that clients compare.

use std::fmt::Write;

/// The text in double quotes with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            c if (c as u32) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (c as u32) < 0x10000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

/// A list of strings in Go's `%q` form: `["a" "b"]`.
pub fn quote_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

/// A list of strings in Go's `%#v` form: `[]string{"a", "b"}`.
pub fn go_syntax_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item.as_ref())).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    // The standard library keeps its table of printable characters private, but escapes what is not in it. The letter in
    // front matters: only at the start of a string are combining marks, which Go prints, escaped too.
    let mut text = String::with_capacity(5);
    text.push('a');
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go() {
        let cases = [
            ("abc", r#""abc""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\x01\x7f", r#""\x01\x7f""#),
            ("\u{a0}\u{200b}\u{feff}", "\"\\u00a0\\u200b\\ufeff\""),
            ("\u{e0001}", "\"\\U000e0001\""),
            ("é世\u{301}😀", "\"é世\u{301}😀\""),
        ];
        for (text, want) in cases {
            assert_eq!(quote(text), want);
        }
        assert_eq!(go_syntax_list(&["a", "b"]), r#"[]string{"a", "b"}"#);
        assert_eq!(quote_list(&["a", "b"]), r#"["a" "b"]"#);
    }
}

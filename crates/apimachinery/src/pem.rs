//! PEM texts as Go reads them: what is not a block, or a broken one, is skipped. Upstream: Go's encoding/pem.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Go does not look at the bits after the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// A block of a PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands after BEGIN: "CERTIFICATE".
    pub label: Vec<u8>,
    /// Whether there are lines such as "Proc-Type: 4,ENCRYPTED".
    pub has_headers: bool,
    /// What the block holds.
    pub contents: Vec<u8>,
}

impl Block {
    /// A certificate that is nothing else besides: others are not looked at.
    pub fn is_certificate(&self) -> bool {
        self.label == b"CERTIFICATE" && !self.has_headers
    }
}

/// The first block of a text, and what follows it.
pub fn decode(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut rest = text;
    // The label of the last BEGIN, and the text after it.
    let mut open: Option<(&[u8], &[u8])> = None;
    while !rest.is_empty() {
        let start = rest;
        let line;
        (line, rest) = next_line(start);
        if let Some(label) = between(line, BEGIN) {
            open = Some((label, rest));
        } else if line.starts_with(END)
            && let Some((label, body)) = open.take()
            && between(line, END) == Some(label)
            && let Some(block) = block(label, &body[..body.len() - start.len()])
        {
            return Some((block, rest));
        }
    }
    None
}

/// All blocks of a text.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (block, after) = decode(rest)?;
        rest = after;
        Some(block)
    })
}

/// A line without blanks at its end, and what follows it.
fn next_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &text[text.len()..]),
    };
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [before @ .., b' ' | b'\t'] = line {
        line = before;
    }
    (line, rest)
}

fn between<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(DASHES)
}

fn block(label: &[u8], mut body: &[u8]) -> Option<Block> {
    let mut has_headers = false;
    loop {
        let (line, rest) = next_line(body);
        if !line.contains(&b':') {
            break;
        }
        has_headers = true;
        body = rest;
    }
    // A line has to stand between headers and the end.
    if has_headers && body.is_empty() {
        return None;
    }
    let encoded: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .collect();
    Some(Block {
        label: label.to_vec(),
        has_headers,
        contents: BASE64.decode(encoded).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, bool, &[u8])], after: &str) {
        let mut rest = text.as_bytes();
        let mut found = Vec::new();
        while let Some((block, next)) = decode(rest) {
            found.push(block);
            rest = next;
        }
        let want: Vec<Block> = want
            .iter()
            .map(|(label, has_headers, contents)| Block {
                label: label.as_bytes().to_vec(),
                has_headers: *has_headers,
                contents: contents.to_vec(),
            })
            .collect();
        assert_eq!(found, want);
        assert_eq!(String::from_utf8_lossy(rest), after);
        assert_eq!(blocks(text.as_bytes()).collect::<Vec<_>>(), want);
    }

    #[test]
    fn blocks_are_found_among_others() {
        let good = "-----BEGIN A B-----\nYWJj\n-----END A B-----\n";
        let a: (&str, bool, &[u8]) = ("A B", false, b"abc");
        check(good, &[a], "");
        check(&format!("text\n{good}more"), &[a], "more");
        check(&good.replace('\n', " \t\r\n"), &[a], "");
        check(&good.replace("YWJj", "YW Jj"), &[a], "");
        check(&good.replace("YWJj", "\nYW\nJj\n"), &[a], "");
        check(good.trim_end(), &[a], "");
        for broken in [
            "-----BEGIN A B-----\n*\n-----END A B-----\n",
            "-----BEGIN A B-----\nYWJ\n-----END A B-----\n",
            "-----BEGIN A B-----\nYWJj\n-----END A-----\n",
            "-----BEGIN A B----\nYWJj\n-----END A B-----\n",
            "-----BEGIN A B-----\nYWJj\n",
            "-----END A B-----\n",
        ] {
            check(broken, &[], broken);
            check(&format!("{broken}{good}{good}"), &[a, a], "");
            check(&format!("{good}{broken}{good}"), &[a, a], "");
            check(&format!("{good}{broken}"), &[a], broken);
        }
        check("", &[], "");
    }

    #[test]
    fn blocks_have_headers_or_nothing_at_all() {
        let text = "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nb:\n\nYWJj\n-----END A-----\n";
        check(text, &[("A", true, b"abc")], "");
        check(
            "-----BEGIN A-----\n-----END A-----\n",
            &[("A", false, b"")],
            "",
        );
        let text = "-----BEGIN A-----\nb: c\n-----END A-----\n";
        check(text, &[], text);
        // Bits that no byte has.
        let text = "-----BEGIN A-----\nYWJ=\n-----END A-----\n";
        check(text, &[("A", false, b"ab")], "");
    }
}

//! YAML in, within go-yaml's bounds, and out, in its block style with sorted keys (sigs.k8s.io/yaml).

use serde::de::DeserializeOwned;
use serde_json::Value;
pub use serde_saphyr::{DuplicateKeyPolicy, Error};

/// What aliases may multiply a text by: go-yaml lets 99 of 100 values come from them.
const ALIASES_OF_A_VALUE: usize = 99;

/// Values from aliases that any text may have, and the most that a text may have. Upstream: allowedAliasRatio.
const FEW_ALIASES: usize = 1_000;
const MOST_ALIASES: usize = 400_000;

/// Reads the one document of a text (of which JSON is a kind).
///
/// # Errors
/// Where it is no YAML, where it is not what `T` wants, and where aliases unfold to far more than is written; the last
/// costs no more than what they may unfold to. [`error_text`] has the words.
pub fn from_str<T: DeserializeOwned>(
    text: &str,
    duplicates: DuplicateKeyPolicy,
) -> Result<T, Error> {
    // A value has at least two bytes, itself and what is between it and the next one.
    let replayed = (text.len() / 2)
        .saturating_mul(ALIASES_OF_A_VALUE)
        .clamp(FEW_ALIASES, MOST_ALIASES);
    let options = serde_saphyr::options! {
        duplicate_keys: duplicates,
        budget: serde_saphyr::budget! { enforce_alias_anchor_ratio: false },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: replayed },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// Whether aliases unfold to too much, for which go-yaml has words of its own.
pub fn is_excessive_aliasing(error: &Error) -> bool {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => {
            is_excessive_aliasing(error)
        }
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => true,
        _ => false,
    }
}

/// go-yaml's words for it.
pub const EXCESSIVE_ALIASING: &str = "document contains excessive aliasing";

/// What is wrong with a text, in one line and after upstream's fashion: `yaml: line 3: ...`. The parser's own way of
/// saying it quotes the text, which may hold secrets, over several lines.
pub fn error_text(error: &Error) -> String {
    if is_excessive_aliasing(error) {
        return format!("yaml: {EXCESSIVE_ALIASING}");
    }
    let plain = error.without_snippet();
    let text = plain.to_string();
    match plain.location() {
        Some(at) => {
            let (line, column) = (at.line(), at.column());
            let place = format!(" at line {line}, column {column}");
            format!("yaml: line {line}: {}", text.trim_end_matches(&*place))
        }
        None => format!("yaml: {text}"),
    }
}

/// Writes compact JSON as YAML.
pub fn from_json(json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).unwrap_or(Value::Null);
    let mut out = String::with_capacity(json.len());
    match &value {
        Value::Object(map) if !map.is_empty() => write(&value, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => write(&value, 0, false, &mut out),
        other => {
            scalar(other, &mut out);
            out.push('\n');
        }
    }
    out.into_bytes()
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes a non-empty map or list. `inline` says that the first line's indentation is already there.
fn write(value: &Value, indent: usize, mut inline: bool, out: &mut String) {
    match value {
        Value::Object(map) => {
            // Key order of a map: sorted, whatever order the object came in.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for key in keys {
                if !std::mem::take(&mut inline) {
                    pad(indent, out);
                }
                out.push_str(&quoted(key));
                out.push(':');
                let child = &map[key];
                match child {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write(child, indent + 2, false, out);
                    }
                    // Lists are not indented below their key.
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write(child, indent, false, out);
                    }
                    _ => {
                        out.push(' ');
                        block_or_scalar(child, indent + 2, out);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if !std::mem::take(&mut inline) {
                    pad(indent, out);
                }
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => write(item, indent + 2, true, out),
                    Value::Array(inner) if !inner.is_empty() => write(item, indent + 2, true, out),
                    _ => block_or_scalar(item, indent + 2, out),
                }
            }
        }
        other => block_or_scalar(other, indent, out),
    }
}

fn block_or_scalar(value: &Value, indent: usize, out: &mut String) {
    if let Value::String(text) = value
        && text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        let chomp = match (text.ends_with('\n'), text.ends_with("\n\n")) {
            (false, _) => "-",
            (true, false) => "",
            (true, true) => "+",
        };
        out.push('|');
        out.push_str(chomp);
        out.push('\n');
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            if !line.is_empty() {
                pad(indent, out);
                out.push_str(line);
            }
            out.push('\n');
        }
        return;
    }
    scalar(value, out);
    out.push('\n');
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// A string that reads back as a string.
fn quoted(text: &str) -> String {
    let ambiguous = text.is_empty()
        || text.parse::<f64>().is_ok()
        || matches!(
            text.to_ascii_lowercase().as_str(),
            "true"
                | "false"
                | "yes"
                | "no"
                | "on"
                | "off"
                | "y"
                | "n"
                | "null"
                | "~"
                | ".inf"
                | "-.inf"
                | ".nan"
                | "<<"
                | "="
        )
        || looks_like_number_or_date(text);
    let special = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c))
        && !(text.len() > 1 && text.starts_with(['-', '?', ':']) && !text[1..].starts_with(' '))
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with([':', ' '])
        || text.contains(|c: char| c.is_control());
    if text.contains(|c: char| c.is_control()) {
        return serde_json::to_string(text).unwrap_or_default();
    }
    if ambiguous {
        return format!("\"{text}\"");
    }
    if special {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        text.to_owned()
    }
}

fn looks_like_number_or_date(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && (digits
            .chars()
            .all(|c| c.is_ascii_digit() || c == '_' || c == ':')
            || digits.starts_with("0x")
            || digits.starts_with("0o")
            || digits.starts_with("0b")
            || (text.len() >= 10
                && text.as_bytes().get(4) == Some(&b'-')
                && text.as_bytes().get(7) == Some(&b'-')
                && text.is_char_boundary(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_unfold_to_a_multiple_of_what_is_written() {
        let read = |text: &str| from_str::<Value>(text, DuplicateKeyPolicy::Error);
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        let mut values = 9_u64;
        for level in 1..10 {
            let aliases = [format!("*a{}", level - 1).as_str(); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
            values *= 9;
            let read = read(&bomb);
            if values < 1_000 {
                assert_eq!(
                    read.unwrap()[format!("a{level}")].as_array().unwrap().len(),
                    9
                );
            } else if values > 100_000 {
                assert_eq!(
                    error_text(&read.unwrap_err()),
                    "yaml: document contains excessive aliasing"
                );
            }
        }
        // However often one of them is used.
        let often = format!("a: &a {{b: 1}}\nc: [{}]\n", ["*a"; 2_000].join(","));
        assert_eq!(read(&often).unwrap()["c"].as_array().unwrap().len(), 2_000);
    }

    #[test]
    fn writes_block_style() {
        let value = serde_json::json!({
            "b": [1, {"x": "true", "a": []}], "a": {"n": "1", "t": "line\nline\n", "d": "2024-01-01T00:00:00Z"}, "c": {}, "s": "- x", "q": "it's: ok", "e": ""
        });
        let text = String::from_utf8(from_json(value.to_string().as_bytes())).unwrap();
        assert_eq!(
            text,
            "a:\n  d: \"2024-01-01T00:00:00Z\"\n  \"n\": \"1\"\n  t: |\n    line\n    line\nb:\n- 1\n- a: []\n  x: \"true\"\nc: {}\ne: \"\"\nq: 'it''s: ok'\ns: '- x'\n"
        );
    }
}

//! YAML in and out. Bodies are read into JSON and then into types, as upstream does (sigs.k8s.io/yaml); responses are
//! written in go-yaml's block style with sorted keys.

use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

/// Body that is no YAML, or not YAML that can be JSON; the text is for the client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(pub String);

/// Reads YAML (or JSON) text as a JSON value. Of a key that comes twice, the last value counts.
pub fn to_json(text: &[u8]) -> Result<Value, YamlError> {
    read(text, DuplicateKeyPolicy::LastWins)
        .map_err(|problem| YamlError(format!("yaml: {}", go_words(&problem, text))))
}

/// The first key that comes twice in a map, in the words of strict decoding.
pub fn duplicate_key(text: &[u8]) -> Option<String> {
    let problem = read(text, DuplicateKeyPolicy::Error).err()?;
    let (before, after) = problem.split_once("duplicate mapping key: ")?;
    let key = after.split(", set ").next().unwrap_or_default();
    let line = before.split("line ").nth(1)?.split(' ').next()?;
    Some(format!("line {line}: key {key:?} already set in map"))
}

/// Strict decoding's error about keys that come twice.
pub fn duplicates_error(duplicates: &str) -> String {
    format!("yaml: unmarshal errors:\n  {duplicates}")
}

/// What go-yaml says where our parser says `problem`. Both come from libyaml, so most texts are known; others stay.
fn go_words(problem: &str, text: &[u8]) -> String {
    let place = problem.strip_prefix("error: ").unwrap_or(problem);
    let parsed = place.strip_prefix("line ").and_then(|rest| {
        let (line, rest) = rest.split_once(" column ")?;
        let (_, what) = rest.split_once(": ")?;
        Some((line.parse::<usize>().ok()?, what))
    });
    let Some((line, what)) = parsed else {
        return problem.to_owned();
    };
    let what = what.lines().next().unwrap_or_default();
    // What was being done is not said.
    let what = match what.split_once(", ") {
        Some((doing, what)) if doing.starts_with("while ") => what,
        _ => what,
    };
    let last_line = text.split(|byte| *byte == b'\n').count();
    let open_end = text.ends_with(b"\n");
    // Lines that errors of the parser name count from 0, those of the scanner from 1; the first one has none.
    let (line, what) = match what {
        "expected ',' or ']'" => (line - 1, "did not find expected ',' or ']'"),
        what if what.starts_with("did not find expected") && !what.contains("hexadecimal") => {
            (line - 1, what)
        }
        what if what.starts_with("unclosed bracket") => {
            let before = text.trim_ascii_end().last().copied().unwrap_or_default();
            let what = match before {
                b'[' | b'{' | b',' | b':' => "did not find expected node content",
                _ if what.contains('[') => "did not find expected ',' or ']'",
                _ => "did not find expected ',' or '}'",
            };
            // The end of the text is on a line of its own.
            (last_line - usize::from(open_end), what)
        }
        "misplaced bracket" => (line - 1, "did not find expected node content"),
        what if what.starts_with("unexpected character") || what.starts_with("tab") => {
            (line, "found character that cannot start any token")
        }
        "simple key expected ':'" | "simple key is no longer valid" => {
            (line, "could not find expected ':'")
        }
        "unclosed quote" => (line, "found unexpected end of stream"),
        what => (line, what),
    };
    match line {
        0 => what.to_owned(),
        line => format!("line {line}: {what}"),
    }
}

fn read(text: &[u8], duplicate_keys: DuplicateKeyPolicy) -> Result<Value, String> {
    let text = std::str::from_utf8(text).map_err(|_| "invalid Unicode character".to_owned())?;
    let options = serde_saphyr::options! { duplicate_keys: duplicate_keys };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
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

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(to_json(text.as_bytes()).unwrap_err().0, want);
    }

    #[test]
    fn broken_text_has_go_yamls_words() {
        refused("a: [\n", "yaml: line 1: did not find expected node content");
        refused("a: [", "yaml: line 1: did not find expected node content");
        refused("a: [1\n", "yaml: line 1: did not find expected ',' or ']'");
        refused(
            "a:\n  b: {c: 1\n",
            "yaml: line 2: did not find expected ',' or '}'",
        );
        refused(
            "a: 1\nb: {c: |\n",
            "yaml: line 2: found character that cannot start any token",
        );
        refused(
            "a: 1\nb: c: d\n",
            "yaml: line 2: mapping values are not allowed in this context",
        );
    }

    #[test]
    fn keys_that_come_twice_are_named() {
        assert_eq!(
            duplicate_key(b"a: 1\nb: 2\na: 3\n").as_deref(),
            Some("line 3: key \"a\" already set in map")
        );
        assert_eq!(duplicate_key(b"a: 1\nb: 2\n"), None);
    }

    #[test]
    fn writes_block_style_that_reads_back() {
        let value = serde_json::json!({
            "b": [1, {"x": "true", "a": []}], "a": {"n": "1", "t": "line\nline\n", "d": "2024-01-01T00:00:00Z"}, "c": {}, "s": "- x", "q": "it's: ok", "e": ""
        });
        let text = from_json(value.to_string().as_bytes());
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("a:\n  d: \"2024-01-01T00:00:00Z\"\n  \"n\": \"1\"\n  t: |\n    line\n    line\nb:\n- 1\n- a: []\n  x: \"true\"\n"), "{text}");
        assert_eq!(to_json(text.as_bytes()).unwrap(), value);
    }
}

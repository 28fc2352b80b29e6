//! YAML in. Bodies are read into JSON and then into types, as upstream does (sigs.k8s.io/yaml).

pub use apimachinery::yaml::from_json;
use apimachinery::yaml::{self, DuplicateKeyPolicy};
use serde_json::Value;

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
    let text = first_document(text);
    yaml::from_str(text, duplicate_keys).map_err(|error| {
        if yaml::is_excessive_aliasing(&error) {
            return yaml::EXCESSIVE_ALIASING.to_owned();
        }
        error.to_string()
    })
}

/// The text up to its second document, of which go-yaml takes no notice, whatever is in it.
fn first_document(text: &str) -> &str {
    let marks = |line: &str, mark: &str| {
        line.strip_prefix(mark)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let mut begun = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let starts = marks(line, "---");
        if begun && (starts || marks(line, "...")) {
            return &text[..at];
        }
        let is_content = !line.trim().is_empty() && !line.starts_with(['#', '%']);
        begun |= starts || is_content;
        at += line.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_document_counts() {
        for (text, expected) in [
            ("a: 1\n", serde_json::json!({"a": 1})),
            ("---\na: 1\n---\nb: [\n", serde_json::json!({"a": 1})),
            ("a: 1\n...\nnonsense\n", serde_json::json!({"a": 1})),
            ("# c\n\n--- {a: 1}\n--- b\n", serde_json::json!({"a": 1})),
            ("a: 1\r\n---\r\nb: 1\r\n", serde_json::json!({"a": 1})),
            ("---\n---\na: 1\n", Value::Null),
            (
                "a: |\n  x\n  ---\n  y\n",
                serde_json::json!({"a": "x\n---\ny\n"}),
            ),
            ("---a: 1\n", serde_json::json!({"---a": 1})),
            ("", Value::Null),
        ] {
            assert_eq!(to_json(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
    }

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

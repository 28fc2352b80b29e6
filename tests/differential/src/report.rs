//! Differences by cause. Those that a row of `expected.yaml` describes are accepted, with the row's reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::diff::Difference;
use crate::run::Outcome;

/// A difference that is accepted. Patterns have `*` for any text; one that is left out matches everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default = "anything")]
    case: String,
    #[serde(default = "anything")]
    request: String,
    path: String,
    #[serde(default = "anything")]
    left: String,
    #[serde(default = "anything")]
    right: String,
    why: String,
    #[serde(skip)]
    used: usize,
}

fn anything() -> String {
    "*".to_owned()
}

/// The table of accepted differences.
pub(crate) struct Expected(Vec<Row>);

impl Expected {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_saphyr::from_str(&text)
            .map(Self)
            .map_err(|error| Error::Cases {
                path: path.to_owned(),
                reason: error.to_string(),
            })
    }

    fn accepts(&mut self, case: &str, request: &str, difference: &Difference) -> bool {
        let (left, right) = (shown(&difference.left), shown(&difference.right));
        let row = self.0.iter_mut().find(|row| {
            matches(&row.case, case)
                && matches(&row.request, request)
                && matches(&row.path, &difference.path)
                && matches(&row.left, &left)
                && matches(&row.right, &right)
        });
        row.map(|row| row.used += 1).is_some()
    }
}

/// How much of a value names a group.
const GROUP_TEXT: usize = 300;

/// Differences that look alike.
#[derive(Default)]
struct Group {
    count: usize,
    example: String,
}

/// Collects outcomes.
pub(crate) struct Report {
    expected: Expected,
    groups: BTreeMap<String, Group>,
    /// Requests and differing ones by topic.
    topics: BTreeMap<String, (usize, usize)>,
    accepted: usize,
    broken: Vec<String>,
    text: String,
}

impl Report {
    pub(crate) fn new(expected: Expected) -> Self {
        Self {
            expected,
            groups: BTreeMap::new(),
            topics: BTreeMap::new(),
            accepted: 0,
            broken: Vec::new(),
            text: String::new(),
        }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        if let Some(reason) = outcome.broken {
            self.broken.push(format!("{}: {reason}", outcome.case));
        }
        let topic = outcome.case.split('/').next().unwrap_or_default();
        let counts = self.topics.entry(topic.to_owned()).or_default();
        for compared in outcome.requests {
            counts.0 += 1;
            let (accepted, unknown): (Vec<_>, Vec<_>) =
                compared.differences.into_iter().partition(|difference| {
                    self.expected
                        .accepts(&outcome.case, &compared.request, difference)
                });
            if unknown.is_empty() {
                self.accepted += usize::from(!accepted.is_empty());
                continue;
            }
            counts.1 += 1;
            let mut keys = Vec::new();
            let _ = writeln!(self.text, "{}: {}", outcome.case, compared.request);
            for difference in &unknown {
                let (left, right) = (shown(&difference.left), shown(&difference.right));
                let _ = writeln!(
                    self.text,
                    "    {}\n      left:  {left}\n      right: {right}",
                    difference.path
                );
                let key = cause(difference, &outcome.vocabulary);
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            for key in keys {
                let group = self.groups.entry(key).or_default();
                group.count += 1;
                if group.example.is_empty() {
                    group.example = format!("{}: {}", outcome.case, compared.request);
                }
            }
        }
    }

    /// Writes the files and prints the summary. Returns how many requests differ.
    pub(crate) fn write(&self, folder: &Path, partial: bool) -> io::Result<usize> {
        std::fs::create_dir_all(folder)?;
        let mut groups: Vec<(&String, &Group)> = self.groups.iter().collect();
        groups.sort_by_key(|(key, group)| (std::cmp::Reverse(group.count), *key));
        let mut text = String::new();
        for (key, group) in &groups {
            let _ = writeln!(text, "[{}] {key}\n    e.g. {}", group.count, group.example);
        }
        std::fs::write(folder.join("groups.txt"), &text)?;
        std::fs::write(folder.join("differences.txt"), &self.text)?;

        let (requests, differing) = self
            .topics
            .values()
            .fold((0, 0), |sum, topic| (sum.0 + topic.0, sum.1 + topic.1));
        let mut out = io::stdout().lock();
        io::Write::write_all(&mut out, text.as_bytes())?;
        let mut line =
            |text: String| io::Write::write_all(&mut out, format!("{text}\n").as_bytes());
        for broken in &self.broken {
            line(format!("case is wrong: {broken}"))?;
        }
        for row in self
            .expected
            .0
            .iter()
            .filter(|row| row.used == 0 && !partial)
        {
            line(format!(
                "never seen, though expected: {} {} ({})",
                row.request, row.path, row.why
            ))?;
        }
        for (topic, (requests, differing)) in &self.topics {
            line(format!("{topic}: {requests} requests, {differing} differ"))?;
        }
        line(format!(
            "{} groups; {} more requests differ as expected",
            groups.len(),
            self.accepted
        ))?;
        line(format!("{requests} requests, {differing} differ"))?;
        Ok(differing + self.broken.len())
    }
}

fn shown(value: &Option<Value>) -> String {
    match value {
        None => "(nothing)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// What a difference is called in the list of groups: without indices and without names that change from case to case.
fn cause(difference: &Difference, vocabulary: &[(String, &'static str)]) -> String {
    let general = |text: &str| {
        let mut text: String = text.chars().take(GROUP_TEXT).collect();
        for (word, placeholder) in vocabulary {
            text = replace_word(&text, word, placeholder);
        }
        text
    };
    let mut path = String::new();
    let mut in_index = false;
    for character in difference.path.chars() {
        match character {
            '[' => in_index = true,
            ']' => {
                in_index = false;
                path.push_str("[]");
            }
            _ if !in_index => path.push(character),
            _ => {}
        }
    }
    let (left, right) = (shown(&difference.left), shown(&difference.right));
    let common = common_prefix(&left, &right);
    format!(
        "{}: {} | {}",
        general(&path),
        general(&left[common..]),
        general(&right[common..])
    )
}

/// How much of the beginning of two long texts is the same, less some words before the first difference.
fn common_prefix(left: &str, right: &str) -> usize {
    const CONTEXT: usize = 60;
    let same = left
        .char_indices()
        .zip(right.chars())
        .take_while(|((_, left), right)| left == right)
        .map(|((index, _), _)| index)
        .last()
        .unwrap_or(0);
    let mut start = same.saturating_sub(CONTEXT);
    while !left.is_char_boundary(start) {
        start -= 1;
    }
    start
}

fn replace_word(text: &str, word: &str, placeholder: &str) -> String {
    if word.is_empty() {
        return text.to_owned();
    }
    let is_inside = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(word) {
        let (before, after) = (&rest[..start], &rest[start + word.len()..]);
        out.push_str(before);
        if is_inside(before.chars().next_back().or(out.chars().next_back()))
            || is_inside(after.chars().next())
        {
            out.push_str(word);
        } else {
            out.push_str(placeholder);
        }
        rest = after;
    }
    out + rest
}

/// Whether a text fits a pattern with `*` for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*", "anything", true),
            ("GET /version", "GET /version", true),
            ("GET /version", "GET /version2", false),
            ("GET *", "GET /x", true),
            ("*.time", "body.items[0].time", true),
            ("body.*.a.*", "body.x.a.y", true),
            ("body.*.a.*", "body.x.b.y", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn causes() {
        let difference = Difference {
            path: "body.items[12].a".into(),
            left: Some("pods \"x\" of podspods pods".into()),
            right: None,
        };
        assert_eq!(
            cause(&difference, &[("pods".to_owned(), "<resource>")]),
            "body.items[].a: <resource> \"x\" of podspods <resource> | (nothing)"
        );
    }
}

//! What the schema tables do not say: query parameters, closed sets of values, and the texts that api-types leaves out
//! or reflows. Three generated text files, indexed once.

use std::collections::HashMap;
use std::sync::OnceLock;

use api_types::descriptions;

use crate::apis::gates;

static DESCRIPTIONS: &str = include_str!("descriptions.txt");
static ENUMS: &str = include_str!("enums.txt");
static PARAMETERS: &str = include_str!("parameters.txt");

/// Group, version, type, field.
type Key<'a> = (&'a str, &'a str, &'a str, &'a str);
type Index = HashMap<Key<'static>, &'static str>;

fn index(text: &'static str) -> Index {
    let mut out = HashMap::new();
    let (mut group, mut version, mut name) = ("", "", "");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(opened) = line.strip_prefix('@') {
            (group, version) = opened.split_once(' ').unwrap_or((opened, ""));
            continue;
        }
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key.strip_prefix('=') {
            Some(opened) => {
                name = opened;
                out.insert((group, version, name, ""), value);
            }
            None => {
                out.insert((group, version, name, key), value);
            }
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

/// The description of a type (empty field) or of a field.
pub(super) fn description(group: &str, version: &str, name: &str, field: &str) -> Option<String> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX
        .get_or_init(|| index(DESCRIPTIONS))
        .get(&(group, version, name, field))
        .filter(|text| !text.is_empty())
        .map(|text| unescape(text))
        .or_else(|| descriptions::of(group, version, name, field))
}

/// The values a field may have, as JSON text, and what upstream appends to its description. Nothing without the feature OpenAPIEnums.
pub(super) fn enumeration(
    group: &str,
    version: &str,
    name: &str,
    field: &str,
) -> Option<(&'static str, String)> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    if !gates::enabled("OpenAPIEnums") {
        return None;
    }
    let line = INDEX
        .get_or_init(|| index(ENUMS))
        .get(&(group, version, name, field))?;
    let end = line.find(']')? + 1;
    Some((&line[..end], unescape(line[end..].strip_prefix(' ')?)))
}

/// One query parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryParameter {
    pub(super) name: &'static str,
    pub(super) ty: &'static str,
    escaped: &'static str,
}

impl QueryParameter {
    pub(super) fn description(&self) -> String {
        unescape(self.escaped)
    }
}

/// The query parameters that an options kind stands for, sorted by name.
pub(super) fn query_parameters(options: &str) -> &'static [QueryParameter] {
    static INDEX: OnceLock<HashMap<&'static str, Vec<QueryParameter>>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut out: HashMap<&'static str, Vec<QueryParameter>> = HashMap::new();
        let mut section = "";
        for line in PARAMETERS.lines() {
            if let Some(opened) = line.strip_prefix('@') {
                section = opened;
            } else if let Some((name, rest)) = line.split_once(' ')
                && let Some((ty, escaped)) = rest.split_once(' ')
            {
                out.entry(section)
                    .or_default()
                    .push(QueryParameter { name, ty, escaped });
            }
        }
        out
    });
    index.get(options).map_or(&[], Vec::as_slice)
}

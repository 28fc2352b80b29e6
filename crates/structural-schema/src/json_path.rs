//! The paths of `additionalPrinterColumns` and `selectableFields`. Upstream: client-go/util/jsonpath and
//! apiextensions-apiserver's table convertor.
//!
//! Fields, indexes, slices, unions, filters, wildcards and recursive descent, as in kubectl's `-o jsonpath`. What is left out
//! is `range`: a column shows the first thing its path finds, and a loop finds nothing that its path does not.

use std::borrow::Cow;
use std::fmt;

use api_types::MicroTime;
use serde_json::{Number, Value};

use crate::number::{GoNumber, format_float};

/// More results than these are an error: nobody reads them, and a path of many `..` finds very many.
const MAX_RESULTS: usize = 10_000;

/// A parsed path.
#[derive(Debug, Clone)]
pub struct JsonPath {
    /// Text and actions; a path is one action, unless somebody closes its brace.
    parts: Vec<Vec<Step>>,
}

/// Why a path cannot be parsed or followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathError(String);

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PathError {}

fn error<T>(text: impl Into<String>) -> Result<T, PathError> {
    Err(PathError(text.into()))
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Text(String),
    Field(String),
    /// Start, end, step; whether the end was left out because one item is meant.
    Slice([Option<i64>; 3], bool),
    Filter(Vec<Step>, Option<(String, Vec<Step>)>),
    Number(GoNumber),
    Bool(bool),
    Wildcard,
    Recursive,
    Union(Vec<Vec<Step>>),
    Identifier(String),
}

type Found<'a> = Vec<Cow<'a, Value>>;

impl JsonPath {
    /// Parses a path without braces around it: `.spec.replicas`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = format!("{{{text}}}");
        Ok(JsonPath {
            parts: Parser { rest: &text }.parts()?,
        })
    }

    /// What the path finds; nothing where fields are missing.
    pub fn find<'a>(&self, object: &'a Value) -> Result<Vec<Cow<'a, Value>>, PathError> {
        let mut first = None;
        for part in &self.parts {
            let found = walk(vec![Cow::Borrowed(object)], part)?;
            first.get_or_insert(found);
        }
        Ok(first.unwrap_or_default())
    }

    /// The cell of a column with this path. Ages are counted from `now`.
    pub fn cell(&self, column_type: &str, object: &Value, now: MicroTime) -> Value {
        let Some(value) = self
            .find(object)
            .ok()
            .and_then(|found| found.into_iter().next())
        else {
            return Value::Null;
        };
        match (column_type, &*value) {
            ("string", value) => Value::String(text(value)),
            ("integer", Value::Number(number)) => match GoNumber::new(number) {
                GoNumber::Int(number) => number.into(),
                GoNumber::Float(number) => (number as i64).into(),
            },
            ("number", Value::Number(number)) => {
                let number = GoNumber::new(number).as_f64();
                // Go writes whole floats without a fraction.
                if number.fract() == 0.0 && number.abs() < 1e15 {
                    (number as i64).into()
                } else {
                    number.into()
                }
            }
            ("boolean", Value::Bool(value)) => (*value).into(),
            ("date", Value::String(text)) => age(text, now).into(),
            _ => Value::Null,
        }
    }

    /// The value of a selectable field: empty if there is none.
    pub fn field_value(&self, object: &Value) -> Result<String, PathError> {
        let mut found = self.find(object)?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Ok(String::new()),
            (Some(value), None) if value.is_null() => Ok(String::new()),
            (Some(value), None) => Ok(go_text(&value)),
            (Some(_), Some(_)) => error("unexpectedly received more than one JSON path result"),
        }
    }
}

fn age(text: &str, now: MicroTime) -> String {
    if text.is_empty() || text == "null" {
        return "<unknown>".to_owned();
    }
    match MicroTime::parse(text) {
        Ok(time) if time.is_zero() => "<unknown>".to_owned(),
        // As in Go, what is not a whole second is cut off, of times to come too.
        Ok(time) => {
            apimachinery::duration::human((now.unix_micros() - time.unix_micros()) / 1_000_000)
        }
        Err(_) => "<invalid>".to_owned(),
    }
}

/// A value in a column of strings: lists and maps are JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => match apimachinery::field::BadValue::json(value) {
            apimachinery::field::BadValue::Text(text) => text,
            _ => String::new(),
        },
        Value::Null => "<no value>".to_owned(),
        value => go_text(value),
    }
}

/// Go's `%v`.
pub(crate) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match GoNumber::new(number) {
            GoNumber::Int(number) => number.to_string(),
            GoNumber::Float(number) => format_float(number),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", go_text(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

// === Following ===

fn walk<'a>(mut values: Found<'a>, steps: &[Step]) -> Result<Found<'a>, PathError> {
    for step in steps {
        values = follow(values, step)?;
        if values.len() > MAX_RESULTS {
            return error("the path finds too much");
        }
    }
    Ok(values)
}

/// The values in a list or map, borrowed as long as the value is.
fn children<'a>(value: &Cow<'a, Value>) -> Found<'a> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(fields)) => fields.values().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::String(text)) => bytes(text),
        Cow::Owned(Value::String(text)) => bytes(text),
        _ => Vec::new(),
    }
}

/// To Go a string is a list of bytes.
fn bytes<'a>(text: &str) -> Found<'a> {
    let number = |byte: u8| Cow::Owned(Value::from(byte));
    text.bytes().take(MAX_RESULTS + 1).map(number).collect()
}

fn follow<'a>(values: Found<'a>, step: &Step) -> Result<Found<'a>, PathError> {
    let mut out = Vec::new();
    match step {
        // One text, whatever there was.
        Step::Text(text) => out.push(Cow::Owned(Value::from(text.as_str()))),
        Step::Number(number) => {
            let number = match number {
                GoNumber::Int(number) => Value::from(*number),
                GoNumber::Float(number) => Number::from_f64(*number).into(),
            };
            out.extend(values.iter().map(|_| Cow::Owned(number.clone())));
        }
        Step::Bool(value) => out.extend(values.iter().map(|_| Cow::Owned(Value::from(*value)))),
        Step::Field(name) => {
            for value in values {
                if let Cow::Borrowed(Value::Object(fields)) = value
                    && let Some(value) = fields.get(name)
                {
                    out.push(Cow::Borrowed(value));
                }
            }
        }
        Step::Slice(bounds, one) => {
            for value in values {
                match value {
                    Cow::Borrowed(Value::Array(items)) => {
                        slice(items, *bounds, *one, &mut out)?;
                    }
                    Cow::Borrowed(Value::Null) => {}
                    value => {
                        return error(format!("{} is not array or slice", go_type(&value)));
                    }
                }
            }
        }
        Step::Wildcard => {
            for value in &values {
                out.extend(children(value));
                if out.len() > MAX_RESULTS {
                    return error("the path finds too much");
                }
            }
        }
        Step::Recursive => descend(values, &mut out)?,
        Step::Union(ways) => {
            for way in ways {
                out.extend(walk(values.clone(), way)?);
            }
        }
        Step::Filter(left, compare) => {
            for value in values {
                let Cow::Borrowed(Value::Array(items)) = value else {
                    let value = go_text(&value);
                    return error(format!(
                        "{value} is not array or slice and cannot be filtered"
                    ));
                };
                for item in items {
                    if passes(item, left, compare.as_ref())? {
                        out.push(Cow::Borrowed(item));
                    }
                }
            }
        }
        Step::Identifier(name) => return error(format!("unrecognized identifier {name}")),
    }
    Ok(out)
}

/// Every list and map, each before what is in it.
fn descend<'a>(values: Found<'a>, out: &mut Found<'a>) -> Result<(), PathError> {
    // A stack of our own: what is found may be as deep as objects get.
    let mut stack = vec![values.into_iter()];
    while let Some(top) = stack.last_mut() {
        let Some(value) = top.next() else {
            stack.pop();
            continue;
        };
        let below = children(&value);
        if below.is_empty() {
            continue;
        }
        out.push(value);
        if out.len() > MAX_RESULTS {
            return error("the path finds too much");
        }
        stack.push(below.into_iter());
    }
    Ok(())
}

fn slice<'a>(
    items: &'a [Value],
    [start, end, step]: [Option<i64>; 3],
    one: bool,
    out: &mut Found<'a>,
) -> Result<(), PathError> {
    let length = items.len() as i64;
    let mut start = start.unwrap_or(0);
    if start < 0 {
        start += length;
    }
    let mut end = end.unwrap_or(length);
    if end < 0 || (end == 0 && one) {
        end += length;
    }
    if start == end {
        return Ok(());
    }
    if start >= length || start < 0 {
        return error(format!(
            "array index out of bounds: index {start}, length {length}"
        ));
    }
    if end > length || end < 0 {
        let last = end - 1;
        return error(format!(
            "array index out of bounds: index {last}, length {length}"
        ));
    }
    if start > end {
        return error(format!(
            "starting index {start} is greater than ending index {end}"
        ));
    }
    let step = match step {
        Some(step) if step <= 0 => return error("step must be > 0"),
        step => step.unwrap_or(1),
    };
    let range = &items[start as usize..end as usize];
    out.extend(range.iter().step_by(step as usize).map(Cow::Borrowed));
    Ok(())
}

fn passes(
    item: &Value,
    left: &[Step],
    compare: Option<&(String, Vec<Step>)>,
) -> Result<bool, PathError> {
    let left = walk(vec![Cow::Borrowed(item)], left);
    let Some((operator, right)) = compare else {
        return Ok(left.is_ok_and(|found| !found.is_empty()));
    };
    let right = |item| walk(vec![Cow::Borrowed(item)], right);
    let one = |found: &Found<'_>| match found.len() {
        0 => Ok(false),
        1 => Ok(true),
        _ => error("can only compare one element at a time"),
    };
    let left = left?;
    if !one(&left)? {
        return Ok(false);
    }
    let right = right(item)?;
    if !one(&right)? {
        return Ok(false);
    }
    satisfies(&left[0], operator, &right[0])
}

fn satisfies(left: &Value, operator: &str, right: &Value) -> Result<bool, PathError> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (ordering, is_ordered) = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => (Some(left.cmp(right)), false),
        (Value::String(left), Value::String(right)) => (Some(left.cmp(right)), true),
        (Value::Number(left), Value::Number(right)) => {
            match (GoNumber::new(left), GoNumber::new(right)) {
                (GoNumber::Int(left), GoNumber::Int(right)) => (Some(left.cmp(&right)), true),
                (GoNumber::Float(left), GoNumber::Float(right)) => (left.partial_cmp(&right), true),
                _ => return error("incompatible types for comparison"),
            }
        }
        (Value::Bool(_) | Value::String(_) | Value::Number(_), _)
            if right.is_boolean() || right.is_string() || right.is_number() =>
        {
            return error("incompatible types for comparison");
        }
        _ => return error("invalid type for comparison"),
    };
    Ok(match operator {
        "==" => ordering == Some(Equal),
        "!=" => ordering != Some(Equal),
        "<" | "<=" | ">" | ">=" if !is_ordered => return error("invalid type for comparison"),
        "<" => ordering == Some(Less),
        "<=" => matches!(ordering, Some(Less | Equal)),
        ">" => ordering == Some(Greater),
        ">=" => matches!(ordering, Some(Greater | Equal)),
        operator => return error(format!("unrecognized filter operator {operator}")),
    })
}

/// Go's `%T`, or what reflection says.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Number(number) => match GoNumber::new(number) {
            GoNumber::Int(_) => "int64",
            GoNumber::Float(_) => "float64",
        },
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

// === Parsing ===

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn parts(mut self) -> Result<Vec<Vec<Step>>, PathError> {
        let mut parts = Vec::new();
        while !self.rest.is_empty() {
            let end = self.rest.find('{').unwrap_or(self.rest.len());
            if end > 0 {
                parts.push(vec![Step::Text(self.take(end).to_owned())]);
            } else {
                self.take(1);
                parts.push(self.action()?);
            }
        }
        Ok(parts)
    }

    fn take(&mut self, length: usize) -> &str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Up to the closing brace.
    fn action(&mut self) -> Result<Vec<Step>, PathError> {
        let mut steps = Vec::new();
        loop {
            if self.rest.starts_with('}') {
                self.take(1);
                return Ok(steps);
            }
            if self.rest.starts_with("[?(") {
                self.filter(&mut steps)?;
                continue;
            }
            if self.rest.starts_with("..") {
                if steps.last() == Some(&Step::Recursive) {
                    return error("invalid multiple recursive descent");
                }
                self.take(2);
                steps.push(Step::Recursive);
                if self
                    .rest
                    .starts_with(|c: char| c.is_alphanumeric() || c == '_')
                {
                    self.field(&mut steps);
                }
                continue;
            }
            let Some(c) = self.rest.chars().next() else {
                return error("unclosed action");
            };
            match c {
                '\r' | '\n' => return error("unclosed action"),
                ' ' | '@' | '$' => {
                    self.take(1);
                }
                '[' => self.array(&mut steps)?,
                '"' | '\'' => self.quoted(c, &mut steps)?,
                '.' => {
                    self.take(1);
                    self.field(&mut steps);
                }
                c if c == '+' || c == '-' || c.is_ascii_digit() => self.number(&mut steps)?,
                c if c.is_alphanumeric() || c == '_' => {
                    let end = self.rest.find(is_terminator).unwrap_or(self.rest.len());
                    steps.push(match self.take(end) {
                        "true" => Step::Bool(true),
                        "false" => Step::Bool(false),
                        name => Step::Identifier(name.to_owned()),
                    });
                }
                c => {
                    let code = c as u32;
                    return error(format!(
                        "unrecognized character in action: U+{code:04X} '{c}'"
                    ));
                }
            }
        }
    }

    fn field(&mut self, steps: &mut Vec<Step>) {
        let mut name = String::new();
        let mut escaped = false;
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if is_terminator(c) {
                end = at;
                break;
            }
            if c != '\\' {
                name.push(c);
            }
        }
        let is_wildcard = self.take(end) == "*";
        steps.push(if is_wildcard {
            Step::Wildcard
        } else {
            Step::Field(name)
        });
    }

    fn number(&mut self, steps: &mut Vec<Step>) -> Result<(), PathError> {
        let signed = usize::from(self.rest.starts_with(['+', '-']));
        let end = self.rest[signed..]
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .map_or(self.rest.len(), |end| end + signed);
        let text = self.take(end);
        let number = match (text.parse(), text.parse()) {
            (Ok(number), _) => GoNumber::Int(number),
            (_, Ok(number)) => GoNumber::Float(number),
            _ => return error(format!("cannot parse number {text}")),
        };
        steps.push(Step::Number(number));
        Ok(())
    }

    fn quoted(&mut self, quote: char, steps: &mut Vec<Step>) -> Result<(), PathError> {
        let end = self
            .rest
            .char_indices()
            .skip(1)
            .find(|(at, c)| *c == '\n' || (*c == quote && !self.rest[..*at].ends_with('\\')));
        let Some((end, c)) = end else {
            return error("unterminated quoted string");
        };
        if c == '\n' {
            return error("unterminated quoted string");
        }
        let text = self.take(end + 1);
        let inner = &text[1..end];
        let Some(inner) = unquote(inner, quote) else {
            return error(format!("unquote string {text} error invalid syntax"));
        };
        steps.push(Step::Text(inner));
        Ok(())
    }

    fn array(&mut self, steps: &mut Vec<Step>) -> Result<(), PathError> {
        let end = self.rest.find([']', '\n']);
        let Some(end) = end.filter(|end| self.rest[*end..].starts_with(']')) else {
            return error("unterminated array");
        };
        let text = self.take(end + 1);
        let inner = match &text[1..end] {
            "*" => ":",
            inner => inner,
        };
        if inner.contains(',') {
            let ways: Result<_, _> = inner
                .split(',')
                .map(|way| sub_action(&format!("[{}]", way.trim_matches(' '))))
                .collect();
            steps.push(Step::Union(ways?));
            return Ok(());
        }
        let key = inner
            .strip_prefix('\'')
            .and_then(|inner| inner.strip_suffix('\''))
            .filter(|key| !key.contains('\''));
        if let Some(key) = key {
            steps.extend(sub_action(&format!(".{key}"))?);
            return Ok(());
        }
        let invalid = || PathError(format!("invalid array index {inner}"));
        let mut parts = inner.split(':');
        let mut bounds: [Option<i64>; 3] = [None; 3];
        let mut count = 0;
        for bound in &mut bounds {
            let Some(part) = parts.next() else {
                break;
            };
            count += 1;
            let digits = part.strip_prefix('-').unwrap_or(part);
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            if !part.is_empty() {
                let number = part
                    .parse()
                    .map_err(|_| PathError(format!("array index {part} is not a number")))?;
                *bound = Some(number);
            }
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        let one = count == 1;
        if one {
            bounds[1] = Some(bounds[0].unwrap_or(0).saturating_add(1));
        }
        steps.push(Step::Slice(bounds, one));
        Ok(())
    }

    fn filter(&mut self, steps: &mut Vec<Step>) -> Result<(), PathError> {
        self.take(3);
        let mut quote = None;
        let mut closed = false;
        let mut end = None;
        let mut before = ' ';
        for (at, c) in self.rest.char_indices() {
            match c {
                '\n' => break,
                '"' | '\'' => match quote {
                    None => quote = Some(c),
                    Some(open) if before != '\\' && c == open => closed = true,
                    Some(_) => {}
                },
                ')' if quote.is_some() == closed => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
            before = c;
        }
        let Some(end) = end else {
            return error("unterminated filter");
        };
        if !self.rest[end + 1..].starts_with(']') {
            return error("unclosed array expect ]");
        }
        let taken = self.take(end + 2);
        let text = &taken[..end];
        let is_operator = |c| matches!(c, '!' | '<' | '>' | '=');
        let compared = text.find(is_operator).filter(|at| *at > 0).and_then(|at| {
            let (left, rest) = text.split_at(at);
            let mut length = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
            if length == rest.len() {
                // Something has to be left to compare with.
                length -= 1;
            }
            (length > 0).then(|| (left, &rest[..length], &rest[length..]))
        });
        steps.push(match compared {
            None => Step::Filter(sub_action(text)?, None),
            Some((left, operator, right)) => Step::Filter(
                sub_action(left)?,
                Some((operator.to_owned(), sub_action(right)?)),
            ),
        });
        Ok(())
    }
}

/// Something that is an action by itself.
fn sub_action(text: &str) -> Result<Vec<Step>, PathError> {
    let text = format!("{{{text}}}");
    let mut parts = Parser { rest: &text }.parts()?;
    Ok(parts.swap_remove(0))
}

fn is_terminator(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}'
    )
}

/// Resolves Go's escapes.
fn unquote(text: &str, quote: char) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '\\' => out.push('\\'),
            c if c == quote => out.push(c),
            c @ ('x' | 'u' | 'U') => {
                let length = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String = chars.by_ref().take(length).collect();
                if digits.len() != length {
                    return None;
                }
                out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({"spec": {"replicas": 3, "ratio": 0.5, "on": true, "none": null, "a.b": "dots",
            "list": [{"name": "x", "n": 1}, {"name": "y", "n": 2}, {"n": 3}], "names": ["p", "q", "r"]},
            "metadata": {"labels": {"k/x": "v"}, "creationTimestamp": "2024-01-01T00:00:00Z"}})
    }

    #[test]
    fn paths_find() {
        let object = object();
        let cases = [
            (".spec.replicas", json!([3])),
            ("$.spec.replicas", json!([3])),
            (".spec['replicas']", json!([3])),
            (r".spec.a\.b", json!(["dots"])),
            (r".metadata.labels['k/x']", json!(["v"])),
            (".spec.names[0]", json!(["p"])),
            (".spec.names[-1]", json!(["r"])),
            (".spec.names[0:2]", json!(["p", "q"])),
            (".spec.names[::2]", json!(["p", "r"])),
            (".spec.names[*]", json!(["p", "q", "r"])),
            (".spec.names[0,2]", json!(["p", "r"])),
            (".spec.list[*].name", json!(["x", "y"])),
            (".spec.list[?(@.name==\"y\")].n", json!([2])),
            (".spec.list[?(@.name)].n", json!([1, 2])),
            (".spec.list[?(@.n>=2)].n", json!([2, 3])),
            ("..name", json!(["x", "y"])),
            (".metadata.*", json!(["2024-01-01T00:00:00Z", {"k/x": "v"}])),
            (".missing.x", json!([])),
            (".spec.none", json!([null])),
            (".spec.none.x", json!([])),
        ];
        for (path, want) in cases {
            let found = JsonPath::parse(path).and_then(|path| {
                let found = path.find(&object)?;
                Ok(found.into_iter().map(Cow::into_owned).collect::<Vec<_>>())
            });
            assert_eq!(found.map(Value::from), Ok(want), "{path}");
        }
    }

    #[test]
    fn paths_fail() {
        for (path, want) in [
            (
                ".spec.names[5]",
                "array index out of bounds: index 5, length 3",
            ),
            (".spec[0]", "map[string]interface {} is not array or slice"),
            (
                ".spec.list[?(@.n==\"x\")]",
                "incompatible types for comparison",
            ),
            ("range", "unrecognized identifier range"),
        ] {
            let object = object();
            let error = JsonPath::parse(path).and_then(|path| path.find(&object).map(drop));
            assert_eq!(error, Err(PathError(want.to_owned())), "{path}");
        }
        for (path, want) in [
            (".a[", "unterminated array"),
            (".a[x]", "invalid array index x"),
            ("[?(@.a", "unterminated filter"),
            ("....a", "invalid multiple recursive descent"),
            ("'a", "unterminated quoted string"),
            ("#", "unrecognized character in action: U+0023 '#'"),
            ("1.2.3", "cannot parse number 1.2.3"),
        ] {
            assert_eq!(
                JsonPath::parse(path).map(drop),
                Err(PathError(want.to_owned())),
                "{path}"
            );
        }
    }

    #[test]
    fn cells_have_the_columns_type() {
        let object = object();
        let now = MicroTime::from_unix_micros((1_704_067_200 + 3 * 86_400) * 1_000_000);
        let cases = [
            (".spec.replicas", "integer", json!(3)),
            (".spec.replicas", "string", json!("3")),
            (".spec.replicas", "number", json!(3)),
            (".spec.ratio", "number", json!(0.5)),
            (".spec.ratio", "integer", json!(0)),
            (".spec.on", "boolean", json!(true)),
            (".spec.on", "integer", json!(null)),
            (".spec.names", "string", json!("[\"p\",\"q\",\"r\"]")),
            (".spec.missing", "string", json!(null)),
            (".spec.names[9]", "string", json!(null)),
            (".metadata.creationTimestamp", "date", json!("3d")),
            (".spec.names[0]", "date", json!("<invalid>")),
        ];
        for (path, column_type, want) in cases {
            let path = JsonPath::parse(path).expect("a path");
            assert_eq!(path.cell(column_type, &object, now), want, "{path:?}");
        }
    }

    #[test]
    fn dates_are_ages() {
        let now = MicroTime::parse("2024-01-01T00:00:10.5Z").expect("a time");
        let path = JsonPath::parse(".at").expect("a path");
        for (at, want) in [
            ("2024-01-01T00:00:08Z", "2s"),
            ("2024-01-01T00:00:08.9Z", "1s"),
            ("2024-01-01T01:00:08+01:00", "2s"),
            ("2024-01-01T00:00:11Z", "0s"),
            ("2024-01-01T00:00:12Z", "0s"),
            ("2024-01-01T00:00:12.4Z", "0s"),
            ("2024-01-01T00:00:12.6Z", "<invalid>"),
            ("2025-01-01T00:00:00Z", "<invalid>"),
            ("1024-01-01T00:00:00Z", "292y"),
            ("0001-01-01T00:00:00Z", "<unknown>"),
            ("", "<unknown>"),
            ("null", "<unknown>"),
            ("2024-01-01", "<invalid>"),
        ] {
            let object = json!({"at": at});
            assert_eq!(path.cell("date", &object, now), json!(want), "{at}");
        }
        let object = json!({"at": 5});
        assert_eq!(path.cell("date", &object, now), Value::Null);
    }

    #[test]
    fn fields_have_values() {
        let object = object();
        for (path, want) in [
            (".spec.replicas", "3"),
            (".spec.on", "true"),
            (".spec.x", ""),
            (".spec.none", ""),
        ] {
            let path = JsonPath::parse(path).expect("a path");
            assert_eq!(path.field_value(&object), Ok(want.to_owned()));
        }
    }

    #[test]
    fn very_many_results_are_refused() {
        let items: Vec<Value> = (0..200).map(Value::from).collect();
        let object = json!({ "a": items });
        let path = format!(".a[{}]", vec!["*"; 60].join(","));
        let path = JsonPath::parse(&path).expect("a path");
        let error = PathError("the path finds too much".to_owned());
        assert_eq!(path.find(&object), Err(error));
    }
}

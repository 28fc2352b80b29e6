//! Where in an object a validation error is, and what is wrong there. Upstream: apimachinery/pkg/util/validation/field.
//!
//! Validation collects every error in an [`ErrorList`]; texts equal upstream's, including how a bad value prints.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_types::meta::v1::StatusCause;
use serde_json::Value;

use crate::quote::quote;

// === Path ===

/// The path from an object to one of its fields: `spec.containers[0].image`, `metadata.annotations[key]`.
///
/// A path is a linked list that shares its parents, so a child costs one allocation and a clone none. [`Path::nil`] is
/// Go's nil path: it prints as `<nil>`, and a child of it is a root.
#[derive(Clone, Default)]
pub struct Path(Option<Arc<Node>>);

struct Node {
    parent: Path,
    element: Element,
}

enum Element {
    Name(Cow<'static, str>),
    Index(usize),
    Key(String),
}

impl Path {
    /// A root field.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self::nil().child(name)
    }

    /// The absent path.
    pub const fn nil() -> Self {
        Self(None)
    }

    /// The field of that name below this path.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.push(Element::Name(name.into()))
    }

    /// The list item at that position below this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.push(Element::Index(index))
    }

    /// The map entry of that key below this path.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.push(Element::Key(key.into()))
    }

    fn push(&self, element: Element) -> Self {
        Self(Some(Arc::new(Node {
            parent: self.clone(),
            element,
        })))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(leaf) = &self.0 else {
            return f.write_str("<nil>");
        };
        let mut nodes = vec![leaf];
        while let Some(parent) = nodes.last().and_then(|node| node.parent.0.as_ref()) {
            nodes.push(parent);
        }
        for node in nodes.into_iter().rev() {
            match &node.element {
                Element::Name(name) if name.is_empty() => f.write_str("[]")?,
                Element::Name(name) => {
                    if node.parent.0.is_some() {
                        f.write_str(".")?;
                    }
                    f.write_str(name)?;
                }
                Element::Index(index) => write!(f, "[{index}]")?,
                Element::Key(key) => write!(f, "[{key}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

impl From<&'static str> for Path {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

// === Error ===

/// What is wrong with a field. The identifier goes into a Status cause, the title into the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A referenced value does not exist.
    NotFound,
    /// A required value is missing.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value that is none of the known ones.
    NotSupported,
    /// A well-formed value that is not permitted here and now.
    Forbidden,
    /// A value that is too long.
    TooLong,
    /// A value that is too short.
    TooShort,
    /// A list with too many items.
    TooMany,
    /// A list with too few items.
    TooFew,
    /// Not the user's fault.
    Internal,
    /// A value of the wrong type.
    TypeInvalid,
}

impl ErrorKind {
    /// The identifier in `status.details.causes[].reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        })
    }
}

/// The value an error complains about, in the form it is printed.
#[derive(Debug, Clone, PartialEq)]
pub enum BadValue {
    /// Not printed.
    Omitted,
    /// Printed in double quotes with Go's escapes.
    String(String),
    /// Printed as is: numbers and booleans, and JSON text of anything else.
    Text(String),
}

impl BadValue {
    /// A value that prints as Go's JSON.
    pub fn json(value: &Value) -> Self {
        Self::Text(go_json(value))
    }

    /// An API value, such as an owner reference or a whole list item, that prints as Go's JSON.
    pub fn of(value: &dyn api_types::Struct) -> Self {
        let bytes = api_types::encode_json(value);
        Self::Text(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }
}

/// Compact JSON with Go's escapes of `<`, `>`, `&` and the two line separators.
pub(crate) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

impl From<&str> for BadValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for BadValue {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<&String> for BadValue {
    fn from(value: &String) -> Self {
        Self::String(value.clone())
    }
}

macro_rules! bad_value_from_display {
    ($($type:ty),*) => {$(
        impl From<$type> for BadValue {
            fn from(value: $type) -> Self {
                Self::Text(value.to_string())
            }
        }
    )*};
}
bad_value_from_display!(i32, i64, u32, u64, usize, bool, f64);

impl From<Value> for BadValue {
    fn from(value: Value) -> Self {
        Self::json(&value)
    }
}

impl From<&Value> for BadValue {
    fn from(value: &Value) -> Self {
        Self::json(value)
    }
}

impl From<&[String]> for BadValue {
    fn from(value: &[String]) -> Self {
        Self::json(&Value::from(value))
    }
}

impl From<&Vec<String>> for BadValue {
    fn from(value: &Vec<String>) -> Self {
        Self::from(value.as_slice())
    }
}

impl From<&std::collections::BTreeMap<String, String>> for BadValue {
    fn from(value: &std::collections::BTreeMap<String, String>) -> Self {
        // An object that has none has Go's nil map.
        if value.is_empty() {
            return Self::Text("null".to_owned());
        }
        Self::json(&Value::Object(
            value
                .iter()
                .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
                .collect(),
        ))
    }
}

impl From<&api_types::Quantity> for BadValue {
    fn from(value: &api_types::Quantity) -> Self {
        // A Quantity is a struct to Go, so its JSON is what prints: the canonical text in quotes.
        Self::Text(quote(&value.to_string()))
    }
}

/// A value that is costly to print, and is not made for an error that is not told.
pub struct Lazily<F>(pub F);

impl<F: FnOnce() -> BadValue> From<Lazily<F>> for BadValue {
    fn from(Lazily(make): Lazily<F>) -> Self {
        make()
    }
}

/// The same for more words.
pub struct LazyText<F>(pub F);

impl<F: FnOnce() -> String> From<LazyText<F>> for String {
    fn from(LazyText(make): LazyText<F>) -> Self {
        make()
    }
}

/// Go's nil pointer prints as `null`.
impl<T: Into<BadValue>> From<Option<T>> for BadValue {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self::Text("null".to_owned()), Into::into)
    }
}

/// Where an error that is not told says it is.
const UNTOLD: &str = "<omitted>";

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The field's path, already in text form.
    pub path: String,
    /// The value found there.
    pub bad_value: BadValue,
    /// More words; may be empty.
    pub detail: String,
    held: Held,
}

/// What the errors of all objects that are looked at hold at once, in bytes, before further ones are not told. Upstream has no such
/// limit: there an object of three megabytes can have errors of terabytes, each element of a list with the whole list.
const MOST_HELD: usize = 8 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes that an error holds, counted while there is the error.
#[derive(Debug)]
struct Held(usize);

impl Held {
    fn new(bytes: usize) -> Self {
        HELD.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Errors that say the same are equal.
impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Error {
    fn new(
        kind: ErrorKind,
        path: &Path,
        bad_value: impl Into<BadValue>,
        detail: impl Into<String>,
    ) -> Self {
        if HELD.load(Ordering::Relaxed) > MOST_HELD {
            return Self { kind, ..untold() };
        }
        let (path, bad_value, detail) = (path.to_string(), bad_value.into(), detail.into());
        let value_bytes = match &bad_value {
            BadValue::Omitted => 0,
            BadValue::String(text) | BadValue::Text(text) => text.len(),
        };
        let held = Held::new(path.len() + value_bytes + detail.len());
        Self {
            kind,
            path,
            bad_value,
            detail,
            held,
        }
    }

    /// Whether it stands for errors that are not told.
    fn is_untold(&self) -> bool {
        self.held.0 == 0 && self.path == UNTOLD
    }

    /// The message without the path.
    pub fn body(&self) -> String {
        let mut text = self.kind.to_string();
        let prints_value = !matches!(
            self.kind,
            ErrorKind::Required
                | ErrorKind::Forbidden
                | ErrorKind::TooLong
                | ErrorKind::TooShort
                | ErrorKind::Internal
        );
        if prints_value {
            match &self.bad_value {
                BadValue::Omitted => {}
                BadValue::String(value) => {
                    text.push_str(": ");
                    text.push_str(&quote(value));
                }
                BadValue::Text(value) => {
                    text.push_str(": ");
                    text.push_str(value);
                }
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// The error as a cause in a Status.
    pub fn to_cause(&self) -> StatusCause {
        StatusCause {
            reason: self.kind.reason().to_owned(),
            message: self.body(),
            field: self.path.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for Error {}

/// Stands for errors that are not told, since there is more to say than anybody reads.
pub fn untold() -> Error {
    Error {
        kind: ErrorKind::Invalid,
        path: UNTOLD.to_owned(),
        bad_value: BadValue::Omitted,
        detail: "there are more errors than can be told".to_owned(),
        held: Held::new(0),
    }
}

/// The value has the wrong type.
pub fn type_invalid(path: &Path, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::TypeInvalid, path, value, detail)
}

/// The value refers to something that does not exist.
pub fn not_found(path: &Path, value: impl Into<BadValue>) -> Error {
    Error::new(ErrorKind::NotFound, path, value, "")
}

/// A required value is missing or empty.
pub fn required(path: &Path, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Required, path, BadValue::from(""), detail)
}

/// A value that must be unique is not.
pub fn duplicate(path: &Path, value: impl Into<BadValue>) -> Error {
    Error::new(ErrorKind::Duplicate, path, value, "")
}

/// The value is malformed.
pub fn invalid(path: &Path, value: impl Into<BadValue>, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, path, value, detail)
}

/// The value is none of the supported ones. They print in the order given.
pub fn not_supported<S: AsRef<str>>(
    path: &Path,
    value: impl Into<BadValue>,
    supported: &[S],
) -> Error {
    let detail = LazyText(|| {
        if supported.is_empty() {
            return String::new();
        }
        let quoted: Vec<String> = supported
            .iter()
            .map(|value| quote(value.as_ref()))
            .collect();
        format!("supported values: {}", quoted.join(", "))
    });
    Error::new(ErrorKind::NotSupported, path, value, detail)
}

/// The value is well-formed and still not permitted.
pub fn forbidden(path: &Path, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Forbidden, path, BadValue::from(""), detail)
}

/// The value is longer than that many bytes. The value itself is not printed.
pub fn too_long(path: &Path, max_bytes: usize) -> Error {
    let unit = if max_bytes == 1 { "byte" } else { "bytes" };
    let detail = format!("may not be more than {max_bytes} {unit}");
    Error::new(
        ErrorKind::TooLong,
        path,
        BadValue::from("<value omitted>"),
        detail,
    )
}

/// The value is longer than that many characters. The value itself is not printed.
pub fn too_long_characters(path: &Path, max_characters: usize) -> Error {
    let unit = if max_characters == 1 {
        "character"
    } else {
        "characters"
    };
    let detail = format!("may not be more than {max_characters} {unit}");
    Error::new(
        ErrorKind::TooLong,
        path,
        BadValue::from("<value omitted>"),
        detail,
    )
}

/// The value is shorter than that many characters.
pub fn too_short(path: &Path, value: &str, min_characters: usize) -> Error {
    let unit = if min_characters == 1 {
        "character"
    } else {
        "characters"
    };
    Error::new(
        ErrorKind::TooShort,
        path,
        value,
        format!("must be at least {min_characters} {unit}"),
    )
}

/// The list has too many items. `actual` is omitted when the caller stopped counting.
pub fn too_many(path: &Path, actual: Option<usize>, max: usize) -> Error {
    let unit = if max == 1 { "item" } else { "items" };
    let value = actual.map_or(BadValue::Omitted, BadValue::from);
    Error::new(
        ErrorKind::TooMany,
        path,
        value,
        format!("must have at most {max} {unit}"),
    )
}

/// The list has too few items.
pub fn too_few(path: &Path, actual: usize, min: usize) -> Error {
    let unit = if min == 1 { "item" } else { "items" };
    Error::new(
        ErrorKind::TooFew,
        path,
        actual,
        format!("must have at least {min} {unit}"),
    )
}

/// Something failed that is not the user's fault.
pub fn internal(path: &Path, error: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        path,
        BadValue::Omitted,
        error.to_string(),
    )
}

// === ErrorList ===

/// Everything wrong with an object. Empty means valid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorList(pub Vec<Error>);

impl ErrorList {
    /// No errors so far.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The errors as the causes of a Status.
    pub fn to_causes(&self) -> Vec<StatusCause> {
        let mut untold = false;
        let told = self
            .0
            .iter()
            .filter(|error| !error.is_untold() || !std::mem::replace(&mut untold, true));
        told.map(Error::to_cause).collect()
    }

    /// All messages in one: the message itself if there is one, else `[a, b]`, without repeats. `None` if there is no error.
    pub fn aggregate(&self) -> Option<String> {
        aggregate(self.0.iter().map(ToString::to_string))
    }

    /// The list as a result: `Ok` if it is empty.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The list with text put before every detail.
    #[must_use]
    pub fn prefix_detail(mut self, prefix: &str) -> Self {
        for error in &mut self.0 {
            error.detail.insert_str(0, prefix);
        }
        self
    }
}

/// Messages joined the way upstream's aggregates print: one alone as it is, several as `[a, b]`, repeats once.
pub fn aggregate(messages: impl IntoIterator<Item = String>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    let mut unique: Vec<String> = Vec::new();
    for message in messages {
        if seen.insert(message.clone()) {
            unique.push(message);
        }
    }
    match unique.len() {
        0 => None,
        1 => unique.pop(),
        _ => Some(format!("[{}]", unique.join(", "))),
    }
}

impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.aggregate().unwrap_or_default())
    }
}

impl std::error::Error for ErrorList {}

impl Deref for ErrorList {
    type Target = Vec<Error>;
    fn deref(&self) -> &Vec<Error> {
        &self.0
    }
}

impl DerefMut for ErrorList {
    fn deref_mut(&mut self) -> &mut Vec<Error> {
        &mut self.0
    }
}

impl IntoIterator for ErrorList {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ErrorList {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromIterator<Error> for ErrorList {
    fn from_iter<I: IntoIterator<Item = Error>>(errors: I) -> Self {
        Self(errors.into_iter().collect())
    }
}

impl Extend<Error> for ErrorList {
    fn extend<I: IntoIterator<Item = Error>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl From<Error> for ErrorList {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl From<Vec<Error>> for ErrorList {
    fn from(errors: Vec<Error>) -> Self {
        Self(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_print_as_upstream() {
        let root = Path::new("root");
        let cases = [
            (root.clone(), "root"),
            (root.child("first"), "root.first"),
            (root.child("first").index(0), "root.first[0]"),
            (
                root.child("first").index(0).child("second"),
                "root.first[0].second",
            ),
            (root.key("a.b/c").key("d"), "root[a.b/c][d]"),
            (root.index(1).index(2), "root[1][2]"),
            (Path::nil(), "<nil>"),
            (Path::nil().child("x"), "x"),
            (Path::nil().index(3).child("x"), "[3].x"),
            (Path::new(""), "[]"),
        ];
        for (path, want) in cases {
            assert_eq!(path.to_string(), want);
        }
    }

    #[test]
    fn errors_print_as_upstream() {
        let p = Path::new("field");
        let cases = [
            (
                type_invalid(&p, "value", "detail"),
                r#"field: Invalid value: "value": detail"#,
            ),
            (not_found(&p, "value"), r#"field: Not found: "value""#),
            (required(&p, ""), "field: Required value"),
            (required(&p, "name it"), "field: Required value: name it"),
            (duplicate(&p, "a\"b"), r#"field: Duplicate value: "a\"b""#),
            (
                invalid(&p, 5, "too odd"),
                "field: Invalid value: 5: too odd",
            ),
            (invalid(&p, true, ""), "field: Invalid value: true"),
            (invalid(&p, 1.5, ""), "field: Invalid value: 1.5"),
            (
                invalid(&p, json!({"b": [1], "a": "<"}), "x"),
                r#"field: Invalid value: {"a":"\u003c","b":[1]}: x"#,
            ),
            (
                invalid(&p, Option::<i64>::None, "x"),
                "field: Invalid value: null: x",
            ),
            (
                invalid(&p, Some("v"), "x"),
                r#"field: Invalid value: "v": x"#,
            ),
            (
                invalid(&p, &vec!["a".to_owned()], "x"),
                r#"field: Invalid value: ["a"]: x"#,
            ),
            (
                not_supported(&p, "v", &["a", "b"]),
                r#"field: Unsupported value: "v": supported values: "a", "b""#,
            ),
            (
                not_supported::<&str>(&p, "v", &[]),
                r#"field: Unsupported value: "v""#,
            ),
            (forbidden(&p, "no"), "field: Forbidden: no"),
            (
                too_long(&p, 1),
                "field: Too long: may not be more than 1 byte",
            ),
            (
                too_long(&p, 5),
                "field: Too long: may not be more than 5 bytes",
            ),
            (
                too_long_characters(&p, 5),
                "field: Too long: may not be more than 5 characters",
            ),
            (
                too_short(&p, "", 1),
                "field: Too short: must be at least 1 character",
            ),
            (
                too_many(&p, Some(3), 2),
                "field: Too many: 3: must have at most 2 items",
            ),
            (
                too_many(&p, None, 1),
                "field: Too many: must have at most 1 item",
            ),
            (
                too_few(&p, 0, 1),
                "field: Too few: 0: must have at least 1 item",
            ),
            (internal(&p, "broken"), "field: Internal error: broken"),
        ];
        for (error, want) in cases {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn aggregates() {
        let p = Path::new("f");
        let mut list = ErrorList::new();
        assert_eq!(list.aggregate(), None);
        list.push(required(&p, ""));
        assert_eq!(list.aggregate().as_deref(), Some("f: Required value"));
        list.push(required(&p, ""));
        assert_eq!(list.aggregate().as_deref(), Some("f: Required value"));
        list.push(forbidden(&p, "no"));
        assert_eq!(
            list.aggregate().as_deref(),
            Some("[f: Required value, f: Forbidden: no]")
        );
        let causes = list.to_causes();
        assert_eq!(causes.len(), 3);
        assert_eq!(causes[2].reason, "FieldValueForbidden");
        assert_eq!(causes[2].message, "Forbidden: no");
        assert_eq!(causes[2].field, "f");
    }
}

//! A case is a list of requests that belong together. Their texts are templates: `${name}` and the like are known from the
//! start, `${rv}`, `${uid}`, `${continue}` come from the answers so far, of each server its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Requests sent one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// `topic/resource/case`.
    pub name: String,
    /// Runs before all others, alone.
    pub first: bool,
    /// Namespace that has to exist, and the variables of the templates.
    pub vars: BTreeMap<String, String>,
    /// What differs from case to case without meaning: replaced when causes are grouped.
    pub vocabulary: Vec<(String, &'static str)>,
    pub steps: Vec<Step>,
}

/// One request. In a file it is a map, or the text of `do` alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    /// `VERB /path?query`.
    #[serde(rename = "do")]
    pub target: String,
    /// The resource's minimal object, with these changes (JSON pointer to value).
    pub object: Option<Changes>,
    /// Which of the case's objects; they have different names.
    pub nth: usize,
    /// A body as it is.
    pub body: Option<Value>,
    /// A body that need not be JSON.
    pub text: Option<String>,
    /// Content-Type; JSON when there is a body and nothing is said.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    pub accept: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// `anonymous`, or a bearer token. Nothing is the administrator's certificate.
    #[serde(rename = "as")]
    pub identity: Option<String>,
    /// The rest of the case makes no sense without it.
    pub needed: bool,
    /// Also compare the body's bytes, not only what they mean.
    pub bytes: bool,
    /// Only compare the code and the headers.
    pub head_only: bool,
    /// Only for resources with this verb, or `name/verb` of a subresource.
    #[serde(rename = "if")]
    pub condition: Option<String>,
}

/// JSON pointer to new value; [`DELETE`] takes the field away.
pub(crate) type Changes = BTreeMap<String, Value>;

pub(crate) const DELETE: &str = "$delete";

impl Step {
    pub(crate) fn send(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            ..Self::default()
        }
    }

    pub(crate) fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Verb and path.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.target.split_once(' ').unwrap_or((&self.target, "/"))
    }
}

/// Replaces `${name}`. Unknown names stay, so that a mistake shows in the report.
pub(crate) fn fill(template: &str, vars: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let known = after
            .find('}')
            .and_then(|end| Some((end, vars.get(&after[..end])?)));
        match known {
            Some((end, value)) => {
                out.push_str(value);
                rest = &after[end + 1..];
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out + rest
}

/// Applies changes, making objects and list items on the way.
pub(crate) fn change(object: &mut Value, changes: &Changes) {
    for (pointer, value) in changes {
        set(object, pointer, value);
    }
}

fn set(object: &mut Value, pointer: &str, value: &Value) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        *object = value.clone();
        return;
    };
    let mut target = object;
    for token in parent.split('/').skip(1) {
        target = step_into(target, &unescape(token));
    }
    let last = unescape(last);
    if value.as_str() == Some(DELETE) {
        match target {
            Value::Object(map) => drop(map.remove(&last)),
            Value::Array(items) => {
                if let Ok(index) = last.parse::<usize>()
                    && index < items.len()
                {
                    items.remove(index);
                }
            }
            _ => {}
        }
    } else {
        *step_into(target, &last) = value.clone();
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn step_into<'a>(target: &'a mut Value, token: &str) -> &'a mut Value {
    let index = token.parse::<usize>().ok();
    if target.is_null() {
        *target = if token == "-" || index.is_some() {
            Value::Array(Vec::new())
        } else {
            Value::Object(serde_json::Map::new())
        };
    }
    match target {
        Value::Array(items) => {
            let index = index.unwrap_or(items.len());
            while items.len() <= index {
                items.push(Value::Null);
            }
            &mut items[index]
        }
        Value::Object(map) => map.entry(token.to_owned()).or_insert(Value::Null),
        scalar => {
            *scalar = Value::Object(serde_json::Map::new());
            scalar
                .as_object_mut()
                .expect("it was just made an object")
                .entry(token.to_owned())
                .or_insert(Value::Null)
        }
    }
}

/// JSON merge patch (RFC 7396), for objects that are variants of others.
pub(crate) fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = Value::Object(serde_json::Map::new());
            }
            let map = object.as_object_mut().expect("it was made an object above");
            for (key, value) in fields {
                if value.is_null() {
                    map.remove(key);
                } else {
                    merge(map.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        other => *object = other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates() {
        let vars = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (template, filled) in [
            ("x${a}y${a}", "x1y1"),
            ("${unknown} ${a}", "${unknown} 1"),
            ("${", "${"),
            ("", ""),
        ] {
            assert_eq!(fill(template, &vars), filled);
        }
    }

    #[track_caller]
    fn check(mut object: Value, pointer: &str, value: Value, expected: Value) {
        set(&mut object, pointer, &value);
        assert_eq!(object, expected, "{pointer}");
    }

    #[test]
    fn changes() {
        check(json!({"a": 1}), "/a", json!(2), json!({"a": 2}));
        check(json!({}), "/a/b", json!(2), json!({"a": {"b": 2}}));
        check(json!({}), "/a/0/b", json!(2), json!({"a": [{"b": 2}]}));
        check(json!({"a": [1]}), "/a/-", json!(2), json!({"a": [1, 2]}));
        check(
            json!({"a": [1, 2]}),
            "/a/0",
            json!(DELETE),
            json!({"a": [2]}),
        );
        check(
            json!({"a": {"b/c": 1}}),
            "/a/b~1c",
            json!(DELETE),
            json!({"a": {}}),
        );
        check(json!({}), "", json!([]), json!([]));
    }

    #[test]
    fn merging() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut object, &json!({"a": {"b": null, "e": 3}, "d": [2]}));
        assert_eq!(object, json!({"a": {"c": 2, "e": 3}, "d": [2]}));
    }
}

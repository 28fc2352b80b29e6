//! The dotted paths of the scale subresource. Upstream: registry/customresource/{etcd,validator}.go and
//! apimachinery's unstructured helpers.

use api_types::apiextensions::v1::CustomResourceSubresourceScale;
use apimachinery::field::{self, ErrorList, Path};
use serde_json::{Map, Value};

use crate::json_path::{go_text, go_type};

/// What the scale subresource of an object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// How many are wanted; none if the object does not say.
    pub spec_replicas: Option<i64>,
    /// How many there are.
    pub status_replicas: i64,
    /// Which pods they are, as a label selector in text form.
    pub selector: String,
}

/// Reads an object's scale; an error if something on the way has the wrong type.
pub fn read(object: &Value, paths: &CustomResourceSubresourceScale) -> Result<Scale, String> {
    let selector_path = paths.label_selector_path.as_deref().unwrap_or("");
    Ok(Scale {
        spec_replicas: int(object, &paths.spec_replicas_path)?,
        status_replicas: int(object, &paths.status_replicas_path)?.unwrap_or(0),
        selector: match selector_path {
            "" => String::new(),
            path => text(object, path)?.unwrap_or_default(),
        },
    })
}

/// Sets how many are wanted. Maps on the way are made where they are missing.
pub fn set_replicas(object: &mut Value, path: &str, replicas: i64) -> Result<(), String> {
    let names: Vec<&str> = names(path).collect();
    let Some((last, way)) = names.split_last() else {
        return Ok(());
    };
    let mut at = object;
    for (index, name) in way.iter().enumerate() {
        let Value::Object(fields) = at else {
            return Err(not_a_map(&names[..index]));
        };
        at = fields
            .entry(*name)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    match at {
        Value::Object(fields) => {
            fields.insert((*last).to_owned(), replicas.into());
            Ok(())
        }
        _ => Err(not_a_map(way)),
    }
}

fn not_a_map(way: &[&str]) -> String {
    format!(
        "value cannot be set because .{} is not a map[string]interface{{}}",
        way.join(".")
    )
}

/// What is wrong with the replicas that an object wants.
pub fn validate_spec(object: &Value, paths: &CustomResourceSubresourceScale) -> ErrorList {
    replicas(object, &paths.spec_replicas_path)
}

/// What is wrong with what an object's status says of its replicas.
pub fn validate_status(object: &Value, paths: &CustomResourceSubresourceScale) -> ErrorList {
    let mut errors = replicas(object, &paths.status_replicas_path);
    if let Some(path) = &paths.label_selector_path
        && let Err(error) = text(object, path)
    {
        errors.push(field::invalid(&Path::new(path.clone()), "", error));
    }
    errors
}

fn replicas(object: &Value, path: &str) -> ErrorList {
    let at = Path::new(path.to_owned());
    match int(object, path) {
        Err(error) => field::invalid(&at, 0_i64, error).into(),
        Ok(Some(replicas)) if replicas < 0 => {
            field::invalid(&at, replicas, "should be a non-negative integer").into()
        }
        Ok(Some(replicas)) if replicas > i64::from(i32::MAX) => {
            let detail = format!("should be less than or equal to {}", i32::MAX);
            field::invalid(&at, replicas, detail).into()
        }
        Ok(_) => ErrorList::new(),
    }
}

/// `.spec.replicas` is `spec`, `replicas`.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

fn find<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut at = object;
    for (index, name) in names(path).enumerate() {
        at = match at {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(name) {
                Some(value) => value,
                None => return Ok(None),
            },
            value => {
                let way: Vec<&str> = names(path).take(index + 1).collect();
                return Err(wrong(&way.join("."), value, "map[string]interface{}"));
            }
        };
    }
    Ok(Some(at))
}

fn wrong(path: &str, value: &Value, expected: &str) -> String {
    let (text, kind) = (go_text(value), go_type(value));
    format!(".{path} accessor error: {text} is of the type {kind}, expected {expected}")
}

fn int(object: &Value, path: &str) -> Result<Option<i64>, String> {
    let Some(value) = find(object, path)? else {
        return Ok(None);
    };
    let names: Vec<&str> = names(path).collect();
    match value.as_i64() {
        Some(number) => Ok(Some(number)),
        None => Err(wrong(&names.join("."), value, "int64")),
    }
}

fn text(object: &Value, path: &str) -> Result<Option<String>, String> {
    let Some(value) = find(object, path)? else {
        return Ok(None);
    };
    let names: Vec<&str> = names(path).collect();
    match value.as_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(wrong(&names.join("."), value, "string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths() -> CustomResourceSubresourceScale {
        CustomResourceSubresourceScale {
            spec_replicas_path: ".spec.replicas".to_owned(),
            status_replicas_path: ".status.replicas".to_owned(),
            label_selector_path: Some(".status.selector".to_owned()),
        }
    }

    #[test]
    fn scales_are_read_and_set() {
        let mut object =
            json!({"spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=b"}});
        let want = Scale {
            spec_replicas: Some(3),
            status_replicas: 2,
            selector: "a=b".to_owned(),
        };
        assert_eq!(read(&object, &paths()), Ok(want));
        assert_eq!(read(&json!({}), &paths()), Ok(Scale::default()));
        assert_eq!(
            read(&json!({"spec": {"replicas": "3"}}), &paths()),
            Err(
                ".spec.replicas accessor error: 3 is of the type string, expected int64".to_owned()
            )
        );
        assert_eq!(
            read(&json!({"spec": ["x"]}), &paths()),
            Err(".spec.replicas accessor error: [x] is of the type []interface {}, expected map[string]interface{}".to_owned())
        );
        assert_eq!(set_replicas(&mut object, ".spec.replicas", 5), Ok(()));
        assert_eq!(object["spec"]["replicas"], 5);
        let mut empty = json!({});
        assert_eq!(set_replicas(&mut empty, ".spec.deep.replicas", 5), Ok(()));
        assert_eq!(empty, json!({"spec": {"deep": {"replicas": 5}}}));
        assert!(set_replicas(&mut json!({"spec": 1}), ".spec.replicas", 5).is_err());
    }

    #[test]
    fn replicas_are_counts() {
        let object = json!({"spec": {"replicas": -1}, "status": {"replicas": 2_147_483_648_i64, "selector": 1}});
        let texts = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(validate_spec(&object, &paths())),
            [".spec.replicas: Invalid value: -1: should be a non-negative integer"]
        );
        assert_eq!(
            texts(validate_status(&object, &paths())),
            [
                ".status.replicas: Invalid value: 2147483648: should be less than or equal to 2147483647",
                ".status.selector: Invalid value: \"\": .status.selector accessor error: 1 is of the type int64, expected string",
            ]
        );
    }
}

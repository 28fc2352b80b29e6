//! Upstream's answers, recorded: `testdata/reference.jsonl` has a case a line, with what Kubernetes 1.36's own code said. A
//! line with a schema alone is for the lines below it. Of an answer only what is not empty is there, and the object only if
//! it is not the one that went in.
//!
//! Where several things are wrong the order is not compared: upstream's depends on the order of Go's maps.

use std::path::PathBuf;

use api_types::apiextensions::v1::JSONSchemaProps;
use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};
use structural_schema::json_path::JsonPath;
use structural_schema::{
    CoerceOptions, Options, RUNTIME_BUDGET, Structural, validate_custom_resource_validation,
};

fn texts(errors: &ErrorList) -> Vec<String> {
    let reason = |error: &apimachinery::field::Error| error.kind.reason();
    errors
        .iter()
        .map(|error| format!("{}|{error}", reason(error)))
        .collect()
}

fn sorted(mut texts: Vec<String>) -> Value {
    texts.sort();
    texts.into()
}

/// What this crate says of a case, in the form of the recordings.
fn answer(schema: &Value, case: &Value) -> Value {
    if case["op"] == "jsonpath" {
        return json_path(case);
    }
    let props: JSONSchemaProps = match api_types::decode_json(schema.to_string().as_bytes()) {
        Ok(props) => props,
        Err(error) => return json!({"error": error.to_string()}),
    };
    if case["op"] == "crd" {
        let has_status = case["status"] == true;
        let path = Path::new("spec").child("validation");
        let errors =
            validate_custom_resource_validation(&props, has_status, &Options::default(), &path);
        return json!({"errors": sorted(texts(&errors))});
    }
    let schema = match Structural::new(&props) {
        Ok(schema) => schema.with_pruned_defaults(),
        Err(error) => return json!({"error": error.to_string()}),
    };
    let mut object = case["object"].clone();
    let options = CoerceOptions {
        drop_invalid: false,
        report_unknown: true,
    };
    let unknown = match schema.coerce(&mut object, false, options) {
        Ok(unknown) => unknown,
        Err(error) => return json!({"coerce": error.to_string()}),
    };
    let mut out = json!({});
    let mut paths = schema.prune_reporting(&mut object, true);
    paths.extend(unknown);
    out["unknown"] = paths.into();
    schema.prune_nulls(&mut object);
    schema.apply_defaults(&mut object);
    out["object"] = object.clone();
    let old = case.get("old");
    let errors = match old {
        Some(old) => schema.validate_update(&object, old, &Path::nil()),
        None => schema.validate(&object, &Path::nil()),
    };
    out["schema"] = sorted(texts(&errors));
    out["meta"] = sorted(texts(&schema.validate_embedded(
        &object,
        &Path::nil(),
        false,
    )));
    out["lists"] = sorted(texts(&schema.validate_list_types(&object, &Path::nil())));
    if schema.has_rules() {
        let budget = RUNTIME_BUDGET as i64;
        let outcome = schema.validate_rules(&object, old, &Path::nil(), budget);
        out["rules"] = sorted(texts(&outcome.errors));
        out["cost"] = (budget - outcome.budget).into();
    }
    out
}

fn json_path(case: &Value) -> Value {
    let text = case["path"].as_str().expect("a path");
    let found =
        JsonPath::parse(text).and_then(|path| Ok((path.find(&case["object"])?.len(), path)));
    match found {
        Err(error) => json!({"error": error.to_string()}),
        Ok((0, _)) => json!({"none": true}),
        Ok((count, path)) => {
            json!({"count": count, "text": path.cell("string", &case["object"], api_types::MicroTime::default())})
        }
    }
}

/// Go writes numbers its own way: they are compared by value.
fn by_value(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(by_value),
        Value::Object(fields) => fields.values_mut().for_each(by_value),
        _ => {}
    }
}

/// The number in the name of the type of `self` is another each time.
fn without_type_numbers(text: &mut String) {
    let mut parts = text.split("selfType");
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        out.push_str("selfType");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    *text = out;
}

/// Whether a server would evaluate no rules.
fn blocks(answer: &Value) -> bool {
    let errors = answer["schema"].as_array().into_iter().flatten();
    errors.filter_map(Value::as_str).any(|error| {
        [
            "NotSupported",
            "Required",
            "TooLong",
            "TooMany",
            "TypeInvalid",
        ]
        .iter()
        .any(|kind| error.starts_with(&format!("FieldValue{kind}|")))
    })
}

/// Answers without what does not count.
fn normal(mut answer: Value, case: &Value) -> Value {
    by_value(&mut answer);
    // Upstream charges for looking at what does not fit the schema.
    let odd = answer["rules"].to_string().contains("invalid data");
    if blocks(&answer)
        && let Value::Object(fields) = &mut answer
    {
        fields.remove("rules");
        fields.remove("cost");
    } else if odd && let Value::Object(fields) = &mut answer {
        fields.remove("cost");
    }
    let mut object = case["object"].clone();
    by_value(&mut object);
    if let Value::Object(fields) = &mut answer {
        fields.retain(|name, value| match &**name {
            "object" => *value != object,
            "unknown" | "schema" | "meta" | "lists" => !value.as_array().is_some_and(Vec::is_empty),
            _ => true,
        });
    }
    for name in ["errors", "schema", "meta", "lists", "rules"] {
        if let Some(Value::Array(texts)) = answer.get_mut(name) {
            for text in texts.iter_mut() {
                if let Value::String(text) = text {
                    without_type_numbers(text);
                }
            }
            texts.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    answer
}

#[test]
fn answers_are_upstreams() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/reference.jsonl");
    let path = std::env::var_os("STRUCTURAL_SCHEMA_REFERENCE").map_or(path, PathBuf::from);
    let text = std::fs::read_to_string(path).expect("recorded answers");
    let mut wrong = Vec::new();
    let mut schema = Value::Null;
    for (number, line) in text.lines().enumerate() {
        let case: Value = serde_json::from_str(line).expect("a case");
        if let Some(new) = case.get("schema") {
            schema = new.clone();
            continue;
        }
        let want = normal(case["out"].clone(), &case);
        let got = normal(answer(&schema, &case), &case);
        if got != want {
            let number = number + 1;
            wrong.push(format!(
                "{number}: {schema}\n  {case}\n  want {want}\n  got  {got}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        text.lines().count(),
        wrong.join("\n")
    );
}

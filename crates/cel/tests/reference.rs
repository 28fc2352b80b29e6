//! Thousands of expressions, and what upstream's implementation makes of them.
//!
//! `testdata/reference/*.jsonl` has a line per expression: its issues, or its type, estimated cost, actual cost, and value or
//! error, all as upstream's libraries at version 1.36 give them with the variables below and `fixture.json`. What is known to
//! differ is in `differences.txt`, a reason and the expressions.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use cel::{
    AccessCheck, Activation, Authorize, Authorizer, Budget, Decision, Env, Opaque, Program, Schema,
    SizeEstimate, SizeEstimator, Timestamp, Type, Value,
};
use serde_json::Value as Json;

#[derive(Debug)]
struct Everybody;

impl Authorize for Everybody {
    fn authorize(&self, check: &AccessCheck<'_>) -> Decision {
        if check.verb == "fail" {
            return Decision {
                error: Some("broken".to_owned()),
                ..Decision::default()
            };
        }
        let user = match check.service_account {
            Some((namespace, name)) => format!("system:serviceaccount:{namespace}:{name}"),
            None => "alice".to_owned(),
        };
        let AccessCheck {
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            ..
        } = check;
        let path = check.path.unwrap_or("");
        Decision {
            allowed: *verb == "get",
            reason: format!(
                "{user}|{verb}|{group}|{resource}|{subresource}|{namespace}|{name}|{path}"
            ),
            error: None,
        }
    }
}

/// Only `self` and `oldSelf` have a schema.
struct Sizes<'s>(&'s Schema);

impl SizeEstimator for Sizes<'_> {
    fn size(&self, path: &[&str]) -> Option<SizeEstimate> {
        if matches!(path[0], "self" | "oldSelf") {
            self.0.size(path)
        } else {
            None
        }
    }
}

fn environment(schema: &Schema) -> Env {
    let variables = [
        ("object", Type::Dyn),
        ("oldObject", Type::Dyn),
        ("l", Type::list(Type::Int)),
        ("ls", Type::list(Type::String)),
        ("ll", Type::list(Type::list(Type::Int))),
        ("m", Type::map(Type::String, Type::Int)),
        ("mi", Type::map(Type::Int, Type::String)),
        ("md", Type::map(Type::String, Type::Dyn)),
        ("s", Type::String),
        ("i", Type::Int),
        ("u", Type::Uint),
        ("d", Type::Double),
        ("b", Type::Bool),
        ("by", Type::Bytes),
        ("ts", Type::Timestamp),
        ("du", Type::Duration),
        ("n", Type::Null),
        ("x", Type::Dyn),
        ("opt", Type::optional(Type::String)),
        ("optn", Type::optional(Type::String)),
        (
            "authorizer",
            Type::object("kubernetes.authorization.Authorizer"),
        ),
        ("missing", Type::String),
    ];
    let mut builder = Env::builder()
        .schema_variable("self", schema)
        .schema_variable("oldSelf", schema);
    for (name, of) in variables {
        builder = builder.variable(name, of);
    }
    builder.build()
}

fn activation<'a>(fixture: &'a Json, values: &'a Json, schema: &'a Schema) -> Activation<'a> {
    let json = |name: &str| Value::from_json(&values[name]);
    let by_number = Env::builder()
        .variable("one", Type::String)
        .variable("two", Type::String)
        .build()
        .compile("{1: one, 2: two}")
        .unwrap();
    let numbers = Activation::new()
        .with("one", json("one"))
        .with("two", json("two"));
    let by_number = by_number
        .evaluate(&numbers, &mut Budget::default())
        .unwrap();
    let time = jiff::Timestamp::from_second(1_709_212_455).unwrap()
        + jiff::SignedDuration::from_nanos(123_456_789);
    Activation::new()
        .with("object", Value::from_json(&fixture["object"]))
        .with("oldObject", Value::Null)
        .with("l", json("l"))
        .with("ls", json("ls"))
        .with("ll", json("ll"))
        .with("m", json("m"))
        .with("mi", by_number)
        .with("md", json("md"))
        .with("s", Value::from("hello wörld"))
        .with("i", Value::Int(42))
        .with("u", Value::Uint(7))
        .with("d", Value::Double(2.5))
        .with("b", Value::Bool(true))
        .with("by", Value::Bytes([0, 1, 255].into()))
        .with("ts", Value::Timestamp(Timestamp::from(time)))
        .with("du", Value::Duration(90 * 60_000_000_000 + 5_000_000))
        .with("n", Value::Null)
        .with("x", Value::from("dynstring"))
        .with("opt", Value::some(Value::from("present")))
        .with("optn", Value::NONE)
        .with(
            "authorizer",
            Opaque::Authorizer(Authorizer::new(Arc::new(Everybody))).into(),
        )
        .with("self", schema.view(&fixture["self"]).unwrap())
        .with("oldSelf", schema.view(&fixture["oldSelf"]).unwrap())
}

/// A value with its type, in one line.
fn show(value: &Value<'_>) -> String {
    let all = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => format!("{number}u"),
        Value::Double(_) => format!("double({value})"),
        Value::String(text) => serde_json::to_string(&**text).unwrap(),
        Value::Bytes(bytes) => format!(
            "b\"{}\"",
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
        Value::Timestamp(time) => {
            let total = time.unix_nanoseconds();
            let seconds = total.div_euclid(1_000_000_000) as i64;
            let utc = Timestamp::from_unix(seconds, total.rem_euclid(1_000_000_000) as i32);
            format!("ts({})", utc.unwrap())
        }
        Value::Duration(nanoseconds) => format!("dur({nanoseconds})"),
        Value::List(list) => {
            let show_element = |element: Result<Value<'_>, _>| match element {
                Ok(element) => show(&element),
                Err(error) => format!("err({error})"),
            };
            format!("[{}]", all(list.iter().map(show_element).collect()))
        }
        Value::Map(map) => {
            let mut entries: Vec<String> = map
                .keys()
                .iter()
                .map(|key| match map.find(key) {
                    Ok(Some(value)) => format!("{}: {}", show(key), show(&value)),
                    Ok(None) => format!("{}: err(no such key: {key})", show(key)),
                    Err(error) => format!("{}: err({error})", show(key)),
                })
                .collect();
            entries.sort();
            format!("{{{}}}", all(entries))
        }
        Value::Type(of) => format!("type({of})"),
        Value::Optional(None) => "none".to_owned(),
        Value::Optional(Some(value)) => format!("some({})", show(value)),
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Quantity(quantity) => format!("quantity({quantity})"),
            Opaque::Url(url) => format!("url({url})"),
            Opaque::Ip(ip) => format!("ip({ip})"),
            Opaque::Cidr(cidr) => format!("cidr({cidr})"),
            Opaque::Semver(version) => format!("semver({version})"),
            Opaque::NamedFormat(format) => format!("format({})", format.name),
            _ => format!("other({})", value.type_of().name()),
        },
        Value::Struct(object) if &*object.type_name == "JSONPatch" => {
            let text = |name| {
                object
                    .field(name)
                    .map(|text| text.to_string())
                    .unwrap_or_default()
            };
            let patched = object.field("value").map_or("unset".to_owned(), show);
            format!(
                "JSONPatch({},{},{},{patched})",
                text("op"),
                text("path"),
                text("from")
            )
        }
        Value::Struct(object) => match value.to_json() {
            // Sorted, as Go writes maps.
            Ok(Json::Object(fields)) => {
                let sorted: BTreeMap<_, _> = fields.into_iter().collect();
                format!(
                    "{}{}",
                    object.type_name,
                    serde_json::to_string(&sorted).unwrap()
                )
            }
            _ => "objerr".to_owned(),
        },
        Value::Preserved(_) => "other(unknown)".to_owned(),
    }
}

/// What this implementation makes of an expression, in the form of the reference.
fn ours(
    env: &Env,
    expression: &str,
    sizes: &Sizes<'_>,
    activation: &Activation<'_>,
) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    let program: Program = match env.compile(expression) {
        Ok(program) => program,
        Err(errors) => {
            let key = if errors.instantiation().is_some() {
                "prog"
            } else {
                "issues"
            };
            found.insert(key, errors.to_string());
            return found;
        }
    };
    found.insert("type", program.output_type().to_string());
    let estimate = program.estimate_cost(sizes);
    found.insert("min", estimate.min.to_string());
    found.insert("max", estimate.max.to_string());
    let mut budget = Budget::default();
    let value = program.evaluate(activation, &mut budget);
    found.insert("cost", budget.used().to_string());
    match value {
        Ok(value) => found.insert("val", show(&value)),
        Err(error) => found.insert("err", error.to_string()),
    };
    found
}

#[test]
fn expressions_mean_what_they_mean_upstream() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reference");
    let fixture: Json =
        serde_json::from_str(&std::fs::read_to_string(folder.join("fixture.json")).unwrap())
            .unwrap();
    let schema = Schema::from_openapi(&fixture["schema"], "selfType", false);
    let values = serde_json::json!({
        "l": [3, 1, 2], "ls": ["b", "a", "c"], "ll": [[1, 2], [3]], "m": {"a": 1, "b": 2}, "one": "one", "two": "two",
        "md": {"k": "v", "n": 5, "nested": {"z": true}},
    });
    let env = environment(&schema);
    let mutation = env.extend().mutation_types().build();
    let activation = activation(&fixture, &values, &schema);
    let known = std::fs::read_to_string(folder.join("differences.txt")).unwrap_or_default();
    let mut known: HashMap<&str, bool> = known
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| (line, false))
        .collect();

    let mut total = 0;
    let mut failures = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files.into_iter().filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "jsonl")
    }) {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let wanted: Json = serde_json::from_str(line).unwrap();
            let expression = wanted["e"].as_str().unwrap();
            let env = if wanted["mode"] == "mutation" {
                &mutation
            } else {
                &env
            };
            let found = ours(env, expression, &Sizes(&schema), &activation);
            total += 1;
            // Upstream tells the type of what it then cannot make ready.
            let keys: &[&str] = match found.contains_key("prog") {
                true => &["issues", "prog"],
                false => &["issues", "prog", "type", "min", "max", "cost", "val", "err"],
            };
            let differs: Vec<String> = keys
                .iter()
                .filter_map(|key| {
                    let wanted = wanted.get(*key).and_then(Json::as_str).unwrap_or("");
                    let found = found.get(key).map_or("", String::as_str);
                    (wanted != found)
                        .then(|| format!("  {key}\n    want {wanted:?}\n    have {found:?}"))
                })
                .collect();
            if differs.is_empty() {
                continue;
            }
            match known.get_mut(serde_json::to_string(expression).unwrap().as_str()) {
                Some(seen) => *seen = true,
                None => failures.push(format!("{expression:?}\n{}", differs.join("\n"))),
            }
        }
    }
    let outdated: Vec<&str> = known
        .iter()
        .filter(|(_, seen)| !**seen)
        .map(|(expression, _)| *expression)
        .collect();
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} of {total} differ\n{}",
        failures.join("\n")
    );
    assert!(outdated.is_empty(), "no difference any more: {outdated:#?}");
}

//! The one document of OpenAPI v2, made out of those of v3. Upstream: kube-openapi's builder.

use serde_json::{Map, Value, json};

/// Schemas in v2's words: definitions instead of components, and no `oneOf`.
pub(super) fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, value) in fields {
                match key.as_str() {
                    "$ref" => {
                        let reference = value.as_str().unwrap_or_default();
                        out.insert(
                            key.clone(),
                            reference
                                .replace("#/components/schemas/", "#/definitions/")
                                .into(),
                        );
                    }
                    // A single reference with a description beside it.
                    "allOf" => {
                        if let Some(Value::Object(reference)) = value.get(0).map(schema) {
                            out.extend(reference);
                        }
                    }
                    "oneOf" => {
                        out.insert("type".to_owned(), "string".into());
                    }
                    _ => {
                        out.insert(key.clone(), schema(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(schema).collect(),
        other => other.clone(),
    }
}

fn parameter(value: &Value) -> Value {
    let mut out = value.clone();
    if let Some(fields) = out.as_object_mut()
        && let Some(Value::Object(schema)) = fields.remove("schema")
    {
        fields.extend(schema);
    }
    out
}

fn parameters(value: Option<&Value>) -> Vec<Value> {
    let list = value.and_then(Value::as_array);
    list.map(|list| list.iter().map(parameter).collect())
        .unwrap_or_default()
}

fn media_types(content: Option<&Value>) -> Vec<String> {
    content
        .and_then(Value::as_object)
        .map(|content| content.keys().cloned().collect())
        .unwrap_or_default()
}

fn first_schema(content: Option<&Value>) -> Option<Value> {
    content?
        .as_object()?
        .values()
        .next()?
        .get("schema")
        .map(schema)
}

fn operation(value: &Value) -> Value {
    let mut out = value.as_object().cloned().unwrap_or_default();
    let mut all = parameters(out.get("parameters"));
    let mut consumes = vec!["*/*".to_owned()];
    if let Some(body) = out.remove("requestBody") {
        let content = body.get("content");
        consumes = media_types(content);
        let mut parameter = json!({"name": "body", "in": "body"});
        if let Some(schema) = first_schema(content) {
            parameter["schema"] = schema;
        }
        if body.get("required") == Some(&Value::Bool(true)) {
            parameter["required"] = true.into();
        }
        all.insert(0, parameter);
    }
    let mut produces = Vec::new();
    if let Some(Value::Object(responses)) = out.get_mut("responses") {
        for response in responses.values_mut() {
            let Some(fields) = response.as_object_mut() else {
                continue;
            };
            if let Some(content) = fields.remove("content") {
                produces = media_types(Some(&content));
                if let Some(schema) = first_schema(Some(&content)) {
                    fields.insert("schema".to_owned(), schema);
                }
            }
        }
    }
    if !all.is_empty() {
        out.insert("parameters".to_owned(), all.into());
    }
    out.insert("consumes".to_owned(), json!(consumes));
    out.insert("produces".to_owned(), json!(produces));
    out.insert("schemes".to_owned(), json!(["https"]));
    Value::Object(out)
}

/// A path with its operations.
pub(super) fn path(value: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let value = if key == "parameters" {
            parameters(Some(value)).into()
        } else {
            operation(value)
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_become_parameters() {
        let v3 = json!({"put": {
            "requestBody": {"content": {"*/*": {"schema": {"$ref": "#/components/schemas/a"}}}, "required": true},
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "string"}}}}},
        }});
        let put = &path(&v3)["put"];
        assert_eq!(
            put["parameters"][0],
            json!({"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/a"}})
        );
        assert_eq!(
            put["responses"]["200"],
            json!({"description": "OK", "schema": {"type": "string"}})
        );
        assert_eq!(put["produces"], json!(["application/json"]));
    }
}

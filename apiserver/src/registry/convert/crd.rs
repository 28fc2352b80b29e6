//! CustomResourceDefinitions are served as v1 and stored as v1beta1 JSON. Upstream:
//! apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go.
//!
//! v1beta1 has schema, subresources, printer columns and selectable fields once for all versions where they are equal,
//! repeats the first version's name in `spec.version`, and spells a column's path `JSONPath`.

use serde_json::{Map, Value, json};

use super::StoredJson;

pub(super) static STORED: StoredJson = StoredJson {
    to_stored,
    from_stored,
};

/// Names of per-version fields in v1, and of their common form in v1beta1's spec.
const PER_VERSION: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

fn rename_paths(columns: &mut Value, from: &str, to: &str) {
    for column in columns
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if let Some(path) = column.remove(from) {
            column.insert(to.to_owned(), path);
        }
    }
}

fn rewrite(json: Vec<u8>, spec: fn(&mut Map<String, Value>), api_version: &str) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(&json) else {
        return json;
    };
    if value["apiVersion"] == api_version {
        return json;
    }
    value["apiVersion"] = json!(api_version);
    if let Some(fields) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec(fields);
    }
    serde_json::to_vec(&value).unwrap_or(json)
}

fn to_stored(json: Vec<u8>) -> Vec<u8> {
    rewrite(json, spec_to_v1beta1, "apiextensions.k8s.io/v1beta1")
}

fn from_stored(json: Vec<u8>) -> Vec<u8> {
    rewrite(json, spec_to_v1, "apiextensions.k8s.io/v1")
}

fn spec_to_v1beta1(spec: &mut Map<String, Value>) {
    spec.entry("preserveUnknownFields")
        .or_insert(Value::Bool(false));
    let mut common = Vec::new();
    if let Some(versions) = spec
        .get_mut("versions")
        .and_then(Value::as_array_mut)
        .filter(|versions| !versions.is_empty())
    {
        common.push(("version".to_owned(), versions[0]["name"].clone()));
        for version in versions.iter_mut() {
            if let Some(columns) = version.get_mut("additionalPrinterColumns") {
                rename_paths(columns, "jsonPath", "JSONPath");
            }
        }
        for (per_version, in_spec) in PER_VERSION {
            let first = versions[0].get(per_version).cloned();
            if versions
                .iter()
                .all(|version| version.get(per_version) == first.as_ref())
            {
                for version in versions.iter_mut().filter_map(Value::as_object_mut) {
                    version.remove(per_version);
                }
                common.extend(first.map(|first| (in_spec.to_owned(), first)));
            }
        }
    }
    spec.extend(common);
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut)
        && let Some(Value::Object(mut webhook)) = conversion.remove("webhook")
    {
        if let Some(config) = webhook.remove("clientConfig") {
            conversion.insert("webhookClientConfig".to_owned(), config);
        }
        if let Some(versions) = webhook.remove("conversionReviewVersions") {
            conversion.insert("conversionReviewVersions".to_owned(), versions);
        }
    }
}

fn spec_to_v1(spec: &mut Map<String, Value>) {
    let version = spec.remove("version");
    let common: Vec<(&str, Value)> = PER_VERSION
        .iter()
        .filter_map(|(per_version, in_spec)| Some((*per_version, spec.remove(*in_spec)?)))
        .collect();
    if spec
        .get("versions")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
        && let Some(name) = version
    {
        spec.insert(
            "versions".to_owned(),
            json!([{ "name": name, "served": true, "storage": true }]),
        );
    }
    for version in spec
        .get_mut("versions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        for (name, value) in &common {
            version.insert((*name).to_owned(), value.clone());
        }
        if let Some(columns) = version.get_mut("additionalPrinterColumns") {
            rename_paths(columns, "JSONPath", "jsonPath");
        }
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let config = conversion.remove("webhookClientConfig");
        let versions = conversion.remove("conversionReviewVersions");
        if config.is_some() || versions.is_some() {
            let mut webhook = Map::new();
            webhook.extend(config.map(|config| ("clientConfig".to_owned(), config)));
            webhook.insert(
                "conversionReviewVersions".to_owned(),
                versions.unwrap_or(Value::Null),
            );
            conversion.insert("webhook".to_owned(), Value::Object(webhook));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_versions_share_moves_to_the_spec_and_back() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"},
            "spec": {"group": "b", "names": {"plural": "a"}, "scope": "Namespaced",
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]}},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                     "additionalPrinterColumns": [{"name": "X", "type": "string", "jsonPath": ".x"}]},
                    {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]}
        });
        let stored: Value =
            serde_json::from_slice(&to_stored(crd.to_string().into_bytes())).unwrap();
        assert_eq!(stored["apiVersion"], "apiextensions.k8s.io/v1beta1");
        assert_eq!(stored["spec"]["version"], "v1");
        assert_eq!(
            stored["spec"]["validation"]["openAPIV3Schema"]["type"],
            "object"
        );
        assert_eq!(
            stored["spec"]["versions"][0]["additionalPrinterColumns"][0]["JSONPath"],
            ".x"
        );
        assert_eq!(
            stored["spec"]["conversion"]["webhookClientConfig"]["url"],
            "u"
        );
        let mut back: Value =
            serde_json::from_slice(&from_stored(stored.to_string().into_bytes())).unwrap();
        assert_eq!(
            back["spec"]
                .as_object_mut()
                .unwrap()
                .remove("preserveUnknownFields"),
            Some(Value::Bool(false))
        );
        assert_eq!(back, crd);
    }
}

//! Descriptions of types and fields, as upstream's OpenAPI document and `kubectl explain` show them. Component configs
//! and list kinds have none here.

use std::collections::HashMap;
use std::sync::OnceLock;

static TEXT: &str = include_str!("../descriptions.txt");

type Key<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The raw text of each entry; a type's own has an empty field name.
fn index() -> &'static HashMap<Key<'static>, &'static str> {
    static INDEX: OnceLock<HashMap<Key<'static>, &'static str>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut out = HashMap::new();
        let (mut group, mut version, mut name) = ("", "", "");
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            if let Some(opened) = line.strip_prefix('@') {
                (group, version) = opened.split_once(' ').unwrap_or((opened, ""));
                continue;
            }
            let (key, text) = line.split_once(' ').unwrap_or((line, ""));
            match key.strip_prefix('=') {
                Some(opened) => {
                    name = opened;
                    out.insert((group, version, name, ""), text);
                }
                None => {
                    out.insert((group, version, name, key), text);
                }
            }
        }
        out
    })
}

/// The description of a field by its JSON key, or of a type where `field` is empty. The types of meta/v1 are in group
/// `meta.k8s.io`; `Quantity`, `IntOrString` and `RawExtension` have an empty group and version.
pub fn of(group: &str, version: &str, name: &str, field: &str) -> Option<String> {
    let text = index()
        .get(&(group, version, name, field))
        .filter(|text| !text.is_empty())?;
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.as_str().starts_with('n') => {
                chars.next();
                out.push('\n');
            }
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        assert_eq!(
            of("", "v1", "PodSpec", "").as_deref(),
            Some("PodSpec is a description of a pod.")
        );
        let text = of("apps", "v1", "DeploymentSpec", "replicas").expect("described");
        assert!(text.starts_with("Number of desired pods."), "{text}");
        assert!(of("meta.k8s.io", "v1", "ObjectMeta", "labels").is_some());
        assert!(
            of("", "", "Quantity", "")
                .expect("described")
                .contains("\n\n")
        );
        assert!(of("", "v1", "Container", "imagePullPolicy").is_some());
        assert!(
            of(
                "apiextensions.k8s.io",
                "v1",
                "JSONSchemaProps",
                "x-kubernetes-map-type"
            )
            .is_some()
        );
        assert!(of("", "v1", "PodSpec", "nonsense").is_none());
    }

    #[test]
    fn described_fields_exist() {
        for (group, version, name, field) in index().keys().filter(|key| !key.3.is_empty()) {
            let Some(info) = crate::kinds::lookup(group, version, name) else {
                continue;
            };
            assert!(
                info.schema.find_json(field).is_some(),
                "{group}/{version} {name} has no {field}"
            );
        }
    }
}

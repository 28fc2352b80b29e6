//! CustomResourceDefinitions are served as v1 and stored as v1beta1 JSON. Upstream:
//! apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go.
//!
//! v1beta1 has schema, subresources, printer columns and selectable fields once for all versions where they are equal,
//! repeats the first version's name in `spec.version`, and spells a column's path `JSONPath`.
//!
//! Fields are written in the order of upstream's structs, and what both versions have in common is passed on as it is written: so the
//! stored bytes are upstream's.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::StoredJson;

pub(super) static STORED: StoredJson = StoredJson {
    to_stored,
    from_stored,
};

const V1: &str = "apiextensions.k8s.io/v1";
const V1BETA1: &str = "apiextensions.k8s.io/v1beta1";

/// A value as it is written.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] &'a RawValue);

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Text<'static> {
    fn of(json: &'static str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }
}

/// A struct of fields that are left out where there is nothing.
macro_rules! fields {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase")]
        struct $name<'a> {
            $(
                #[serde(borrow, skip_serializing_if = "Option::is_none")]
                $(#[$attribute])*
                $field: Option<$type>,
            )*
        }
    };
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a, S> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Text<'a>>,
}

fields!(Served {
    group: Text<'a>,
    names: Text<'a>,
    scope: Text<'a>,
    versions: Vec<Version<'a>>,
    conversion: ServedConversion<'a>,
    preserve_unknown_fields: Text<'a>,
});

fields!(Stored {
    group: Text<'a>,
    version: Text<'a>,
    names: Text<'a>,
    scope: Text<'a>,
    validation: Text<'a>,
    subresources: Text<'a>,
    versions: Vec<Version<'a>>,
    additional_printer_columns: Vec<Column<'a>>,
    selectable_fields: Text<'a>,
    conversion: StoredConversion<'a>,
    preserve_unknown_fields: Text<'a>,
});

fields!(Version {
    name: Text<'a>,
    served: Text<'a>,
    storage: Text<'a>,
    deprecated: Text<'a>,
    deprecation_warning: Text<'a>,
    schema: Text<'a>,
    subresources: Text<'a>,
    additional_printer_columns: Vec<Column<'a>>,
    selectable_fields: Text<'a>,
});

fields!(Column {
    name: Text<'a>,
    r#type: Text<'a>,
    format: Text<'a>,
    description: Text<'a>,
    priority: Text<'a>,
    #[serde(rename = "jsonPath")]
    served_path: Text<'a>,
    #[serde(rename = "JSONPath")]
    stored_path: Text<'a>,
});

fields!(ServedConversion {
    strategy: Text<'a>,
    webhook: Webhook<'a>,
});

fields!(StoredConversion {
    strategy: Text<'a>,
    webhook_client_config: Text<'a>,
    conversion_review_versions: Text<'a>,
});

#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    client_config: Option<Text<'a>>,
    conversion_review_versions: Option<Text<'a>>,
}

/// Writes a definition in the other version; one that is in it already, or that is none, stays as it is.
fn rewrite<'a, From, To>(
    json: &'a [u8],
    api_version: &'static str,
    convert: fn(From) -> To,
) -> Option<Vec<u8>>
where
    From: Deserialize<'a>,
    To: Serialize,
{
    let from: Definition<'a, From> = serde_json::from_slice(json).ok()?;
    if from.api_version == api_version {
        return None;
    }
    let to = Definition {
        kind: from.kind,
        api_version: api_version.into(),
        metadata: from.metadata,
        spec: from.spec.map(convert),
        status: from.status,
    };
    serde_json::to_vec(&to).ok()
}

fn to_stored(json: Vec<u8>) -> Vec<u8> {
    rewrite(&json, V1BETA1, Stored::of).unwrap_or(json)
}

fn from_stored(json: Vec<u8>) -> Vec<u8> {
    rewrite(&json, V1, Served::of).unwrap_or(json)
}

/// Takes a field out of all versions if it is the same in all.
fn take_common<'a, T: Clone + PartialEq>(
    versions: &mut [Version<'a>],
    field: for<'v> fn(&'v mut Version<'a>) -> &'v mut Option<T>,
) -> Option<T> {
    let first = field(versions.first_mut()?).clone();
    if versions.iter_mut().any(|version| *field(version) != first) {
        return None;
    }
    for version in versions {
        *field(version) = None;
    }
    first
}

impl<'a> Stored<'a> {
    fn of(spec: Served<'a>) -> Self {
        let mut versions = spec.versions.unwrap_or_default();
        let columns = versions
            .iter_mut()
            .filter_map(|version| version.additional_printer_columns.as_mut());
        for column in columns.flatten() {
            column.stored_path = column.served_path.take().or(column.stored_path);
        }
        let (webhook_client_config, conversion_review_versions) = spec
            .conversion
            .as_ref()
            .and_then(|conversion| conversion.webhook.as_ref())
            .map_or((None, None), |webhook| {
                (webhook.client_config, webhook.conversion_review_versions)
            });
        Self {
            group: spec.group,
            version: versions.first().and_then(|version| version.name),
            names: spec.names,
            scope: spec.scope,
            validation: take_common(&mut versions, |version| &mut version.schema),
            subresources: take_common(&mut versions, |version| &mut version.subresources),
            additional_printer_columns: take_common(&mut versions, |version| {
                &mut version.additional_printer_columns
            }),
            selectable_fields: take_common(&mut versions, |version| &mut version.selectable_fields),
            versions: Some(versions).filter(|versions| !versions.is_empty()),
            conversion: spec.conversion.map(|conversion| StoredConversion {
                strategy: conversion.strategy,
                webhook_client_config,
                conversion_review_versions,
            }),
            preserve_unknown_fields: spec.preserve_unknown_fields.or(Text::of("false")),
        }
    }
}

impl<'a> Served<'a> {
    fn of(spec: Stored<'a>) -> Self {
        let mut versions = spec.versions.unwrap_or_default();
        if versions.is_empty() && spec.version.is_some() {
            versions.push(Version {
                name: spec.version,
                served: Text::of("true"),
                storage: Text::of("true"),
                ..Version::default()
            });
        }
        for version in &mut versions {
            version.schema = spec.validation.or(version.schema);
            version.subresources = spec.subresources.or(version.subresources);
            version.selectable_fields = spec.selectable_fields.or(version.selectable_fields);
            let columns = &mut version.additional_printer_columns;
            if let Some(common) = &spec.additional_printer_columns {
                *columns = Some(common.clone());
            }
            for column in columns.iter_mut().flatten() {
                column.served_path = column.stored_path.take().or(column.served_path);
            }
        }
        Self {
            group: spec.group,
            names: spec.names,
            scope: spec.scope,
            versions: Some(versions).filter(|versions| !versions.is_empty()),
            conversion: spec.conversion.map(|conversion| {
                let client_config = conversion.webhook_client_config;
                let reviewed = conversion.conversion_review_versions;
                let has_webhook = client_config.is_some() || reviewed.is_some();
                ServedConversion {
                    strategy: conversion.strategy,
                    webhook: has_webhook.then_some(Webhook {
                        client_config,
                        conversion_review_versions: reviewed,
                    }),
                }
            }),
            preserve_unknown_fields: spec.preserve_unknown_fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_versions_share_moves_to_the_spec_and_back() {
        let crd = concat!(
            r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"a.b","creationTimestamp":null},"#,
            r#""spec":{"group":"b","names":{"plural":"a","kind":"A"},"scope":"Namespaced","versions":["#,
            r#"{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","description":"\u003cx\u003e"}},"#,
            r#""additionalPrinterColumns":[{"name":"X","type":"string","priority":1,"jsonPath":".x"}]},"#,
            r#"{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","description":"\u003cx\u003e"}}}],"#,
            r#""conversion":{"strategy":"Webhook","webhook":{"clientConfig":{"url":"u"},"conversionReviewVersions":["v1"]}}},"#,
            r#""status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":["v1"]}}"#,
        );
        let stored = concat!(
            r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"a.b","creationTimestamp":null},"#,
            r#""spec":{"group":"b","version":"v1","names":{"plural":"a","kind":"A"},"scope":"Namespaced","#,
            r#""validation":{"openAPIV3Schema":{"type":"object","description":"\u003cx\u003e"}},"versions":["#,
            r#"{"name":"v1","served":true,"storage":true,"additionalPrinterColumns":[{"name":"X","type":"string","priority":1,"JSONPath":".x"}]},"#,
            r#"{"name":"v2","served":true,"storage":false}],"#,
            r#""conversion":{"strategy":"Webhook","webhookClientConfig":{"url":"u"},"conversionReviewVersions":["v1"]},"preserveUnknownFields":false},"#,
            r#""status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":["v1"]}}"#,
        );
        assert_eq!(text(to_stored(crd.into())), stored);
        assert_eq!(text(to_stored(stored.into())), stored);
        let back = crd.replace(
            r#"["v1"]}}},"#,
            r#"["v1"]}},"preserveUnknownFields":false},"#,
        );
        assert_eq!(text(from_stored(stored.into())), back);
        assert_eq!(text(from_stored(back.clone().into())), back);
    }

    #[test]
    fn a_definition_of_one_version_has_all_in_its_spec() {
        let crd = concat!(
            r#"{"apiVersion":"apiextensions.k8s.io/v1","spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{},"#,
            r#""subresources":{"status":{}},"additionalPrinterColumns":[{"jsonPath":".x"}],"selectableFields":[{"jsonPath":".y"}]}],"#,
            r#""conversion":{"strategy":"None"}}}"#,
        );
        let stored = concat!(
            r#"{"apiVersion":"apiextensions.k8s.io/v1beta1","spec":{"version":"v1","validation":{},"subresources":{"status":{}},"#,
            r#""versions":[{"name":"v1","served":true,"storage":true}],"additionalPrinterColumns":[{"JSONPath":".x"}],"#,
            r#""selectableFields":[{"jsonPath":".y"}],"conversion":{"strategy":"None"},"preserveUnknownFields":false}}"#,
        );
        assert_eq!(text(to_stored(crd.into())), stored);
        let back: Value = serde_json::from_slice(&from_stored(stored.into())).unwrap();
        let mut wanted: Value = serde_json::from_str(crd).unwrap();
        wanted["spec"]["preserveUnknownFields"] = false.into();
        assert_eq!(back, wanted);
    }

    #[test]
    fn old_and_odd_definitions_are_read() {
        // From before there was a list of versions, in any order and with blanks.
        let old = r#"{ "spec": {"version": "v1", "validation": {"a": 1}}, "apiVersion": "apiextensions.k8s.io/v1beta1" }"#;
        assert_eq!(
            text(from_stored(old.into())),
            r#"{"apiVersion":"apiextensions.k8s.io/v1","spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{"a": 1}}]}}"#
        );
        for none in ["", "[]", r#"{"spec":1}"#] {
            assert_eq!(text(from_stored(none.into())), none);
        }
    }
}

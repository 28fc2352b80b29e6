//! ControllerRevisions: the recorded pod templates of StatefulSets and DaemonSets. Upstream: pkg/controller/history.
//!
//! The bytes of `data` decide whether a template has changed, so they must be what upstream writes: the template inside a
//! strategic merge patch, as Go's encoding/json writes a map (sorted keys, HTML escapes, numbers as float64). Otherwise every
//! DaemonSet of a cluster would roll when this daemon takes over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use api_types::apps::v1::ControllerRevision;
use api_types::core::v1::PodTemplateSpec;
use api_types::meta::v1::{DeleteOptions, ObjectMeta, OwnerReference};
use api_types::{RawExtension, Resource, decode_json, encode_json};
use apimachinery::hash::{Fnv32, safe_encode_string};
use apimachinery::labels::Selector;
use client::{Client, Lister};
use serde_json::Value;

use super::SyncError;
use super::controller_ref::{
    CONTROLLER_INDEX, controller_index_key, controller_of, key_of, new_controller_ref,
};

/// The label with a revision's hash.
pub const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// How often an update of a revision is tried on conflict, as client-go's DefaultBackoff.
const UPDATE_ATTEMPTS: u32 = 4;

/// The `data` of the revision that records `template`.
pub fn template_patch(template: &PodTemplateSpec) -> Result<Vec<u8>, SyncError> {
    let mut template: Value = serde_json::from_slice(&encode_json(template)).map_err(|error| {
        SyncError::other(format!("encoding a pod template for its revision: {error}"))
    })?;
    template["$patch"] = "replace".into();
    let mut out = String::from(r#"{"spec":{"template":"#);
    write_go_json(&template, &mut out);
    out.push_str("}}");
    Ok(out.into_bytes())
}

/// The template that a revision records.
pub fn template_of(revision: &ControllerRevision) -> Result<PodTemplateSpec, SyncError> {
    let broken = |reason: String| {
        SyncError::other(format!(
            "ControllerRevision {}: {reason}",
            key_of(&revision.metadata)
        ))
    };
    let data: Value =
        serde_json::from_slice(&revision.data.raw).map_err(|error| broken(error.to_string()))?;
    let template = data
        .get("spec")
        .and_then(|spec| spec.get("template"))
        .ok_or_else(|| broken("no spec.template".to_owned()))?;
    decode_json(template.to_string().as_bytes()).map_err(|error| broken(error.to_string()))
}

/// Writes a JSON value as Go's encoding/json writes the same value held in maps, slices and float64.
fn write_go_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_go_number(number.as_f64().unwrap_or(0.0), out),
        Value::String(text) => write_go_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_go_json(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            // serde_json may keep insertion order, depending on features of other crates.
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_go_string(key, out);
                out.push(':');
                write_go_json(item, out);
            }
            out.push('}');
        }
    }
}

fn write_go_number(number: f64, out: &mut String) {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go writes an exponent of at least two digits, and cleans "e-07" to "e-7".
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { '-' } else { '+' };
        let digits = exponent.trim_start_matches('-');
        // Writing to a String cannot fail.
        let _ = if sign == '+' {
            write!(out, "{mantissa}e+{digits:0>2}")
        } else {
            write!(out, "{mantissa}e-{digits}")
        };
    } else {
        let _ = write!(out, "{number}");
    }
}

fn write_go_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The hash of a revision's data, probed with the count of collisions so far.
pub fn hash(data: &[u8], collision_count: Option<i32>) -> String {
    let mut hasher = Fnv32::default();
    hasher.write(data);
    if let Some(count) = collision_count {
        hasher.write(count.to_string().as_bytes());
    }
    safe_encode_string(&hasher.sum().to_string())
}

/// The name of a revision. Names are cut so that the hash always fits.
pub fn revision_name(owner: &str, hash: &str) -> String {
    let mut end = owner.len().min(223);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &owner[..end])
}

/// A revision of `owner` that records `data`, not yet created.
pub fn new_revision<O: Resource>(
    owner: &O,
    labels: &BTreeMap<String, String>,
    data: Vec<u8>,
    revision: i64,
    collision_count: Option<i32>,
) -> ControllerRevision {
    let hash = hash(&data, collision_count);
    let metadata = owner.metadata();
    let mut labels = labels.clone();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: revision_name(&metadata.name, &hash),
            namespace: metadata.namespace.clone(),
            labels,
            owner_references: vec![new_controller_ref(owner)],
            ..Default::default()
        },
        data: RawExtension { raw: data },
        revision,
        ..Default::default()
    }
}

/// Sorts by revision number, oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|a, b| {
        a.revision
            .cmp(&b.revision)
            .then_with(|| {
                a.metadata
                    .creation_timestamp
                    .timestamp()
                    .cmp(&b.metadata.creation_timestamp.timestamp())
            })
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

/// The revision number after the newest of sorted revisions.
pub fn next_revision(revisions: &[Arc<ControllerRevision>]) -> i64 {
    revisions.last().map_or(1, |newest| newest.revision + 1)
}

/// Whether two revisions record the same bytes.
pub fn equal(a: &ControllerRevision, b: &ControllerRevision) -> bool {
    a.data.raw == b.data.raw
}

/// Reads and writes revisions.
#[derive(Clone)]
pub struct History {
    /// Acts as the controller.
    pub client: Client,
    /// The cache, indexed by controller.
    pub revisions: Lister<ControllerRevision>,
}

impl History {
    /// The revisions that `owner` has or may adopt.
    pub fn list<O: Resource>(
        &self,
        owner: &O,
        selector: &Selector,
    ) -> Vec<Arc<ControllerRevision>> {
        let (namespace, reference): (&str, OwnerReference) =
            (&owner.metadata().namespace, new_controller_ref(owner));
        let mut found = self.revisions.by_index(
            CONTROLLER_INDEX,
            &controller_index_key(namespace, Some(&reference)),
        );
        found.extend(
            self.revisions
                .by_index(CONTROLLER_INDEX, &controller_index_key(namespace, None)),
        );
        let uid = &owner.metadata().uid;
        found.retain(|revision| {
            selector.matches(&revision.metadata.labels)
                && controller_of(&revision.metadata).is_none_or(|controller| &controller.uid == uid)
        });
        found
    }

    /// Creates `revision`. Its name comes from its data's hash and `collision_count`, which grows while another owner's data
    /// has the name; data that is there already is returned.
    pub async fn create(
        &self,
        owner_name: &str,
        revision: &ControllerRevision,
        collision_count: &mut i32,
    ) -> Result<ControllerRevision, SyncError> {
        let api = self
            .client
            .namespaced::<ControllerRevision>(&revision.metadata.namespace);
        let mut revision = revision.clone();
        loop {
            let hash = hash(&revision.data.raw, Some(*collision_count));
            revision.metadata.name = revision_name(owner_name, &hash);
            match api.create(&revision).await {
                Err(error) if error.is_already_exists() => {
                    let existing = api.get(&revision.metadata.name).await?;
                    if equal(&existing, &revision) {
                        return Ok(existing);
                    }
                    *collision_count += 1;
                }
                result => return Ok(result?),
            }
        }
    }

    /// Sets the revision number, again from the cache on conflict.
    pub async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<ControllerRevision, SyncError> {
        let api = self
            .client
            .namespaced::<ControllerRevision>(&revision.metadata.namespace);
        let mut revision = revision.clone();
        let mut attempt = 1;
        while revision.revision != number {
            revision.revision = number;
            match api.update(&revision).await {
                Ok(updated) => return Ok(updated),
                Err(error) if error.is_conflict() && attempt < UPDATE_ATTEMPTS => {
                    attempt += 1;
                    revision = api.get(&revision.metadata.name).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(revision)
    }

    /// Deletes a revision.
    pub async fn delete(&self, revision: &ControllerRevision) -> Result<(), SyncError> {
        let metadata = &revision.metadata;
        self.client
            .namespaced::<ControllerRevision>(&metadata.namespace)
            .delete(&metadata.name, &DeleteOptions::default())
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let mut out = String::new();
        write_go_json(&serde_json::from_str(json).unwrap(), &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn json_is_written_as_go_writes_it() {
        check(
            r#"{"b":1,"a":{"d":null,"c":[true,"x"]}}"#,
            r#"{"a":{"c":[true,"x"],"d":null},"b":1}"#,
        );
        check(r#""a<b>&c""#, r#""a\u003cb\u003e\u0026c""#);
        check(
            "\"\\u2028\\u0001\\n\\b\u{e9}\u{7f}\"",
            "\"\\u2028\\u0001\\n\\b\u{e9}\u{7f}\"",
        );
        check(
            "[0.5,30,-1,9223372036854775807]",
            "[0.5,30,-1,9223372036854776000]",
        );
        check("[1e21,1e-7]", "[1e+21,1e-7]");
    }

    #[test]
    fn a_template_survives_its_revision() {
        let mut template = PodTemplateSpec::default();
        template.metadata.labels.insert("a".into(), "b".into());
        template
            .spec
            .containers
            .push(api_types::core::v1::Container {
                name: "c".into(),
                command: vec!["a && b".into()],
                ..Default::default()
            });
        let data = template_patch(&template).unwrap();
        let text = String::from_utf8(data.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"spec":{"template":{"$patch":"replace","metadata":{"#),
            "{text}"
        );
        assert!(
            text.contains(r#""command":["a \u0026\u0026 b"],"name":"c","resources":{}"#),
            "{text}"
        );
        let revision = ControllerRevision {
            data: RawExtension { raw: data },
            ..Default::default()
        };
        assert_eq!(template_of(&revision).unwrap(), template);
    }

    #[test]
    fn hashes_depend_on_data_and_collisions() {
        let (plain, probed) = (hash(b"{}", None), hash(b"{}", Some(0)));
        assert_ne!(plain, probed);
        assert_ne!(probed, hash(b"{}", Some(1)));
        assert_eq!(plain, hash(b"{}", None));
        assert_eq!(revision_name(&"x".repeat(300), "h").len(), 225);
    }

    #[test]
    fn revisions_sort_by_number_then_age_then_name() {
        let revision = |number, name: &str| {
            let metadata = ObjectMeta {
                name: name.into(),
                ..Default::default()
            };
            Arc::new(ControllerRevision {
                metadata,
                revision: number,
                ..Default::default()
            })
        };
        let mut all = [revision(2, "a"), revision(1, "c"), revision(1, "b")];
        sort(&mut all);
        assert_eq!(
            all.iter()
                .map(|revision| revision.metadata.name.as_str())
                .collect::<Vec<_>>(),
            ["b", "c", "a"]
        );
        assert_eq!(next_revision(&all), 3);
        assert_eq!(next_revision(&[]), 1);
    }
}

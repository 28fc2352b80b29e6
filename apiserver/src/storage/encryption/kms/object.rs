//! What is stored behind `k8s:enc:kms:v2:NAME:`. Upstream: envelope/kmsv2/v2/api.proto and envelope.go.

use std::collections::BTreeMap;

use apimachinery::field::{self, Path};
use apimachinery::validation::is_fully_qualified_domain_name;
use prost::Message;

use super::super::metrics::hash_text;
use crate::storage::transformer::TransformError;

/// The source is the key itself.
pub(super) const KEY: i32 = 0;
/// The source is a seed that keys are derived from.
pub(super) const SEED: i32 = 1;

const MAX_ANNOTATIONS: usize = 32 * 1024;
const MAX_KEY_ID: usize = 1024;
const MAX_SOURCE: usize = 1024;

/// A sealed value with what its key is made from.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub(super) source_type: i32,
}

impl EncryptedObject {
    /// Reads and checks a stored one.
    pub(super) fn read(stored: &[u8]) -> Result<Self, TransformError> {
        let object = Self::decode(stored).map_err(|error| {
            TransformError::new(format!(
                "proto: cannot parse invalid wire-format data: {error}"
            ))
        })?;
        if !matches!(object.source_type, KEY | SEED) {
            let text = format!("unknown encryptedDEKSourceType: {}", object.source_type);
            return Err(TransformError::new(text));
        }
        if object.data.is_empty() {
            return Err(TransformError::new("encrypted data is empty"));
        }
        object.check_source().map_err(TransformError::new)?;
        Ok(object)
    }

    /// Checks everything but the data and the type.
    pub(super) fn check_source(&self) -> Result<(), String> {
        let source = match self.source.len() {
            0 => Some("encrypted DEK source is empty".to_owned()),
            length if length > MAX_SOURCE => Some(format!(
                "encrypted DEK source is {length} bytes, which exceeds the max size of {MAX_SOURCE}"
            )),
            _ => None,
        };
        if let Some(why) = source {
            return Err(format!("failed to validate encrypted DEK source: {why}"));
        }
        check_key_id(&self.key_id)
            .map_err(|(_, why)| format!("failed to validate key id: {why}"))?;
        check_annotations(&self.annotations)
            .map_err(|why| format!("failed to validate annotations: {why}"))
    }

    /// What tells this source from all others.
    pub(super) fn cache_key(&self) -> [u8; 32] {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(&self.source_type.to_be_bytes());
        part(&self.source);
        part(self.key_id.as_bytes());
        for (name, value) in &self.annotations {
            part(name.as_bytes());
            part(value);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    pub(super) fn same_source(&self, other: &Self) -> bool {
        self.source_type == other.source_type
            && self.key_id == other.key_id
            && self.source == other.source
            && self.annotations == other.annotations
    }
}

/// Checks a key ID; the error has the code that metrics show too.
pub(super) fn check_key_id(key_id: &str) -> Result<(), (&'static str, String)> {
    match key_id.len() {
        0 => Err(("empty", "keyID is empty".to_owned())),
        length if length > MAX_KEY_ID => Err((
            "too_long",
            format!("keyID is {length} bytes, which exceeds the max size of {MAX_KEY_ID}"),
        )),
        _ => Ok(()),
    }
}

/// `sha256:` and the hash of a key ID, for texts.
pub(super) fn key_id_hash(key_id: &str) -> String {
    hash_text(key_id.as_bytes())
}

fn check_annotations(annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let path = Path::new("annotations");
    let mut errors: Vec<String> = annotations
        .keys()
        .filter_map(|name| is_fully_qualified_domain_name(&path, name).aggregate())
        .collect();
    let size: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > MAX_ANNOTATIONS {
        errors.push(format!(
            "total size of annotations is {size}, which exceeds the max size of {MAX_ANNOTATIONS}"
        ));
    }
    field::aggregate(errors).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> EncryptedObject {
        EncryptedObject {
            data: vec![1],
            key_id: "k".to_owned(),
            source: vec![2],
            annotations: BTreeMap::from([("a.example.com".to_owned(), vec![3])]),
            source_type: SEED,
        }
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut EncryptedObject), why: &str) {
        let mut changed = object();
        change(&mut changed);
        let error = EncryptedObject::read(&changed.encode_to_vec()).unwrap_err();
        assert!(error.to_string().starts_with(why), "{error}");
    }

    #[test]
    fn objects_are_checked() {
        assert_eq!(
            EncryptedObject::read(&object().encode_to_vec()).unwrap(),
            object()
        );
        refused(
            |object| object.source_type = 2,
            "unknown encryptedDEKSourceType: 2",
        );
        refused(|object| object.data.clear(), "encrypted data is empty");
        refused(
            |object| object.source.clear(),
            "failed to validate encrypted DEK source: encrypted DEK source is empty",
        );
        refused(
            |object| object.source = vec![0; 1025],
            "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
        );
        refused(
            |object| object.key_id.clear(),
            "failed to validate key id: keyID is empty",
        );
        refused(
            |object| object.key_id = "k".repeat(1025),
            "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024",
        );
        refused(
            |object| drop(object.annotations.insert("a".to_owned(), Vec::new())),
            "failed to validate annotations: annotations: Invalid value: \"a\": should be a domain with at least two segments separated by dots",
        );
        refused(
            |object| {
                drop(
                    object
                        .annotations
                        .insert("b.c".to_owned(), vec![0; 32 * 1024]),
                )
            },
            "failed to validate annotations: total size of annotations is 32785, which exceeds the max size of 32768",
        );
        assert!(EncryptedObject::read(b"\xff\xff").is_err());
    }

    #[test]
    fn sources_have_keys_of_their_own() {
        let same = |change: &dyn Fn(&mut EncryptedObject)| {
            let mut changed = object();
            change(&mut changed);
            assert_eq!(
                changed.same_source(&object()),
                changed.cache_key() == object().cache_key()
            );
            changed.same_source(&object())
        };
        assert!(same(&|object| object.data = vec![9]));
        assert!(!same(&|object| object.source_type = KEY));
        assert!(!same(&|object| object.source = vec![9]));
        assert!(!same(&|object| object.key_id = "x".to_owned()));
        assert!(!same(&|object| object.annotations.clear()));
    }
}

//! The hash of a pod template that names new ReplicaSets and labels their pods.
//!
//! Upstream hashes Go's dump of the template's memory (`controller.ComputeHash`). That text cannot be made outside of Go, and
//! need not be: the hash only names new objects, existing ones are found by comparing templates. So ours is taken over the
//! template's canonical JSON, with upstream's hash function, collision probe and alphabet.

use api_types::core::v1::PodTemplateSpec;
use apimachinery::hash::{Fnv32a, safe_encode_string};

use super::{SyncError, history};

/// The hash of a template; `collision_count` makes another one when the name is taken.
pub fn compute(
    template: &PodTemplateSpec,
    collision_count: Option<i32>,
) -> Result<String, SyncError> {
    let mut hasher = Fnv32a::default();
    hasher.write(&history::template_patch(template)?);
    if let Some(count) = collision_count {
        let mut probe = [0; 8];
        probe[..4].copy_from_slice(&count.to_le_bytes());
        hasher.write(&probe);
    }
    Ok(safe_encode_string(&hasher.sum().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_the_template_and_the_collisions() {
        let mut template = PodTemplateSpec::default();
        let first = compute(&template, None).unwrap();
        assert_eq!(first, compute(&template, None).unwrap());
        assert_ne!(first, compute(&template, Some(0)).unwrap());
        assert_ne!(
            compute(&template, Some(0)).unwrap(),
            compute(&template, Some(1)).unwrap()
        );
        template.spec.node_name = "n".into();
        assert_ne!(first, compute(&template, None).unwrap());
        assert!(
            first
                .bytes()
                .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)),
            "{first}"
        );
    }
}

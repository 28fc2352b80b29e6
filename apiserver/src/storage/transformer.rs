//! Hook for encryption at rest. Upstream: storage/value.

use bytes::Bytes;

/// A value could not be transformed. The text becomes part of upstream's "Internal error occurred: ..." message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransformError(pub String);

/// Turns values into what etcd stores and back. `key` is the full etcd key; ciphers that can, bind the value to it.
///
/// Called from the watch loop too: no waiting for the network beyond what `block_in_place` may do.
pub trait Transformer: Send + Sync {
    /// Plain bytes to stored bytes.
    fn to_storage(&self, key: &str, plain: Bytes) -> Result<Bytes, TransformError>;

    /// Stored bytes to plain bytes, and whether they should be written again (old key or provider): a write that
    /// changes nothing else is then not skipped.
    #[expect(
        clippy::wrong_self_convention,
        reason = "upstream's words: to and from storage"
    )]
    fn from_storage(&self, key: &str, stored: Bytes) -> Result<(Bytes, bool), TransformError>;
}

/// Stores values as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Transformer for Identity {
    fn to_storage(&self, _: &str, plain: Bytes) -> Result<Bytes, TransformError> {
        Ok(plain)
    }

    fn from_storage(&self, _: &str, stored: Bytes) -> Result<(Bytes, bool), TransformError> {
        // Upstream's identity refuses to hand out what another provider encrypted.
        if stored.starts_with(b"k8s:enc:") {
            return Err(TransformError(
                "identity transformer tried to read encrypted data".to_owned(),
            ));
        }
        Ok((stored, false))
    }
}

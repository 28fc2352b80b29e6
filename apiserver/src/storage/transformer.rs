//! Hook for encryption at rest. Upstream: storage/value.

use bytes::Bytes;

/// A value could not be transformed. The text becomes part of upstream's "Internal error occurred: ..." message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransformError {
    message: String,
    /// It may work later although nothing is written: a key service does not answer.
    pub(crate) transient: bool,
    /// Go's name of the code that a key service answered with.
    pub(crate) code: Option<&'static str>,
}

impl TransformError {
    /// A value that stays unreadable until it, or the configuration, changes.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            transient: false,
            code: None,
        }
    }

    /// A failure that says nothing about the value.
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            transient: true,
            ..Self::new(message)
        }
    }

    /// The failure of a call that a key service answered with `code`.
    pub(crate) fn with_code(self, code: Option<&'static str>) -> Self {
        Self { code, ..self }
    }

    /// Several failures as one, in upstream's form; `None` when there are none.
    pub(crate) fn joined(errors: Vec<Self>) -> Option<Self> {
        let transient = errors.iter().any(|error| error.transient);
        let code = errors.iter().find_map(|error| error.code);
        let message =
            apimachinery::field::aggregate(errors.into_iter().map(|error| error.message))?;
        Some(Self {
            message,
            transient,
            code,
        })
    }
}

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
            return Err(TransformError::new(
                "identity transformer tried to read encrypted data",
            ));
        }
        Ok((stored, false))
    }
}

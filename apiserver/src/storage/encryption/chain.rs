//! Ciphers behind prefixes: the first one writes, all of them read. Upstream: storage/value/transformer.go.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::ciphers::{Cipher, Place};
use super::metrics::EncryptionMetrics;
use crate::storage::transformer::{Identity, TransformError, Transformer as _};

/// One provider, or one key of a provider.
#[derive(Clone)]
pub(super) struct Stage {
    /// What stored values begin with; empty for identity.
    pub(super) prefix: Arc<str>,
    /// `None` stores values as they are.
    pub(super) cipher: Option<Arc<dyn Cipher>>,
}

/// Stages in the order of the configuration.
pub(super) struct Chain {
    pub(super) stages: Vec<Stage>,
    /// Told about values whose prefix is nobody's.
    pub(super) no_match: &'static str,
    pub(super) metrics: Arc<EncryptionMetrics>,
}

const READ: &str = "from_storage";
const WRITE: &str = "to_storage";

impl Chain {
    /// Seals with the first stage. A value that is stored as it is costs no copy.
    pub(super) fn write(&self, place: Place<'_>, plain: Bytes) -> Result<Bytes, TransformError> {
        let Some(first) = self.stages.first() else {
            return Err(TransformError::new(self.no_match));
        };
        if first.cipher.is_none() {
            self.metrics
                .transformed(place.resource, WRITE, "", Instant::now(), None);
            return Ok(plain);
        }
        let mut out = Vec::with_capacity(plain.len() + self.overhead());
        self.seal(place, &plain, &mut out).inspect_err(|error| {
            tracing::error!(resource = place.resource, key = place.key, error = %error, "failed to encrypt data");
        })?;
        Ok(out.into())
    }

    /// Opens with the stages whose prefix the value has, until one can. What another than the first one wrote is stale.
    pub(super) fn read(
        &self,
        place: Place<'_>,
        stored: Bytes,
    ) -> Result<(Bytes, bool), TransformError> {
        let started = Instant::now();
        let mut errors = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if !stored.starts_with(stage.prefix.as_bytes()) {
                continue;
            }
            let Some(cipher) = &stage.cipher else {
                // What is encrypted is for the stages behind it.
                if let Ok((plain, _)) = Identity.from_storage(place.key, stored.clone()) {
                    self.metrics
                        .transformed(place.resource, READ, "identity", started, None);
                    return Ok((plain, index != 0));
                }
                continue;
            };
            let opened = cipher.open(place, &stored[stage.prefix.len()..]);
            let error = opened.as_ref().err();
            self.metrics
                .transformed(place.resource, READ, &stage.prefix, started, error);
            match opened {
                Ok((plain, stale)) => return Ok((plain.into(), stale || index != 0)),
                // The same provider may come twice, with other keys.
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = TransformError::joined(errors) {
            tracing::error!(resource = place.resource, key = place.key, error = %error, "failed to decrypt data");
            return Err(error);
        }
        let error = TransformError::new(self.no_match);
        self.metrics
            .transformed(place.resource, READ, "unknown", started, Some(&error));
        Err(error)
    }
}

/// The keys of a provider are a chain within the chain.
impl Cipher for Chain {
    fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TransformError> {
        let started = Instant::now();
        let Some((stage, cipher)) = self
            .stages
            .first()
            .and_then(|stage| Some((stage, stage.cipher.as_ref()?)))
        else {
            return Err(TransformError::new(self.no_match));
        };
        out.extend_from_slice(stage.prefix.as_bytes());
        let sealed = cipher.seal(place, plain, out);
        self.metrics.transformed(
            place.resource,
            WRITE,
            &stage.prefix,
            started,
            sealed.as_ref().err(),
        );
        sealed
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let started = Instant::now();
        let mut errors = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let (Some(sealed), Some(cipher)) =
                (sealed.strip_prefix(stage.prefix.as_bytes()), &stage.cipher)
            else {
                continue;
            };
            let opened = cipher.open(place, sealed);
            let error = opened.as_ref().err();
            self.metrics
                .transformed(place.resource, READ, &stage.prefix, started, error);
            match opened {
                Ok((plain, stale)) => return Ok((plain, stale || index != 0)),
                Err(error) => errors.push(error),
            }
        }
        Err(TransformError::joined(errors).unwrap_or_else(|| {
            let error = TransformError::new(self.no_match);
            self.metrics
                .transformed(place.resource, READ, "unknown", started, Some(&error));
            error
        }))
    }

    fn overhead(&self) -> usize {
        let cipher = |stage: &Stage| stage.cipher.as_ref().map_or(0, |cipher| cipher.overhead());
        self.stages
            .first()
            .map_or(0, |stage| stage.prefix.len() + cipher(stage))
    }
}

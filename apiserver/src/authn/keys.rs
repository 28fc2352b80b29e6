//! Public keys of service account tokens. Upstream: PublicKeysGetter of pkg/serviceaccount/jwt.go.

use std::sync::Arc;

use component_base::auth::BoxFuture;

use super::jws::PublicKey;

/// Where the keys are found that may have signed a token.
pub trait VerificationKeys: Send + Sync {
    /// The keys of this name; all of them for a token that names none.
    fn find<'a>(&'a self, key_id: &'a str) -> BoxFuture<'a, Vec<PublicKey>>;

    /// The keys that others are told of, so that they can check tokens too.
    fn published(&self) -> Arc<[PublicKey]>;

    /// For how many seconds there will be no others.
    fn max_age_seconds(&self) -> u64;
}

/// Keys of files.
pub struct StaticKeys(Arc<[PublicKey]>);

impl StaticKeys {
    pub fn new(keys: Vec<PublicKey>) -> StaticKeys {
        StaticKeys(keys.into())
    }
}

impl VerificationKeys for StaticKeys {
    fn find<'a>(&'a self, key_id: &'a str) -> BoxFuture<'a, Vec<PublicKey>> {
        let found = named(&self.0, key_id);
        Box::pin(async { found })
    }

    fn published(&self) -> Arc<[PublicKey]> {
        self.0.clone()
    }

    fn max_age_seconds(&self) -> u64 {
        3600
    }
}

/// The keys of this name, or all when it is empty.
pub(super) fn named(keys: &[PublicKey], key_id: &str) -> Vec<PublicKey> {
    let keys = keys.iter();
    keys.filter(|key| key_id.is_empty() || key.id() == key_id)
        .cloned()
        .collect()
}

//! What the process's flags say about the rules: feature gates and `--allow-privileged`.
//!
//! Set once at start. Until then gates have their defaults and privileged containers are allowed to nobody, as in a
//! kube-apiserver without flags. Upstream: pkg/features and pkg/capabilities.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use component_base::features::FeatureGates;

static GATES: OnceLock<FeatureGates> = OnceLock::new();
static ALLOW_PRIVILEGED: AtomicBool = AtomicBool::new(false);

/// Makes these gates the ones that rules go by. The first call counts.
pub fn install(gates: FeatureGates) {
    // A second call comes from a second server in the same process, which runs with the first one's gates.
    drop(GATES.set(gates));
}

/// Whether a gate is on.
pub fn enabled(name: &str) -> bool {
    GATES.get_or_init(FeatureGates::default).enabled(name)
}

/// Sets what `--allow-privileged` says.
pub fn set_allow_privileged(allow: bool) {
    ALLOW_PRIVILEGED.store(allow, Ordering::Relaxed);
}

/// Whether pods may have privileged containers.
pub fn allow_privileged() -> bool {
    ALLOW_PRIVILEGED.load(Ordering::Relaxed)
}

//! Admission configured by files of the server (KEP-5793): webhooks and policies that are in force from the first request on, and
//! that nobody can change through the API. Upstream: apiserver/pkg/admission/plugin/manifest, the manifest packages of plugin/webhook
//! and plugin/policy, and pkg/admission/plugin.
//!
//! Each of four plugins has a folder of its own. When anything in it is wrong, the server does not start. A later change counts when
//! the whole folder is right; until then what was there before does. What files say comes before what is stored, and it alone is
//! asked about requests that change the configuration of admission.

/// Files and documents.
mod documents;
/// Objects.
mod kinds;
/// What is counted.
mod metrics;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apimachinery::field;
use apimachinery::os_error;
use arc_swap::ArcSwap;
use component_base::features::FeatureGates;
use component_base::file_watch::watch_folder;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::configuration;
pub(super) use kinds::{Manifest, policies, webhooks};
pub use metrics::ManifestMetrics;

/// The feature that manifests come with.
pub const FEATURE: &str = "ManifestBasedAdmissionControlConfig";

/// What plugins need to follow their folders.
#[derive(Clone, Default)]
pub struct Manifests {
    /// None without the feature, and in tests.
    pub metrics: Option<ManifestMetrics>,
    /// The end of the server.
    pub stop: CancellationToken,
}

/// `staticManifestsDir` of a plugin's configuration. None if it is not set.
pub(super) fn folder(text: &str, features: &FeatureGates) -> Result<Option<PathBuf>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = field::Path::new("staticManifestsDir");
    if !features.enabled(FEATURE) {
        let why = format!("staticManifestsDir requires the {FEATURE} feature gate to be enabled");
        return Err(field::forbidden(&path, why).to_string());
    }
    let invalid = |why: String| Err(field::invalid(&path, text, why).to_string());
    if !text.starts_with('/') {
        return invalid("must be an absolute file path".to_owned());
    }
    let folder = Path::new(text);
    match std::fs::metadata(folder) {
        Err(error) => {
            let why = os_error::on_path("stat", folder, &error);
            invalid(format!("unable to read: {why}"))
        }
        Ok(found) if !found.is_dir() => invalid("must be a directory".to_owned()),
        Ok(_) => Ok(Some(folder.to_owned())),
    }
}

/// The folder of a plugin of policies, whose configuration says nothing else.
pub(super) fn folder_of_policies(
    plugin: &str,
    text: Option<&[u8]>,
    features: &FeatureGates,
) -> Result<Option<PathBuf>, String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Configuration {
        kind: String,
        static_manifests_dir: String,
    }
    const GROUP: &str = "apiserver.config.k8s.io/v1";
    const KINDS: [(&str, &str); 2] = [
        (GROUP, "MutatingAdmissionPolicyConfiguration"),
        (GROUP, "ValidatingAdmissionPolicyConfiguration"),
    ];
    let Some(text) = text else {
        return Ok(None);
    };
    let known = |path: &str, name: &str| path.is_empty() && name == "staticManifestsDir";
    let found: Configuration = configuration::strict(text, &KINDS, &known)?;
    if found.kind != format!("{plugin}Configuration") {
        return Err(format!("unexpected type: *policyconfig.{}", found.kind));
    }
    folder(&found.static_manifests_dir, features)
}

/// Reads a folder and compiles what is in it; the hash tells what was read from what was read before.
type Load<T> = Box<dyn Fn(&Path) -> Result<(T, String), String> + Send + Sync>;

/// What a folder says now.
pub(super) struct Followed<T>(Arc<State<T>>);

struct State<T> {
    plugin: &'static str,
    folder: PathBuf,
    load: Load<T>,
    current: ArcSwap<T>,
    hash: Mutex<String>,
    metrics: Option<ManifestMetrics>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the folder and follows it until the server stops. Must be called inside a runtime.
    pub(super) fn start(
        plugin: &'static str,
        folder: PathBuf,
        manifests: &Manifests,
        load: impl Fn(&Path) -> Result<(T, String), String> + Send + Sync + 'static,
    ) -> Result<Followed<T>, String> {
        let (loaded, hash) = load(&folder)?;
        let state = Arc::new(State {
            plugin,
            load: Box::new(load),
            current: ArcSwap::from_pointee(loaded),
            hash: Mutex::new(hash),
            metrics: manifests.metrics.clone(),
            folder,
        });
        tracing::info!(plugin, "Loaded manifest-based admission configuration");
        state.applied();
        let followed = state.clone();
        let stop = manifests.stop.clone();
        watch_folder(state.folder.clone(), stop, move || followed.reload());
        Ok(Followed(state))
    }

    pub(super) fn current(&self) -> Arc<T> {
        self.0.current.load_full()
    }
}

impl<T> State<T> {
    fn applied(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.applied(self.plugin, &self.hash.lock());
        }
    }

    fn reload(&self) {
        let (plugin, folder) = (self.plugin, self.folder.display());
        match (self.load)(&self.folder) {
            Err(error) => {
                tracing::error!(plugin, %folder, error, "reloading manifest config");
                if let Some(metrics) = &self.metrics {
                    metrics.failed(plugin);
                }
            }
            Ok((loaded, hash)) => {
                if std::mem::replace(&mut *self.hash.lock(), hash.clone()) == hash {
                    return;
                }
                self.current.store(Arc::new(loaded));
                tracing::info!(plugin, %folder, "reloaded manifest config");
                self.applied();
            }
        }
    }
}

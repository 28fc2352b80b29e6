//! Reads the file of `--encryption-provider-config` and builds what it says.
//! Upstream: server/options/encryptionconfig/config.go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::apiserver_config::v1::{
    EncryptionConfiguration, KMSConfiguration, Key, ResourceConfiguration,
};
use apimachinery::gvk::GroupResource;
use apimachinery::os_error;
use apimachinery::quote::quote;
use component_base::config::Document;
use component_base::healthz::HealthCheck;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Stage};
use super::ciphers::{Cbc, Cipher, Gcm, Secretbox};
use super::metrics::{EncryptionMetrics, hash_text};
use super::validation::{decode_secret, parse_resource, validate};
use super::{kms, kms_v1};

/// A file as it is on the disk.
pub(super) struct File {
    text: Vec<u8>,
    /// Tells changed contents without keeping the secrets.
    pub(super) hash: String,
}

/// What a file comes to.
pub(super) struct Loaded {
    /// By resource, `*` in place of names.
    pub(super) rules: BTreeMap<(String, String), Arc<Chain>>,
    pub(super) probes: Vec<Arc<dyn HealthCheck>>,
    /// The versions of key services.
    pub(super) uses: BTreeSet<String>,
    pub(super) hash: String,
    /// How long calls of key services may still run after the configuration was replaced.
    pub(super) close_after: Duration,
    /// Ends what works for the key services.
    pub(super) stop: CancellationToken,
}

impl Loaded {
    /// What counts for a resource: its own rule, its group's, that of everything.
    pub(super) fn rule(&self, group: &str, resource: &str) -> Option<&Arc<Chain>> {
        [(group, resource), (group, "*"), ("*", "*")]
            .iter()
            .find_map(|(group, resource)| {
                self.rules
                    .get(&((*group).to_owned(), (*resource).to_owned()))
            })
    }
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<File, String> {
    let shown = || quote(&path.to_string_lossy());
    let text = std::fs::read(path).map_err(|error| {
        let why = os_error::on_reading(path, &error);
        format!(
            "error reading encryption provider configuration file {}: {why}",
            shown()
        )
    })?;
    if text.is_empty() {
        return Err(format!(
            "encryption provider configuration file {} is empty",
            shown()
        ));
    }
    let hash = hash_text(&text);
    Ok(File { text, hash })
}

/// Reads, checks and builds. Key services are asked once for their state before this returns.
pub(super) async fn load(
    path: &Path,
    reload: bool,
    metrics: &Arc<EncryptionMetrics>,
    stop: CancellationToken,
) -> Result<Loaded, String> {
    let parsed = parse(path, reload).map_err(|why| format!("error while parsing file: {why}"));
    let (config, hash) = parsed?;
    let built = build(&config, metrics, &stop).await;
    built
        .map(|(rules, services)| Loaded {
            rules,
            probes: services.probes,
            uses: services.uses,
            hash,
            close_after: services.calls * 2,
            stop: stop.clone(),
        })
        .map_err(|why| {
            stop.cancel();
            format!("error while building transformers: {why}")
        })
}

fn parse(path: &Path, reload: bool) -> Result<(EncryptionConfiguration, String), String> {
    let file = read(path).map_err(|why| format!("error while loading file: {why}"))?;
    let decoded = Document::parse(&file.text).and_then(|document| {
        // Upstream's documentation once had this name, and the name works.
        if document.api_version == "v1" && document.kind == "EncryptionConfig" {
            document.decode_fields()
        } else {
            document.decode()
        }
    });
    let mut config: EncryptionConfiguration = decoded.map_err(|error| {
        let shown = quote(&path.to_string_lossy());
        format!("error decoding encryption provider configuration file {shown}: {error}")
    })?;
    set_defaults(&mut config);
    match validate(&config, reload).aggregate() {
        Some(problems) => Err(problems),
        None => Ok((config, file.hash)),
    }
}

/// Upstream: SetDefaults_KMSConfiguration.
fn set_defaults(config: &mut EncryptionConfiguration) {
    let providers = config
        .resources
        .iter_mut()
        .flat_map(|entry| &mut entry.providers);
    for kms in providers.filter_map(|provider| provider.kms.as_mut()) {
        kms.timeout
            .get_or_insert(api_types::Duration(3_000_000_000));
        if kms.api_version.is_empty() {
            "v1".clone_into(&mut kms.api_version);
        }
        if kms.api_version == "v1" {
            kms.cachesize.get_or_insert(1000);
        }
    }
}

/// The key services of a configuration.
#[derive(Default)]
struct Services {
    probes: Vec<Arc<dyn HealthCheck>>,
    uses: BTreeSet<String>,
    /// How long calls may run, one after the other.
    calls: Duration,
}

type Built = (BTreeMap<(String, String), Arc<Chain>>, Services);

async fn build(
    config: &EncryptionConfiguration,
    metrics: &Arc<EncryptionMetrics>,
    stop: &CancellationToken,
) -> Result<Built, String> {
    let mut stages: BTreeMap<(String, String), Vec<Stage>> = BTreeMap::new();
    let mut services = Services::default();
    for entry in &config.resources {
        let providers = providers(entry, metrics, stop, &mut services).await?;
        for name in &entry.resources {
            let GroupResource { group, resource } = parse_resource(name);
            let wildcards = [
                (group.clone(), "*".to_owned()),
                ("*".to_owned(), "*".to_owned()),
            ];
            if let Some((by_group, by_resource)) =
                wildcards.iter().find(|rule| stages.contains_key(rule))
            {
                return Err(format!(
                    "resource {} is masked by earlier rule {}",
                    quote(&shown(&group, &resource)),
                    quote(&shown(by_group, by_resource))
                ));
            }
            stages
                .entry((group, resource))
                .or_default()
                .extend(providers.iter().cloned());
        }
    }
    let rules = stages.into_iter().map(|(name, stages)| {
        let chain = Chain {
            stages,
            no_match: "no matching prefix found",
            metrics: metrics.clone(),
        };
        (name, Arc::new(chain))
    });
    Ok((rules.collect(), services))
}

/// A resource in the file's words.
fn shown(group: &str, resource: &str) -> String {
    match (group, resource) {
        ("", "*") => "*.".to_owned(),
        ("", resource) => resource.to_owned(),
        (group, resource) => format!("{resource}.{group}"),
    }
}

async fn providers(
    entry: &ResourceConfiguration,
    metrics: &Arc<EncryptionMetrics>,
    stop: &CancellationToken,
    services: &mut Services,
) -> Result<Vec<Stage>, String> {
    const AES: &str = "no matching key was found for the provided AES transformer";
    const SECRETBOX: &str = "no matching key was found for the provided Secretbox transformer";
    let mut stages = Vec::new();
    for provider in &entry.providers {
        let stage = |prefix: &str, cipher: Arc<dyn Cipher>| Stage {
            prefix: prefix.into(),
            cipher: Some(cipher),
        };
        stages.push(if let Some(aes) = &provider.aesgcm {
            let keys = keys(&aes.keys, AES, metrics, |key| Ok(Arc::new(Gcm::new(key)?)))?;
            stage("k8s:enc:aesgcm:v1:", keys)
        } else if let Some(aes) = &provider.aescbc {
            let keys = keys(&aes.keys, AES, metrics, |key| Ok(Arc::new(Cbc::new(key)?)))?;
            stage("k8s:enc:aescbc:v1:", keys)
        } else if let Some(secretbox) = &provider.secretbox {
            let keys = keys(&secretbox.keys, SECRETBOX, metrics, |key| {
                Ok(Arc::new(Secretbox::new(key)?))
            })?;
            stage("k8s:enc:secretbox:v1:", keys)
        } else if let Some(config) = &provider.kms {
            let service = key_service(config, metrics, stop).await?;
            services.probes.push(service.probe);
            services.uses.insert(config.api_version.clone());
            services.calls += service.calls;
            stage(&service.prefix, service.cipher)
        } else {
            Stage {
                prefix: "".into(),
                cipher: None,
            }
        });
    }
    Ok(stages)
}

/// Upstream: kmsPrefixTransformer.
async fn key_service(
    config: &KMSConfiguration,
    metrics: &Arc<EncryptionMetrics>,
    stop: &CancellationToken,
) -> Result<kms::Provider, String> {
    let timeout = config.timeout.map_or(0, |timeout| timeout.0);
    let timeout = Duration::from_nanos(u64::try_from(timeout).unwrap_or(0));
    if config.api_version != "v1" {
        return Ok(kms::open(config, timeout, metrics, stop).await);
    }
    if !crate::apis::gates::enabled(kms_v1::FEATURE) {
        return Err("KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.".to_owned());
    }
    Ok(kms_v1::open(config, timeout, metrics))
}

/// The keys of a provider, by name.
fn keys(
    keys: &[Key],
    no_match: &'static str,
    metrics: &Arc<EncryptionMetrics>,
    cipher: impl Fn(&[u8]) -> Result<Arc<dyn Cipher>, String>,
) -> Result<Arc<dyn Cipher>, String> {
    let mut stages = Vec::new();
    for key in keys {
        let secret = decode_secret(&key.secret)
            .ok_or_else(|| format!("could not obtain secret for named key {}", key.name))?;
        let cipher = cipher(&secret).map_err(|why| {
            format!(
                "error while creating cipher for named key {}: {why}",
                key.name
            )
        })?;
        stages.push(Stage {
            prefix: format!("{}:", key.name).into(),
            cipher: Some(cipher),
        });
    }
    Ok(Arc::new(Chain {
        stages,
        no_match,
        metrics: metrics.clone(),
    }))
}

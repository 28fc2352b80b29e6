//! The kubelet's own certificates: the first one, got with a bootstrap kubeconfig, and their renewal.
//!
//! Upstream: `pkg/kubelet/certificate` and its `bootstrap`. One difference: with both `--bootstrap-kubeconfig` and
//! `rotateCertificates` upstream starts without a certificate and asks for it in the background; here the kubelet always has
//! its first certificate before it starts.
//!
//! The client reads the current pair through the store's link and notices when that changes, so a renewal needs nobody told.

pub mod request;
pub mod store;

use std::path::Path;
use std::time::Duration;

use client::config::CertificateSource;
use client::{Client, ClientConfig};
use component_base::serving::CertificateSlot;
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::request::{Wanted, request};
use self::store::{FileStore, Leaf};

const CLIENT: &str = "kubelet-client";
const SERVER: &str = "kubelet-server";
const TEMPORARY_KEY: &str = "kubelet-client.key.tmp";
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(3600);
/// How long the server is waited for before the first certificate is asked for, and how often it is tried.
const SERVER_LIMIT: Duration = Duration::from_secs(60);
const SERVER_PERIOD: Duration = Duration::from_secs(2);
const RENEWAL_LIMIT: Duration = Duration::from_secs(15 * 60);
const RETRY_PERIOD: Duration = Duration::from_secs(32);

fn bytes_of(source: Option<&CertificateSource>) -> Option<Vec<u8>> {
    match source? {
        CertificateSource::Data(data) => Some(data.clone()),
        CertificateSource::File(path) => std::fs::read(path).ok(),
    }
}

/// Whether a kubeconfig has a client certificate that is still valid.
fn is_still_valid(kubeconfig: &Path) -> bool {
    if !kubeconfig.exists() {
        return false;
    }
    let config = match ClientConfig::from_kubeconfig(kubeconfig) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, path = %kubeconfig.display(), "Unable to read existing bootstrap client config");
            return false;
        }
    };
    let leaf = bytes_of(config.tls.client_certificate.as_ref()).and_then(|pem| Leaf::of(&pem));
    match leaf {
        Some(leaf) if leaf.is_valid() => true,
        Some(leaf) => {
            tracing::error!(path = %kubeconfig.display(), not_after = %leaf.not_after, "Part of the existing bootstrap client certificate is expired");
            false
        }
        None => {
            tracing::error!(path = %kubeconfig.display(), "Unable to read TLS certificates from existing bootstrap client config");
            false
        }
    }
}

/// A kubeconfig for the bootstrap's server with the certificate of the store.
fn kubeconfig_text(bootstrap: &ClientConfig, pem: &Path) -> Vec<u8> {
    use base64::Engine as _;
    let mut cluster = json!({"server": bootstrap.server});
    match &bootstrap.tls.ca {
        Some(CertificateSource::File(path)) => cluster["certificate-authority"] = json!(path),
        Some(CertificateSource::Data(data)) => {
            let text = base64::engine::general_purpose::STANDARD.encode(data);
            cluster["certificate-authority-data"] = json!(text);
        }
        None => {}
    }
    if bootstrap.tls.insecure {
        cluster["insecure-skip-tls-verify"] = json!(true);
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "users": [{"name": "default-auth", "user": {"client-certificate": pem, "client-key": pem}}],
        "contexts": [{
            "name": "default-context",
            "context": {"cluster": "default-cluster", "namespace": "default", "user": "default-auth"},
        }],
        "current-context": "default-context",
    });
    serde_json::to_vec_pretty(&config).unwrap_or_default()
}

fn write_private(path: &Path, data: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(data)
}

/// The key at hand: of the current pair, of an attempt before, or a new one that is kept for the next attempt.
fn bootstrap_key(store: &FileStore, temporary: &Path) -> Result<KeyPair, String> {
    let read = |data: Vec<u8>| KeyPair::from_pem(&key_part(&data)).ok();
    let found = store
        .current()
        .and_then(read)
        .or_else(|| std::fs::read(temporary).ok().and_then(read));
    if let Some(key) = found {
        return Ok(key);
    }
    let key = KeyPair::generate()
        .map_err(|error| format!("unable to generate a new private key: {error}"))?;
    write_private(temporary, key.serialize_pem().as_bytes())
        .map_err(|error| format!("{}: {error}", temporary.display()))?;
    Ok(key)
}

/// The private key in a PEM text that has certificates as well.
fn key_part(data: &[u8]) -> String {
    let blocks = pem::parse_many(data).unwrap_or_default();
    let key = blocks
        .iter()
        .find(|block| block.tag().ends_with("PRIVATE KEY"));
    key.map(pem::encode).unwrap_or_default()
}

/// Gives a server that is being started a minute. After it the request itself says what is wrong.
async fn wait_for_server(client: &Client) {
    let answers = async {
        let mut period = tokio::time::interval(SERVER_PERIOD);
        loop {
            period.tick().await;
            let request = http::Request::get("/healthz").body(bytes::Bytes::new());
            let Ok(request) = request else { return };
            match client.raw(request).await {
                Err(error) if error.is_connection() => {
                    tracing::info!(%error, "Failed to connect to apiserver");
                }
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(SERVER_LIMIT, answers).await;
}

/// Makes sure that the kubeconfig exists with a valid certificate, asking for one with the bootstrap kubeconfig.
///
/// # Errors
/// When no certificate can be had.
pub async fn bootstrap(
    kubeconfig: &Path,
    bootstrap: &Path,
    cert_dir: &Path,
    node_name: &str,
) -> Result<(), String> {
    if is_still_valid(kubeconfig) {
        tracing::info!(path = %kubeconfig.display(), "Kubeconfig exists and is valid, skipping bootstrap");
        return Ok(());
    }
    tracing::info!(
        "Using bootstrap kubeconfig to generate TLS client cert, key and kubeconfig file"
    );
    let config = ClientConfig::from_kubeconfig(bootstrap).map_err(|error| {
        format!(
            "unable to load bootstrap kubeconfig: {}",
            component_base::Chain(&error)
        )
    })?;
    let client = Client::new(config.clone()).map_err(|error| {
        format!("unable to create certificates signing request client: {error}")
    })?;
    let store = FileStore::new(cert_dir, CLIENT)
        .map_err(|error| format!("unable to build bootstrap cert store: {error}"))?;
    let temporary = cert_dir.join(TEMPORARY_KEY);
    let key = bootstrap_key(&store, &temporary)?;
    wait_for_server(&client).await;
    let certificate = request(
        &client,
        &Wanted::client(node_name),
        &key,
        true,
        BOOTSTRAP_LIMIT,
    )
    .await?;
    let write = || {
        store.update(&certificate, key.serialize_pem().as_bytes())?;
        let _ = std::fs::remove_file(&temporary);
        write_private(kubeconfig, &kubeconfig_text(&config, &store.current_path()))
    };
    write().map_err(|error| format!("unable to store the new certificate: {error}"))
}

/// Has the client use the store's certificate, and the store have one: at first that of the kubeconfig.
///
/// # Errors
/// When the store cannot be used.
pub fn follow_store(
    mut config: ClientConfig,
    cert_dir: &Path,
) -> std::io::Result<(ClientConfig, FileStore, bool)> {
    let store = FileStore::new(cert_dir, CLIENT)?;
    let is_valid = |pair: Vec<u8>| Leaf::of(&pair).is_some_and(|leaf| leaf.is_valid());
    let mut renew_now = false;
    if !store.current().is_some_and(is_valid) {
        let certificate = bytes_of(config.tls.client_certificate.as_ref());
        let key = bytes_of(config.tls.client_key.as_ref());
        if let (Some(certificate), Some(key)) = (certificate, key) {
            store.update(&certificate, &key)?;
            // It may be allowed more than a node is: upstream replaces it at once.
            renew_now = true;
        }
    }
    if store.current_path().exists() {
        config = config.with_client_certificate_files(store.current_path(), store.current_path());
    }
    Ok((config, store, renew_now))
}

/// When to renew: at 70 to 90 % of the life.
fn deadline(leaf: &Leaf, random: f64) -> Timestamp {
    let life = leaf.not_after.duration_since(leaf.not_before).as_secs_f64();
    let after = SignedDuration::try_from_secs_f64(life * (0.7 + 0.2 * random)).unwrap_or_default();
    leaf.not_before.checked_add(after).unwrap_or(leaf.not_after)
}

/// Keeps one certificate current.
pub struct Rotation {
    /// Asks.
    pub client: Client,
    /// What for.
    pub wanted: Wanted,
    /// Where it is kept.
    pub store: FileStore,
    /// Who else gets it.
    pub slot: Option<CertificateSlot>,
    /// The one at hand is not what was asked for.
    pub renew_now: bool,
}

impl Rotation {
    /// For the client's certificate.
    #[must_use]
    pub fn of_client(client: Client, node_name: &str, store: FileStore, renew_now: bool) -> Self {
        Rotation {
            client,
            wanted: Wanted::client(node_name),
            store,
            slot: None,
            renew_now,
        }
    }

    /// For the serving certificate, which goes into a slot.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn of_server(
        client: Client,
        wanted: Wanted,
        cert_dir: &Path,
        slot: CertificateSlot,
    ) -> std::io::Result<Self> {
        let store = FileStore::new(cert_dir, SERVER)?;
        if let Some(pair) = store.current()
            && let Err(error) = slot.set_pem(&pair, key_part(&pair).as_bytes())
        {
            tracing::warn!(%error, "The serving certificate on disk cannot be used");
        }
        Ok(Rotation {
            client,
            wanted,
            store,
            slot: Some(slot),
            renew_now: false,
        })
    }

    /// Renews until the token ends it.
    pub async fn run(mut self, token: CancellationToken) {
        loop {
            let leaf = self.store.current().and_then(|pair| Leaf::of(&pair));
            let due = match leaf {
                Some(leaf) if !self.renew_now => deadline(&leaf, rand::random::<f64>()),
                _ => Timestamp::now(),
            };
            let wait = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
            tracing::debug!(usage = self.wanted.usage, deadline = %due, "Certificate rotation deadline determined");
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            self.renew_now = false;
            let mut pause = Duration::from_secs(2);
            loop {
                let renewed = tokio::select! {
                    () = token.cancelled() => return,
                    renewed = self.renew() => renewed,
                };
                let Err(error) = renewed else { break };
                tracing::error!(%error, usage = self.wanted.usage, "Unable to renew the certificate");
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(RETRY_PERIOD);
            }
        }
    }

    async fn renew(&self) -> Result<(), String> {
        tracing::info!(usage = self.wanted.usage, "Rotating certificates");
        let key = KeyPair::generate()
            .map_err(|error| format!("unable to generate a new private key: {error}"))?;
        let certificate = request(&self.client, &self.wanted, &key, false, RENEWAL_LIMIT).await?;
        let key = key.serialize_pem();
        if let Some(slot) = &self.slot {
            slot.set_pem(&certificate, key.as_bytes())
                .map_err(|error| error.to_string())?;
        }
        self.store
            .update(&certificate, key.as_bytes())
            .map_err(|error| format!("unable to store the new cert/key pair: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_late_in_life() {
        let leaf = Leaf {
            not_before: Timestamp::from_second(1000).expect("time"),
            not_after: Timestamp::from_second(2000).expect("time"),
        };
        assert_eq!(deadline(&leaf, 0.0).as_second(), 1700);
        assert_eq!(deadline(&leaf, 1.0).as_second(), 1900);
    }

    #[test]
    fn kubeconfigs_point_into_the_store() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("kubelet.conf");
        assert!(!is_still_valid(&path));
        let made = component_base::serving::generate_self_signed("host", &[], &[]).expect("made");
        let store = FileStore::new(dir.path(), CLIENT).expect("store");
        store
            .update(made.certificate_pem.as_bytes(), made.key_pem.as_bytes())
            .expect("updated");
        let bootstrap = ClientConfig::plain("https://10.0.0.1:6443")
            .expect("config")
            .with_ca(b"ca".to_vec());
        write_private(&path, &kubeconfig_text(&bootstrap, &store.current_path())).expect("written");
        assert!(is_still_valid(&path));
        let config = ClientConfig::from_kubeconfig(&path).expect("config");
        assert_eq!(config.server, "https://10.0.0.1:6443");
        assert_eq!(bytes_of(config.tls.ca.as_ref()), Some(b"ca".to_vec()));
        let (config, _, renew_now) = follow_store(config, dir.path()).expect("followed");
        assert!(!renew_now);
        assert_eq!(
            config.tls.client_certificate,
            Some(CertificateSource::File(store.current_path()))
        );
    }

    #[test]
    fn keys_are_kept_for_the_next_attempt() {
        let dir = tempfile::tempdir().expect("folder");
        let store = FileStore::new(dir.path(), CLIENT).expect("store");
        let temporary = dir.path().join(TEMPORARY_KEY);
        let key = bootstrap_key(&store, &temporary).expect("key");
        let again = bootstrap_key(&store, &temporary).expect("key");
        assert_eq!(key.serialize_pem(), again.serialize_pem());
    }
}

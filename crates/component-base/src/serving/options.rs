//! What the secure serving flags say, and the way from there to a server.
//! Upstream: apiserver/pkg/server/options/serving.go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apimachinery::os_error;
use apimachinery::pem::{Block, blocks};
use arc_swap::ArcSwap;
use client::config::KeyPairError;
use tokio_util::sync::CancellationToken;

use super::bind::{BindError, bind};
use super::self_signed::generate_self_signed;
use super::server::{Server, ServerLimits, Tls};
use super::tls::{CertificateSlot, Certificates, CurrentTls, TlsSettings, server_config};
use crate::auth::certificate_detail;
use crate::file_watch::watch_files;
use crate::flags::{Flags, NamedCertKey};
use crate::logs;

/// Why a server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    #[error("failed to create listener: {0}")]
    Bind(#[from] BindError),
    #[error(
        "--secure-port {0} must be between 1 and 65535, inclusive. It cannot be turned off with 0"
    )]
    PortRequired(i64),
    #[error(
        "--secure-port {0} must be between 0 and 65535, inclusive. 0 for turning off secure port"
    )]
    Port(i64),
    #[error("Cipher suite {0} not supported or doesn't exist")]
    UnknownCipherSuite(String),
    #[error("unknown tls version {}", apimachinery::quote::quote(.0))]
    UnknownTlsVersion(String),
    #[error("none of the key exchanges of --tls-curve-preferences is served")]
    NoCurve,
    #[error("curve preference {0} is not supported")]
    UnknownCurve(i32),
    #[error("{0}")]
    Certificate(String),
    #[error(
        "missing filename for serving cert: --tls-cert-file and --tls-private-key-file go together"
    )]
    HalfAPair,
    #[error("{}", os_error::on_reading(path, error))]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("missing content for serving cert \"serving-cert::{}::{}\"", cert.display(), key.display())]
    EmptyFile { cert: PathBuf, key: PathBuf },
    #[error("failed to load the serving certificate and key {} and {}: {why}", cert.display(), key.display())]
    CertificateFiles {
        cert: PathBuf,
        key: PathBuf,
        why: KeyPairError,
    },
    #[error("failed to load SNI cert and key: {0}")]
    Sni(Box<ServingError>),
    #[error("error creating self-signed certificates: {0}")]
    SelfSigned(#[from] rcgen::Error),
    #[error(
        "error creating self-signed certificates: {}",
        os_error::on_path(operation, path, error)
    )]
    Write {
        operation: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
}

/// A certificate that is not in a file, for some server names (the apiserver's loopback client).
#[derive(Clone, Debug)]
pub struct InMemoryCert {
    pub names: Vec<String>,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// How to serve HTTPS. Fields are what the flags of the same name say.
#[derive(Clone, Debug)]
pub struct SecureServingOptions {
    pub bind_address: IpAddr,
    /// 0 serves nothing in daemons that can do without, see [`Self::from_flags`]; in tests it lets the kernel choose.
    pub bind_port: u16,
    /// Whether 0 is an error.
    pub required: bool,
    /// Where a self-signed certificate is kept; in memory when `None`.
    pub cert_dir: Option<PathBuf>,
    /// Base name of the files in `cert_dir`: `apiserver` gives `apiserver.crt` and `apiserver.key`.
    pub pair_name: String,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub sni_cert_keys: Vec<NamedCertKey>,
    pub in_memory_certs: Vec<InMemoryCert>,
    /// A certificate somebody else keeps current (the kubelet's rotated one). Takes the place of files.
    pub certificate: Option<CertificateSlot>,
    pub cipher_suites: Vec<String>,
    pub min_tls_version: String,
    pub curve_preferences: Vec<i32>,
    pub disable_http2: bool,
    /// 0 means the default.
    pub http2_max_streams: u32,
    pub permit_port_sharing: bool,
    /// Whether clients are asked for a certificate. Upstream asks when a client CA is known.
    pub request_client_certificate: bool,
    /// Files with CAs of client certificates, whose names clients are told. They are followed.
    pub client_ca_files: Vec<PathBuf>,
    pub limits: ServerLimits,
}

impl Default for SecureServingOptions {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            bind_port: 0,
            required: false,
            cert_dir: None,
            pair_name: "apiserver".to_owned(),
            cert_file: None,
            key_file: None,
            sni_cert_keys: Vec::new(),
            in_memory_certs: Vec::new(),
            certificate: None,
            cipher_suites: Vec::new(),
            min_tls_version: String::new(),
            curve_preferences: Vec::new(),
            disable_http2: false,
            http2_max_streams: 0,
            permit_port_sharing: false,
            request_client_certificate: true,
            client_ca_files: Vec::new(),
            limits: ServerLimits::default(),
        }
    }
}

impl SecureServingOptions {
    /// Reads the flags of [`crate::flags::common::SECURE_SERVING`] plus `--bind-address`, `--secure-port` and
    /// `--cert-dir`. `required` tells whether the port may be switched off.
    pub fn from_flags(
        flags: &Flags,
        pair_name: &str,
        required: bool,
    ) -> Result<Self, ServingError> {
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        let port = flags.int("secure-port");
        let bind_port = match u16::try_from(port) {
            Ok(0) if required => return Err(ServingError::PortRequired(port)),
            Ok(port) => port,
            // Upstream says this of too large ones even where 0 is fine.
            Err(_) if required || port > 0 => return Err(ServingError::PortRequired(port)),
            Err(_) => return Err(ServingError::Port(port)),
        };
        Ok(Self {
            bind_address: flags
                .ip("bind-address")
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            bind_port,
            required,
            cert_dir: path("cert-dir"),
            pair_name: pair_name.to_owned(),
            cert_file: path("tls-cert-file"),
            key_file: path("tls-private-key-file"),
            sni_cert_keys: flags.cert_keys("tls-sni-cert-key").to_vec(),
            cipher_suites: flags.strings("tls-cipher-suites").to_vec(),
            min_tls_version: flags.string("tls-min-version").to_owned(),
            curve_preferences: flags.int32s("tls-curve-preferences").to_vec(),
            disable_http2: flags.bool("disable-http2-serving"),
            http2_max_streams: u32::try_from(flags.int("http2-max-streams-per-connection"))
                .unwrap_or(0),
            permit_port_sharing: flags.bool("permit-port-sharing"),
            client_ca_files: ["client-ca-file", "requestheader-client-ca-file"]
                .into_iter()
                .filter_map(path)
                .collect(),
            ..Self::default()
        })
    }

    /// Whether the port is switched off with 0. Only asked by daemons for which 0 means that.
    pub fn switched_off(&self) -> bool {
        self.bind_port == 0
    }

    /// Without a certificate given, finds or makes a self-signed one for this host name and these alternatives.
    pub fn default_self_signed(
        &mut self,
        host: &str,
        alternate_names: &[String],
        alternate_addresses: &[IpAddr],
    ) -> Result<(), ServingError> {
        if self.cert_file.is_some() || self.key_file.is_some() || self.certificate.is_some() {
            return Ok(());
        }
        let files = self.cert_dir.as_ref().map(|dir| {
            (
                dir.join(format!("{}.crt", self.pair_name)),
                dir.join(format!("{}.key", self.pair_name)),
            )
        });
        if let Some((cert, key)) = &files
            && cert.exists()
            && key.exists()
        {
            (self.cert_file, self.key_file) = (Some(cert.clone()), Some(key.clone()));
            return Ok(());
        }
        let mut names = alternate_names.to_vec();
        let mut addresses = alternate_addresses.to_vec();
        if self.bind_address.is_unspecified() {
            names.push("localhost".to_owned());
        } else {
            addresses.push(self.bind_address);
        }
        let made = generate_self_signed(host, &addresses, &names)?;
        match files {
            Some((cert, key)) => {
                write(&cert, made.certificate_pem.as_bytes(), 0o644)?;
                write(&key, made.key_pem.as_bytes(), 0o600)?;
                tracing::info!(
                    "Generated self-signed cert ({}, {})",
                    cert.display(),
                    key.display()
                );
                (self.cert_file, self.key_file) = (Some(cert), Some(key));
            }
            None => {
                let slot = CertificateSlot::default();
                slot.set_pem(made.certificate_pem.as_bytes(), made.key_pem.as_bytes())?;
                tracing::info!("Generated self-signed cert in-memory");
                self.certificate = Some(slot);
            }
        }
        Ok(())
    }

    /// Whether TLS can be set up with these suites, versions and curves. Certificates are not looked at.
    pub fn check_tls(&self) -> Result<(), ServingError> {
        server_config(&self.tls_settings(), Arc::new(Certificates::default())).map(|_| ())
    }

    fn tls_settings(&self) -> TlsSettings {
        TlsSettings {
            cipher_suites: self.cipher_suites.clone(),
            min_version: self.min_tls_version.clone(),
            curves: self.curve_preferences.clone(),
            disable_http2: self.disable_http2,
            request_client_certificate: self.request_client_certificate,
            client_cas: self.client_ca_files.clone(),
        }
    }

    /// Opens the socket and loads the certificates. Files are watched from here on, until `stop`.
    /// Must be called inside a runtime.
    pub fn bind(self, stop: &CancellationToken) -> Result<Server, ServingError> {
        let settings = self.tls_settings();
        let mut certificates = Certificates::default();
        if let Some(slot) = self.certificate {
            certificates.default = slot;
        } else if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            let log: Loaded = |name, detail| {
                let name = format!("serving-cert::{name}");
                tracing::debug!(v = 2, name, "Loaded a new cert/key pair");
                tracing::debug!(
                    v = 2,
                    certName = name,
                    certDetail = detail,
                    "Loaded serving cert"
                );
            };
            follow(&certificates.default, cert, key, log, stop)?;
        } else if self.cert_file.is_some() || self.key_file.is_some() {
            return Err(ServingError::HalfAPair);
        }
        for pair in &self.sni_cert_keys {
            let slot = CertificateSlot::default();
            follow(
                &slot,
                Path::new(&pair.cert_file),
                Path::new(&pair.key_file),
                |name, detail| {
                    let name = format!("sni-serving-cert::{name}");
                    tracing::debug!(v = 2, name, "Loaded a new cert/key pair");
                    tracing::debug!(
                        v = 2,
                        certName = name,
                        certDetail = detail,
                        "Loaded SNI cert"
                    );
                },
                stop,
            )
            .map_err(|error| ServingError::Sni(Box::new(error)))?;
            certificates.by_name.push((pair.names.clone(), slot));
        }
        for cert in &self.in_memory_certs {
            let slot = CertificateSlot::default();
            slot.set_pem(cert.certificate_pem.as_bytes(), cert.key_pem.as_bytes())?;
            certificates.by_name.push((cert.names.clone(), slot));
        }
        let certificates = Arc::new(certificates);
        let config = server_config(&settings, certificates.clone())?;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let tls = CurrentTls {
            config: config.clone(),
            certificates: certificates.clone(),
        };
        if !self.client_ca_files.is_empty() {
            let current = config;
            watch_files(
                self.client_ca_files,
                stop.clone(),
                move || match server_config(&settings, certificates.clone()) {
                    Ok(config) => current.store(Arc::new(config)),
                    Err(error) => tracing::warn!(%error, "Keeping the earlier names of client CAs"),
                },
            );
        }
        let listener = bind(
            SocketAddr::new(self.bind_address, self.bind_port),
            self.permit_port_sharing,
        )?;
        let mut limits = self.limits;
        if self.http2_max_streams > 0 {
            limits.http2_max_streams = self.http2_max_streams;
        }
        Ok(Server::new(listener, Tls::On(tls), limits))
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), ServingError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error| ServingError::Write {
            operation,
            path,
            error,
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("mkdir", folder))?;
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(failed("open", path))?
        .write_all(content)
        .map_err(failed("write", path))
}

/// Tells the log of a pair: its files, and what its certificate is.
type Loaded = fn(&str, &str);

/// Loads a pair of files into a slot and keeps it current.
fn follow(
    slot: &CertificateSlot,
    cert: &Path,
    key: &Path,
    log: Loaded,
    stop: &CancellationToken,
) -> Result<(), ServingError> {
    let (cert, key) = (cert.to_owned(), key.to_owned());
    load(slot, &cert, &key, log)?;
    let slot = slot.clone();
    watch_files(
        vec![cert.clone(), key.clone()],
        stop.clone(),
        move || match load(&slot, &cert, &key, log) {
            Ok(true) => tracing::info!(cert = %cert.display(), "Reloaded the serving certificate"),
            Ok(false) => {}
            // Between the writes of the two files they do not match; the next event brings the rest.
            Err(error) => tracing::warn!(%error, "Keeping the earlier serving certificate"),
        },
    );
    Ok(())
}

fn load(
    slot: &CertificateSlot,
    cert: &Path,
    key: &Path,
    log: Loaded,
) -> Result<bool, ServingError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| ServingError::Read {
            path: path.to_owned(),
            error,
        })
    };
    let (certificate_pem, key_pem) = (read(cert)?, read(key)?);
    if certificate_pem.is_empty() || key_pem.is_empty() {
        return Err(ServingError::EmptyFile {
            cert: cert.to_owned(),
            key: key.to_owned(),
        });
    }
    let changed =
        slot.replace(&certificate_pem, &key_pem)
            .map_err(|why| ServingError::CertificateFiles {
                cert: cert.to_owned(),
                key: key.to_owned(),
                why,
            })?;
    if changed && logs::v_in(2, file!()) {
        let leaf = blocks(&certificate_pem).find(Block::is_certificate);
        let detail = leaf.and_then(|leaf| certificate_detail(&leaf.contents));
        let name = format!("{}::{}", cert.display(), key.display());
        log(&name, &detail.unwrap_or_default());
    }
    Ok(changed)
}

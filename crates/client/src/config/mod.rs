//! Where the API server is and who we are. Upstream: `client-go/rest.Config`, `client-go/tools/clientcmd`.
//!
//! A [`ClientConfig`] is plain data: making one reads the kubeconfig file, but certificates, keys and tokens that are named by
//! file are read when they are used, so that a rotated file is picked up by the next connection or request.

mod credentials;
mod dial_error;
mod exec;
mod key_pair;
mod kubeconfig;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use credentials::Credentials;
pub use credentials::RequestAuth;
pub use dial_error::{dial_error, handshake_error};
pub(crate) use exec::ExecCredentials;
pub use exec::{ExecCluster, ExecConfig};
pub use key_pair::{KeyPairError, always, key_pair};
pub use kubeconfig::Kubeconfig;
pub use tls::{CertificateSource, TlsSettings, root_certificates, system_roots};
pub(crate) use tls::{TlsConfigs, TlsSource};

use crate::rest::{Dial, RestMetrics};

/// Why a configuration cannot be used. The text says which file or entry and what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file named by the configuration cannot be read.
    #[error("{}", apimachinery::os_error::on_reading(path, error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        error: std::io::Error,
    },
    /// The kubeconfig is not valid YAML or not of kind Config.
    #[error(
        "error loading config file {}: {reason}",
        apimachinery::quote::quote(origin)
    )]
    Parse {
        /// File name, or where else the text came from.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The kubeconfig contradicts itself or misses something. All problems are listed.
    #[error("invalid configuration: {}", if .0.len() == 1 { .0[0].clone() } else { format!("[{}]", .0.join(", ")) })]
    Invalid(Vec<String>),
    /// There is no such kubeconfig.
    #[error("{}", apimachinery::os_error::on_path("stat", path, error))]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why it cannot be found.
        error: std::io::Error,
    },
    /// The server address cannot be understood.
    #[error("{reason}: {}", apimachinery::quote::quote(server))]
    Server {
        /// The address as given.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// Certificates or keys cannot be used.
    #[error("{what}: {reason}")]
    Tls {
        /// Which of them, with its file if it has one.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The exec credential plugin failed.
    #[error("getting credentials: {0}")]
    Exec(String),
    /// We are not in a pod.
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    /// The configuration asks for something this client does not do.
    #[error("{0}")]
    Unsupported(String),
}

/// The encoding requested for built-in kinds. Other kinds always use JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentType {
    /// `application/vnd.kubernetes.protobuf`, with JSON accepted too.
    #[default]
    Protobuf,
    /// `application/json`.
    Json,
}

impl ContentType {
    /// Reads the value of a `--kube-api-content-type` flag or `contentType` field; empty means protobuf, as for upstream's components.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "" | "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            other => Err(ConfigError::Unsupported(format!(
                "content type {other:?} is not supported: use application/json or application/vnd.kubernetes.protobuf"
            ))),
        }
    }
}

/// Act as someone else; the server checks that we may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// User name; nothing is impersonated while it is empty.
    pub user: String,
    /// User id.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Extra attributes: key and values.
    pub extra: Vec<(String, Vec<String>)>,
}

/// How we prove who we are beyond a TLS client certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Auth {
    /// Not at all, or by client certificate alone.
    #[default]
    None,
    /// A fixed bearer token.
    Token(String),
    /// A bearer token in a file, read again each minute. The text is used while the file cannot be read.
    TokenFile(PathBuf, Option<String>),
    /// HTTP basic authentication.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A program that prints credentials.
    Exec(Box<ExecConfig>),
    /// Tokens that a part of this process gets and renews.
    Source(SharedTokenSource),
}

/// Gives bearer tokens. Asked before every request, so it keeps a token while that is good.
pub trait TokenSource: std::fmt::Debug + Send + Sync + 'static {
    /// A token that is good now.
    fn token(&self) -> futures::future::BoxFuture<'_, Result<String, ConfigError>>;

    /// The server answered 401 to a request with this token: the next one must be another.
    fn refused(&self, token: &str);
}

/// A [`TokenSource`] that several configurations share.
#[derive(Clone, Debug)]
pub struct SharedTokenSource(pub std::sync::Arc<dyn TokenSource>);

impl PartialEq for SharedTokenSource {
    fn eq(&self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Everything a [`crate::Client`] needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `https://host:port/prefix`.
    pub server: String,
    /// Server verification and client certificate.
    pub tls: TlsSettings,
    /// Bearer token or the like.
    pub auth: Auth,
    /// Act as someone else.
    pub impersonation: Impersonation,
    /// The User-Agent header. Field managers derive from its part before the first slash.
    pub user_agent: String,
    /// Requests per second; 0 is upstream's default of 5, negative means no limit.
    pub qps: f32,
    /// Requests at once; 0 is upstream's default of 10.
    pub burst: u32,
    /// Encoding for built-in kinds.
    pub content_type: ContentType,
    /// Limit for a whole request but watches; `None` waits as long as the connection lives.
    pub timeout: Option<Duration>,
    /// Do not ask for gzip.
    pub disable_compression: bool,
    /// Do not log the warnings that answers carry (upstream: rest.NoWarnings).
    pub ignore_warnings: bool,
    /// The namespace of the kubeconfig's context, or of the pod.
    pub default_namespace: Option<String>,
    /// Where requests are counted.
    pub metrics: Option<RestMetrics>,
    /// How the server is reached, when not straight.
    pub dial: Option<Arc<dyn Dial>>,
}

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl ClientConfig {
    /// A server with no credentials. Without a scheme, `http` is taken.
    pub fn plain(server: &str) -> Result<Self, ConfigError> {
        let config = Self::bare(server.to_owned());
        config.base_url()?;
        Ok(config)
    }

    fn bare(server: String) -> Self {
        Self {
            server,
            tls: TlsSettings::default(),
            auth: Auth::None,
            impersonation: Impersonation::default(),
            user_agent: default_user_agent(),
            qps: 0.0,
            burst: 0,
            content_type: ContentType::default(),
            timeout: None,
            disable_compression: false,
            ignore_warnings: false,
            default_namespace: None,
            metrics: None,
            dial: None,
        }
    }

    /// The current context of a kubeconfig file. Relative file names in it count from the file's folder.
    pub fn from_kubeconfig(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Kubeconfig::read(path.as_ref())?.client_config(None)
    }

    /// A named context of a kubeconfig file.
    pub fn from_kubeconfig_context(
        path: impl AsRef<Path>,
        context: &str,
    ) -> Result<Self, ConfigError> {
        Kubeconfig::read(path.as_ref())?.client_config(Some(context))
    }

    /// The current context of a kubeconfig given as text. Relative file names count from the working directory.
    pub fn from_kubeconfig_text(text: &str) -> Result<Self, ConfigError> {
        Kubeconfig::parse(text, "<text>")?.client_config(None)
    }

    /// The service account of the pod we run in.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        let host = std::env::var("KUBERNETES_SERVICE_HOST").unwrap_or_default();
        let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_default();
        Self::in_pod(&host, &port, Path::new(SERVICE_ACCOUNT))
    }

    fn in_pod(host: &str, port: &str, folder: &Path) -> Result<Self, ConfigError> {
        if host.is_empty() || port.is_empty() {
            return Err(ConfigError::NotInCluster);
        }
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let token_file = folder.join("token");
        let token = std::fs::read_to_string(&token_file).map_err(|error| ConfigError::Read {
            path: token_file.clone(),
            error,
        })?;
        let mut config = Self::bare(format!("https://{host}:{port}"));
        config.auth = Auth::TokenFile(token_file, Some(token.trim().to_owned()));
        config.tls.ca = Some(CertificateSource::File(folder.join("ca.crt")));
        config.default_namespace = std::fs::read_to_string(folder.join("namespace"))
            .ok()
            .map(|text| text.trim().to_owned());
        Ok(config)
    }

    /// What `--kubeconfig` and `--master` mean: the file's current context with `master` in place of its server; without a file,
    /// `master` alone; without both, the pod's service account, or else the server that the environment variable
    /// `KUBERNETES_MASTER` names. Upstream: `clientcmd.BuildConfigFromFlags`.
    pub fn load(kubeconfig: Option<&Path>, master: &str) -> Result<Self, ConfigError> {
        match kubeconfig.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Kubeconfig::read(path)?.client_config_for(None, master),
            None if !master.is_empty() => Self::plain(master),
            None => match (Self::in_cluster(), std::env::var("KUBERNETES_MASTER")) {
                (Err(ConfigError::NotInCluster), Ok(server)) if !server.is_empty() => {
                    Self::plain(&server)
                }
                (Err(error @ ConfigError::NotInCluster), _) => {
                    tracing::warn!(%error, "error creating inClusterConfig, falling back to default config");
                    Err(ConfigError::Invalid(vec![
                        kubeconfig::NOTHING_PROVIDED.into(),
                    ]))
                }
                (config, _) => config,
            },
        }
    }

    /// How an API server reaches itself: its own CA (or self-signed certificate) and a token only it knows.
    pub fn loopback(server: &str, ca_pem: Vec<u8>, token: impl Into<String>) -> Self {
        let mut config = Self::bare(server.to_owned());
        config.tls.ca = Some(CertificateSource::Data(ca_pem));
        config.auth = Auth::Token(token.into());
        config.qps = -1.0;
        config
    }

    /// Replaces the User-Agent.
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Replaces the way to the server; none is straight.
    pub fn with_dial(mut self, dial: Option<Arc<dyn Dial>>) -> Self {
        self.dial = dial;
        self
    }

    /// Replaces the request rate: requests per second; negative means no limit.
    pub fn with_qps(mut self, qps: f32) -> Self {
        self.qps = qps;
        self
    }

    /// Replaces the number of requests that may go out at once.
    pub fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Replaces the encoding for built-in kinds.
    pub fn with_content_type(mut self, content_type: ContentType) -> Self {
        self.content_type = content_type;
        self
    }

    /// Limits every request but watches.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = (!timeout.is_zero()).then_some(timeout);
        self
    }

    /// Counts requests there.
    pub fn with_metrics(mut self, metrics: RestMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Uses this bearer token and no other credential but a client certificate.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.auth = Auth::Token(token.into());
        self
    }

    /// Uses the tokens of this source and no other credential but a client certificate.
    pub fn with_token_source(mut self, source: std::sync::Arc<dyn TokenSource>) -> Self {
        self.auth = Auth::Source(SharedTokenSource(source));
        self
    }

    /// Uses this client certificate; both files are read again when they change.
    pub fn with_client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.client_certificate = Some(CertificateSource::File(certificate.into()));
        self.tls.client_key = Some(CertificateSource::File(key.into()));
        self
    }

    /// Acts as someone else.
    pub fn with_impersonation(mut self, impersonation: Impersonation) -> Self {
        self.impersonation = impersonation;
        self
    }

    /// Trusts these authorities (PEM) for the server's certificate.
    pub fn with_ca(mut self, pem: Vec<u8>) -> Self {
        self.tls.ca = Some(CertificateSource::Data(pem));
        self
    }

    /// The same server and trust without any identity, e.g. for a bootstrap or a token of someone else.
    /// Upstream: `rest.AnonymousClientConfig`.
    pub fn anonymous(&self) -> Self {
        let mut config = self.clone();
        config.auth = Auth::None;
        config.impersonation = Impersonation::default();
        config.tls.client_certificate = None;
        config.tls.client_key = None;
        config
    }

    /// The server's address split up. Without a scheme it is `https` if anything about TLS is configured, else `http`.
    pub(crate) fn base_url(&self) -> Result<BaseUrl, ConfigError> {
        let bad = |reason: &str| ConfigError::Server {
            server: self.server.clone(),
            reason: reason.to_owned(),
        };
        let text = if self.server.contains("://") {
            self.server.clone()
        } else {
            let scheme = if self.tls.is_configured() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", self.server)
        };
        let unclear = "host must be a URL or a host:port pair";
        let url = url::Url::parse(&text).map_err(|_| bad(unclear))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(bad("the scheme must be http or https")),
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad(unclear))?;
        let port = url.port_or_known_default().ok_or_else(|| bad("no port"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(BaseUrl {
            tls,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            authority,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// A server address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// What the Host header says; also the `host` label of metrics.
    pub authority: String,
    /// Put before every path; empty or "/x".
    pub prefix: String,
}

impl BaseUrl {
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// `<program>/v<version> (linux/<arch>) kubernetes/unknown`, for whoever sets none.
fn default_user_agent() -> String {
    let program = std::env::args().next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or_else(
        || "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "{program}/v{} ({}/{arch}) kubernetes/$Format",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(server: &str, expected: &str) {
        let config = ClientConfig::bare(server.to_owned());
        let found = match config.base_url() {
            Ok(url) => format!(
                "{} {} {} {} {}",
                url.scheme(),
                url.host,
                url.port,
                url.authority,
                url.prefix
            ),
            Err(error) => error.to_string(),
        };
        assert_eq!(found.trim_end(), expected, "{server}");
    }

    #[test]
    fn server_addresses() {
        check("https://10.0.0.1:6443", "https 10.0.0.1 6443 10.0.0.1:6443");
        check(
            "https://example.com/k8s/clusters/c-1/",
            "https example.com 443 example.com /k8s/clusters/c-1",
        );
        check("https://[::1]:6443", "https ::1 6443 [::1]:6443");
        check("127.0.0.1:8080", "http 127.0.0.1 8080 127.0.0.1:8080");
        check("localhost", "http localhost 80 localhost");
        check("ftp://x", "the scheme must be http or https: \"ftp://x\"");
        check(
            "https://[::1",
            "host must be a URL or a host:port pair: \"https://[::1\"",
        );
    }

    #[test]
    fn a_pod_finds_its_service_account() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "abc\n").unwrap();
        std::fs::write(folder.path().join("namespace"), "kube-system").unwrap();
        let config = ClientConfig::in_pod("fd00::1", "443", folder.path()).unwrap();
        assert_eq!(config.server, "https://[fd00::1]:443");
        assert_eq!(
            config.auth,
            Auth::TokenFile(folder.path().join("token"), Some("abc".into()))
        );
        assert_eq!(config.default_namespace.as_deref(), Some("kube-system"));
        assert!(matches!(
            ClientConfig::in_pod("", "443", folder.path()),
            Err(ConfigError::NotInCluster)
        ));
        assert!(matches!(
            ClientConfig::in_pod("h", "1", Path::new("/nonexistent")),
            Err(ConfigError::Read { .. })
        ));
    }
}

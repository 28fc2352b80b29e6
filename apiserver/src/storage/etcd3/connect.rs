//! Connections to one etcd endpoint. The TLS files are read for every new connection, so that rotated certificates come
//! into use without a restart. Upstream: clientv3's transport.TLSInfo.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apimachinery::os_error;
use client::config::{always, handshake_error, key_pair, system_roots};
use component_base::auth::x509::CaBundle;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::egress::Dialer;
use crate::storage::error::Error;
use crate::storage::etcd3::config::TlsFiles;

/// As upstream: detect a dead server fast without much traffic.
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Lists are megabytes: the 64 KiB of HTTP/2's default make them wait for window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A channel that connects at first use and again after a loss.
pub(crate) fn channel(url: &str, tls: &TlsFiles, via: &Dialer) -> Result<Channel, Error> {
    let invalid = |problem: &str| Error::internal(format!("etcd endpoint {url:?}: {problem}"));
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let uri: Uri = with_scheme.parse().map_err(|_| invalid("not a URL"))?;
    let host = uri
        .host()
        .ok_or_else(|| invalid("no host"))?
        .trim_matches(['[', ']'])
        .to_owned();
    let authority = uri.authority().ok_or_else(|| invalid("no host"))?.clone();
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(invalid("scheme must be http or https")),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    if secure || tls.any() {
        // Fail at start-up, not at the first request.
        client_config(tls)?;
    }
    // tonic must not see the scheme: it would insist on its own TLS, which reads certificates once.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| invalid(&error.to_string()))?
        .origin(uri)
        .connect_timeout(DIAL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_TIME)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let connector = Connector {
        host: host.into(),
        port,
        tls: secure.then(|| Arc::new(tls.clone())),
        via: via.clone(),
    };
    Ok(endpoint.connect_with_connector_lazy(connector))
}

#[derive(Clone)]
struct Connector {
    host: Arc<str>,
    port: u16,
    tls: Option<Arc<TlsFiles>>,
    via: Dialer,
}

/// A plain or TLS stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl tonic::codegen::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self {
            host,
            port,
            tls,
            via,
        } = self.clone();
        Box::pin(async move {
            let address = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            let tcp = via.dial(&host, port).await;
            let tcp = tcp.map_err(|error| error.text(&address))?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(tcp),
                Some(files) => {
                    let config = client_config(&files)?;
                    let name = ServerName::try_from(host.to_string())?;
                    Box::new(
                        TlsConnector::from(Arc::new(config))
                            .connect(name, tcp)
                            .await
                            .map_err(|error| {
                                format!("dial tcp {address}: {}", handshake_error(&error))
                            })?,
                    )
                }
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// Reads the TLS files. Without authorities the system's count, as in Go.
fn client_config(files: &TlsFiles) -> Result<rustls::ClientConfig, Error> {
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Error::internal(format!("unable to use etcd's {what}: {why}"))
    };
    let mut roots = rustls::RootCertStore::empty();
    match &files.ca_file {
        Some(path) => {
            let what = format!("certificate authority {}", path.display());
            let bundle = CaBundle::from_pem(&read(path)?).map_err(|error| failed(&what, &error))?;
            for certificate in bundle.certificates() {
                roots
                    .add(certificate.into())
                    .map_err(|error| failed(&what, &error))?;
            }
        }
        None => {
            let pem = system_roots().map_err(|error| failed("certificate authorities", &error))?;
            let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
            roots.add_parsable_certificates(certificates);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (&files.cert_file, &files.key_file) {
        (Some(certificate), Some(key)) => {
            let what = format!(
                "client certificate {} and key {}",
                certificate.display(),
                key.display()
            );
            let pair = key_pair(&read(certificate)?, &read(key)?)
                .map_err(|error| failed(&what, &error))?;
            builder.with_client_cert_resolver(always(pair))
        }
        (None, None) => builder.with_no_client_auth(),
        (certificate, key) => {
            let shown = |path: &Option<PathBuf>| {
                path.as_ref()
                    .map_or_else(String::new, |path| path.display().to_string())
            };
            return Err(Error::internal(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                shown(key),
                shown(certificate)
            )));
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::internal(os_error::on_reading(path, &error)))
}

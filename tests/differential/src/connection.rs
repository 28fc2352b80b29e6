//! One request to one server, without retries and without headers of our own: what a client library would add or hide is part
//! of what is compared.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::ClientConfig;
use client::config::CertificateSource;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::Error;

/// Longer than any answer takes; watches end sooner by their own `timeoutSeconds`.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server, with a connection for the administrator and one without a certificate.
pub(crate) struct Server {
    /// `host:port`.
    pub authority: String,
    admin: Lane,
    nobody: Lane,
}

struct Lane {
    tls: TlsConnector,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Server {
    pub(crate) fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::Kubeconfig {
            path: path.to_owned(),
            reason,
        };
        let config = ClientConfig::from_kubeconfig(path).map_err(|error| bad(error.to_string()))?;
        let authority = config
            .server
            .strip_prefix("https://")
            .ok_or_else(|| bad(format!("{}: not an https address", config.server)))?
            .trim_end_matches('/')
            .to_owned();
        let read = |source: &Option<CertificateSource>| match source {
            Some(CertificateSource::Data(pem)) => Ok(pem.clone()),
            Some(CertificateSource::File(file)) => {
                std::fs::read(file).map_err(|source| Error::Read {
                    path: file.clone(),
                    source,
                })
            }
            None => Err(bad("no authority, certificate or key".into())),
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(&config.tls.ca)?) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| bad(error.to_string()))?;
        }
        let chain = CertificateDer::pem_slice_iter(&read(&config.tls.client_certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&config.tls.client_key)?)
            .map_err(|error| bad(error.to_string()))?;
        let builder = || rustls::ClientConfig::builder().with_root_certificates(roots.clone());
        let admin = builder()
            .with_client_auth_cert(chain, key)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            authority,
            admin: Lane::new(admin),
            nobody: Lane::new(builder().with_no_client_auth()),
        })
    }

    /// Sends a request; its URI is absolute. An answer that breaks off or does not come is an error text.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        with_certificate: bool,
    ) -> Result<Answer, String> {
        let lane = if with_certificate {
            &self.admin
        } else {
            &self.nobody
        };
        let exchange = async {
            // A server may end the connection with any answer; the next request then finds it closed.
            let mut attempts = 0;
            let response = loop {
                attempts += 1;
                let mut sender = lane.sender(&self.authority).await?;
                match sender.send_request(request.clone()).await {
                    Ok(response) => break response,
                    // Strangers only ask: sending such a request twice changes nothing.
                    Err(_) if attempts < 4 && (sender.is_closed() || !with_certificate) => {
                        *lane.sender.lock().await = None;
                    }
                    Err(error) => return Err(chain(&error)),
                }
            };
            let (parts, body) = response.into_parts();
            // A body that breaks off is an answer too: the other server's may not.
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => Bytes::from(format!("broken body: {}", chain(&error))),
            };
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }
}

impl Lane {
    fn new(mut config: rustls::ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            sender: Mutex::new(None),
        }
    }

    /// The lane's connection, made anew when the server has ended it.
    async fn sender(&self, authority: &str) -> Result<SendRequest<Full<Bytes>>, String> {
        let mut current = self.sender.lock().await;
        if let Some(sender) = &*current
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let tcp = TcpStream::connect(authority)
            .await
            .map_err(|error| format!("connecting: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(tls))
            .await
            .map_err(|error| chain(&error))?;
        // Its end shows in `is_closed`.
        tokio::spawn(async move { drop(connection.await) });
        *current = Some(sender.clone());
        Ok(sender)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

//! HTTPS for the webhook and the aggregated API server: certificate and key from a mounted Secret, client certificates where there is an authority.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use crate::Error;

#[derive(Args)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The folder of tls.crt and tls.key, as a Secret of type kubernetes.io/tls is mounted.
    #[arg(long, default_value = "/tls")]
    certificates: PathBuf,
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// What answers requests. It is told the certificate of a client that has one of the authority.
pub(crate) trait Handler: Send + Sync + 'static {
    fn answer(
        &self,
        request: Request<Incoming>,
        client: Option<CertificateDer<'static>>,
    ) -> impl Future<Output = Answer> + Send;
}

/// Serves until SIGTERM. With an authority (PEM), clients may bring certificates of it.
pub(crate) async fn serve(
    options: &Options,
    client_authority: Option<&str>,
    handler: impl Handler,
) -> Result<(), Error> {
    let tls = acceptor(&options.certificates, client_authority)?;
    let listener = TcpListener::bind(options.listen).await?;
    eprintln!("serving on {}", options.listen);
    let handler = Arc::new(handler);
    let mut stop = signal(SignalKind::terminate())?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = stop.recv() => return Ok(()),
        };
        let (tls, handler) = (tls.clone(), handler.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let client = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first().cloned())
                .map(CertificateDer::into_owned);
            let service = service_fn(|request| {
                let (handler, client) = (handler.clone(), client.clone());
                async move { Ok::<_, Infallible>(handler.answer(request, client).await) }
            });
            // A connection that breaks is the client's to mend.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn acceptor(folder: &Path, client_authority: Option<&str>) -> Result<TlsAcceptor, Error> {
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key"))?;
    let builder = rustls::ServerConfig::builder();
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(authority?)?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into()),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}

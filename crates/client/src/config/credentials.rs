//! What goes into the Authorization and Impersonate headers of a request. Upstream: `client-go/transport`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::exec::{ExecAuthenticator, ExecCredentials};
use super::{Auth, ClientConfig, ConfigError, Impersonation, SharedTokenSource};

/// How old a token read from a file may get. Upstream: one minute, less ten seconds of leeway.
const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(50);

/// The live form of [`Auth`].
#[derive(Debug)]
pub(crate) enum Credentials {
    None,
    Header(HeaderValue),
    TokenFile {
        path: PathBuf,
        fallback: Option<String>,
        cached: Mutex<Option<(HeaderValue, Instant)>>,
    },
    Exec(Box<ExecAuthenticator>),
    Source(SharedTokenSource),
}

impl Credentials {
    pub(crate) fn new(auth: &Auth) -> Result<Self, ConfigError> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::Token(token) => Self::Header(bearer(token)?),
            Auth::TokenFile(path, fallback) => Self::TokenFile {
                path: path.clone(),
                fallback: fallback.clone(),
                cached: Mutex::new(None),
            },
            Auth::Basic { username, password } => {
                let mut value = HeaderValue::try_from(format!(
                    "Basic {}",
                    STANDARD.encode(format!("{username}:{password}"))
                ))
                .map_err(|error| {
                    ConfigError::Invalid(vec![format!("basic authentication: {error}")])
                })?;
                value.set_sensitive(true);
                Self::Header(value)
            }
            Auth::Exec(config) => Self::Exec(Box::new(ExecAuthenticator::new((**config).clone()))),
            Auth::Source(source) => Self::Source(source.clone()),
        })
    }

    /// Sets the Authorization header, unless the caller has. Returns what an exec plugin or a source gave, for [`Self::refused`].
    pub(crate) async fn apply(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<ExecCredentials>>, ConfigError> {
        if headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        match self {
            Self::None => {}
            Self::Header(value) => {
                headers.insert(AUTHORIZATION, value.clone());
            }
            Self::TokenFile {
                path,
                fallback,
                cached,
            } => {
                let value = token_from_file(path, fallback.as_deref(), cached)?;
                headers.insert(AUTHORIZATION, value);
            }
            Self::Exec(authenticator) => {
                let credentials = authenticator.credentials().await?;
                if !credentials.token.is_empty() {
                    headers.insert(AUTHORIZATION, bearer(&credentials.token)?);
                }
                return Ok(Some(credentials));
            }
            Self::Source(source) => {
                let token = source.0.token().await?;
                headers.insert(AUTHORIZATION, bearer(&token)?);
                return Ok(Some(Arc::new(ExecCredentials::of_token(token))));
            }
        }
        Ok(None)
    }

    /// The server answered 401 to a request made with `used`.
    pub(crate) async fn refused(&self, used: &Arc<ExecCredentials>) {
        match self {
            Self::Exec(authenticator) => authenticator.refused(used).await,
            Self::Source(source) => source.0.refused(&used.token),
            _ => {}
        }
    }

    /// The client certificate an exec plugin gives, if it is one and gives one.
    pub(crate) async fn certificate(&self) -> Result<Option<(Vec<u8>, Vec<u8>)>, ConfigError> {
        match self {
            Self::Exec(authenticator) => Ok(authenticator.credentials().await?.certificate.clone()),
            _ => Ok(None),
        }
    }
}

/// Headers that say who we are, for requests that this crate does not send. A certificate that an exec plugin gives is not among them.
#[derive(Debug)]
pub struct RequestAuth {
    credentials: Credentials,
    impersonation: Vec<(HeaderName, HeaderValue)>,
}

impl RequestAuth {
    /// Of a configuration.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            credentials: Credentials::new(&config.auth)?,
            impersonation: config.impersonation.headers()?,
        })
    }

    /// Sets the headers. A token file is read again when the token is old.
    pub async fn apply(&self, headers: &mut HeaderMap) -> Result<(), ConfigError> {
        self.credentials.apply(headers).await?;
        for (name, value) in &self.impersonation {
            headers.append(name.clone(), value.clone());
        }
        Ok(())
    }
}

fn token_from_file(
    path: &PathBuf,
    fallback: Option<&str>,
    cached: &Mutex<Option<(HeaderValue, Instant)>>,
) -> Result<HeaderValue, ConfigError> {
    let mut cached = cached.lock();
    if let Some((value, read)) = &*cached
        && read.elapsed() < TOKEN_FILE_PERIOD
    {
        return Ok(value.clone());
    }
    let read = std::fs::read_to_string(path).and_then(|text| {
        let text = text.trim().to_owned();
        if text.is_empty() {
            Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the file is empty",
            ))
        } else {
            Ok(text)
        }
    });
    match read {
        Ok(token) => {
            let value = bearer(&token)?;
            *cached = Some((value.clone(), Instant::now()));
            Ok(value)
        }
        // An unreadable file does not end a working identity: the last token stays in use, as upstream.
        Err(error) => match (&*cached, fallback) {
            (Some((value, _)), _) => {
                tracing::error!(path = %path.display(), %error, "Unable to rotate token");
                Ok(value.clone())
            }
            (None, Some(token)) => bearer(token),
            (None, None) => Err(ConfigError::Read {
                path: path.clone(),
                error,
            }),
        },
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        ConfigError::Invalid(vec![
            "the bearer token holds characters a header cannot carry".into(),
        ])
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Impersonation {
    /// The Impersonate-* headers.
    pub(crate) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
        if self.user.is_empty() {
            return Ok(Vec::new());
        }
        let value = |text: &str| {
            HeaderValue::try_from(text)
                .map_err(|error| ConfigError::Invalid(vec![format!("impersonation: {error}")]))
        };
        let mut headers = vec![(
            HeaderName::from_static("impersonate-user"),
            value(&self.user)?,
        )];
        if !self.uid.is_empty() {
            headers.push((
                HeaderName::from_static("impersonate-uid"),
                value(&self.uid)?,
            ));
        }
        for group in &self.groups {
            headers.push((HeaderName::from_static("impersonate-group"), value(group)?));
        }
        for (key, values) in &self.extra {
            let name = format!("impersonate-extra-{}", escape_header_key(key));
            let name = HeaderName::try_from(name)
                .map_err(|error| ConfigError::Invalid(vec![format!("impersonation: {error}")]))?;
            for one in values {
                headers.push((name.clone(), value(one)?));
            }
        }
        Ok(headers)
    }
}

/// Percent-encodes what may not stand in a header name. The percent sign itself is encoded too, so it can be undone.
fn escape_header_key(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.to_ascii_lowercase().bytes() {
        match byte {
            b'!'
            | b'#'
            | b'$'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
            | b'0'..=b'9'
            | b'a'..=b'z' => {
                escaped.push(byte as char);
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn header(credentials: &Credentials) -> String {
        let mut headers = HeaderMap::new();
        credentials.apply(&mut headers).await.unwrap();
        headers
            .get(AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    #[tokio::test]
    async fn fixed_credentials() {
        assert_eq!(header(&Credentials::new(&Auth::None).unwrap()).await, "");
        assert_eq!(
            header(&Credentials::new(&Auth::Token("abc".into())).unwrap()).await,
            "Bearer abc"
        );
        let basic = Auth::Basic {
            username: "Aladdin".into(),
            password: "open sesame".into(),
        };
        assert_eq!(
            header(&Credentials::new(&basic).unwrap()).await,
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
        Credentials::new(&Auth::Token("abc".into()))
            .unwrap()
            .apply(&mut headers)
            .await
            .unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer mine");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_and_outlives_its_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credentials =
            Credentials::new(&Auth::TokenFile(path.clone(), Some("first".into()))).unwrap();
        assert_eq!(header(&credentials).await, "Bearer first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(header(&credentials).await, "Bearer second");
        std::fs::write(&path, "third").unwrap();
        assert_eq!(
            header(&credentials).await,
            "Bearer second",
            "not a minute old"
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(header(&credentials).await, "Bearer third");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(header(&credentials).await, "Bearer third");
    }

    #[test]
    fn impersonation_headers() {
        let impersonation = Impersonation {
            user: "jane".into(),
            uid: "1".into(),
            groups: vec!["a".into(), "b".into()],
            extra: vec![("example.org/Scope %".into(), vec!["x".into()])],
        };
        let headers: Vec<String> = impersonation
            .headers()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        // Header names are lower case here; on the wire HTTP does not care about case.
        assert_eq!(
            headers,
            [
                "impersonate-user=jane",
                "impersonate-uid=1",
                "impersonate-group=a",
                "impersonate-group=b",
                "impersonate-extra-example.org%2fscope%20%25=x"
            ]
        );
        assert!(
            Impersonation {
                groups: vec!["x".into()],
                ..Impersonation::default()
            }
            .headers()
            .unwrap()
            .is_empty()
        );
    }
}

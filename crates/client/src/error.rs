//! What a request can end with. Upstream: `apimachinery/pkg/api/errors`.

use std::future::Future;
use std::time::Duration;

use api_types::meta::v1::{Status, StatusCause, StatusDetails};
use http::{Method, StatusCode};

use crate::config::ConfigError;
use crate::rest::TransportError;

/// Why a call did not give its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with a failure. The text is the server's message.
    #[error("{}", .0.message)]
    Api(Box<Status>),
    /// The client's own configuration or credentials are unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No answer was received.
    #[error("{} {url:?}: {source}", title(.method))]
    Transport {
        /// HTTP method of the request.
        method: Method,
        /// Full URL of the request.
        url: String,
        /// What went wrong on the way.
        source: TransportError,
    },
    /// The request's time was over before the answer was complete.
    #[error("{} {url:?}: no complete answer within {timeout:?}", title(.method))]
    Timeout {
        /// HTTP method of the request.
        method: Method,
        /// Full URL of the request.
        url: String,
        /// The limit that was reached.
        timeout: Duration,
    },
    /// The answer could not be decoded as the expected type.
    #[error("decoding {what}: {reason}")]
    Decode {
        /// What was expected.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request could not be built from what the caller gave.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The server refused to switch protocols.
    #[error("upgrade of {url} refused with {status}: {body}")]
    UpgradeRefused {
        /// Full URL of the request.
        url: String,
        /// The answer's status code.
        status: StatusCode,
        /// The beginning of the answer's body.
        body: String,
    },
}

impl Error {
    /// The server's Status, when it answered with one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(status) => Some(status),
            _ => None,
        }
    }

    /// The machine-readable reason of the server's Status, or "".
    pub fn reason(&self) -> &str {
        self.status().map_or("", |status| status.reason.as_str())
    }

    /// The HTTP code of the server's Status, or 0.
    pub fn code(&self) -> u16 {
        self.status()
            .map_or(0, |status| u16::try_from(status.code).unwrap_or(0))
    }

    /// As upstream, the reason decides; the code counts only when the reason is not one upstream knows.
    fn is(&self, reason: &str, code: u16) -> bool {
        let Some(status) = self.status() else {
            return false;
        };
        status.reason == reason
            || (!KNOWN_REASONS.contains(&status.reason.as_str()) && self.code() == code)
    }

    /// The object, or the resource itself, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is("NotFound", 404)
    }

    /// An object with this name exists already.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// The object was changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict", 409)
    }

    /// The request is understood and refused.
    pub fn is_forbidden(&self) -> bool {
        self.is("Forbidden", 403)
    }

    /// The server does not know who we are.
    pub fn is_unauthorized(&self) -> bool {
        self.is("Unauthorized", 401)
    }

    /// The object failed validation.
    pub fn is_invalid(&self) -> bool {
        self.is("Invalid", 422)
    }

    /// The request is malformed.
    pub fn is_bad_request(&self) -> bool {
        self.is("BadRequest", 400)
    }

    /// The resource version, continue token or watch position is too old: list again.
    pub fn is_gone(&self) -> bool {
        self.is("Gone", 410) || self.is_expired()
    }

    /// The reason is `Expired`, a kind of gone.
    pub fn is_expired(&self) -> bool {
        self.reason() == "Expired"
    }

    /// The server wants us to slow down.
    pub fn is_too_many_requests(&self) -> bool {
        self.is("TooManyRequests", 429)
    }

    /// The server could not do it in time and may be asked again.
    pub fn is_server_timeout(&self) -> bool {
        self.reason() == "ServerTimeout"
    }

    /// The server, or this client, gave up waiting.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. }) || self.is("Timeout", 504)
    }

    /// The server failed in an unexpected way.
    pub fn is_internal_error(&self) -> bool {
        self.is("InternalError", 500)
    }

    /// The server cannot handle the request now.
    pub fn is_service_unavailable(&self) -> bool {
        self.is("ServiceUnavailable", 503)
    }

    /// The resource does not support the method.
    pub fn is_method_not_supported(&self) -> bool {
        self.is("MethodNotAllowed", 405)
    }

    /// Nothing can be created because the namespace is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.is_forbidden() && self.has_cause("NamespaceTerminating")
    }

    /// The requested resource version is larger than the server has seen so far.
    pub fn is_too_large_resource_version(&self) -> bool {
        self.is_timeout()
            && (self.has_cause("ResourceVersionTooLarge")
                || self
                    .status()
                    .is_some_and(|status| status.message.contains("Too large resource version")))
    }

    /// Whether the Status carries a cause of this type.
    pub fn has_cause(&self, cause: &str) -> bool {
        self.status()
            .and_then(|status| status.details.as_ref())
            .is_some_and(|details| details.causes.iter().any(|one| one.reason == cause))
    }

    /// No answer came: the connection could not be made or broke.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }

    /// The connection was refused: nobody listens.
    pub fn is_connection_refused(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if source.is_connection_refused())
    }

    /// How long the server asked us to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)
    }

    /// The Status upstream makes up when the server's answer is not one.
    pub(crate) fn unexpected(
        code: StatusCode,
        method: &Method,
        group: &str,
        resource: &str,
        name: &str,
        body: &str,
        retry_after: i32,
    ) -> Self {
        let (reason, mut message) = describe(code.as_u16(), method, body);
        let qualified = if group.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}.{group}")
        };
        let verb = method.as_str().to_ascii_lowercase();
        if !resource.is_empty() {
            message = if name.is_empty() {
                format!("{message} ({verb} {qualified})")
            } else {
                format!("{message} ({verb} {qualified} {name})")
            };
        }
        let cause = StatusCause {
            reason: "UnexpectedServerResponse".into(),
            message: body.to_owned(),
            ..StatusCause::default()
        };
        Self::Api(Box::new(Status {
            status: "Failure".into(),
            code: i32::from(code.as_u16()),
            reason: reason.into(),
            message,
            details: Some(Box::new(StatusDetails {
                group: group.into(),
                kind: resource.into(),
                name: name.into(),
                causes: vec![cause],
                retry_after_seconds: retry_after,
                ..StatusDetails::default()
            })),
            ..Status::default()
        }))
    }

    pub(crate) fn decode(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Decode {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

/// `Get`, as Go writes methods in errors.
fn title(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

fn describe(code: u16, method: &Method, body: &str) -> (&'static str, String) {
    let fixed = |reason, message: &str| (reason, message.to_owned());
    let or_body = |reason, message: &str| {
        (
            reason,
            if body.is_empty() || body == "unknown" {
                message.to_owned()
            } else {
                body.to_owned()
            },
        )
    };
    match code {
        409 => fixed(
            if method == Method::POST {
                "AlreadyExists"
            } else {
                "Conflict"
            },
            "the server reported a conflict",
        ),
        404 => fixed(
            "NotFound",
            "the server could not find the requested resource",
        ),
        400 => fixed(
            "BadRequest",
            "the server rejected our request for an unknown reason",
        ),
        401 => fixed(
            "Unauthorized",
            "the server has asked for the client to provide credentials",
        ),
        403 => fixed("Forbidden", body),
        406 => or_body(
            "NotAcceptable",
            "the server was unable to respond with a content type that the client supports",
        ),
        415 => or_body(
            "UnsupportedMediaType",
            "the server was unable to respond with a content type that the client supports",
        ),
        405 => fixed(
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        422 => fixed(
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        503 => fixed(
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => fixed(
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        429 => fixed(
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        500.. => (
            "InternalError",
            format!("an error on the server ({body:?}) has prevented the request from succeeding"),
        ),
        _ => (
            "",
            format!(
                "the server responded with the status code {code} but did not return more information"
            ),
        ),
    }
}

/// Reasons upstream's error checks know; for these the HTTP code is not looked at.
const KNOWN_REASONS: &[&str] = &[
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Invalid",
    "ServerTimeout",
    "StoreReadError",
    "Timeout",
    "TooManyRequests",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "UnsupportedMediaType",
    "InternalError",
    "Expired",
    "ServiceUnavailable",
];

/// Runs `attempt` until it gives something other than a conflict, at most five times with about 10 ms in between.
/// `attempt` must read the object anew each time. Upstream: `client-go/util/retry.RetryOnConflict(DefaultRetry, ..)`.
pub async fn retry_on_conflict<T, F, Fut>(mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    const STEPS: u32 = 5;
    for _ in 1..STEPS {
        match attempt().await {
            Err(error) if error.is_conflict() => {}
            done => return done,
        }
        let jitter = rand::random::<f64>() * 0.1;
        tokio::time::sleep(Duration::from_millis(10).mul_f64(1.0 + jitter)).await;
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(reason: &str, code: i32) -> Error {
        Error::Api(Box::new(Status {
            reason: reason.into(),
            code,
            ..Status::default()
        }))
    }

    #[test]
    fn a_known_reason_beats_the_code() {
        assert!(api("NotFound", 404).is_not_found());
        assert!(api("", 404).is_not_found());
        assert!(api("SomethingNew", 404).is_not_found());
        assert!(!api("Forbidden", 404).is_not_found());
        assert!(!api("AlreadyExists", 409).is_conflict());
        assert!(api("Conflict", 409).is_conflict());
        assert!(
            api("Expired", 410).is_gone() && api("Gone", 410).is_gone() && api("", 410).is_gone()
        );
    }

    #[test]
    fn a_body_that_is_no_status_is_described_as_upstream_does() {
        let error = Error::unexpected(
            StatusCode::INTERNAL_SERVER_ERROR,
            &Method::GET,
            "apps",
            "deployments",
            "web",
            "boom",
            0,
        );
        assert_eq!(
            error.to_string(),
            "an error on the server (\"boom\") has prevented the request from succeeding (get deployments.apps web)"
        );
        assert!(error.is_internal_error() && error.has_cause("UnexpectedServerResponse"));
        let error = Error::unexpected(
            StatusCode::TOO_MANY_REQUESTS,
            &Method::POST,
            "",
            "pods",
            "",
            "",
            3,
        );
        assert_eq!(
            error.to_string(),
            "the server has received too many requests and has asked us to try again later (post pods)"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_are_retried_five_times() {
        let mut tries = 0;
        let result: Result<(), Error> = retry_on_conflict(|| {
            tries += 1;
            async { Err(api("Conflict", 409)) }
        })
        .await;
        assert!(result.unwrap_err().is_conflict());
        assert_eq!(tries, 5);
        let mut tries = 0;
        let result = retry_on_conflict(|| {
            tries += 1;
            let done = tries == 3;
            async move {
                if done {
                    Ok(7)
                } else {
                    Err(api("Conflict", 409))
                }
            }
        })
        .await;
        assert_eq!((result.unwrap(), tries), (7, 3));
    }
}

//! The `Status` that an API server answers with when it refuses. Upstream: apimachinery/pkg/api/errors.
//!
//! Clients decide by code and reason, and people read the message, so all of it equals upstream's.

use std::fmt;
use std::ops::Deref;

use api_types::meta::v1::{Status, StatusCause, StatusDetails, status_reason as reason};

use crate::field::ErrorList;
use crate::gvk::{GroupKind, GroupResource};
use crate::quote::quote;

/// A failed `Status` as an error. It prints its message, and derefs to the Status for everything else.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusError(Box<Status>);

impl StatusError {
    /// The Status itself, to send or to keep.
    pub fn into_status(self) -> Status {
        *self.0
    }

    /// The same with a delay that the client should wait, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: i32) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, cause: StatusCause) -> Self {
        self.details_mut().causes.push(cause);
        self
    }

    fn details_mut(&mut self) -> &mut StatusDetails {
        self.0.details.get_or_insert_default()
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for StatusError {}

impl Deref for StatusError {
    type Target = Status;
    fn deref(&self) -> &Status {
        &self.0
    }
}

impl From<Status> for StatusError {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl From<StatusError> for Status {
    fn from(error: StatusError) -> Self {
        *error.0
    }
}

fn failure(
    code: i32,
    reason: &str,
    message: impl Into<String>,
    details: Option<StatusDetails>,
) -> StatusError {
    StatusError(Box::new(Status {
        status: "Failure".to_owned(),
        code,
        reason: reason.to_owned(),
        message: message.into(),
        details: details.map(Box::new),
        ..Default::default()
    }))
}

fn details(resource: &GroupResource, name: &str) -> Option<StatusDetails> {
    // What a kind is to a client's eyes is the resource here, as upstream.
    Some(StatusDetails {
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        name: name.to_owned(),
        ..Default::default()
    })
}

fn retry_details(retry_after_seconds: i32) -> Option<StatusDetails> {
    Some(StatusDetails {
        retry_after_seconds,
        ..Default::default()
    })
}

/// 404: there is no such object.
pub fn not_found(resource: &GroupResource, name: &str) -> StatusError {
    failure(
        404,
        reason::NOT_FOUND,
        format!("{resource} {} not found", quote(name)),
        details(resource, name),
    )
}

/// 409: an object of that name exists.
pub fn already_exists(resource: &GroupResource, name: &str) -> StatusError {
    let message = format!("{resource} {} already exists", quote(name));
    failure(
        409,
        reason::ALREADY_EXISTS,
        message,
        details(resource, name),
    )
}

/// 409: no free name was found for `generateName`.
pub fn generate_name_conflict(
    resource: &GroupResource,
    name: &str,
    retry_after_seconds: i32,
) -> StatusError {
    let message = format!(
        "{resource} {} already exists, the server was not able to generate a unique name for the object",
        quote(name)
    );
    failure(
        409,
        reason::ALREADY_EXISTS,
        message,
        details(resource, name),
    )
    .with_retry_after(retry_after_seconds)
}

/// 401: nobody knows who this is. An empty text becomes "not authorized".
pub fn unauthorized(text: &str) -> StatusError {
    let message = if text.is_empty() {
        "not authorized"
    } else {
        text
    };
    failure(401, reason::UNAUTHORIZED, message, None)
}

/// 403: not for this user, or not in this state.
pub fn forbidden(resource: &GroupResource, name: &str, error: impl fmt::Display) -> StatusError {
    let message = if resource.is_empty() {
        format!("forbidden: {error}")
    } else if name.is_empty() {
        format!("{resource} is forbidden: {error}")
    } else {
        format!("{resource} {} is forbidden: {error}", quote(name))
    };
    failure(403, reason::FORBIDDEN, message, details(resource, name))
}

/// 409: the object changed, or is in the way.
pub fn conflict(resource: &GroupResource, name: &str, error: impl fmt::Display) -> StatusError {
    let message = format!(
        "Operation cannot be fulfilled on {resource} {}: {error}",
        quote(name)
    );
    failure(409, reason::CONFLICT, message, details(resource, name))
}

/// 409: other managers own fields that an apply sets.
pub fn apply_conflict(causes: Vec<StatusCause>, message: impl Into<String>) -> StatusError {
    failure(
        409,
        reason::CONFLICT,
        message,
        Some(StatusDetails {
            causes,
            ..Default::default()
        }),
    )
}

/// 410: the old form of [`expired`].
pub fn gone(message: impl Into<String>) -> StatusError {
    failure(410, reason::GONE, message, None)
}

/// 410: the resource version is too old, or the continue token.
pub fn expired(message: impl Into<String>) -> StatusError {
    failure(410, reason::EXPIRED, message, None)
}

/// 422: the object does not pass validation.
pub fn invalid(kind: &GroupKind, name: &str, errors: &ErrorList) -> StatusError {
    let mut message = format!("{kind} {} is invalid", quote(name));
    if let Some(all) = errors.aggregate() {
        message.push_str(": ");
        message.push_str(&all);
    }
    let details = StatusDetails {
        group: kind.group.clone(),
        kind: kind.kind.clone(),
        name: name.to_owned(),
        causes: errors.to_causes(),
        ..Default::default()
    };
    failure(422, reason::INVALID, message, Some(details))
}

/// 400: the request makes no sense.
pub fn bad_request(message: impl Into<String>) -> StatusError {
    failure(400, reason::BAD_REQUEST, message, None)
}

/// 429: come back later, with a delay in seconds.
pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> StatusError {
    failure(
        429,
        reason::TOO_MANY_REQUESTS,
        message,
        retry_details(retry_after_seconds),
    )
}

/// 429: the server is overloaded; no delay is named. Upstream: `NewTooManyRequestsError`.
pub fn too_many_requests_error(message: impl fmt::Display) -> StatusError {
    failure(
        429,
        reason::TOO_MANY_REQUESTS,
        format!("Too many requests: {message}"),
        None,
    )
}

/// 503: what would answer is not there.
pub fn service_unavailable(message: impl Into<String>) -> StatusError {
    failure(503, reason::SERVICE_UNAVAILABLE, message, None)
}

/// 405: the resource cannot do that.
pub fn method_not_supported(resource: &GroupResource, action: &str) -> StatusError {
    let message = format!(
        "{action} is not supported on resources of kind {}",
        quote(&resource.to_string())
    );
    failure(
        405,
        reason::METHOD_NOT_ALLOWED,
        message,
        details(resource, ""),
    )
}

/// 500: something that will pass; the client should try again.
pub fn server_timeout(
    resource: &GroupResource,
    operation: &str,
    retry_after_seconds: i32,
) -> StatusError {
    let message = format!(
        "The {operation} operation against {resource} could not be completed at this time, please try again."
    );
    failure(
        500,
        reason::SERVER_TIMEOUT,
        message,
        details(resource, operation),
    )
    .with_retry_after(retry_after_seconds)
}

/// 500: a bug, or a broken part.
pub fn internal(error: impl fmt::Display) -> StatusError {
    let text = error.to_string();
    let message = format!("Internal error occurred: {text}");
    let causes = vec![StatusCause {
        message: text,
        ..Default::default()
    }];
    failure(
        500,
        reason::INTERNAL_ERROR,
        message,
        Some(StatusDetails {
            causes,
            ..Default::default()
        }),
    )
}

/// 504: the time for the request is over; it may still take effect.
pub fn timeout(message: impl fmt::Display, retry_after_seconds: i32) -> StatusError {
    failure(
        504,
        reason::TIMEOUT,
        format!("Timeout: {message}"),
        retry_details(retry_after_seconds),
    )
}

/// 413: the body is too large.
pub fn request_entity_too_large(message: impl fmt::Display) -> StatusError {
    failure(
        413,
        reason::REQUEST_ENTITY_TOO_LARGE,
        format!("Request entity too large: {message}"),
        None,
    )
}

/// 406: no encoding that the client accepts. The text lists those that the server has.
pub fn not_acceptable(accepted: &[&str]) -> StatusError {
    let message = format!(
        "only the following media types are accepted: {}",
        accepted.join(", ")
    );
    failure(406, reason::NOT_ACCEPTABLE, message, None)
}

/// 415: the body's encoding is not understood. The text lists those that the server has.
pub fn unsupported_media_type(accepted: &[&str]) -> StatusError {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    failure(415, reason::UNSUPPORTED_MEDIA_TYPE, message, None)
}

/// 500: the stored object cannot be read back. Upstream: apiserver/pkg/storage `NewStoreReadError`.
pub fn store_read_error(message: impl Into<String>) -> StatusError {
    failure(500, reason::STORAGE_READ_ERROR, message, None)
}

/// What a client makes of an answer that carries no Status. Upstream: `NewGenericServerResponse`.
pub fn generic_server_response(
    code: u16,
    verb: &str,
    resource: &GroupResource,
    name: &str,
    server_message: &str,
    retry_after_seconds: i32,
    is_unexpected: bool,
) -> StatusError {
    let mut message = format!(
        "the server responded with the status code {code} but did not return more information"
    );
    let mut status_reason = "";
    let mut set = |new_reason: &'static str, text: &str| {
        status_reason = new_reason;
        message = text.to_owned();
    };
    match code {
        409 if verb == "POST" => set(reason::ALREADY_EXISTS, "the server reported a conflict"),
        409 => set(reason::CONFLICT, "the server reported a conflict"),
        404 => set(
            reason::NOT_FOUND,
            "the server could not find the requested resource",
        ),
        400 => set(
            reason::BAD_REQUEST,
            "the server rejected our request for an unknown reason",
        ),
        401 => set(
            reason::UNAUTHORIZED,
            "the server has asked for the client to provide credentials",
        ),
        // For these the server says who tried what, or what it accepts.
        403 => set(reason::FORBIDDEN, server_message),
        406 if server_message.is_empty() || server_message == "unknown" => set(
            reason::NOT_ACCEPTABLE,
            "the server was unable to respond with a content type that the client supports",
        ),
        406 => set(reason::NOT_ACCEPTABLE, server_message),
        415 => set(reason::UNSUPPORTED_MEDIA_TYPE, server_message),
        405 => set(
            reason::METHOD_NOT_ALLOWED,
            "the server does not allow this method on the requested resource",
        ),
        422 => set(
            reason::INVALID,
            "the server rejected our request due to an error in our request",
        ),
        503 => set(
            reason::SERVICE_UNAVAILABLE,
            "the server is currently unable to handle the request",
        ),
        504 => set(
            reason::TIMEOUT,
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        429 => set(
            reason::TOO_MANY_REQUESTS,
            "the server has received too many requests and has asked us to try again later",
        ),
        500.. => set(
            reason::INTERNAL_ERROR,
            &format!(
                "an error on the server ({}) has prevented the request from succeeding",
                quote(server_message)
            ),
        ),
        _ => {}
    }
    let verb = verb.to_lowercase();
    if !resource.is_empty() && !name.is_empty() {
        message = format!("{message} ({verb} {resource} {name})");
    } else if !resource.is_empty() {
        message = format!("{message} ({verb} {resource})");
    }
    let mut error = failure(
        i32::from(code),
        status_reason,
        message,
        details(resource, name),
    );
    error = error.with_retry_after(retry_after_seconds);
    if is_unexpected {
        error = error.with_cause(StatusCause {
            reason: CAUSE_UNEXPECTED_SERVER_RESPONSE.to_owned(),
            message: server_message.to_owned(),
            ..Default::default()
        });
    }
    error
}

/// Reason of the cause that marks an answer that did not come from an API server.
pub const CAUSE_UNEXPECTED_SERVER_RESPONSE: &str = "UnexpectedServerResponse";

// === Predicates ===

/// Reasons that this version knows. For others, the code decides.
const KNOWN_REASONS: &[&str] = &[
    reason::UNAUTHORIZED,
    reason::FORBIDDEN,
    reason::NOT_FOUND,
    reason::ALREADY_EXISTS,
    reason::CONFLICT,
    reason::GONE,
    reason::INVALID,
    reason::SERVER_TIMEOUT,
    reason::STORAGE_READ_ERROR,
    reason::TIMEOUT,
    reason::TOO_MANY_REQUESTS,
    reason::BAD_REQUEST,
    reason::METHOD_NOT_ALLOWED,
    reason::NOT_ACCEPTABLE,
    reason::REQUEST_ENTITY_TOO_LARGE,
    reason::UNSUPPORTED_MEDIA_TYPE,
    reason::INTERNAL_ERROR,
    reason::EXPIRED,
    reason::SERVICE_UNAVAILABLE,
];

fn has_reason_or_code(status: &Status, reason: &str, code: i32) -> bool {
    status.reason == reason
        || (status.code == code && !KNOWN_REASONS.contains(&status.reason.as_str()))
}

/// Whether the object does not exist.
pub fn is_not_found(status: &Status) -> bool {
    has_reason_or_code(status, reason::NOT_FOUND, 404)
}

/// Whether an object of the name exists.
pub fn is_already_exists(status: &Status) -> bool {
    status.reason == reason::ALREADY_EXISTS
}

/// Whether an update was based on an old version, or an apply met other owners.
pub fn is_conflict(status: &Status) -> bool {
    has_reason_or_code(status, reason::CONFLICT, 409)
}

/// Whether the object is not valid.
pub fn is_invalid(status: &Status) -> bool {
    has_reason_or_code(status, reason::INVALID, 422)
}

/// Whether the version asked for is gone, in the old form.
pub fn is_gone(status: &Status) -> bool {
    has_reason_or_code(status, reason::GONE, 410)
}

/// Whether the version or continue token asked for has expired.
pub fn is_resource_expired(status: &Status) -> bool {
    status.reason == reason::EXPIRED
}

/// Whether the server has no encoding that the client accepts.
pub fn is_not_acceptable(status: &Status) -> bool {
    has_reason_or_code(status, reason::NOT_ACCEPTABLE, 406)
}

/// Whether the server does not understand the body's encoding.
pub fn is_unsupported_media_type(status: &Status) -> bool {
    has_reason_or_code(status, reason::UNSUPPORTED_MEDIA_TYPE, 415)
}

/// Whether the resource cannot do that.
pub fn is_method_not_supported(status: &Status) -> bool {
    has_reason_or_code(status, reason::METHOD_NOT_ALLOWED, 405)
}

/// Whether what would answer is not there.
pub fn is_service_unavailable(status: &Status) -> bool {
    has_reason_or_code(status, reason::SERVICE_UNAVAILABLE, 503)
}

/// Whether the request makes no sense.
pub fn is_bad_request(status: &Status) -> bool {
    has_reason_or_code(status, reason::BAD_REQUEST, 400)
}

/// Whether the client is unknown.
pub fn is_unauthorized(status: &Status) -> bool {
    has_reason_or_code(status, reason::UNAUTHORIZED, 401)
}

/// Whether the client may not do that.
pub fn is_forbidden(status: &Status) -> bool {
    has_reason_or_code(status, reason::FORBIDDEN, 403)
}

/// Whether the time for the request was over.
pub fn is_timeout(status: &Status) -> bool {
    has_reason_or_code(status, reason::TIMEOUT, 504)
}

/// Whether the client should try again.
pub fn is_server_timeout(status: &Status) -> bool {
    status.reason == reason::SERVER_TIMEOUT
}

/// Whether the server met a bug or a broken part.
pub fn is_internal_error(status: &Status) -> bool {
    has_reason_or_code(status, reason::INTERNAL_ERROR, 500)
}

/// Whether there were too many requests; here the code alone is enough.
pub fn is_too_many_requests(status: &Status) -> bool {
    status.reason == reason::TOO_MANY_REQUESTS || status.code == 429
}

/// Whether the body was too large; here the code alone is enough.
pub fn is_request_entity_too_large(status: &Status) -> bool {
    status.reason == reason::REQUEST_ENTITY_TOO_LARGE || status.code == 413
}

/// Whether the stored object cannot be read back.
pub fn is_store_read_error(status: &Status) -> bool {
    status.reason == reason::STORAGE_READ_ERROR
}

/// Whether the answer did not come from an API server.
pub fn is_unexpected_server_error(status: &Status) -> bool {
    cause(status, CAUSE_UNEXPECTED_SERVER_RESPONSE).is_some()
}

/// The first cause with that reason.
pub fn cause<'a>(status: &'a Status, reason: &str) -> Option<&'a StatusCause> {
    status
        .details
        .as_ref()?
        .causes
        .iter()
        .find(|cause| cause.reason == reason)
}

/// Seconds the client should wait before it tries again, if the server says so.
pub fn suggests_client_delay(status: &Status) -> Option<i32> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0 || status.reason == reason::SERVER_TIMEOUT).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{self, Path};

    fn pods() -> GroupResource {
        GroupResource::new("", "pods")
    }

    #[test]
    fn constructors_equal_upstream() {
        let deployments = GroupResource::new("apps", "deployments");
        let cases = [
            (
                not_found(&deployments, "a"),
                404,
                "NotFound",
                "deployments.apps \"a\" not found",
            ),
            (
                already_exists(&pods(), "a"),
                409,
                "AlreadyExists",
                "pods \"a\" already exists",
            ),
            (
                generate_name_conflict(&pods(), "a", 1),
                409,
                "AlreadyExists",
                "pods \"a\" already exists, the server was not able to generate a unique name for the object",
            ),
            (unauthorized(""), 401, "Unauthorized", "not authorized"),
            (
                forbidden(&GroupResource::default(), "", "no"),
                403,
                "Forbidden",
                "forbidden: no",
            ),
            (
                forbidden(&pods(), "", "no"),
                403,
                "Forbidden",
                "pods is forbidden: no",
            ),
            (
                forbidden(&pods(), "a", "no"),
                403,
                "Forbidden",
                "pods \"a\" is forbidden: no",
            ),
            (
                conflict(&pods(), "a", "no"),
                409,
                "Conflict",
                "Operation cannot be fulfilled on pods \"a\": no",
            ),
            (gone("g"), 410, "Gone", "g"),
            (expired("e"), 410, "Expired", "e"),
            (bad_request("b"), 400, "BadRequest", "b"),
            (too_many_requests("t", 3), 429, "TooManyRequests", "t"),
            (
                too_many_requests_error("t"),
                429,
                "TooManyRequests",
                "Too many requests: t",
            ),
            (service_unavailable("s"), 503, "ServiceUnavailable", "s"),
            (
                method_not_supported(&deployments, "delete"),
                405,
                "MethodNotAllowed",
                "delete is not supported on resources of kind \"deployments.apps\"",
            ),
            (
                server_timeout(&pods(), "list", 2),
                500,
                "ServerTimeout",
                "The list operation against pods could not be completed at this time, please try again.",
            ),
            (
                internal("x"),
                500,
                "InternalError",
                "Internal error occurred: x",
            ),
            (timeout("x", 4), 504, "Timeout", "Timeout: x"),
            (
                request_entity_too_large("x"),
                413,
                "RequestEntityTooLarge",
                "Request entity too large: x",
            ),
        ];
        for (error, code, reason, message) in cases {
            assert_eq!(
                (error.code, error.reason.as_str(), error.message.as_str()),
                (code, reason, message)
            );
            assert_eq!(error.status, "Failure");
        }
    }

    #[test]
    fn details_are_filled() {
        let error = not_found(&GroupResource::new("apps", "deployments"), "a");
        let details = error.details.as_deref().expect("details");
        assert_eq!(
            (
                details.group.as_str(),
                details.kind.as_str(),
                details.name.as_str()
            ),
            ("apps", "deployments", "a")
        );
        let error = server_timeout(&pods(), "list", 2);
        let details = error.details.as_deref().expect("details");
        assert_eq!(
            (details.name.as_str(), details.retry_after_seconds),
            ("list", 2)
        );
        assert_eq!(
            internal("x").details.as_deref().expect("details").causes[0].message,
            "x"
        );
        assert_eq!(
            suggests_client_delay(&server_timeout(&pods(), "list", 0)),
            Some(0)
        );
        assert_eq!(suggests_client_delay(&too_many_requests("", 0)), None);
        assert_eq!(suggests_client_delay(&timeout("", 7)), Some(7));
    }

    #[test]
    fn invalid_lists_its_causes() {
        let kind = GroupKind::new("apps", "Deployment");
        let path = Path::new("spec").child("replicas");
        let mut errors = ErrorList::new();
        assert_eq!(
            invalid(&kind, "a", &errors).message,
            "Deployment.apps \"a\" is invalid"
        );
        errors.push(field::invalid(
            &path,
            -1,
            "must be greater than or equal to 0",
        ));
        assert_eq!(
            invalid(&kind, "a", &errors).message,
            "Deployment.apps \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        errors.push(field::required(&path, ""));
        let error = invalid(&kind, "a", &errors);
        assert!(error.message.starts_with(
            "Deployment.apps \"a\" is invalid: [spec.replicas: Invalid value: -1: must"
        ));
        let causes = &error.details.as_deref().expect("details").causes;
        assert_eq!(causes[0].reason, "FieldValueInvalid");
        assert_eq!(causes[0].field, "spec.replicas");
        assert_eq!(
            causes[0].message,
            "Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(causes[1].reason, "FieldValueRequired");
    }

    #[test]
    fn predicates_fall_back_to_the_code() {
        assert!(is_not_found(&not_found(&pods(), "a")));
        let unknown = Status {
            code: 404,
            reason: "SomethingNew".to_owned(),
            ..Default::default()
        };
        assert!(is_not_found(&unknown));
        let known = Status {
            code: 404,
            reason: "Conflict".to_owned(),
            ..Default::default()
        };
        assert!(!is_not_found(&known));
        assert!(is_conflict(&known));
        assert!(!is_already_exists(&Status {
            code: 409,
            ..Default::default()
        }));
        assert!(is_too_many_requests(&Status {
            code: 429,
            reason: "Conflict".to_owned(),
            ..Default::default()
        }));
    }

    #[test]
    fn generic_responses() {
        let error = generic_server_response(500, "GET", &pods(), "a", "oops", 0, true);
        assert_eq!(
            error.message,
            "an error on the server (\"oops\") has prevented the request from succeeding (get pods a)"
        );
        assert!(is_unexpected_server_error(&error));
        let error = generic_server_response(409, "POST", &pods(), "", "", 0, false);
        assert_eq!(
            (error.reason.as_str(), error.message.as_str()),
            (
                "AlreadyExists",
                "the server reported a conflict (post pods)"
            )
        );
        let error =
            generic_server_response(302, "GET", &GroupResource::default(), "", "", 0, false);
        assert_eq!(
            error.message,
            "the server responded with the status code 302 but did not return more information"
        );
        assert_eq!(error.reason, "");
    }
}

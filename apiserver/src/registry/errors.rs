//! Storage failures as Status errors. Upstream: storage/errors/storage.go and the cacher's API errors.

use api_types::meta::v1::StatusCause;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};

use crate::storage::Error;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    List,
    Watch,
    Create,
    Update,
    Delete,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::List => "list",
            Operation::Watch => "watch",
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

/// A failure without a reason: 500.
pub fn plain(message: String) -> StatusError {
    api_types::meta::v1::Status {
        status: "Failure".to_owned(),
        code: 500,
        message,
        ..api_types::meta::v1::Status::default()
    }
    .into()
}

/// A storage error as clients see it.
pub fn interpret(
    error: Error,
    operation: Operation,
    resource: &GroupResource,
    name: &str,
) -> StatusError {
    match error {
        Error::NotFound { .. } => status::not_found(resource, name),
        Error::AlreadyExists { .. } if operation == Operation::Create => {
            status::already_exists(resource, name)
        }
        Error::AlreadyExists { .. } => status::conflict(resource, name, &error),
        Error::PreconditionFailed { .. } => status::conflict(resource, name, &error),
        Error::Timeout { message } => status::timeout(message, 0),
        Error::Unreachable { .. } => status::server_timeout(resource, operation.verb(), 2),
        Error::Corrupt { message, .. } => status::internal(message),
        Error::BadRequest { message } => status::bad_request(message),
        // A plain 500 upstream, as this error is nowhere translated.
        Error::InvalidResourceVersion { value, message } => {
            let path = apimachinery::field::Path::new("resourceVersion");
            let error = apimachinery::field::invalid(&path, value.as_str(), message);
            plain(error.to_string())
        }
        Error::Expired {
            message,
            continue_token,
        } => {
            let mut status: api_types::meta::v1::Status = status::expired(message).into();
            status.metadata.continue_ = continue_token.unwrap_or_default();
            status.into()
        }
        Error::TooLargeResourceVersion {
            requested,
            current,
            retry_after_seconds,
        } => status::timeout(
            format!("Too large resource version: {requested}, current: {current}"),
            i32::try_from(retry_after_seconds).unwrap_or(1),
        )
        .with_cause(StatusCause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            ..StatusCause::default()
        }),
        Error::NotReady {
            message,
            retry_after_seconds,
        } => status::too_many_requests(message, i32::try_from(retry_after_seconds).unwrap_or(1)),
        Error::Internal { message } => status::internal(message),
    }
}

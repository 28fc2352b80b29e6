//! What can go wrong, in the terms a registry turns into a Status. Upstream: storage/errors.go.

use thiserror::Error;

/// A failed storage operation.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// No object at the key. Status 404.
    #[error(
        "StorageError: key not found, Code: 1, Key: {key}, ResourceVersion: {resource_version}, AdditionalErrorMsg: <nil>"
    )]
    NotFound {
        /// The etcd key.
        key: String,
        /// Revision the answer comes from, 0 when read from etcd.
        resource_version: u64,
    },
    /// The key is taken. Status 409 AlreadyExists.
    #[error(
        "StorageError: key exists, Code: 2, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: <nil>"
    )]
    AlreadyExists {
        /// The etcd key.
        key: String,
    },
    /// A precondition (uid, resourceVersion) does not hold. Status 409 Conflict.
    #[error(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {message}"
    )]
    PreconditionFailed {
        /// The etcd key.
        key: String,
        /// "Precondition failed: UID in precondition: ..." in upstream's words.
        message: String,
    },
    /// etcd did not answer in time or the connection broke: a write may or may not have happened. Status 504 Timeout
    /// (ServerTimeout semantics: the client has to look). Never sent again by storage.
    #[error("{message}")]
    Timeout {
        /// What was asked, of which key.
        message: String,
    },
    /// etcd could not be reached at all: nothing was written. Status 500 in upstream's mapping of unreachable stores.
    #[error("{message}")]
    Unreachable {
        /// Cause.
        message: String,
    },
    /// A stored value cannot be decrypted or decoded. Status 500 InternalError.
    #[error("{message}")]
    Corrupt {
        /// The etcd key.
        key: String,
        /// Cause, in upstream's words.
        message: String,
    },
    /// The request itself is wrong (continue token, resourceVersion). Status 400 BadRequest.
    #[error("{message}")]
    BadRequest {
        /// Text of the Status.
        message: String,
    },
    /// A `resourceVersion` that is no number. Status 422 Invalid with one cause on `resourceVersion`.
    #[error("resourceVersion: Invalid value: {value:?}: {message}")]
    InvalidResourceVersion {
        /// The text that was given.
        value: String,
        /// Go's strconv text.
        message: String,
    },
    /// The version asked for is gone. Status 410 Expired.
    #[error("{message}")]
    Expired {
        /// Text of the Status.
        message: String,
        /// `metadata.continue` of the Status: lets the client go on inconsistently.
        continue_token: Option<String>,
    },
    /// The version asked for is newer than any known. Status 504 Timeout with cause `ResourceVersionTooLarge`
    /// ("Too large resource version").
    #[error("Timeout: Too large resource version: {requested}, current: {current}")]
    TooLargeResourceVersion {
        /// Version in the request.
        requested: u64,
        /// Newest version known here.
        current: u64,
        /// `retryAfterSeconds` of the Status.
        retry_after_seconds: u32,
    },
    /// The watch cache is (re)initializing. Status 429 TooManyRequests with Retry-After.
    #[error("{message}")]
    NotReady {
        /// "storage is (re)initializing".
        message: String,
        /// Retry-After.
        retry_after_seconds: u32,
    },
    /// etcd refused the request for another reason. Status 500 InternalError.
    #[error("{message}")]
    Internal {
        /// Cause.
        message: String,
    },
}

impl Error {
    /// Whether the object is missing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the version asked for is no longer known.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest {
            message: message.into(),
        }
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::Expired {
            message: message.into(),
            continue_token: None,
        }
    }
}

/// A failed update or delete: storage's error, or the verdict of the caller's closure on the current object.
#[derive(Debug, Error)]
pub enum UpdateError<E> {
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The closure refused the current state of the object.
    #[error("refused")]
    Rejected(E),
}

//! May the caller do this? Upstream: endpoints/filters/authorization.go.

use apimachinery::status::StatusError;
use component_base::auth::{Attributes, Authorizer, Decision, filter};

/// Upstream's 403.
pub fn forbidden(attributes: &Attributes, reason: &str) -> StatusError {
    filter::forbidden_status(attributes, reason).into()
}

/// Why a request does not go on.
#[derive(Debug)]
pub enum Refusal {
    Forbidden {
        error: StatusError,
        /// What authorizers said.
        reason: String,
    },
    /// No authorizer could decide: a plain 500.
    Failed(String),
}

/// Asks the authorizer.
pub async fn authorize(
    authorizer: &dyn Authorizer,
    attributes: &Attributes,
) -> Result<(), Refusal> {
    match authorizer.authorize(attributes).await {
        Ok(Decision::Allow) => Ok(()),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
            let error = forbidden(attributes, &reason);
            Err(Refusal::Forbidden { error, reason })
        }
        Err(error) => Err(Refusal::Failed(error.to_string())),
    }
}

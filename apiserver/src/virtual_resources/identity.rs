//! Reviews of who somebody is. Upstream: pkg/registry/authentication.

use api_types::authentication::v1::{SelfSubjectReview, TokenReview, UserInfo as ReviewedUser};
use apimachinery::status::{self, StatusError};
use component_base::auth::UserInfo;

use crate::authn::TokenAuthenticator as _;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

fn reviewed(user: UserInfo) -> ReviewedUser {
    ReviewedUser {
        username: user.name,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra.into_iter().collect(),
    }
}

/// Refuses a TokenReview without a token.
pub(super) fn validate(object: &Object) -> Result<(), StatusError> {
    match object.get::<TokenReview>() {
        Some(review) if review.spec.token.is_empty() => Err(status::bad_request(
            "token is required for TokenReview in authentication",
        )),
        _ => Ok(()),
    }
}

/// Judges a token for somebody else.
pub(super) async fn review_token(
    server: &ApiServer,
    object: &mut Object,
) -> Result<(), StatusError> {
    let review = object
        .get_mut::<TokenReview>()
        .ok_or_else(|| status::bad_request("not a TokenReview"))?;
    // What the client says of its token counts for nothing.
    review.status = Default::default();
    let asked = review.spec.audiences.clone();
    let audiences = if asked.is_empty() {
        server.tokens.api_audiences.clone()
    } else {
        asked.clone()
    };
    match server
        .tokens
        .judge
        .authenticate_token(&review.spec.token, &asked)
        .await
    {
        Ok(Some(found)) => {
            // Tokens that are not bound to audiences are good for this server only.
            let mut valid = found.audiences;
            if valid.is_empty() {
                valid = audiences;
                valid.retain(|audience| server.tokens.api_audiences.contains(audience));
            }
            if !asked.is_empty() && valid.is_empty() {
                review.status.error = "invalid bearer token".to_owned();
                return Ok(());
            }
            review.status.authenticated = true;
            review.status.user = reviewed(found.user);
            review.status.audiences = valid;
        }
        Ok(None) => review.status.error = "invalid bearer token".to_owned(),
        Err(error) => {
            review.status.error = format!("[invalid bearer token, {error}]");
        }
    }
    Ok(())
}

/// Tells the caller who it is. The answer is made anew: it has nothing of what was sent.
pub(super) fn review_self(cx: &RequestContext, object: &mut Object) {
    if let Some(review) = object.get_mut::<SelfSubjectReview>() {
        *review = SelfSubjectReview::default();
        review.metadata.creation_timestamp = api_types::Time::now();
        review.status.user_info = reviewed(cx.user.clone());
    }
}

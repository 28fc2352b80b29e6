//! Asks a server whether requests may go on. Upstream: apiserver/plugin/pkg/authorizer/webhook.
//!
//! Its answers are remembered for a while, yes and no each for as long as is configured; failures to get one never. Requests that
//! the match conditions leave out are not asked about.

mod answers;
pub mod conditions;

use std::path::Path;
use std::time::{Duration, Instant};

use api_types::apiserver_config::v1::WebhookConfiguration;
use api_types::authorization::{v1, v1beta1};
use api_types::codec::Header;
use apimachinery::quote::quote;
use component_base::auth::delegated::{BOTH, may_be_remembered, review_of};
use component_base::auth::{Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, UserInfo};

use super::metrics::{AuthorizerMetrics, WebhookMetrics};
use super::{RuleResolver, Rules};
use crate::egress::Dialer;
use crate::webhook::review::{self, Failure, ReviewWebhook};
use answers::{Answer, Answers};
use conditions::{Conditions, Outcome};

/// The version of the reviews that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V1Beta1,
}

impl Version {
    const fn header(self) -> Header<'static> {
        Header {
            api_version: match self {
                Self::V1 => "authorization.k8s.io/v1",
                Self::V1Beta1 => "authorization.k8s.io/v1beta1",
            },
            kind: "SubjectAccessReview",
        }
    }
}

/// One webhook of the configuration.
pub struct WebhookAuthorizer {
    webhook: ReviewWebhook,
    version: Version,
    /// How long answers are remembered; zero for not at all.
    allowed_for: Duration,
    refused_for: Duration,
    denies_on_error: bool,
    conditions: Conditions,
    answers: Answers,
    metrics: WebhookMetrics,
}

impl WebhookAuthorizer {
    /// For a configuration that was found valid. Nothing is asked yet.
    pub fn new(
        name: &str,
        configuration: &WebhookConfiguration,
        via: &Dialer,
        metrics: &AuthorizerMetrics,
    ) -> Result<Self, component_base::Error> {
        let file = configuration.connection_info.kube_config_file.as_deref();
        let file =
            file.ok_or("connectionInfo.type InClusterConfig is not allowed for kube-apiserver")?;
        let timeout = duration(configuration.timeout);
        let webhook = ReviewWebhook::from_kubeconfig(Path::new(file), timeout, via)?;
        let version = match configuration.subject_access_review_version.as_str() {
            "v1" => Version::V1,
            "v1beta1" => Version::V1Beta1,
            other => {
                return Err(format!(
                    "unsupported webhook authorizer version {}, supported versions are \"v1\", \"v1beta1\"",
                    quote(other)
                )
                .into());
            }
        };
        let remembered = |on: Option<bool>, ttl| match on {
            Some(false) => Duration::ZERO,
            _ => duration(ttl),
        };
        Ok(Self {
            webhook,
            version,
            allowed_for: remembered(
                configuration.cache_authorized_requests,
                configuration.authorized_ttl,
            ),
            refused_for: remembered(
                configuration.cache_unauthorized_requests,
                configuration.unauthorized_ttl,
            ),
            denies_on_error: configuration.failure_policy == "Deny",
            conditions: Conditions::new(&configuration.match_conditions)?,
            answers: Answers::default(),
            metrics: metrics.webhook(name),
        })
    }

    async fn decide(&self, attributes: &Attributes) -> Result<Decision, AuthorizeError> {
        let review = review_of(attributes);
        match self.matches(&review.spec) {
            Outcome::Matches => {}
            Outcome::DoesNotMatch => return Ok(Decision::no_opinion()),
            Outcome::Failed(message) => return Err(self.failed(message)),
        }
        let key = answers::key(&review.spec);
        let answer = match self.answers.get(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.ask(review).await?;
                let keep = if answer.allowed {
                    self.allowed_for
                } else {
                    self.refused_for
                };
                if !keep.is_zero() && may_be_remembered(attributes) {
                    self.answers.add(key, answer.clone(), keep);
                }
                answer
            }
        };
        let reason = answer.reason;
        match (answer.denied, answer.allowed) {
            (true, true) => Err(AuthorizeError {
                reason,
                ..AuthorizeError::denied(BOTH)
            }),
            (true, false) => Ok(Decision::Deny(reason)),
            (false, true) => Ok(Decision::Allow(reason)),
            (false, false) => Ok(Decision::NoOpinion(reason)),
        }
    }

    fn matches(&self, spec: &v1::SubjectAccessReviewSpec) -> Outcome {
        if self.conditions.is_empty() {
            return Outcome::Matches;
        }
        let started = Instant::now();
        let (outcome, errors) = self.conditions.evaluate(spec);
        self.metrics.evaluated(started.elapsed(), errors);
        if outcome == Outcome::DoesNotMatch {
            self.metrics.excluded();
        }
        outcome
    }

    async fn ask(&self, review: v1::SubjectAccessReview) -> Result<Answer, AuthorizeError> {
        let asked = match self.version {
            Version::V1 => {
                let answered = review::retried(review::FIRST_WAIT, || self.attempt(&review)).await;
                answered.map(|answer| Answer::from(answer.status))
            }
            Version::V1Beta1 => {
                let review = v1beta1::SubjectAccessReview {
                    spec: older_spec(review.spec),
                    ..Default::default()
                };
                let answered = review::retried(review::FIRST_WAIT, || self.attempt(&review)).await;
                answered.map(|answer| Answer::from(answer.status))
            }
        };
        asked.map_err(|failure| {
            tracing::error!("Failed to make webhook authorizer request: {failure}");
            if !self.denies_on_error {
                self.metrics.failed_open(result(&failure));
            }
            self.failed(failure.to_string())
        })
    }

    async fn attempt<T: api_types::Described + Sync>(&self, review: &T) -> Result<T, Failure> {
        let attempt = self.metrics.attempt();
        let answered = self.webhook.post(review, self.version.header()).await;
        attempt.ended(match &answered {
            Ok(_) => "success",
            Err(failure) => result(failure),
        });
        answered
    }

    fn failed(&self, message: String) -> AuthorizeError {
        if self.denies_on_error {
            AuthorizeError::denied(message)
        } else {
            AuthorizeError::new(message)
        }
    }
}

impl Authorizer for WebhookAuthorizer {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(self.decide(attributes))
    }
}

impl RuleResolver for WebhookAuthorizer {
    fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::unknown("webhook authorizer does not support user rule resolution")
    }
}

fn result(failure: &Failure) -> &'static str {
    if failure.is_timeout() {
        "timeout"
    } else {
        "error"
    }
}

fn duration(configured: api_types::Duration) -> Duration {
    Duration::from_nanos(u64::try_from(configured.0).unwrap_or(0))
}

fn older_spec(spec: v1::SubjectAccessReviewSpec) -> v1beta1::SubjectAccessReviewSpec {
    v1beta1::SubjectAccessReviewSpec {
        resource_attributes: spec.resource_attributes.map(|resource| {
            Box::new(v1beta1::ResourceAttributes {
                namespace: resource.namespace,
                verb: resource.verb,
                group: resource.group,
                version: resource.version,
                resource: resource.resource,
                subresource: resource.subresource,
                name: resource.name,
                field_selector: resource.field_selector,
                label_selector: resource.label_selector,
            })
        }),
        non_resource_attributes: spec.non_resource_attributes.map(|other| {
            Box::new(v1beta1::NonResourceAttributes {
                path: other.path,
                verb: other.verb,
            })
        }),
        user: spec.user,
        group: spec.groups,
        extra: spec.extra,
        uid: spec.uid,
    }
}

#[cfg(test)]
mod tests;

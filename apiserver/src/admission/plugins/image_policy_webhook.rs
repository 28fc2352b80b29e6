//! ImagePolicyWebhook: another server says which images may run. Upstream: plugin/pkg/admission/imagepolicy.

use std::path::Path;
use std::time::Duration;

use api_types::codec::Header;
use api_types::core::v1::Pod;
use api_types::imagepolicy::v1alpha1::{ImageReview, ImageReviewContainerSpec, ImageReviewStatus};
use apimachinery::duration;
use apimachinery::status;
use component_base::auth::BoxFuture;
use component_base::auth::expiring_cache::ExpiringCache;
use serde_json::Value;

use crate::admission::configuration::unversioned;
use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};
use crate::egress::Dialer;
use crate::webhook::review::{self, Failure, ReviewWebhook};

const AUDIT_PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
const CACHE_SIZE: usize = 1024;
const HEADER: Header<'static> = Header {
    api_version: "imagepolicy.k8s.io/v1alpha1",
    kind: "ImageReview",
};

pub(super) struct ImagePolicyWebhook {
    webhook: ReviewWebhook,
    allow_ttl: Duration,
    deny_ttl: Duration,
    /// Between the first two attempts; it grows.
    backoff: Duration,
    /// Images run when nobody can say whether they may.
    default_allow: bool,
    cache: ExpiringCache<Vec<u8>, ImageReviewStatus>,
}

impl ImagePolicyWebhook {
    /// Reads the configuration. Nothing is asked yet.
    pub(super) fn new(text: Option<&[u8]>) -> Result<Self, String> {
        let text = text.ok_or("no config specified")?;
        let mut members = unversioned(text)?;
        let policy = members.remove("imagePolicy").unwrap_or(Value::Null);
        let number = |name: &str| policy.get(name).and_then(Value::as_i64).unwrap_or(0);
        let seconds = |value| time(value, 1_000_000_000, (1_000_000_000, 1_800_000_000_000));
        let backoff = time(number("retryBackoff"), 1_000_000, (1, 300_000_000_000))?;
        let allow_ttl = seconds(number("allowTTL"))?;
        let deny_ttl = seconds(number("denyTTL"))?;
        let file = policy.get("kubeConfigFile").and_then(Value::as_str);
        let file = file.filter(|file| !file.is_empty()).ok_or("invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable")?;
        // Egress selectors say nothing of it.
        let straight = Dialer::default();
        let webhook = ReviewWebhook::from_kubeconfig(Path::new(file), review::TIMEOUT, &straight);
        Ok(Self {
            webhook: webhook.map_err(|error| error.to_string())?,
            allow_ttl: allow_ttl.unwrap_or(Duration::from_secs(300)),
            deny_ttl: deny_ttl.unwrap_or(Duration::from_secs(30)),
            backoff: backoff.unwrap_or(review::FIRST_WAIT),
            default_allow: policy.get("defaultAllow").and_then(Value::as_bool) == Some(true),
            cache: ExpiringCache::new(CACHE_SIZE),
        })
    }

    async fn ask(&self, review: &ImageReview) -> Result<ImageReviewStatus, Failure> {
        let post = || self.webhook.post(review, HEADER);
        let answer = review::retried(self.backoff, post).await?;
        Ok(answer.status)
    }
}

/// A time of the configuration in nanoseconds: none for 0, which is the default, and zero for -1, which switches it off.
fn time(value: i64, scale: i64, (least, most): (i64, i64)) -> Result<Option<Duration>, String> {
    match value {
        0 => return Ok(None),
        -1 => return Ok(Some(Duration::ZERO)),
        _ => {}
    }
    let nanoseconds = value.saturating_mul(scale);
    let in_range = (least..=most).contains(&nanoseconds);
    match u64::try_from(nanoseconds) {
        Ok(time) if in_range => Ok(Some(Duration::from_nanos(time))),
        _ => Err(format!(
            "valid value is between {} and {}, got {}",
            duration::format(least),
            duration::format(most),
            duration::format(nanoseconds)
        )),
    }
}

impl Plugin for ImagePolicyWebhook {
    fn name(&self) -> &'static str {
        "ImagePolicyWebhook"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some(review) = review_of(attributes) else {
                return Ok(());
            };
            let key = api_types::encode_json(&review);
            let asked = self.cache.get_or_fetch(&key, || async {
                let status = self.ask(&review).await?;
                let ttl = if status.allowed {
                    self.allow_ttl
                } else {
                    self.deny_ttl
                };
                Ok::<_, Failure>((status, ttl))
            });
            let verdict = match asked.await {
                Ok(verdict) => verdict,
                Err(_) if self.default_allow => {
                    let key = format!("{AUDIT_PREFIX}failed-open");
                    attributes.annotations.add(key, "true");
                    return Ok(());
                }
                // The client is told of the webhook's 403 as it is.
                Err(failure) => match failure.status() {
                    Some(status) if status::is_forbidden(status) => {
                        return Err(status.clone().into());
                    }
                    _ => return Err(attributes.forbidden(failure.to_string())),
                },
            };
            for (key, value) in &verdict.audit_annotations {
                let key = format!("{AUDIT_PREFIX}{key}");
                attributes.annotations.add(key, value.as_str());
            }
            if verdict.allowed {
                return Ok(());
            }
            Err(attributes.forbidden(match verdict.reason.as_str() {
                "" => "one or more images rejected by webhook backend".to_owned(),
                reason => {
                    format!("image policy webhook backend denied one or more images: {reason}")
                }
            }))
        })
    }
}

/// The images of a pod, and what it says to the webhook.
fn review_of(attributes: &Attributes) -> Option<ImageReview> {
    if !attributes.is("", "pods") {
        return None;
    }
    let pod = attributes.object::<Pod>()?;
    let images: Vec<&String> = match attributes.subresource.as_str() {
        "" => {
            let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
            containers.map(|container| &container.image).collect()
        }
        "ephemeralcontainers" => {
            let containers = pod.spec.ephemeral_containers.iter();
            containers
                .map(|container| &container.ephemeral_container_common.image)
                .collect()
        }
        _ => return None,
    };
    let mut review = ImageReview::default();
    review.spec.namespace.clone_from(&attributes.namespace);
    review.spec.containers = images
        .into_iter()
        .map(|image| ImageReviewContainerSpec {
            image: image.clone(),
        })
        .collect();
    let annotations = pod.metadata.annotations.iter();
    review.spec.annotations = annotations
        .filter(|(key, _)| key.contains(".image-policy.k8s.io/"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Some(review)
}

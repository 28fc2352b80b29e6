//! ValidatingAdmissionWebhook. Upstream: webhook/validating.

use std::time::Instant;

use api_types::admissionregistration::v1::ValidatingWebhookConfiguration;
use component_base::auth::BoxFuture;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::{Dispatcher, Failure, Versions, check_time};
use crate::admission::plugins::{ConfigurationError, Settings};
use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

const NAME: &str = "ValidatingAdmissionWebhook";

/// Asks all webhooks that are about a request at once.
pub(crate) struct ValidatingAdmissionWebhook(Dispatcher);

impl ValidatingAdmissionWebhook {
    pub(crate) fn new(
        settings: &Settings,
        text: Option<&[u8]>,
    ) -> Result<Self, ConfigurationError> {
        let dispatcher =
            Dispatcher::new::<ValidatingWebhookConfiguration>(NAME, settings, text, "validating");
        dispatcher.map(Self)
    }
}

impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some((hooks, caller)) = self.0.hooks(attributes).await? else {
                return Ok(());
            };
            let mut versions = Versions::default();
            let mut relevant = Vec::new();
            for hook in hooks.iter() {
                let matched = caller
                    .matches(hook, attributes, cluster, &mut versions)
                    .await?;
                if let Some(matched) = matched {
                    let versioned = versions.get(attributes, &matched, cluster).await?;
                    relevant.push((hook, matched, versioned));
                }
            }
            if relevant.is_empty() {
                return Ok(());
            }
            check_time(attributes)?;
            let mut asked: FuturesUnordered<_> = relevant
                .iter()
                .enumerate()
                .map(|(index, (hook, matched, versioned))| async move {
                    let start = Instant::now();
                    let outcome = caller.ask(hook, attributes, matched, versioned).await;
                    caller.observe(hook, attributes, start, &outcome);
                    let failure = outcome.err()?;
                    if matches!(failure, Failure::Calling { .. }) && hook.fails_open {
                        attributes.annotations.add(
                            format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}"),
                            hook.name.as_str(),
                        );
                    }
                    caller.verdict(hook, failure)
                })
                .collect();
            // The first no counts, but all are heard.
            let mut refusal = None;
            while let Some(verdict) = asked.next().await {
                refusal = refusal.or(verdict);
            }
            refusal.map_or(Ok(()), Err)
        })
    }
}

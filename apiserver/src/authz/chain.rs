//! The authorizers of a configuration, which can be replaced while they are asked. Upstream: reloadableAuthorizerResolver of
//! pkg/kubeapiserver/authorizer.

use std::sync::Arc;

use api_types::apiserver_config::v1::{AuthorizationConfiguration, AuthorizerConfiguration};
use arc_swap::ArcSwap;
use component_base::Error;
use component_base::auth::{Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, UserInfo};

use super::abac::Abac;
use super::metrics::AuthorizerMetrics;
use super::node::NodeAuthorizer;
use super::rbac::Rbac;
use super::union::{AlwaysAllow, AlwaysDeny, Link, Part, Union};
use super::webhook::WebhookAuthorizer;
use super::{RuleResolver, Rules};
use crate::egress::Dialer;

/// Authorizers that live as long as the server: what they know was read at the start, or is followed in storage. Those that the
/// first configuration does not have are never there.
#[derive(Clone, Default)]
pub struct Lasting {
    pub node: Option<Arc<NodeAuthorizer>>,
    pub rbac: Option<Arc<Rbac>>,
    pub abac: Option<Arc<Abac>>,
    /// The way to webhooks.
    pub via: Dialer,
}

/// Asks the authorizers that count now.
pub struct Chain {
    lasting: Lasting,
    metrics: AuthorizerMetrics,
    current: ArcSwap<Union>,
}

impl Chain {
    /// For a configuration that was found valid.
    pub fn new(
        configuration: &AuthorizationConfiguration,
        lasting: Lasting,
        metrics: AuthorizerMetrics,
    ) -> Result<Self, Error> {
        let union = union_of(configuration, &lasting, &metrics)?;
        Ok(Self {
            lasting,
            metrics,
            current: ArcSwap::from_pointee(union),
        })
    }

    /// Another configuration counts from now on, unless webhooks of it cannot be used.
    pub fn replace(&self, configuration: &AuthorizationConfiguration) -> Result<(), Error> {
        let union = union_of(configuration, &self.lasting, &self.metrics)?;
        self.current.store(Arc::new(union));
        Ok(())
    }
}

impl Authorizer for Chain {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let union = self.current.load_full();
        Box::pin(async move { union.decide(attributes).await })
    }
}

impl RuleResolver for Chain {
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        self.current.load().rules_for(user, namespace)
    }
}

fn union_of(
    configuration: &AuthorizationConfiguration,
    lasting: &Lasting,
    metrics: &AuthorizerMetrics,
) -> Result<Union, Error> {
    let links = configuration.authorizers.iter().map(|configured| {
        Ok(Link {
            part: part_of(configured, lasting, metrics)?,
            decisions: metrics.decisions(&configured.type_, &configured.name),
        })
    });
    Ok(Union::new(links.collect::<Result<_, Error>>()?))
}

fn part_of(
    configured: &AuthorizerConfiguration,
    lasting: &Lasting,
    metrics: &AuthorizerMetrics,
) -> Result<Arc<dyn Part>, Error> {
    let lasting: Option<Arc<dyn Part>> = match (configured.type_.as_str(), &configured.webhook) {
        ("AlwaysAllow", _) => return Ok(Arc::new(AlwaysAllow)),
        ("AlwaysDeny", _) => return Ok(Arc::new(AlwaysDeny)),
        ("Webhook", Some(webhook)) => {
            let webhook = WebhookAuthorizer::new(&configured.name, webhook, &lasting.via, metrics)?;
            return Ok(Arc::new(webhook));
        }
        ("Node", _) => lasting.node.clone().map(|node| node as _),
        ("RBAC", _) => lasting.rbac.clone().map(|rbac| rbac as _),
        ("ABAC", _) => lasting.abac.clone().map(|abac| abac as _),
        (other, _) => return Err(format!("unknown authorization mode {other} specified").into()),
    };
    lasting.ok_or_else(|| {
        let kind = &configured.type_;
        format!(
            "authorizer type {kind} is not allowed if it was not enabled at initial server startup"
        )
        .into()
    })
}

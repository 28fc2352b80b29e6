//! May the caller do this? The authorizers of this server, fed from storage. Upstream: endpoints/filters/authorization.go and
//! pkg/kubeapiserver/authorizer.

use std::sync::Arc;

use api_types::Resource as ApiResource;
use api_types::certificates::v1beta1::PodCertificateRequest;
use api_types::core::v1::PersistentVolume;
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use api_types::resource::v1::ResourceSlice;
use api_types::storage::v1::VolumeAttachment;
use apimachinery::status::StatusError;
use component_base::Error;
use component_base::auth::{Attributes, AuthorizeError, Decision, filter};
use component_base::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::apis::gates;
use crate::authz::abac::Abac;
use crate::authz::node::{Graph, Kind, NodeAuthorizer, feed};
use crate::authz::rbac::Rbac;
use crate::authz::{AuthorizerMetrics, Chain, Lasting, reload};
use crate::config::Config;
use crate::config::reload::ReloadMetrics;
use crate::egress::Dialer;
use crate::registry::follow::{Change, follow};
use crate::registry::table::Resources;

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
    /// An authorizer failed, and no other allowed: a plain 500.
    Failed(String),
}

/// The reason why a request goes on, or does not.
pub fn outcome(
    verdict: Result<Decision, AuthorizeError>,
    attributes: &Attributes,
) -> Result<String, Refusal> {
    match verdict {
        Ok(Decision::Allow(reason)) => Ok(reason),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
            let error = forbidden(attributes, &reason);
            Err(Refusal::Forbidden { error, reason })
        }
        Err(error) => Err(Refusal::Failed(error.message)),
    }
}

/// The authorizers, and the RBAC rules among them, which bound what may be granted.
pub struct Authorization {
    pub chain: Arc<Chain>,
    pub rbac: Option<Arc<Rbac>>,
}

/// The authorizers of the configuration, whose file is followed.
pub fn build(
    config: &Config,
    resources: &Arc<Resources>,
    via: &Dialer,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Authorization, Error> {
    let settings = &config.authorization;
    let invalid = |error: Error| format!("invalid authorization config: {error}");
    let mut lasting = Lasting {
        via: via.clone(),
        ..Lasting::default()
    };
    if settings.has("Node") {
        let graph = Arc::new(Graph::with_metrics(metrics));
        feed_graph(&graph, resources, stop);
        lasting.node = Some(Arc::new(NodeAuthorizer::new(graph)));
    }
    if settings.has("RBAC") {
        let rules = Arc::new(Rbac::default());
        feed_rbac(&rules, resources, stop);
        lasting.rbac = Some(rules);
    }
    if settings.has("ABAC") {
        let file = settings.policy_file.as_deref().unwrap_or("".as_ref());
        let policies = Abac::from_file(file).map_err(|error| invalid(error.into()))?;
        lasting.abac = Some(Arc::new(policies));
    }
    let rbac = lasting.rbac.clone();
    let chain = Chain::new(
        &settings.configuration,
        lasting,
        AuthorizerMetrics::new(metrics),
    );
    let chain = Arc::new(chain.map_err(invalid)?);
    if let Some((path, text)) = &settings.file {
        let source = reload::Source {
            path: path.clone(),
            text: text.clone(),
            configuration: settings.configuration.clone(),
        };
        let server = crate::hooks::identity::id(config);
        let metrics = ReloadMetrics::new(metrics, "authorization", &server);
        reload::start(source, chain.clone(), metrics, stop);
    }
    Ok(Authorization { chain, rbac })
}

fn followed<T: ApiResource>(
    resources: &Resources,
    stop: &CancellationToken,
    on: impl Fn(Change<Box<T>>) + Send + Sync + 'static,
) {
    if let Some(resource) = resources.get(T::GROUP, T::VERSION, T::PLURAL) {
        follow(resource.clone(), stop.clone(), on);
    }
}

fn feed_rbac(rbac: &Arc<Rbac>, resources: &Resources, stop: &CancellationToken) {
    let rules = rbac.clone();
    followed::<ClusterRole>(resources, stop, move |change| match change {
        Change::Set(role) => rules.set_cluster_role(&role),
        Change::Gone { name, .. } => rules.remove_cluster_role(&name),
        Change::Synced => {}
    });
    let rules = rbac.clone();
    followed::<Role>(resources, stop, move |change| match change {
        Change::Set(role) => rules.set_role(&role),
        Change::Gone { namespace, name } => rules.remove_role(&namespace, &name),
        Change::Synced => {}
    });
    let rules = rbac.clone();
    followed::<ClusterRoleBinding>(resources, stop, move |change| match change {
        Change::Set(binding) => rules.set_cluster_role_binding(&binding),
        Change::Gone { name, .. } => rules.remove_cluster_role_binding(&name),
        Change::Synced => {}
    });
    let rules = rbac.clone();
    followed::<RoleBinding>(resources, stop, move |change| match change {
        Change::Set(binding) => rules.set_role_binding(&binding),
        Change::Gone { namespace, name } => rules.remove_role_binding(&namespace, &name),
        Change::Synced => {}
    });
}

fn feed_graph(graph: &Arc<Graph>, resources: &Resources, stop: &CancellationToken) {
    if let Some(pods) = resources.get("", "v1", "pods") {
        feed::pods(graph.clone(), pods, stop.clone());
    }
    let shared = graph.clone();
    followed::<PersistentVolume>(resources, stop, move |change| match change {
        Change::Set(volume) => shared.set_persistent_volume(&volume),
        Change::Gone { name, .. } => shared.remove_persistent_volume(&name),
        Change::Synced => {}
    });
    let shared = graph.clone();
    followed::<VolumeAttachment>(resources, stop, move |change| match change {
        Change::Set(attachment) => shared.set_owned(
            Kind::VolumeAttachment,
            "",
            &attachment.metadata.name,
            &attachment.spec.node_name,
        ),
        Change::Gone { name, .. } => shared.remove_owned(Kind::VolumeAttachment, "", &name),
        Change::Synced => {}
    });
    let shared = graph.clone();
    followed::<ResourceSlice>(resources, stop, move |change| match change {
        Change::Set(slice) => shared.set_owned(
            Kind::ResourceSlice,
            "",
            &slice.metadata.name,
            slice.spec.node_name.as_deref().unwrap_or_default(),
        ),
        Change::Gone { name, .. } => shared.remove_owned(Kind::ResourceSlice, "", &name),
        Change::Synced => {}
    });
    if !gates::enabled("PodCertificateRequest") {
        return;
    }
    let (shared, kind) = (graph.clone(), Kind::PodCertificateRequest);
    followed::<PodCertificateRequest>(resources, stop, move |change| match change {
        Change::Set(request) => {
            let metadata = &request.metadata;
            let node = &request.spec.node_name;
            shared.set_owned(kind, &metadata.namespace, &metadata.name, node);
        }
        Change::Gone { namespace, name } => shared.remove_owned(kind, &namespace, &name),
        Change::Synced => {}
    });
}

//! A kubelet changes its own node, its own pods' status and its own mirror pods, and nothing else.
//! Upstream: plugin/pkg/admission/noderestriction. The node authorizer has let the request pass; this looks into the objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::authentication::v1::TokenRequest;
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::core::v1::{Node, PersistentVolumeClaim, Pod, Volume};
use api_types::resource::v1::ResourceSlice;
use apimachinery::gvk::GroupResource;
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use component_base::auth::{Attributes as AccessAttributes, Authorizer, BoxFuture, Decision};

use super::{certificates, pod_certificates, token_audiences};
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::apis::gates;
use crate::authz::node::{Kind, node_identity, pod_references};

pub(super) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const NODE_LEASES: &str = "kube-node-lease";

/// Kubernetes' own labels that a kubelet sets on its node.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

pub(super) struct NodeRestriction {
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl NodeRestriction {
    pub(super) fn new(authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self { authorizer }
    }
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some(node) = node_identity(&attributes.user) else {
                return Ok(());
            };
            if node.is_empty() {
                return Err(attributes.forbidden(format!(
                    "could not determine node from user {:?}",
                    attributes.user.name
                )));
            }
            self.judge(node, attributes, cluster).await
        })
    }
}

impl NodeRestriction {
    async fn judge(&self, node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
        match attributes.endpoint() {
            ("", "pods", "") => pod(node, attributes, cluster).await,
            ("", "pods", "status") => pod_status(node, attributes),
            ("", "pods", "eviction") => pod_eviction(node, attributes, cluster).await,
            ("", "pods", other) => refuse(
                attributes,
                format!(
                    "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
                ),
            ),
            ("", "nodes", _) => own_node(node, attributes),
            ("", "persistentvolumeclaims", "status") => claim_status(node, attributes),
            ("", "persistentvolumeclaims", _) => refuse(attributes, "may only update PVC status"),
            ("", "serviceaccounts", "token") => self.token(node, attributes, cluster).await,
            ("coordination.k8s.io", "leases", _) => lease(node, attributes),
            ("storage.k8s.io", "csinodes", _) => csi_node(node, attributes),
            ("resource.k8s.io", "resourceslices", _) => resource_slice(node, attributes),
            ("certificates.k8s.io", "certificatesigningrequests", _) => {
                certificate_request(attributes)
            }
            ("certificates.k8s.io", "podcertificaterequests", _) => {
                pod_certificates::judge(node, attributes, cluster).await
            }
            _ => Ok(()),
        }
    }

    async fn token(&self, node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
        let Some(request) = attributes
            .object::<TokenRequest>()
            .filter(|_| attributes.operation == Operation::Create)
        else {
            return Ok(());
        };
        let bound = request.spec.bound_object_ref.as_ref().filter(|bound| {
            bound.api_version == "v1" && bound.kind == "Pod" && !bound.name.is_empty()
        });
        let Some(bound) = bound else {
            return refuse(attributes, "node requested token not bound to a pod");
        };
        if bound.uid.is_empty() {
            return refuse(
                attributes,
                "node requested token with a pod binding without a uid",
            );
        }
        let pod = find_pod(&attributes.namespace, &bound.name, cluster).await?;
        if bound.uid != pod.metadata.uid {
            return refuse(
                attributes,
                format!(
                    "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                    bound.uid
                ),
            );
        }
        if pod.spec.node_name != node {
            return refuse(
                attributes,
                "node requested token bound to a pod scheduled on a different node",
            );
        }
        if !gates::enabled("ServiceAccountNodeAudienceRestriction") {
            return Ok(());
        }
        let audience = match request.spec.audiences.as_slice() {
            [] => "",
            [one] => one,
            _ => return refuse(attributes, "node may only request 0 or 1 audiences"),
        };
        match token_audiences::named(&pod, audience, cluster).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => {
                let audience = quote(audience);
                return refuse(
                    attributes,
                    format!("error validating audience {audience}: {why}"),
                );
            }
        }
        let question = AccessAttributes {
            user: attributes.user.clone(),
            verb: "request-serviceaccounts-token-audience".to_owned(),
            namespace: attributes.namespace.clone(),
            api_version: "v1".to_owned(),
            resource: audience.to_owned(),
            name: attributes.name.clone(),
            resource_request: true,
            ..AccessAttributes::default()
        };
        let decision = match &self.authorizer {
            Some(authorizer) => authorizer.authorize(&question).await,
            None => Ok(Decision::NoOpinion(String::new())),
        };
        let (audience, user) = (quote(audience), &attributes.user.name);
        match decision {
            Ok(decision) if decision.is_allowed() => Ok(()),
            Ok(_) => refuse(
                attributes,
                format!(
                    "audience {audience} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
                ),
            ),
            Err(error) => refuse(
                attributes,
                format!(
                    "audience {audience} not found in pod spec volume, error authorizing {user} to request tokens for this audience: {error}"
                ),
            ),
        }
    }
}

pub(super) fn refuse(attributes: &Attributes, reason: impl std::fmt::Display) -> Verdict {
    Err(attributes.forbidden(reason))
}

async fn find_pod(namespace: &str, name: &str, cluster: &dyn Cluster) -> Result<Pod, StatusError> {
    for freshness in [Freshness::Cached, Freshness::Consistent] {
        if let Some(object) = cluster.get("", "pods", namespace, name, freshness).await?
            && let Some(pod) = object.get::<Pod>()
        {
            return Ok(pod.clone());
        }
    }
    Err(status::not_found(
        &GroupResource {
            group: String::new(),
            resource: "pods".to_owned(),
        },
        name,
    ))
}

async fn pod(node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    match attributes.operation {
        Operation::Create => mirror_pod(node, attributes, cluster).await,
        Operation::Delete => {
            let pod = find_pod(&attributes.namespace, &attributes.name, cluster).await?;
            if pod.spec.node_name == node {
                Ok(())
            } else {
                refuse(
                    attributes,
                    format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
                )
            }
        }
        operation => refuse(
            attributes,
            format!(
                "unexpected operation \"{operation}\", node {node:?} can only create and delete mirror pods"
            ),
        ),
    }
}

async fn mirror_pod(node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    let Some(pod) = attributes.object::<Pod>() else {
        return Ok(());
    };
    if !pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        return refuse(
            attributes,
            format!(
                "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
            ),
        );
    }
    if pod.spec.node_name != node {
        return refuse(
            attributes,
            format!("node {node:?} can only create pods with spec.nodeName set to itself"),
        );
    }
    let owner = match pod.metadata.owner_references.as_slice() {
        [owner] if owner.api_version == "v1" && owner.kind == "Node" && owner.name == node => owner,
        [_, _, ..] => {
            return refuse(
                attributes,
                format!(
                    "node {node:?} can only create pods with a single owner reference set to itself"
                ),
            );
        }
        _ => {
            return refuse(
                attributes,
                format!("node {node:?} can only create pods with an owner reference set to itself"),
            );
        }
    };
    if owner.controller != Some(true) {
        return refuse(
            attributes,
            format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ),
        );
    }
    if owner.block_owner_deletion == Some(true) {
        return refuse(
            attributes,
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference"),
        );
    }
    let found = cluster
        .get("", "nodes", "", node, Freshness::Cached)
        .await?;
    let Some(uid) = found.as_ref().map(|object| &object.metadata().uid) else {
        return Err(status::not_found(
            &GroupResource {
                group: String::new(),
                resource: "nodes".to_owned(),
            },
            node,
        ));
    };
    if owner.uid != *uid {
        return refuse(
            attributes,
            format!("node {node} UID mismatch: expected {} got {uid}", owner.uid),
        );
    }
    let mut ordinary = pod.clone();
    ordinary.metadata.annotations.remove(MIRROR_ANNOTATION);
    let projects_token = |volume: &Volume| {
        volume
            .volume_source
            .projected
            .iter()
            .flat_map(|projected| &projected.sources)
            .any(|source| source.service_account_token.is_some())
    };
    let referenced = pod_references(&ordinary)
        .into_iter()
        .find_map(|(kind, _)| match kind {
            Kind::ServiceAccount => Some("serviceaccounts"),
            Kind::Secret => Some("secrets"),
            Kind::ConfigMap => Some("configmaps"),
            Kind::PersistentVolumeClaim => Some("persistentvolumeclaims"),
            Kind::ResourceClaim => Some("resourceclaims"),
            _ => None,
        });
    let referenced = referenced.or_else(|| {
        pod.spec
            .volumes
            .iter()
            .any(projects_token)
            .then_some("serviceaccounts (via projected volumes)")
    });
    match referenced {
        Some(resource) => refuse(
            attributes,
            format!("node {node:?} can not create pods that reference {resource}"),
        ),
        None => Ok(()),
    }
}

fn pod_status(node: &str, attributes: &Attributes) -> Verdict {
    if attributes.operation != Operation::Update {
        return refuse(
            attributes,
            format!("unexpected operation \"{}\"", attributes.operation),
        );
    }
    let (Some(new), Some(old)) = (attributes.object::<Pod>(), attributes.old::<Pod>()) else {
        return Ok(());
    };
    if old.spec.node_name != node {
        return refuse(
            attributes,
            format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ),
        );
    }
    if old.metadata.labels != new.metadata.labels {
        return refuse(
            attributes,
            format!("node {node:?} cannot update labels through pod status"),
        );
    }
    if old.status.resource_claim_statuses != new.status.resource_claim_statuses {
        return refuse(
            attributes,
            format!("node {node:?} cannot update resource claim statues"),
        );
    }
    if old.status.extended_resource_claim_status != new.status.extended_resource_claim_status {
        return refuse(
            attributes,
            format!("node {node:?} cannot update extended resource claim status"),
        );
    }
    Ok(())
}

async fn pod_eviction(node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    if attributes.operation != Operation::Create {
        return refuse(
            attributes,
            format!("unexpected operation {}", attributes.operation),
        );
    }
    let in_body = attributes
        .object
        .as_ref()
        .map(|object| object.metadata().name.clone())
        .unwrap_or_default();
    let name = if attributes.name.is_empty() {
        in_body
    } else {
        attributes.name.clone()
    };
    if name.is_empty() {
        return refuse(attributes, "could not determine pod from request data");
    }
    let pod = find_pod(&attributes.namespace, &name, cluster).await?;
    if pod.spec.node_name == node {
        Ok(())
    } else {
        refuse(
            attributes,
            format!("node {node} can only evict pods with spec.nodeName set to itself"),
        )
    }
}

fn claim_status(node: &str, attributes: &Attributes) -> Verdict {
    if attributes.operation != Operation::Update {
        return refuse(
            attributes,
            format!("unexpected operation \"{}\"", attributes.operation),
        );
    }
    let (Some(new), Some(old)) = (
        attributes.object::<PersistentVolumeClaim>(),
        attributes.old::<PersistentVolumeClaim>(),
    ) else {
        return Ok(());
    };
    let rest = |claim: &PersistentVolumeClaim| {
        let mut claim = claim.clone();
        claim.metadata.resource_version.clear();
        claim.metadata.managed_fields.clear();
        claim.status.capacity.clear();
        claim.status.conditions.clear();
        claim.status.allocated_resource_statuses.clear();
        claim.status.allocated_resources.clear();
        claim
    };
    if rest(new) == rest(old) {
        return Ok(());
    }
    refuse(
        attributes,
        format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ),
    )
}

fn own_node(node: &str, attributes: &Attributes) -> Verdict {
    let named = attributes
        .object
        .as_ref()
        .map(|object| object.metadata().name.as_str())
        .unwrap_or_default();
    let name = if attributes.name.is_empty() {
        named
    } else {
        &attributes.name
    };
    if name != node {
        return refuse(
            attributes,
            format!("node {node:?} is not allowed to modify node {name:?}"),
        );
    }
    let Some(new) = attributes.object::<Node>() else {
        return Ok(());
    };
    match attributes.operation {
        Operation::Create => {
            if new.spec.config_source.is_some() {
                return refuse(
                    attributes,
                    format!(
                        "node {node:?} is not allowed to create pods with a non-nil configSource"
                    ),
                );
            }
            let forbidden = forbidden_labels(&new.metadata.labels, &BTreeMap::new());
            if !forbidden.is_empty() {
                return refuse(
                    attributes,
                    format!(
                        "node {node:?} is not allowed to set the following labels: {}",
                        forbidden.join(", ")
                    ),
                );
            }
        }
        Operation::Update => {
            let Some(old) = attributes.old::<Node>() else {
                return Ok(());
            };
            if new.spec.config_source.is_some() && new.spec.config_source != old.spec.config_source
            {
                return refuse(
                    attributes,
                    format!(
                        "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                    ),
                );
            }
            if new.spec.taints != old.spec.taints {
                return refuse(
                    attributes,
                    format!("node {node:?} is not allowed to modify taints"),
                );
            }
            // CVE-2025-5187: a node that owns itself is deleted by the garbage collector and comes back with other labels.
            if new.metadata.owner_references != old.metadata.owner_references {
                return refuse(
                    attributes,
                    format!("node {node:?} is not allowed to modify ownerReferences"),
                );
            }
            let forbidden = forbidden_labels(&new.metadata.labels, &old.metadata.labels);
            if !forbidden.is_empty() {
                return refuse(
                    attributes,
                    format!("is not allowed to modify labels: {}", forbidden.join(", ")),
                );
            }
        }
        _ => {}
    }
    Ok(())
}

/// Labels that differ and that a kubelet may not touch, in order.
fn forbidden_labels(new: &BTreeMap<String, String>, old: &BTreeMap<String, String>) -> Vec<String> {
    let mut keys: Vec<&String> = new
        .keys()
        .chain(old.keys())
        .filter(|key| new.get(*key) != old.get(*key) && !may_set_label(key))
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().cloned().collect()
}

fn may_set_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| {
        domain == of
            || domain
                .strip_suffix(of)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if within(RESTRICTED_DOMAIN) {
        return false;
    }
    let kubernetes_own = within("kubernetes.io") || within("k8s.io");
    !kubernetes_own
        || KUBELET_LABELS.contains(&key)
        || KUBELET_LABEL_DOMAINS.iter().any(|of| within(of))
}

fn lease(node: &str, attributes: &Attributes) -> Verdict {
    if attributes.namespace != NODE_LEASES {
        return refuse(
            attributes,
            format!("can only access leases in the {NODE_LEASES:?} system namespace"),
        );
    }
    own_name(
        node,
        attributes,
        "can only access node lease with the same name as the requesting node",
    )
}

fn csi_node(node: &str, attributes: &Attributes) -> Verdict {
    own_name(
        node,
        attributes,
        "can only access CSINode with the same name as the requesting node",
    )
}

/// On create the name is in the object, otherwise in the request.
fn own_name(node: &str, attributes: &Attributes, problem: &str) -> Verdict {
    let name = match attributes.operation {
        Operation::Create => attributes
            .object
            .as_ref()
            .map(|object| object.metadata().name.as_str())
            .unwrap_or_default(),
        _ => &attributes.name,
    };
    if name == node {
        Ok(())
    } else {
        refuse(attributes, problem)
    }
}

fn resource_slice(node: &str, attributes: &Attributes) -> Verdict {
    let of_node = |slice: Option<&ResourceSlice>| {
        slice.is_none_or(|slice| slice.spec.node_name.as_deref() == Some(node))
    };
    match attributes.operation {
        Operation::Create if !of_node(attributes.object()) => refuse(
            attributes,
            "can only create ResourceSlice with the same NodeName as the requesting node",
        ),
        Operation::Delete if !of_node(attributes.old()) => refuse(
            attributes,
            "can only delete ResourceSlice with the same NodeName as the requesting node",
        ),
        _ => Ok(()),
    }
}

fn certificate_request(attributes: &Attributes) -> Verdict {
    let Some(request) = attributes
        .object::<CertificateSigningRequest>()
        .filter(|_| attributes.operation == Operation::Create)
    else {
        return Ok(());
    };
    if ![
        "kubernetes.io/kubelet-serving",
        "kubernetes.io/kube-apiserver-client-kubelet",
    ]
    .contains(&request.spec.signer_name.as_str())
    {
        return Ok(());
    }
    match certificates::common_name(&request.spec.request.0) {
        Err(reason) => refuse(attributes, format!("unable to parse csr: {reason}")),
        Ok(name) if name != attributes.user.name => refuse(
            attributes,
            format!(
                "can only create a node CSR with CN={}",
                attributes.user.name
            ),
        ),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_node() {
        for allowed in [
            "own",
            "example.com/x",
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "kubelet.kubernetes.io/x",
            "a.node.kubernetes.io/x",
        ] {
            assert!(may_set_label(allowed), "{allowed}");
        }
        for refused in [
            "kubernetes.io/x",
            "node-role.kubernetes.io/master",
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "k8s.io/x",
            "a.k8s.io/x",
        ] {
            assert!(!may_set_label(refused), "{refused}");
        }
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let old = map(&[("kubernetes.io/x", "1"), ("own", "1")]);
        assert_eq!(
            forbidden_labels(&old, &old),
            Vec::<String>::new(),
            "what stays is not modified"
        );
        assert_eq!(
            forbidden_labels(&map(&[("own", "2")]), &old),
            ["kubernetes.io/x"],
            "taking one away is"
        );
    }
}

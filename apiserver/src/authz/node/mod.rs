//! What a kubelet may touch: what the pods bound to its node refer to. Upstream: plugin/pkg/auth/authorizer/node.
//!
//! The graph of references is kept from the watch caches of pods, persistent volumes, volume attachments and resource slices.
//! What a node may do with its own Node, pods and leases is narrowed further by the NodeRestriction admission plugin.

pub mod feed;
mod graph;
mod references;

use api_types::rbac::v1::PolicyRule;
use apimachinery::fields::Operator;
use component_base::auth::{
    Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, NODES_GROUP, UserInfo,
};

use super::rbac::{bootstrap, rule_allows};
use super::{RuleResolver, Rules};
use crate::apis::gates;

pub use graph::{Graph, Kind, pod_references};

const NODE_USER_PREFIX: &str = "system:node:";
const NO_RULES: &str = "node authorizer does not support user rule resolution";
const NODE_LEASES: &str = "kube-node-lease";

/// The Node authorizer.
pub struct NodeAuthorizer {
    graph: std::sync::Arc<Graph>,
    /// What every node may do with resources that the graph says nothing about.
    rules: Vec<PolicyRule>,
}

impl NodeAuthorizer {
    pub fn new(graph: std::sync::Arc<Graph>) -> Self {
        Self {
            graph,
            rules: bootstrap::rules_of("system:node", gates::enabled),
        }
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        let Some(node) = node_identity(&attributes.user) else {
            return no("");
        };
        if node.is_empty() {
            return no(format!("unknown node for user {:?}", attributes.user.name));
        }
        if attributes.resource_request {
            let verdict = match (attributes.api_group.as_str(), attributes.resource.as_str()) {
                ("", "secrets") => Some(self.read_one(node, Kind::Secret, attributes)),
                ("", "configmaps") => Some(self.read_one(node, Kind::ConfigMap, attributes)),
                ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                    Some(self.update_status(node, attributes))
                }
                ("", "persistentvolumeclaims") => {
                    Some(self.get(node, Kind::PersistentVolumeClaim, attributes))
                }
                ("", "persistentvolumes") => {
                    Some(self.get(node, Kind::PersistentVolume, attributes))
                }
                ("resource.k8s.io", "resourceclaims") => {
                    Some(self.get(node, Kind::ResourceClaim, attributes))
                }
                ("storage.k8s.io", "volumeattachments") => {
                    Some(self.get(node, Kind::VolumeAttachment, attributes))
                }
                ("", "serviceaccounts") => Some(self.service_account(node, attributes)),
                ("coordination.k8s.io", "leases") => Some(lease(node, attributes)),
                ("storage.k8s.io", "csinodes") => Some(csi_node(node, attributes)),
                ("resource.k8s.io", "resourceslices") => {
                    Some(self.resource_slice(node, attributes))
                }
                ("", "nodes") => Some(own_node(node, attributes)),
                ("", "pods") => Some(self.pod(node, attributes)),
                ("certificates.k8s.io", "podcertificaterequests") => {
                    Some(self.certificate_request(node, attributes))
                }
                _ => None,
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
        if self.rules.iter().any(|rule| rule_allows(rule, attributes)) {
            Decision::allow()
        } else {
            no("")
        }
    }

    fn related(&self, node: &str, kind: Kind, attributes: &Attributes) -> Decision {
        if attributes.name.is_empty() {
            return no("No Object name found");
        }
        if self
            .graph
            .related(node, kind, &attributes.namespace, &attributes.name)
        {
            return Decision::allow();
        }
        no(format!(
            "no relationship found between node '{node}' and this object"
        ))
    }

    fn get(&self, node: &str, kind: Kind, attributes: &Attributes) -> Decision {
        if attributes.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !attributes.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, kind, attributes)
    }

    fn read_one(&self, node: &str, kind: Kind, attributes: &Attributes) -> Decision {
        if !["get", "list", "watch"].contains(&attributes.verb.as_str()) {
            return no("can only read resources of this type");
        }
        if !attributes.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if attributes.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, kind, attributes)
    }

    fn update_status(&self, node: &str, attributes: &Attributes) -> Decision {
        if !["update", "patch"].contains(&attributes.verb.as_str()) {
            return no("can only get/update/patch this type");
        }
        self.related(node, Kind::PersistentVolumeClaim, attributes)
    }

    fn service_account(&self, node: &str, attributes: &Attributes) -> Decision {
        if attributes.verb == "get" && attributes.subresource.is_empty() {
            // For credentials of images, and for certificates.
            if !gates::enabled("KubeletServiceAccountTokenForCredentialProviders")
                && !gates::enabled("PodCertificateRequest")
            {
                return no("not allowed to get service accounts");
            }
            return self.read_one(node, Kind::ServiceAccount, attributes);
        }
        if attributes.verb != "create" || attributes.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if attributes.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(node, Kind::ServiceAccount, attributes)
    }

    fn certificate_request(&self, node: &str, attributes: &Attributes) -> Decision {
        if !gates::enabled("PodCertificateRequest") {
            return no("");
        }
        if !attributes.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match attributes.verb.as_str() {
            // NodeRestriction looks into what is created.
            "create" => Decision::allow(),
            "get" => self.related(node, Kind::PodCertificateRequest, attributes),
            "list" | "watch" if selects(attributes, "spec.nodeName", node) => Decision::allow(),
            "list" | "watch" => {
                no("can only list/watch podcertificaterequests with nodeName field selector")
            }
            verb => no(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn resource_slice(&self, node: &str, attributes: &Attributes) -> Decision {
        if !attributes.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match attributes.verb.as_str() {
            // NodeRestriction sees the new object and checks its node name.
            "create" => Decision::allow(),
            "get" | "update" | "patch" | "delete" => {
                self.related(node, Kind::ResourceSlice, attributes)
            }
            "watch" | "list" | "deletecollection" if selects(attributes, "spec.nodeName", node) => {
                Decision::allow()
            }
            "watch" | "list" | "deletecollection" => no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, attributes: &Attributes) -> Decision {
        match (attributes.subresource.as_str(), attributes.verb.as_str()) {
            ("", "get") => self.get(node, Kind::Pod, attributes),
            ("", "list" | "watch") if selects(attributes, "spec.nodeName", node) => {
                Decision::allow()
            }
            ("", "list" | "watch") if !attributes.name.is_empty() => {
                self.related(node, Kind::Pod, attributes)
            }
            ("", "list" | "watch") => {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            // Mirror pods, their status and evictions: NodeRestriction keeps a node to its own.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Decision::allow()
            }
            _ => no(""),
        }
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let decision = self.decide(attributes);
        Box::pin(async move { Ok(decision) })
    }
}

impl RuleResolver for NodeAuthorizer {
    /// What a node may do depends on the objects that there are.
    fn rules_for(&self, user: &UserInfo, _: &str) -> Rules {
        match node_identity(user) {
            None => Rules::default(),
            Some(_) => Rules::unknown(NO_RULES),
        }
    }
}

fn own_node(node: &str, attributes: &Attributes) -> Decision {
    match (attributes.subresource.as_str(), attributes.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::allow(),
        // By name and not by the graph: a kubelet looks for its Node before it has made it.
        ("", "get" | "list" | "watch") => match attributes.name.as_str() {
            name if name == node => Decision::allow(),
            "" => no(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            name => no(format!(
                "node '{node}' cannot read '{name}', only its own Node object"
            )),
        },
        _ => no(""),
    }
}

fn lease(node: &str, attributes: &Attributes) -> Decision {
    if !["get", "create", "update", "patch", "delete"].contains(&attributes.verb.as_str()) {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if attributes.namespace != NODE_LEASES {
        return no(format!(
            "can only access leases in the {NODE_LEASES:?} system namespace"
        ));
    }
    if attributes.verb != "create" && attributes.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Decision::allow()
}

fn csi_node(node: &str, attributes: &Attributes) -> Decision {
    if !["get", "create", "update", "patch", "delete"].contains(&attributes.verb.as_str()) {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !attributes.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if attributes.verb != "create" && attributes.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Decision::allow()
}

/// The node a caller is the kubelet of: None for others, empty for a kubelet without a name.
pub fn node_identity(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_USER_PREFIX)?;
    user.groups
        .iter()
        .any(|group| group == NODES_GROUP)
        .then_some(name)
}

/// Does the field selector hold `field=value`?
fn selects(attributes: &Attributes, field: &str, value: &str) -> bool {
    attributes.field_selector.iter().any(|requirement| {
        requirement.operator == Operator::Equals
            && requirement.field == field
            && requirement.value == value
    })
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

#[cfg(test)]
mod tests;

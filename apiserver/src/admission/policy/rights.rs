//! Who writes a policy or a binding must be allowed to read the objects that it makes parameters: their contents show in messages.
//! It is checked of valid objects, before plugins judge them, whichever plugins are on.
//! Upstream: the authz.go files of pkg/registry/admissionregistration.

use std::sync::Arc;

use api_types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamKind, ParamRef,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::status;
use component_base::auth::{self, Authorizer, Decision, UserInfo};

use crate::admission::{Attributes, Cluster, Freshness, Operation, Verdict};
use crate::registry::object::Object;

const GROUP: &str = "admissionregistration.k8s.io";
/// Nobody has to be asked for these.
const PRIVILEGED: &str = "system:masters";

/// Refuses a policy or a binding with parameters that its author may not read.
pub async fn check(
    attributes: &Attributes,
    authorizer: Option<&Arc<dyn Authorizer>>,
    cluster: &dyn Cluster,
) -> Verdict {
    let Some(authorizer) = authorizer else {
        return Ok(());
    };
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    if attributes.resource.group != GROUP || !attributes.subresource.is_empty() || !written {
        return Ok(());
    }
    if attributes
        .user
        .groups
        .iter()
        .any(|group| group == PRIVILEGED)
    {
        return Ok(());
    }
    let Some(object) = &attributes.object else {
        return Ok(());
    };
    let (path, refused) = if let Some(kind) = kind_of(object) {
        if attributes.old_object.as_deref().and_then(kind_of) == Some(kind) {
            return Ok(());
        }
        (
            "paramKind",
            of_policy(kind, attributes, authorizer, cluster).await,
        )
    } else if let Some(binding) = Reference::of(object) {
        (
            "paramRef",
            of_binding(&binding, attributes, authorizer, cluster).await,
        )
    } else {
        return Ok(());
    };
    refused.map_err(|error| {
        let errors = field::forbidden(&Path::new("spec").child(path), error).into();
        let kind = attributes.kind.group_kind();
        status::invalid(&kind, &object.metadata().name, &errors)
    })
}

fn kind_of(object: &Object) -> Option<&ParamKind> {
    let kind = match object.get::<ValidatingAdmissionPolicy>() {
        Some(policy) => &policy.spec.param_kind,
        None => &object.get::<MutatingAdmissionPolicy>()?.spec.param_kind,
    };
    kind.as_deref()
}

/// The parameters of a binding.
struct Reference<'o> {
    policy: &'o str,
    param: &'o ParamRef,
    mutating: bool,
}

impl<'o> Reference<'o> {
    fn of(object: &'o Object) -> Option<Reference<'o>> {
        if let Some(binding) = object.get::<ValidatingAdmissionPolicyBinding>() {
            return Some(Reference {
                policy: &binding.spec.policy_name,
                param: binding.spec.param_ref.as_deref()?,
                mutating: false,
            });
        }
        let binding = object.get::<MutatingAdmissionPolicyBinding>()?;
        Some(Reference {
            policy: &binding.spec.policy_name,
            param: binding.spec.param_ref.as_deref()?,
            mutating: true,
        })
    }
}

/// Whether one may do something with the objects of a kind; with everything, if nobody knows what the kind is.
fn attributes_of(
    user: &UserInfo,
    verb: &str,
    kind: Option<&GroupVersionKind>,
    cluster: &dyn Cluster,
) -> auth::Attributes {
    let every = || "*".to_owned();
    let served = kind.and_then(|kind| cluster.served_kind(kind));
    auth::Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        api_group: kind.map_or_else(every, |kind| kind.group.clone()),
        api_version: kind.map_or_else(every, |kind| kind.version.clone()),
        resource: served.map_or_else(every, |served| served.matched.resource.resource),
        resource_request: true,
        ..auth::Attributes::default()
    }
}

/// As Go prints it.
fn printed(user: &UserInfo) -> String {
    let extra: Vec<String> = user
        .extra
        .iter()
        .map(|(key, values)| format!("{key}:[{}]", values.join(" ")))
        .collect();
    format!(
        "&{{{} {} [{}] map[{}]}}",
        user.name,
        user.uid,
        user.groups.join(" "),
        extra.join(" ")
    )
}

async fn of_policy(
    kind: &ParamKind,
    attributes: &Attributes,
    authorizer: &Arc<dyn Authorizer>,
    cluster: &dyn Cluster,
) -> Result<(), String> {
    let user = &attributes.user;
    let resolved = GroupVersionKind::from_api_version_and_kind(&kind.api_version, &kind.kind);
    let asked = auth::Attributes {
        namespace: "*".to_owned(),
        name: "*".to_owned(),
        ..attributes_of(user, "get", Some(&resolved), cluster)
    };
    match authorizer.authorize(&asked).await {
        Ok(Decision::Allow(_)) => Ok(()),
        Ok(_) => Err(format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            printed(user),
            kind.kind,
            kind.api_version
        )),
        Err(error) => Err(error.to_string()),
    }
}

async fn of_binding(
    binding: &Reference<'_>,
    attributes: &Attributes,
    authorizer: &Arc<dyn Authorizer>,
    cluster: &dyn Cluster,
) -> Result<(), String> {
    let policies = if binding.mutating {
        "mutatingadmissionpolicies"
    } else {
        "validatingadmissionpolicies"
    };
    let policy = cluster
        .get(GROUP, policies, "", binding.policy, Freshness::Consistent)
        .await
        .ok()
        .flatten();
    let kind = policy.as_deref().and_then(kind_of);
    let resolved =
        kind.map(|kind| GroupVersionKind::from_api_version_and_kind(&kind.api_version, &kind.kind));
    let param = binding.param;
    let verb = if param.name.is_empty() { "list" } else { "get" };
    let (user, name) = (printed(&attributes.user), binding.policy);
    let asked = auth::Attributes {
        namespace: param.namespace.clone(),
        name: param.name.clone(),
        ..attributes_of(&attributes.user, verb, resolved.as_ref(), cluster)
    };
    let known = asked.resource != "*";
    match (authorizer.authorize(&asked).await, kind) {
        (Ok(Decision::Allow(_)), _) => Ok(()),
        (Err(error), _) if binding.mutating => Err(error.to_string()),
        (Err(error), _) => Err(format!("failed to authorize request: {error}")),
        (Ok(_), _) if policy.is_none() => Err(format!(
            "unable to get policy {name} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
        )),
        (Ok(_), Some(kind)) if !known => Err(format!(
            "unable to resolve paramKind &{{{} {}}} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources",
            kind.api_version, kind.kind
        )),
        // As upstream, in the wrong order.
        (Ok(_), _) if binding.mutating => Err(format!(
            "user {verb} does not have \"{user}\" permission on the object referenced by paramRef"
        )),
        (Ok(_), _) => Err(format!(
            "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
        )),
    }
}

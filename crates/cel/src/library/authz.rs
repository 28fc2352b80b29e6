//! Asking the authorizer. Upstream: apiserver/pkg/cel/library/authz.go.

use std::fmt;
use std::sync::Arc;

use apimachinery::validation as names;

use super::{opaque, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Opaque, Value};

/// Answers whether somebody may do something. Supplied by who evaluates.
pub trait Authorize: fmt::Debug + Send + Sync {
    /// The answer.
    fn authorize(&self, check: &AccessCheck<'_>) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessCheck<'c> {
    /// Namespace and name of a service account; none for who makes the request.
    pub service_account: Option<(&'c str, &'c str)>,
    /// The verb, of HTTP for paths.
    pub verb: &'c str,
    /// The path, where the question is not about a resource.
    pub path: Option<&'c str>,
    /// The resource's group.
    pub group: &'c str,
    /// The resource.
    pub resource: &'c str,
    /// The subresource, or nothing.
    pub subresource: &'c str,
    /// The namespace, or nothing.
    pub namespace: &'c str,
    /// The object's name, or nothing.
    pub name: &'c str,
    /// A field selector, or nothing.
    pub field_selector: &'c str,
    /// A label selector, or nothing.
    pub label_selector: &'c str,
}

/// The answer to a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// The authorizer, on behalf of somebody.
#[derive(Clone, Debug)]
pub struct Authorizer {
    authorize: Arc<dyn Authorize>,
    service_account: Option<(String, String)>,
}

/// A check of a path.
#[derive(Clone, Debug)]
pub struct PathCheck {
    authorizer: Authorizer,
    path: String,
}

/// A check of something in a group.
#[derive(Clone, Debug)]
pub struct GroupCheck {
    authorizer: Authorizer,
    group: String,
}

/// A check of a resource.
#[derive(Clone, Debug)]
pub struct ResourceCheck {
    group: GroupCheck,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    field_selector: String,
    label_selector: String,
}

impl Authorizer {
    /// The value of `authorizer`: asks on behalf of who makes the request.
    pub fn new(authorize: Arc<dyn Authorize>) -> Self {
        Authorizer {
            authorize,
            service_account: None,
        }
    }

    /// The value of `authorizer.requestResource`: what the request itself is about.
    pub fn request_resource(&self, check: &AccessCheck<'_>) -> ResourceCheck {
        ResourceCheck {
            group: GroupCheck {
                authorizer: self.clone(),
                group: check.group.to_owned(),
            },
            resource: check.resource.to_owned(),
            subresource: check.subresource.to_owned(),
            namespace: check.namespace.to_owned(),
            name: check.name.to_owned(),
            field_selector: String::new(),
            label_selector: String::new(),
        }
    }

    fn ask(&self, mut check: AccessCheck<'_>) -> Decision {
        let account = self.service_account.as_ref();
        // The borrow ends with the call.
        check.service_account = None;
        let check = AccessCheck {
            service_account: account.map(|(namespace, name)| (&**namespace, &**name)),
            ..check
        };
        self.authorize.authorize(&check)
    }
}

fn authorizer_type(name: &str) -> Type {
    Type::object(&format!("kubernetes.authorization.{name}"))
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let (authorizer, path, group, resource, decision) = (
        authorizer_type("Authorizer"),
        authorizer_type("PathCheck"),
        authorizer_type("GroupCheck"),
        authorizer_type("ResourceCheck"),
        authorizer_type("Decision"),
    );
    let refine = |name, id, implementation: Implementation| {
        Function::new(name).member(
            id,
            &[resource.clone(), Type::String],
            resource.clone(),
            implementation,
        )
    };
    let of_decision = |name, id, of, implementation: Implementation| {
        Function::new(name).member(id, std::slice::from_ref(&decision), of, implementation)
    };
    vec![
        Function::new("path").member(
            "authorizer_path",
            &[authorizer.clone(), Type::String],
            path.clone(),
            |args| {
                let authorizer = opaque!(args, 0, Authorizer)?.clone();
                Ok(Opaque::PathCheck(PathCheck {
                    authorizer,
                    path: text(args, 1)?.to_owned(),
                })
                .into())
            },
        ),
        Function::new("group").member(
            "authorizer_group",
            &[authorizer.clone(), Type::String],
            group.clone(),
            |args| {
                let authorizer = opaque!(args, 0, Authorizer)?.clone();
                Ok(Opaque::GroupCheck(GroupCheck {
                    authorizer,
                    group: text(args, 1)?.to_owned(),
                })
                .into())
            },
        ),
        Function::new("serviceAccount").member(
            "authorizer_serviceaccount",
            &[authorizer.clone(), Type::String, Type::String],
            authorizer,
            service_account,
        ),
        Function::new("resource").member(
            "groupcheck_resource",
            &[group, Type::String],
            resource.clone(),
            |args| {
                let (group, resource) = (opaque!(args, 0, GroupCheck)?.clone(), text(args, 1)?);
                if resource.trim().is_empty() {
                    return Err(EvalError::new("resource must not be empty"));
                }
                Ok(Opaque::ResourceCheck(ResourceCheck {
                    group,
                    resource: resource.to_owned(),
                    subresource: String::new(),
                    namespace: String::new(),
                    name: String::new(),
                    field_selector: String::new(),
                    label_selector: String::new(),
                })
                .into())
            },
        ),
        refine("subresource", "resourcecheck_subresource", |args| {
            refined(args, |check| &mut check.subresource)
        }),
        refine("namespace", "resourcecheck_namespace", |args| {
            refined(args, |check| &mut check.namespace)
        }),
        refine("name", "resourcecheck_name", |args| {
            refined(args, |check| &mut check.name)
        }),
        Function::new("check")
            .member(
                "pathcheck_check",
                &[path, Type::String],
                decision.clone(),
                |args| {
                    let check = opaque!(args, 0, PathCheck)?;
                    let asked = AccessCheck {
                        verb: text(args, 1)?,
                        path: Some(&check.path),
                        ..AccessCheck::default()
                    };
                    Ok(Opaque::Decision(check.authorizer.ask(asked)).into())
                },
            )
            .member(
                "resourcecheck_check",
                &[resource.clone(), Type::String],
                decision.clone(),
                |args| {
                    let check = opaque!(args, 0, ResourceCheck)?;
                    let asked = AccessCheck {
                        verb: text(args, 1)?,
                        group: &check.group.group,
                        resource: &check.resource,
                        subresource: &check.subresource,
                        namespace: &check.namespace,
                        name: &check.name,
                        field_selector: &check.field_selector,
                        label_selector: &check.label_selector,
                        ..AccessCheck::default()
                    };
                    Ok(Opaque::Decision(check.group.authorizer.ask(asked)).into())
                },
            ),
        of_decision("errored", "decision_errored", Type::Bool, |args| {
            Ok(Value::Bool(opaque!(args, 0, Decision)?.error.is_some()))
        }),
        of_decision("error", "decision_error", Type::String, |args| {
            Ok(Value::from(
                opaque!(args, 0, Decision)?
                    .error
                    .clone()
                    .unwrap_or_default(),
            ))
        }),
        of_decision("allowed", "decision_allowed", Type::Bool, |args| {
            Ok(Value::Bool(opaque!(args, 0, Decision)?.allowed))
        }),
        of_decision("reason", "decision_reason", Type::String, |args| {
            Ok(Value::from(opaque!(args, 0, Decision)?.reason.clone()))
        }),
    ]
}

/// The functions that narrow a check by selectors.
pub(super) fn selector_functions() -> Vec<Function> {
    let resource = authorizer_type("ResourceCheck");
    let refine = |name, id, implementation: Implementation| {
        Function::new(name).member(
            id,
            &[resource.clone(), Type::String],
            resource.clone(),
            implementation,
        )
    };
    vec![
        refine("fieldSelector", "authorizer_fieldselector", |args| {
            refined(args, |check| &mut check.field_selector)
        }),
        refine("labelSelector", "authorizer_labelselector", |args| {
            refined(args, |check| &mut check.label_selector)
        }),
    ]
}

fn refined<'a>(
    args: &[Value<'a>],
    part: fn(&mut ResourceCheck) -> &mut String,
) -> Result<Value<'a>, EvalError> {
    let mut check = opaque!(args, 0, ResourceCheck)?.clone();
    *part(&mut check) = text(args, 1)?.to_owned();
    Ok(Opaque::ResourceCheck(check).into())
}

fn service_account<'a>(args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let (authorizer, namespace, name) = (
        opaque!(args, 0, Authorizer)?,
        text(args, 1)?,
        text(args, 2)?,
    );
    if !names::is_dns1123_subdomain(name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::is_dns1123_label(namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let authorizer = Authorizer {
        authorize: authorizer.authorize.clone(),
        service_account: Some((namespace.to_owned(), name.to_owned())),
    };
    Ok(Opaque::Authorizer(authorizer).into())
}

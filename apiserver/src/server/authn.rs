//! Who is asking: the authenticators and authorizers of this server, and impersonation.
//! Upstream: pkg/kubeapiserver/authenticator and endpoints/filters/impersonation.go.

use std::path::Path;
use std::sync::Arc;

use apimachinery::status::{self, StatusError};
use component_base::auth::combine::{
    AlwaysAllow, AlwaysDeny, PrivilegedGroups, UnionAuthenticator, UnionAuthorizer,
};
use component_base::auth::request_header::RequestHeaderAuthenticator;
use component_base::auth::x509::{CaBundle, CertificateAuthenticator};
use component_base::auth::{
    ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, Attributes, Authenticator, Authorizer,
    Decision, SYSTEM_PRIVILEGED_GROUP, UserInfo, delegated,
};
use component_base::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::authorization;
use crate::config::Config;
use crate::request::context::RequestContext;

/// The authenticators of a server.
pub struct Parts {
    pub authenticator: Arc<dyn Authenticator>,
    pub request_header: Option<RequestHeaderAuthenticator>,
}

/// Request header, client certificate, then anonymous.
pub fn build(
    config: &Config,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Parts, component_base::Error> {
    let flags = &config.flags;
    let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
    let mut request_header = None;
    if let Some(file) = flags.non_empty("requestheader-client-ca-file") {
        let ca = CaBundle::from_file(Path::new(file), stop)?;
        let authenticator =
            RequestHeaderAuthenticator::new(ca, delegated::request_header_from_flags(flags));
        authenticators.push(Arc::new(authenticator.clone()));
        request_header = Some(authenticator);
    }
    if let Some(file) = flags.non_empty("client-ca-file") {
        let ca = CaBundle::from_file(Path::new(file), stop)?;
        authenticators.push(Arc::new(CertificateAuthenticator::with_metrics(
            ca, metrics,
        )));
    }
    let authenticator = UnionAuthenticator {
        authenticators,
        anonymous: flags.bool("anonymous-auth"),
    };
    Ok(Parts {
        authenticator: Arc::new(authenticator),
        request_header,
    })
}

/// `--authorization-mode`, behind the privileged group.
pub fn build_authorizer(config: &Config) -> Result<Arc<dyn Authorizer>, component_base::Error> {
    let mut authorizers: Vec<Arc<dyn Authorizer>> = vec![Arc::new(PrivilegedGroups(vec![
        SYSTEM_PRIVILEGED_GROUP.to_owned(),
    ]))];
    let modes = config.flags.strings("authorization-mode");
    if modes.is_empty() {
        authorizers.push(Arc::new(AlwaysAllow));
    }
    for mode in modes {
        match mode.as_str() {
            "AlwaysAllow" => authorizers.push(Arc::new(AlwaysAllow)),
            "AlwaysDeny" => authorizers.push(Arc::new(AlwaysDeny)),
            "RBAC" | "Node" => {}
            other => return Err(format!("authorization mode {other:?} is not supported").into()),
        }
    }
    Ok(Arc::new(UnionAuthorizer { authorizers }))
}

const IMPERSONATE_USER: &str = "impersonate-user";
const IMPERSONATE_GROUP: &str = "impersonate-group";
const IMPERSONATE_UID: &str = "impersonate-uid";
const IMPERSONATE_EXTRA: &str = "impersonate-extra-";

/// Acts as another user when the caller asks for it and may.
pub async fn impersonate(
    cx: &mut RequestContext,
    authorizer: &dyn Authorizer,
) -> Result<(), StatusError> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let user = cx
        .headers
        .get(IMPERSONATE_USER)
        .map(text)
        .unwrap_or_default();
    let uid = cx
        .headers
        .get(IMPERSONATE_UID)
        .map(text)
        .unwrap_or_default();
    let groups: Vec<String> = cx
        .headers
        .get_all(IMPERSONATE_GROUP)
        .iter()
        .map(text)
        .collect();
    let extras: Vec<(String, String)> = cx
        .headers
        .iter()
        .filter_map(|(name, value)| {
            let key = name.as_str().strip_prefix(IMPERSONATE_EXTRA)?;
            let key = percent_encoding::percent_decode_str(key)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_else(|_| key.to_owned());
            Some((key, text(value)))
        })
        .collect();
    if user.is_empty() {
        if groups.is_empty() && uid.is_empty() && extras.is_empty() {
            return Ok(());
        }
        return Err(status::internal(format!(
            "requested [{}] without impersonating a user",
            groups
                .iter()
                .map(|group| format!("{{Group  {group}  authentication.k8s.io/v1 }}"))
                .collect::<Vec<_>>()
                .join(" ")
        )));
    }
    let requestor = cx.user.clone();
    let mut target = UserInfo {
        name: user.clone(),
        uid: uid.clone(),
        groups: groups.clone(),
        ..UserInfo::default()
    };
    let check =
        |resource: &str, group: &str, namespace: &str, subresource: &str, name: &str| Attributes {
            user: requestor.clone(),
            verb: "impersonate".to_owned(),
            namespace: namespace.to_owned(),
            api_group: group.to_owned(),
            api_version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        };
    let mut checks = Vec::new();
    let service_account = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match service_account {
        Some((namespace, name)) => {
            checks.push(check("serviceaccounts", "", namespace, "", name));
            if groups.is_empty() {
                target.groups = vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ];
            }
        }
        None => checks.push(check("users", "", "", "", &user)),
    }
    checks.extend(
        groups
            .iter()
            .map(|group| check("groups", "", "", "", group)),
    );
    if !uid.is_empty() {
        checks.push(check("uids", "authentication.k8s.io", "", "", &uid));
    }
    for (key, value) in &extras {
        checks.push(check("userextras", "authentication.k8s.io", "", key, value));
        target
            .extra
            .entry(key.clone())
            .or_default()
            .push(value.clone());
    }
    for attributes in &checks {
        match authorizer.authorize(attributes).await {
            Ok(Decision::Allow) => {}
            Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
                return Err(authorization::forbidden(attributes, &reason));
            }
            Err(error) => return Err(authorization::forbidden(attributes, &error.to_string())),
        }
    }
    if user == ANONYMOUS {
        if !target
            .groups
            .iter()
            .any(|group| group == ALL_UNAUTHENTICATED)
        {
            target.groups.push(ALL_UNAUTHENTICATED.to_owned());
        }
    } else if !target
        .groups
        .iter()
        .any(|group| group == ALL_AUTHENTICATED || group == ALL_UNAUTHENTICATED)
    {
        target.groups.push(ALL_AUTHENTICATED.to_owned());
    }
    cx.user = target;
    let names: Vec<http::HeaderName> = cx
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in names {
        cx.headers.remove(name);
    }
    Ok(())
}

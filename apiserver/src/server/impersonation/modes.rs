//! The modes of impersonation. Upstream: endpoints/filters/impersonation/mode.go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use apimachinery::field::Path;
use apimachinery::quote::{quote, quote_list};
use apimachinery::status::StatusError;
use apimachinery::validation::is_domain_prefixed_path;
use component_base::auth::{
    ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, Attributes, Authorizer, Decision,
    NODES_GROUP, SYSTEM_PRIVILEGED_GROUP, UserInfo,
};

use super::Impersonated;
use super::cache::{self, Allowed};
use super::headers::{node, service_account};
use super::metrics::ImpersonationMetrics;
use crate::authn::service_account_groups;
use crate::server::authorization::forbidden;

/// From so many groups or values on, a constrained mode asks for all of them at once before it asks for each.
const MANY: usize = 4;
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const ASSOCIATED_NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// A way to be somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A service account is the node that its token is bound to.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    ServiceAccount,
    /// Who is neither node nor service account, with groups, UID and extra.
    UserInfo,
    /// Anybody, for anything: how it was before there were other modes.
    Legacy,
}

impl Kind {
    /// In the order they are tried.
    pub(super) const ALL: [Kind; 5] = [
        Kind::AssociatedNode,
        Kind::ArbitraryNode,
        Kind::ServiceAccount,
        Kind::UserInfo,
        Kind::Legacy,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::AssociatedNode => "associated-node",
            Kind::ArbitraryNode => "arbitrary-node",
            Kind::ServiceAccount => "serviceaccount",
            Kind::UserInfo => "user-info",
            Kind::Legacy => "legacy",
        }
    }

    /// The right to be a user.
    fn verb(self) -> &'static str {
        match self {
            Kind::AssociatedNode => "impersonate:associated-node",
            Kind::ArbitraryNode => "impersonate:arbitrary-node",
            Kind::ServiceAccount => "impersonate:serviceaccount",
            Kind::UserInfo => "impersonate:user-info",
            Kind::Legacy => "impersonate",
        }
    }

    /// What the audit log says of it.
    fn constraint(self) -> &'static str {
        match self {
            Kind::Legacy => "",
            kind => kind.verb(),
        }
    }

    /// Whether this mode is about such a user at all. Nodes and service accounts have names and nothing else to choose.
    fn applies(self, wanted: &UserInfo, requestor: &UserInfo) -> bool {
        let only_name =
            wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let name = wanted.name.as_str();
        match self {
            Kind::AssociatedNode => {
                only_name && node(name).is_some_and(|node| runs_on(requestor, node))
            }
            Kind::ArbitraryNode => only_name && node(name).is_some(),
            Kind::ServiceAccount => only_name && service_account(name).is_some(),
            Kind::UserInfo => node(name).is_none() && service_account(name).is_none(),
            Kind::Legacy => true,
        }
    }
}

/// Whether it is a service account whose token is bound to this node.
fn runs_on(requestor: &UserInfo, node: &str) -> bool {
    let bound_to = requestor.extra.get(NODE_NAME).map(Vec::as_slice);
    service_account(&requestor.name).is_some() && matches!(bound_to, Some([name]) if name == node)
}

/// Whom modes ask.
pub(super) struct Asker<'a> {
    pub(super) authorizer: &'a dyn Authorizer,
    pub(super) metrics: Option<&'a ImpersonationMetrics>,
}

impl Asker<'_> {
    /// Asks one question, or gives the 403.
    async fn ask(&self, kind: Kind, attributes: &Attributes) -> Result<(), StatusError> {
        let started = Instant::now();
        let decision = self.authorizer.authorize(attributes).await;
        if let Some(metrics) = self.metrics {
            let allowed = matches!(decision, Ok(Decision::Allow(_)));
            metrics
                .authorizations
                .count_in(kind, allowed, started.elapsed());
        }
        match decision {
            Ok(Decision::Allow(_)) => Ok(()),
            Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
                Err(forbidden(attributes, &reason))
            }
            Err(error) => Err(forbidden(attributes, &error.to_string())),
        }
    }
}

/// A mode and what it allowed lately.
pub(super) struct Mode {
    pub(super) kind: Kind,
    /// By caller, request and wanted user.
    requests: Allowed,
    /// By caller and wanted user.
    users: Allowed,
}

impl Mode {
    pub(super) fn new(kind: Kind) -> Mode {
        Mode {
            kind,
            requests: Allowed::default(),
            users: Allowed::default(),
        }
    }

    /// Whether the caller may be the user for this request. `None` when the mode is not about such users.
    pub(super) async fn check(
        &self,
        asker: &Asker<'_>,
        wanted: &UserInfo,
        attributes: &Attributes,
    ) -> Result<Option<Impersonated>, StatusError> {
        // First of all: what is remembered does not tell nodes apart.
        if !self.kind.applies(wanted, &attributes.user) {
            return Ok(None);
        }
        let mut user = match self.kind {
            Kind::Legacy => self.authorize_user(asker, wanted, &attributes.user).await?,
            Kind::AssociatedNode => {
                let attributes = on_any_node(attributes);
                let any = UserInfo {
                    name: "system:node:*".to_owned(),
                    ..UserInfo::default()
                };
                self.constrained(asker, wanted, &any, &attributes).await?
            }
            _ => self.constrained(asker, wanted, wanted, attributes).await?,
        };
        user.name.clone_from(&wanted.name);
        Ok(Some(Impersonated {
            user,
            constraint: self.kind.constraint(),
        }))
    }

    /// Both questions of a constrained mode, or what was answered to them a moment ago for `remembered`.
    async fn constrained(
        &self,
        asker: &Asker<'_>,
        wanted: &UserInfo,
        remembered: &UserInfo,
        attributes: &Attributes,
    ) -> Result<UserInfo, StatusError> {
        let now = Instant::now();
        let request_key = cache::key(remembered, attributes);
        if let Some(user) = self.requests.get(&request_key, now) {
            return Ok((*user).clone());
        }
        let verb = format!("impersonate-on:{}:{}", self.kind.name(), attributes.verb);
        let question = Attributes {
            verb,
            ..attributes.clone()
        };
        asker.ask(self.kind, &question).await?;
        let requestor = &attributes.user;
        let caller = Attributes {
            user: requestor.clone(),
            ..Attributes::default()
        };
        let user_key = cache::key(remembered, &caller);
        let user = match self.users.get(&user_key, now) {
            Some(user) => user,
            None => {
                let user = Arc::new(self.authorize_user(asker, wanted, requestor).await?);
                self.users.set(user_key, user.clone(), now);
                user
            }
        };
        self.requests.set(request_key, user.clone(), now);
        Ok((*user).clone())
    }

    /// Asks for every part of the user, and completes it with the groups that it is in.
    async fn authorize_user(
        &self,
        asker: &Asker<'_>,
        wanted: &UserInfo,
        requestor: &UserInfo,
    ) -> Result<UserInfo, StatusError> {
        let mut user = wanted.clone();
        if let Some(groups) = self.authorize_name(asker, wanted, requestor).await? {
            user.groups = groups;
        }
        if !wanted.uid.is_empty() {
            let question = self.question(requestor, true, "uids", &wanted.uid);
            asker.ask(self.kind, &question).await?;
        }
        self.authorize_groups(asker, &wanted.groups, requestor)
            .await?;
        self.authorize_extra(asker, &wanted.extra, requestor)
            .await?;
        let group = if user.name == ANONYMOUS {
            ALL_UNAUTHENTICATED
        } else if user.groups.iter().any(|group| group == ALL_UNAUTHENTICATED) {
            return Ok(user);
        } else {
            ALL_AUTHENTICATED
        };
        if !user.groups.iter().any(|other| other == group) {
            user.groups.push(group.to_owned());
        }
        Ok(user)
    }

    /// Asks for the name. Gives the groups of nodes and of service accounts that were asked for without groups.
    async fn authorize_name(
        &self,
        asker: &Asker<'_>,
        wanted: &UserInfo,
        requestor: &UserInfo,
    ) -> Result<Option<Vec<String>>, StatusError> {
        let constrained = self.kind != Kind::Legacy;
        let mut question = self.question(requestor, constrained, "users", &wanted.name);
        let mut groups = None;
        let mut what = None;
        if let Some(name) = node(&wanted.name).filter(|_| constrained) {
            question.resource = "nodes".to_owned();
            question.name = match self.kind {
                // The answer is remembered for all nodes, so it has to be good for all of them.
                Kind::AssociatedNode => "*".to_owned(),
                _ => name.to_owned(),
            };
            groups = Some(vec![NODES_GROUP.to_owned()]);
            what = Some("node");
        } else if let Some((namespace, name)) = service_account(&wanted.name) {
            question.resource = "serviceaccounts".to_owned();
            question.namespace = namespace.to_owned();
            question.name = name.to_owned();
            if wanted.groups.is_empty() {
                groups = Some(service_account_groups(namespace));
            }
            what = constrained.then_some("service account");
        }
        // No mode applies to such users; this keeps it so.
        if let Some(what) = what.filter(|_| !wanted.groups.is_empty()) {
            let reason = format!(
                "when impersonating a {what}, cannot impersonate groups {}",
                quote_list(&wanted.groups)
            );
            return Err(forbidden(&question, &reason));
        }
        asker.ask(self.kind, &question).await?;
        Ok(groups)
    }

    async fn authorize_groups(
        &self,
        asker: &Asker<'_>,
        groups: &[String],
        requestor: &UserInfo,
    ) -> Result<(), StatusError> {
        let constrained = self.kind != Kind::Legacy;
        let question = |name: &str| self.question(requestor, constrained, "groups", name);
        if constrained {
            if groups.iter().any(String::is_empty) {
                let reason = "impersonating the empty string group is not allowed";
                return Err(forbidden(&question(""), reason));
            }
            if groups.iter().any(|group| group == SYSTEM_PRIVILEGED_GROUP) {
                let reason = "impersonating the system:masters group is not allowed";
                return Err(forbidden(&question(SYSTEM_PRIVILEGED_GROUP), reason));
            }
            if groups.len() >= MANY && asker.ask(self.kind, &question("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            asker.ask(self.kind, &question(group)).await?;
        }
        Ok(())
    }

    async fn authorize_extra(
        &self,
        asker: &Asker<'_>,
        extra: &BTreeMap<String, Vec<String>>,
        requestor: &UserInfo,
    ) -> Result<(), StatusError> {
        let question = |key: &str, value: &str| Attributes {
            subresource: key.to_owned(),
            ..self.question(requestor, true, "userextras", value)
        };
        if self.kind != Kind::Legacy {
            if let Err(reason) = validate_extra(extra) {
                return Err(forbidden(&question("", ""), &reason));
            }
            let values: usize = extra.values().map(Vec::len).sum();
            if values >= MANY && asker.ask(self.kind, &question("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                asker.ask(self.kind, &question(key, value)).await?;
            }
        }
        Ok(())
    }

    /// May the caller be this? Names and groups are in the core group in the old mode, and everything else in `authentication.k8s.io`.
    fn question(
        &self,
        requestor: &UserInfo,
        authentication_group: bool,
        resource: &str,
        name: &str,
    ) -> Attributes {
        let group = if authentication_group {
            "authentication.k8s.io"
        } else {
            ""
        };
        Attributes {
            user: requestor.clone(),
            verb: self.kind.verb().to_owned(),
            api_group: group.to_owned(),
            api_version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        }
    }
}

/// The request without what tells from which node it came: the caller's extra is only known by its keys. So the answer is the same
/// for all pods of a DaemonSet.
fn on_any_node(attributes: &Attributes) -> Attributes {
    let mut attributes = attributes.clone();
    let keys = attributes.user.extra.into_keys().collect();
    attributes.user.extra = BTreeMap::from([(ASSOCIATED_NODE_KEYS.to_owned(), keys)]);
    attributes
}

/// What constrained modes accept as extra.
fn validate_extra(extra: &BTreeMap<String, Vec<String>>) -> Result<(), Cow<'static, str>> {
    let path = Path::new("extra").child("key");
    for (key, values) in extra {
        if key.is_empty() {
            return Err("impersonating the empty string key in extra is not allowed".into());
        }
        if let Some(problems) = is_domain_prefixed_path(&path, key).aggregate() {
            let text = format!("impersonating an invalid key in extra is not allowed: {problems}");
            return Err(text.into());
        }
        if key.chars().any(|c| !c.to_lowercase().eq([c])) {
            let key = quote(key);
            let text = format!("impersonating a non-lowercase key in extra is not allowed: {key}");
            return Err(text.into());
        }
        if values.is_empty() {
            return Err("impersonating empty values in extra is not allowed".into());
        }
        if values.iter().any(String::is_empty) {
            return Err("impersonating the empty string value in extra is not allowed".into());
        }
    }
    Ok(())
}

//! Authentication and authorization that ask the apiserver: what the ports of the scheduler, the controller manager and
//! the kubelet use. Upstream: k8s.io/apiserver/pkg/server/options/{authentication,authorization}.go,
//! pkg/authentication/authenticatorfactory, plugin/pkg/authorizer/webhook.
//!
//! Which client CA and which front proxy count is read from files, or else from the ConfigMap
//! kube-system/extension-apiserver-authentication, which the apiserver writes; it is followed while it changes.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_types::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, NonResourceAttributes, ResourceAttributes,
    SubjectAccessReview,
};
use api_types::core::v1::ConfigMap;
use api_types::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use apimachinery::{fields, labels};
use client::{Client, ClientConfig, DeletedObject, EventHandler, ListScope, SharedInformer};
use tokio_util::sync::CancellationToken;

use super::combine::{AllowedPaths, PrivilegedGroups, UnionAuthenticator, UnionAuthorizer};
use super::expiring_cache::ExpiringCache;
use super::request_header::{RequestHeaderAuthenticator, RequestHeaderConfig};
use super::token::{BearerToken, CachedTokens, TokenReviewer};
use super::x509::{CLIENT_CA, CaBundle, CertificateAuthenticator, REQUEST_HEADER_CA};
use super::{
    Attributes, Authenticator, AuthorizeError, Authorizer, BoxFuture, Decision,
    SYSTEM_PRIVILEGED_GROUP,
};
use crate::Error;
use crate::flags::Flags;
use crate::metrics::Metrics;

const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
/// Verdicts on requests that are larger than this are not remembered: a caller could fill the cache.
const MAX_CACHED_ATTRIBUTES: usize = 10_000;
/// What is said of an answer that contradicts itself.
pub const BOTH: &str = "webhook subject access review returned both allow and deny response";

/// What the authentication flags say.
#[derive(Clone, Debug)]
pub struct DelegatedAuthentication {
    /// Whom to ask about tokens. Without it the pod's service account, and without that nobody is asked.
    pub kubeconfig: Option<PathBuf>,
    /// Do not read the ConfigMap.
    pub skip_lookup: bool,
    /// Start although the ConfigMap cannot be read.
    pub tolerate_lookup_failure: bool,
    pub cache_ttl: Duration,
    pub client_ca_file: Option<PathBuf>,
    pub request_header_ca_file: Option<PathBuf>,
    pub request_header: RequestHeaderConfig,
}

impl DelegatedAuthentication {
    /// Reads the flags of [`crate::flags::common::DELEGATED_AUTHENTICATION`] and
    /// `--authentication-tolerate-lookup-failure`.
    pub fn from_flags(flags: &Flags) -> Self {
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        Self {
            kubeconfig: path("authentication-kubeconfig"),
            skip_lookup: flags.bool("authentication-skip-lookup"),
            tolerate_lookup_failure: flags.bool("authentication-tolerate-lookup-failure"),
            cache_ttl: flags.duration("authentication-token-webhook-cache-ttl"),
            client_ca_file: path("client-ca-file"),
            request_header_ca_file: path("requestheader-client-ca-file"),
            request_header: request_header_from_flags(flags),
        }
    }

    /// Reads files, asks for the ConfigMap once and follows it until `stop`.
    pub async fn build(
        self,
        user_agent: &str,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Result<AuthenticationParts, Error> {
        let client = client_for(
            self.kubeconfig.as_deref(),
            user_agent,
            "authentication",
            None,
        )?;
        let client_ca = match &self.client_ca_file {
            Some(file) => CaBundle::from_file(CLIENT_CA, file, stop)
                .map_err(|error| format!("unable to load client CA provider: {error}"))?,
            None => CaBundle::default(),
        };
        let front_proxy_ca = match &self.request_header_ca_file {
            Some(file) => CaBundle::from_file(REQUEST_HEADER_CA, file, stop).map_err(|error| {
                format!("unable to create request header authentication config: {error}")
            })?,
            None => CaBundle::default(),
        };
        let request_header = RequestHeaderAuthenticator::new(front_proxy_ca, self.request_header);
        let look_up = Lookup {
            client_ca: self.client_ca_file.is_none().then(|| client_ca.clone()),
            request_header: self
                .request_header_ca_file
                .is_none()
                .then(|| request_header.clone()),
        };
        if !self.skip_lookup && (look_up.client_ca.is_some() || look_up.request_header.is_some()) {
            match &client {
                Some(client) => {
                    look_up
                        .start(client, self.tolerate_lookup_failure, stop)
                        .await?
                }
                None => tracing::warn!(
                    "No authentication-kubeconfig provided in order to lookup client-ca-file and requestheader-client-ca-file in configmap/{CONFIG_MAP} in {NAMESPACE}, so client certificate authentication won't work."
                ),
            }
        }
        let mut authenticators: Vec<Arc<dyn Authenticator>> = vec![
            Arc::new(request_header.clone()),
            Arc::new(CertificateAuthenticator::with_metrics(client_ca, metrics)),
        ];
        if let Some(client) = client {
            let reviewer = TokenReviewer::new(client, Duration::from_secs(10), Vec::new());
            let cached = CachedTokens::new(Arc::new(reviewer), self.cache_ttl, self.cache_ttl);
            authenticators.push(Arc::new(BearerToken::new(Arc::new(cached))));
        }
        let authenticator = Arc::new(UnionAuthenticator {
            authenticators,
            anonymous: true.into(),
        });
        Ok(AuthenticationParts {
            authenticator,
            request_header,
        })
    }
}

/// The flags that say which headers of a front proxy count.
pub fn request_header_from_flags(flags: &Flags) -> RequestHeaderConfig {
    let list = |name: &str| flags.strings(name).to_vec();
    RequestHeaderConfig {
        username_headers: list("requestheader-username-headers"),
        uid_headers: list("requestheader-uid-headers"),
        group_headers: list("requestheader-group-headers"),
        extra_header_prefixes: list("requestheader-extra-headers-prefix"),
        allowed_names: list("requestheader-allowed-names"),
    }
}

/// What is wrong with those flags, in upstream's words and order.
pub fn validate_request_header_flags(flags: &Flags) -> Vec<String> {
    let mut errors = Vec::new();
    for name in [
        "requestheader-username-headers",
        "requestheader-group-headers",
        "requestheader-extra-headers-prefix",
        "requestheader-allowed-names",
        "requestheader-uid-headers",
    ] {
        if flags
            .strings(name)
            .iter()
            .any(|value| value.trim().is_empty())
        {
            errors.push(format!("empty value in \"{name}\""));
        }
    }
    let uid = flags.strings("requestheader-uid-headers");
    if !uid.is_empty()
        && !uid
            .iter()
            .any(|name| name.eq_ignore_ascii_case("X-Remote-Uid"))
    {
        errors.push("--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work".to_owned());
    }
    errors
}

/// What [`DelegatedAuthentication::build`] made.
#[derive(Clone)]
pub struct AuthenticationParts {
    pub authenticator: Arc<dyn Authenticator>,
    /// Also says which headers a request must lose once its caller is known.
    pub request_header: RequestHeaderAuthenticator,
}

/// What the ConfigMap fills in.
#[derive(Clone)]
struct Lookup {
    client_ca: Option<CaBundle>,
    request_header: Option<RequestHeaderAuthenticator>,
}

impl Lookup {
    async fn start(
        self,
        client: &Client,
        tolerate: bool,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let first = client
            .namespaced::<ConfigMap>(NAMESPACE)
            .get(CONFIG_MAP)
            .await;
        match first {
            Ok(config_map) => self.apply(&config_map),
            Err(error) if tolerate => {
                tracing::warn!("Error looking up in-cluster authentication configuration: {error}");
                tracing::warn!(
                    "Continuing without authentication configuration. This may treat all requests as anonymous."
                );
                tracing::warn!(
                    "To require authentication configuration lookup to succeed, set --authentication-tolerate-lookup-failure=false"
                );
            }
            Err(error) => {
                return Err(format!(
                    "unable to load configmap based request-header-client-ca-file: {error}"
                )
                .into());
            }
        }
        let scope = ListScope {
            field_selector: format!("metadata.name={CONFIG_MAP}"),
            ..ListScope::namespace(NAMESPACE)
        };
        let informer =
            SharedInformer::<ConfigMap>::new(client, scope, Duration::from_secs(12 * 3600));
        informer.add_handler(Arc::new(self));
        let stop = stop.clone();
        tokio::spawn(async move { informer.run(stop).await });
        Ok(())
    }

    fn apply(&self, config_map: &ConfigMap) {
        let text = |key: &str| {
            config_map
                .data
                .get(key)
                .map(String::as_str)
                .unwrap_or_default()
        };
        if let Some(ca) = &self.client_ca {
            set(ca, text("client-ca-file"), "client-ca-file");
        }
        if let Some(front_proxy) = &self.request_header {
            let list = |key: &str| -> Vec<String> {
                let text = text(key);
                if text.is_empty() {
                    return Vec::new();
                }
                serde_json::from_str(text).unwrap_or_else(|error| {
                    tracing::warn!(key, %error, "Ignoring a value of configmap/{CONFIG_MAP} that is not a JSON list");
                    Vec::new()
                })
            };
            front_proxy.set_config(RequestHeaderConfig {
                username_headers: list("requestheader-username-headers"),
                uid_headers: list("requestheader-uid-headers"),
                group_headers: list("requestheader-group-headers"),
                extra_header_prefixes: list("requestheader-extra-headers-prefix"),
                allowed_names: list("requestheader-allowed-names"),
            });
            set(
                front_proxy.ca(),
                text("requestheader-client-ca-file"),
                "requestheader-client-ca-file",
            );
        }
    }
}

fn set(ca: &CaBundle, pem: &str, key: &str) {
    if pem.is_empty() {
        return;
    }
    match ca.set_pem(pem.as_bytes()) {
        Ok(true) => tracing::info!(
            key,
            "Loaded a CA bundle from configmap/{CONFIG_MAP} in {NAMESPACE}"
        ),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(key, %error, "Ignoring a CA bundle of configmap/{CONFIG_MAP} in {NAMESPACE}")
        }
    }
}

impl EventHandler<ConfigMap> for Lookup {
    fn on_add(&self, object: &Arc<ConfigMap>, _: bool) {
        self.apply(object);
    }

    fn on_update(&self, _: &Arc<ConfigMap>, new: &Arc<ConfigMap>) {
        self.apply(new);
    }

    fn on_delete(&self, _: DeletedObject<ConfigMap>) {
        // What was trusted stays trusted, as upstream keeps it.
    }
}

/// What the authorization flags say.
#[derive(Clone, Debug)]
pub struct DelegatedAuthorization {
    /// Whom to ask. Without it the pod's service account, and without that only paths and groups below are allowed.
    pub kubeconfig: Option<PathBuf>,
    pub always_allow_paths: Vec<String>,
    pub always_allow_groups: Vec<String>,
    pub allow_cache_ttl: Duration,
    pub deny_cache_ttl: Duration,
}

impl DelegatedAuthorization {
    /// Reads the flags of [`crate::flags::common::DELEGATED_AUTHORIZATION`].
    pub fn from_flags(flags: &Flags) -> Self {
        Self {
            kubeconfig: flags
                .non_empty("authorization-kubeconfig")
                .map(PathBuf::from),
            always_allow_paths: flags.strings("authorization-always-allow-paths").to_vec(),
            always_allow_groups: vec![SYSTEM_PRIVILEGED_GROUP.to_owned()],
            allow_cache_ttl: flags.duration("authorization-webhook-cache-authorized-ttl"),
            deny_cache_ttl: flags.duration("authorization-webhook-cache-unauthorized-ttl"),
        }
    }

    pub fn build(self, user_agent: &str) -> Result<Arc<dyn Authorizer>, Error> {
        let mut authorizers: Vec<Arc<dyn Authorizer>> = vec![
            Arc::new(PrivilegedGroups(self.always_allow_groups)),
            Arc::new(AllowedPaths::new(&self.always_allow_paths)?),
        ];
        let timeout = Some(Duration::from_secs(10));
        match client_for(
            self.kubeconfig.as_deref(),
            user_agent,
            "authorization",
            timeout,
        )? {
            Some(client) => {
                authorizers.push(Arc::new(AccessReviewer::new(
                    client,
                    self.allow_cache_ttl,
                    self.deny_cache_ttl,
                )));
            }
            None => tracing::warn!(
                "No authorization-kubeconfig provided, so SubjectAccessReview of authorization tokens won't work."
            ),
        }
        Ok(Arc::new(UnionAuthorizer { authorizers }))
    }
}

/// A client for questions about requests; its rate limit is high, since it limits this daemon's own port.
fn client_for(
    kubeconfig: Option<&Path>,
    user_agent: &str,
    purpose: &str,
    timeout: Option<Duration>,
) -> Result<Option<Client>, Error> {
    let config = match kubeconfig {
        Some(path) => ClientConfig::from_kubeconfig(path)
            .map_err(|error| format!("failed to get delegated {purpose} kubeconfig: {error}"))?,
        None => match ClientConfig::in_cluster() {
            Ok(config) => config,
            Err(_) => return Ok(None),
        },
    };
    let mut config = config
        .with_user_agent(user_agent)
        .with_qps(200.0)
        .with_burst(400);
    if let Some(timeout) = timeout {
        config = config.with_timeout(timeout);
    }
    Ok(Some(Client::new(config)?))
}

/// Asks the apiserver whether a request may go on, and remembers the verdict for a while.
pub struct AccessReviewer {
    client: Client,
    allowed_for: Duration,
    denied_for: Duration,
    cache: ExpiringCache<String, Decision>,
}

impl AccessReviewer {
    pub fn new(client: Client, allowed_for: Duration, denied_for: Duration) -> Self {
        Self {
            client,
            allowed_for,
            denied_for,
            cache: ExpiringCache::new(8192),
        }
    }

    async fn ask(
        &self,
        review: &SubjectAccessReview,
    ) -> Result<(Decision, Duration), AuthorizeError> {
        let api = self.client.api::<SubjectAccessReview>();
        let answer = with_backoff(|| api.create(review)).await.map_err(|error| {
            tracing::error!("Failed to make webhook authorizer request: {error}");
            AuthorizeError::new(error.to_string())
        })?;
        let status = answer.status;
        match (status.denied, status.allowed) {
            (false, true) => Ok((Decision::Allow(status.reason), self.allowed_for)),
            (false, false) => Ok((Decision::NoOpinion(status.reason), self.denied_for)),
            (true, false) => Ok((Decision::Deny(status.reason), self.denied_for)),
            (true, true) => Err(AuthorizeError {
                reason: status.reason,
                ..AuthorizeError::denied(BOTH)
            }),
        }
    }
}

impl Authorizer for AccessReviewer {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(async move {
            let review = review_of(attributes);
            if !may_be_remembered(attributes) {
                return Ok(self.ask(&review).await?.0);
            }
            // The whole question is the key, so that no two questions can share an answer.
            let key = String::from_utf8_lossy(&api_types::encode_json(&review)).into_owned();
            self.cache.get_or_fetch(&key, || self.ask(&review)).await
        })
    }
}

/// Whether what the caller has in hand is small enough.
pub fn may_be_remembered(attributes: &Attributes) -> bool {
    let texts = [
        &attributes.namespace,
        &attributes.verb,
        &attributes.api_group,
        &attributes.api_version,
        &attributes.resource,
        &attributes.subresource,
        &attributes.name,
        &attributes.path,
    ];
    texts.iter().map(|text| text.len()).sum::<usize>() < MAX_CACHED_ATTRIBUTES
}

/// The question as the API has it.
pub fn review_of(attributes: &Attributes) -> SubjectAccessReview {
    let mut review = SubjectAccessReview::default();
    let spec = &mut review.spec;
    spec.user = attributes.user.name.clone();
    spec.uid = attributes.user.uid.clone();
    spec.groups = attributes.user.groups.clone();
    spec.extra = attributes.user.extra.clone();
    if !attributes.resource_request {
        spec.non_resource_attributes = Some(Box::new(NonResourceAttributes {
            path: attributes.path.clone(),
            verb: attributes.verb.clone(),
        }));
        return review;
    }
    let mut resource = ResourceAttributes {
        namespace: attributes.namespace.clone(),
        verb: attributes.verb.clone(),
        group: attributes.api_group.clone(),
        version: attributes.api_version.clone(),
        resource: attributes.resource.clone(),
        subresource: attributes.subresource.clone(),
        name: attributes.name.clone(),
        ..ResourceAttributes::default()
    };
    let fields = field_requirements(&attributes.field_selector);
    if !fields.is_empty() {
        let selector = FieldSelectorAttributes {
            requirements: fields,
            ..FieldSelectorAttributes::default()
        };
        resource.field_selector = Some(Box::new(selector));
    }
    let labels = label_requirements(&attributes.label_selector);
    if !labels.is_empty() {
        let selector = LabelSelectorAttributes {
            requirements: labels,
            ..LabelSelectorAttributes::default()
        };
        resource.label_selector = Some(Box::new(selector));
    }
    spec.resource_attributes = Some(Box::new(resource));
    review
}

fn field_requirements(requirements: &[fields::Requirement]) -> Vec<FieldSelectorRequirement> {
    requirements
        .iter()
        .map(|requirement| FieldSelectorRequirement {
            key: requirement.field.clone(),
            operator: if requirement.operator == fields::Operator::NotEquals {
                "NotIn"
            } else {
                "In"
            }
            .to_owned(),
            values: vec![requirement.value.clone()],
        })
        .collect()
}

fn label_requirements(requirements: &[labels::Requirement]) -> Vec<LabelSelectorRequirement> {
    use apimachinery::labels::Operator;
    requirements
        .iter()
        .filter_map(|requirement| {
            let operator = match requirement.operator() {
                Operator::Equals | Operator::DoubleEquals | Operator::In => "In",
                Operator::NotEquals | Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                _ => return None,
            };
            Some(LabelSelectorRequirement {
                key: requirement.key().to_owned(),
                operator: operator.to_owned(),
                values: requirement.values().to_vec(),
            })
        })
        .collect()
}

/// Repeats a question that failed for a reason that passes: 5 times, from half a second on.
pub(super) async fn with_backoff<T, F, Fut>(mut ask: F) -> Result<T, client::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, client::Error>>,
{
    let mut wait = Duration::from_millis(500);
    for _ in 1..5 {
        match ask().await {
            Err(error)
                if error.is_connection()
                    || error.is_internal_error()
                    || error.is_timeout()
                    || error.is_server_timeout()
                    || error.is_too_many_requests() =>
            {
                tokio::time::sleep(error.retry_after().unwrap_or(wait)).await;
                wait = wait.mul_f64(1.5);
            }
            done => return done,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let mut attributes = Attributes {
            path: "/metrics".to_owned(),
            verb: "get".to_owned(),
            ..Attributes::default()
        };
        attributes.user.name = "bob".to_owned();
        let review = review_of(&attributes);
        assert_eq!(review.spec.user, "bob");
        let path = review.spec.non_resource_attributes.unwrap();
        assert_eq!(
            (path.path.as_str(), path.verb.as_str()),
            ("/metrics", "get")
        );
        assert!(review.spec.resource_attributes.is_none());

        attributes.resource_request = true;
        attributes.resource = "pods".to_owned();
        attributes =
            attributes.with_selectors("spec.nodeName=a,metadata.name!=b", "app in (x,y),!old");
        let resource = review_of(&attributes).spec.resource_attributes.unwrap();
        let fields = resource.field_selector.unwrap().requirements;
        assert_eq!(
            fields
                .iter()
                .map(|f| f.operator.as_str())
                .collect::<Vec<_>>(),
            ["NotIn", "In"]
        );
        let labels = resource.label_selector.unwrap().requirements;
        assert_eq!(labels.len(), 2);
        attributes = attributes.with_selectors("", "((");
        assert!(
            review_of(&attributes)
                .spec
                .resource_attributes
                .unwrap()
                .label_selector
                .is_none()
        );
    }

    #[test]
    fn the_config_map_fills_in_what_files_do_not() {
        let made = crate::serving::generate_self_signed("ca", &[], &[]).unwrap();
        let front_proxy = RequestHeaderAuthenticator::default();
        let lookup = Lookup {
            client_ca: Some(CaBundle::default()),
            request_header: Some(front_proxy.clone()),
        };
        let mut config_map = ConfigMap::default();
        for (key, value) in [
            ("client-ca-file", made.certificate_pem.as_str()),
            (
                "requestheader-client-ca-file",
                made.certificate_pem.as_str(),
            ),
            ("requestheader-username-headers", "[\"X-Remote-User\"]"),
            ("requestheader-allowed-names", "[\"front-proxy-client\"]"),
            ("requestheader-group-headers", "no json"),
        ] {
            config_map.data.insert(key.to_owned(), value.to_owned());
        }
        lookup.apply(&config_map);
        assert!(!lookup.client_ca.as_ref().unwrap().is_empty());
        assert!(!front_proxy.ca().is_empty());
        let config = front_proxy.config();
        assert_eq!(config.username_headers, ["X-Remote-User"]);
        assert_eq!(config.allowed_names, ["front-proxy-client"]);
        assert!(config.group_headers.is_empty());
        // A broken bundle does not replace a good one.
        config_map
            .data
            .insert("client-ca-file".to_owned(), "nonsense".to_owned());
        lookup.apply(&config_map);
        assert!(!lookup.client_ca.as_ref().unwrap().is_empty());
    }
}

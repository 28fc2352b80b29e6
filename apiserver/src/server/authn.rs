//! Who is asking: the authenticators and authorizers of this server, and impersonation.
//! Upstream: pkg/kubeapiserver/authenticator and endpoints/filters/impersonation.go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource as ApiResource;
use api_types::core::v1::{PersistentVolume, Secret};
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use api_types::resource::v1::ResourceSlice;
use api_types::storage::v1::VolumeAttachment;
use apimachinery::os_error;
use apimachinery::status::{self, StatusError};
use component_base::auth::combine::UnionAuthenticator;
use component_base::auth::request_header::RequestHeaderAuthenticator;
use component_base::auth::x509::{
    CLIENT_CA, CaBundle, CertificateAuthenticator, REQUEST_HEADER_CA,
};
use component_base::auth::{
    ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, Attributes, Authenticator, Authorizer,
    BoxFuture, Decision, UserInfo, delegated,
};
use component_base::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::authorization;
use crate::authn::{
    BootstrapTokens, BoundTokens, LegacyTokens, SubjectState, TokenAuthenticator, TokenFile,
    TokenIssuer, TokenSubjects, Tokens, WebhookTokens, jws, oidc,
};
use crate::authz::node::{Graph, Kind, NodeAuthorizer, feed};
use crate::authz::rbac::Rbac;
use crate::authz::{self, Mode, Union};
use crate::config::Config;
use crate::registry::follow::{Change, follow};
use crate::registry::object::Object;
use crate::registry::table::Resources;
use crate::request::context::RequestContext;

/// The authenticators of a server.
pub struct Parts {
    pub authenticator: Arc<dyn Authenticator>,
    pub request_header: Option<RequestHeaderAuthenticator>,
    pub tokens: TokenService,
}

/// Issuing and judging tokens on behalf of others: TokenRequest, TokenReview, the issuer's documents.
#[derive(Clone)]
pub struct TokenService {
    pub judge: Arc<Tokens>,
    /// None without a signing key.
    pub issuer: Option<Arc<TokenIssuer>>,
    /// Audiences of this server's own tokens.
    pub api_audiences: Vec<String>,
    pub max_expiration: Duration,
    /// Tokens of pods live longer than asked, so that clients that do not reload them keep working.
    pub extend_expiration: bool,
}

fn read(path: &str) -> Result<Vec<u8>, component_base::Error> {
    std::fs::read(path).map_err(|error| os_error::on_reading(Path::new(path), &error).into())
}

/// Request header, client certificate, tokens, then anonymous.
pub fn build(
    config: &Config,
    resources: &Arc<Resources>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Parts, component_base::Error> {
    let flags = &config.flags;
    let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
    let mut request_header = None;
    if let Some(file) = flags.non_empty("requestheader-client-ca-file") {
        let ca = CaBundle::from_file(REQUEST_HEADER_CA, Path::new(file), stop)?;
        let authenticator =
            RequestHeaderAuthenticator::new(ca, delegated::request_header_from_flags(flags));
        authenticators.push(Arc::new(authenticator.clone()));
        request_header = Some(authenticator);
    }
    if let Some(file) = flags.non_empty("client-ca-file") {
        let ca = CaBundle::from_file(CLIENT_CA, Path::new(file), stop)?;
        authenticators.push(Arc::new(CertificateAuthenticator::with_metrics(
            ca, metrics,
        )));
    }
    let tokens = build_tokens(config, resources, metrics, stop)?;
    authenticators.push(tokens.judge.clone());
    let authenticator = UnionAuthenticator {
        authenticators,
        anonymous: config.authentication.anonymous.clone(),
    };
    Ok(Parts {
        authenticator: Arc::new(authenticator),
        request_header,
        tokens,
    })
}

fn build_tokens(
    config: &Config,
    resources: &Arc<Resources>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<TokenService, component_base::Error> {
    let flags = &config.flags;
    let mut judges: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(path) = flags.non_empty("token-auth-file") {
        let text = String::from_utf8(read(path)?)?;
        let file =
            TokenFile::parse(&text).map_err(|error| format!("token file '{path}' {error}"))?;
        judges.push(Arc::new(file));
    }
    let mut keys = Vec::new();
    for path in flags.strings("service-account-key-file") {
        let found = jws::read_public_keys(&read(path)?)
            .map_err(|error| format!("error reading public key file {path}: {error}"))?;
        keys.extend(found);
    }
    let signing_key = match flags.non_empty("service-account-signing-key-file") {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let issuers = flags.strings("service-account-issuer").to_vec();
    let mut api_audiences = flags.strings("api-audiences").to_vec();
    if api_audiences.is_empty() {
        api_audiences.clone_from(&issuers);
    }
    let subjects: Arc<dyn TokenSubjects> = Arc::new(StoredSubjects {
        resources: resources.clone(),
    });
    let lookup = flags
        .bool("service-account-lookup")
        .then(|| subjects.clone());
    if !keys.is_empty() {
        judges.push(Arc::new(LegacyTokens::new(
            keys.clone(),
            api_audiences.clone(),
            lookup.clone(),
        )));
        if !issuers.is_empty() {
            judges.push(Arc::new(BoundTokens::new(
                issuers.clone(),
                keys.clone(),
                api_audiences.clone(),
                lookup,
            )));
        }
    }
    if flags.bool("enable-bootstrap-token-auth") {
        judges.push(Arc::new(BootstrapTokens::new(subjects)));
    }
    // After service accounts: an issuer may be asked for its keys on account of a token that is not its.
    judges.extend(jwt_authenticators(
        config,
        &issuers,
        &api_audiences,
        metrics,
        stop,
    )?);
    if let Some(path) = flags.non_empty("authentication-token-webhook-config-file") {
        judges.push(Arc::new(WebhookTokens::new(
            Path::new(path),
            flags.string("authentication-token-webhook-version"),
            flags.duration("authentication-token-webhook-cache-ttl"),
            api_audiences.clone(),
        )?));
    }
    let issuer = match (issuers.first(), signing_key) {
        (Some(issuer), Some(key)) => Some(Arc::new(TokenIssuer::new(issuer, &key, keys)?)),
        _ => None,
    };
    Ok(TokenService {
        judge: Arc::new(Tokens::new(judges, metrics)),
        issuer,
        api_audiences,
        max_expiration: flags.duration("service-account-max-token-expiration"),
        extend_expiration: flags.bool("service-account-extend-token-expiration"),
    })
}

/// The authenticators of OpenID Connect issuers, which are followed in the configuration file. Without issuers and without a file
/// there are none.
fn jwt_authenticators(
    config: &Config,
    disallowed_issuers: &[String],
    api_audiences: &[String],
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn TokenAuthenticator>>, component_base::Error> {
    let settings = &config.authentication;
    if settings.file.is_none() && settings.configuration.jwt.is_empty() {
        return Ok(None);
    }
    let server = crate::hooks::identity::name(&config.hostname);
    let common = oidc::Common {
        signing_algorithms: settings.signing_algorithms.clone(),
        disallowed_issuers: disallowed_issuers.to_vec(),
        metrics: oidc::OidcMetrics::new(metrics, &server),
        stop: stop.clone(),
    };
    let authenticators = oidc::JwtAuthenticators::start(&settings.configuration, &common)?;
    let current = Arc::new(oidc::CurrentAuthenticators::new(
        authenticators,
        api_audiences.to_vec(),
    ));
    if let Some((path, text)) = &settings.file {
        let source = oidc::reload::Source {
            path: path.clone(),
            text: text.clone(),
            configuration: settings.configuration.clone(),
        };
        oidc::reload::start(source, current.clone(), common, metrics, &server);
    }
    Ok(Some(current))
}

/// Looks up what tokens are bound to in this server's own storage.
struct StoredSubjects {
    resources: Arc<Resources>,
}

impl StoredSubjects {
    /// The object as the watch cache has it, or a fresh read when the cache does not know it (yet).
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let resource = self.resources.known("", resource)?;
        let storage = resource.storage.as_ref()?;
        let key = storage.key(namespace, name).ok()?;
        let stored = match storage.peek(&key) {
            Some(entry) => entry.object(),
            None => storage.get(&key, "").await.ok()?,
        };
        resource
            .decode_stored(&stored.value, stored.resource_version)
            .ok()
    }

    async fn state(&self, resource: &str, namespace: &str, name: &str) -> Option<SubjectState> {
        let object = self.find(resource, namespace, name).await?;
        let metadata = object.metadata();
        Some(SubjectState {
            uid: metadata.uid.clone(),
            deleted_at: metadata.deletion_timestamp.map(|time| time.timestamp()),
        })
    }
}

impl TokenSubjects for StoredSubjects {
    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("serviceaccounts", namespace, name))
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("pods", namespace, name))
    }

    fn node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("nodes", "", name))
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Arc<Secret>>> {
        Box::pin(async move {
            let object = self.find("secrets", namespace, name).await?;
            object
                .into_value()
                .downcast::<Secret>()
                .ok()
                .map(|secret| Arc::new(*secret))
        })
    }
}

/// The authorizers of `--authorization-mode`, behind the privileged group.
pub fn build_authorizer(
    config: &Config,
    resources: &Arc<Resources>,
    stop: &CancellationToken,
) -> Result<Authorization, component_base::Error> {
    let mut authorizers: Vec<Arc<dyn Authorizer>> = Vec::new();
    let mut rbac = None;
    let modes = authz::parse_modes(config.flags.strings("authorization-mode"))?;
    if modes.is_empty() {
        authorizers.push(Arc::new(authz::AlwaysAllow));
    }
    for mode in modes {
        match mode {
            Mode::AlwaysAllow => authorizers.push(Arc::new(authz::AlwaysAllow)),
            Mode::AlwaysDeny => authorizers.push(Arc::new(authz::AlwaysDeny)),
            Mode::Rbac => {
                let rules = Arc::new(Rbac::default());
                feed_rbac(&rules, resources, stop);
                authorizers.push(rules.clone());
                rbac = Some(rules);
            }
            Mode::Node => {
                let graph = Arc::new(Graph::default());
                feed_graph(&graph, resources, stop);
                authorizers.push(Arc::new(NodeAuthorizer::new(graph)));
            }
            Mode::Abac | Mode::Webhook => return Err("--authorization-mode: ABAC and Webhook are not supported yet; use Node, RBAC, AlwaysAllow or AlwaysDeny".into()),
        }
    }
    Ok(Authorization {
        authorizer: Arc::new(Union::new(authorizers)),
        rbac,
    })
}

/// The authorizers, and the RBAC rules among them for rule reviews.
pub struct Authorization {
    pub authorizer: Arc<dyn Authorizer>,
    pub rbac: Option<Arc<Rbac>>,
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
            &attachment.metadata.name,
            &attachment.spec.node_name,
        ),
        Change::Gone { name, .. } => shared.remove_owned(Kind::VolumeAttachment, &name),
        Change::Synced => {}
    });
    let shared = graph.clone();
    followed::<ResourceSlice>(resources, stop, move |change| match change {
        Change::Set(slice) => shared.set_owned(
            Kind::ResourceSlice,
            &slice.metadata.name,
            slice.spec.node_name.as_deref().unwrap_or_default(),
        ),
        Change::Gone { name, .. } => shared.remove_owned(Kind::ResourceSlice, &name),
        Change::Synced => {}
    });
}

const IMPERSONATE_USER: &str = "impersonate-user";
const IMPERSONATE_GROUP: &str = "impersonate-group";
const IMPERSONATE_UID: &str = "impersonate-uid";
const IMPERSONATE_EXTRA: &str = "impersonate-extra-";

/// Acts as another user when the caller asks for it and may. True when it does.
pub async fn impersonate(
    cx: &mut RequestContext,
    authorizer: &dyn Authorizer,
) -> Result<bool, StatusError> {
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
            return Ok(false);
        }
        let list = |items: &[String]| {
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            quoted.join(", ")
        };
        let shown_groups = if groups.is_empty() {
            "[]string(nil)".to_owned()
        } else {
            format!("[]string{{{}}}", list(&groups))
        };
        let shown_extra = if extras.is_empty() {
            "map[string][]string(nil)".to_owned()
        } else {
            let shown: Vec<String> = extras
                .iter()
                .map(|(key, value)| format!("{key:?}:[]string{{{value:?}}}"))
                .collect();
            format!("map[string][]string{{{}}}", shown.join(", "))
        };
        return Err(status::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:{shown_groups}, Extra:{shown_extra}}} without impersonating a user name"
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
    Ok(true)
}

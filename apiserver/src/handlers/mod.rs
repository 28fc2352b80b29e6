//! What each verb does. Upstream: apiserver/pkg/endpoints/handlers.
//!
//! [`dispatch`] finds the resource and subresource of a request and calls the verb's function; everything else here is
//! one verb or one concern of responses.

/// Request bodies.
pub mod body;
/// DELETE and DELETECOLLECTION.
pub mod delete;
/// Object bytes in every form.
pub mod encode;
/// Writes in tasks of their own.
pub mod finisher;
/// LIST.
pub mod list;
/// Query and delete options.
pub mod options;
/// PATCH.
pub mod patch;
/// Bodies that are not stored.
pub mod post;
/// Responses.
pub mod respond;
/// Selectors.
pub mod select;
/// WATCH.
pub mod watch;
/// Watches and logs as WebSocket messages.
pub mod websocket;
/// CREATE and UPDATE.
pub mod write;
/// YAML.
pub mod yaml;

use std::sync::Arc;

use api_types::resources::SubresourceInfo;
use apimachinery::gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};

use crate::admission;
use crate::registry::errors::{Operation, interpret};
use crate::registry::lifecycle;
use crate::registry::resource::Resource;
use crate::request::context::RequestContext;
use crate::request_metrics::{self, Labels};
use crate::server::ApiServer;
use crate::traces::trace;

/// The resource, or subresource, of a request.
#[derive(Clone)]
pub struct Endpoint {
    pub resource: Arc<Resource>,
    pub subresource: Option<&'static SubresourceInfo>,
}

impl Endpoint {
    pub fn subresource_name(&self) -> &'static str {
        self.subresource.map_or("", |subresource| subresource.name)
    }

    /// Kind of the endpoint's bodies.
    pub fn kind(&self) -> GroupVersionKind {
        let (group, version, kind) = match self.subresource {
            Some(subresource) => (subresource.group, subresource.version, subresource.kind),
            None => (
                self.resource.info.group,
                self.resource.info.version,
                self.resource.info.kind,
            ),
        };
        GroupVersionKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    pub fn gvr(&self) -> GroupVersionResource {
        let info = self.resource.info;
        GroupVersionResource {
            group: info.group.to_owned(),
            version: info.version.to_owned(),
            resource: info.resource.to_owned(),
        }
    }

    /// What admission is told, before there are objects.
    pub fn admission_attributes(
        &self,
        cx: &RequestContext,
        operation: admission::Operation,
        options: admission::Options,
        dry_run: bool,
    ) -> admission::Attributes {
        admission::Attributes {
            operation,
            kind: self.kind(),
            resource: self.gvr(),
            subresource: self.subresource_name().to_owned(),
            namespace: cx.info.namespace.clone(),
            name: cx.info.name.clone(),
            object: None,
            old_object: None,
            options,
            dry_run,
            user: cx.user.clone(),
            warnings: cx.warnings.clone(),
            annotations: cx.annotations.clone(),
            deadline: cx.deadline,
            reinvocation: admission::Reinvocation::default(),
        }
    }
}

/// The server knows no such path under a group version it serves.
pub fn no_such_resource() -> StatusError {
    status::generic_server_response(404, "", &GroupResource::default(), "", "", 0, false)
}

/// The path exists, the method does not.
pub fn method_not_allowed() -> StatusError {
    status::generic_server_response(405, "", &GroupResource::default(), "", "", 0, false)
}

/// Answers a resource request.
pub async fn dispatch(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    body: Body,
    upgrade: crate::connect::Upgrade,
) -> Result<Response, StatusError> {
    let info = &cx.info;
    let mut found = server
        .resources
        .get(&info.api_group, &info.api_version, &info.resource);
    if found.is_none() {
        found = server.custom_resources.wait_for(server, info).await;
    }
    let Some(resource) = found else {
        return Err(no_such_resource());
    };
    // Proxying by verb is long gone: no route has it.
    if info.verb == "proxy" && resource.custom.is_none() {
        return Err(no_such_resource());
    }
    // A namespaced path of a cluster-scoped resource, or a name without its namespace, does not exist.
    let is_namespaces = info.resource == "namespaces" && info.api_group.is_empty();
    if resource.info.namespaced && info.namespace.is_empty() {
        if info.parts.len() > 1 && info.verb != "watch" {
            return Err(no_such_resource());
        }
        // All namespaces can be read at once and not written.
        if resource.has_verb("list") && !matches!(info.verb.as_str(), "list" | "watch") {
            return Err(method_not_allowed());
        }
    }
    if !resource.info.namespaced
        && !info.namespace.is_empty()
        && (!is_namespaces || info.is_within_namespace())
    {
        return Err(no_such_resource());
    }
    // HEAD is for proxies and custom resources.
    let is_custom = resource.custom.is_some();
    if cx.method == http::Method::HEAD && info.subresource != "proxy" && !is_custom {
        return Err(method_not_allowed());
    }
    if info.subresource.is_empty() {
        let endpoint = Endpoint {
            resource: resource.clone(),
            subresource: None,
        };
        if info.parts.len() > 2 && info.verb != "watch" {
            return Err(no_such_resource());
        }
        return main_resource(server, cx, &endpoint, body, upgrade).await;
    }
    let Some(subresource) = resource
        .info
        .subresources
        .iter()
        .find(|row| row.name == info.subresource)
    else {
        if is_custom {
            return Err(status::not_found(&resource.group_resource(), &info.name));
        }
        return Err(no_such_resource());
    };
    let endpoint = Endpoint {
        resource: resource.clone(),
        subresource: Some(subresource),
    };
    Box::pin(crate::subresources::serve(
        server, cx, &endpoint, body, upgrade,
    ))
    .await
}

/// Tells those who ask for what is on its way out.
fn warn_of_deprecation(cx: &RequestContext, resource: &Resource) {
    let (text, removed) = match &resource.custom {
        Some(custom) => {
            let text = custom.version().deprecation.as_deref();
            (text.map(str::to_owned), String::new())
        }
        None => match lifecycle::deprecated(resource.served) {
            Some(row) => (Some(row.warning()), row.removed_release()),
            None => (None, String::new()),
        },
    };
    let Some(text) = text else { return };
    cx.warnings.add(text);
    if cx.audit.is_some() {
        cx.annotations.add("k8s.io/deprecated", "true");
        if !removed.is_empty() {
            cx.annotations.add("k8s.io/removed-release", &*removed);
        }
    }
    if let Some(measurement) = cx.measured.get() {
        measurement.deprecated(removed);
    }
}

/// Begins to count a request that has a route, and warns of one that is deprecated. What upstream's router refuses gets neither.
pub fn begin(server: &ApiServer, cx: &RequestContext, endpoint: &Endpoint) {
    let (info, resource) = (&cx.info, &endpoint.resource.info);
    let reads = matches!(cx.method, http::Method::GET | http::Method::HEAD);
    let (scope, sized) = if endpoint.resource.custom.is_some() {
        let sized = matches!(info.verb.as_str(), "get" | "list");
        (request_metrics::scope_of(info), sized)
    } else {
        let scope = if info.parts.len() > 1 || info.verb == "create" {
            "resource"
        } else if resource.namespaced && !info.namespace.is_empty() {
            "namespace"
        } else {
            "cluster"
        };
        let connects = matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "portforward" | "proxy"
        );
        (scope, reads && !connects && !info.verb_via_path_prefix)
    };
    let labels = Labels {
        verb: "",
        group: resource.group,
        version: resource.version,
        resource: resource.resource,
        subresource: endpoint.subresource_name(),
        scope,
        component: request_metrics::API_SERVER,
    };
    server.request_metrics.begin(cx, &labels, sized);
    warn_of_deprecation(cx, &endpoint.resource);
}

async fn main_resource(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
    upgrade: crate::connect::Upgrade,
) -> Result<Response, StatusError> {
    let resource = &endpoint.resource;
    let verb = cx.info.verb.as_str();
    let has_path_name = cx.info.parts.len() > 1;
    // Objects that are only created have no path of their own.
    let named = ["get", "update", "patch", "delete"];
    if has_path_name && !named.iter().any(|verb| resource.has_verb(verb)) {
        return Err(no_such_resource());
    }
    // POST to a name, PUT to a collection: the path exists, the method does not.
    let misplaced = match verb {
        "create" => has_path_name,
        "update" | "patch" => !has_path_name,
        _ => false,
    };
    if resource.custom.is_some() {
        // Custom resources have no router that knows their paths and methods.
        if !resource.has_verb(verb) {
            return Err(status::method_not_supported(
                &resource.group_resource(),
                verb,
            ));
        }
        if misplaced && verb != "create" {
            return Err(status::bad_request("name must be provided"));
        }
    } else if misplaced || !resource.has_verb(verb) {
        return Err(method_not_allowed());
    }
    if resource.custom.is_none() {
        let reads_many = matches!(verb, "list" | "watch");
        let watched = reads_many && resource.has_verb("watch");
        let available = if watched {
            respond::WATCHED
        } else {
            respond::OBJECTS
        };
        respond::check_accept(cx, available)?;
    }
    if verb == "patch" {
        patch::PatchType::of(cx, resource)?;
    }
    // Requests that upstream's router refuses end before this.
    begin(server, cx, endpoint);
    let _span = trace::of_request(cx);
    if resource.storage.is_none() {
        return Box::pin(crate::virtual_resources::serve(server, cx, endpoint, body)).await;
    }
    match verb {
        "get" => get(cx, endpoint).await,
        "list" => list::list(cx, resource).await,
        "watch" => {
            watch::watch(
                cx,
                resource,
                server.config.min_request_timeout,
                server,
                upgrade,
            )
            .await
        }
        "create" => write::create(server, cx, endpoint, body).await,
        "update" => Box::pin(write::update(server, cx, endpoint, body)).await,
        "patch" => Box::pin(patch::patch(server, cx, endpoint, body)).await,
        "delete" => Box::pin(delete::delete(server, cx, endpoint, body)).await,
        "deletecollection" => Box::pin(delete::delete_collection(server, cx, endpoint, body)).await,
        _ => Err(method_not_allowed()),
    }
}

/// GET of one object, straight from storage.
pub async fn get(cx: &RequestContext, endpoint: &Endpoint) -> Result<Response, StatusError> {
    let resource = &endpoint.resource;
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    if cx.query.optional_bool("export") == Some(true) {
        return Err(status::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    trace::step("About to Get from storage");
    let object = read(
        resource,
        &cx.info.namespace,
        &cx.info.name,
        cx.query.first("resourceVersion").unwrap_or_default(),
    )
    .await?;
    respond::written(cx, || respond::stored(cx, resource, media, &object))
}

/// Reads one stored object.
pub async fn read(
    resource: &Resource,
    namespace: &str,
    name: &str,
    resource_version: &str,
) -> Result<crate::storage::Object, StatusError> {
    let storage = resource.storage()?;
    let namespace = if resource.info.namespaced {
        namespace
    } else {
        ""
    };
    let failed = |error| interpret(error, Operation::Get, &resource.group_resource(), name);
    let key = storage.key(namespace, name).map_err(failed)?;
    storage.get(&key, resource_version).await.map_err(failed)
}

pub use patch::patch as patch_object;
pub use write::{create as create_object, update as update_object};

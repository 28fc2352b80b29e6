//! What this server serves, in every form clients ask for: the group lists, the resource lists, aggregated discovery.
//! Upstream: endpoints/discovery and endpoints/discovery/aggregated.
//!
//! Documents are made when the set of resources changes, not per request.

/// OpenAPI documents.
pub mod openapi;
/// What APIServices say about groups.
pub mod registered;

use std::sync::Arc;

use api_types::apidiscovery::v2 as aggregated;
use api_types::meta::v1 as meta;
use api_types::resources::{ResourceInfo, SubresourceInfo};
use arc_swap::ArcSwap;
use base64::Engine;
use component_base::metrics::{Counter, Metrics, Opts};
use component_base::serving::{self, Response};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::apis::gates;
use crate::config::Config;
use crate::handlers::{encode, respond};
use crate::negotiation::{self, Encoding, MediaType};
use crate::peers::PeerProxy;
use crate::registry::resource::Resource;
use crate::registry::table::Resources;
use crate::request::context::RequestContext;
use crate::request_metrics::{self, Labels};
use crate::server::ApiServer;
use registered::{Own, Registered};

/// The documents of one state of the server.
struct Documents {
    groups: Vec<meta::APIGroup>,
    /// By group and version.
    resources: Vec<((String, String), meta::APIResourceList)>,
    api: aggregated::APIGroupDiscoveryList,
    api_etag: HeaderValue,
    apis: aggregated::APIGroupDiscoveryList,
    apis_etag: HeaderValue,
    /// What all servers of the cluster have below `/apis`, when their requests are passed on to each other.
    all_apis: Option<(aggregated::APIGroupDiscoveryList, HeaderValue)>,
}

/// Discovery of built-in resources.
pub struct Discovery {
    documents: ArcSwap<Documents>,
    /// All APIServices; locked while documents are made.
    registered: Mutex<Vec<Registered>>,
    /// Where clients reach this server, for /api and legacy lists.
    server_address: String,
    pub openapi: openapi::OpenApi,
    peers: Option<Arc<PeerProxy>>,
    /// How often the documents were made.
    made: Counter,
}

const AGGREGATED_JSON: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl Discovery {
    pub(crate) fn new(
        resources: &Resources,
        config: &Config,
        peers: Option<Arc<PeerProxy>>,
        metrics: &Metrics,
    ) -> Discovery {
        let server_address = match config.advertise_address {
            std::net::IpAddr::V4(ip) => format!("{ip}:{}", config.serving.bind_port),
            std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", config.serving.bind_port),
        };
        let mut documents = documents(&listed(resources), &[]);
        documents.add_peers(peers.as_deref());
        Discovery {
            documents: ArcSwap::from_pointee(documents),
            peers,
            made: metrics.counter(Opts::new(
                "aggregator_discovery_aggregation_count_total",
                "Counter of number of times discovery was aggregated",
            )),
            registered: Mutex::default(),
            server_address,
            openapi: openapi::OpenApi::new(
                resources.built_in().iter().map(|resource| resource.info),
            ),
        }
    }

    /// Makes the documents anew.
    pub fn update(&self, resources: &Resources) {
        let registered = self.registered.lock();
        if let Some(peers) = &self.peers {
            peers.exclude(defined(resources, &registered));
        }
        let mut documents = documents(&listed(resources), &registered);
        documents.add_peers(self.peers.as_deref());
        self.made.inc();
        self.documents.store(Arc::new(documents));
    }

    /// Takes note of all APIServices there are, and makes the documents anew.
    pub fn register(&self, registered: Vec<Registered>, resources: &Resources) {
        *self.registered.lock() = registered;
        self.update(resources);
    }

    /// Paths of the index.
    pub fn paths(&self) -> Vec<String> {
        let documents = self.documents.load();
        let mut paths = vec![
            "/api".to_owned(),
            "/api/v1".to_owned(),
            "/apis".to_owned(),
            "/apis/".to_owned(),
        ];
        for group in &documents.groups {
            paths.push(format!("/apis/{}", group.name));
            paths.extend(
                group
                    .versions
                    .iter()
                    .map(|version| format!("/apis/{}", version.group_version)),
            );
        }
        paths
    }

    /// Answers /api, /apis and what is below them that is no resource, and /openapi.
    pub fn serve(&self, server: &Arc<ApiServer>, cx: &RequestContext) -> Option<Response> {
        let documents = self.documents.load();
        let path = cx.info.path.trim_end_matches('/');
        if let Some(response) = openapi_response(&self.openapi, cx) {
            return Some(response);
        }
        match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["api"] => Some(self.root(
                server,
                cx,
                Tagged(&documents.api, &documents.api_etag),
                None,
                || {
                    let versions = meta::APIVersions {
                        versions: vec!["v1".to_owned()],
                        server_address_by_client_cidrs: vec![meta::ServerAddressByClientCIDR {
                            client_cidr: "0.0.0.0/0".to_owned(),
                            server_address: self.server_address.clone(),
                        }],
                        ..meta::APIVersions::default()
                    };
                    respond::plain_as(cx, &versions, "")
                },
            )),
            ["apis"] => Some(self.root(
                server,
                cx,
                Tagged(&documents.apis, &documents.apis_etag),
                documents.all_apis.as_ref(),
                || {
                    let list = meta::APIGroupList {
                        groups: documents.groups.clone(),
                        ..meta::APIGroupList::default()
                    };
                    respond::plain(cx, StatusCode::OK, &list)
                },
            )),
            ["api", version] => documents
                .find("", version)
                .map(|list| respond::plain_as(cx, list, "")),
            ["apis", group] => {
                let group = documents.groups.iter().find(|have| have.name == *group)?;
                Some(respond::plain(cx, StatusCode::OK, group))
            }
            ["apis", group, version] => documents
                .find(group, version)
                .map(|list| respond::plain(cx, StatusCode::OK, list)),
            _ => None,
        }
    }

    /// /api or /apis: the aggregated document when the client takes it, else the legacy list.
    fn root(
        &self,
        server: &ApiServer,
        cx: &RequestContext,
        own: Tagged<'_>,
        all: Option<&(aggregated::APIGroupDiscoveryList, HeaderValue)>,
        legacy: impl FnOnce() -> Response,
    ) -> Response {
        let Some(Wanted { media, no_peer }) = wants_aggregated(cx) else {
            return legacy();
        };
        let page = cx.info.path.trim_matches('/');
        let labels = Labels::of_page("", page, request_metrics::API_SERVER);
        server.request_metrics.begin(cx, &labels, true);
        if let Some(peers) = &self.peers {
            if no_peer {
                peers.served_own();
            } else if all.is_some() {
                peers.served_merged();
            }
        }
        let Tagged(list, etag) = match all {
            Some((list, etag)) if !no_peer => Tagged(list, etag),
            _ => own,
        };
        let mut response = if cx.headers.get(header::IF_NONE_MATCH) == Some(etag) {
            let mut response = Response::new(serving::Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let mut response =
                respond::negotiated(cx, StatusCode::OK, media, encode::value(media, list));
            let content_type = if media.encoding == Encoding::Protobuf {
                AGGREGATED_PROTOBUF
            } else {
                AGGREGATED_JSON
            };
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag.clone());
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

/// A document and its tag.
struct Tagged<'a>(&'a aggregated::APIGroupDiscoveryList, &'a HeaderValue);

/// What is wanted of aggregated discovery.
struct Wanted {
    media: MediaType,
    /// `profile=nopeer`: of this server alone.
    no_peer: bool,
}

/// The first acceptable clause decides between aggregated and legacy discovery.
fn wants_aggregated(cx: &RequestContext) -> Option<Wanted> {
    let accept = cx.header(header::ACCEPT);
    for clause in negotiation::parse_accept(accept) {
        let is_list = clause.parameter("as") == Some("APIGroupDiscoveryList")
            && clause.parameter("g") == Some("apidiscovery.k8s.io");
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            if clause.covers(encoding.media_type()) {
                if is_list && clause.parameter("v") == Some("v2") {
                    return Some(Wanted {
                        media: MediaType {
                            encoding,
                            pretty: false,
                            convert: None,
                        },
                        no_peer: clause.parameter("profile") == Some("nopeer"),
                    });
                }
                // The legacy form is wanted as much.
                clause.parameter("as")?;
            }
        }
    }
    None
}

impl Documents {
    fn add_peers(&mut self, peers: Option<&PeerProxy>) {
        self.all_apis = peers.map(|peers| {
            let all = peers.merge(&self.apis);
            let etag = etag(&all);
            (all, etag)
        });
    }

    fn find(&self, group: &str, version: &str) -> Option<&meta::APIResourceList> {
        self.resources
            .iter()
            .find(|((have_group, have_version), _)| have_group == group && have_version == version)
            .map(|(_, list)| list)
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// The resources that clients are told of.
fn listed(resources: &Resources) -> Vec<Arc<Resource>> {
    let mut rows = resources.rows();
    rows.retain(|row| {
        let custom = row.custom.as_ref();
        custom.is_none_or(|custom| custom.definition.established)
    });
    rows
}

/// The group versions that objects define: custom ones, and those of other servers behind this one.
fn defined<'a>(
    resources: &Resources,
    registered: &'a [Registered],
) -> impl Iterator<Item = (String, String)> + use<'a> {
    let custom = resources.rows().into_iter().filter_map(|row| {
        let definition = &row.custom.as_ref()?.definition;
        let versions = definition.versions.iter();
        Some(
            versions
                .map(|version| {
                    (
                        version.info.group.to_owned(),
                        version.info.version.to_owned(),
                    )
                })
                .collect::<Vec<_>>(),
        )
    });
    let remote = registered
        .iter()
        .filter(|entry| entry.remote.is_some())
        .map(|entry| (entry.group.clone(), entry.version.clone()));
    custom.flatten().chain(remote)
}

/// The order of versions: v2 after v1, v1 after v1beta2, v1beta1 after v1alpha3, and any other name before those, backwards.
/// Upstream: apimachinery/pkg/version, CompareKubeAwareVersionStrings.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    fn parse(version: &str) -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (major, rest) = rest.split_at(digits);
        let number = |text: &str| {
            (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse().ok())
                .flatten()
        };
        let major = number(major)?;
        if rest.is_empty() {
            return Some((2, major, 0));
        }
        for (stability, name) in [(1, "beta"), (0, "alpha")] {
            if let Some(minor) = rest.strip_prefix(name) {
                return Some((stability, major, number(minor)?));
            }
        }
        None
    }
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

fn documents(rows: &[Arc<Resource>], registered: &[Registered]) -> Documents {
    let mut order: Vec<Own<'static>> = Vec::new();
    for row in rows {
        let (group, version) = (row.info.group, row.info.version);
        let mut known = order.iter();
        if !known.any(|own| own.group == group && own.version == version) {
            order.push(Own {
                group,
                version,
                custom: row.custom.is_some(),
            });
        }
    }
    let mut lists = Vec::new();
    let (mut api, mut apis) = (
        aggregated::APIGroupDiscoveryList::default(),
        aggregated::APIGroupDiscoveryList::default(),
    );
    for &Own { group, version, .. } in &order {
        let group_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let rows: Vec<&Arc<Resource>> = rows
            .iter()
            .filter(|row| row.info.group == group && row.info.version == version)
            .collect();
        lists.push((
            (group.to_owned(), version.to_owned()),
            resource_list(&group_version, &rows),
        ));
        let discovered = aggregated::APIVersionDiscovery {
            version: version.to_owned(),
            resources: rows.iter().map(|row| aggregated_resource(row)).collect(),
            freshness: "Current".to_owned(),
        };
        if group.is_empty() {
            api.items.push(aggregated::APIGroupDiscovery {
                versions: vec![discovered],
                ..aggregated::APIGroupDiscovery::default()
            });
            continue;
        }
        match apis
            .items
            .iter_mut()
            .find(|item| item.metadata.name == group)
        {
            Some(item) => item.versions.push(discovered),
            None => {
                let mut item = aggregated::APIGroupDiscovery {
                    versions: vec![discovered],
                    ..aggregated::APIGroupDiscovery::default()
                };
                group.clone_into(&mut item.metadata.name);
                apis.items.push(item);
            }
        }
    }
    registered::merge(&mut apis.items, &order, registered);
    let groups = registered::groups(&order, registered);
    Documents {
        api_etag: etag(&api),
        apis_etag: etag(&apis),
        groups,
        resources: lists,
        api,
        apis,
        all_apis: None,
    }
}

/// The quoted upper-case SHA-512 of a document.
fn etag(list: &aggregated::APIGroupDiscoveryList) -> HeaderValue {
    let json = api_types::encode_json(list);
    HeaderValue::from_str(&format!("\"{}\"", openapi::sha512_hex(&json)))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn resource_list(group_version: &str, rows: &[&Arc<Resource>]) -> meta::APIResourceList {
    let mut list = meta::APIResourceList {
        group_version: group_version.to_owned(),
        ..meta::APIResourceList::default()
    };
    for row in rows {
        let info = row.info;
        list.resources.push(meta::APIResource {
            name: info.resource.to_owned(),
            singular_name: info.singular.to_owned(),
            namespaced: info.namespaced,
            kind: info.kind.to_owned(),
            verbs: strings(verbs(row)),
            short_names: strings(info.short_names),
            categories: strings(info.categories),
            storage_version_hash: storage_version_hash(info),
            ..meta::APIResource::default()
        });
        for subresource in info.subresources {
            let (group, version) = foreign_group_version(info, subresource);
            list.resources.push(meta::APIResource {
                name: format!("{}/{}", info.resource, subresource.name),
                namespaced: info.namespaced,
                group: group.to_owned(),
                version: version.to_owned(),
                kind: subresource.kind.to_owned(),
                verbs: strings(subresource.verbs),
                ..meta::APIResource::default()
            });
        }
    }
    list
}

/// What is left of the verbs while the CRD is deleted.
fn verbs(row: &Resource) -> &'static [&'static str] {
    match &row.custom {
        Some(custom) if custom.definition.terminating => {
            &["delete", "deletecollection", "get", "list", "watch"]
        }
        _ => row.info.verbs,
    }
}

/// Group and version of a subresource's kind, when they are not the resource's.
fn foreign_group_version(
    info: &ResourceInfo,
    subresource: &SubresourceInfo,
) -> (&'static str, &'static str) {
    if (subresource.group, subresource.version) == (info.group, info.version) {
        ("", "")
    } else {
        (subresource.group, subresource.version)
    }
}

/// Names the stored version of a resource to clients that migrate storage.
fn storage_version_hash(info: &ResourceInfo) -> String {
    let Some(storage) = info
        .storage
        .as_ref()
        .filter(|_| gates::enabled("StorageVersionHash"))
    else {
        return String::new();
    };
    let name = format!("{}/{}/{}", storage.group, storage.version, info.kind);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

fn aggregated_resource(row: &Resource) -> aggregated::APIResourceDiscovery {
    let info = row.info;
    let kind = |group: &str, version: &str, kind: &str| {
        Some(Box::new(meta::GroupVersionKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }))
    };
    aggregated::APIResourceDiscovery {
        resource: info.resource.to_owned(),
        response_kind: kind("", "", info.kind),
        scope: if info.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        }
        .to_owned(),
        singular_resource: info.singular.to_owned(),
        verbs: strings(verbs(row)),
        short_names: strings(info.short_names),
        categories: strings(info.categories),
        subresources: info
            .subresources
            .iter()
            .map(|subresource| {
                let (group, version) = foreign_group_version(info, subresource);
                aggregated::APISubresourceDiscovery {
                    subresource: subresource.name.to_owned(),
                    response_kind: kind(group, version, subresource.kind),
                    verbs: strings(subresource.verbs),
                    ..aggregated::APISubresourceDiscovery::default()
                }
            })
            .collect(),
    }
}

/// An answer of the OpenAPI documents as a response.
fn openapi_response(openapi: &openapi::OpenApi, cx: &RequestContext) -> Option<Response> {
    if !cx.info.path.starts_with("/openapi/") {
        return None;
    }
    let question = openapi::Question {
        path: &cx.info.path,
        query: cx.uri.query(),
        accept: cx.header(header::ACCEPT),
        accept_encoding: cx.header(header::ACCEPT_ENCODING),
        if_none_match: cx.header(header::IF_NONE_MATCH),
    };
    // The first question after a change may take as long as its documents take to build.
    let answer = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| openapi.answer(&question)),
        _ => openapi.answer(&question),
    }?;
    let mut response = Response::new(answer.body.into());
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .insert(http::HeaderName::from_static(name), value);
        }
    }
    Some(response)
}

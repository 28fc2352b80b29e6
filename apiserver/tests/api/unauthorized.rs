//! Every route in every state without rights: the answer is 401 or 403 in upstream's words, never anything else.
//!
//! Routes come from the server's own tables, so that one that is added is tried too.

use apiserver::authn::jws::PrivateKey;
use apiserver::server::nonresource;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair};

use super::*;

const NAMESPACE: &str = "default";
const ANONYMOUS: &str = "system:anonymous";
const ACCOUNT: &str = "system:serviceaccount:default:default";

/// A request, and what it is about to those who may not make it.
struct Route {
    method: &'static str,
    path: String,
    verb: &'static str,
    about: About,
}

enum About {
    Resource {
        group: &'static str,
        /// With its subresource.
        resource: String,
        namespace: &'static str,
        name: &'static str,
    },
    Path,
}

impl Route {
    /// Upstream: forbiddenMessage of endpoints/handlers/responsewriters and NewForbidden of apimachinery.
    fn forbidden(&self, user: &str, before_verb: &str) -> String {
        let path = &self.path;
        let verb = format!("{before_verb}{}", self.verb);
        let (group, resource, namespace, name) = match &self.about {
            About::Path => {
                return format!("forbidden: User {user:?} cannot {verb} path {path:?}");
            }
            About::Resource {
                group,
                resource,
                namespace,
                name,
            } => (group, resource, namespace, name),
        };
        let plain = resource.split('/').next().unwrap();
        let mut what = plain.to_owned();
        if !group.is_empty() {
            what = format!("{plain}.{group}");
        }
        if !name.is_empty() {
            what = format!("{what} {name:?}");
        }
        let place = match *namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "{what} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
        )
    }
}

/// All verbs of all built-in resources and their subresources, and all methods on all other paths.
fn routes(server: &ApiServer) -> Vec<Route> {
    let mut routes = Vec::new();
    for row in server.resources.built_in() {
        let info = row.info;
        let prefix = match info.group {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        // An object of this kind stands for its namespace.
        let is_namespace = info.group.is_empty() && info.resource == "namespaces";
        let folder = if info.namespaced {
            format!("{prefix}/namespaces/{NAMESPACE}/{}", info.resource)
        } else {
            format!("{prefix}/{}", info.resource)
        };
        let everywhere = format!("{prefix}/{}", info.resource);
        let watched = folder.replacen(&prefix, &format!("{prefix}/watch"), 1);
        let mut add = |verb: &'static str, subresource: &str, path: &str, namespaced: bool| {
            let method = match verb {
                "get" | "list" | "watch" => "GET",
                "create" => "POST",
                "update" => "PUT",
                "patch" => "PATCH",
                "delete" | "deletecollection" => "DELETE",
                other => panic!("the table has the verb {other:?}"),
            };
            let named =
                !subresource.is_empty() || matches!(verb, "get" | "update" | "patch" | "delete");
            let name = if named { "x" } else { "" };
            let resource = match subresource {
                "" => info.resource.to_owned(),
                subresource => format!("{}/{subresource}", info.resource),
            };
            routes.push(Route {
                method,
                path: path.to_owned(),
                verb,
                about: About::Resource {
                    group: info.group,
                    resource,
                    namespace: match (namespaced, is_namespace && named) {
                        (true, _) => NAMESPACE,
                        (false, true) => "x",
                        (false, false) => "",
                    },
                    name,
                },
            });
        };
        for verb in info.verbs.iter().copied() {
            let path = match verb {
                "list" | "create" | "deletecollection" => folder.clone(),
                "watch" => format!("{folder}?watch=true"),
                _ => format!("{folder}/x"),
            };
            add(verb, "", &path, info.namespaced);
            if verb == "watch" {
                add(verb, "", &watched, info.namespaced);
            }
            if info.namespaced && verb == "list" {
                add(verb, "", &everywhere, false);
            }
        }
        for subresource in info.subresources {
            for verb in subresource.verbs.iter().copied() {
                let path = format!("{folder}/x/{}", subresource.name);
                add(verb, subresource.name, &path, info.namespaced);
            }
            if subresource.name == "proxy" {
                let path = format!("{folder}/x/proxy/secret/page");
                add("get", "proxy", &path, info.namespaced);
            }
        }
    }
    let mut paths = nonresource::paths(server);
    // What is not there is nobody's business either.
    paths.extend(
        [
            "/nothing",
            "/apis/nothing",
            "/apis/nothing/v1",
            "/logs/",
            "/debug/pprof/",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        for (method, verb) in [
            ("GET", "get"),
            ("POST", "post"),
            ("PUT", "put"),
            ("PATCH", "patch"),
            ("DELETE", "delete"),
            ("HEAD", "head"),
        ] {
            routes.push(Route {
                method,
                path: path.clone(),
                verb,
                about: About::Path,
            });
        }
    }
    routes
}

/// Who asks, and what becomes of them.
struct Caller {
    what: &'static str,
    headers: Vec<(&'static str, String)>,
    certificate: Option<Vec<u8>>,
    fate: Fate,
}

enum Fate {
    /// Nobody knows them.
    Unauthorized,
    /// Taken for this user.
    Forbidden(&'static str),
    /// Taken for this user, who may not be another one. Since KEP-5284 that is about each request.
    MayNotImpersonate(&'static str),
}

impl Caller {
    fn new(what: &'static str, headers: &[(&'static str, &str)], fate: Fate) -> Caller {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        Caller {
            what,
            headers: headers.iter().map(owned).collect(),
            certificate: None,
            fate,
        }
    }

    fn with_token(what: &'static str, token: &str, fate: Fate) -> Caller {
        Caller::new(what, &[("authorization", &format!("Bearer {token}"))], fate)
    }

    fn certified(self, certificate: Vec<u8>) -> Caller {
        Caller {
            certificate: Some(certificate),
            ..self
        }
    }

    async fn send(&self, server: &Server, route: &Route) -> Answer {
        let mut request = Request::builder().method(route.method).uri(&route.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(Body::from("{}")).unwrap();
        let mut connection = ConnectionInfo::in_process();
        connection.peer_certificates = self.certificate.clone().into_iter().collect();
        request.extensions_mut().insert(Arc::new(connection));
        let (parts, body) = server.service.handle(request).await.into_parts();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: body.collect(1 << 20).await.unwrap().to_vec(),
        }
    }
}

/// Who signs certificates.
struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    /// A client certificate of a cluster admin, good up to the end of a year.
    fn certificate(&self, name: &str, last_year: i32) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        certificate.der().to_vec()
    }
}

/// The routes of custom objects are no part of the server's tables.
fn custom_routes() -> Vec<Route> {
    let folder = "/apis/example.com/v1/namespaces/default/things";
    let route = |method, path: String, verb, subresource: &str, namespace, name| Route {
        method,
        path,
        verb,
        about: About::Resource {
            group: "example.com",
            resource: format!("things{subresource}"),
            namespace,
            name,
        },
    };
    let mut routes = vec![
        route(
            "GET",
            "/apis/example.com/v1/things".to_owned(),
            "list",
            "",
            "",
            "",
        ),
        route("GET", folder.to_owned(), "list", "", NAMESPACE, ""),
        route("POST", folder.to_owned(), "create", "", NAMESPACE, ""),
        route(
            "DELETE",
            folder.to_owned(),
            "deletecollection",
            "",
            NAMESPACE,
            "",
        ),
        route(
            "GET",
            format!("{folder}?watch=1"),
            "watch",
            "",
            NAMESPACE,
            "",
        ),
    ];
    for subresource in ["", "/status", "/scale"] {
        for (method, verb) in [("GET", "get"), ("PUT", "update"), ("PATCH", "patch")] {
            let path = format!("{folder}/x{subresource}");
            routes.push(route(method, path, verb, subresource, NAMESPACE, "x"));
        }
    }
    routes.push(route(
        "DELETE",
        format!("{folder}/x"),
        "delete",
        "",
        NAMESPACE,
        "x",
    ));
    routes
}

#[tokio::test]
async fn no_route_answers_callers_without_rights() {
    use Fate::{Forbidden, MayNotImpersonate, Unauthorized};
    let (clients, proxies, unknown) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let flags = [
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-bootstrap-token-auth".to_owned(),
        format!(
            "--client-ca-file={}",
            file("ca.crt", &clients.pem).display()
        ),
        format!(
            "--requestheader-client-ca-file={}",
            file("proxy.crt", &proxies.pem).display()
        ),
        "--requestheader-allowed-names=proxy".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace(NAMESPACE).await;
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    let account = server.get(&format!("{accounts}/default")).await.expect(200);
    let token = async |account: &str, spec: serde_json::Value| {
        let path = format!("{accounts}/{account}/token");
        let issued = server
            .post(&path, json!({ "spec": spec }))
            .await
            .expect(201);
        issued["status"]["token"].as_str().unwrap().to_owned()
    };
    let valid = token("default", json!({})).await;
    let elsewhere = token("default", json!({"audiences": ["elsewhere"]})).await;
    let passing = json!({"metadata": {"name": "passing"}});
    server.post(&accounts, passing).await.expect(201);
    let gone = token("passing", json!({})).await;
    let passing = format!("{accounts}/passing");
    server.delete(&passing, json!({})).await.expect(200);
    server.namespace("kube-system").await;
    let bootstrap = |id: &str, more: serde_json::Value| {
        let mut data = json!({
            "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        });
        data.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({
            "metadata": {"name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token", "stringData": data,
        })
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let over = json!({"expiration": "2020-01-01T00:00:00Z"});
    server
        .post(secrets, bootstrap("aaaaaa", json!({})))
        .await
        .expect(201);
    server
        .post(secrets, bootstrap("bbbbbb", over))
        .await
        .expect(201);
    let key = std::fs::read(server._keys.path().join("sa.key")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    let issuer = "https://kubernetes.default.svc";
    let expired = json!({
        "iss": issuer, "aud": [issuer], "exp": 1000, "iat": 1, "nbf": 1, "sub": ACCOUNT,
        "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": {
            "name": "default", "uid": account["metadata"]["uid"],
        }},
    });
    let expired = key.sign(expired.to_string().as_bytes()).unwrap();
    let admin = [
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
    ];
    let bearer = format!("Bearer {valid}");
    let callers = [
        Caller::new("no credentials", &[], Forbidden(ANONYMOUS)),
        Caller::new(
            "a password",
            &[("authorization", "Basic cm9vdDpyb290")],
            Forbidden(ANONYMOUS),
        ),
        Caller::with_token("a bad token", "nonsense", Unauthorized),
        Caller::with_token("an expired service account token", &expired, Unauthorized),
        Caller::with_token("a token for others", &elsewhere, Unauthorized),
        Caller::with_token("a token of a deleted account", &gone, Unauthorized),
        Caller::with_token("a token without rights", &valid, Forbidden(ACCOUNT)),
        Caller::with_token(
            "an expired bootstrap token",
            "bbbbbb.0123456789abcdef",
            Unauthorized,
        ),
        Caller::with_token(
            "a bootstrap token",
            "aaaaaa.0123456789abcdef",
            Forbidden("system:bootstrap:aaaaaa"),
        ),
        Caller::new("another server's headers", &admin, Forbidden(ANONYMOUS)),
        Caller::new("headers with a client's certificate", &admin, Unauthorized)
            .certified(unknown.certificate("proxy", 2100)),
        Caller::new("a front proxy without a user", &[], Unauthorized)
            .certified(proxies.certificate("proxy", 2100)),
        Caller::new("a front proxy of another name", &admin, Unauthorized)
            .certified(proxies.certificate("other", 2100)),
        Caller::new(
            "who wants to be another",
            &[("authorization", &bearer), ("impersonate-user", "root")],
            MayNotImpersonate(ACCOUNT),
        ),
        Caller::new("a certificate of an unknown authority", &[], Unauthorized)
            .certified(unknown.certificate("root", 2100)),
        Caller::new("an expired certificate", &[], Unauthorized)
            .certified(clients.certificate("root", 2020)),
    ];
    let routes = routes(server.inner());
    assert!(routes.len() > 900, "{}", routes.len());
    refused(&server, &routes, &callers).await;
    // The routes are real ones: those who may read are answered.
    for route in routes.iter().filter(|route| route.verb == "list") {
        let answer = server.get(&route.path).await;
        assert_eq!(answer.code, 200, "{}: {}", route.path, answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_custom_objects_answers_callers_without_rights() {
    let flags = ["--authorization-mode=Node,RBAC".to_owned()];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let definition = custom_resources::definition();
    server
        .post(custom_resources::CRDS, definition)
        .await
        .expect(201);
    custom_resources::until_served(&server, "v1", true).await;
    let routes = custom_routes();
    let callers = [
        Caller::new("no credentials", &[], Fate::Forbidden(ANONYMOUS)),
        Caller::with_token("a bad token", "nonsense", Fate::Unauthorized),
    ];
    refused(&server, &routes, &callers).await;
    for route in routes.iter().filter(|route| route.verb == "list") {
        server.get(&route.path).await.expect(200);
    }
}

/// Sends every request as every caller.
async fn refused(server: &Server, routes: &[Route], callers: &[Caller]) {
    let mut wrong = Vec::new();
    for route in routes {
        for caller in callers {
            let answer = caller.send(server, route).await;
            let (code, message) = match &caller.fate {
                Fate::Forbidden(user) => (403, route.forbidden(user, "")),
                Fate::MayNotImpersonate(user) => {
                    (403, route.forbidden(user, "impersonate-on:user-info:"))
                }
                Fate::Unauthorized => (401, "Unauthorized".to_owned()),
            };
            let text = if route.method == "HEAD" && answer.text.is_empty() {
                message.clone()
            } else {
                answer.message()
            };
            if (answer.code, &text) != (code, &message) {
                wrong.push(format!(
                    "{} {} with {}: {} {text:?}, not {code} {message:?}",
                    route.method, route.path, caller.what, answer.code
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        routes.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

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
    fn forbidden(&self, user: &str) -> String {
        let Route { path, verb, .. } = self;
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

/// Who asks, and the user they are taken for; none for those who are refused.
struct Caller {
    what: &'static str,
    authorization: Option<String>,
    certificate: Option<Vec<u8>>,
    user: Option<&'static str>,
}

impl Caller {
    fn with_token(what: &'static str, token: &str, user: Option<&'static str>) -> Caller {
        Caller {
            what,
            authorization: Some(format!("Bearer {token}")),
            certificate: None,
            user,
        }
    }

    async fn send(&self, server: &Server, route: &Route) -> Answer {
        let mut request = Request::builder().method(route.method).uri(&route.path);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
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

/// A certificate of an authority, and the authority's.
fn certificates() -> (Vec<u8>, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "root");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.der().to_vec(), pem)
}

#[tokio::test]
async fn no_route_answers_callers_without_rights() {
    let (_, trusted) = certificates();
    let (wrong, _) = certificates();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, trusted).unwrap();
    let flags = [
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--client-ca-file={}", ca.display()),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace(NAMESPACE).await;
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
    let account = server.get(&accounts).await.expect(200);
    let token = format!("{accounts}/token");
    let issued = server.post(&token, json!({"spec": {}})).await.expect(201);
    let valid = issued["status"]["token"].as_str().unwrap().to_owned();
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
    let callers = [
        Caller {
            what: "no credentials",
            authorization: None,
            certificate: None,
            user: Some(ANONYMOUS),
        },
        Caller::with_token("a bad token", "nonsense", None),
        Caller::with_token("an expired service account token", &expired, None),
        Caller::with_token("a token without rights", &valid, Some(ACCOUNT)),
        Caller {
            what: "a certificate of an unknown authority",
            authorization: None,
            certificate: Some(wrong),
            user: None,
        },
    ];
    let routes = routes(server.inner());
    assert!(routes.len() > 900, "{}", routes.len());
    let mut wrong = Vec::new();
    for route in &routes {
        for caller in &callers {
            let answer = caller.send(&server, route).await;
            let (code, message) = match caller.user {
                Some(user) => (403, route.forbidden(user)),
                None => (401, "Unauthorized".to_owned()),
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
    // The routes are real ones: those who may read are answered.
    for route in routes.iter().filter(|route| route.verb == "list") {
        let answer = server.get(&route.path).await;
        assert_eq!(answer.code, 200, "{}: {}", route.path, answer.message());
    }
}

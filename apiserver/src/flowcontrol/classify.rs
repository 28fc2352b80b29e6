//! Which flow schema a request belongs to. Upstream: util/flowcontrol/rule.go.
//!
//! Subjects are looked up, not compared: each user name and group leads to the set of policy rules that name it. Of those,
//! in the order of precedence, the first whose verbs, resources and paths fit decides. Nothing is allocated.

use std::collections::HashMap;

use api_types::flowcontrol::v1::{
    FlowSchema, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use component_base::auth::UserInfo;
use smallvec::SmallVec;

use crate::request::RequestInfo;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A set of rules, by place.
type Places = SmallVec<[u64; 4]>;

/// All rules of all flow schemas.
#[derive(Default)]
pub(crate) struct Classifier {
    rules: Vec<Rule>,
    users: HashMap<String, Places>,
    groups: HashMap<String, Places>,
    /// Rules for all service accounts of a namespace.
    namespaces: HashMap<String, Places>,
    everyone: Places,
}

struct Rule {
    /// The place of its schema.
    schema: usize,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

struct PathRule {
    verbs: Names,
    paths: Vec<String>,
}

/// Names, or everything.
enum Names {
    All,
    Some(Vec<String>),
}

impl Names {
    /// `*` is alone where it stands for all, as validation says.
    fn new(names: &[String]) -> Names {
        match names {
            [all] if all == "*" => Names::All,
            names => Names::Some(names.to_vec()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.any(|known| known == name)
    }

    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Names::All => true,
            Names::Some(names) => names.iter().any(|name| matches(name)),
        }
    }
}

impl Classifier {
    /// Schemas come in the order in which they are tried.
    pub(crate) fn new<'a>(schemas: impl Iterator<Item = &'a FlowSchema>) -> Classifier {
        let mut classifier = Classifier::default();
        for (at, schema) in schemas.enumerate() {
            for rule in &schema.spec.rules {
                classifier.add(at, rule);
            }
        }
        classifier
    }

    fn add(&mut self, schema: usize, rule: &PolicyRulesWithSubjects) {
        let place = self.rules.len();
        self.rules.push(Rule {
            schema,
            resources: rule.resource_rules.iter().map(ResourceRule::new).collect(),
            paths: rule.non_resource_rules.iter().map(PathRule::new).collect(),
        });
        for subject in &rule.subjects {
            if let Some(places) = self.places_of(subject) {
                insert(places, place);
            }
        }
    }

    /// Where a subject's rules are.
    fn places_of(&mut self, subject: &Subject) -> Option<&mut Places> {
        Some(match subject.kind.as_str() {
            "User" => match subject.user.as_ref()?.name.as_str() {
                "*" => &mut self.everyone,
                name => self.users.entry(name.to_owned()).or_default(),
            },
            "Group" => match subject.group.as_ref()?.name.as_str() {
                "*" => &mut self.everyone,
                name => self.groups.entry(name.to_owned()).or_default(),
            },
            "ServiceAccount" => {
                let account = subject.service_account.as_ref()?;
                if account.name == "*" {
                    let namespace = account.namespace.clone();
                    self.namespaces.entry(namespace).or_default()
                } else {
                    let user = format!("{SERVICE_ACCOUNT}{}:{}", account.namespace, account.name);
                    self.users.entry(user).or_default()
                }
            }
            _ => return None,
        })
    }

    /// The place of the schema.
    pub(crate) fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<usize> {
        let mut candidates = self.everyone.clone();
        if let Some(places) = self.users.get(user.name.as_str()) {
            union(&mut candidates, places);
        }
        for group in &user.groups {
            if let Some(places) = self.groups.get(group.as_str()) {
                union(&mut candidates, places);
            }
        }
        if let Some(rest) = user.name.strip_prefix(SERVICE_ACCOUNT)
            && let Some((namespace, _)) = rest.split_once(':')
            && let Some(places) = self.namespaces.get(namespace)
        {
            union(&mut candidates, places);
        }
        for (word, mut bits) in candidates.into_iter().enumerate() {
            while bits != 0 {
                let rule = &self.rules[word * 64 + bits.trailing_zeros() as usize];
                if rule.matches(info) {
                    return Some(rule.schema);
                }
                bits &= bits - 1;
            }
        }
        None
    }
}

fn insert(places: &mut Places, place: usize) {
    let word = place / 64;
    if places.len() <= word {
        places.resize(word + 1, 0);
    }
    places[word] |= 1 << (place % 64);
}

fn union(places: &mut Places, more: &Places) {
    if places.len() < more.len() {
        places.resize(more.len(), 0);
    }
    for (word, more) in places.iter_mut().zip(more) {
        *word |= more;
    }
}

impl Rule {
    fn matches(&self, info: &RequestInfo) -> bool {
        if info.is_resource_request {
            self.resources.iter().any(|rule| rule.matches(info))
        } else {
            self.paths.iter().any(|rule| rule.matches(info))
        }
    }
}

impl ResourceRule {
    fn new(rule: &ResourcePolicyRule) -> ResourceRule {
        ResourceRule {
            verbs: Names::new(&rule.verbs),
            groups: Names::new(&rule.api_groups),
            resources: Names::new(&rule.resources),
            namespaces: Names::new(&rule.namespaces),
            cluster_scope: rule.cluster_scope,
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb)
            && self.resources.any(|name| is_resource(name, info))
            && self.groups.has(&info.api_group)
            && if info.namespace.is_empty() {
                self.cluster_scope
            } else {
                self.namespaces.has(&info.namespace)
            }
    }
}

/// Whether a name is `resource` or `resource/subresource` of the request.
fn is_resource(name: &str, info: &RequestInfo) -> bool {
    match name.strip_prefix(info.resource.as_str()) {
        None => false,
        Some(rest) if info.subresource.is_empty() => rest.is_empty(),
        Some(rest) => rest.strip_prefix('/') == Some(info.subresource.as_str()),
    }
}

impl PathRule {
    fn new(rule: &NonResourcePolicyRule) -> PathRule {
        PathRule {
            verbs: Names::new(&rule.verbs),
            paths: rule.non_resource_urls.clone(),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb) && self.paths.iter().any(|path| covers(path, &info.path))
    }
}

/// `/a` and `/a/*` cover `/a/b`; the latter does not cover `/a`.
fn covers(rule: &str, path: &str) -> bool {
    if rule == "*" || rule == path {
        return true;
    }
    let prefix = rule.strip_suffix('*').unwrap_or(rule);
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    prefix.ends_with('/') || rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::flow_control::flow_schemas;
    use crate::request::query::Query;

    fn info(method: &str, url: &str) -> RequestInfo {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        RequestInfo::parse(&method, path, &Query::parse(query)).unwrap()
    }

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn the_schemas_of_every_cluster() {
        let mut schemas = flow_schemas();
        schemas.sort_by_key(|schema| schema.spec.matching_precedence);
        let classifier = Classifier::new(schemas.iter());
        let all = "system:authenticated";
        let node = user("system:node:a", &["system:nodes", all]);
        let controllers = user("system:kube-controller-manager", &[all]);
        let account = user(
            "system:serviceaccount:kube-system:x",
            &["system:serviceaccounts", all],
        );
        let other = user(
            "system:serviceaccount:a:x",
            &["system:serviceaccounts", all],
        );
        let admin = user("admin", &["system:masters", all]);
        let anonymous = user("system:anonymous", &["system:unauthenticated"]);
        let pods = "/api/v1/namespaces/a/pods";
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        for (user, method, url, expected) in [
            (&admin, "GET", pods, "exempt"),
            (&admin, "GET", "/healthz", "exempt"),
            (&anonymous, "GET", "/healthz", "probes"),
            (&anonymous, "GET", "/healthz/etcd", "probes"),
            (&anonymous, "POST", "/healthz", "global-default"),
            (&node, "GET", pods, "system-nodes"),
            (&node, "PATCH", "/api/v1/nodes/a/status", "system-node-high"),
            (&node, "PUT", lease, "system-node-high"),
            (&controllers, "PUT", lease, "system-leader-election"),
            (&controllers, "DELETE", lease, "kube-controller-manager"),
            (&account, "GET", lease, "system-leader-election"),
            (&account, "GET", pods, "kube-system-service-accounts"),
            (&other, "GET", pods, "service-accounts"),
            (&user("x", &[all]), "GET", pods, "global-default"),
        ] {
            let at = classifier.classify(user, &info(method, url)).unwrap();
            let name = &schemas[at].metadata.name;
            assert_eq!(name, expected, "{} {method} {url}", user.name);
        }
        let nobody = user("x", &[]);
        assert_eq!(classifier.classify(&nobody, &info("GET", pods)), None);
    }

    #[test]
    fn resources_namespaces_and_paths() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let rule = ResourceRule::new(&ResourcePolicyRule {
            verbs: names(&["get", "create"]),
            api_groups: names(&[""]),
            resources: names(&["pods", "pods/log"]),
            namespaces: names(&["a"]),
            cluster_scope: false,
        });
        for (url, matches) in [
            ("/api/v1/namespaces/a/pods/x", true),
            ("/api/v1/namespaces/a/pods/x/log", true),
            ("/api/v1/namespaces/a/pods/x/status", false),
            ("/api/v1/namespaces/a/podslog/x", false),
            ("/api/v1/namespaces/b/pods/x", false),
            ("/api/v1/pods", false),
            ("/apis/apps/v1/namespaces/a/pods/x", false),
        ] {
            assert_eq!(rule.matches(&info("GET", url)), matches, "{url}");
        }
        for (rule, path, matches) in [
            ("*", "/x", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a", false),
            ("/a/", "/a/b", true),
        ] {
            assert_eq!(covers(rule, path), matches, "{rule} {path}");
        }
    }

    #[test]
    fn many_rules() {
        let schemas: Vec<FlowSchema> = (0..300)
            .map(|at| {
                let mut schema = flow_schemas().remove(0);
                let group = schema.spec.rules[0].subjects[0].group.as_mut().unwrap();
                group.name = format!("group-{at}");
                schema
            })
            .collect();
        let classifier = Classifier::new(schemas.iter());
        for at in [0, 63, 64, 299] {
            let user = user("x", &[&format!("group-{at}")]);
            assert_eq!(classifier.classify(&user, &info("GET", "/x")), Some(at));
        }
    }
}

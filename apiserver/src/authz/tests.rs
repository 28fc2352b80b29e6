//! Many random questions, decided by the authorizers and by references that are written from the documentation as plainly as can be:
//! lists that are searched from the start, no index, no shared code. That of RBAC is in [`reference`](super::reference).
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/>: rbac, node, abac.

use std::sync::Arc;

use api_types::core::v1::{Pod, SecretVolumeSource, Volume};
use component_base::auth::{Attributes, Authorizer, Decision, UserInfo};
use futures::FutureExt as _;
use rand::Rng as _;

use super::abac::{Abac, Policy};
use super::node::{Graph, NodeAuthorizer};
use super::rbac::Rbac;
use super::reference::{Dice, GROUPS, NAMES, NAMESPACES, RbacWorld, USERS, rbac_says};

const WORLDS: u64 = 35;
const QUESTIONS: usize = 3_000;
/// Allowed questions among all of one kind must be at least this part, and at most the rest.
const BALANCE: f64 = 0.2;

const NODES: [&str; 3] = ["n0", "n1", "n2"];

/// All objects there are.
#[derive(Default)]
struct World {
    rbac: RbacWorld,
    policies: Vec<Policy>,
    pods: Vec<Pod>,
}

impl World {
    fn new(dice: &mut Dice) -> World {
        let mut world = World {
            rbac: RbacWorld::new(dice),
            ..World::default()
        };
        for _ in 0..16 {
            world.policies.push(dice.policy());
        }
        for (i, node) in NODES.iter().cycle().take(9).enumerate() {
            world.pods.push(dice.pod(i, node));
        }
        world
    }

    fn authorizers(&self) -> Authorizers {
        let rbac = Rbac::default();
        for binding in &self.rbac.cluster_role_bindings {
            rbac.set_cluster_role_binding(binding);
        }
        for binding in &self.rbac.role_bindings {
            rbac.set_role_binding(binding);
        }
        for role in &self.rbac.cluster_roles {
            rbac.set_cluster_role(role);
        }
        for role in &self.rbac.roles {
            rbac.set_role(role);
        }
        let graph = Arc::new(Graph::default());
        for pod in &self.pods {
            graph.set_pod(pod, None);
        }
        Authorizers {
            rbac,
            abac: Abac::new(self.policies.clone()),
            node: NodeAuthorizer::new(graph),
        }
    }
}

struct Authorizers {
    rbac: Rbac,
    abac: Abac,
    node: NodeAuthorizer,
}

impl Dice {
    fn policy(&mut self) -> Policy {
        let mut policy = Policy {
            readonly: self.once_in(3),
            ..Policy::default()
        };
        match self.0.random_range(0..4) {
            0 => policy.user = self.of(&USERS).to_owned(),
            1 => policy.group = self.of(&GROUPS).to_owned(),
            2 => {
                policy.user = self.of(&USERS).to_owned();
                policy.group = self.of(&GROUPS).to_owned();
            }
            _ => policy.group = "system:authenticated".to_owned(),
        }
        if self.once_in(3) {
            policy.non_resource_path = self.of(&["*", "/healthz", "/healthz*", "/m*"]).to_owned();
        } else {
            policy.namespace = self.of(&["*", "red", "blue", ""]).to_owned();
            policy.resource = self.of(&["*", "*", "pods", "jobs"]).to_owned();
            policy.api_group = self.of(&["*", "*", "", "apps"]).to_owned();
        }
        policy
    }

    fn pod(&mut self, number: usize, node: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = format!("p{number}");
        pod.metadata.namespace = self.of(&NAMESPACES).to_owned();
        pod.spec.node_name = node.to_owned();
        pod.spec.service_account_name = "robot".to_owned();
        let mut volume = Volume::default();
        volume.volume_source.secret = Some(Box::new(SecretVolumeSource {
            secret_name: self.of(&NAMES[1..]).to_owned(),
            ..SecretVolumeSource::default()
        }));
        pod.spec.volumes = vec![volume];
        pod
    }

    /// Asked by a kubelet, mostly.
    fn question_of_a_node(&mut self) -> Attributes {
        let node = self.of(&NODES);
        let mut question = Attributes {
            user: UserInfo {
                name: format!("system:node:{node}"),
                groups: vec!["system:nodes".to_owned()],
                ..UserInfo::default()
            },
            verb: self.of(&["get", "list", "create", "update"]).to_owned(),
            namespace: self.of(&NAMESPACES).to_owned(),
            resource_request: true,
            name: self.of(&NAMES).to_owned(),
            ..Attributes::default()
        };
        match self.0.random_range(0..6) {
            0 | 1 => question.resource = "secrets".to_owned(),
            2 => {
                question.resource = "serviceaccounts".to_owned();
                question.subresource = self.of(&["", "token"]).to_owned();
                question.name = self.of(&["robot", "default"]).to_owned();
            }
            3 => {
                question.resource = "nodes".to_owned();
                question.namespace.clear();
                question.name = self.of(&NODES).to_owned();
            }
            4 => {
                question.resource = "leases".to_owned();
                question.api_group = "coordination.k8s.io".to_owned();
                question.namespace = self.of(&["kube-node-lease", "red"]).to_owned();
                question.name = self.of(&NODES).to_owned();
            }
            _ => question.resource = self.of(&["services", "events", "deployments"]).to_owned(),
        }
        if self.once_in(20) {
            question.user.groups.clear();
        }
        question
    }
}

// === the reference ===

/// "To match, a policy must match all of user, group, verb by `readonly`, and resource or path."
fn abac_says(world: &World, question: &Attributes) -> bool {
    world.policies.iter().any(|policy| {
        let user = policy.user.is_empty() || policy.user == question.user.name;
        let group = policy.group.is_empty() || question.user.groups.contains(&policy.group);
        let verb = !policy.readonly || ["get", "list", "watch"].contains(&&*question.verb);
        let is = |pattern: &String, value: &String| *pattern == "*" || pattern == value;
        let path = &policy.non_resource_path;
        let what = if question.resource_request {
            is(&policy.namespace, &question.namespace)
                && is(&policy.resource, &question.resource)
                && is(&policy.api_group, &question.api_group)
        } else if let Some((prefix, _)) = path.split_once('*') {
            question.path.starts_with(prefix)
        } else {
            *path == question.path
        };
        user && group && verb && what
    })
}

/// "Node authorization: a kubelet may read what the pods bound to its node refer to, and its own objects."
fn node_says(world: &World, question: &Attributes) -> bool {
    let Some(node) = question.user.name.strip_prefix("system:node:") else {
        return false;
    };
    if !question.user.groups.contains(&"system:nodes".to_owned()) {
        return false;
    }
    let (verb, name) = (question.verb.as_str(), question.name.as_str());
    let mut own_pods = world
        .pods
        .iter()
        .filter(|pod| pod.spec.node_name == node && pod.metadata.namespace == question.namespace);
    match (question.resource.as_str(), question.subresource.as_str()) {
        ("secrets", _) => {
            ["get", "list", "watch"].contains(&verb)
                && own_pods.any(|pod| {
                    let secret = pod.spec.volumes[0].volume_source.secret.as_ref().unwrap();
                    secret.secret_name == name
                })
        }
        ("serviceaccounts", "") => {
            verb == "get" && own_pods.any(|pod| pod.spec.service_account_name == name)
        }
        ("serviceaccounts", _) => {
            verb == "create" && own_pods.any(|pod| pod.spec.service_account_name == name)
        }
        ("nodes", _) => match verb {
            "create" | "update" => true,
            _ => name == node,
        },
        ("leases", _) => {
            question.namespace == "kube-node-lease"
                && (verb == "create" || (verb != "list" && name == node))
        }
        ("services", _) => ["get", "list", "watch"].contains(&verb),
        ("events", _) => ["create", "update", "patch"].contains(&verb),
        _ => false,
    }
}

/// How many questions there were, and how many of them were allowed.
#[derive(Default)]
struct Tally {
    asked: u32,
    allowed: u32,
}

impl Tally {
    #[track_caller]
    fn compare(&mut self, authorizer: &dyn Authorizer, question: &Attributes, want: bool) {
        let verdict = authorizer.authorize(question).now_or_never();
        let Some(Ok(verdict)) = verdict else {
            panic!("{question:?}: {verdict:?}");
        };
        assert!(!matches!(verdict, Decision::Deny(_)), "{question:?}");
        assert_eq!(verdict.is_allowed(), want, "{question:?}: {verdict:?}");
        self.asked += 1;
        self.allowed += u32::from(want);
    }

    #[track_caller]
    fn is_balanced(&self, name: &str) {
        let part = f64::from(self.allowed) / f64::from(self.asked);
        assert!((BALANCE..=1.0 - BALANCE).contains(&part), "{name}: {part}");
    }
}

#[test]
fn verdicts_are_those_of_the_documentation() {
    let (mut rbac, mut abac, mut node) = (Tally::default(), Tally::default(), Tally::default());
    for seed in 0..WORLDS {
        let mut dice = Dice::new(seed);
        let world = World::new(&mut dice);
        let authorizers = world.authorizers();
        for _ in 0..QUESTIONS {
            let question = dice.question();
            rbac.compare(
                &authorizers.rbac,
                &question,
                rbac_says(&world.rbac, &question),
            );
            let question = dice.question();
            abac.compare(&authorizers.abac, &question, abac_says(&world, &question));
            let question = dice.question_of_a_node();
            node.compare(&authorizers.node, &question, node_says(&world, &question));
        }
    }
    assert!(rbac.asked >= 100_000);
    for (name, tally) in [("RBAC", rbac), ("ABAC", abac), ("Node", node)] {
        tally.is_balanced(name);
    }
}

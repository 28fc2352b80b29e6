//! Random roles, bindings and questions, and a reference that decides by them as the documentation says, written as plainly as can be:
//! lists that are searched from the start, no index, no code of the authorizer. Tests inside and outside of the crate share it.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use api_types::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use component_base::auth::{Attributes, UserInfo};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

pub(crate) const USERS: [&str; 5] = [
    "ann",
    "bob",
    "eve",
    "system:serviceaccount:red:robot",
    "system:serviceaccount:blue:robot",
];
pub(crate) const GROUPS: [&str; 4] = ["devs", "ops", "system:authenticated", "system:nodes"];
pub(crate) const NAMESPACES: [&str; 3] = ["red", "blue", "green"];
const VERBS: [&str; 5] = ["get", "list", "create", "update", "delete"];
const API_GROUPS: [&str; 3] = ["", "apps", "batch"];
const RESOURCES: [&str; 4] = ["pods", "deployments", "jobs", "secrets"];
const SUBRESOURCES: [&str; 4] = ["", "", "status", "scale"];
pub(crate) const NAMES: [&str; 4] = ["", "a", "b", "c"];
const PATHS: [&str; 6] = [
    "/",
    "/healthz",
    "/healthz/etcd",
    "/metrics",
    "/version",
    "/api",
];

pub(crate) struct Dice(pub(crate) StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.0.random_range(0..texts.len())]
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.0.random_ratio(1, times)
    }

    /// Up to three of some texts, or all of them by `*`.
    fn some(&mut self, texts: &[&str]) -> Vec<String> {
        if self.once_in(3) {
            return vec!["*".to_owned()];
        }
        let count = self.0.random_range(1..=3);
        (0..count).map(|_| self.of(texts).to_owned()).collect()
    }

    fn user(&mut self) -> UserInfo {
        let groups = GROUPS.iter().filter(|_| self.once_in(3));
        let groups: Vec<String> = groups.map(|group| (*group).to_owned()).collect();
        UserInfo {
            name: self.of(&USERS).to_owned(),
            groups,
            ..UserInfo::default()
        }
    }

    pub(crate) fn question(&mut self) -> Attributes {
        let mut question = Attributes {
            user: self.user(),
            verb: self.of(&VERBS).to_owned(),
            ..Attributes::default()
        };
        if self.once_in(4) {
            question.path = self.of(&PATHS).to_owned();
            return question;
        }
        question.resource_request = true;
        if !self.once_in(5) {
            question.namespace = self.of(&NAMESPACES).to_owned();
        }
        question.api_group = self.of(&API_GROUPS).to_owned();
        question.resource = self.of(&RESOURCES).to_owned();
        question.subresource = self.of(&SUBRESOURCES).to_owned();
        question.name = self.of(&NAMES).to_owned();
        question
    }

    fn rule(&mut self, may_have_paths: bool) -> PolicyRule {
        let mut rule = PolicyRule {
            verbs: self.some(&VERBS),
            ..PolicyRule::default()
        };
        if may_have_paths && self.once_in(3) {
            const PATTERNS: [&str; 6] = ["/", "/healthz", "/healthz/*", "/me*", "/version", "*"];
            rule.non_resource_urls = self.some(&PATTERNS);
            return rule;
        }
        const WITH_SUBRESOURCES: [&str; 8] = [
            "pods",
            "deployments",
            "jobs",
            "secrets",
            "pods/status",
            "deployments/scale",
            "*/scale",
            "jobs/*",
        ];
        rule.api_groups = self.some(&API_GROUPS);
        rule.resources = self.some(&WITH_SUBRESOURCES);
        if self.once_in(4) {
            rule.resource_names = self.some(&NAMES[1..]);
        }
        rule
    }

    fn subjects(&mut self) -> Vec<Subject> {
        let count = self.0.random_range(0..=3);
        (0..count).map(|_| self.subject()).collect()
    }

    fn subject(&mut self) -> Subject {
        let (kind, name, namespace) = match self.0.random_range(0..3) {
            0 => ("User", self.of(&USERS), ""),
            1 => ("Group", self.of(&GROUPS), ""),
            _ => ("ServiceAccount", "robot", self.of(&NAMESPACES)),
        };
        Subject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            ..Subject::default()
        }
    }
}

/// All roles and bindings there are.
#[derive(Default)]
pub(crate) struct RbacWorld {
    pub(crate) cluster_roles: Vec<ClusterRole>,
    pub(crate) roles: Vec<Role>,
    pub(crate) cluster_role_bindings: Vec<ClusterRoleBinding>,
    pub(crate) role_bindings: Vec<RoleBinding>,
}

impl RbacWorld {
    pub(crate) fn new(dice: &mut Dice) -> RbacWorld {
        const ROLES: [&str; 4] = ["r0", "r1", "r2", "missing"];
        let mut world = RbacWorld::default();
        for name in &ROLES[..3] {
            let mut role = ClusterRole::default();
            role.metadata.name = (*name).to_owned();
            role.rules = vec![dice.rule(true), dice.rule(true)];
            world.cluster_roles.push(role);
            for namespace in NAMESPACES {
                let mut role = Role::default();
                role.metadata.name = (*name).to_owned();
                role.metadata.namespace = namespace.to_owned();
                role.rules = vec![dice.rule(false), dice.rule(false)];
                world.roles.push(role);
            }
        }
        for i in 0..6 {
            let mut binding = ClusterRoleBinding::default();
            binding.metadata.name = format!("b{i}");
            binding.subjects = dice.subjects();
            binding.role_ref = reference("ClusterRole", dice.of(&ROLES));
            world.cluster_role_bindings.push(binding);
        }
        for i in 0..12 {
            let mut binding = RoleBinding::default();
            binding.metadata.name = format!("b{i}");
            binding.metadata.namespace = dice.of(&NAMESPACES).to_owned();
            binding.subjects = dice.subjects();
            let kind = dice.of(&["ClusterRole", "Role"]);
            binding.role_ref = reference(kind, dice.of(&ROLES));
            world.role_bindings.push(binding);
        }
        world
    }
}

fn reference(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        kind: kind.to_owned(),
        name: name.to_owned(),
        ..RoleRef::default()
    }
}

// === the reference ===

/// "A request is allowed if some rule of some role that is bound to the user allows it."
pub(crate) fn rbac_says(world: &RbacWorld, question: &Attributes) -> bool {
    for binding in &world.cluster_role_bindings {
        for role in &world.cluster_roles {
            if binding.role_ref.name == role.metadata.name
                && any_is(&binding.subjects, &question.user)
                && any_allows(&role.rules, question)
            {
                return true;
            }
        }
    }
    for binding in &world.role_bindings {
        if !question.resource_request || binding.metadata.namespace != question.namespace {
            continue;
        }
        if !any_is(&binding.subjects, &question.user) {
            continue;
        }
        for role in &world.cluster_roles {
            if binding.role_ref.kind == "ClusterRole"
                && binding.role_ref.name == role.metadata.name
                && any_allows(&role.rules, question)
            {
                return true;
            }
        }
        for role in &world.roles {
            if binding.role_ref.kind == "Role"
                && binding.role_ref.name == role.metadata.name
                && role.metadata.namespace == binding.metadata.namespace
                && any_allows(&role.rules, question)
            {
                return true;
            }
        }
    }
    false
}

fn any_is(subjects: &[Subject], user: &UserInfo) -> bool {
    subjects.iter().any(|subject| match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.groups.contains(&subject.name),
        _ => {
            let account = format!("{}:{}", subject.namespace, subject.name);
            user.name == format!("system:serviceaccount:{account}")
        }
    })
}

fn any_allows(rules: &[PolicyRule], question: &Attributes) -> bool {
    rules.iter().any(|rule| {
        let has = |texts: &[String], wanted: &str| {
            texts.contains(&wanted.to_owned()) || texts.contains(&"*".to_owned())
        };
        if !has(&rule.verbs, &question.verb) {
            return false;
        }
        if !question.resource_request {
            return rule.non_resource_urls.iter().any(|url| {
                *url == question.path
                    || (url.ends_with('*') && question.path.starts_with(&url[..url.len() - 1]))
            });
        }
        let (resource, subresource) = (&question.resource, &question.subresource);
        let resources = if subresource.is_empty() {
            has(&rule.resources, resource)
        } else {
            has(&rule.resources, &format!("{resource}/{subresource}"))
                || rule.resources.contains(&format!("*/{subresource}"))
        };
        let names = rule.resource_names.is_empty() || rule.resource_names.contains(&question.name);
        has(&rule.api_groups, &question.api_group) && resources && names
    })
}

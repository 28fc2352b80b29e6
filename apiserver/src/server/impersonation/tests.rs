use std::collections::{BTreeMap, BTreeSet};

use component_base::auth::{Attributes, AuthorizeError, BoxFuture, Decision};
use parking_lot::Mutex;

use super::*;

/// Allows what it is told to, and notes what it was asked.
#[derive(Default)]
struct Rights {
    allowed: BTreeSet<String>,
    asked: Mutex<Vec<String>>,
}

/// A question as `verb group resource/subresource namespace/name`.
fn shown(attributes: &Attributes) -> String {
    let group = match attributes.api_group.as_str() {
        "" => "core",
        "authentication.k8s.io" => "authn",
        group => group,
    };
    let mut text = format!("{} {group} {}", attributes.verb, attributes.resource);
    if !attributes.subresource.is_empty() {
        text = format!("{text}/{}", attributes.subresource);
    }
    let namespace = &attributes.namespace;
    let name = &attributes.name;
    match namespace.is_empty() {
        true => format!("{text} {name}"),
        false => format!("{text} {namespace}/{name}"),
    }
}

impl Authorizer for Rights {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let question = shown(attributes);
        let decision = if self.allowed.contains(&question) {
            Decision::allow()
        } else {
            Decision::no_opinion()
        };
        self.asked.lock().push(question);
        Box::pin(async { Ok(decision) })
    }
}

const POD: &str = "system:serviceaccount:ns:agent";
const NODE_KEY: &str = "authentication.kubernetes.io/node-name";

fn rights(allowed: &[&str]) -> Rights {
    Rights {
        allowed: allowed.iter().map(|right| (*right).to_owned()).collect(),
        ..Rights::default()
    }
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        groups: list(groups),
        ..UserInfo::default()
    }
}

/// A pod's service account on a node.
fn agent(node: &str) -> UserInfo {
    let mut agent = user(POD, &[]);
    agent.extra.insert(NODE_KEY.to_owned(), list(&[node]));
    agent
}

/// Getting a pod.
fn get_by(user: UserInfo) -> Attributes {
    Attributes {
        user,
        verb: "get".to_owned(),
        namespace: "ns".to_owned(),
        api_version: "v1".to_owned(),
        resource: "pods".to_owned(),
        name: "p".to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
}

struct Test {
    impersonation: Impersonation,
    rights: Rights,
}

/// What came of it: the constraint and the groups, or the message.
type Outcome = Result<(&'static str, Vec<String>), String>;

impl Test {
    fn new(allowed: &[&str]) -> Test {
        Test::with_gate(true, allowed)
    }

    fn with_gate(on: bool, allowed: &[&str]) -> Test {
        let gate = BTreeMap::from([("ConstrainedImpersonation".to_owned(), on)]);
        let features = FeatureGates::default().with(&gate).expect("a gate");
        Test {
            impersonation: Impersonation::new(&features, &Metrics::default()),
            rights: rights(allowed),
        }
    }

    async fn ask(&self, requestor: UserInfo, wanted: &UserInfo) -> Outcome {
        let asker = Asker {
            authorizer: &self.rights,
            metrics: None,
        };
        let attributes = get_by(requestor);
        let found = self.impersonation.find(&asker, wanted, &attributes).await;
        match found {
            Ok((_, found)) => {
                assert_eq!(found.user.name, wanted.name);
                Ok((found.constraint, found.user.groups))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The questions since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.rights.asked.lock())
    }
}

fn allowed(constraint: &'static str, groups: &[&str]) -> Outcome {
    Ok((constraint, list(groups)))
}

#[tokio::test]
async fn modes_ask_for_the_request_and_for_the_user() {
    let table: &[(UserInfo, UserInfo, &[&str], Outcome)] = &[
        (
            user("bob", &[]),
            user("jane", &["devs"]),
            &[
                "impersonate-on:user-info:get core pods ns/p",
                "impersonate:user-info authn users jane",
                "impersonate:user-info authn groups devs",
            ],
            allowed(
                "impersonate:user-info",
                &["devs", "system:authenticated"],
            ),
        ),
        (
            user("bob", &[]),
            user("system:anonymous", &[]),
            &[
                "impersonate-on:user-info:get core pods ns/p",
                "impersonate:user-info authn users system:anonymous",
            ],
            allowed("impersonate:user-info", &["system:unauthenticated"]),
        ),
        (
            user("bob", &[]),
            user("system:serviceaccount:ns:sa", &[]),
            &[
                "impersonate-on:serviceaccount:get core pods ns/p",
                "impersonate:serviceaccount authn serviceaccounts ns/sa",
            ],
            allowed(
                "impersonate:serviceaccount",
                &[
                    "system:serviceaccounts",
                    "system:serviceaccounts:ns",
                    "system:authenticated",
                ],
            ),
        ),
        (
            user("bob", &[]),
            user("system:node:n", &[]),
            &[
                "impersonate-on:arbitrary-node:get core pods ns/p",
                "impersonate:arbitrary-node authn nodes n",
            ],
            allowed(
                "impersonate:arbitrary-node",
                &["system:nodes", "system:authenticated"],
            ),
        ),
        (
            agent("n"),
            user("system:node:n", &[]),
            &[
                "impersonate-on:associated-node:get core pods ns/p",
                "impersonate:associated-node authn nodes *",
            ],
            allowed(
                "impersonate:associated-node",
                &["system:nodes", "system:authenticated"],
            ),
        ),
        // The old mode: groups of nodes are not known to it.
        (
            user("bob", &[]),
            user("system:node:n", &[]),
            &["impersonate core users system:node:n"],
            allowed("", &["system:authenticated"]),
        ),
        (
            user("bob", &[]),
            user("system:serviceaccount:ns:sa", &["g"]),
            &[
                "impersonate core serviceaccounts ns/sa",
                "impersonate core groups g",
            ],
            allowed("", &["g", "system:authenticated"]),
        ),
        // Constrained modes do not give the greatest group away; the old one does.
        (
            user("bob", &[]),
            user("jane", &["system:masters"]),
            &[
                "impersonate-on:user-info:get core pods ns/p",
                "impersonate:user-info authn users jane",
                "impersonate:user-info authn groups system:masters",
            ],
            Err("groups.authentication.k8s.io \"system:masters\" is forbidden: User \"bob\" cannot impersonate:user-info resource \
                 \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the system:masters group is \
                 not allowed"
                .to_owned()),
        ),
        (
            agent("other"),
            user("system:node:n", &[]),
            &[
                "impersonate-on:associated-node:get core pods ns/p",
                "impersonate:associated-node authn nodes *",
            ],
            Err("pods \"p\" is forbidden: User \"system:serviceaccount:ns:agent\" cannot impersonate-on:arbitrary-node:get resource \
                 \"pods\" in API group \"\" in the namespace \"ns\""
                .to_owned()),
        ),
    ];
    for (requestor, wanted, rights, expected) in table {
        let test = Test::new(rights);
        let outcome = test.ask(requestor.clone(), wanted).await;
        assert_eq!(&outcome, expected, "{} as {wanted:?}", requestor.name);
        // Every right was needed.
        for right in rights.iter().filter(|_| expected.is_ok()) {
            let fewer: Vec<&str> = rights
                .iter()
                .filter(|other| *other != right)
                .copied()
                .collect();
            let outcome = Test::new(&fewer).ask(requestor.clone(), wanted).await;
            assert!(
                outcome.is_err(),
                "{} as {wanted:?} without {right}",
                requestor.name
            );
        }
    }
}

#[tokio::test]
async fn what_was_allowed_is_not_asked_again() {
    let jane = user("jane", &[]);
    let on = "impersonate-on:user-info:get core pods ns/p";
    let be = "impersonate:user-info authn users jane";
    let mut test = Test::new(&[on, be]);
    let expected = allowed("impersonate:user-info", &["system:authenticated"]);
    assert_eq!(test.ask(user("bob", &[]), &jane).await, expected);
    assert_eq!(test.asked(), [on, be]);
    assert_eq!(test.ask(user("bob", &[]), &jane).await, expected);
    assert_eq!(test.asked(), Vec::<String>::new());
    // Another caller's answers are no answers.
    assert_eq!(test.ask(user("eve", &[]), &jane).await, expected);
    assert_eq!(test.asked(), [on, be]);
    // Nor are those to another user.
    let other = user("jane", &["devs"]);
    assert!(test.ask(user("bob", &[]), &other).await.is_err());
    assert_eq!(
        test.asked(),
        [
            on,
            be,
            "impersonate:user-info authn groups devs",
            "impersonate core users jane"
        ]
    );
    // The mode that worked is tried first.
    test.rights.allowed = rights(&["impersonate core users root"]).allowed;
    let root = user("root", &[]);
    let old = allowed("", &["system:authenticated"]);
    assert_eq!(test.ask(user("ann", &[]), &root).await, old);
    assert_eq!(test.asked(), [on, "impersonate core users root"]);
    assert_eq!(test.ask(user("ann", &[]), &root).await, old);
    assert_eq!(test.asked(), ["impersonate core users root"]);
}

#[tokio::test]
async fn agents_of_all_nodes_share_answers_but_no_nodes() {
    let test = Test::new(&[
        "impersonate-on:associated-node:get core pods ns/p",
        "impersonate:associated-node authn nodes *",
    ]);
    let groups = ["system:nodes", "system:authenticated"];
    let expected = allowed("impersonate:associated-node", &groups);
    let node = |name: &str| user(&format!("system:node:{name}"), &[]);
    assert_eq!(test.ask(agent("a"), &node("a")).await, expected);
    assert_eq!(test.asked().len(), 2);
    assert_eq!(test.ask(agent("b"), &node("b")).await, expected);
    assert_eq!(test.asked(), Vec::<String>::new());
    assert!(test.ask(agent("b"), &node("a")).await.is_err());
    // A token that says two nodes, or a user that is no service account, is bound to none.
    let mut two = agent("a");
    two.extra.insert(NODE_KEY.to_owned(), list(&["a", "b"]));
    assert!(test.ask(two, &node("a")).await.is_err());
    let mut person = agent("a");
    person.name = "bob".to_owned();
    assert!(test.ask(person, &node("a")).await.is_err());
}

#[tokio::test]
async fn many_groups_and_values_are_asked_for_at_once() {
    let on = "impersonate-on:user-info:get core pods ns/p";
    let be = "impersonate:user-info authn users jane";
    let all_groups = "impersonate:user-info authn groups *";
    let all_extra = "impersonate:user-info authn userextras/* *";
    let mut jane = user("jane", &["a", "b", "c", "d"]);
    jane.extra
        .insert("acme.io/x".to_owned(), list(&["1", "2", "3", "4"]));
    let test = Test::new(&[on, be, all_groups, all_extra]);
    assert!(test.ask(user("bob", &[]), &jane).await.is_ok());
    assert_eq!(test.asked(), [on, be, all_groups, all_extra]);
    jane.groups.pop();
    let test = Test::new(&[on, be, all_groups, all_extra]);
    assert!(test.ask(user("bob", &[]), &jane).await.is_err());
}

#[tokio::test]
async fn extra_has_to_be_well_formed() {
    let on = "impersonate-on:user-info:get core pods ns/p";
    let be = "impersonate:user-info authn users jane";
    let table = [
        (
            "",
            "v",
            "impersonating the empty string key in extra is not allowed",
        ),
        (
            "scopes",
            "v",
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"scopes\": must be a domain-prefixed \
             path (such as \"acme.io/foo\")",
        ),
        (
            "acme.io/Scopes",
            "v",
            "impersonating a non-lowercase key in extra is not allowed: \"acme.io/Scopes\"",
        ),
        (
            "acme.io/scopes",
            "",
            "impersonating the empty string value in extra is not allowed",
        ),
    ];
    for (key, value, reason) in table {
        let mut jane = user("jane", &[]);
        jane.extra.insert(key.to_owned(), list(&[value]));
        let outcome = Test::new(&[on, be]).ask(user("bob", &[]), &jane).await;
        let expected = format!(
            "userextras.authentication.k8s.io is forbidden: User \"bob\" cannot impersonate:user-info resource \"userextras\" in API \
             group \"authentication.k8s.io\" at the cluster scope: {reason}"
        );
        assert_eq!(outcome, Err(expected));
    }
}

#[tokio::test]
async fn without_the_gate_there_is_the_old_mode_only() {
    let on = "impersonate-on:user-info:get core pods ns/p";
    let be = "impersonate:user-info authn users jane";
    let jane = user("jane", &[]);
    let test = Test::with_gate(false, &[on, be]);
    let refused = "users \"jane\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope";
    assert_eq!(
        test.ask(user("bob", &[]), &jane).await,
        Err(refused.to_owned())
    );
    assert_eq!(test.asked(), ["impersonate core users jane"]);
}

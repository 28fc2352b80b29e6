//! Many random questions to a running server, as SubjectAccessReviews, LocalSubjectAccessReviews, and SelfSubjectAccessReviews of
//! somebody else; answered by a reference, too.

use std::time::Duration;

use api_types::Struct;
use component_base::auth::Attributes;

use super::reference::{Dice, NAMESPACES, RbacWorld, rbac_says};
use super::*;

const WORLDS: u64 = 3;
const QUESTIONS: usize = 1_200;
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

fn json_of(object: &dyn Struct) -> Value {
    serde_json::from_slice(&api_types::encode_json(object)).unwrap()
}

impl Server {
    /// Makes the objects of a world. The authorizer knows them when this returns.
    async fn populate(&self, world: &RbacWorld) {
        for namespace in NAMESPACES {
            let namespace = json!({"metadata": {"name": namespace}});
            self.post("/api/v1/namespaces", namespace).await.expect(201);
        }
        let mut objects = Vec::new();
        for role in &world.cluster_roles {
            objects.push(("clusterroles", "", json_of(role)));
        }
        for role in &world.roles {
            objects.push(("roles", &*role.metadata.namespace, json_of(role)));
        }
        for binding in &world.cluster_role_bindings {
            objects.push(("clusterrolebindings", "", json_of(binding)));
        }
        for binding in &world.role_bindings {
            objects.push((
                "rolebindings",
                &*binding.metadata.namespace,
                json_of(binding),
            ));
        }
        // Everybody may ask about themselves.
        let rule = json!({
            "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"], "verbs": ["create"],
        });
        objects.push((
            "clusterroles",
            "",
            json!({"metadata": {"name": "asks"}, "rules": [rule]}),
        ));
        let group = json!({"kind": "Group", "name": "system:authenticated"});
        objects.push((
            "clusterrolebindings",
            "",
            json!({
                "metadata": {"name": "asks"}, "subjects": [group],
                "roleRef": {"kind": "ClusterRole", "name": "asks"},
            }),
        ));
        // Changes of one resource are seen in their order: who knows the last ones of all resources knows all.
        let rule = json!({"apiGroups": [""], "resources": ["markers"], "verbs": ["get"]});
        let role = json!({"metadata": {"name": "marker"}, "rules": [rule]});
        let binding = |kind: &str, user: &str| {
            json!({
                "metadata": {"name": "marker"}, "subjects": [{"kind": "User", "name": user}],
                "roleRef": {"kind": kind, "name": "marker"},
            })
        };
        objects.push(("clusterroles", "", role.clone()));
        objects.push(("roles", "red", role));
        let bound = binding("ClusterRole", "of-cluster");
        objects.push(("clusterrolebindings", "", bound));
        objects.push(("rolebindings", "red", binding("Role", "of-namespace")));
        for (resource, namespace, object) in objects {
            let path = match namespace {
                "" => format!("{RBAC}/{resource}"),
                namespace => format!("{RBAC}/namespaces/{namespace}/{resource}"),
            };
            self.post(&path, object).await.expect(201);
        }
        for user in ["of-cluster", "of-namespace"] {
            let spec = json!({"user": user, "resourceAttributes": {
                "namespace": "red", "verb": "get", "resource": "markers",
            }});
            let known = async {
                while !self.asks("subjectaccessreviews", &[], &spec).await {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), known)
                .await
                .expect("the authorizer learns of roles");
        }
    }

    async fn asks(&self, review: &str, more: &[(&str, &str)], spec: &Value) -> bool {
        let mut headers = vec![("content-type", JSON)];
        headers.extend_from_slice(more);
        let body = json!({"spec": spec}).to_string();
        let path = format!("{REVIEWS}/{review}");
        let answer = self.send("POST", &path, &headers, body).await.expect(201);
        let status = &answer["status"];
        assert_eq!(status.get("evaluationError"), None, "{spec}");
        status["allowed"].as_bool().unwrap()
    }
}

/// What is asked about.
fn spec_of(question: &Attributes) -> Value {
    if !question.resource_request {
        return json!({"nonResourceAttributes": {"path": question.path, "verb": question.verb}});
    }
    json!({"resourceAttributes": {
        "namespace": question.namespace, "verb": question.verb, "group": question.api_group,
        "resource": question.resource, "subresource": question.subresource, "name": question.name,
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_say_what_the_documentation_says() {
    let (mut allowed, mut by_kind) = (0, [0; 3]);
    for seed in 0..WORLDS {
        let mut dice = Dice::new(seed);
        let world = RbacWorld::new(&mut dice);
        let flags = ["--authorization-mode=RBAC".to_owned()];
        let Some(server) = Server::start_with(&flags).await else {
            return;
        };
        server.populate(&world).await;
        for number in 0..QUESTIONS {
            let mut question = dice.question();
            let mut spec = spec_of(&question);
            let local = format!(
                "namespaces/{}/localsubjectaccessreviews",
                question.namespace
            );
            let (kind, review) = match number % 3 {
                0 if question.resource_request && !question.namespace.is_empty() => (0, &*local),
                1 => (1, "selfsubjectaccessreviews"),
                _ => (2, "subjectaccessreviews"),
            };
            let mut headers = Vec::new();
            let user = question.user.clone();
            if kind == 1 {
                headers.push(("impersonate-user", user.name.as_str()));
                let groups = user.groups.iter();
                headers.extend(groups.map(|group| ("impersonate-group", group.as_str())));
                // Whoever is somebody has this group.
                question.user.groups.push("system:authenticated".to_owned());
            } else {
                spec["user"] = user.name.clone().into();
                spec["groups"] = json!(user.groups);
            }
            let expected = rbac_says(&world, &question);
            let said = server.asks(review, &headers, &spec).await;
            assert_eq!(said, expected, "{review} of {:?}: {spec}", question.user);
            by_kind[kind] += 1;
            allowed += usize::from(expected);
        }
    }
    let all = usize::try_from(WORLDS).unwrap() * QUESTIONS;
    let part = allowed as f64 / all as f64;
    assert!((0.2..=0.8).contains(&part), "{part}");
    assert!(by_kind.iter().all(|count| *count > all / 10), "{by_kind:?}");
}

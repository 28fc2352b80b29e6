//! Admission configured by files of the server (KEP-5793).

use std::path::Path;

use serde_json::{Value, json};

use super::encryption::eventually;
use super::webhooks::{Hooks, MUTATING, VALIDATING, rule};
use super::{CONFIG_MAPS, Server, config_map};

const GROUP: &str = "admissionregistration.k8s.io/v1";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

/// The folder that each plugin reads.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Folders {
        let folders = Folders(tempfile::tempdir().unwrap());
        for plugin in PLUGINS {
            std::fs::create_dir(folders.of(plugin)).unwrap();
        }
        folders
    }

    fn of(&self, plugin: &str) -> std::path::PathBuf {
        self.0.path().join(plugin)
    }

    fn write(&self, plugin: &str, file: &str, text: &str) {
        let path = self.of(plugin).join(file);
        // All at once, as a client would see it.
        let next = path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
    }

    fn flags(&self) -> [String; 2] {
        let plugins = PLUGINS.map(|plugin| {
            let kind = if plugin.ends_with("Webhook") {
                "WebhookAdmissionConfiguration".to_owned()
            } else {
                format!("{plugin}Configuration")
            };
            json!({"name": plugin, "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "staticManifestsDir": self.of(plugin),
            }})
        });
        let file = self.0.path().join("admission.json");
        flags(&file, &json!(plugins))
    }
}

const PLUGINS: [&str; 4] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

fn flags(file: &Path, plugins: &Value) -> [String; 2] {
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins,
    });
    std::fs::write(file, configuration.to_string()).unwrap();
    [
        "--feature-gates=ManifestBasedAdmissionControlConfig=true".to_owned(),
        format!("--admission-control-config-file={}", file.display()),
    ]
}

/// A policy that is in force, and its binding.
fn policy(kind: &str, name: &str, resource: (&str, &str), rest: Value) -> String {
    let name = format!("{name}.static.k8s.io");
    let (group, resource) = resource;
    let rules = json!({"resourceRules": [{
        "operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource],
    }]});
    let mut spec = json!({"matchConstraints": rules});
    for (key, value) in rest.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut binding = json!({"policyName": name});
    if kind.starts_with('V') {
        binding["validationActions"] = json!(["Deny"]);
    }
    let policy =
        json!({"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let binding = json!({
        "apiVersion": GROUP, "kind": format!("{kind}Binding"), "metadata": {"name": name}, "spec": binding,
    });
    format!("{policy}\n---\n{binding}\n")
}

fn denying(name: &str, resource: (&str, &str), expression: &str) -> String {
    let validations = json!({"validations": [{"expression": expression, "message": name}]});
    policy("ValidatingAdmissionPolicy", name, resource, validations)
}

fn labelling(name: &str, value: &str) -> String {
    let expression =
        format!(r#"Object{{metadata: Object.metadata{{labels: {{"by": "{value}"}}}}}}"#);
    let mutations = json!({
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    });
    policy(
        "MutatingAdmissionPolicy",
        name,
        ("", "configmaps"),
        mutations,
    )
}

fn webhooks(kind: &str, name: &str, hooks: Value) -> String {
    json!({
        "apiVersion": GROUP, "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": format!("{name}.static.k8s.io")}, "webhooks": hooks,
    })
    .to_string()
}

const CONFIG_MAP: (&str, &str) = ("", "configmaps");

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_manifests_are_in_force_from_the_start() {
    let folders = Folders::new();
    let (validating, mutating) = ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy");
    let deny = denying("deny", CONFIG_MAP, "object.metadata.name != 'bad'");
    folders.write(validating, "deny.yaml", &deny);
    let protect = denying(
        "protect",
        ("admissionregistration.k8s.io", "*"),
        "object.metadata.name == 'allowed'",
    );
    folders.write(validating, "protect.yaml", &protect);
    folders.write(mutating, "label.yaml", &labelling("label", "manifest"));
    let Some(server) = Server::start_with(&folders.flags()).await else {
        return;
    };
    server.namespace("default").await;
    let created = server.post(CONFIG_MAPS, config_map("good")).await;
    let created = created.expect(201);
    assert_eq!(created["metadata"]["labels"], json!({"by": "manifest"}));
    server.post(CONFIG_MAPS, config_map("bad")).await.refuses(
        422,
        "configmaps \"bad\" is forbidden: ValidatingAdmissionPolicy 'deny.static.k8s.io' with binding 'deny.static.k8s.io' denied request: deny",
    );
    // Policies are subject to them, and reviews are not.
    let stored = |name: &str, constraints: Value| {
        json!({"metadata": {"name": name}, "spec": {
            "matchConstraints": constraints,
            "validations": [{"expression": "object.metadata.name != 'worse'", "message": "stored"}],
        }})
    };
    let constraints = json!({"resourceRules": [{
        "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
    }]});
    let refused = server
        .post(POLICIES, stored("other", constraints.clone()))
        .await;
    refused.refuses(
        422,
        "validatingadmissionpolicies.admissionregistration.k8s.io \"other\" is forbidden: ValidatingAdmissionPolicy 'protect.static.k8s.io' with binding 'protect.static.k8s.io' denied request: protect",
    );
    let review =
        json!({"spec": {"user": "a", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    server.post(reviews, review).await.expect(201);
    // Stored policies come besides.
    let created = server.post(POLICIES, stored("allowed", constraints)).await;
    created.expect(201);
    let binding = json!({"metadata": {"name": "allowed"}, "spec": {
        "policyName": "allowed", "validationActions": ["Deny"],
    }});
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    server.post(bindings, binding).await.expect(201);
    let refused = server.post(CONFIG_MAPS, config_map("worse")).await;
    assert!(refused.message().ends_with("denied request: stored"));
    let refused = server.post(CONFIG_MAPS, config_map("bad")).await;
    assert!(refused.message().ends_with("denied request: deny"));
    // What manifests have is not in the API, and its names are not for the API.
    server
        .get(&format!("{POLICIES}/deny.static.k8s.io"))
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_manifests_are_called_before_stored_ones() {
    let hooks = Hooks::start().await;
    let folders = Folders::new();
    let everything = json!({"rules": [rule("", "*", "configmaps"), rule("admissionregistration.k8s.io", "*", "*")]});
    let first = hooks.hook("first", "field/data", json!({}));
    let text = webhooks("Mutating", "first", json!([first]));
    folders.write("MutatingAdmissionWebhook", "a.json", &text);
    let watching = hooks.hook("watching", "watching", everything);
    let text = webhooks("Validating", "watching", json!([watching]));
    folders.write("ValidatingAdmissionWebhook", "a.json", &text);
    let Some(server) = Server::start_with(&folders.flags()).await else {
        return;
    };
    server.namespace("default").await;
    let after = hooks.hook("after", "after/a/c", json!({}));
    let stored = json!({"metadata": {"name": "a"}, "webhooks": [after]});
    server.post(MUTATING, stored).await.expect(201);
    let seen = hooks.seen();
    let asked: Vec<&str> = seen.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(asked, ["watching"]);
    assert_eq!(
        seen[0].1["resource"]["resource"],
        "mutatingwebhookconfigurations"
    );
    // The stored one sees what that of the manifest wrote.
    let created = server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    assert_eq!(created["data"], json!({"a": "b", "c": "1"}));
    let asked: Vec<String> = hooks.seen().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["field/data", "after/a/c", "watching"]);
    let refusing = hooks.hook("refusing", "deny", json!({}));
    let text = webhooks("Validating", "refusing", json!([refusing]));
    folders.write("ValidatingAdmissionWebhook", "b.yaml", &text);
    eventually("the new webhook refuses", async || {
        server.post(CONFIG_MAPS, config_map("b")).await.code == 403
    })
    .await;
    let gone = folders.of("ValidatingAdmissionWebhook").join("b.yaml");
    std::fs::remove_file(gone).unwrap();
    eventually("the webhook is gone", async || {
        server.post(CONFIG_MAPS, config_map("c")).await.code == 201
    })
    .await;
    let reserved = json!({"metadata": {"name": "a.static.k8s.io"}});
    server.post(VALIDATING, reserved).await.refuses(
        422,
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"a.static.k8s.io\" is invalid: metadata.name: Invalid value: \"a.static.k8s.io\": names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be managed via the API",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_counts_when_it_is_right() {
    let folders = Folders::new();
    let plugin = "MutatingAdmissionPolicy";
    folders.write(plugin, "a.yaml", &labelling("a", "first"));
    let Some(server) = Server::start_with(&folders.flags()).await else {
        return;
    };
    server.namespace("default").await;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    let label = async || {
        let created = server.post(&dry, config_map("x")).await.expect(201);
        created["metadata"]["labels"]["by"].clone()
    };
    let counted = async |status: &str| {
        let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
        let mut lines = metrics.lines().filter(|line| {
            line.starts_with(
                "apiserver_manifest_admission_config_controller_automatic_reloads_total{",
            ) && line.contains(&format!("plugin=\"{plugin}\",status=\"{status}\""))
        });
        let line = lines.next().unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(label().await, json!("first"));
    assert_eq!(counted("success").await, "1");
    // A file that is wrong changes nothing, whatever the others say.
    folders.write(plugin, "b.yaml", "kind: Nonsense\n");
    folders.write(plugin, "a.yaml", &labelling("a", "second"));
    eventually("the failure is counted", async || {
        !counted("failure").await.is_empty()
    })
    .await;
    assert_eq!(label().await, json!("first"));
    std::fs::remove_file(folders.of(plugin).join("b.yaml")).unwrap();
    eventually("the second one counts", async || {
        label().await == json!("second")
    })
    .await;
    assert_eq!(counted("success").await, "2");
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    let infos = metrics.lines().filter(|line| {
        line.starts_with("apiserver_manifest_admission_config_controller_last_config_info{")
            && line.contains(&format!("plugin=\"{plugin}\""))
    });
    assert_eq!(infos.count(), 1, "of what counts now only");
    // A folder that another one takes the place of is followed, too.
    let (folder, aside) = (folders.of(plugin), folders.of("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::remove_dir_all(&aside).unwrap();
    eventually("an empty folder has no policies", async || {
        label().await.is_null()
    })
    .await;
    folders.write(plugin, "a.yaml", &labelling("a", "third"));
    eventually("the new folder is watched", async || {
        label().await == json!("third")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_with_a_folder_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admission.json");
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let start = async |plugin: &str, kind: &str, path: &Path| {
        let plugins = json!([{"name": plugin, "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "staticManifestsDir": path,
        }}]);
        Server::try_start_with(&flags(&file, &plugins)).await
    };
    let shown = manifests.display();
    let (validating, mutating) = ("ValidatingAdmissionPolicy", "MutatingAdmissionWebhook");
    let of_policies = "ValidatingAdmissionPolicyConfiguration";
    let of_webhooks = "WebhookAdmissionConfiguration";
    let none = folder.path().join("none");
    let table = [
        (validating, of_policies, Path::new("relative"), "couldn't init admission plugin \"ValidatingAdmissionPolicy\": staticManifestsDir: Invalid value: \"relative\": must be an absolute file path".to_owned()),
        (validating, of_policies, &none, format!("couldn't init admission plugin \"ValidatingAdmissionPolicy\": staticManifestsDir: Invalid value: \"{0}\": unable to read: stat {0}: no such file or directory", none.display())),
        (mutating, of_webhooks, &file, format!("couldn't init admission plugin \"MutatingAdmissionWebhook\": staticManifestsDir: Invalid value: \"{}\": must be a directory", file.display())),
        (validating, "MutatingAdmissionPolicyConfiguration", &manifests, "couldn't init admission plugin \"ValidatingAdmissionPolicy\": unexpected type: *policyconfig.MutatingAdmissionPolicyConfiguration".to_owned()),
        (validating, of_policies, &manifests, format!("failed to initialize admission plugin \"ValidatingAdmissionPolicy\": failed to load static policy manifests from \"{shown}\": error loading {shown}/a.yaml: \"a\" in file \"{shown}/a.yaml\" must have a name ending with \".static.k8s.io\"")),
        (mutating, of_webhooks, &manifests, format!("failed to initialize admission plugin \"MutatingAdmissionWebhook\": failed to load static webhook manifests from \"{shown}\": error loading {shown}/a.yaml: unsupported resource type *v1.ValidatingAdmissionPolicy")),
    ];
    let text = denying("a", CONFIG_MAP, "true").replace("a.static.k8s.io", "a");
    std::fs::write(manifests.join("a.yaml"), text).unwrap();
    for (plugin, kind, path, why) in table {
        let Some(started) = start(plugin, kind, path).await else {
            return;
        };
        assert_eq!(
            started.err(),
            Some(format!("failed to apply admission: {why}"))
        );
    }
}

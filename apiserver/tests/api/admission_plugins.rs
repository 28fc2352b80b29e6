//! Admission plugins that are off by default, and what the configuration file says to plugins.

use serde_json::json;

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server with these plugins, and their configurations by name.
async fn with(plugins: &str, configurations: Value, more: &[&str]) -> Option<Server> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admission.json");
    let parts = configurations.as_object().unwrap().iter();
    let parts = parts.map(|(name, own)| json!({"name": name, "configuration": own}));
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": parts.collect::<Vec<_>>(),
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    let mut flags = vec![
        format!("--enable-admission-plugins={plugins}"),
        format!("--admission-control-config-file={}", file.display()),
    ];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let server = Server::start_with(&flags).await?;
    server.namespace("default").await;
    Some(server)
}

fn pod(name: &str, spec: Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "i"}]});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": all})
}

impl Server {
    async fn annotate(&self, namespace: &str, key: &str, value: &str) {
        let path = format!("/api/v1/namespaces/{namespace}");
        let patch = json!({"metadata": {"annotations": {key: value}}}).to_string();
        self.patch(&path, MERGE, patch).await.expect(200);
        // A consistent list waits for what admission sees.
        self.get("/api/v1/namespaces").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_made_when_they_are_needed() {
    let Some(server) = with("NamespaceAutoProvision", json!({}), &[]).await else {
        return;
    };
    let dry = "/api/v1/namespaces/new/configmaps?dryRun=All";
    let answer = server.post(dry, config_map("a")).await;
    answer.refuses(404, "namespaces \"new\" not found");
    let maps = "/api/v1/namespaces/new/configmaps";
    server.post(maps, config_map("a")).await.expect(201);
    let made = server.get("/api/v1/namespaces/new").await.expect(200);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let answer = server
        .post("/api/v1/namespaces/NEW/configmaps", config_map("a"))
        .await;
    assert_eq!(answer.code, 403);
    assert!(answer.message().starts_with(
        "configmaps \"a\" is forbidden: Namespace \"NEW\" is invalid: metadata.name: "
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_where_their_namespace_lets_them() {
    let selectors = json!({"podNodeSelectorPluginConfig": {
        "clusterDefaultNodeSelector": "zone=a", "default": "zone=a,disk=ssd,rack=7",
    }});
    let configurations = json!({"PodNodeSelector": selectors});
    let Some(server) = with("PodNodeSelector", configurations, &[]).await else {
        return;
    };
    let select = |selector: Value| json!({ "nodeSelector": selector });
    let made = server.post(PODS, pod("a", select(json!({"disk": "ssd"}))));
    let made = made.await.expect(201);
    let selector = &made["spec"]["nodeSelector"];
    assert_eq!(selector, &json!({"disk": "ssd", "zone": "a"}));
    let refused = async |selector: Value, why: &str| {
        let answer = server.post(PODS, pod("b", select(selector))).await;
        answer.refuses(
            403,
            &format!("pods \"b\" is forbidden: pod node label selector {why}"),
        );
    };
    refused(
        json!({"zone": "b"}),
        "conflicts with its namespace node label selector",
    )
    .await;
    refused(
        json!({"disk": "hdd"}),
        "labels conflict with its namespace whitelist",
    )
    .await;
    let key = "scheduler.alpha.kubernetes.io/node-selector";
    server.annotate("default", key, "rack=7").await;
    let made = server.post(PODS, pod("c", json!({}))).await.expect(201);
    assert_eq!(made["spec"]["nodeSelector"], json!({"rack": "7"}));
    server.annotate("default", key, "a==b").await;
    let answer = server.post(PODS, pod("d", json!({}))).await;
    answer.refuses(500, "invalid selector: [a  b]");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_tolerate_what_their_namespace_lets_them() {
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let configuration = json!({
        "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "default": [exists("d")], "whitelist": [exists("d"), exists("ok")],
    });
    let configurations = json!({"PodTolerationRestriction": configuration});
    let off = "--disable-admission-plugins=DefaultTolerationSeconds";
    let Some(server) = with("PodTolerationRestriction", configurations, &[off]).await else {
        return;
    };
    let tolerating = |key: &str| json!({"tolerations": [exists(key)]});
    let made = server.post(PODS, pod("a", tolerating("ok"))).await;
    assert_eq!(
        made.expect(201)["spec"]["tolerations"],
        json!([exists("ok"), exists("d")])
    );
    let conflict =
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its";
    let refused = server.post(PODS, pod("b", tolerating("no"))).await;
    refused.refuses(500, &format!("{conflict} cluster whitelist"));
    let key = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
    let list = json!([exists("no"), exists("d")]).to_string();
    server.annotate("default", key, &list).await;
    let made = server.post(PODS, pod("b", tolerating("no"))).await;
    made.expect(201);
    let refused = server.post(PODS, pod("c", tolerating("ok"))).await;
    refused.refuses(500, &format!("{conflict} namespace whitelist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited() {
    // One event a second at most: of fifty at once some are too many.
    let configuration = json!({
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "limits": [{"type": "Namespace", "qps": 1, "burst": 1}, {"type": "User", "qps": 1, "burst": 100}],
    });
    let configurations = json!({"EventRateLimit": configuration});
    let Some(server) = with("EventRateLimit", configurations, &[]).await else {
        return;
    };
    let mut refused = None;
    for index in 0..50 {
        let event = json!({
            "metadata": {"name": format!("e{index}")}, "reason": "R", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        });
        let path = "/api/v1/namespaces/default/events";
        let answer = server.post(path, event).await;
        if answer.code != 201 {
            refused = Some(answer);
            break;
        }
    }
    refused.expect("a refusal").refuses(
        429,
        "Too many requests: limit reached on type Namespace for key default",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_named_by_those_who_may_delete() {
    let plugin = "OwnerReferencesPermissionEnforcement";
    let Some(server) = with(plugin, json!({}), &["--authorization-mode=RBAC"]).await else {
        return;
    };
    let rules =
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]}]);
    server.grant("bob", "bob", rules).await;
    let owned = |uid: &str, blocks: bool, kind: &str| {
        let owner = json!({"apiVersion": "v1", "kind": kind, "name": "p", "uid": uid, "blockOwnerDeletion": blocks});
        json!({"metadata": {"name": "a", "ownerReferences": [owner]}})
    };
    let forbidden = |why: &str| format!("configmaps \"a\" is forbidden: {why}");
    server
        .post_as("bob", CONFIG_MAPS, owned("u", true, "Pod"))
        .await
        .refuses(403, &forbidden("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"));
    server
        .post_as("bob", CONFIG_MAPS, owned("u", true, "Foo"))
        .await
        .refuses(403, &forbidden("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Foo: no matches for kind \"Foo\" in version \"v1\""));
    server
        .post_as("bob", CONFIG_MAPS, owned("u", false, "Pod"))
        .await
        .expect(201);
    let put = [("content-type", JSON), ("impersonate-user", "bob")];
    let path = format!("{CONFIG_MAPS}/a");
    let other = owned("other", false, "Pod").to_string();
    server
        .send("PUT", &path, &put, other.clone())
        .await
        .refuses(
            403,
            &forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>"),
        );
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["delete"]}]);
    server.grant("bob", "delete", rules).await;
    server.send("PUT", &path, &put, other).await.expect(200);
    let rules = json!([{"apiGroups": [""], "resources": ["pods/finalizers"], "verbs": ["update"]}]);
    let role = json!({"metadata": {"name": "finalize"}, "rules": rules});
    let group = "/apis/rbac.authorization.k8s.io/v1";
    server
        .post(&format!("{group}/clusterroles"), role)
        .await
        .expect(201);
    let binding = json!({
        "metadata": {"name": "finalize"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "finalize"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    server
        .post(&format!("{group}/clusterrolebindings"), binding)
        .await
        .expect(201);
    let blocking = owned("other", true, "Pod").to_string();
    let allowed = async {
        while server.send("PUT", &path, &put, blocking.clone()).await.code != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), allowed)
        .await
        .expect("who may set finalizers may block");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_limited_needs_a_quota() {
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
        "limitedResources": [
            {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass"]},
            {"resource": "pods", "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["vip"]}]},
        ],
    });
    let Some(server) = with(
        "ResourceQuota",
        json!({"ResourceQuota": configuration}),
        &[],
    )
    .await
    else {
        return;
    };
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |class: &str| {
        json!({"metadata": {"name": class}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let gold = "gold.storageclass.storage.k8s.io";
    server.post(claims, claim("silver")).await.expect(201);
    server.post(claims, claim("gold")).await.refuses(
        403,
        &format!("persistentvolumeclaims \"gold\" is forbidden: insufficient quota to consume: {gold}/persistentvolumeclaims,{gold}/requests.storage"),
    );
    let class = json!({"metadata": {"name": "vip"}, "value": 5});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    server.post(classes, class).await.expect(201);
    server.get(classes).await.expect(200);
    let vip = || pod("vip", json!({"priorityClassName": "vip"}));
    server.post(PODS, vip()).await.refuses(
        500,
        "insufficient quota to match these scopes: [{PriorityClass In [vip]}]",
    );
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let scope = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["vip"]}]});
    for (name, resources, scope) in [
        (
            "gold",
            vec![
                format!("{gold}/persistentvolumeclaims"),
                format!("{gold}/requests.storage"),
            ],
            Value::Null,
        ),
        ("vip", vec!["pods".to_owned()], scope),
    ] {
        let amounts = |amount: &str| -> Value {
            let pairs = resources.iter().map(|name| (name.clone(), json!(amount)));
            Value::Object(pairs.collect())
        };
        let quota = json!({"metadata": {"name": name}, "spec": {"hard": amounts("5Gi"), "scopeSelector": scope}});
        let mut quota = server.post(quotas, quota).await.expect(201);
        quota["status"] = json!({"hard": amounts("5Gi"), "used": amounts("0")});
        let path = format!("{quotas}/{name}/status");
        server.put(&path, quota).await.expect(200);
    }
    server.get(quotas).await.expect(200);
    server.post(claims, claim("gold")).await.expect(201);
    server.post(PODS, vip()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn resized_pods_fit_their_nodes() {
    let Some(server) = Server::start().await else {
        return;
    };
    for (name, system) in [("lin", "linux"), ("win", "windows")] {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/os": system}}});
        let mut node = server.post("/api/v1/nodes", node).await.expect(201);
        node["status"]["allocatable"] = json!({"cpu": "2", "memory": "1Gi"});
        let path = format!("/api/v1/nodes/{name}/status");
        server.put(&path, node).await.expect(200);
        let requests = json!({"requests": {"cpu": "1", "memory": "10Mi"}});
        let container = |name: &str| json!({"name": name, "image": "i", "resources": requests});
        let spec = json!({"nodeName": name, "containers": [container("c")], "initContainers": [container("i")]});
        server.post(PODS, pod(name, spec)).await.expect(201);
    }
    server.get("/api/v1/nodes").await.expect(200);
    let resize = async |name: &str, list: &str, requests: Value| {
        let path = format!("{PODS}/{name}");
        let mut pod = server.get(&path).await.expect(200);
        pod["spec"][list][0]["resources"]["requests"] = requests;
        server.put(&format!("{path}/resize"), pod).await
    };
    let answer = resize("lin", "containers", json!({"cpu": "3", "memory": "2Gi"})).await;
    answer.refuses(
        403,
        "pods \"lin\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, \
         requested: 2147483648, allocatable: 1073741824",
    );
    let causes = answer.json()["details"]["causes"].clone();
    assert_eq!(causes, json!([{"reason": "NodeCapacity"}]));
    let more = json!({"cpu": "1500m", "memory": "10Mi"});
    resize("win", "containers", more.clone()).await.refuses(
        403,
        "pods \"win\" is forbidden: pod resize is only supported on linux nodes, node \"win\" is \"windows\"",
    );
    resize("lin", "initContainers", more.clone()).await.refuses(
        403,
        "pods \"lin\" is forbidden: pod update requires features InPlacePodVerticalScalingInitContainers which are not available on \
         node \"lin\"",
    );
    resize("lin", "containers", more).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overhead_of_nothing_is_one() {
    let Some(server) = Server::start().await else {
        return;
    };
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = json!({"metadata": {"name": "c"}, "handler": "h", "overhead": {}});
    server.post(classes, class).await.expect(201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |more: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": more});
        pod["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
        pod
    };
    server.post(pods, pod(json!({"overhead": {}}))).await.refuses(
        403,
        "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    );
    let of_class = json!({"overhead": {}, "runtimeClassName": "c"});
    server.post(pods, pod(of_class)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configurations_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admission.json");
    let start = async |plugin: &str, configuration: Value| {
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [{"name": plugin, "configuration": configuration}],
        });
        std::fs::write(&file, configuration.to_string()).unwrap();
        let flags = [
            format!("--enable-admission-plugins={plugin}"),
            format!("--admission-control-config-file={}", file.display()),
        ];
        Server::try_start_with(&flags).await
    };
    let group = "apiserver.config.k8s.io/v1";
    let webhooks = "WebhookAdmissionConfiguration";
    let table = [
        (
            "ResourceQuota",
            json!({"apiVersion": group, "kind": "ResourceQuotaConfiguration", "limitedResources": [{"resource": "pods", "foo": 1}], "bar": 2}),
            "strict decoding error: unknown field \"bar\", unknown field \"limitedResources[0].foo\"",
        ),
        (
            "ResourceQuota",
            json!({"apiVersion": group, "kind": "ResourceQuotaConfiguration", "limitedResources": [{"matchContains": ["a"]}]}),
            "limitedResources[0].resource: Required value",
        ),
        (
            "MutatingAdmissionWebhook",
            json!({"apiVersion": group, "kind": webhooks, "kubeConfigFile": "rel"}),
            "kubeConfigFile: Invalid value: \"rel\": must be an absolute file path",
        ),
        (
            "ValidatingAdmissionWebhook",
            json!({"apiVersion": group, "kind": webhooks, "kubeConfigFile": "/none/kubeconfig"}),
            "stat /none/kubeconfig: no such file or directory",
        ),
        (
            "ValidatingAdmissionWebhook",
            json!({"apiVersion": group, "kind": webhooks, "staticManifestsDir": "/tmp"}),
            "staticManifestsDir: Forbidden: staticManifestsDir requires the ManifestBasedAdmissionControlConfig feature gate to be enabled",
        ),
        (
            "ImagePolicyWebhook",
            json!({"imagePolicy": {"kubeConfigFile": "/none/kubeconfig", "allowTTL": 5000}}),
            "valid value is between 1s and 30m0s, got 1h23m20s",
        ),
        (
            "ImagePolicyWebhook",
            json!({}),
            "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable",
        ),
    ];
    for (plugin, configuration, why) in table {
        let Some(started) = start(plugin, configuration).await else {
            return;
        };
        let expected = format!(
            "failed to apply admission: couldn't init admission plugin \"{plugin}\": {why}"
        );
        assert_eq!(started.err(), Some(expected));
    }
}

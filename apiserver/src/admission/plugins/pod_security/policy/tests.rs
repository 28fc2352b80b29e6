//! Pods against checks: a level and version, what the pod has, what is refused.

use api_types::core::v1::Pod as ApiPod;
use serde_json::{Value, json};

use super::*;

fn parse(asked: &str) -> LevelVersion {
    let (level, version) = asked.split_once(':').unwrap();
    LevelVersion {
        level: Level::parse(level).unwrap(),
        version: Version::parse(version).unwrap(),
    }
}

fn refused(asked: &str, pod: &Value) -> String {
    let pod: ApiPod = api_types::decode_json(pod.to_string().as_bytes()).unwrap();
    let pod = Pod {
        metadata: &pod.metadata,
        spec: &pod.spec,
    };
    details(&evaluate(parse(asked), pod))
}

/// A pod of one container with this security context, whose containers may be more.
fn with(security: Value) -> Value {
    json!({"spec": {"containers": [{"name": "a", "securityContext": security}]}})
}

fn of(spec: Value) -> Value {
    json!({"spec": spec})
}

#[test]
fn the_table_is_sorted_and_whole() {
    assert!(
        CHECKS.is_sorted_by_key(|row| (row.level, row.id, row.since)),
        "refusals come in the table's order"
    );
    for row in CHECKS.iter().filter(|row| !row.instead_of.is_empty()) {
        let is_baseline =
            |other: &&Row| other.id == row.instead_of && other.level == Level::Baseline;
        assert!(row.level == Level::Restricted && CHECKS.iter().any(|other| is_baseline(&other)));
    }
    for (asked, count) in [
        ("privileged:latest", 0),
        ("baseline:v1.0", 11),
        ("baseline:v1.33", 11),
        ("baseline:v1.34", 12),
        ("baseline:latest", 12),
        ("restricted:v1.0", 12),
        ("restricted:v1.8", 13),
        ("restricted:v1.19", 13),
        ("restricted:v1.23", 14),
        ("restricted:v1.34", 15),
        ("restricted:v1.999", 15),
    ] {
        assert_eq!(checks(parse(asked)).count(), count, "{asked}");
    }
}

#[test]
fn baseline_refuses() {
    let apparmor = "container.apparmor.security.beta.kubernetes.io/a";
    let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
    for (asked, pod, expected) in [
        ("baseline:latest", with(json!({})), ""),
        ("privileged:latest", with(json!({"privileged": true})), ""),
        (
            "baseline:latest",
            with(json!({"privileged": true})),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            "baseline:latest",
            of(json!({
                "initContainers": [{"name": "i", "securityContext": {"privileged": true}}],
                "containers": [{"name": "a", "securityContext": {"privileged": true}}, {"name": "b"}],
                "ephemeralContainers": [{"name": "e", "securityContext": {"privileged": true}}],
            })),
            "privileged (containers \"i\", \"a\", \"e\" must not set securityContext.privileged=true)",
        ),
        (
            "baseline:latest",
            of(
                json!({"hostNetwork": true, "hostIPC": true, "containers": [{"name": "a", "ports": [{"hostPort": 9}, {"hostPort": 80}]}]}),
            ),
            "host namespaces (hostNetwork=true, hostIPC=true), hostPort (container \"a\" uses hostPorts 80, 9)",
        ),
        (
            "baseline:latest",
            of(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
            "hostPath volumes (volume \"v\")",
        ),
        (
            "baseline:latest",
            with(json!({"capabilities": {"add": ["CHOWN", "NET_RAW", "BPF"]}})),
            "non-default capabilities (container \"a\" must not include \"BPF\", \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (
            "baseline:latest",
            json!({"metadata": {"annotations": {apparmor: "unconfined"}}, "spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}}),
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            "baseline:v1.18",
            json!({"metadata": {"annotations": {seccomp: "unconfined"}}, "spec": {}}),
            "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")",
        ),
        (
            "baseline:v1.19",
            json!({"metadata": {"annotations": {seccomp: "unconfined"}}}),
            "",
        ),
        (
            "baseline:v1.18",
            with(json!({"seccompProfile": {"type": "Unconfined"}})),
            "",
        ),
        (
            "baseline:v1.19",
            with(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "baseline:v1.30",
            with(
                json!({"seLinuxOptions": {"type": "container_engine_t", "user": "u", "role": "r"}}),
            ),
            "seLinuxOptions (container \"a\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\"; user may not be set; role may not be set)",
        ),
        (
            "baseline:v1.31",
            with(json!({"seLinuxOptions": {"type": "container_engine_t"}})),
            "",
        ),
        (
            "baseline:v1.28",
            of(
                json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}, {"name": "x"}, {"name": "net.ipv4.ip_local_reserved_ports"}]}}),
            ),
            "forbidden sysctls (net.ipv4.tcp_keepalive_time, x)",
        ),
        (
            "baseline:v1.29",
            of(json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]}})),
            "",
        ),
        (
            "baseline:latest",
            with(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            "baseline:latest",
            of(json!({"containers": [
                {"name": "b", "livenessProbe": {"httpGet": {"host": "h"}}},
                {"name": "a", "lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}},
            ]})),
            "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \"g\", \"h\")",
        ),
        (
            "baseline:v1.33",
            of(json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]})),
            "",
        ),
        (
            "baseline:v1.34",
            of(
                json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
            ),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            "baseline:v1.35",
            of(
                json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
            ),
            "",
        ),
    ] {
        assert_eq!(refused(asked, &pod), expected, "{asked} {pod}");
    }
}

#[test]
fn restricted_refuses_more() {
    let good = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(refused("restricted:latest", &with(good.clone())), "");
    assert_eq!(
        refused(
            "restricted:latest",
            &of(json!({"containers": [{"name": "a"}]}))
        ),
        "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let but = |name: &str, value: Value| {
        let mut security = good.clone();
        security[name] = value;
        with(security)
    };
    let volumes = json!([{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "x", "emptyDir": {}}]);
    let mut with_volumes = with(good.clone());
    with_volumes["spec"]["volumes"] = volumes;
    let windows = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]});
    let rootless = json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": false, "runAsUser": 0,
        "seccompProfile": {"type": "Localhost"}, "procMount": "Unmasked",
    }}]});
    for (asked, pod, expected) in [
        (
            "restricted:latest",
            but(
                "capabilities",
                json!({"add": ["CHOWN", "NET_BIND_SERVICE"]}),
            ),
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             container \"a\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            "restricted:latest",
            but("runAsUser", json!(0)),
            "runAsUser=0 (container \"a\" must not set runAsUser=0)",
        ),
        ("restricted:v1.22", but("runAsUser", json!(0)), ""),
        (
            "restricted:latest",
            but("runAsNonRoot", json!(false)),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            "restricted:latest",
            but("seccompProfile", json!({"type": "Unconfined"})),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "restricted:latest",
            with_volumes,
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        ("restricted:latest", of(windows.clone()), ""),
        (
            "restricted:v1.24",
            of(windows),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (
            "restricted:latest",
            of(rootless.clone()),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            "restricted:v1.34",
            of(rootless),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\"), \
             runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
             runAsUser=0 (container \"a\" must not set runAsUser=0)",
        ),
    ] {
        assert_eq!(refused(asked, &pod), expected, "{asked} {pod}");
    }
}

/// What upstream's evaluator (1.36.2, `policy.DefaultChecks`) says of pods that break none, one or many of the rules: for
/// every level, from which minor version on which reasons and details; without any, the pod is allowed.
#[test]
fn verdicts_equal_upstreams() {
    const PODS: &str = include_str!("../../../../../testdata/pod_security.jsonl");
    /// The last recorded version, after which comes "latest".
    const LAST: u64 = 37;
    let (mut verdicts, mut allowed) = (0, 0);
    for line in PODS.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let pod: ApiPod = api_types::decode_json(recorded["pod"].to_string().as_bytes()).unwrap();
        for (level, runs) in recorded["verdicts"].as_object().unwrap() {
            let runs = runs.as_array().unwrap();
            for minor in 0..=LAST + 1 {
                let of = |run: &&Value| run[0].as_u64().unwrap() <= minor;
                let wanted = runs.iter().rfind(of).unwrap()[1].as_str().unwrap();
                let asked = match minor {
                    0..=LAST => format!("{level}:v1.{minor}"),
                    _ => format!("{level}:latest"),
                };
                let pod = Pod {
                    metadata: &pod.metadata,
                    spec: &pod.spec,
                };
                let found = evaluate(parse(&asked), pod);
                let found = format!("{}|{}", reasons(&found), details(&found));
                assert_eq!(found, wanted, "{asked}: {}", recorded["pod"]);
                verdicts += 1;
                allowed += usize::from(wanted == "|");
            }
        }
    }
    assert_eq!(verdicts, 300 * 3 * 39);
    assert!(
        (verdicts / 3..verdicts * 3 / 4).contains(&allowed),
        "{allowed}"
    );
}

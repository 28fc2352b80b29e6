//! What is accepted in pods and templates but deprecated, without effect or surprising. Upstream: pkg/api/pod/warnings.go,
//! and the warnings of nodes' labels and of claims that it uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_types::core::v1::*;
use api_types::meta::v1::ObjectMeta;
use apimachinery::field::Path;
use apimachinery::quote::quote;
use apimachinery::validation as rules;

use super::pods::profile_of_annotation;
use crate::apis::gates;
use crate::apis::validation::pods::containers;
use crate::apis::validation::security::{APPARMOR_CONTAINER, SECCOMP_CONTAINER, SECCOMP_POD};

pub(super) fn pod_warnings(pod: &Pod) -> Vec<String> {
    Subject {
        root: None,
        spec: &pod.spec,
        metadata: &pod.metadata,
    }
    .warnings()
}

pub(super) fn template_warnings(path: &Path, template: &PodTemplateSpec) -> Vec<String> {
    Subject {
        root: Some(path),
        spec: &template.spec,
        metadata: &template.metadata,
    }
    .warnings()
}

const DEPRECATED_LABELS: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#,
    ),
    (
        "beta.kubernetes.io/os",
        r#"deprecated since v1.14; use "kubernetes.io/os" instead"#,
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#,
    ),
    (
        "beta.kubernetes.io/instance-type",
        r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#,
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        r#"use "node-role.kubernetes.io/control-plane" instead"#,
    ),
];

/// What to say about a node's label that is no longer used.
pub(super) fn deprecated_label(key: &str) -> Option<&'static str> {
    let row = DEPRECATED_LABELS.iter().find(|(label, _)| *label == key)?;
    Some(row.1)
}

pub(super) fn node_selector_term(
    term: &NodeSelectorTerm,
    check_values: bool,
    path: &Path,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, expression) in term.match_expressions.iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        if let Some(message) = deprecated_label(&expression.key) {
            warnings.push(format!(
                "{}: {} is {message}",
                path.child("key"),
                expression.key
            ));
        }
        if check_values {
            for (j, value) in expression.values.iter().enumerate() {
                for problem in rules::is_label_value(value) {
                    let path = path.child("values").index(j);
                    warnings.push(format!("{path}: {value} is invalid, {problem}"));
                }
            }
        }
    }
    warnings
}

/// Amounts of bytes with a fraction.
fn fraction(
    list: &BTreeMap<String, api_types::Quantity>,
    name: &str,
    path: &Path,
) -> Option<String> {
    let amount = list
        .get(name)
        .filter(|amount| amount.milli_value() % 1000 != 0)?;
    let text = quote(&amount.to_string());
    Some(format!(
        "{}: fractional byte value {text} is invalid, must be an integer",
        path.key(name)
    ))
}

pub(super) fn claim_spec_warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let path = path.child("resources");
    let requests = fraction(&spec.resources.requests, "storage", &path.child("requests"));
    let limits = fraction(&spec.resources.limits, "storage", &path.child("limits"));
    requests.into_iter().chain(limits).collect()
}

pub(super) const APPARMOR_DEPRECATED: &str =
    r#"deprecated since v1.30; use the "appArmorProfile" field instead"#;

/// A pod, or a template at a path.
struct Subject<'a> {
    root: Option<&'a Path>,
    spec: &'a PodSpec,
    metadata: &'a ObjectMeta,
}

impl Subject<'_> {
    fn at(&self, names: &[&'static str]) -> Path {
        let root = self.root.cloned().unwrap_or_else(Path::nil);
        names.iter().fold(root, |path, name| path.child(*name))
    }

    fn annotation(&self, key: &str) -> Path {
        self.at(&["metadata", "annotations"]).key(key)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.node_labels(&mut warnings);
        for (key, message) in [
            (
                "scheduler.alpha.kubernetes.io/critical-pod",
                r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
            ),
            (
                "security.alpha.kubernetes.io/sysctls",
                r#"non-functional in v1.11+; use the "sysctls" field instead"#,
            ),
            (
                "security.alpha.kubernetes.io/unsafe-sysctls",
                r#"non-functional in v1.11+; use the "sysctls" field instead"#,
            ),
        ] {
            if self.metadata.annotations.contains_key(key) {
                warnings.push(format!("{}: {message}", self.annotation(key)));
            }
        }
        self.volumes(&mut warnings);
        warnings.extend(overlapping_paths(&self.spec.volumes));
        self.names(&mut warnings);
        let overhead = self.at(&["spec", "overhead"]);
        for name in ["memory", "ephemeral-storage"] {
            warnings.extend(fraction(&self.spec.overhead, name, &overhead));
        }
        self.profiles_and_containers(&mut warnings);
        self.ports(&mut warnings);
        if self
            .spec
            .termination_grace_period_seconds
            .is_some_and(|seconds| seconds < 0)
        {
            let path = self.at(&["spec", "terminationGracePeriodSeconds"]);
            warnings.push(format!(
                "{path}: must be >= 0; negative values are invalid and will be treated as 1"
            ));
        }
        self.null_selectors(&mut warnings);
        if let Some(config) = &self.spec.dns_config {
            for (i, server) in config.nameservers.iter().enumerate() {
                let path = self.at(&["spec", "dnsConfig", "nameservers"]).index(i);
                warnings.extend(rules::get_warnings_for_ip(&path, server));
            }
        }
        for (i, alias) in self.spec.host_aliases.iter().enumerate() {
            let path = self.at(&["spec", "hostAliases"]).index(i).child("ip");
            warnings.extend(rules::get_warnings_for_ip(&path, &alias.ip));
        }
        warnings
    }

    fn node_labels(&self, warnings: &mut Vec<String>) {
        for key in self.spec.node_selector.keys() {
            if let Some(message) = deprecated_label(key) {
                let path = self.at(&["spec", "nodeSelector"]).key(key.as_str());
                warnings.push(format!("{path}: {message}"));
            }
        }
        let affinity = self
            .spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref());
        if let Some(affinity) = affinity {
            let path = self.at(&["spec", "affinity", "nodeAffinity"]);
            if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
                let path = path
                    .child("requiredDuringSchedulingIgnoredDuringExecution")
                    .child("nodeSelectorTerms");
                for (i, term) in required.node_selector_terms.iter().enumerate() {
                    warnings.extend(node_selector_term(term, false, &path.index(i)));
                }
            }
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
            let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
            for (i, term) in preferred.iter().enumerate() {
                warnings.extend(node_selector_term(
                    &term.preference,
                    true,
                    &path.index(i).child("preference"),
                ));
            }
        }
        for (i, constraint) in self.spec.topology_spread_constraints.iter().enumerate() {
            let path = self.at(&["spec", "topologySpreadConstraints"]).index(i);
            if let Some(message) = deprecated_label(&constraint.topology_key) {
                warnings.push(format!(
                    "{}: {} is {message}",
                    path.child("topologyKey"),
                    constraint.topology_key
                ));
            }
            if constraint.label_selector.is_none() {
                warnings.push(null_selector(&path.child("labelSelector")));
            }
        }
    }

    fn volumes(&self, warnings: &mut Vec<String>) {
        const IN_1_22: &str = "deprecated in v1.22, non-functional in v1.25+";
        let git = if gates::enabled("GitRepoVolumeDriver") {
            "deprecated in v1.11"
        } else {
            "deprecated in v1.11, and disabled by default in v1.33+"
        };
        for (i, volume) in self.spec.volumes.iter().enumerate() {
            let path = self.at(&["spec", "volumes"]).index(i);
            let source = &volume.volume_source;
            let mut old = |set: bool, child: &'static str, message: &str| {
                if set {
                    warnings.push(format!("{}: {message}", path.child(child)));
                }
            };
            let photon = "deprecated in v1.11, non-functional in v1.16+";
            old(
                source.photon_persistent_disk.is_some(),
                "photonPersistentDisk",
                photon,
            );
            old(source.git_repo.is_some(), "gitRepo", git);
            old(
                source.scale_io.is_some(),
                "scaleIO",
                "deprecated in v1.16, non-functional in v1.22+",
            );
            old(source.flocker.is_some(), "flocker", IN_1_22);
            old(source.storageos.is_some(), "storageOS", IN_1_22);
            old(source.quobyte.is_some(), "quobyte", IN_1_22);
            old(
                source.glusterfs.is_some(),
                "glusterfs",
                "deprecated in v1.25, non-functional in v1.26+",
            );
            let template = source
                .ephemeral
                .as_ref()
                .and_then(|source| source.volume_claim_template.as_ref());
            if let Some(template) = template {
                let path = path
                    .child("ephemeral")
                    .child("volumeClaimTemplate")
                    .child("spec");
                warnings.extend(claim_spec_warnings(&template.spec, &path));
            }
            let ceph = "deprecated in v1.28, non-functional in v1.31+";
            if source.cephfs.is_some() {
                warnings.push(format!("{}: {ceph}", path.child("cephfs")));
            }
            if source.rbd.is_some() {
                warnings.push(format!("{}: {ceph}", path.child("rbd")));
            }
        }
    }

    /// Host aliases and pull secrets that are named twice or not at all.
    fn names(&self, warnings: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for (i, alias) in self.spec.host_aliases.iter().enumerate() {
            if !seen.insert(&alias.ip) {
                let path = self.at(&["spec", "hostAliases"]).index(i).child("ip");
                warnings.push(format!("{path}: duplicate ip {}", quote(&alias.ip)));
            }
        }
        let secrets = &self.spec.image_pull_secrets;
        let path = |i| {
            self.at(&["spec", "imagePullSecrets"])
                .index(i)
                .child("name")
        };
        let mut seen = BTreeSet::new();
        for (i, secret) in secrets.iter().enumerate() {
            if !seen.insert(&secret.name) {
                warnings.push(format!(
                    "{}: duplicate name {}",
                    path(i),
                    quote(&secret.name)
                ));
            }
        }
        for (i, _) in secrets
            .iter()
            .enumerate()
            .filter(|(_, secret)| secret.name.is_empty())
        {
            warnings.push(format!("{}: invalid empty name \"\"", path(i)));
        }
    }

    fn profiles_and_containers(&self, warnings: &mut Vec<String>) {
        const SECCOMP: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
        let annotations = &self.metadata.annotations;
        let pod_context = self.spec.security_context.as_ref();
        let pod_seccomp = pod_context.and_then(|context| context.seccomp_profile.as_ref());
        let pod_apparmor = pod_context.and_then(|context| context.app_armor_profile.as_deref());
        if pod_seccomp.is_none() && annotations.contains_key(SECCOMP_POD) {
            warnings.push(format!("{}: {SECCOMP}", self.annotation(SECCOMP_POD)));
        }
        for (container, path) in containers(self.spec, &self.at(&["spec"])) {
            let context = container.security_context.as_ref();
            let key = format!("{SECCOMP_CONTAINER}{}", container.name);
            let has_seccomp = context.is_some_and(|context| context.seccomp_profile.is_some());
            if !has_seccomp && annotations.contains_key(&key) {
                warnings.push(format!("{}: {SECCOMP}", self.annotation(&key)));
            }
            // A pod's annotations become fields when it is created, which warns (`apparmor_from_annotations`).
            let has_apparmor = context.is_some_and(|context| context.app_armor_profile.is_some());
            let key = format!("{APPARMOR_CONTAINER}{}", container.name);
            if self.root.is_some()
                && !has_apparmor
                && let Some(annotation) = annotations.get(&key)
                && (pod_apparmor.is_none()
                    || pod_apparmor != profile_of_annotation(annotation).as_ref())
            {
                warnings.push(format!("{}: {APPARMOR_DEPRECATED}", self.annotation(&key)));
            }
            let resources = path.child("resources");
            for name in ["memory", "ephemeral-storage"] {
                warnings.extend(fraction(
                    &container.resources.limits,
                    name,
                    &resources.child("limits"),
                ));
                warnings.extend(fraction(
                    &container.resources.requests,
                    name,
                    &resources.child("requests"),
                ));
            }
            warnings.extend(hidden_variables(&container.env, &path.child("env")));
        }
    }

    fn ports(&self, warnings: &mut Vec<String>) {
        let all: Vec<(ContainerPort, Path)> = containers(self.spec, &self.at(&["spec"]))
            .into_iter()
            .flat_map(|(container, path)| {
                let ports = container.ports.clone().into_iter().enumerate();
                ports
                    .map(|(i, port)| (port, path.child("ports").index(i)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut same: HashMap<(i32, &String), Vec<(&ContainerPort, &Path)>> = HashMap::new();
        for (port, path) in &all {
            if !port.host_ip.is_empty() && port.host_port == 0 {
                // Go's form of the internal struct.
                let text = format!(
                    "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.name, port.host_port, port.container_port, port.protocol, port.host_ip
                );
                warnings.push(format!("{path}: hostIP set without hostPort: {text}"));
            }
            let same = same
                .entry((port.container_port, &port.protocol))
                .or_default();
            for (other, other_path) in same.iter().take(MOST_PAIRS) {
                let same_port = port.host_port == other.host_port;
                let what = if port.host_ip == other.host_ip && same_port {
                    "duplicate port definition"
                } else if port.host_port == 0 || other.host_port == 0 {
                    "overlapping port definition"
                } else if same_port && port.host_ip.is_empty() != other.host_ip.is_empty() {
                    "dangerously ambiguous port definition"
                } else {
                    continue;
                };
                warnings.push(format!("{path}: {what} with {other_path}"));
            }
            if warnings.len() > MOST_PAIRS {
                break;
            }
            same.push((port, path));
        }
        let mut names: BTreeMap<&str, &Path> = BTreeMap::new();
        for (port, path) in all.iter().filter(|(port, _)| !port.name.is_empty()) {
            match names.get(port.name.as_str()) {
                Some(other) => warnings.push(format!(
                    "{path}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                    quote(&port.name)
                )),
                None => {
                    names.insert(&port.name, path);
                }
            }
        }
    }

    fn null_selectors(&self, warnings: &mut Vec<String>) {
        let Some(affinity) = &self.spec.affinity else {
            return;
        };
        let mut terms =
            |required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm], name| {
                let path = self.at(&["spec", "affinity", name]);
                for (i, _) in required
                    .iter()
                    .enumerate()
                    .filter(|(_, term)| term.label_selector.is_none())
                {
                    let path = path
                        .child("requiredDuringSchedulingIgnoredDuringExecution")
                        .index(i);
                    warnings.push(null_selector(&path.child("labelSelector")));
                }
                for (i, term) in preferred.iter().enumerate() {
                    if term.pod_affinity_term.label_selector.is_none() {
                        let path = path
                            .child("preferredDuringSchedulingIgnoredDuringExecution")
                            .index(i);
                        warnings.push(null_selector(
                            &path.child("podAffinityTerm").child("labelSelector"),
                        ));
                    }
                }
            };
        if let Some(affinity) = &affinity.pod_affinity {
            terms(
                &affinity.required_during_scheduling_ignored_during_execution,
                &affinity.preferred_during_scheduling_ignored_during_execution,
                "podAffinity",
            );
        }
        if let Some(affinity) = &affinity.pod_anti_affinity {
            terms(
                &affinity.required_during_scheduling_ignored_during_execution,
                &affinity.preferred_during_scheduling_ignored_during_execution,
                "podAntiAffinity",
            );
        }
    }
}

fn null_selector(path: &Path) -> String {
    format!("{path}: a null labelSelector results in matching no pod")
}

fn hidden_variables(variables: &[EnvVar], path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, variable) in variables.iter().enumerate() {
        if seen.insert(&variable.name) {
            continue;
        }
        // A definition that extends the earlier one is fine.
        let reference = format!("$({})", variable.name);
        let extends = variable.value_from.is_none()
            && variable.value != reference
            && variable.value.contains(&reference);
        if !extends {
            let name = quote(&variable.name);
            warnings.push(format!(
                "{}: hides previous definition of {name}, which may be dropped when using apply",
                path.index(i)
            ));
        }
    }
    warnings
}

// === Paths in volumes that lie over each other ===

/// Of things that are compared with each other, how many at most, and how many warnings are enough: a response has room for fewer.
const MOST_PAIRS: usize = 1_000;

#[derive(Clone, PartialEq)]
struct Target {
    path: String,
    source: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&quote(&self.path))?;
        if !self.source.is_empty() {
            write!(f, " ({})", self.source)?;
        }
        Ok(())
    }
}

fn targets<'a>(paths: impl IntoIterator<Item = &'a String>, source: &str) -> Vec<Target> {
    let made = paths.into_iter().map(|path| Target {
        path: path.clone(),
        source: source.to_owned(),
    });
    made.collect()
}

fn overlaps(targets: Vec<Target>) -> Vec<String> {
    let mut found = Vec::new();
    let mut before: Vec<Target> = Vec::new();
    let is_below = |path: &str, above: &str| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for mut target in targets.into_iter().take(MOST_PAIRS) {
        target
            .path
            .truncate(target.path.trim_end_matches('/').len());
        if target.path.is_empty() {
            continue;
        }
        for other in &before {
            if is_below(&target.path, &other.path) || is_below(&other.path, &target.path) {
                found.push(format!("{target} with {other}"));
            }
        }
        if found.len() > MOST_PAIRS {
            break;
        }
        before.push(target);
    }
    found
}

fn overlapping_paths(volumes: &[Volume]) -> Vec<String> {
    let mut warnings = Vec::new();
    for volume in volumes {
        let name = quote(&volume.name);
        let mut warn = |what: &str, targets: Vec<Target>| {
            for overlap in overlaps(targets) {
                warnings.push(format!(
                    "volume {name} ({what}): overlapping paths: {overlap}"
                ));
            }
        };
        let source = &volume.volume_source;
        if let Some(map) = &source.config_map {
            let what = format!("ConfigMap {}", quote(&map.local_object_reference.name));
            warn(&what, targets(map.items.iter().map(|item| &item.path), ""));
        }
        if let Some(secret) = &source.secret {
            let what = format!("Secret {}", quote(&secret.secret_name));
            warn(
                &what,
                targets(secret.items.iter().map(|item| &item.path), ""),
            );
        }
        if let Some(downward) = &source.downward_api {
            warn(
                "DownwardAPI",
                targets(downward.items.iter().map(|item| &item.path), ""),
            );
        }
        let Some(projected) = &source.projected else {
            continue;
        };
        let mut all = Vec::new();
        for source in &projected.sources {
            if *source == VolumeProjection::default() {
                warnings.push(format!("volume {name} (Projected) has no sources provided"));
            }
            all.extend(projection_targets(source));
        }
        for overlap in overlaps(all) {
            warnings.push(format!(
                "volume {name} (Projected): overlapping paths: {overlap}"
            ));
        }
    }
    warnings
}

fn projection_targets(source: &VolumeProjection) -> Vec<Target> {
    if let Some(map) = source
        .config_map
        .as_ref()
        .filter(|map| !map.items.is_empty())
    {
        let what = format!("ConfigMap {}", quote(&map.local_object_reference.name));
        return targets(map.items.iter().map(|item| &item.path), &what);
    }
    if let Some(secret) = source
        .secret
        .as_ref()
        .filter(|secret| !secret.items.is_empty())
    {
        let what = format!("Secret {}", quote(&secret.local_object_reference.name));
        return targets(secret.items.iter().map(|item| &item.path), &what);
    }
    if let Some(downward) = source
        .downward_api
        .as_ref()
        .filter(|downward| !downward.items.is_empty())
    {
        return targets(downward.items.iter().map(|item| &item.path), "DownwardAPI");
    }
    if let Some(token) = &source.service_account_token {
        return targets([&token.path], "ServiceAccountToken");
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let name = bundle
            .name
            .as_deref()
            .or(bundle.signer_name.as_deref())
            .unwrap_or("");
        return targets(
            [&bundle.path],
            &format!("ClusterTrustBundle {}", quote(name)),
        );
    }
    let Some(certificate) = &source.pod_certificate else {
        return Vec::new();
    };
    let parts = [
        (&certificate.certificate_chain_path, "PodCertificate chain"),
        (&certificate.key_path, "PodCertificate key"),
        (
            &certificate.credential_bundle_path,
            "PodCertificate credential bundle",
        ),
    ];
    let used = parts.into_iter().filter(|(path, _)| !path.is_empty());
    used.flat_map(|(path, what)| targets([path], what))
        .collect()
}

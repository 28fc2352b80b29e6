//! The other kinds of the core group. Upstream: pkg/registry/core.

use api_types::core::v1::*;
use apimachinery::field::Path;
use apimachinery::validation as rules;

use super::pod_warnings::{claim_spec_warnings, node_selector_term};
use super::{Kind, Row, Status, path, row};
use crate::apis::gates;
use crate::apis::validation::{
    core as checks, events, nodes, persistent_volumes as volumes, quotas,
};
use crate::registry::strategy::GarbageCollection;

pub(super) static ROWS: &[Row] = &[
    row("", "ConfigMap", "", &CONFIG_MAP),
    row("", "Secret", "", &SECRET),
    row("", "ServiceAccount", "", &SERVICE_ACCOUNT),
    row("", "Namespace", "", &NAMESPACE),
    row("", "Namespace", "status", &NAMESPACE_STATUS),
    row("", "Namespace", "finalize", &NAMESPACE_FINALIZE),
    row("", "Node", "", &NODE),
    row("", "Node", "status", &NODE_STATUS),
    row("", "Event", "", &EVENT),
    row("events.k8s.io", "Event", "", &EVENT),
    row("", "LimitRange", "", &LIMIT_RANGE),
    row("", "ResourceQuota", "", &RESOURCE_QUOTA),
    row("", "ResourceQuota", "status", &RESOURCE_QUOTA_STATUS),
    row("", "PersistentVolume", "", &PERSISTENT_VOLUME),
    row("", "PersistentVolume", "status", &PERSISTENT_VOLUME_STATUS),
    row("", "PersistentVolumeClaim", "", &PERSISTENT_VOLUME_CLAIM),
    row(
        "",
        "PersistentVolumeClaim",
        "status",
        &PERSISTENT_VOLUME_CLAIM_STATUS,
    ),
];

static CONFIG_MAP: Kind<ConfigMap> = Kind::new(
    |_, map| checks::validate_config_map(map),
    |_, map, old| checks::validate_config_map_update(map, old),
);

static SECRET: Kind<Secret> = Kind {
    prepare_update: |_, secret, old| {
        if secret.type_.is_empty() {
            secret.type_.clone_from(&old.type_);
        }
    },
    warn: |_, secret| key_pair_warning(secret).into_iter().collect(),
    warn_update: |_, secret, _| key_pair_warning(secret).into_iter().collect(),
    ..Kind::new(
        |_, secret| checks::validate_secret(secret),
        |_, secret, old| checks::validate_secret_update(secret, old),
    )
};

/// What Go's crypto/tls says of a pair that holds no certificate or no key.
fn key_pair_warning(secret: &Secret) -> Option<String> {
    if secret.type_ != "kubernetes.io/tls" {
        return None;
    }
    let blocks = |key: &str| {
        let bytes = secret.data.get(key).map_or(&[][..], |value| &value.0);
        pem::parse_many(bytes).unwrap_or_default()
    };
    for (key, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
        let blocks = blocks(key);
        if blocks.is_empty() {
            return Some(format!("tls: failed to find any PEM data in {what} input"));
        }
        let fits = |tag: &str| match what {
            "certificate" => tag == "CERTIFICATE",
            _ => tag == "PRIVATE KEY" || tag.ends_with(" PRIVATE KEY"),
        };
        if !blocks.iter().any(|block| fits(block.tag())) {
            let tags: Vec<&str> = blocks.iter().map(pem::Pem::tag).collect();
            let tags = tags.join(" ");
            return Some(format!(
                "tls: failed to find {what} PEM data in {what} input after skipping PEM blocks of the following types: [{tags}]"
            ));
        }
    }
    None
}

static SERVICE_ACCOUNT: Kind<ServiceAccount> = Kind {
    prepare: |_, account| keep_secret_names(account),
    prepare_update: |_, account, _| keep_secret_names(account),
    warn: |_, account| mountable_secrets_warning(account, None),
    warn_update: |_, account, old| mountable_secrets_warning(account, Some(old)),
    ..Kind::new(
        |_, account| checks::validate_service_account(account),
        |_, account, old| checks::validate_service_account_update(account, old),
    )
};

fn keep_secret_names(account: &mut ServiceAccount) {
    for secret in &mut account.secrets {
        *secret = ObjectReference {
            name: std::mem::take(&mut secret.name),
            ..ObjectReference::default()
        };
    }
}

fn mountable_secrets_warning(
    account: &ServiceAccount,
    old: Option<&ServiceAccount>,
) -> Vec<String> {
    const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
    let has = |account: &ServiceAccount| account.metadata.annotations.contains_key(KEY);
    if !has(account) || old.is_some_and(has) {
        return Vec::new();
    }
    vec![format!(
        "metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    )]
}

// === Namespace ===

static NAMESPACE: Kind<Namespace> = Kind {
    prepare: |_, namespace| {
        namespace.status = NamespaceStatus {
            phase: "Active".to_owned(),
            ..NamespaceStatus::default()
        };
        if !namespace
            .spec
            .finalizers
            .iter()
            .any(|name| name == "kubernetes")
        {
            namespace.spec.finalizers.push("kubernetes".to_owned());
        }
    },
    prepare_update: |_, namespace, old| {
        namespace.spec.finalizers.clone_from(&old.spec.finalizers);
    },
    canonicalize: set_name_label,
    ..Kind::new(
        |_, namespace| checks::validate_namespace(namespace),
        |_, namespace, old| {
            let mut errors = checks::validate_namespace(namespace);
            errors.extend(checks::validate_namespace_update(namespace, old));
            errors
        },
    )
};

fn set_name_label(namespace: &mut Namespace) {
    let name = namespace.metadata.name.clone();
    namespace
        .metadata
        .labels
        .insert("kubernetes.io/metadata.name".to_owned(), name);
}

static NAMESPACE_STATUS: Status<Namespace> =
    Status::new(|_, namespace, old| checks::validate_namespace_status_update(namespace, old));

static NAMESPACE_FINALIZE: Status<Namespace> = Status {
    fields: &["Spec"],
    ..Status::new(|_, namespace, old| checks::validate_namespace_finalize_update(namespace, old))
};

// === Node ===

static NODE: Kind<Node> = Kind {
    prepare: |_, node| {
        node.spec.config_source = None;
        node.status.config = None;
        drop_disabled_node_fields(node, None);
    },
    prepare_update: |_, node, old| {
        if old.spec.config_source.is_none() {
            node.spec.config_source = None;
        }
        drop_disabled_node_fields(node, Some(old));
    },
    warn: |_, node| node_warnings(node),
    warn_update: |_, node, _| node_warnings(node),
    keeps_status: true,
    ..Kind::new(
        |_, node| nodes::validate_node(node),
        |_, node, old| {
            let mut errors = nodes::validate_node(node);
            errors.extend(nodes::validate_node_update(node, old));
            errors
        },
    )
};

static NODE_STATUS: Status<Node> = Status {
    prepare: |_, node, old| {
        if old.status.config.is_none() {
            node.status.config = None;
        }
    },
    ..Status::new(|_, node, old| nodes::validate_node_update(node, old))
};

fn drop_disabled_node_fields(node: &mut Node, old: Option<&Node>) {
    if !gates::enabled("RecursiveReadOnlyMounts") && !gates::enabled("UserNamespacesSupport") {
        node.status.runtime_handlers.clear();
    }
    let uses_features = old.is_some_and(|old| old.status.features.is_some());
    if !gates::enabled("SupplementalGroupsPolicy") && !uses_features {
        node.status.features = None;
    }
    let declares = old.is_some_and(|old| !old.status.declared_features.is_empty());
    if !gates::enabled("NodeDeclaredFeatures") && !declares {
        node.status.declared_features.clear();
    }
}

fn node_warnings(node: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.spec.config_source.is_some() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !node.spec.external_id.is_empty() {
        let warning = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
        warnings.push(warning.to_owned());
    }
    for (i, cidr) in node.spec.pod_cidrs.iter().enumerate() {
        warnings.extend(rules::get_warnings_for_cidr(
            &path(&["spec", "podCIDRs"]).index(i),
            cidr,
        ));
    }
    warnings
}

// === Event ===

static EVENT: Kind<Event> = Kind {
    create_on_update: true,
    garbage_collection: GarbageCollection::Unsupported,
    ..Kind::new(
        |context, event| events::validate_event(event, &context.api_version),
        |context, event, old| events::validate_event_update(event, old, &context.api_version),
    )
};

// === Quotas ===

static LIMIT_RANGE: Kind<LimitRange> = Kind {
    prepare: |_, range| {
        if range.metadata.name.is_empty() {
            range.metadata.name = uuid::Uuid::new_v4().to_string();
        }
    },
    create_on_update: true,
    ..Kind::new(
        |_, range| quotas::validate_limit_range(range),
        |_, range, _| quotas::validate_limit_range(range),
    )
};

static RESOURCE_QUOTA: Kind<ResourceQuota> = Kind {
    warn: |_, quota| quota_warnings(quota),
    ..Kind::new(
        |_, quota| quotas::validate_resource_quota(quota),
        |_, quota, old| quotas::validate_resource_quota_update(quota, old),
    )
};

static RESOURCE_QUOTA_STATUS: Status<ResourceQuota> =
    Status::new(|_, quota, old| quotas::validate_resource_quota_status_update(quota, old));

fn quota_warnings(quota: &ResourceQuota) -> Vec<String> {
    let hard = &quota.spec.hard;
    let mut warnings = Vec::new();
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut request_name = format!("requests.{name}");
        if !hard.contains_key(&request_name) && matches!(name, "cpu" | "memory") {
            request_name = name.to_owned();
        }
        let limit_name = format!("limits.{name}");
        if let (Some(request), Some(limit)) = (hard.get(&request_name), hard.get(&limit_name))
            && request > limit
        {
            warnings.push(format!(
                "ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"
            ));
        }
    }
    warnings
}

// === Volumes ===

static PERSISTENT_VOLUME: Kind<PersistentVolume> = Kind {
    prepare: |_, volume| {
        drop_volume_class(volume, None);
        volume.status.phase = "Pending".to_owned();
        volume.status.last_phase_transition_time = Some(api_types::Time::now());
    },
    prepare_update: |_, volume, old| drop_volume_class(volume, Some(old)),
    warn: |_, volume| volume_warnings(volume),
    warn_update: |_, volume, _| volume_warnings(volume),
    ..Kind::new(
        |_, volume| volumes::validate_persistent_volume(volume),
        |_, volume, old| volumes::validate_persistent_volume_update(volume, old),
    )
};

static PERSISTENT_VOLUME_STATUS: Status<PersistentVolume> = Status {
    prepare: |_, volume, old| {
        let (status, before) = (&mut volume.status, &old.status);
        let (time, time_before) = (
            status.last_phase_transition_time,
            before.last_phase_transition_time,
        );
        if before.phase == status.phase {
            status.last_phase_transition_time = time.or(time_before);
        } else if time.is_none() || time == time_before {
            status.last_phase_transition_time = Some(api_types::Time::now());
        }
    },
    ..Status::new(|_, volume, old| volumes::validate_persistent_volume_status_update(volume, old))
};

fn drop_volume_class(volume: &mut PersistentVolume, old: Option<&PersistentVolume>) {
    let in_use = old.is_some_and(|old| old.spec.volume_attributes_class_name.is_some());
    if !gates::enabled("VolumeAttributesClass") && !in_use {
        volume.spec.volume_attributes_class_name = None;
    }
}

fn volume_warnings(volume: &PersistentVolume) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, message) in [
        (
            "volume.beta.kubernetes.io/storage-class",
            r#"deprecated since v1.8; use "storageClassName" attribute instead"#,
        ),
        (
            "volume.beta.kubernetes.io/mount-options",
            r#"deprecated since v1.31; use "mountOptions" attribute instead"#,
        ),
    ] {
        if volume.metadata.annotations.contains_key(key) {
            warnings.push(format!("metadata.annotations[{key}]: {message}"));
        }
    }
    let spec = &volume.spec;
    if spec.persistent_volume_reclaim_policy == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    if let Some(required) = spec
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required.as_ref())
    {
        for (i, term) in required.node_selector_terms.iter().enumerate() {
            let path = path(&["spec", "nodeAffinity", "required", "nodeSelectorTerms"]).index(i);
            warnings.extend(node_selector_term(term, false, &path));
        }
    }
    let source = &spec.persistent_volume_source;
    for (set, child, message) in [
        (
            source.cephfs.is_some(),
            "cephfs",
            "deprecated in v1.28, non-functional in v1.31+",
        ),
        (
            source.photon_persistent_disk.is_some(),
            "photonPersistentDisk",
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        (
            source.scale_io.is_some(),
            "scaleIO",
            "deprecated in v1.16, non-functional in v1.22+",
        ),
        (
            source.storageos.is_some(),
            "storageOS",
            "deprecated in v1.22, non-functional in v1.25+",
        ),
        (
            source.glusterfs.is_some(),
            "glusterfs",
            "deprecated in v1.25, non-functional in v1.26+",
        ),
        (
            source.rbd.is_some(),
            "rbd",
            "deprecated in v1.28, non-functional in v1.31+",
        ),
    ] {
        if set {
            warnings.push(format!("spec.{child}: {message}"));
        }
    }
    warnings
}

static PERSISTENT_VOLUME_CLAIM: Kind<PersistentVolumeClaim> = Kind {
    prepare: |_, claim| prepare_claim(&mut claim.spec, None),
    prepare_update: |_, claim, old| prepare_claim(&mut claim.spec, Some(&old.spec)),
    warn: |_, claim| claim_warnings(claim),
    warn_update: |_, claim, _| claim_warnings(claim),
    ..Kind::new(
        |_, claim| volumes::validate_persistent_volume_claim(claim),
        |_, claim, old| volumes::validate_persistent_volume_claim_update(claim, old),
    )
};

static PERSISTENT_VOLUME_CLAIM_STATUS: Status<PersistentVolumeClaim> = Status {
    prepare: |_, claim, old| {
        if !gates::enabled("VolumeAttributesClass") {
            if old.status.current_volume_attributes_class_name.is_none() {
                claim.status.current_volume_attributes_class_name = None;
            }
            if old.status.modify_volume_status.is_none() {
                claim.status.modify_volume_status = None;
            }
        }
    },
    ..Status::new(|_, claim, old| {
        volumes::validate_persistent_volume_claim_status_update(claim, old)
    })
};

fn prepare_claim(spec: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    if !gates::enabled("VolumeAttributesClass")
        && old.is_none_or(|old| old.volume_attributes_class_name.is_none())
    {
        spec.volume_attributes_class_name = None;
    }
    let source = spec.data_source_ref.as_ref();
    let foreign = source.is_some_and(|source| {
        source
            .namespace
            .as_ref()
            .is_some_and(|name| !name.is_empty())
    });
    let ref_in_use = old.is_some_and(|old| old.data_source_ref.is_some());
    if foreign && !ref_in_use && !gates::enabled("CrossNamespaceVolumeDataSource") {
        spec.data_source_ref = None;
    }
    let in_use = old.is_some_and(|old| old.data_source.is_some() || old.data_source_ref.is_some());
    let known = spec.data_source.as_ref().is_some_and(|source| {
        matches!(
            (
                source.kind.as_str(),
                source.api_group.as_deref().unwrap_or("")
            ),
            ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
        )
    });
    if !in_use && spec.data_source_ref.is_none() && !known {
        spec.data_source = None;
    }
    volumes::normalize_data_sources(spec);
}

fn claim_warnings(claim: &PersistentVolumeClaim) -> Vec<String> {
    const KEY: &str = "volume.beta.kubernetes.io/storage-class";
    let mut warnings = Vec::new();
    if claim.metadata.annotations.contains_key(KEY) {
        warnings.push(format!(
            r#"metadata.annotations[{KEY}]: deprecated since v1.8; use "storageClassName" attribute instead"#
        ));
    }
    warnings.extend(claim_spec_warnings(&claim.spec, &Path::new("spec")));
    warnings
}

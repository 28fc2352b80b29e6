//! Persistent volumes and claims. Upstream: pkg/apis/core/validation.

use api_types::core::v1::*;
use api_types::meta::v1::ObjectMeta;

use super::pod_options::has_invalid_label_value;
use super::pod_spec::node_selector;
use super::resources::{basic_resource, resource_quantity};
use super::volumes::*;
use super::*;

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn access_modes(modes: &[String], empty: &'static str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if modes.is_empty() {
        errors.push(field::required(path, empty));
    }
    errors
}

fn known_access_modes(modes: &[String], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (mut exclusive, mut shared) = (false, false);
    for mode in modes {
        errors.extend(one_of(mode, &ACCESS_MODES, path));
        if mode == "ReadWriteOncePod" {
            exclusive = true;
        } else if ACCESS_MODES.contains(&mode.as_str()) {
            shared = true;
        }
    }
    if exclusive && shared {
        errors.push(field::forbidden(
            path,
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
    errors
}

// === PersistentVolume ===

pub fn validate_persistent_volume(volume: &PersistentVolume) -> ErrorList {
    let mut errors = object_meta(&volume.metadata, false, rules::name_is_dns_subdomain);
    let spec = &volume.spec;
    errors.extend(volume_spec(
        spec,
        &volume.metadata.name,
        false,
        false,
        &Path::new("spec"),
    ));
    errors.extend(mount_options(volume));
    errors
}

/// The annotation from before mount options were a field is for some types only. Upstream: pkg/volume/validation.
fn mount_options(volume: &PersistentVolume) -> Option<Error> {
    const KEY: &str = "volume.beta.kubernetes.io/mount-options";
    let source = &volume.spec.persistent_volume_source;
    let supported = source.gce_persistent_disk.is_some()
        || source.aws_elastic_block_store.is_some()
        || source.glusterfs.is_some()
        || source.nfs.is_some()
        || source.rbd.is_some()
        || source.quobyte.is_some()
        || source.iscsi.is_some()
        || source.cinder.is_some()
        || source.cephfs.is_some()
        || source.azure_file.is_some()
        || source.vsphere_volume.is_some()
        || source.azure_disk.is_some()
        || source.photon_persistent_disk.is_some();
    if supported || !volume.metadata.annotations.contains_key(KEY) {
        return None;
    }
    let detail = "may not specify mount options for this volume type";
    Some(field::forbidden(
        &path(&["metadata", "annotations", KEY]),
        detail,
    ))
}

pub fn validate_persistent_volume_update(
    new: &PersistentVolume,
    old: &PersistentVolume,
) -> ErrorList {
    let mut own = object_meta(&new.metadata, false, rules::name_is_dns_subdomain);
    let keep_invalid = old
        .spec
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required.as_ref())
        .is_some_and(|required| has_invalid_label_value(&required.node_selector_terms));
    let path = Path::new("spec");
    own.extend(volume_spec(
        &new.spec,
        &new.metadata.name,
        false,
        keep_invalid,
        &path,
    ));
    // Upstream checks the volume itself twice.
    let mut errors = own.clone();
    errors.extend(mount_options(new));
    errors.extend(own);
    let mut source = new.spec.persistent_volume_source.clone();
    let before = &old.spec.persistent_volume_source;
    // A secret for expansion may be added later.
    if let (Some(csi), Some(csi_before)) = (&mut source.csi, &before.csi)
        && csi_before.controller_expand_secret_ref.is_none()
    {
        csi.controller_expand_secret_ref = None;
    }
    if source != *before {
        let diff = go_value::diff(before, &source);
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        errors.push(field::forbidden(
            &path.child("persistentvolumesource"),
            detail,
        ));
    }
    errors.extend(immutable(
        &new.spec.volume_mode,
        &old.spec.volume_mode,
        &Path::new("volumeMode"),
        || new.spec.volume_mode.as_deref().into(),
    ));
    if !gates::enabled("MutablePVNodeAffinity")
        && let Some(before) = &old.spec.node_affinity
        && !same_but_beta_labels(new.spec.node_affinity.as_deref(), before)
    {
        let value = go_value::bad_option(new.spec.node_affinity.as_deref());
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.push(field::invalid(&Path::new("nodeAffinity"), value, detail));
    }
    let (class, before) = (
        &new.spec.volume_attributes_class_name,
        &old.spec.volume_attributes_class_name,
    );
    if class != before {
        let path = path.child("volumeAttributesClassName");
        let on = gates::enabled("VolumeAttributesClass");
        if !on {
            let detail =
                "update is forbidden when the VolumeAttributesClass feature gate is disabled";
            errors.push(field::forbidden(&path, detail));
        }
        if before.is_some() && class.is_none() {
            errors.push(field::forbidden(
                &path,
                "update from non-nil value to nil is forbidden",
            ));
        }
    }
    errors
}

/// Whether affinities differ at most in keys that were renamed when they became stable.
fn same_but_beta_labels(new: Option<&VolumeNodeAffinity>, old: &VolumeNodeAffinity) -> bool {
    const STABLE: [(&str, &str); 5] = [
        (
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
        ),
        (
            "failure-domain.beta.kubernetes.io/region",
            "topology.kubernetes.io/region",
        ),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        (
            "beta.kubernetes.io/instance-type",
            "node.kubernetes.io/instance-type",
        ),
    ];
    let Some(new) = new else { return false };
    let mut renamed = old.clone();
    let terms = renamed
        .required
        .iter_mut()
        .flat_map(|required| &mut required.node_selector_terms);
    let new_terms = new
        .required
        .iter()
        .flat_map(|required| &required.node_selector_terms);
    for (term, new_term) in terms.zip(new_terms) {
        for (requirement, new_requirement) in term
            .match_expressions
            .iter_mut()
            .zip(&new_term.match_expressions)
        {
            let stable = STABLE.iter().find(|(beta, _)| *beta == requirement.key);
            if let Some((_, stable)) = stable.filter(|(_, stable)| *stable == new_requirement.key) {
                requirement.key = (*stable).to_owned();
            }
        }
    }
    renamed == *new
}

pub fn validate_persistent_volume_status_update(
    new: &PersistentVolume,
    old: &PersistentVolume,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.metadata.resource_version.is_empty() {
        errors.push(field::required(&Path::new("resourceVersion"), ""));
    }
    errors
}

/// A volume's spec. `inline`: it stands in a VolumeAttachment.
pub(super) fn volume_spec(
    spec: &PersistentVolumeSpec,
    name: &str,
    inline: bool,
    keep_invalid: bool,
    path: &Path,
) -> ErrorList {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    let mut errors = ErrorList::new();
    let source = &spec.persistent_volume_source;
    if inline {
        if spec.claim_ref.is_some() {
            errors.push(field::forbidden(&path.child("claimRef"), INLINE));
        }
        if !spec.capacity.is_empty() {
            errors.push(field::forbidden(&path.child("capacity"), INLINE));
        }
        if source.csi.is_none() {
            let detail = "has to be specified in the context of inline volumes";
            errors.push(field::required(&path.child("csi"), detail));
        }
    }
    let modes_path = path.child("accessModes");
    errors.extend(access_modes(&spec.access_modes, "", &modes_path));
    errors.extend(known_access_modes(&spec.access_modes, &modes_path));
    let capacity_path = path.child("capacity");
    if !inline {
        if spec.capacity.is_empty() {
            errors.push(field::required(&capacity_path, ""));
        }
        if !spec.capacity.contains_key("storage") || spec.capacity.len() > 1 {
            let value = go_value::bad_list(&spec.capacity);
            errors.push(field::not_supported(&capacity_path, value, &["storage"]));
        }
        for (name, amount) in &spec.capacity {
            let path = capacity_path.key(name.as_str());
            errors.extend(basic_resource(amount, &path));
            errors.extend(positive_quantity(amount, &path));
        }
    }
    let (policy, policy_path) = (
        spec.persistent_volume_reclaim_policy.as_str(),
        path.child("persistentVolumeReclaimPolicy"),
    );
    if inline && !matches!(policy, "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        errors.push(field::forbidden(&policy_path, detail));
    } else if !inline && !policy.is_empty() {
        errors.extend(one_of(
            policy,
            &["Delete", "Recycle", "Retain"],
            &policy_path,
        ));
    }
    let affinity_path = path.child("nodeAffinity");
    match &spec.node_affinity {
        None => {}
        Some(_) if inline => errors.push(field::forbidden(&affinity_path, INLINE)),
        Some(affinity) => match &affinity.required {
            None => {
                let detail = "must specify required node constraints";
                errors.push(field::required(&affinity_path.child("required"), detail));
            }
            Some(selector) => {
                errors.extend(node_selector(
                    selector,
                    keep_invalid,
                    &affinity_path.child("required"),
                ));
            }
        },
    }
    let has_affinity = spec.node_affinity.is_some() && !inline;
    errors.extend(volume_source(source, name, has_affinity, path));
    let root = source
        .host_path
        .as_ref()
        .is_some_and(|host| is_root(&host.path));
    if root && policy == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(field::forbidden(&policy_path, detail));
    }
    if !spec.storage_class_name.is_empty() {
        let path = path.child("storageClassName");
        if inline {
            errors.push(field::forbidden(&path, INLINE));
        } else {
            errors.extend(dns_subdomain(&spec.storage_class_name, &path));
        }
    }
    if let Some(mode) = &spec.volume_mode {
        let path = path.child("volumeMode");
        if !inline {
            errors.extend(one_of(mode, &VOLUME_MODES, &path));
        } else if mode != "Filesystem" {
            let detail =
                "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(field::forbidden(&path, detail));
        }
    }
    if let Some(class) = &spec.volume_attributes_class_name
        && gates::enabled("VolumeAttributesClass")
    {
        let class_path = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.push(field::required(
                &class_path,
                "an empty string is disallowed",
            ));
        } else {
            errors.extend(dns_subdomain(class, &class_path));
        }
        if source.csi.is_none() {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(field::required(&path.child("csi"), detail));
        }
    }
    errors
}

/// Whether Go's path.Clean makes it `/`.
fn is_root(target: &str) -> bool {
    let mut depth = 0usize;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    target.starts_with('/') && depth == 0
}

fn secret_reference(secret: &SecretReference, path: &Path) -> ErrorList {
    let mut errors = required(&secret.name, path, "name");
    if !secret.name.is_empty() {
        errors.extend(dns_subdomain(&secret.name, &path.child("name")));
    }
    errors.extend(required(&secret.namespace, path, "namespace"));
    if !secret.namespace.is_empty() {
        errors.extend(dns_label(&secret.namespace, &path.child("namespace")));
    }
    errors
}

fn volume_source(
    source: &PersistentVolumeSource,
    name: &str,
    has_affinity: bool,
    path: &Path,
) -> ErrorList {
    let mut choice = Choice::new(path, "may not specify more than 1 volume type");
    choice.alternative(&source.host_path, "hostPath", "hostPath", host_path);
    choice.alternative(
        &source.gce_persistent_disk,
        "gcePersistentDisk",
        "persistentDisk",
        gce_disk,
    );
    choice.alternative(
        &source.aws_elastic_block_store,
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        aws_block_store,
    );
    choice.alternative(
        &source.glusterfs,
        "glusterfs",
        "glusterfs",
        |glusterfs, path| {
            let mut errors = required(&glusterfs.endpoints, path, "endpoints");
            errors.extend(required(&glusterfs.path, path, "path"));
            if let Some(namespace) = &glusterfs.endpoints_namespace {
                let path = path.child("endpointsNamespace");
                if namespace.is_empty() {
                    let detail =
                        "if the endpointnamespace is set, it must be a valid namespace name";
                    errors.push(field::invalid(&path, namespace, detail));
                } else {
                    errors.extend(dns_label(namespace, &path));
                }
            }
            errors
        },
    );
    choice.alternative(&source.flocker, "flocker", "flocker", flocker);
    choice.alternative(&source.nfs, "nfs", "nfs", nfs);
    choice.alternative(&source.rbd, "rbd", "rbd", |rbd, path| {
        ceph_block_device(&rbd.monitors, &rbd.image, path)
    });
    choice.alternative(&source.quobyte, "quobyte", "quobyte", quobyte);
    choice.alternative(&source.cephfs, "cephFS", "cephfs", |cephfs, path| {
        monitors(&cephfs.monitors, path)
    });
    choice.alternative(&source.iscsi, "iscsi", "iscsi", |iscsi, path| {
        iscsi_volume(iscsi, name, path)
    });
    choice.alternative(&source.cinder, "cinder", "cinder", |cinder, path| {
        let mut errors = required(&cinder.volume_id, path, "volumeID");
        if let Some(secret) = &cinder.secret_ref {
            let path = path.child("secretRef");
            errors.extend(required(&secret.name, &path, "name"));
            errors.extend(required(&secret.namespace, &path, "namespace"));
        }
        errors
    });
    choice.alternative(&source.fc, "fc", "fc", fibre_channel);
    if let Some(flex) = &source.flex_volume {
        // Upstream lets this one stand beside another.
        choice.made = true;
        let path = path.child("flexVolume");
        choice
            .errors
            .extend(flex_volume(&flex.driver, &flex.options, &path));
    }
    choice.alternative(
        &source.azure_file,
        "azureFile",
        "azureFile",
        |azure, path| {
            let mut errors = required(&azure.secret_name, path, "secretName");
            errors.extend(required(&azure.share_name, path, "shareName"));
            if let Some(namespace) = &azure.secret_namespace {
                errors.extend(required(namespace, path, "secretNamespace"));
            }
            errors
        },
    );
    choice.alternative(
        &source.vsphere_volume,
        "vsphereVolume",
        "vsphereVolume",
        |disk, path| required(&disk.volume_path, path, "volumePath"),
    );
    choice.alternative(
        &source.photon_persistent_disk,
        "photonPersistentDisk",
        "photonPersistentDisk",
        |disk, path| required(&disk.pd_id, path, "pdID"),
    );
    choice.alternative(
        &source.portworx_volume,
        "portworxVolume",
        "portworxVolume",
        |portworx, path| required(&portworx.volume_id, path, "volumeID"),
    );
    choice.alternative(&source.azure_disk, "azureDisk", "azureDisk", azure_disk);
    choice.alternative(&source.scale_io, "scaleIO", "scaleIO", |scale_io, path| {
        scale_io_names(
            &scale_io.gateway,
            &scale_io.system,
            &scale_io.volume_name,
            path,
        )
    });
    let local = choice.alternative(&source.local, "local", "local", |local, path| {
        if local.path.is_empty() {
            return field::required(&path.child("path"), "").into();
        }
        no_backsteps(&local.path, &path.child("path"))
    });
    if local && !has_affinity {
        let detail = "Local volume requires node affinity";
        choice
            .errors
            .push(field::required(&path.child("nodeAffinity"), detail));
    }
    choice.alternative(
        &source.storageos,
        "storageos",
        "storageos",
        |storageos, path| {
            let mut errors =
                storageos_names(&storageos.volume_name, &storageos.volume_namespace, path);
            if let Some(secret) = &storageos.secret_ref {
                let path = path.child("secretRef");
                errors.extend(required(&secret.name, &path, "name"));
                errors.extend(required(&secret.namespace, &path, "namespace"));
            }
            errors
        },
    );
    choice.alternative(&source.csi, "csi", "csi", |csi, path| {
        let mut errors = csi_driver_name(&csi.driver, &path.child("driver"));
        errors.extend(required(&csi.volume_handle, path, "volumeHandle"));
        for (secret, child) in [
            (
                &csi.controller_publish_secret_ref,
                "controllerPublishSecretRef",
            ),
            (
                &csi.controller_expand_secret_ref,
                "controllerExpandSecretRef",
            ),
            (&csi.node_publish_secret_ref, "nodePublishSecretRef"),
            (&csi.node_expand_secret_ref, "nodeExpandSecretRef"),
        ] {
            if let Some(secret) = secret {
                errors.extend(secret_reference(secret, &path.child(child)));
            }
        }
        errors
    });
    if !choice.made {
        choice
            .errors
            .push(field::required(path, "must specify a volume type"));
    }
    choice.errors
}

fn iscsi_volume(iscsi: &ISCSIPersistentVolumeSource, name: &str, path: &Path) -> ErrorList {
    let mut errors = required(&iscsi.target_portal, path, "targetPortal");
    if iscsi.initiator_name.is_some() && name.len() + 1 + iscsi.target_portal.len() > 64 {
        let path = path.child("targetportal");
        errors.push(field::invalid(&path, &iscsi.target_portal, ISCSI_TOO_LONG));
    }
    errors.extend(iscsi_names(
        &iscsi.iqn,
        iscsi.lun,
        "must be valid format",
        path,
    ));
    if (iscsi.chap_auth_discovery || iscsi.chap_auth_session) && iscsi.secret_ref.is_none() {
        errors.push(field::required(&path.child("secretRef"), ""));
    }
    if let Some(secret) = &iscsi.secret_ref {
        errors.extend(required(&secret.name, &path.child("secretRef"), "name"));
    }
    errors.extend(iscsi_initiator(
        iscsi.initiator_name.as_deref(),
        "must be valid format",
        path,
    ));
    errors
}

// === PersistentVolumeClaim ===

/// What passes in a claim because it is stored already.
#[derive(Clone, Copy, Default)]
pub(super) struct ClaimOptions {
    invalid_label_values: bool,
    invalid_data_source_group: bool,
}

impl ClaimOptions {
    fn of_stored(old: &PersistentVolumeClaimSpec) -> ClaimOptions {
        ClaimOptions {
            invalid_label_values: !label_selector(old.selector.as_deref(), &Path::nil()).is_empty(),
            invalid_data_source_group: old
                .data_source
                .as_ref()
                .is_some_and(|source| source.api_group.is_some())
                || old
                    .data_source_ref
                    .as_ref()
                    .is_some_and(|source| source.api_group.is_some()),
        }
    }
}

pub fn validate_persistent_volume_claim(claim: &PersistentVolumeClaim) -> ErrorList {
    claim_rules(claim, ClaimOptions::default())
}

fn claim_rules(claim: &PersistentVolumeClaim, options: ClaimOptions) -> ErrorList {
    let mut errors = object_meta(&claim.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(claim_spec(&claim.spec, options, &Path::new("spec")));
    errors
}

/// The template of a claim in a pod's ephemeral volume.
pub(super) fn validate_claim_template(
    template: &PersistentVolumeClaimTemplate,
    path: &Path,
) -> ErrorList {
    let metadata_path = path.child("metadata");
    let metadata = &template.metadata;
    let mut errors =
        rules::validate_annotations(&metadata.annotations, &metadata_path.child("annotations"));
    errors.extend(rules::validate_labels(
        &metadata.labels,
        &metadata_path.child("labels"),
    ));
    let plain = ObjectMeta {
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        ..ObjectMeta::default()
    };
    if *metadata != plain {
        for (set, child) in [
            (!metadata.name.is_empty(), "name"),
            (!metadata.generate_name.is_empty(), "generateName"),
            (!metadata.namespace.is_empty(), "namespace"),
            (!metadata.uid.is_empty(), "uID"),
            (!metadata.resource_version.is_empty(), "resourceVersion"),
            (metadata.generation != 0, "generation"),
            (!metadata.creation_timestamp.is_zero(), "creationTimestamp"),
            (metadata.deletion_timestamp.is_some(), "deletionTimestamp"),
            (
                metadata.deletion_grace_period_seconds.is_some(),
                "deletionGracePeriodSeconds",
            ),
            (!metadata.owner_references.is_empty(), "ownerReferences"),
            (!metadata.finalizers.is_empty(), "finalizers"),
            (!metadata.managed_fields.is_empty(), "managedFields"),
        ] {
            if set {
                errors.push(field::forbidden(
                    &metadata_path.child(child),
                    "cannot be set",
                ));
            }
        }
    }
    errors.extend(claim_spec(
        &template.spec,
        ClaimOptions::default(),
        &path.child("spec"),
    ));
    errors
}

pub(super) fn new_claim_spec(spec: &PersistentVolumeClaimSpec, path: &Path) -> ErrorList {
    claim_spec(spec, ClaimOptions::default(), path)
}

fn claim_spec(spec: &PersistentVolumeClaimSpec, options: ClaimOptions, path: &Path) -> ErrorList {
    let modes_path = path.child("accessModes");
    let mut errors = access_modes(
        &spec.access_modes,
        "at least 1 access mode is required",
        &modes_path,
    );
    errors.extend(label_selector_allowing(
        spec.selector.as_deref(),
        options.invalid_label_values,
        &path.child("selector"),
    ));
    errors.extend(known_access_modes(&spec.access_modes, &modes_path));
    let storage_path = path.child("resources").key("storage");
    match spec.resources.requests.get("storage") {
        None => errors.push(field::required(&storage_path, "")),
        Some(amount) => {
            let problems = positive_quantity(amount, &storage_path);
            if problems.is_empty() {
                errors.extend(resource_quantity("storage", amount, &storage_path));
            } else {
                errors.extend(problems);
            }
        }
    }
    if let Some(class) = spec
        .storage_class_name
        .as_deref()
        .filter(|class| !class.is_empty())
    {
        errors.extend(dns_subdomain(class, &path.child("storageClassName")));
    }
    if let Some(mode) = &spec.volume_mode {
        errors.extend(one_of(mode, &VOLUME_MODES, &path.child("volumeMode")));
    }
    if let Some(source) = &spec.data_source {
        let group = source.api_group.as_deref();
        let path = path.child("dataSource");
        errors.extend(data_source(
            &source.name,
            &source.kind,
            group,
            options,
            &path,
        ));
    }
    let mut foreign = false;
    if let Some(source) = &spec.data_source_ref {
        let group = source.api_group.as_deref();
        let path = path.child("dataSourceRef");
        errors.extend(data_source(
            &source.name,
            &source.kind,
            group,
            options,
            &path,
        ));
        if let Some(namespace) = source
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
        {
            foreign = true;
            errors.extend(dns_label(namespace, &path.child("namespace")));
        }
    }
    if let Some(source) = &spec.data_source {
        let same = spec.data_source_ref.as_ref().is_none_or(|other| {
            other.api_group == source.api_group
                && other.kind == source.kind
                && other.name == source.name
        });
        // The bad value is a path, which prints as an empty struct.
        let value = || BadValue::Text("{}".to_owned());
        if foreign {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(field::invalid(path, value(), detail));
        } else if !same {
            errors.push(field::invalid(path, value(), "must match dataSourceRef"));
        }
    }
    let class = spec
        .volume_attributes_class_name
        .as_deref()
        .filter(|class| !class.is_empty());
    if let Some(class) = class.filter(|_| gates::enabled("VolumeAttributesClass")) {
        errors.extend(dns_subdomain(
            class,
            &path.child("volumeAttributesClassName"),
        ));
    }
    errors
}

fn data_source(
    name: &str,
    kind: &str,
    group: Option<&str>,
    options: ClaimOptions,
    path: &Path,
) -> ErrorList {
    let mut errors = required(name, path, "name");
    errors.extend(required(kind, path, "kind"));
    let group = group.unwrap_or("");
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(field::invalid(path, kind, detail));
    }
    if !group.is_empty() && !options.invalid_data_source_group {
        errors.extend(dns_subdomain(group, &path.child("apiGroup")));
    }
    errors
}

pub fn validate_persistent_volume_claim_update(
    new: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(claim_rules(new, ClaimOptions::of_stored(&old.spec)));
    let (mut spec, mut before) = (new.spec.clone(), old.spec.clone());
    normalize_data_sources(&mut before);
    if before.volume_name.is_empty() {
        before.volume_name.clone_from(&spec.volume_name);
    }
    let beta = |claim: &PersistentVolumeClaim| claim.metadata.annotations.get(BETA_CLASS).cloned();
    let (beta_new, beta_old) = (beta(new), beta(old));
    let upgrades = beta_old.is_some()
        && before.storage_class_name.is_none()
        && spec.storage_class_name == beta_old
        && (beta_new.is_none() || beta_new == beta_old);
    if upgrades {
        spec.storage_class_name = None;
    } else {
        let (value, before_value) = (
            beta_new.unwrap_or_default(),
            beta_old.clone().unwrap_or_default(),
        );
        if value != before_value {
            let path = path(&["metadata", "annotations", BETA_CLASS]);
            errors.push(field::invalid(&path, value, IMMUTABLE));
        }
        let from_nil = before.storage_class_name.is_none()
            && spec.storage_class_name.is_some()
            && (beta_old.is_none() || spec.storage_class_name == beta_old);
        if from_nil {
            spec.storage_class_name = None;
        }
    }
    let size = |claim: &PersistentVolumeClaim| {
        claim
            .spec
            .resources
            .requests
            .get("storage")
            .cloned()
            .unwrap_or_default()
    };
    if new.status.phase == "Bound" {
        if !spec.resources.requests.is_empty() {
            spec.resources
                .requests
                .insert("storage".to_owned(), size(old));
        }
        spec.volume_attributes_class_name
            .clone_from(&before.volume_attributes_class_name);
    }
    if spec != before {
        let diff = go_value::diff(&before, &spec);
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{diff}"
        );
        errors.push(field::forbidden(&Path::new("spec"), detail));
    }
    if size(new) < size(old) {
        let path = path(&["spec", "resources", "requests", "storage"]);
        let recovers = gates::enabled("RecoverVolumeExpansionFailure")
            || !old.status.allocated_resources.is_empty()
            || !old.status.allocated_resource_statuses.is_empty();
        let reached = old
            .status
            .capacity
            .get("storage")
            .cloned()
            .unwrap_or_default();
        if !recovers {
            errors.push(field::forbidden(
                &path,
                "field can not be less than previous value",
            ));
        } else if size(new) <= reached {
            errors.push(field::forbidden(
                &path,
                "field can not be less than status.capacity",
            ));
        }
    }
    errors.extend(immutable(
        &new.spec.volume_mode,
        &old.spec.volume_mode,
        &Path::new("volumeMode"),
        || new.spec.volume_mode.as_deref().into(),
    ));
    let (class, before) = (
        &new.spec.volume_attributes_class_name,
        &old.spec.volume_attributes_class_name,
    );
    if class != before {
        let path = path(&["spec", "volumeAttributesClassName"]);
        if !gates::enabled("VolumeAttributesClass") {
            let detail =
                "update is forbidden when the VolumeAttributesClass feature gate is disabled";
            errors.push(field::forbidden(&path, detail));
        }
        if old.status.current_volume_attributes_class_name.is_some() {
            const WHEN: &str =
                "is forbidden when status.currentVolumeAttributesClassName is not nil";
            match class.as_deref() {
                None => errors.push(field::forbidden(&path, format!("update to nil {WHEN}"))),
                Some("") => errors.push(field::forbidden(
                    &path,
                    format!("update to empty string {WHEN}"),
                )),
                Some(_) => {}
            }
        }
    }
    errors
}

/// Gives a claim that names its source in one of two ways the other one too.
pub(crate) fn normalize_data_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(Box::new(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            }));
        }
        (None, Some(source)) if source.namespace.as_ref().is_none_or(String::is_empty) => {
            spec.data_source = Some(Box::new(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            }));
        }
        _ => {}
    }
}

fn claim_resource_key(name: &str, path: &Path) -> ErrorList {
    let errors = qualified_name(name, path);
    if errors.is_empty() && apimachinery::resource::is_native_resource(name) {
        return one_of(name, &["storage"], path);
    }
    errors
}

pub fn validate_persistent_volume_claim_status_update(
    new: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
) -> ErrorList {
    const RESIZE: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.metadata.resource_version.is_empty() {
        errors.push(field::required(&Path::new("resourceVersion"), ""));
    }
    if new.spec.access_modes.is_empty() {
        errors.push(field::required(&path(&["Spec", "accessModes"]), ""));
    }
    for (name, amount) in &new.status.capacity {
        errors.extend(basic_resource(
            amount,
            &path(&["status", "capacity"]).key(name.as_str()),
        ));
    }
    let statuses_path = path(&["status", "allocatedResourceStatuses"]);
    for (name, status) in &new.status.allocated_resource_statuses {
        errors.extend(claim_resource_key(name, &statuses_path));
        if !RESIZE.contains(&status.as_str()) {
            let mut known = RESIZE;
            known.sort_unstable();
            errors.push(field::not_supported(&statuses_path, name, &known));
        }
    }
    let allocated_path = path(&["status", "allocatedResources"]);
    for (name, amount) in &new.status.allocated_resources {
        let problems = claim_resource_key(name, &allocated_path);
        if !problems.is_empty() {
            errors.extend(problems);
            continue;
        }
        let path = allocated_path.key(name.as_str());
        let problems = basic_resource(amount, &path);
        if problems.is_empty() {
            errors.extend(resource_quantity("storage", amount, &path));
        } else {
            errors.extend(problems);
        }
    }
    errors
}

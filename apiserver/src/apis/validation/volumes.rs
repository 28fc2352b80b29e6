//! Volume sources of pods, and those that pods share with persistent volumes. Upstream: pkg/apis/core/validation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use api_types::core::v1::*;
use api_types::meta::v1::ObjectMeta;
use apimachinery::quote::quote;
use regex::Regex;

use super::certificates::{validate_cluster_trust_bundle_name, validate_signer_name};
use super::containers::{field_selector, pull_policy, resource_field_selector};
use super::persistent_volumes::validate_claim_template;
use super::pod_options::PodOptions;
use super::*;

/// Volumes of a pod by name, those without errors.
pub type Volumes<'a> = BTreeMap<&'a str, &'a VolumeSource>;

const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";
const DOWNWARD_PATHS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// A choice of which one may be made.
pub(super) struct Choice<'a> {
    pub path: &'a Path,
    pub errors: ErrorList,
    pub made: bool,
    pub message: &'static str,
}

impl Choice<'_> {
    pub(super) fn new<'a>(path: &'a Path, message: &'static str) -> Choice<'a> {
        Choice {
            path,
            errors: ErrorList::new(),
            made: false,
            message,
        }
    }

    /// Looks at one alternative; `check` gets the path of `child`. Whether it was the first.
    pub(super) fn alternative<T>(
        &mut self,
        value: &Option<Box<T>>,
        name: &'static str,
        child: &'static str,
        check: impl FnOnce(&T, &Path) -> ErrorList,
    ) -> bool {
        let Some(value) = value else { return false };
        if self.made {
            self.errors
                .push(field::forbidden(&self.path.child(name), self.message));
            return false;
        }
        self.made = true;
        self.errors.extend(check(value, &self.path.child(child)));
        true
    }
}

/// Checks a pod's volumes. `metadata` is the pod's, none for templates.
pub fn validate_volumes<'a>(
    volumes: &'a [Volume],
    metadata: Option<&ObjectMeta>,
    path: &Path,
    options: &PodOptions,
) -> (Volumes<'a>, ErrorList) {
    let mut errors = ErrorList::new();
    let pod_name = metadata.map_or("", |metadata| metadata.name.as_str());
    let created_claims: BTreeSet<String> = volumes
        .iter()
        .filter(|volume| !pod_name.is_empty() && volume.volume_source.ephemeral.is_some())
        .map(|volume| format!("{pod_name}-{}", volume.name))
        .collect();
    let mut found = Volumes::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name_path = path.child("name");
        let mut own = volume_source(
            &volume.volume_source,
            &path,
            &volume.name,
            pod_name,
            options,
        );
        if volume.name.is_empty() {
            own.push(field::required(&name_path, ""));
        } else {
            own.extend(dns_label(&volume.name, &name_path));
        }
        if found.contains_key(volume.name.as_str()) {
            own.push(field::duplicate(&name_path, &volume.name));
        }
        if own.is_empty() {
            found.insert(&volume.name, &volume.volume_source);
        }
        errors.extend(own);
        if let Some(claim) = &volume.volume_source.persistent_volume_claim
            && created_claims.contains(&claim.claim_name)
        {
            errors.push(field::invalid(
                &path.child("persistentVolumeClaim").child("claimName"),
                &claim.claim_name,
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
    (found, errors)
}

fn volume_source(
    source: &VolumeSource,
    path: &Path,
    volume_name: &str,
    pod_name: &str,
    options: &PodOptions,
) -> ErrorList {
    let mut choice = Choice::new(path, MORE_THAN_ONE);
    choice.alternative(
        &source.empty_dir,
        "emptyDir",
        "emptyDir",
        |dir, path| match &dir.size_limit {
            Some(limit) if limit.signum() < 0 => {
                let detail = "SizeLimit field must be a valid resource quantity";
                field::forbidden(&path.child("sizeLimit"), detail).into()
            }
            _ => ErrorList::new(),
        },
    );
    choice.alternative(&source.host_path, "hostPath", "hostPath", host_path);
    choice.alternative(&source.git_repo, "gitRepo", "gitRepo", git_repo);
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
    choice.alternative(&source.secret, "secret", "secret", |secret, path| {
        let mut errors = required(&secret.secret_name, path, "secretName");
        errors.extend(file_mode(secret.default_mode, path, "defaultMode"));
        errors.extend(keys_to_paths(&secret.items, path));
        errors
    });
    choice.alternative(&source.nfs, "nfs", "nfs", nfs);
    choice.alternative(&source.iscsi, "iscsi", "iscsi", iscsi);
    if let Some(iscsi) = &source.iscsi
        && iscsi.initiator_name.is_some()
        && volume_name.len() + 1 + iscsi.target_portal.len() > 64
    {
        choice.errors.push(field::invalid(
            &path.child("name"),
            volume_name,
            ISCSI_TOO_LONG,
        ));
    }
    choice.alternative(
        &source.glusterfs,
        "glusterfs",
        "glusterfs",
        |glusterfs, path| {
            let mut errors = required(&glusterfs.endpoints, path, "endpoints");
            errors.extend(required(&glusterfs.path, path, "path"));
            errors
        },
    );
    choice.alternative(&source.flocker, "flocker", "flocker", flocker);
    choice.alternative(
        &source.persistent_volume_claim,
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        |claim, path| required(&claim.claim_name, path, "claimName"),
    );
    choice.alternative(&source.rbd, "rbd", "rbd", |rbd, path| {
        ceph_block_device(&rbd.monitors, &rbd.image, path)
    });
    choice.alternative(&source.cinder, "cinder", "cinder", |cinder, path| {
        let mut errors = required(&cinder.volume_id, path, "volumeID");
        if let Some(secret) = &cinder.secret_ref {
            errors.extend(required(&secret.name, &path.child("secretRef"), "name"));
        }
        errors
    });
    choice.alternative(&source.cephfs, "cephFS", "cephfs", |cephfs, path| {
        monitors(&cephfs.monitors, path)
    });
    choice.alternative(&source.quobyte, "quobyte", "quobyte", quobyte);
    // The misspelling is upstream's.
    choice.alternative(
        &source.downward_api,
        "downwarAPI",
        "downwardAPI",
        |downward, path| {
            let mut errors = file_mode(downward.default_mode, path, "defaultMode");
            for file in &downward.items {
                errors.extend(downward_file(file, path));
            }
            errors
        },
    );
    choice.alternative(&source.fc, "fc", "fc", fibre_channel);
    choice.alternative(
        &source.flex_volume,
        "flexVolume",
        "flexVolume",
        |flex, path| flex_volume(&flex.driver, &flex.options, path),
    );
    choice.alternative(
        &source.config_map,
        "configMap",
        "configMap",
        |config_map, path| {
            let mut errors = required(&config_map.local_object_reference.name, path, "name");
            errors.extend(file_mode(config_map.default_mode, path, "defaultMode"));
            errors.extend(keys_to_paths(&config_map.items, path));
            errors
        },
    );
    choice.alternative(
        &source.azure_file,
        "azureFile",
        "azureFile",
        |azure, path| {
            let mut errors = required(&azure.secret_name, path, "secretName");
            errors.extend(required(&azure.share_name, path, "shareName"));
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
    choice.alternative(
        &source.storageos,
        "storageos",
        "storageos",
        |storageos, path| {
            let mut errors =
                storageos_names(&storageos.volume_name, &storageos.volume_namespace, path);
            if let Some(secret) = &storageos.secret_ref {
                errors.extend(required(&secret.name, &path.child("secretRef"), "name"));
            }
            errors
        },
    );
    choice.alternative(
        &source.projected,
        "projected",
        "projected",
        |projected, path| {
            let mut errors = file_mode(projected.default_mode, path, "defaultMode");
            errors.extend(projections(projected, path, options));
            errors
        },
    );
    choice.alternative(&source.scale_io, "scaleIO", "scaleIO", |scale_io, path| {
        scale_io_names(
            &scale_io.gateway,
            &scale_io.system,
            &scale_io.volume_name,
            path,
        )
    });
    choice.alternative(&source.csi, "csi", "csi", |csi, path| {
        let mut errors = csi_driver_name(&csi.driver, &path.child("driver"));
        if let Some(secret) = &csi.node_publish_secret_ref {
            if secret.name.is_empty() {
                errors.push(field::required(
                    &path.child("nodePublishSecretRef").child("name"),
                    "",
                ));
            } else {
                errors.extend(dns_subdomain(&secret.name, &path.child("name")));
            }
        }
        errors
    });
    let ephemeral = choice.alternative(
        &source.ephemeral,
        "ephemeral",
        "ephemeral",
        |ephemeral, path| {
            let path = path.child("volumeClaimTemplate");
            match &ephemeral.volume_claim_template {
                None => field::required(&path, "").into(),
                Some(template) => validate_claim_template(template, &path),
            }
        },
    );
    if ephemeral && !pod_name.is_empty() && !volume_name.is_empty() {
        let claim = format!("{pod_name}-{volume_name}");
        for problem in rules::is_dns1123_subdomain(&claim) {
            let detail = format!("PVC name {}: {problem}", quote(&claim));
            choice
                .errors
                .push(field::invalid(&path.child("name"), volume_name, detail));
        }
    }
    choice.alternative(&source.image, "image", "image", |image, path| {
        let mut errors = ErrorList::new();
        if options.resource_is_pod {
            errors.extend(required(&image.reference, path, "reference"));
        }
        errors.extend(pull_policy(&image.pull_policy, &path.child("pullPolicy")));
        errors
    });
    if !choice.made {
        choice
            .errors
            .push(field::required(path, "must specify a volume type"));
    }
    choice.errors
}

// === What sources share ===

pub(super) const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

pub(super) fn required(value: &str, path: &Path, child: &'static str) -> ErrorList {
    if value.is_empty() {
        field::required(&path.child(child), "").into()
    } else {
        ErrorList::new()
    }
}

fn file_mode(mode: Option<i32>, path: &Path, child: &'static str) -> ErrorList {
    match mode {
        Some(mode) if !(0..=0o777).contains(&mode) => {
            field::invalid(&path.child(child), mode, FILE_MODE).into()
        }
        _ => ErrorList::new(),
    }
}

fn keys_to_paths(items: &[KeyToPath], path: &Path) -> ErrorList {
    let items_path = path.child("items");
    let checked = items.iter().enumerate();
    checked
        .flat_map(|(i, item)| key_to_path(item, &items_path.index(i)))
        .collect()
}

fn key_to_path(item: &KeyToPath, path: &Path) -> ErrorList {
    let mut errors = required(&item.key, path, "key");
    errors.extend(required(&item.path, path, "path"));
    errors.extend(local_non_reserved_path(&item.path, &path.child("path")));
    errors.extend(file_mode(item.mode, path, "mode"));
    errors
}

/// A relative path that does not climb.
pub(super) fn local_descending_path(target: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if target.starts_with('/') {
        errors.push(field::invalid(path, target, "must be a relative path"));
    }
    errors.extend(no_backsteps(target, path));
    errors
}

pub(super) fn no_backsteps(target: &str, path: &Path) -> ErrorList {
    if target.split('/').any(|part| part == "..") {
        field::invalid(path, target, "must not contain '..'").into()
    } else {
        ErrorList::new()
    }
}

/// A relative path whose first part is not reserved for the volume's own use.
pub(super) fn local_non_reserved_path(target: &str, path: &Path) -> ErrorList {
    let mut errors = local_descending_path(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.push(field::invalid(path, target, "must not start with '..'"));
    }
    errors
}

pub(super) fn host_path(source: &HostPathVolumeSource, path: &Path) -> ErrorList {
    const TYPES: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if source.path.is_empty() {
        return field::required(&path.child("path"), "").into();
    }
    let mut errors = no_backsteps(&source.path, &path.child("path"));
    if let Some(ty) = &source.type_ {
        errors.extend(one_of(ty, &TYPES, &path.child("type")));
    }
    errors
}

fn git_repo(source: &GitRepoVolumeSource, path: &Path) -> ErrorList {
    let mut errors = required(&source.repository, path, "repository");
    errors.extend(local_descending_path(
        &source.directory,
        &path.child("directory"),
    ));
    errors
}

fn partition(number: i32, path: &Path) -> ErrorList {
    if (0..=255).contains(&number) {
        return ErrorList::new();
    }
    let detail = rules::inclusive_range_error(1, 255);
    field::invalid(&path.child("partition"), number, detail).into()
}

pub(super) fn gce_disk(disk: &GCEPersistentDiskVolumeSource, path: &Path) -> ErrorList {
    let mut errors = required(&disk.pd_name, path, "pdName");
    errors.extend(partition(disk.partition, path));
    errors
}

pub(super) fn aws_block_store(disk: &AWSElasticBlockStoreVolumeSource, path: &Path) -> ErrorList {
    let mut errors = required(&disk.volume_id, path, "volumeID");
    errors.extend(partition(disk.partition, path));
    errors
}

pub(super) fn nfs(source: &NFSVolumeSource, path: &Path) -> ErrorList {
    let mut errors = required(&source.server, path, "server");
    errors.extend(required(&source.path, path, "path"));
    if !source.path.starts_with('/') {
        errors.push(field::invalid(
            &path.child("path"),
            &source.path,
            "must be an absolute path",
        ));
    }
    errors
}

static IQN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$"));
static EUI: LazyLock<Regex> = LazyLock::new(|| regex(r"^eui.[[:alnum:]]{16}$"));
static NAA: LazyLock<Regex> = LazyLock::new(|| regex(r"^naa.[[:alnum:]]{32}$"));

pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that tests compile")
}

/// Whether an iSCSI name is of a known kind, and whether it has that kind's form.
fn iscsi_name(name: &str) -> (bool, bool) {
    if name.starts_with("iqn") {
        (true, IQN.is_match(name))
    } else if name.starts_with("eui") {
        (true, EUI.is_match(name))
    } else if name.starts_with("naa") {
        (true, NAA.is_match(name))
    } else {
        (false, false)
    }
}

fn iscsi(source: &ISCSIVolumeSource, path: &Path) -> ErrorList {
    let unknown = "must be valid format starting with iqn, eui, or naa";
    let mut errors = required(&source.target_portal, path, "targetPortal");
    errors.extend(iscsi_names(&source.iqn, source.lun, unknown, path));
    if (source.chap_auth_discovery || source.chap_auth_session) && source.secret_ref.is_none() {
        errors.push(field::required(&path.child("secretRef"), ""));
    }
    errors.extend(iscsi_initiator(
        source.initiator_name.as_deref(),
        unknown,
        path,
    ));
    errors
}

pub(super) fn iscsi_names(iqn: &str, lun: i32, unknown: &'static str, path: &Path) -> ErrorList {
    let mut errors = required(iqn, path, "iqn");
    match iscsi_name(iqn) {
        _ if iqn.is_empty() => {}
        (false, _) => errors.push(field::invalid(&path.child("iqn"), iqn, unknown)),
        (true, false) => errors.push(field::invalid(
            &path.child("iqn"),
            iqn,
            "must be valid format",
        )),
        (true, true) => {}
    }
    if !(0..=255).contains(&lun) {
        errors.push(field::invalid(
            &path.child("lun"),
            lun,
            rules::inclusive_range_error(0, 255),
        ));
    }
    errors
}

pub(super) fn iscsi_initiator(name: Option<&str>, unknown: &'static str, path: &Path) -> ErrorList {
    let Some(name) = name else {
        return ErrorList::new();
    };
    let detail = match iscsi_name(name) {
        (false, _) => unknown,
        (true, false) => "must be valid format",
        (true, true) => return ErrorList::new(),
    };
    field::invalid(&path.child("initiatorname"), name, detail).into()
}

pub(super) fn fibre_channel(fc: &FCVolumeSource, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let names = path.child("targetWWNs");
    if fc.target_wwns.is_empty() && fc.wwids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(field::required(&names, detail));
    }
    if !fc.target_wwns.is_empty() && !fc.wwids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(field::invalid(&names, &fc.target_wwns, detail));
    }
    if !fc.target_wwns.is_empty() {
        match fc.lun {
            None => errors.push(field::required(
                &path.child("lun"),
                "lun is required if targetWWNs is specified",
            )),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.push(field::invalid(
                    &path.child("lun"),
                    lun,
                    rules::inclusive_range_error(0, 255),
                ));
            }
            Some(_) => {}
        }
    }
    errors
}

pub(super) fn flocker(flocker: &FlockerVolumeSource, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if flocker.dataset_name.is_empty() && flocker.dataset_uuid.is_empty() {
        errors.push(field::required(
            path,
            "one of datasetName and datasetUUID is required",
        ));
    }
    if !flocker.dataset_name.is_empty() && !flocker.dataset_uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(field::invalid(path, "resource", detail));
    }
    if flocker.dataset_name.contains('/') {
        let path = path.child("datasetName");
        errors.push(field::invalid(
            &path,
            &flocker.dataset_name,
            "must not contain '/'",
        ));
    }
    errors
}

pub(super) fn monitors(monitors: &[String], path: &Path) -> ErrorList {
    if monitors.is_empty() {
        field::required(&path.child("monitors"), "").into()
    } else {
        ErrorList::new()
    }
}

pub(super) fn ceph_block_device(names: &[String], image: &str, path: &Path) -> ErrorList {
    let mut errors = monitors(names, path);
    errors.extend(required(image, path, "image"));
    errors
}

pub(super) fn quobyte(quobyte: &QuobyteVolumeSource, path: &Path) -> ErrorList {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let mut errors = ErrorList::new();
    let registry = path.child("registry");
    if quobyte.registry.is_empty() {
        errors.push(field::required(&registry, PAIRS));
    } else if quobyte.tenant.len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(field::required(&path.child("tenant"), detail));
    } else {
        for pair in quobyte.registry.split(',') {
            if !is_host_port(pair) {
                errors.push(field::invalid(&registry, &quobyte.registry, PAIRS));
            }
        }
    }
    errors.extend(required(&quobyte.volume, path, "volume"));
    errors
}

/// What Go's net.SplitHostPort accepts.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_fine = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|inner| !inner.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    };
    host_fine && !port.contains(['[', ']'])
}

pub(super) fn flex_volume(
    driver: &str,
    options: &std::collections::BTreeMap<String, String>,
    path: &Path,
) -> ErrorList {
    let mut errors = required(driver, path, "driver");
    for key in options.keys() {
        let namespace = key
            .split_once('/')
            .map_or(key.as_str(), |(namespace, _)| namespace);
        let normalized = format!(".{}", namespace.to_lowercase());
        if normalized.ends_with(".kubernetes.io") || normalized.ends_with(".k8s.io") {
            let path = path.child("options").key(key.as_str());
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(field::invalid(&path, key, detail));
        }
    }
    errors
}

pub(super) fn azure_disk(azure: &AzureDiskVolumeSource, path: &Path) -> ErrorList {
    let mut errors = required(&azure.disk_name, path, "diskName");
    errors.extend(required(&azure.disk_uri, path, "diskURI"));
    if let Some(mode) = &azure.caching_mode {
        let modes = ["None", "ReadOnly", "ReadWrite"];
        errors.extend(one_of(mode, &modes, &path.child("cachingMode")));
    }
    if let Some(kind) = &azure.kind {
        let kinds = ["Dedicated", "Managed", "Shared"];
        errors.extend(one_of(kind, &kinds, &path.child("kind")));
        let uri = path.child("diskURI");
        if kind == "Managed" && !azure.disk_uri.starts_with("/subscriptions/") {
            let form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
            errors.push(field::not_supported(&uri, &azure.disk_uri, &[form]));
        }
        if kind != "Managed" && !azure.disk_uri.starts_with("https://") {
            let form =
                "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
            errors.push(field::not_supported(&uri, &azure.disk_uri, &[form]));
        }
    }
    errors
}

pub(super) fn storageos_names(name: &str, namespace: &str, path: &Path) -> ErrorList {
    let mut errors = required(name, path, "volumeName");
    if !name.is_empty() {
        errors.extend(dns_label(name, &path.child("volumeName")));
    }
    if !namespace.is_empty() {
        errors.extend(dns_label(namespace, &path.child("volumeNamespace")));
    }
    errors
}

pub(super) fn scale_io_names(gateway: &str, system: &str, volume: &str, path: &Path) -> ErrorList {
    let mut errors = required(gateway, path, "gateway");
    errors.extend(required(system, path, "system"));
    errors.extend(required(volume, path, "volumeName"));
    errors
}

/// The name of a CSI driver.
pub fn csi_driver_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let mut errors = ErrorList::new();
    if name.len() > 63 {
        errors.push(field::too_long(path, 63));
    }
    errors.extend(invalids(
        path,
        name,
        rules::is_dns1123_subdomain(&name.to_lowercase()),
    ));
    errors
}

// === Projected volumes ===

fn downward_file(file: &DownwardAPIVolumeFile, path: &Path) -> ErrorList {
    let mut errors = required(&file.path, path, "path");
    errors.extend(local_non_reserved_path(&file.path, &path.child("path")));
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field_ref), resource) => {
            errors.extend(field_selector(
                field_ref,
                &DOWNWARD_PATHS,
                &path.child("fieldRef"),
            ));
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(field::invalid(path, "resource", detail));
            }
        }
        (None, Some(resource)) => {
            errors.extend(resource_field_selector(
                resource,
                &path.child("resourceFieldRef"),
                true,
            ));
        }
        (None, None) => {
            errors.push(field::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            ));
        }
    }
    errors.extend(file_mode(file.mode, path, "mode"));
    errors
}

/// Paths that projections have taken in the volume.
struct Taken<'a> {
    paths: BTreeSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn take(&mut self, target: &'a str, bad_value: &str, path: &Path) -> ErrorList {
        if self.paths.insert(target) {
            ErrorList::new()
        } else {
            field::invalid(path, bad_value, "conflicting duplicate paths").into()
        }
    }

    fn take_keys(
        &mut self,
        items: &'a [KeyToPath],
        name: &str,
        source: &Path,
        path: &Path,
    ) -> ErrorList {
        let mut errors = required(name, source, "name");
        let items_path = source.child("items");
        for (i, item) in items.iter().enumerate() {
            errors.extend(key_to_path(item, &items_path.index(i)));
            if !item.path.is_empty() {
                errors.extend(self.take(&item.path, name, path));
            }
        }
        errors
    }
}

fn projections(projected: &ProjectedVolumeSource, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken = Taken {
        paths: BTreeSet::new(),
    };
    for (i, source) in projected.sources.iter().enumerate() {
        let source_path = path.child("sources").index(i);
        let mut count = 0;
        if let Some(secret) = &source.secret {
            count += 1;
            let name = &secret.local_object_reference.name;
            errors.extend(taken.take_keys(&secret.items, name, &source_path.child("secret"), path));
        }
        if let Some(config_map) = &source.config_map {
            count += 1;
            let name = &config_map.local_object_reference.name;
            errors.extend(taken.take_keys(
                &config_map.items,
                name,
                &source_path.child("configMap"),
                path,
            ));
        }
        if let Some(downward) = &source.downward_api {
            count += 1;
            for file in &downward.items {
                errors.extend(downward_file(file, &source_path.child("downwardAPI")));
                if !file.path.is_empty() {
                    errors.extend(taken.take(&file.path, &file.path, path));
                }
            }
        }
        if let Some(token) = &source.service_account_token {
            count += 1;
            let seconds = token.expiration_seconds.unwrap_or(0);
            let seconds_path = source_path
                .child("serviceAccountToken")
                .child("expirationSeconds");
            if seconds < 600 {
                let detail = "may not specify a duration less than 10 minutes";
                errors.push(field::invalid(&seconds_path, seconds, detail));
            }
            if seconds > 1 << 32 {
                let detail = "may not specify a duration larger than 2^32 seconds";
                errors.push(field::invalid(&seconds_path, seconds, detail));
            }
            if token.path.is_empty() {
                errors.push(field::required(&path.child("path"), ""));
            } else if !options.allow_non_local_projected_token_path {
                errors.extend(local_non_reserved_path(&token.path, &path.child("path")));
            }
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            count += 1;
            errors.extend(trust_bundle(
                bundle,
                &source_path.child("clusterTrustBundle"),
            ));
            errors.extend(taken.take(&bundle.path, &bundle.path, path));
        }
        if let Some(certificate) = &source.pod_certificate {
            count += 1;
            errors.extend(pod_certificate(
                certificate,
                &mut taken,
                &source_path.child("podCertificate"),
                path,
            ));
        }
        if count > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(field::forbidden(&source_path, detail));
        }
    }
    errors
}

fn trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let value = go_value::bad_value(bundle);
            errors.push(field::invalid(
                path,
                value,
                "only one of name and signerName may be used",
            ));
        }
        (Some(name), None) => {
            let name_path = path.child("name");
            if name.is_empty() {
                errors.push(field::required(&name_path, "must be a valid object name"));
            }
            let signer = name
                .rsplit_once(':')
                .map(|(signer, _)| signer.replace(':', "/"));
            let signer = signer.as_deref().unwrap_or("");
            for problem in validate_cluster_trust_bundle_name(signer, name, false) {
                let detail = format!("not a valid clustertrustbundlename: {problem}");
                errors.push(field::invalid(&name_path, name, detail));
            }
            if let Some(selector) = &bundle.label_selector {
                let value = go_value::bad_value(&**selector);
                let detail = "labelSelector must be unset if name is specified";
                errors.push(field::invalid(&path.child("labelSelector"), value, detail));
            }
        }
        (None, Some(signer)) => {
            let signer_path = path.child("signerName");
            if signer.is_empty() {
                errors.push(field::required(&signer_path, "must be a valid signer name"));
            }
            errors.extend(validate_signer_name(&signer_path, signer));
            errors.extend(label_selector(
                bundle.label_selector.as_deref(),
                &path.child("labelSelector"),
            ));
        }
        (None, None) => {
            errors.push(field::required(
                path,
                "either name or signerName must be specified",
            ));
        }
    }
    errors.extend(required(&bundle.path, path, "path"));
    errors.extend(local_non_reserved_path(&bundle.path, &path.child("path")));
    errors
}

fn pod_certificate<'a>(
    certificate: &'a PodCertificateProjection,
    taken: &mut Taken<'a>,
    path: &Path,
    volume_path: &Path,
) -> ErrorList {
    const KEY_TYPES: [&str; 6] = [
        "RSA3072",
        "RSA4096",
        "ECDSAP256",
        "ECDSAP384",
        "ECDSAP521",
        "ED25519",
    ];
    let mut errors = validate_signer_name(&path.child("signerName"), &certificate.signer_name);
    if !certificate.user_annotations.is_empty() {
        errors.extend(super::certificates::user_annotations(
            &certificate.user_annotations,
            &path.child("userAnnotations"),
        ));
    }
    errors.extend(one_of(
        &certificate.key_type,
        &KEY_TYPES,
        &path.child("keyType"),
    ));
    if let Some(seconds) = certificate.max_expiration_seconds {
        let seconds_path = path.child("maxExpirationSeconds");
        if seconds < 3600 {
            let detail = "if provided, maxExpirationSeconds must be >= 3600";
            errors.push(field::invalid(&seconds_path, seconds, detail));
        }
        let host = certificate
            .signer_name
            .split('/')
            .next()
            .unwrap_or_default();
        let kubernetes = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
        let max = if kubernetes {
            24 * 60 * 60
        } else {
            91 * 24 * 60 * 60
        };
        if seconds > max {
            let detail = format!("if provided, maxExpirationSeconds must be <= {max}");
            errors.push(field::invalid(&seconds_path, seconds, detail));
        }
    }
    let mut any = false;
    for (target, child) in [
        (&certificate.credential_bundle_path, "credentialBundlePath"),
        (&certificate.key_path, "keyPath"),
        (&certificate.certificate_chain_path, "certificateChainPath"),
    ] {
        if !target.is_empty() {
            any = true;
            errors.extend(local_non_reserved_path(target, &path.child(child)));
            errors.extend(taken.take(target, target, volume_path));
        }
    }
    if !any {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(field::required(path, detail));
    }
    errors
}

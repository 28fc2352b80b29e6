//! Audiences of tokens that a pod's volumes ask for, themselves or through their CSI driver. Upstream: plugin/pkg/admission/noderestriction,
//! ServiceAccountNodeAudienceRestriction of KEP-4935, and csi-translation-lib for volumes that CSI drivers have taken over.

use api_types::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSource, Pod, Volume, VolumeSource,
};
use api_types::storage::v1::CSIDriver;
use apimachinery::field;
use apimachinery::gvk::GroupResource;
use apimachinery::status;

use crate::admission::{Cluster, Freshness};
use crate::registry::object::Object;

const EBS: &str = "ebs.csi.aws.com";
const AZURE_DISK: &str = "disk.csi.azure.com";
const AZURE_FILE: &str = "file.csi.azure.com";
const GCE_DISK: &str = "pd.csi.storage.gke.io";
const CINDER: &str = "cinder.csi.openstack.org";
const VSPHERE: &str = "csi.vsphere.vmware.com";
const PORTWORX: &str = "pxd.portworx.com";

/// Whether a volume of the pod asks for a token of this audience. Fails with all that kept it from being found out, unless one does.
pub(super) async fn named(
    pod: &Pod,
    audience: &str,
    cluster: &dyn Cluster,
) -> Result<bool, String> {
    let mut errors = Vec::new();
    for volume in &pod.spec.volumes {
        let projected = volume.volume_source.projected.iter();
        let mut tokens = projected
            .flat_map(|projected| &projected.sources)
            .filter_map(|source| source.service_account_token.as_ref());
        if tokens.any(|token| token.audience == audience) {
            return Ok(true);
        }
        let found = match driver(pod, volume, cluster).await {
            Ok(None) => continue,
            Ok(Some(driver)) => driver_names(&driver, audience, cluster).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
    }
    field::aggregate(errors).map_or(Ok(false), Err)
}

/// The CSI driver of a volume.
async fn driver(
    pod: &Pod,
    volume: &Volume,
    cluster: &dyn Cluster,
) -> Result<Option<String>, String> {
    let source = &volume.volume_source;
    let ephemeral = source.ephemeral.as_ref();
    if ephemeral.is_some_and(|ephemeral| ephemeral.volume_claim_template.is_some()) {
        let claim = format!("{}-{}", pod.metadata.name, volume.name);
        return of_claim(&pod.metadata.namespace, &claim, cluster).await;
    }
    if let Some(claim) = &source.persistent_volume_claim {
        return of_claim(&pod.metadata.namespace, &claim.claim_name, cluster).await;
    }
    if let Some(csi) = &source.csi {
        return Ok(Some(csi.driver.clone()));
    }
    Ok(of_inline(source)?.map(str::to_owned))
}

async fn of_claim(
    namespace: &str,
    name: &str,
    cluster: &dyn Cluster,
) -> Result<Option<String>, String> {
    let kind = ("", "persistentvolumeclaims", "persistentvolumeclaim");
    let claim = get(cluster, kind, namespace, name).await?;
    let volume = claim
        .get::<PersistentVolumeClaim>()
        .map(|claim| claim.spec.volume_name.as_str());
    let kind = ("", "persistentvolumes", "persistentvolume");
    let volume = get(cluster, kind, "", volume.unwrap_or_default()).await?;
    let Some(volume) = volume.get::<PersistentVolume>() else {
        return Ok(None);
    };
    match &volume.spec.persistent_volume_source.csi {
        Some(csi) => Ok(Some(csi.driver.clone())),
        None => Ok(of_persistent(volume)?.map(str::to_owned)),
    }
}

async fn driver_names(name: &str, audience: &str, cluster: &dyn Cluster) -> Result<bool, String> {
    if name.is_empty() {
        return Ok(false);
    }
    let kind = ("storage.k8s.io", "csidrivers", "csidriver");
    let driver = get(cluster, kind, "", name).await?;
    Ok(driver.get::<CSIDriver>().is_some_and(|driver| {
        let mut requests = driver.spec.token_requests.iter();
        requests.any(|request| request.audience == audience)
    }))
}

/// An object, by its group, its resource, and what errors call it.
async fn get(
    cluster: &dyn Cluster,
    (group, resource, singular): (&str, &str, &str),
    namespace: &str,
    name: &str,
) -> Result<std::sync::Arc<Object>, String> {
    let freshness = Freshness::Cached;
    let found = cluster.get(group, resource, namespace, name, freshness);
    let found = found.await.map_err(|error| error.message.clone())?;
    found.ok_or_else(|| {
        let resource = GroupResource::new(group, singular);
        status::not_found(&resource, name).message.clone()
    })
}

/// The driver that has taken over a pod's own volume.
fn of_inline(source: &VolumeSource) -> Result<Option<&'static str>, String> {
    if let Some(ebs) = &source.aws_elastic_block_store {
        return ebs_volume(&ebs.volume_id).map(|()| Some(EBS));
    }
    if let Some(disk) = &source.azure_disk {
        return managed(disk.kind.as_deref()).map(|()| Some(AZURE_DISK));
    }
    Ok(first([
        (source.azure_file.is_some(), AZURE_FILE),
        (source.gce_persistent_disk.is_some(), GCE_DISK),
        (source.cinder.is_some(), CINDER),
        (source.vsphere_volume.is_some(), VSPHERE),
        (source.portworx_volume.is_some(), PORTWORX),
    ]))
}

/// The driver that has taken over a persistent volume.
fn of_persistent(volume: &PersistentVolume) -> Result<Option<&'static str>, String> {
    let source: &PersistentVolumeSource = &volume.spec.persistent_volume_source;
    if let Some(ebs) = &source.aws_elastic_block_store {
        return ebs_volume(&ebs.volume_id).map(|()| Some(EBS));
    }
    if let Some(disk) = &source.azure_disk {
        return managed(disk.kind.as_deref()).map(|()| Some(AZURE_DISK));
    }
    if let Some(file) = &source.azure_file {
        let claim = volume.spec.claim_ref.as_ref();
        let of_claim = || claim.map(|claim| claim.namespace.as_str());
        let namespace = file.secret_namespace.as_deref().or_else(of_claim);
        return match namespace.unwrap_or_default() {
            "" => Err(
                "could not find a secret namespace in PersistentVolumeSource or ClaimRef"
                    .to_owned(),
            ),
            _ => Ok(Some(AZURE_FILE)),
        };
    }
    Ok(first([
        (source.gce_persistent_disk.is_some(), GCE_DISK),
        (source.cinder.is_some(), CINDER),
        (source.vsphere_volume.is_some(), VSPHERE),
        (source.portworx_volume.is_some(), PORTWORX),
    ]))
}

fn first<const N: usize>(drivers: [(bool, &'static str); N]) -> Option<&'static str> {
    let found = drivers.into_iter().find(|(is, _)| *is);
    found.map(|(_, driver)| driver)
}

/// A name of AWS, or `aws://zone/name`.
fn ebs_volume(id: &str) -> Result<(), String> {
    let Some(rest) = id.strip_prefix("aws://") else {
        return Ok(());
    };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = path.trim_matches('/');
    if name.starts_with("vol-") && !name.contains('/') {
        return Ok(());
    }
    Err(format!(
        "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume ({id})"
    ))
}

/// Disks of Azure that nobody manages have no driver.
fn managed(kind: Option<&str>) -> Result<(), String> {
    match kind {
        Some(kind) if !kind.eq_ignore_ascii_case("managed") => {
            Err(format!("kind({kind}) is not supported in csi migration"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::plugins::testing::Few;

    fn object<T: api_types::Struct + Default>(json: &str) -> Object {
        let mut object = Object::from(T::default());
        api_types::decode_json_into(object.value_mut(), json.as_bytes()).expect("an object");
        object
    }

    /// A pod with a claim, the claim's volume, and a driver of everything.
    fn cluster(volume: &str) -> Few {
        let claim = r#"{"metadata":{"namespace":"ns","name":"c"},"spec":{"volumeName":"v"}}"#;
        let volume = format!(r#"{{"metadata":{{"name":"v"}},"spec":{volume}}}"#);
        let mut few = Few::default()
            .with(
                "persistentvolumeclaims",
                object::<PersistentVolumeClaim>(claim),
            )
            .with("persistentvolumes", object::<PersistentVolume>(&volume));
        for name in [
            EBS, AZURE_DISK, AZURE_FILE, GCE_DISK, CINDER, VSPHERE, PORTWORX,
        ] {
            let driver = format!(
                r#"{{"metadata":{{"name":"{name}"}},"spec":{{"tokenRequests":[{{"audience":"for-{name}"}}]}}}}"#
            );
            few = few.with("csidrivers", object::<CSIDriver>(&driver));
        }
        few
    }

    fn pod(volume: &str) -> Pod {
        let json = format!(
            r#"{{"metadata":{{"namespace":"ns","name":"p"}},"spec":{{"volumes":[{volume}]}}}}"#
        );
        let object = object::<Pod>(&json);
        object.get::<Pod>().expect("a pod").clone()
    }

    const CLAIM: &str = r#"{"name":"x","persistentVolumeClaim":{"claimName":"c"}}"#;

    #[tokio::test]
    async fn volumes_that_drivers_have_taken_over() {
        for (source, driver) in [
            (r#""awsElasticBlockStore":{"volumeID":"vol-1"}"#, EBS),
            (
                r#""awsElasticBlockStore":{"volumeID":"aws://z/vol-1"}"#,
                EBS,
            ),
            (
                r#""azureDisk":{"diskName":"d","diskURI":"u","kind":"Managed"}"#,
                AZURE_DISK,
            ),
            (
                r#""azureFile":{"secretName":"s","shareName":"s","secretNamespace":"n"}"#,
                AZURE_FILE,
            ),
            (r#""gcePersistentDisk":{"pdName":"d"}"#, GCE_DISK),
            (r#""cinder":{"volumeID":"d"}"#, CINDER),
            (r#""vsphereVolume":{"volumePath":"d"}"#, VSPHERE),
            (r#""portworxVolume":{"volumeID":"d"}"#, PORTWORX),
        ] {
            let cluster = cluster(&format!("{{{source}}}"));
            let own = format!(r#"{{"name":"x",{source}}}"#);
            for volume in [CLAIM, &own] {
                let pod = pod(volume);
                let audience = format!("for-{driver}");
                assert_eq!(
                    named(&pod, &audience, &cluster).await,
                    Ok(true),
                    "{volume} {source}"
                );
                assert_eq!(
                    named(&pod, "other", &cluster).await,
                    Ok(false),
                    "{volume} {source}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_found_out() {
        for (volume, source, why) in [
            (
                CLAIM,
                r#"{"csi":{"driver":"x","volumeHandle":"h"}}"#,
                "csidriver.storage.k8s.io \"x\" not found",
            ),
            (
                CLAIM,
                r#"{"azureFile":{"secretName":"s","shareName":"s"}}"#,
                "could not find a secret namespace in PersistentVolumeSource or ClaimRef",
            ),
            (
                CLAIM,
                r#"{"azureDisk":{"diskName":"d","diskURI":"u","kind":"Shared"}}"#,
                "kind(Shared) is not supported in csi migration",
            ),
            (
                r#"{"name":"x","awsElasticBlockStore":{"volumeID":"aws://z/x"}}"#,
                "{}",
                "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (aws://z/x)",
            ),
            (
                r#"{"name":"x","persistentVolumeClaim":{"claimName":"d"}},{"name":"y","ephemeral":{"volumeClaimTemplate":{}}}"#,
                "{}",
                "[persistentvolumeclaim \"d\" not found, persistentvolumeclaim \"p-y\" not found]",
            ),
        ] {
            let found = named(&pod(volume), "a", &cluster(source)).await;
            assert_eq!(found, Err(why.to_owned()));
        }
        // A volume that says so is enough.
        let both = r#"{"name":"x","persistentVolumeClaim":{"claimName":"d"}},
            {"name":"y","projected":{"sources":[{"serviceAccountToken":{"audience":"a","path":"p"}}]}}"#;
        assert_eq!(named(&pod(both), "a", &cluster("{}")).await, Ok(true));
        assert_eq!(
            named(&pod(r#"{"name":"x","emptyDir":{}}"#), "", &cluster("{}")).await,
            Ok(false)
        );
    }
}

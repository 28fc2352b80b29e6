//! Our types against k8s-openapi's, which come from upstream's OpenAPI document and so are an independent witness: an
//! object with every field set reads into theirs and comes back unchanged.

use api_types::kinds;
use serde_json::Value;

use crate::fill::fill_struct;

fn check<T: serde::Serialize + serde::de::DeserializeOwned>(api_version: &str, kind: &str) {
    let info = kinds::lookup_api_version(api_version, kind)
        .unwrap_or_else(|| panic!("no {api_version} {kind}"));
    let mut value = (info.new)();
    fill_struct(&mut *value, &mut Vec::new());
    let ours: Value =
        serde_json::from_slice(&api_types::encode_json(&*value)).expect("our output is JSON");
    let theirs: T = serde_json::from_value(ours.clone())
        .unwrap_or_else(|err| panic!("{api_version} {kind}: {err}"));
    let back =
        serde_json::to_value(&theirs).unwrap_or_else(|err| panic!("{api_version} {kind}: {err}"));
    let mut differences = Vec::new();
    compare("", &ours, &back, &mut differences);
    // A claim template is a kind inside a kind. Their encoder names it; ours leaves that to whoever fills the object, as
    // Go does.
    differences.retain(|line| {
        !line.starts_with(".spec.volumeClaimTemplates") || !line.ends_with("we lack it")
    });
    assert!(
        differences.is_empty(),
        "{api_version} {kind}:\n{}",
        differences.join("\n")
    );
}

fn compare(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => compare(&format!("{path}.{key}"), value, other, out),
                    None => out.push(format!("{path}.{key}: only ours has it")),
                }
            }
            out.extend(
                b.keys()
                    .filter(|key| !a.contains_key(*key))
                    .map(|key| format!("{path}.{key}: we lack it")),
            );
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), a, b, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: {ours} became {theirs}")),
    }
}

macro_rules! kinds {
    ($($module:ident $version:ident $api_version:literal: $($kind:ident)*;)*) => {
        #[test]
        fn filled_objects_come_back_unchanged() {
            $($(check::<k8s_openapi::api::$module::$version::$kind>($api_version, stringify!($kind));)*)*
            check::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
            );
            check::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>(
                "apiregistration.k8s.io/v1",
                "APIService",
            );
        }
    };
}

kinds! {
    core v1 "v1": Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount;
    admissionregistration v1 "admissionregistration.k8s.io/v1": MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
        MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding
        ValidatingWebhookConfiguration;
    apps v1 "apps/v1": ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
    authentication v1 "authentication.k8s.io/v1": SelfSubjectReview TokenRequest TokenReview;
    authorization v1 "authorization.k8s.io/v1": LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview
        SubjectAccessReview;
    autoscaling v1 "autoscaling/v1": HorizontalPodAutoscaler Scale;
    autoscaling v2 "autoscaling/v2": HorizontalPodAutoscaler;
    batch v1 "batch/v1": CronJob Job;
    certificates v1 "certificates.k8s.io/v1": CertificateSigningRequest;
    coordination v1 "coordination.k8s.io/v1": Lease;
    discovery v1 "discovery.k8s.io/v1": EndpointSlice;
    events v1 "events.k8s.io/v1": Event;
    flowcontrol v1 "flowcontrol.apiserver.k8s.io/v1": FlowSchema PriorityLevelConfiguration;
    networking v1 "networking.k8s.io/v1": IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR;
    node v1 "node.k8s.io/v1": RuntimeClass;
    policy v1 "policy/v1": Eviction PodDisruptionBudget;
    rbac v1 "rbac.authorization.k8s.io/v1": ClusterRole ClusterRoleBinding Role RoleBinding;
    resource v1 "resource.k8s.io/v1": DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice;
    scheduling v1 "scheduling.k8s.io/v1": PriorityClass;
    storage v1 "storage.k8s.io/v1": CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment
        VolumeAttributesClass;
}

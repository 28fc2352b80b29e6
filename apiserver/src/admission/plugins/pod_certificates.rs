//! A kubelet asks for certificates of its own pods only. Upstream: admitPodCertificateRequest of plugin/pkg/admission/noderestriction.
//!
//! What a cache that is late can cause is no refusal but an error, after which the kubelet asks again.

use std::sync::Arc;

use api_types::certificates::v1beta1::PodCertificateRequest;
use api_types::core::v1::Pod;
use apimachinery::gvk::GroupResource;
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};

use super::node_restriction::{MIRROR_ANNOTATION, refuse};
use crate::admission::{Attributes, Cluster, Freshness, Operation, Verdict};
use crate::apis::gates;
use crate::registry::errors;
use crate::registry::object::Object;

pub(super) async fn judge(node: &str, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    if !gates::enabled("PodCertificateRequest") {
        return refuse(attributes, "PodCertificateRequest feature gate is disabled");
    }
    if attributes.operation != Operation::Create {
        let operation = attributes.operation;
        return refuse(attributes, format!("unexpected operation {operation}"));
    }
    if !attributes.subresource.is_empty() {
        let subresource = &attributes.subresource;
        return refuse(attributes, format!("unexpected subresource {subresource}"));
    }
    let Some(request) = attributes.object::<PodCertificateRequest>() else {
        return Ok(());
    };
    let (spec, namespace) = (&request.spec, &attributes.namespace);
    let named = quote(&spec.node_name);
    if spec.node_name != node {
        return refuse(
            attributes,
            format!(
                "PodCertificateRequest.Spec.NodeName={named}, which is not the requesting node {}",
                quote(node)
            ),
        );
    }
    let full_name = quote(&format!("{namespace}/{}", spec.pod_name));
    let what = format!("node {named}");
    let found = get(cluster, "nodes", "", &spec.node_name, &what).await?;
    let uid = &found.metadata().uid;
    if *uid != spec.node_uid {
        return failed(format!(
            "PodCertificateRequest for pod {full_name} names node UID {}, inconsistent with the running node ({})",
            quote(&spec.node_uid),
            quote(uid)
        ));
    }
    let what = format!("pod {full_name}");
    let found = get(cluster, "pods", namespace, &spec.pod_name, &what).await?;
    let Some(pod) = found.get::<Pod>() else {
        return Ok(());
    };
    if spec.pod_uid != pod.metadata.uid {
        return failed(format!(
            "PodCertificateRequest for pod {full_name} contains pod UID ({}) which differs from running pod {}",
            quote(&spec.pod_uid),
            quote(&pod.metadata.uid)
        ));
    }
    if pod.spec.node_name != spec.node_name {
        let text = format!(
            "pod {full_name} is not running on node {named} named in the PodCertificateRequest"
        );
        return refuse(attributes, text);
    }
    if pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        return refuse(attributes, format!("pod {full_name} is a mirror pod"));
    }
    let account = &spec.service_account_name;
    if *account != pod.spec.service_account_name {
        // The UIDs are the same, so no cache is late.
        return refuse(
            attributes,
            format!(
                "PodCertificateRequest for pod {full_name} contains serviceAccountName ({}) that differs from running pod ({})",
                quote(account),
                quote(&pod.spec.service_account_name)
            ),
        );
    }
    let what = format!(
        "service account {}",
        quote(&format!("{namespace}/{account}"))
    );
    let found = get(cluster, "serviceaccounts", namespace, account, &what).await?;
    let uid = &found.metadata().uid;
    if spec.service_account_uid != *uid {
        return failed(format!(
            "PodCertificateRequest for pod {full_name} names service account UID {}, which differs from the running service account ({})",
            quote(&spec.service_account_uid),
            quote(uid)
        ));
    }
    Ok(())
}

/// An object that the request names.
async fn get(
    cluster: &dyn Cluster,
    resource: &str,
    namespace: &str,
    name: &str,
    what: &str,
) -> Result<Arc<Object>, StatusError> {
    let freshness = Freshness::Cached;
    if let Some(found) = cluster
        .get("", resource, namespace, name, freshness)
        .await?
    {
        return Ok(found);
    }
    // As listers, which know the singular only.
    let resource = GroupResource::new("", resource.trim_end_matches('s'));
    let missing = status::not_found(&resource, name);
    Err(errors::plain(format!(
        "while retrieving {what} named in the PodCertificateRequest: {}",
        missing.message
    )))
}

/// An error that is no Status upstream.
fn failed(text: String) -> Verdict {
    Err(errors::plain(text))
}

#[cfg(test)]
mod tests {
    use component_base::features::FeatureGates;

    use super::*;
    use crate::admission::plugins::testing::{Few, request};

    const SPEC: &str = r#"{"signerName":"example.com/s","podName":"p","podUID":"p1","serviceAccountName":"a","serviceAccountUID":"a1",
        "nodeName":"n","nodeUID":"n1"}"#;

    fn object<T: api_types::Struct + Default>(json: &str) -> Object {
        let mut object = Object::from(T::default());
        api_types::decode_json_into(object.value_mut(), json.as_bytes()).expect("an object");
        object
    }

    fn cluster(pod: &str) -> Few {
        let pod = format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns","uid":"p1"{pod}}},"spec":{{"nodeName":"n","serviceAccountName":"a"}}}}"#
        );
        Few::default()
            .with(
                "nodes",
                object::<api_types::core::v1::Node>(r#"{"metadata":{"name":"n","uid":"n1"}}"#),
            )
            .with("pods", object::<Pod>(&pod))
            .with(
                "serviceaccounts",
                object::<api_types::core::v1::ServiceAccount>(
                    r#"{"metadata":{"name":"a","namespace":"ns","uid":"a1"}}"#,
                ),
            )
    }

    async fn verdict(from: &str, to: &str, pod: &str) -> Result<(), (i32, String)> {
        let spec = SPEC.replace(from, to);
        let wanted = object::<PodCertificateRequest>(&format!(r#"{{"spec":{spec}}}"#));
        let (kind, resource) = ("PodCertificateRequest", "podcertificaterequests");
        let mut attributes = request(Operation::Create, kind, resource, wanted);
        "ns".clone_into(&mut attributes.namespace);
        let verdict = judge("n", &attributes, &cluster(pod)).await;
        verdict.map_err(|error| {
            let (_, text) = error
                .message
                .split_once("is forbidden: ")
                .unwrap_or(("", &error.message));
            (error.code, text.to_owned())
        })
    }

    #[tokio::test]
    async fn certificates_are_for_own_pods() {
        let on = [("PodCertificateRequest".to_owned(), true)].into();
        gates::install(FeatureGates::default().with(&on).expect("a gate"));
        assert_eq!(verdict("", "", "").await, Ok(()));
        for (from, to, pod, code, text) in [
            (
                r#""n""#,
                r#""m""#,
                "",
                403,
                r#"PodCertificateRequest.Spec.NodeName="m", which is not the requesting node "n""#,
            ),
            (
                "n1",
                "n2",
                "",
                500,
                r#"PodCertificateRequest for pod "ns/p" names node UID "n2", inconsistent with the running node ("n1")"#,
            ),
            (
                r#""p""#,
                r#""q""#,
                "",
                500,
                r#"while retrieving pod "ns/q" named in the PodCertificateRequest: pod "q" not found"#,
            ),
            (
                "p1",
                "p2",
                "",
                500,
                r#"PodCertificateRequest for pod "ns/p" contains pod UID ("p2") which differs from running pod "p1""#,
            ),
            (
                "",
                "",
                r#","annotations":{"kubernetes.io/config.mirror":"x"}"#,
                403,
                r#"pod "ns/p" is a mirror pod"#,
            ),
            (
                r#""a""#,
                r#""b""#,
                "",
                403,
                r#"PodCertificateRequest for pod "ns/p" contains serviceAccountName ("b") that differs from running pod ("a")"#,
            ),
            (
                "a1",
                "a2",
                "",
                500,
                r#"PodCertificateRequest for pod "ns/p" names service account UID "a2", which differs from the running service account ("a1")"#,
            ),
        ] {
            assert_eq!(verdict(from, to, pod).await, Err((code, text.to_owned())));
        }
    }
}

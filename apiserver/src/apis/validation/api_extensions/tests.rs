use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::apis::defaults::set_defaults;

fn crd(change: impl FnOnce(&mut Value)) -> CustomResourceDefinition {
    let mut value = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com", "resourceVersion": "1"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}
    });
    change(&mut value);
    let mut crd: CustomResourceDefinition =
        api_types::decode_json(value.to_string().as_bytes()).unwrap();
    set_defaults(&mut crd);
    crd
}

fn add_version(crd: &mut Value, version: Value) {
    let versions = crd["spec"]["versions"].as_array_mut();
    versions.unwrap().push(version);
}

#[track_caller]
fn same(errors: ErrorList, want: &[&str]) {
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got, want);
}

#[track_caller]
fn created(change: impl FnOnce(&mut Value), want: &[&str]) {
    same(validate_crd(&crd(change)), want);
}

#[track_caller]
fn updated(old: impl FnOnce(&mut Value), new: impl FnOnce(&mut Value), want: &[&str]) {
    same(validate_crd_update(&crd(new), &crd(old)), want);
}

#[test]
fn a_crd_has_names_a_group_and_a_scope() {
    created(|_| {}, &[]);
    created(
        |crd| {
            crd["metadata"]["name"] = json!("x.example.com");
            crd["spec"]["group"] = json!("com");
            crd["spec"]["scope"] = json!("Galaxy");
            crd["spec"]["names"] = json!({"plural": "Things", "kind": "T_", "listKind": "T_", "shortNames": ["a", "B"], "categories": ["C"]});
        },
        &[
            "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
            "spec.group: Invalid value: \"com\": should be a domain with at least one dot",
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
            &format!("spec.names.plural: Invalid value: \"Things\": {LABEL}"),
            &format!("spec.names.singular: Invalid value: \"t_\": {LABEL}"),
            &format!(
                "spec.names.kind: Invalid value: \"T_\": may have mixed case, but should otherwise match: {LABEL}"
            ),
            &format!(
                "spec.names.listKind: Invalid value: \"T_\": may have mixed case, but should otherwise match: {LABEL}"
            ),
            &format!("spec.names.shortNames[1]: Invalid value: \"B\": {LABEL}"),
            "spec.names.listKind: Invalid value: \"T_\": kind and listKind may not be the same",
            &format!("spec.names.categories[0]: Invalid value: \"C\": {LABEL}"),
        ],
    );
}

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
                     and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
                     '[a-z]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn one_version_is_stored() {
    created(
        |crd| crd["spec"]["versions"] = json!([]),
        &[
            "spec.versions: Invalid value: null: must have exactly one version marked as storage version",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ],
    );
    created(
        |crd| add_version(crd, crd["spec"]["versions"][0].clone()),
        &[
            "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":true,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null},{\"Name\":\"v1\",\"Served\":true,\"Storage\":true,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must contain unique version names",
            "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":true,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null},{\"Name\":\"v1\",\"Served\":true,\"Storage\":true,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version",
            "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v1",
        ],
    );
}

#[test]
fn versions_differ_or_share() {
    // The only version's schema is that of the spec.
    created(
        |crd| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "x"}),
        &[
            "spec.validation.openAPIV3Schema.type: Invalid value: \"x\": must be object at the root",
            "spec.validation.openAPIV3Schema.type: Unsupported value: \"x\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    created(
        |crd| {
            add_version(
                crd,
                json!({"name": "v2", "served": true, "storage": false, "deprecationWarning": "",
                "additionalPrinterColumns": [{"name": "a", "type": "string", "jsonPath": "x"}]}),
            );
        },
        &[
            "spec.versions[1].schema.openAPIV3Schema: Required value",
            "spec.versions[1].deprecationWarning: Invalid value: \"\": can only be set for deprecated versions",
            "spec.versions[1].additionalPrinterColumns[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
        ],
    );
}

#[test]
fn webhooks_convert_when_they_are_asked_to() {
    created(
        |crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"}),
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    );
    created(
        |crd| {
            crd["spec"]["conversion"] = json!({"strategy": "None", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}});
        },
        &[
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
        ],
    );
    created(
        |crd| {
            crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v9", "v9"],
                "clientConfig": {"caBundle": "bm9uc2Vuc2U=", "service": {"name": "a", "namespace": "", "path": "x"}}}});
        },
        &[
            "spec.conversion.webhookClientConfig.service.name: Required value",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"x\": segment[0] may not be empty",
            "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v9\": duplicate version",
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v9\",\"v9\"]: must include at least one of v1, v1beta1",
        ],
    );
}

#[test]
fn kubernetes_groups_need_approval() {
    let group = |crd: &mut Value| {
        crd["metadata"]["name"] = json!("things.a.k8s.io");
        crd["spec"]["group"] = json!("a.k8s.io");
    };
    const MISSING: &str = "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
    created(group, &[MISSING]);
    updated(group, group, &[]);
    let approved = |crd: &mut Value| {
        group(crd);
        crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://a/b"});
    };
    created(approved, &[]);
    updated(approved, group, &[MISSING]);
}

#[test]
fn what_is_established_stays() {
    let established = |crd: &mut Value| {
        crd["status"] = json!({"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]});
    };
    updated(
        established,
        |crd| {
            established(crd);
            crd["spec"]["scope"] = json!("Cluster");
            crd["spec"]["names"]["kind"] = json!("Other");
        },
        &[
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "spec.names.kind: Invalid value: \"Other\": field is immutable",
        ],
    );
    updated(
        |_| {},
        |crd| crd["spec"]["names"]["kind"] = json!("Other"),
        &[],
    );
    updated(
        established,
        |crd| {
            crd["status"] = json!({"storedVersions": ["v0", "v1"]});
            crd["spec"]["preserveUnknownFields"] = json!(true);
        },
        &[
            "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions",
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ],
    );
    // A bundle that nobody can use is for CRDs that are not established yet.
    let webhook = |crd: &mut Value| {
        established(crd);
        crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"caBundle": "bm9uc2Vuc2U=", "url": "https://a"}}});
    };
    updated(
        established,
        webhook,
        &[
            "spec.conversion.webhookClientConfig.caBundle: Invalid value: \"bm9uc2Vuc2U=\": unable to load root certificates: unable to parse bytes as PEM block",
        ],
    );
    updated(webhook, webhook, &[]);
    // One good certificate is enough.
    let good = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let bundle = format!(
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n{}",
        good.cert.pem()
    );
    updated(
        established,
        |crd| {
            webhook(crd);
            let config = &mut crd["spec"]["conversion"]["webhook"]["clientConfig"];
            config["caBundle"] = json!(STANDARD.encode(&bundle));
        },
        &[],
    );
}

//! Nodes: taints, addresses, amounts, configuration. Upstream: pkg/apis/core/validation.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use api_types::core::v1::*;
use apimachinery::quote::quote;
use regex::Regex;

use super::pod_spec::taint_effect;
use super::resources::resource_quantity;
use super::*;

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOID_PODS: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

fn taints(taints: &[Taint], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        errors.extend(rules::validate_label_name(&taint.key, &path.child("key")));
        let problems = rules::is_label_value(&taint.value);
        if !problems.is_empty() {
            errors.push(field::invalid(
                &path.child("value"),
                &taint.value,
                problems.join(";"),
            ));
        }
        let effect_path = path.child("effect");
        if taint.effect.is_empty() {
            errors.push(field::required(&effect_path, ""));
        } else {
            errors.extend(taint_effect(&taint.effect, &effect_path));
        }
        if !seen.insert((&taint.effect, &taint.key)) {
            let mut error = field::duplicate(&path, go_value::bad_value(taint));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
    errors
}

fn annotations(annotations: &BTreeMap<String, String>) -> ErrorList {
    let path = path(&["metadata", "annotations"]);
    let mut errors = ErrorList::new();
    if let Some(text) = annotations.get(TAINTS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<serde_json::Value>>(text) {
            Ok(items) => {
                let decoded = items
                    .iter()
                    .map(|item| api_types::decode_json(item.to_string().as_bytes()));
                match decoded.collect::<Result<Vec<Taint>, _>>() {
                    Ok(list) => errors.extend(taints(&list, &path.child(TAINTS))),
                    Err(error) => errors.push(field::invalid(&path, TAINTS, error.to_string())),
                }
            }
            Err(error) => {
                let problem = crate::go_json::syntax_error(text.as_bytes(), &error);
                errors.push(field::invalid(&path, TAINTS, problem));
            }
        }
    }
    if let Some(text) = annotations.get(AVOID_PODS).filter(|text| !text.is_empty()) {
        match api_types::decode_json::<AvoidPods>(text.as_bytes()) {
            Ok(avoid) => {
                for (i, entry) in avoid.prefer_avoid_pods.iter().enumerate() {
                    let path = path.child(AVOID_PODS).index(i).child("PodSignature");
                    match &entry.pod_signature.pod_controller {
                        None => errors.push(field::required(&path, "")),
                        Some(owner) if owner.controller != Some(true) => {
                            errors.push(field::invalid(
                                &path.child("PodController").child("Controller"),
                                false,
                                "must point to a controller",
                            ))
                        }
                        Some(_) => {}
                    }
                }
            }
            Err(error) => {
                errors.push(field::invalid(
                    &path.child("AvoidPods"),
                    AVOID_PODS,
                    error.to_string(),
                ));
            }
        }
    }
    errors
}

fn amounts(node: &Node) -> ErrorList {
    let mut errors = ErrorList::new();
    for (list, child) in [
        (&node.status.capacity, "capacity"),
        (&node.status.allocatable, "allocatable"),
    ] {
        for (name, amount) in list {
            errors.extend(resource_quantity(
                name,
                amount,
                &path(&["status", child]).child(name.clone()),
            ));
        }
    }
    errors
}

static FEATURE: LazyLock<Regex> =
    LazyLock::new(|| super::volumes::regex(r"^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$"));

fn declared_features(features: &[String]) -> ErrorList {
    let path = path(&["status", "declaredFeatures"]);
    let mut errors = ErrorList::new();
    for (i, feature) in features.iter().enumerate() {
        let quoted = quote(feature);
        if feature.len() > 253 {
            let detail =
                format!("invalid feature name {quoted}: must be no more than 253 characters");
            errors.push(field::invalid(&path.index(i), feature, detail));
        } else if !FEATURE.is_match(feature) {
            let detail = format!(
                "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(field::invalid(&path.index(i), feature, detail));
        }
        if let Some(next) = features.get(i + 1) {
            if feature == next {
                errors.push(field::duplicate(&path.index(i + 1), next));
            } else if feature > next {
                let detail = "list must be sorted alphabetically";
                errors.push(field::invalid(&path.index(i + 1), next, detail));
            }
        }
    }
    errors
}

pub fn validate_node(node: &Node) -> ErrorList {
    let mut errors = object_meta(&node.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(annotations(&node.metadata.annotations));
    errors.extend(taints(&node.spec.taints, &path(&["metadata", "taints"])));
    errors.extend(amounts(node));
    if let Some(capacity) = node
        .status
        .node_info
        .swap
        .as_ref()
        .and_then(|swap| swap.capacity)
    {
        errors.extend(positive(
            capacity,
            &path(&["metadata", "nodeSwapStatus", "capacity"]),
        ));
    }
    errors.extend(declared_features(&node.status.declared_features));
    let cidrs = &node.spec.pod_cidrs;
    let cidrs_path = path(&["spec", "podCIDRs"]);
    for (i, cidr) in cidrs.iter().enumerate() {
        errors.extend(legacy_cidr(&cidrs_path.index(i), cidr, &Known::new()));
    }
    if cidrs.len() > 1 {
        let families: Vec<Option<bool>> = cidrs
            .iter()
            .map(|cidr| rules::parse_cidr_sloppy(cidr).map(|cidr| cidr.address.is_ipv6()))
            .collect();
        if let Some(wrong) = families.iter().position(Option::is_none) {
            let problem = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address: {}",
                cidrs[wrong]
            );
            errors.push(field::internal(&cidrs_path, problem));
        }
        let dual = families.contains(&Some(true))
            && families.contains(&Some(false))
            && !families.contains(&None);
        if !dual || cidrs.len() > 2 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(field::invalid(&cidrs_path, cidrs, detail));
        }
    }
    errors
}

pub fn validate_node_update(new: &Node, old: &Node) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(annotations(&new.metadata.annotations));
    errors.extend(amounts(new));
    errors.extend(declared_features(&new.status.declared_features));
    let mut addresses = HashSet::new();
    for (i, address) in new.status.addresses.iter().enumerate() {
        if !addresses.insert((&address.type_, &address.address)) {
            let path = path(&["status", "addresses"]).index(i);
            errors.push(field::duplicate(&path, go_value::bad_value(address)));
        }
    }
    let (cidrs, before) = (&new.spec.pod_cidrs, &old.spec.pod_cidrs);
    if !before.is_empty() {
        let changed = if before.len() == cidrs.len() {
            before
                .iter()
                .zip(cidrs)
                .filter(|(before, cidr)| before != cidr)
                .count()
        } else {
            1
        };
        for _ in 0..changed {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(field::forbidden(&path(&["spec", "podCIDRs"]), detail));
        }
    }
    if !old.spec.provider_id.is_empty() && old.spec.provider_id != new.spec.provider_id {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(field::forbidden(&path(&["spec", "providerID"]), detail));
    }
    if let Some(source) = &new.spec.config_source {
        errors.extend(config_source(
            source,
            false,
            &path(&["spec", "configSource"]),
        ));
    }
    if let Some(config) = &new.status.config {
        let path = path(&["status", "config"]);
        for (source, child) in [
            (&config.assigned, "assigned"),
            (&config.active, "active"),
            (&config.last_known_good, "lastKnownGood"),
        ] {
            if let Some(source) = source {
                errors.extend(config_source(source, true, &path.child(child)));
            }
        }
    }
    errors.extend(taints(&new.spec.taints, &path(&["metadata", "taints"])));
    if new.spec.external_id != old.spec.external_id {
        errors.push(field::forbidden(
            &path(&["spec", "externalID"]),
            "may not be updated",
        ));
    }
    errors
}

fn config_source(source: &NodeConfigSource, in_status: bool, path: &Path) -> ErrorList {
    let Some(map) = &source.config_map else {
        let detail = "exactly one reference subfield must be non-nil";
        return field::invalid(path, go_value::bad_value(source), detail).into();
    };
    let mut errors = ErrorList::new();
    let path = path.child("configMap");
    for (value, child, detail) in [
        (&map.uid, "uid", "uid must not be set in spec"),
        (
            &map.resource_version,
            "resourceVersion",
            "resourceVersion must not be set in spec",
        ),
    ] {
        match (in_status, value.is_empty()) {
            (true, true) => errors.push(field::required(&path.child(child), "")),
            (false, false) => errors.push(field::forbidden(&path.child(child), detail)),
            _ => {}
        }
    }
    let checks: [(&str, &'static str, fn(&str) -> Vec<String>); 3] = [
        (&map.namespace, "namespace", rules::is_dns1123_label),
        (&map.name, "name", rules::is_dns1123_subdomain),
        (
            &map.kubelet_config_key,
            "kubeletConfigKey",
            rules::is_config_map_key,
        ),
    ];
    for (value, child, check) in checks {
        let path = path.child(child);
        if value.is_empty() {
            errors.push(field::required(&path, ""));
        } else {
            errors.extend(invalids(&path, value, check(value)));
        }
    }
    errors
}

//! API services. Upstream: kube-aggregator/pkg/apis/apiregistration/validation.

use api_types::apiregistration::v1::{APIService, ServiceReference};
use apimachinery::quote::quote;

use super::*;

const HIGHEST_GROUP_PRIORITY: i32 = 20_000;
const HIGHEST_VERSION_PRIORITY: i32 = 1000;

pub(crate) fn validate_api_service(service: &APIService) -> ErrorList {
    let spec = &service.spec;
    let required_name = format!("{}.{}", spec.version, spec.group);
    let name_problems = |name: &str| {
        let problems = rules::content::is_path_segment_name(name);
        if !problems.is_empty() || name == required_name {
            return problems;
        }
        let required = quote(&required_name);
        vec![format!(
            "must be `spec.version+\".\"+spec.group`: {required}"
        )]
    };
    let mut errors = rules::validate_object_meta(
        &service.metadata,
        false,
        |name, _| name_problems(name),
        &Path::new("metadata"),
    );
    let path = Path::new("spec");
    let group_path = path.child("group");
    if spec.group.is_empty() && spec.version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(field::required(&group_path, detail));
    }
    if !spec.group.is_empty() {
        errors.extend(dns_subdomain(&spec.group, &group_path));
    }
    errors.extend(invalids(
        &path.child("version"),
        &spec.version,
        rules::is_dns1035_label(&spec.version),
    ));
    let priorities = [
        (
            "groupPriorityMinimum",
            spec.group_priority_minimum,
            HIGHEST_GROUP_PRIORITY,
        ),
        (
            "versionPriority",
            spec.version_priority,
            HIGHEST_VERSION_PRIORITY,
        ),
    ];
    for (child, priority, highest) in priorities {
        if !(1..=highest).contains(&priority) {
            let detail = format!("must be positive and less than {highest}");
            errors.push(field::invalid(&path.child(child), priority, detail));
        }
    }
    let has_bundle = !spec.ca_bundle.0.is_empty();
    let insecure_path = path.child("insecureSkipTLSVerify");
    match &spec.service {
        Some(service) => {
            errors.extend(service_reference(service, &path.child("service")));
            if spec.insecure_skip_tls_verify && has_bundle {
                let detail = "may not be true if caBundle is present";
                errors.push(field::invalid(&insecure_path, true, detail));
            }
        }
        None => {
            if has_bundle {
                let size = format!("{} bytes", spec.ca_bundle.0.len());
                let detail = "local APIServices may not have a caBundle";
                errors.push(field::invalid(&path.child("caBundle"), size, detail));
            }
            if spec.insecure_skip_tls_verify {
                let detail = "local APIServices may not have insecureSkipTLSVerify";
                errors.push(field::invalid(&insecure_path, true, detail));
            }
        }
    }
    errors
}

fn service_reference(service: &ServiceReference, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (child, value) in [("namespace", &service.namespace), ("name", &service.name)] {
        if value.is_empty() {
            errors.push(field::required(&path.child(child), ""));
        }
    }
    let port = service.port.unwrap_or_default();
    let problems = rules::is_valid_port_num(port.into());
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(field::invalid(&path.child("port"), port, detail));
    }
    errors
}

pub(crate) fn validate_api_service_update(new: &APIService, old: &APIService) -> ErrorList {
    let mut errors = plain_object_meta_update(&new.metadata, &old.metadata);
    errors.extend(validate_api_service(new));
    errors
}

pub(crate) fn validate_api_service_status_update(new: &APIService, old: &APIService) -> ErrorList {
    let mut errors = plain_object_meta_update(&new.metadata, &old.metadata);
    let path = super::path(&["status", "conditions"]);
    for (i, condition) in new.status.conditions.iter().enumerate() {
        errors.extend(one_of(
            &condition.status,
            &["True", "False", "Unknown"],
            &path.index(i).child("status"),
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(service: serde_json::Value, want: &[&str]) {
        let service: APIService = api_types::decode_json(service.to_string().as_bytes()).unwrap();
        let errors = validate_api_service(&service);
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn services_of_api_groups() {
        check(
            json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 1,
                "versionPriority": 1000, "service": {"name": "a", "namespace": "b", "port": 443}}}),
            &[],
        );
        check(
            json!({"metadata": {"name": "nonsense"}, "spec": {"group": "", "version": "v2", "insecureSkipTLSVerify": true, "caBundle": "MQ=="}}),
            &[
                "metadata.name: Invalid value: \"nonsense\": must be `spec.version+\".\"+spec.group`: \"v2.\"",
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        );
    }
}

//! Leases, and who would like to have them. Upstream: pkg/apis/coordination/validation.

use std::cmp::Ordering;

use api_types::coordination::v1::*;
use api_types::coordination::v1beta1::{LeaseCandidate, LeaseCandidateSpec};
use cel::Semver;

use super::*;

pub fn validate_lease(lease: &Lease) -> ErrorList {
    let mut errors = plain_object_meta(&lease.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(lease_spec(&lease.spec));
    errors
}

pub fn validate_lease_update(new: &Lease, old: &Lease) -> ErrorList {
    let mut errors = plain_object_meta_update(&new.metadata, &old.metadata);
    errors.extend(lease_spec(&new.spec));
    errors
}

fn lease_spec(spec: &LeaseSpec) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        errors.push(field::invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    if let Some(count) = spec.lease_transitions.filter(|count| *count < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(field::invalid(
            &path.child("leaseTransitions"),
            count,
            detail,
        ));
    }
    if let Some(strategy) = &spec.strategy {
        errors.extend(lease_strategy(strategy, &path.child("strategy")));
    }
    let preferred = spec
        .preferred_holder
        .as_ref()
        .is_some_and(|holder| !holder.is_empty());
    if preferred && spec.strategy.as_ref().is_none_or(String::is_empty) {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(field::forbidden(&path.child("preferredHolder"), detail));
    }
    errors
}

const OLDEST: &str = "OldestEmulationVersion";

/// One of Kubernetes, or one with a domain.
fn lease_strategy(strategy: &str, path: &Path) -> ErrorList {
    // Upstream names the field twice.
    let path = path.child("strategy");
    if strategy.contains('/') {
        qualified_name(strategy, &path)
    } else {
        one_of(strategy, &[OLDEST], &path)
    }
}

pub fn validate_lease_candidate(candidate: &LeaseCandidate) -> ErrorList {
    let mut errors = plain_object_meta(&candidate.metadata, true, |name, _| {
        rules::is_config_map_key(name)
    });
    errors.extend(candidate_spec(&candidate.spec));
    errors
}

pub fn validate_lease_candidate_update(new: &LeaseCandidate, old: &LeaseCandidate) -> ErrorList {
    let mut errors = plain_object_meta_update(&new.metadata, &old.metadata);
    errors.extend(candidate_spec(&new.spec));
    let (new, old) = (&new.spec.lease_name, &old.spec.lease_name);
    let path = path(&["spec", "leaseName"]);
    errors.extend(immutable(new, old, &path, || new.into()));
    errors
}

fn candidate_spec(spec: &LeaseCandidateSpec) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if spec.lease_name.is_empty() {
        errors.push(field::required(&path.child("leaseName"), ""));
    }
    let mut version = |text: &str, name: &'static str| {
        let parsed = Semver::parse(text);
        if !text.is_empty() && parsed.is_none() {
            let detail = "must be a valid semantic version";
            errors.push(field::invalid(&path.child(name), text, detail));
        }
        parsed
    };
    let emulated = version(&spec.emulation_version, "emulationVersion");
    let binary = version(&spec.binary_version, "binaryVersion");
    let zero = Semver::parse("0.0.0");
    let is_before = |one: &Option<Semver>, other: &Option<Semver>| {
        let (one, other) = (
            one.as_ref().or(zero.as_ref()),
            other.as_ref().or(zero.as_ref()),
        );
        one.zip(other).map(|(one, other)| one.cmp(other))
    };
    let binary_path = path.child("binaryVersion");
    if spec.binary_version.is_empty() {
        errors.push(field::required(&binary_path, ""));
    } else if !spec.emulation_version.is_empty()
        && is_before(&binary, &emulated) == Some(Ordering::Less)
    {
        let detail = "must be greater than or equal to `emulationVersion`";
        errors.push(field::invalid(&binary_path, &spec.binary_version, detail));
    }
    let strategy = path.child("strategy");
    if spec.strategy.is_empty() {
        errors.push(field::required(&strategy, ""));
        return errors;
    }
    if spec.strategy == OLDEST && is_before(&emulated, &zero) == Some(Ordering::Equal) {
        let detail = "must be specified when `strategy` is 'OldestEmulationVersion'";
        errors.push(field::required(&path.child("emulationVersion"), detail));
    }
    errors.extend(lease_strategy(&spec.strategy, &strategy));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_say_which_versions_they_are() {
        let check = |binary: &str, emulated: &str, strategy: &str, wants: &[&str]| {
            let spec = LeaseCandidateSpec {
                lease_name: "l".to_owned(),
                binary_version: binary.to_owned(),
                emulation_version: emulated.to_owned(),
                strategy: strategy.to_owned(),
                ..LeaseCandidateSpec::default()
            };
            let errors = candidate_spec(&spec);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors, wants);
        };
        check("1.36.0", "1.35.0", OLDEST, &[]);
        check("1.36.0", "", "example.com/own", &[]);
        check(
            "1.35.0",
            "1.36.0",
            "",
            &[
                "spec.binaryVersion: Invalid value: \"1.35.0\": must be greater than or equal to `emulationVersion`",
                "spec.strategy: Required value",
            ],
        );
        check(
            "",
            "x",
            OLDEST,
            &[
                "spec.emulationVersion: Invalid value: \"x\": must be a valid semantic version",
                "spec.binaryVersion: Required value",
                "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
            ],
        );
    }

    #[test]
    fn finalizers_of_leases_need_no_domain() {
        let mut lease = Lease::default();
        lease.metadata.name = "a".to_owned();
        lease.metadata.namespace = "b".to_owned();
        lease.metadata.resource_version = "1".to_owned();
        lease.metadata.finalizers = vec!["bad".to_owned()];
        assert!(validate_lease(&lease).is_empty());
        assert!(validate_lease_update(&lease, &lease).is_empty());
    }
}

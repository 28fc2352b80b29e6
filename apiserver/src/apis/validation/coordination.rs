//! Leases. Upstream: pkg/apis/coordination/validation.

use api_types::coordination::v1::*;

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
        // Upstream names the field twice.
        let path = path.child("strategy").child("strategy");
        if strategy.contains('/') {
            errors.extend(qualified_name(strategy, &path));
        } else {
            errors.extend(one_of(strategy, &["OldestEmulationVersion"], &path));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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

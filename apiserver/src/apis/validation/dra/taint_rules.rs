//! Taints for devices that a rule selects.

use api_types::resource::v1beta2::{DeviceTaint, DeviceTaintRule, DeviceTaintRuleSpec};
use apimachinery::validation::validate_conditions;

use super::*;

const MOST_CONDITIONS: usize = 8;

pub(crate) fn validate_taint_rule(rule: &DeviceTaintRule) -> ErrorList {
    let mut errors = object_meta(&rule.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(spec(&rule.spec, None));
    errors
}

pub(crate) fn validate_taint_rule_update(
    new: &DeviceTaintRule,
    old: &DeviceTaintRule,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(spec(&new.spec, Some(&old.spec)));
    errors
}

pub(crate) fn validate_taint_rule_status_update(
    new: &DeviceTaintRule,
    old: &DeviceTaintRule,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = path(&["status", "conditions"]);
    let conditions = &new.status.conditions;
    errors.extend(validate_conditions(conditions, &path));
    if conditions.len() > MOST_CONDITIONS {
        let count = Some(conditions.len());
        errors.push(field::too_many(&path, count, MOST_CONDITIONS));
    }
    errors
}

fn spec(spec: &DeviceTaintRuleSpec, old: Option<&DeviceTaintRuleSpec>) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if let Some(selector) = &spec.device_selector {
        let path = path.child("deviceSelector");
        if let Some(driver) = &selector.driver {
            errors.extend(driver_name(driver, &path.child("driver")));
        }
        if let Some(pool) = &selector.pool {
            errors.extend(pool_name(pool, &path.child("pool")));
        }
        if let Some(device) = &selector.device {
            errors.extend(dns_label(device, &path.child("device")));
        }
    }
    let old = old.map(|old| &old.taint);
    errors.extend(taint(&spec.taint, old, &path.child("taint")));
    errors
}

fn taint(taint: &DeviceTaint, old: Option<&DeviceTaint>, path: &Path) -> ErrorList {
    let mut errors = rules::validate_label_name(&taint.key, &path.child("key"));
    if !taint.value.is_empty() {
        let problems = rules::is_label_value(&taint.value);
        errors.extend(invalids(&path.child("value"), &taint.value, problems));
    }
    if old.is_none_or(|old| old.effect != taint.effect) {
        errors.extend(required_one_of(
            &taint.effect,
            &["NoExecute", "NoSchedule", "None"],
            &path.child("effect"),
        ));
    }
    errors
}

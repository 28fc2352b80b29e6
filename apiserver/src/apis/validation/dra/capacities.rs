//! Capacities that several requests share: what a request can have of one.

use api_types::Quantity;

use super::*;

const MOST_VALID_VALUES: usize = 10;

/// How requests for a part of a capacity are rounded.
pub(super) fn request_policy(
    whole: &Quantity,
    policy: &CapacityRequestPolicy,
    path: &Path,
) -> ErrorList {
    let (values, range) = (&policy.valid_values, &policy.valid_range);
    let required = |what: &str| {
        let detail = format!("required when {what} is defined");
        field::required(&path.child("default"), detail).into()
    };
    match (values.is_empty(), range, &policy.default) {
        (false, Some(_), _) => field::forbidden(path, r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#).into(),
        (false, None, None) => required("validValues"),
        (false, None, Some(default)) => valid_values(default, whole, values, &path.child("validValues")),
        (true, Some(_), None) => required("validRange"),
        (true, Some(range), Some(default)) => valid_range(default, whole, range, &path.child("validRange")),
        (true, None, _) => ErrorList::new(),
    }
}

fn valid_values(
    default: &Quantity,
    whole: &Quantity,
    values: &[Quantity],
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, two) in values.windows(2).enumerate() {
        if two[0].cmp(&two[1]).is_gt() {
            let detail = "values must be sorted in ascending order";
            errors.push(field::invalid(
                &path.index(i + 1),
                two[1].to_string(),
                detail,
            ));
        }
    }
    errors.extend(items(values, MOST_VALID_VALUES, path, |value, path| {
        if value.cmp(whole).is_gt() {
            let detail = format!("option is larger than capacity value: {whole}");
            return field::invalid(path, value.to_string(), detail).into();
        }
        ErrorList::new()
    }));
    let few = values.len() <= MOST_VALID_VALUES;
    for (i, value) in values.iter().enumerate().filter(|_| few) {
        if values[..i]
            .iter()
            .any(|other| other.value() == value.value())
        {
            errors.push(field::duplicate(&path.index(i), value.value().to_string()));
        }
    }
    if !few || !values.iter().any(|value| value.cmp(default).is_eq()) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(field::invalid(path, default.to_string(), detail));
    }
    errors
}

fn valid_range(
    default: &Quantity,
    whole: &Quantity,
    range: &CapacityRequestPolicyRange,
    path: &Path,
) -> ErrorList {
    let (min_path, max_path, step_path) =
        (path.child("min"), path.child("max"), path.child("step"));
    let Some(min) = &range.min else {
        return field::required(&min_path, "required when validRange is defined").into();
    };
    let mut errors = ErrorList::new();
    let mut check = |bad: bool, path: &Path, value: &Quantity, detail: String| {
        if bad {
            errors.push(field::invalid(path, value.to_string(), detail));
        }
    };
    let larger = |name: &str| format!("{name} is larger than capacity value: {whole}");
    check(min.cmp(whole).is_gt(), &min_path, min, larger("min"));
    check(
        default.cmp(min).is_lt(),
        &min_path,
        default,
        format!("default is less than min: {min}"),
    );
    if let Some(max) = &range.max {
        check(
            min.cmp(max).is_gt(),
            &max_path,
            min,
            format!("min is larger than max: {max}"),
        );
        check(max.cmp(whole).is_gt(), &max_path, max, larger("max"));
        check(
            default.cmp(max).is_gt(),
            &max_path,
            default,
            format!("default is more than max: {max}"),
        );
    }
    if let Some(step) = &range.step {
        let mut first = min.clone();
        first.add(step);
        check(
            first.cmp(whole).is_gt(),
            &step_path,
            step,
            larger(&format!("one step {first}")),
        );
        // A step of nothing divides nothing; upstream does not survive it.
        let off = |value: &Quantity| {
            let distance = value.value().wrapping_sub(min.value());
            distance
                .checked_rem(step.value())
                .is_none_or(|rest| rest != 0)
        };
        for value in std::iter::once(default).chain(&range.max) {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            check(off(value), &step_path, value, detail);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::slices::tests::of_device;
    use super::super::tests::check;

    #[test]
    fn capacities_are_shared_by_policies() {
        let policy = |policy: serde_json::Value| {
            of_device(
                json!({"allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": policy}}}),
            )
        };
        let path = "spec.devices[0].capacity[m].requestPolicy";
        check(
            policy(json!({"default": "2", "validValues": ["1", "2"]})),
            &[],
        );
        check(
            policy(json!({"default": "3", "validValues": ["2", "1", "1", "11"]})),
            &[
                &format!(
                    "{path}.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order"
                ),
                &format!(
                    "{path}.validValues[3]: Invalid value: \"11\": option is larger than capacity value: 10"
                ),
                &format!("{path}.validValues[2]: Duplicate value: \"1\""),
                &format!(
                    "{path}.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy"
                ),
            ],
        );
        check(
            policy(json!({"default": "3", "validRange": {"min": "1", "max": "9", "step": "2"}})),
            &[],
        );
        check(
            policy(json!({"default": "4", "validRange": {"min": "5", "max": "11", "step": "0"}})),
            &[
                &format!(
                    "{path}.validRange.min: Invalid value: \"4\": default is less than min: 5"
                ),
                &format!(
                    "{path}.validRange.max: Invalid value: \"11\": max is larger than capacity value: 10"
                ),
                &format!(
                    "{path}.validRange.step: Invalid value: \"4\": value is not a multiple of a given step (0) from (5)"
                ),
                &format!(
                    "{path}.validRange.step: Invalid value: \"11\": value is not a multiple of a given step (0) from (5)"
                ),
            ],
        );
        check(
            of_device(json!({"capacity": {"m": {"value": "10", "requestPolicy": {}}}})),
            &[&format!(
                "{path}: Forbidden: allowMultipleAllocations must be true"
            )],
        );
    }
}

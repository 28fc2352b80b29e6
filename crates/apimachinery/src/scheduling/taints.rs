//! Taints and tolerations. Upstream: k8s.io/api/core/v1 taint.go and toleration.go, pkg/util/taints.

use api_types::core::v1::{Taint, Toleration};

use crate::validation::is_decimal_integer;

/// Whether two taints are one: the same key and effect.
pub fn match_taint(taint: &Taint, other: &Taint) -> bool {
    taint.key == other.key && taint.effect == other.effect
}

/// `key=value:effect`, without the parts that are empty.
pub fn taint_text(taint: &Taint) -> String {
    let Taint {
        key, value, effect, ..
    } = taint;
    match (value.is_empty(), effect.is_empty()) {
        (true, true) => key.clone(),
        (false, true) => format!("{key}={value}:"),
        (true, false) => format!("{key}:{effect}"),
        (false, false) => format!("{key}={value}:{effect}"),
    }
}

/// Whether two tolerations are one: the same in all but their time.
pub fn match_toleration(toleration: &Toleration, other: &Toleration) -> bool {
    toleration.key == other.key
        && toleration.effect == other.effect
        && toleration.operator == other.operator
        && toleration.value == other.value
}

/// Whether the toleration tolerates the taint. `comparison_operators` is the feature gate
/// TaintTolerationComparisonOperators, without which `Lt` and `Gt` tolerate nothing.
pub fn tolerates_taint(toleration: &Toleration, taint: &Taint, comparison_operators: bool) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        operator @ ("Lt" | "Gt") if comparison_operators => {
            let number = |text: &str| {
                text.parse::<i64>()
                    .ok()
                    .filter(|_| is_decimal_integer(text).is_empty())
            };
            match (number(&toleration.value), number(&taint.value)) {
                (Some(limit), Some(value)) => {
                    (operator == "Lt" && value < limit) || (operator == "Gt" && value > limit)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether any of the tolerations tolerates the taint.
pub fn tolerations_tolerate_taint(
    tolerations: &[Toleration],
    taint: &Taint,
    comparison_operators: bool,
) -> bool {
    tolerations
        .iter()
        .any(|toleration| tolerates_taint(toleration, taint, comparison_operators))
}

/// The first taint for which `counts` says yes and that none of the tolerations tolerates.
pub fn find_matching_untolerated_taint<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    counts: impl Fn(&Taint) -> bool,
    comparison_operators: bool,
) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        counts(taint) && !tolerations_tolerate_taint(tolerations, taint, comparison_operators)
    })
}

/// Whether the taint keeps new pods away.
pub fn is_scheduling_taint(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// For each taint, the first toleration that tolerates it, or `None` if one of them is not tolerated. Taint eviction takes
/// its times from these.
pub fn matching_tolerations<'a>(
    taints: &[Taint],
    tolerations: &'a [Toleration],
    comparison_operators: bool,
) -> Option<Vec<&'a Toleration>> {
    let first = |taint| {
        tolerations
            .iter()
            .find(|t| tolerates_taint(t, taint, comparison_operators))
    };
    // Upstream walks the tolerations in the inner loop and keeps them in the order of the taints.
    taints.iter().map(first).collect()
}

/// Whether a taint of that key and effect is in the list.
pub fn taint_exists(taints: &[Taint], taint: &Taint) -> bool {
    taints.iter().any(|other| match_taint(other, taint))
}

/// Whether a taint of that key is in the list.
pub fn taint_key_exists(taints: &[Taint], key: &str) -> bool {
    taints.iter().any(|taint| taint.key == key)
}

/// Taints that are in `new` only, and taints that are in `old` only.
pub fn taint_set_diff<'a>(new: &'a [Taint], old: &'a [Taint]) -> (Vec<&'a Taint>, Vec<&'a Taint>) {
    let added = new
        .iter()
        .filter(|taint| !taint_exists(old, taint))
        .collect();
    let removed = old
        .iter()
        .filter(|taint| !taint_exists(new, taint))
        .collect();
    (added, removed)
}

/// Puts the taint into the list, in place of one with its key and effect. Returns whether the list changed.
pub fn add_or_update_taint(taints: &mut Vec<Taint>, taint: &Taint) -> bool {
    match taints.iter_mut().find(|other| match_taint(other, taint)) {
        Some(same) if same == taint => false,
        Some(same) => {
            *same = taint.clone();
            true
        }
        None => {
            taints.push(taint.clone());
            true
        }
    }
}

/// Removes the taint of that key and effect. Returns whether there was one.
pub fn remove_taint(taints: &mut Vec<Taint>, taint: &Taint) -> bool {
    let before = taints.len();
    taints.retain(|other| !match_taint(other, taint));
    taints.len() != before
}

/// Adds a toleration unless an equal one is there; one that differs in its time only is updated. Returns whether the list
/// changed. Upstream: `AddOrUpdateTolerationInPodSpec`.
pub fn add_or_update_toleration(
    tolerations: &mut Vec<Toleration>,
    toleration: &Toleration,
) -> bool {
    match tolerations
        .iter_mut()
        .find(|other| match_toleration(other, toleration))
    {
        Some(same) if same == toleration => false,
        Some(same) => {
            *same = toleration.clone();
            true
        }
        None => {
            tolerations.push(toleration.clone());
            true
        }
    }
}

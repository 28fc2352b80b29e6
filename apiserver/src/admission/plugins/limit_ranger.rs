//! Defaults and bounds of a namespace's LimitRanges. Upstream: plugin/pkg/admission/limitranger.

use std::collections::BTreeMap;

use api_types::Quantity;
use api_types::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use apimachinery::resource::{PodResourcesOptions, pod_limits, pod_requests};
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            for range in ranges(attributes, cluster).await? {
                if attributes.is("", "pods")
                    && let Some(pod) = attributes.object_mut::<Pod>()
                {
                    set_defaults(pod, &range.spec.limits);
                }
            }
            Ok(())
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            for range in ranges(attributes, cluster).await? {
                let mut problems = Vec::new();
                if let Some(pod) = attributes.object::<Pod>() {
                    check_pod(pod, &range.spec.limits, &mut problems);
                } else if let Some(claim) = attributes.object::<PersistentVolumeClaim>() {
                    check_claim(claim, &range.spec.limits, &mut problems);
                }
                if let Some(problems) = apimachinery::field::aggregate(problems) {
                    return Err(attributes.forbidden(problems));
                }
            }
            Ok(())
        })
    }
}

/// The ranges that apply to the request: none for what the plugin is not about.
async fn ranges(
    attributes: &Attributes,
    cluster: &dyn Cluster,
) -> Result<Vec<LimitRange>, StatusError> {
    let about = match attributes.endpoint() {
        ("", "pods", "") => attributes.operation == Operation::Create,
        ("", "pods", "resize") => attributes.operation == Operation::Update,
        ("", "persistentvolumeclaims", "") => true,
        _ => false,
    };
    // Finalizers must be removable whatever the ranges say now.
    let leaving = attributes
        .old_object
        .as_ref()
        .is_some_and(|old| old.metadata().deletion_timestamp.is_some());
    if !about || leaving {
        return Ok(Vec::new());
    }
    let ranges = cluster
        .list("", "limitranges", &attributes.namespace)
        .await?;
    Ok(ranges
        .iter()
        .filter_map(|object| object.get::<LimitRange>().cloned())
        .collect())
}

fn set_defaults(pod: &mut Pod, items: &[LimitRangeItem]) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for item in items.iter().filter(|item| item.type_ == "Container") {
        requests.extend(item.default_request.clone());
        limits.extend(item.default.clone());
    }
    let mut notes = Vec::new();
    for container in &mut pod.spec.containers {
        fill(container, &requests, &limits, "container", &mut notes);
    }
    for container in &mut pod.spec.init_containers {
        fill(container, &requests, &limits, "init container", &mut notes);
    }
    if !notes.is_empty() {
        pod.metadata.annotations.insert(
            ANNOTATION.to_owned(),
            format!("LimitRanger plugin set: {}", notes.join("; ")),
        );
    }
}

fn fill(
    container: &mut Container,
    requests: &Amounts,
    limits: &Amounts,
    what: &str,
    notes: &mut Vec<String>,
) {
    let mut set = |to: &mut Amounts, from: &Amounts, word: &str| {
        let mut names = Vec::new();
        for (name, amount) in from {
            if !to.contains_key(name) {
                to.insert(name.clone(), amount.clone());
                names.push(name.as_str());
            }
        }
        if !names.is_empty() {
            notes.push(format!(
                "{} {word} for {what} {}",
                names.join(", "),
                container.name
            ));
        }
    };
    set(&mut container.resources.requests, requests, "request");
    set(&mut container.resources.limits, limits, "limit");
}

fn check_pod(pod: &Pod, items: &[LimitRangeItem], problems: &mut Vec<String>) {
    for item in items {
        match item.type_.as_str() {
            "Container" => {
                for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
                    check(
                        item,
                        &container.resources.requests,
                        &container.resources.limits,
                        problems,
                    );
                }
            }
            "Pod" => {
                let options = PodResourcesOptions {
                    exclude_overhead: true,
                    ..PodResourcesOptions::default()
                };
                check(
                    item,
                    &pod_requests(pod, &options),
                    &pod_limits(pod, &options),
                    problems,
                );
            }
            _ => {}
        }
    }
}

fn check_claim(
    claim: &PersistentVolumeClaim,
    items: &[LimitRangeItem],
    problems: &mut Vec<String>,
) {
    let requests = &claim.spec.resources.requests;
    for item in items
        .iter()
        .filter(|item| item.type_ == "PersistentVolumeClaim")
    {
        for (name, bound) in &item.min {
            problems.extend(minimum(&item.type_, name, bound, requests, &Amounts::new()));
        }
        for (name, bound) in &item.max {
            problems.extend(match requests.get(name) {
                None => Some(format!(
                    "maximum {name} usage per {} is {bound}.  No request is specified",
                    item.type_
                )),
                Some(request) if request.cmp(bound).is_gt() => Some(format!(
                    "maximum {name} usage per {} is {bound}, but request is {request}",
                    item.type_
                )),
                Some(_) => None,
            });
        }
    }
}

fn check(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, problems: &mut Vec<String>) {
    for (name, bound) in &item.min {
        problems.extend(minimum(&item.type_, name, bound, requests, limits));
    }
    for (name, bound) in &item.max {
        problems.extend(maximum(&item.type_, name, bound, requests, limits));
    }
    for (name, bound) in &item.max_limit_request_ratio {
        problems.extend(ratio(&item.type_, name, bound, requests, limits));
    }
}

fn minimum(
    kind: &str,
    name: &str,
    bound: &Quantity,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let Some(request) = requests.get(name) else {
        return Some(format!(
            "minimum {name} usage per {kind} is {bound}.  No request is specified"
        ));
    };
    if request.cmp(bound).is_lt() {
        return Some(format!(
            "minimum {name} usage per {kind} is {bound}, but request is {request}"
        ));
    }
    let limit = limits.get(name).filter(|limit| *limit < bound)?;
    Some(format!(
        "minimum {name} usage per {kind} is {bound}, but limit is {limit}"
    ))
}

fn maximum(
    kind: &str,
    name: &str,
    bound: &Quantity,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let Some(limit) = limits.get(name) else {
        return Some(format!(
            "maximum {name} usage per {kind} is {bound}.  No limit is specified"
        ));
    };
    if limit.cmp(bound).is_gt() {
        return Some(format!(
            "maximum {name} usage per {kind} is {bound}, but limit is {limit}"
        ));
    }
    let request = requests.get(name).filter(|request| *request > bound)?;
    Some(format!(
        "maximum {name} usage per {kind} is {bound}, but request is {request}"
    ))
}

fn ratio(
    kind: &str,
    name: &str,
    bound: &Quantity,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let intro = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = requests.get(name).filter(|request| !request.is_zero()) else {
        return Some(format!(
            "{intro}, but no request is specified or request is 0"
        ));
    };
    let Some(limit) = limits.get(name).filter(|limit| !limit.is_zero()) else {
        return Some(format!("{intro}, but no limit is specified or limit is 0"));
    };
    // In thousandths where they fit, as upstream compares.
    let exact = i64::MAX / 1000;
    let (request, limit) = if request.value() <= exact && limit.value() <= exact {
        (request.milli_value(), limit.milli_value())
    } else {
        (request.value(), limit.value())
    };
    let found = limit as f64 / request as f64;
    let allowed = if bound.value() <= exact {
        bound.milli_value() as f64 / 1000.0
    } else {
        bound.value() as f64
    };
    (found > allowed).then(|| format!("{intro}, but provided ratio is {found:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(pairs: &[(&str, &str)]) -> Amounts {
        pairs
            .iter()
            .map(|(name, amount)| {
                (
                    (*name).to_owned(),
                    Quantity::parse(amount).expect("a quantity"),
                )
            })
            .collect()
    }

    #[test]
    fn bounds() {
        let item = LimitRangeItem {
            type_: "Container".into(),
            min: amounts(&[("cpu", "100m")]),
            max: amounts(&[("cpu", "2")]),
            max_limit_request_ratio: amounts(&[("cpu", "2")]),
            ..LimitRangeItem::default()
        };
        #[track_caller]
        fn check_all(
            item: &LimitRangeItem,
            requests: &[(&str, &str)],
            limits: &[(&str, &str)],
            expected: &[&str],
        ) {
            let mut problems = Vec::new();
            check(item, &amounts(requests), &amounts(limits), &mut problems);
            assert_eq!(problems, expected);
        }
        check_all(&item, &[("cpu", "500m")], &[("cpu", "1")], &[]);
        check_all(
            &item,
            &[],
            &[("cpu", "1")],
            &[
                "minimum cpu usage per Container is 100m.  No request is specified",
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ],
        );
        check_all(
            &item,
            &[("cpu", "2")],
            &[("cpu", "3")],
            &["maximum cpu usage per Container is 2, but limit is 3"],
        );
        check_all(
            &item,
            &[("cpu", "200m")],
            &[("cpu", "500m")],
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"],
        );
        check_all(
            &item,
            &[("cpu", "50m")],
            &[("cpu", "100m")],
            &["minimum cpu usage per Container is 100m, but request is 50m"],
        );
    }

    #[test]
    fn overhead_does_not_count() {
        let mut pod = Pod::default();
        let mut container = Container::default();
        container.resources.requests = amounts(&[("cpu", "1")]);
        container.resources.limits = amounts(&[("cpu", "2")]);
        pod.spec.containers.push(container);
        pod.spec.overhead = amounts(&[("cpu", "1")]);
        let item = LimitRangeItem {
            type_: "Pod".into(),
            max: amounts(&[("cpu", "2")]),
            ..LimitRangeItem::default()
        };
        let mut problems = Vec::new();
        check_pod(&pod, &[item], &mut problems);
        assert_eq!(problems, [""; 0]);
        let item = LimitRangeItem {
            type_: "Pod".into(),
            min: amounts(&[("cpu", "1500m")]),
            ..LimitRangeItem::default()
        };
        check_pod(&pod, &[item], &mut problems);
        assert_eq!(
            problems,
            ["minimum cpu usage per Pod is 1500m, but request is 1"]
        );
    }

    #[test]
    fn defaults_are_noted() {
        let mut pod = Pod::default();
        pod.spec.containers.push(Container {
            name: "c".into(),
            ..Container::default()
        });
        pod.spec.containers[0].resources.limits = amounts(&[("memory", "1Gi")]);
        let item = LimitRangeItem {
            type_: "Container".into(),
            default: amounts(&[("cpu", "1"), ("memory", "2Gi")]),
            default_request: amounts(&[("cpu", "100m")]),
            ..LimitRangeItem::default()
        };
        set_defaults(&mut pod, &[item]);
        assert_eq!(
            pod.spec.containers[0].resources.limits,
            amounts(&[("cpu", "1"), ("memory", "1Gi")])
        );
        assert_eq!(
            pod.metadata.annotations[ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        );
    }
}

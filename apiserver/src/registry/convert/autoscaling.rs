//! autoscaling/v1 HorizontalPodAutoscaler, which is stored as v2. Upstream: pkg/apis/autoscaling/v1/conversion.go.
//!
//! v1 knows CPU utilization only; everything else travels in annotations of the v1 object, as JSON of v1's metric
//! types. The behavior annotation holds Go's untagged internal type, so its keys are Go's field names.

use std::collections::BTreeMap;

use api_types::Quantity;
use api_types::autoscaling::{v1, v2};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::object::Object;
use super::Functions;

pub(super) static FUNCTIONS: Functions = Functions { to_hub, to_served };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What v2 has fields for. Objects of v2 do not keep them.
pub(crate) const ANNOTATIONS: &[&str] = &[
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
/// What v1 meant when it named no target.
const DEFAULT_CPU_UTILIZATION: i32 = 80;

fn is_cpu_utilization(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric
        .resource
        .as_ref()
        .filter(|_| metric.type_ == "Resource")?;
    (resource.name == "cpu").then_some(resource.target.average_utilization)?
}

fn cpu_utilization(percent: i32) -> v2::MetricSpec {
    v2::MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(Box::new(v2::ResourceMetricSource {
            name: "cpu".to_owned(),
            target: v2::MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..v2::MetricTarget::default()
            },
        })),
        ..v2::MetricSpec::default()
    }
}

/// Takes away the annotations that stand for fields of v2.
pub(crate) fn drop_annotations(annotations: &mut BTreeMap<String, String>) {
    for key in ANNOTATIONS {
        annotations.remove(*key);
    }
}

/// A JSON array of API values.
fn array<T: api_types::Struct>(items: &[T]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| {
            String::from_utf8_lossy(&api_types::encode_json(item))
                .trim_end()
                .to_owned()
        })
        .collect();
    format!("[{}]", items.join(","))
}

fn parse_array<T: api_types::Described>(text: &str) -> Option<Vec<T>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    items
        .into_iter()
        .map(|item| api_types::decode_json::<T>(item.get().as_bytes()).ok())
        .collect()
}

fn to_served(object: Object) -> Result<Object, String> {
    let hpa = *object
        .into_value()
        .downcast::<v2::HorizontalPodAutoscaler>()
        .map_err(|_| "not an autoscaling/v2 object".to_owned())?;
    let mut metadata = hpa.metadata;
    drop_annotations(&mut metadata.annotations);
    let other: Vec<v1::MetricSpec> = hpa
        .spec
        .metrics
        .iter()
        .filter(|metric| is_cpu_utilization(metric).is_none())
        .map(spec_to_v1)
        .collect();
    if !other.is_empty() {
        metadata
            .annotations
            .insert(METRICS.to_owned(), array(&other));
    }
    if !hpa.status.current_metrics.is_empty() {
        let current: Vec<v1::MetricStatus> = hpa
            .status
            .current_metrics
            .iter()
            .map(status_to_v1)
            .collect();
        metadata
            .annotations
            .insert(CURRENT_METRICS.to_owned(), array(&current));
    }
    if let Some(behavior) = &hpa.spec.behavior {
        metadata
            .annotations
            .insert(BEHAVIOR.to_owned(), behavior_to_json(behavior)?);
    }
    if !hpa.status.conditions.is_empty() {
        let conditions: Vec<v1::HorizontalPodAutoscalerCondition> = hpa
            .status
            .conditions
            .iter()
            .map(|condition| v1::HorizontalPodAutoscalerCondition {
                type_: condition.type_.clone(),
                status: condition.status.clone(),
                last_transition_time: condition.last_transition_time,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            })
            .collect();
        metadata
            .annotations
            .insert(CONDITIONS.to_owned(), array(&conditions));
    }
    let current_cpu = hpa
        .status
        .current_metrics
        .iter()
        .filter_map(|metric| {
            metric
                .resource
                .as_ref()
                .filter(|resource| metric.type_ == "Resource" && resource.name == "cpu")
        })
        .filter_map(|resource| resource.current.average_utilization)
        .next_back();
    Ok(Object::from(v1::HorizontalPodAutoscaler {
        metadata,
        spec: v1::HorizontalPodAutoscalerSpec {
            scale_target_ref: reference_to_v1(&hpa.spec.scale_target_ref),
            min_replicas: hpa.spec.min_replicas,
            max_replicas: hpa.spec.max_replicas,
            target_cpu_utilization_percentage: hpa.spec.metrics.iter().find_map(is_cpu_utilization),
        },
        status: v1::HorizontalPodAutoscalerStatus {
            observed_generation: hpa.status.observed_generation,
            last_scale_time: hpa.status.last_scale_time,
            current_replicas: hpa.status.current_replicas,
            desired_replicas: hpa.status.desired_replicas,
            current_cpu_utilization_percentage: current_cpu,
        },
        ..v1::HorizontalPodAutoscaler::default()
    }))
}

fn to_hub(object: Object) -> Result<Object, String> {
    let hpa = *object
        .into_value()
        .downcast::<v1::HorizontalPodAutoscaler>()
        .map_err(|_| "not an autoscaling/v1 object".to_owned())?;
    let mut out = v2::HorizontalPodAutoscaler {
        metadata: hpa.metadata,
        ..v2::HorizontalPodAutoscaler::default()
    };
    out.spec.scale_target_ref = reference_to_v2(&hpa.spec.scale_target_ref);
    out.spec.min_replicas = hpa.spec.min_replicas;
    out.spec.max_replicas = hpa.spec.max_replicas;
    out.spec.metrics = hpa
        .spec
        .target_cpu_utilization_percentage
        .map(cpu_utilization)
        .into_iter()
        .collect();
    out.status.observed_generation = hpa.status.observed_generation;
    out.status.last_scale_time = hpa.status.last_scale_time;
    out.status.current_replicas = hpa.status.current_replicas;
    out.status.desired_replicas = hpa.status.desired_replicas;
    if let Some(percent) = hpa.status.current_cpu_utilization_percentage {
        out.status.current_metrics = vec![v2::MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(Box::new(v2::ResourceMetricStatus {
                name: "cpu".to_owned(),
                current: v2::MetricValueStatus {
                    average_utilization: Some(percent),
                    ..v2::MetricValueStatus::default()
                },
            })),
            ..v2::MetricStatus::default()
        }];
    }

    let annotations = &mut out.metadata.annotations;
    if let Some(other) = annotations
        .get(METRICS)
        .and_then(|text| parse_array::<v1::MetricSpec>(text))
    {
        let mut metrics: Vec<v2::MetricSpec> = other.iter().map(spec_to_v2).collect();
        metrics.append(&mut out.spec.metrics);
        out.spec.metrics = metrics;
    }
    out.spec.behavior = annotations
        .get(BEHAVIOR)
        .and_then(|text| behavior_from_json(text))
        .map(Box::new);
    // The annotation knows more than the one number in the status.
    if let Some(current) = annotations
        .get(CURRENT_METRICS)
        .and_then(|text| parse_array::<v1::MetricStatus>(text))
    {
        out.status.current_metrics = current.iter().map(status_to_v2).collect();
    }
    if out.spec.metrics.is_empty() {
        out.spec.metrics = vec![cpu_utilization(DEFAULT_CPU_UTILIZATION)];
    }
    if let Some(conditions) = annotations
        .get(CONDITIONS)
        .and_then(|text| parse_array::<v1::HorizontalPodAutoscalerCondition>(text))
    {
        out.status.conditions = conditions
            .into_iter()
            .map(|condition| v2::HorizontalPodAutoscalerCondition {
                type_: condition.type_,
                status: condition.status,
                last_transition_time: condition.last_transition_time,
                reason: condition.reason,
                message: condition.message,
            })
            .collect();
    }
    drop_annotations(annotations);
    Ok(Object::from(out))
}

fn reference_to_v1(reference: &v2::CrossVersionObjectReference) -> v1::CrossVersionObjectReference {
    v1::CrossVersionObjectReference {
        kind: reference.kind.clone(),
        name: reference.name.clone(),
        api_version: reference.api_version.clone(),
    }
}

fn reference_to_v2(reference: &v1::CrossVersionObjectReference) -> v2::CrossVersionObjectReference {
    v2::CrossVersionObjectReference {
        kind: reference.kind.clone(),
        name: reference.name.clone(),
        api_version: reference.api_version.clone(),
    }
}

fn identifier(
    name: &str,
    selector: &Option<Box<api_types::meta::v1::LabelSelector>>,
) -> v2::MetricIdentifier {
    v2::MetricIdentifier {
        name: name.to_owned(),
        selector: selector.clone(),
    }
}

fn target(
    kind: &str,
    value: Option<Quantity>,
    average_value: Option<Quantity>,
    average_utilization: Option<i32>,
) -> v2::MetricTarget {
    v2::MetricTarget {
        type_: kind.to_owned(),
        value,
        average_value,
        average_utilization,
    }
}

fn current(
    value: Option<Quantity>,
    average_value: Option<Quantity>,
    average_utilization: Option<i32>,
) -> v2::MetricValueStatus {
    v2::MetricValueStatus {
        value,
        average_value,
        average_utilization,
    }
}

fn spec_to_v1(metric: &v2::MetricSpec) -> v1::MetricSpec {
    v1::MetricSpec {
        type_: metric.type_.clone(),
        object: metric.object.as_ref().map(|source| {
            Box::new(v1::ObjectMetricSource {
                target: reference_to_v1(&source.described_object),
                metric_name: source.metric.name.clone(),
                target_value: source.target.value.clone().unwrap_or_default(),
                selector: source.metric.selector.clone(),
                average_value: source.target.average_value.clone(),
            })
        }),
        pods: metric.pods.as_ref().map(|source| {
            Box::new(v1::PodsMetricSource {
                metric_name: source.metric.name.clone(),
                target_average_value: source.target.average_value.clone().unwrap_or_default(),
                selector: source.metric.selector.clone(),
            })
        }),
        resource: metric.resource.as_ref().map(|source| {
            Box::new(v1::ResourceMetricSource {
                name: source.name.clone(),
                target_average_utilization: source.target.average_utilization,
                target_average_value: source.target.average_value.clone(),
            })
        }),
        container_resource: metric.container_resource.as_ref().map(|source| {
            Box::new(v1::ContainerResourceMetricSource {
                name: source.name.clone(),
                container: source.container.clone(),
                target_average_utilization: source.target.average_utilization,
                target_average_value: source.target.average_value.clone(),
            })
        }),
        external: metric.external.as_ref().map(|source| {
            Box::new(v1::ExternalMetricSource {
                metric_name: source.metric.name.clone(),
                metric_selector: source.metric.selector.clone(),
                target_value: source.target.value.clone(),
                target_average_value: source.target.average_value.clone(),
            })
        }),
    }
}

fn spec_to_v2(metric: &v1::MetricSpec) -> v2::MetricSpec {
    let utilization_kind = |utilization: Option<i32>| {
        if utilization.is_some() {
            "Utilization"
        } else {
            "AverageValue"
        }
    };
    v2::MetricSpec {
        type_: metric.type_.clone(),
        object: metric.object.as_ref().map(|source| {
            // A target value of zero beside an average only fills v1's mandatory field.
            let (kind, value) = match &source.average_value {
                None => ("Value", Some(source.target_value.clone())),
                Some(_) => (
                    "AverageValue",
                    Some(source.target_value.clone()).filter(|value| value.milli_value() != 0),
                ),
            };
            Box::new(v2::ObjectMetricSource {
                described_object: reference_to_v2(&source.target),
                target: target(kind, value, source.average_value.clone(), None),
                metric: identifier(&source.metric_name, &source.selector),
            })
        }),
        pods: metric.pods.as_ref().map(|source| {
            Box::new(v2::PodsMetricSource {
                metric: identifier(&source.metric_name, &source.selector),
                target: target(
                    "AverageValue",
                    None,
                    Some(source.target_average_value.clone()),
                    None,
                ),
            })
        }),
        resource: metric.resource.as_ref().map(|source| {
            Box::new(v2::ResourceMetricSource {
                name: source.name.clone(),
                target: target(
                    utilization_kind(source.target_average_utilization),
                    None,
                    source.target_average_value.clone(),
                    source.target_average_utilization,
                ),
            })
        }),
        container_resource: metric.container_resource.as_ref().map(|source| {
            Box::new(v2::ContainerResourceMetricSource {
                name: source.name.clone(),
                container: source.container.clone(),
                target: target(
                    utilization_kind(source.target_average_utilization),
                    None,
                    source.target_average_value.clone(),
                    source.target_average_utilization,
                ),
            })
        }),
        external: metric.external.as_ref().map(|source| {
            let kind = if source.target_value.is_none() {
                "AverageValue"
            } else {
                "Value"
            };
            Box::new(v2::ExternalMetricSource {
                metric: identifier(&source.metric_name, &source.metric_selector),
                target: target(
                    kind,
                    source.target_value.clone(),
                    source.target_average_value.clone(),
                    None,
                ),
            })
        }),
    }
}

fn status_to_v1(metric: &v2::MetricStatus) -> v1::MetricStatus {
    v1::MetricStatus {
        type_: metric.type_.clone(),
        object: metric.object.as_ref().map(|status| {
            Box::new(v1::ObjectMetricStatus {
                target: reference_to_v1(&status.described_object),
                metric_name: status.metric.name.clone(),
                current_value: status.current.value.clone().unwrap_or_default(),
                selector: status.metric.selector.clone(),
                average_value: status.current.average_value.clone(),
            })
        }),
        pods: metric.pods.as_ref().map(|status| {
            Box::new(v1::PodsMetricStatus {
                metric_name: status.metric.name.clone(),
                current_average_value: status.current.average_value.clone().unwrap_or_default(),
                selector: status.metric.selector.clone(),
            })
        }),
        resource: metric.resource.as_ref().map(|status| {
            Box::new(v1::ResourceMetricStatus {
                name: status.name.clone(),
                current_average_utilization: status.current.average_utilization,
                current_average_value: status.current.average_value.clone().unwrap_or_default(),
            })
        }),
        container_resource: metric.container_resource.as_ref().map(|status| {
            Box::new(v1::ContainerResourceMetricStatus {
                name: status.name.clone(),
                container: status.container.clone(),
                current_average_utilization: status.current.average_utilization,
                current_average_value: status.current.average_value.clone().unwrap_or_default(),
            })
        }),
        external: metric.external.as_ref().map(|status| {
            Box::new(v1::ExternalMetricStatus {
                metric_name: status.metric.name.clone(),
                metric_selector: status.metric.selector.clone(),
                current_value: status.current.value.clone().unwrap_or_default(),
                current_average_value: status.current.average_value.clone(),
            })
        }),
    }
}

fn status_to_v2(metric: &v1::MetricStatus) -> v2::MetricStatus {
    v2::MetricStatus {
        type_: metric.type_.clone(),
        object: metric.object.as_ref().map(|status| {
            Box::new(v2::ObjectMetricStatus {
                metric: identifier(&status.metric_name, &status.selector),
                current: current(
                    Some(status.current_value.clone()),
                    status.average_value.clone(),
                    None,
                ),
                described_object: reference_to_v2(&status.target),
            })
        }),
        pods: metric.pods.as_ref().map(|status| {
            Box::new(v2::PodsMetricStatus {
                metric: identifier(&status.metric_name, &status.selector),
                current: current(None, Some(status.current_average_value.clone()), None),
            })
        }),
        resource: metric.resource.as_ref().map(|status| {
            Box::new(v2::ResourceMetricStatus {
                name: status.name.clone(),
                current: current(
                    None,
                    Some(status.current_average_value.clone()),
                    status.current_average_utilization,
                ),
            })
        }),
        container_resource: metric.container_resource.as_ref().map(|status| {
            Box::new(v2::ContainerResourceMetricStatus {
                name: status.name.clone(),
                container: status.container.clone(),
                current: current(
                    None,
                    Some(status.current_average_value.clone()),
                    status.current_average_utilization,
                ),
            })
        }),
        external: metric.external.as_ref().map(|status| {
            Box::new(v2::ExternalMetricStatus {
                metric: identifier(&status.metric_name, &status.metric_selector),
                current: current(
                    Some(status.current_value.clone()),
                    status.current_average_value.clone(),
                    None,
                ),
            })
        }),
    }
}

/// Go's internal types, whose fields have their names and order in the annotation.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoBehavior {
    scale_up: Option<GoRules>,
    scale_down: Option<GoRules>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoRules {
    stabilization_window_seconds: Option<i32>,
    select_policy: Option<String>,
    policies: Option<Vec<GoPolicy>>,
    tolerance: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoPolicy {
    r#type: String,
    value: i32,
    period_seconds: i32,
}

impl GoRules {
    fn of(rules: &v2::HPAScalingRules) -> GoRules {
        let policies = rules.policies.iter().map(|policy| GoPolicy {
            r#type: policy.type_.clone(),
            value: policy.value,
            period_seconds: policy.period_seconds,
        });
        GoRules {
            stabilization_window_seconds: rules.stabilization_window_seconds,
            select_policy: rules.select_policy.clone(),
            policies: (!rules.policies.is_empty()).then(|| policies.collect()),
            tolerance: rules.tolerance.as_ref().map(ToString::to_string),
        }
    }
}

fn behavior_to_json(behavior: &v2::HorizontalPodAutoscalerBehavior) -> Result<String, String> {
    let behavior = GoBehavior {
        scale_up: behavior.scale_up.as_deref().map(GoRules::of),
        scale_down: behavior.scale_down.as_deref().map(GoRules::of),
    };
    serde_json::to_string(&behavior).map_err(|error| error.to_string())
}

fn behavior_from_json(text: &str) -> Option<v2::HorizontalPodAutoscalerBehavior> {
    /// Go matches keys without regard to case.
    fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
        object
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    }
    let int = |value: Option<&Value>| {
        value
            .and_then(Value::as_i64)
            .and_then(|value| i32::try_from(value).ok())
    };
    let text_of = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let rules = |value: Option<&Value>| {
        let rules = value?.as_object()?;
        let policies = get(rules, "Policies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object);
        Some(Box::new(v2::HPAScalingRules {
            stabilization_window_seconds: int(get(rules, "StabilizationWindowSeconds")),
            select_policy: text_of(get(rules, "SelectPolicy")),
            policies: policies
                .map(|policy| v2::HPAScalingPolicy {
                    type_: text_of(get(policy, "Type")).unwrap_or_default(),
                    value: int(get(policy, "Value")).unwrap_or_default(),
                    period_seconds: int(get(policy, "PeriodSeconds")).unwrap_or_default(),
                })
                .collect(),
            tolerance: get(rules, "Tolerance")
                .and_then(Value::as_str)
                .and_then(|text| Quantity::parse(text).ok()),
        }))
    };
    let value: Value = serde_json::from_str(text).ok()?;
    let behavior = value.as_object()?;
    let behavior = v2::HorizontalPodAutoscalerBehavior {
        scale_up: rules(get(behavior, "ScaleUp")),
        scale_down: rules(get(behavior, "ScaleDown")),
    };
    (behavior.scale_up.is_some() || behavior.scale_down.is_some()).then_some(behavior)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_survives_in_annotations() {
        let mut hpa = v2::HorizontalPodAutoscaler::default();
        hpa.spec.max_replicas = 3;
        hpa.spec.metrics = vec![
            v2::MetricSpec {
                type_: "Pods".to_owned(),
                pods: Some(Box::new(v2::PodsMetricSource {
                    metric: identifier("rps", &None),
                    target: target(
                        "AverageValue",
                        None,
                        Some(Quantity::parse("10").unwrap()),
                        None,
                    ),
                })),
                ..v2::MetricSpec::default()
            },
            cpu_utilization(50),
        ];
        hpa.spec.behavior = Some(Box::new(v2::HorizontalPodAutoscalerBehavior {
            scale_up: Some(Box::new(v2::HPAScalingRules {
                stabilization_window_seconds: Some(30),
                policies: vec![v2::HPAScalingPolicy {
                    type_: "Pods".to_owned(),
                    value: 1,
                    period_seconds: 5,
                }],
                ..v2::HPAScalingRules::default()
            })),
            scale_down: None,
        }));
        let served = to_served(Object::from(hpa.clone())).unwrap();
        let as_v1 = served.get::<v1::HorizontalPodAutoscaler>().unwrap();
        assert_eq!(as_v1.spec.target_cpu_utilization_percentage, Some(50));
        assert!(as_v1.metadata.annotations.contains_key(METRICS));
        assert_eq!(
            as_v1.metadata.annotations[BEHAVIOR],
            r#"{"ScaleUp":{"StabilizationWindowSeconds":30,"SelectPolicy":null,"Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":5}],"Tolerance":null},"ScaleDown":null}"#
        );
        assert_eq!(
            to_hub(served).unwrap().get::<v2::HorizontalPodAutoscaler>(),
            Some(&hpa)
        );
    }

    #[test]
    fn no_metric_means_eighty_percent_cpu() {
        let hub = to_hub(Object::from(v1::HorizontalPodAutoscaler::default())).unwrap();
        assert_eq!(
            hub.get::<v2::HorizontalPodAutoscaler>()
                .unwrap()
                .spec
                .metrics,
            [cpu_utilization(80)]
        );
    }
}

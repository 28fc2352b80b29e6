//! Turns a priority class's name into the priority of a pod or a pod group. Upstream: plugin/pkg/admission/priority.

use api_types::core::v1::Pod;
use api_types::scheduling::v1::PriorityClass;
use api_types::scheduling::v1alpha2::PodGroup;
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::apis::gates;

const GROUP: &str = "scheduling.k8s.io";
const RESOURCE: &str = "priorityclasses";

pub(super) struct Priority;

struct Established {
    class: String,
    value: i32,
    preemption_policy: Option<String>,
}

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
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
            if attributes.is_main(GROUP, "podgroups") {
                return admit_pod_group(attributes, cluster).await;
            }
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            if attributes.operation == Operation::Update {
                // Clients that do not know the fields send them back empty.
                let before = attributes
                    .old::<Pod>()
                    .map(|pod| (pod.spec.priority, pod.spec.preemption_policy.clone()));
                if let (Some(pod), Some((priority, policy))) =
                    (attributes.object_mut::<Pod>(), before)
                {
                    pod.spec.priority = pod.spec.priority.or(priority);
                    pod.spec.preemption_policy = pod.spec.preemption_policy.take().or(policy);
                }
                return Ok(());
            }
            let Some(class) = attributes
                .object::<Pod>()
                .map(|pod| pod.spec.priority_class_name.clone())
            else {
                return Ok(());
            };
            let established = establish(attributes, &class, cluster).await?;
            let Some(pod) = attributes.object_mut::<Pod>() else {
                return Ok(());
            };
            let (asked, asked_policy) = (pod.spec.priority, pod.spec.preemption_policy.clone());
            pod.spec.priority_class_name = established.class;
            pod.spec.priority = Some(established.value);
            if established.preemption_policy.is_some() {
                pod.spec
                    .preemption_policy
                    .clone_from(&established.preemption_policy);
            }
            if let Some(asked) = asked.filter(|asked| *asked != established.value) {
                return Err(attributes.forbidden(format!(
                    "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
                    established.value
                )));
            }
            if let (Some(asked), Some(computed)) = (asked_policy, established.preemption_policy)
                && asked != computed
            {
                return Err(attributes.forbidden(format!(
                    "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {computed} from the given PriorityClass name"
                )));
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
            if !attributes.is_main(GROUP, RESOURCE) {
                return Ok(());
            }
            let Some(class) = attributes
                .object::<PriorityClass>()
                .filter(|class| class.global_default)
            else {
                return Ok(());
            };
            if let Some(default) = default_class(cluster).await?
                && (attributes.operation == Operation::Create
                    || default.metadata.name != class.metadata.name)
            {
                return Err(attributes.forbidden(format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    default.metadata.name
                )));
            }
            Ok(())
        })
    }
}

/// Gives a new pod group the priority of its class.
async fn admit_pod_group(attributes: &mut Attributes, cluster: &dyn Cluster) -> Verdict {
    if attributes.operation != Operation::Create || !gates::enabled("WorkloadAwarePreemption") {
        return Ok(());
    }
    let Some(group) = attributes.object::<PodGroup>() else {
        return Ok(());
    };
    let (class, asked) = (group.spec.priority_class_name.clone(), group.spec.priority);
    let established = establish(attributes, &class, cluster).await?;
    if let Some(asked) = asked.filter(|asked| *asked != established.value) {
        return Err(attributes.forbidden(format!(
            "priority set in the pod group ({asked}) must match the priority computed ({}) based on the priority class set in the spec",
            established.value
        )));
    }
    if let Some(group) = attributes.object_mut::<PodGroup>() {
        group.spec.priority = Some(established.value);
        group.spec.priority_class_name = established.class;
    }
    Ok(())
}

async fn establish(
    attributes: &Attributes,
    class: &str,
    cluster: &dyn Cluster,
) -> Result<Established, StatusError> {
    if class.is_empty() {
        default_priority(cluster).await
    } else {
        named_priority(attributes, class, cluster).await
    }
}

/// The class marked as default; of several the one with the lowest value.
async fn default_class(cluster: &dyn Cluster) -> Result<Option<PriorityClass>, StatusError> {
    let classes = cluster.list(GROUP, RESOURCE, "").await?;
    let defaults = classes
        .iter()
        .filter_map(|object| object.get::<PriorityClass>())
        .filter(|class| class.global_default);
    Ok(defaults.min_by_key(|class| class.value).cloned())
}

async fn default_priority(cluster: &dyn Cluster) -> Result<Established, StatusError> {
    Ok(match default_class(cluster).await? {
        Some(class) => Established {
            class: class.metadata.name,
            value: class.value,
            preemption_policy: class.preemption_policy,
        },
        None => Established {
            class: String::new(),
            value: 0,
            preemption_policy: Some("PreemptLowerPriority".to_owned()),
        },
    })
}

async fn named_priority(
    attributes: &Attributes,
    name: &str,
    cluster: &dyn Cluster,
) -> Result<Established, StatusError> {
    // A pod may come right after its class, before the cache has it.
    for freshness in [Freshness::Cached, Freshness::Consistent] {
        if let Some(object) = cluster.get(GROUP, RESOURCE, "", name, freshness).await?
            && let Some(class) = object.get::<PriorityClass>()
        {
            return Ok(Established {
                class: name.to_owned(),
                value: class.value,
                preemption_policy: class.preemption_policy.clone(),
            });
        }
    }
    Err(attributes.forbidden(format!("no PriorityClass with name {name} was found")))
}

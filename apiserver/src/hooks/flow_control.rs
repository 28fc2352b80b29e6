//! The priority levels and flow schemas every cluster has. Upstream: apiserver/pkg/apis/flowcontrol/bootstrap and
//! pkg/registry/flowcontrol/ensurer.
//!
//! Mandatory objects are always put back; suggested ones only while nobody says otherwise. An annotation says, of each, whether it is
//! kept up to date, and which objects of other versions may be deleted.

use api_types::Resource;
use api_types::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, GroupSubject,
    LimitResponse, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, QueuingConfiguration, ResourcePolicyRule,
    ServiceAccountSubject, Subject, UserSubject,
};
use api_types::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use apimachinery::status::{self, StatusError};

use crate::config::parse_bool;
use crate::loopback::Loopback;

/// Who owns these objects.
pub(super) const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";

const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    ensure(client, priority_levels()).await?;
    ensure(client, flow_schemas()).await?;
    remove_unwanted(client, flow_schemas()).await?;
    remove_unwanted(client, priority_levels()).await
}

/// One of the two kinds.
trait Configuration: Resource {
    /// Whether the spec is as it should be, as far as that is not for administrators to say.
    fn is_like(&self, wanted: &Self) -> bool;
    fn take_spec(&mut self, wanted: Self);
}

impl Configuration for PriorityLevelConfiguration {
    fn is_like(&self, wanted: &Self) -> bool {
        let mut expected = wanted.spec.clone();
        if let (Some(expected), Some(actual)) = (&mut expected.exempt, &self.spec.exempt) {
            expected.clone_from(actual);
        }
        expected == self.spec
    }

    fn take_spec(&mut self, wanted: Self) {
        self.spec = wanted.spec;
    }
}

impl Configuration for FlowSchema {
    fn is_like(&self, wanted: &Self) -> bool {
        self.spec == wanted.spec
    }

    fn take_spec(&mut self, wanted: Self) {
        self.spec = wanted.spec;
    }
}

async fn ensure<T: Configuration>(client: &Loopback, all: Vec<T>) -> Result<(), StatusError> {
    for wanted in all {
        match client.get::<T>("", &wanted.metadata().name).await? {
            None => client.ensure(wanted).await?,
            Some(current) => {
                if let Some(revised) = revised(current, wanted) {
                    settle(client.update(revised).await.map(drop))?;
                }
            }
        }
    }
    Ok(())
}

/// Deletes what another version of the server made and this one does not know.
async fn remove_unwanted<T: Configuration>(
    client: &Loopback,
    wanted: Vec<T>,
) -> Result<(), StatusError> {
    for object in client.list::<T>("").await? {
        let metadata = object.metadata();
        let is_wanted = |wanted: &T| wanted.metadata().name == metadata.name;
        if auto_update(metadata) != Some(true) || wanted.iter().any(is_wanted) {
            continue;
        }
        let options = DeleteOptions {
            preconditions: Some(Box::new(Preconditions {
                resource_version: Some(metadata.resource_version.clone()),
                ..Preconditions::default()
            })),
            ..DeleteOptions::default()
        };
        settle(client.delete_with::<T>("", &metadata.name, options).await)?;
    }
    Ok(())
}

/// What somebody else changed meanwhile is looked at the next time.
fn settle(outcome: Result<(), StatusError>) -> Result<(), StatusError> {
    outcome.or_else(|error| match status::is_conflict(&error) {
        true => Ok(()),
        false => Err(error),
    })
}

/// The object as it is to be, if it is not so already.
fn revised<T: Configuration>(mut current: T, wanted: T) -> Option<T> {
    let metadata = current.metadata();
    // Where nothing is said, what nobody changed since it was made is kept up to date.
    let keeps = MANDATORY.contains(&metadata.name.as_str())
        || auto_update(metadata).unwrap_or(metadata.generation == 1);
    let is_noted = auto_update(metadata) == Some(keeps);
    let is_right = !keeps || current.is_like(&wanted);
    if is_noted && is_right {
        return None;
    }
    if !is_right {
        current.take_spec(wanted);
    }
    if !is_noted {
        let annotations = &mut current.metadata_mut().annotations;
        annotations.insert(AUTO_UPDATE.to_owned(), keeps.to_string());
    }
    Some(current)
}

/// What the annotation says, if it says something.
fn auto_update(metadata: &ObjectMeta) -> Option<bool> {
    parse_bool(metadata.annotations.get(AUTO_UPDATE)?)
}

/// A schema that cannot be changed.
pub(crate) fn mandatory_flow_schema(name: &str) -> Option<FlowSchema> {
    let mut schemas = flow_schemas().into_iter();
    schemas.find(|schema| schema.metadata.name == name && MANDATORY.contains(&name))
}

/// A priority level that cannot be changed, but for the shares of the exempt one.
pub(crate) fn mandatory_priority_level(name: &str) -> Option<PriorityLevelConfiguration> {
    let mut levels = priority_levels().into_iter();
    levels.find(|level| level.metadata.name == name && MANDATORY.contains(&name))
}

fn queue(queues: i32, hand_size: i32) -> Option<QueuingConfiguration> {
    Some(QueuingConfiguration {
        queues,
        hand_size,
        queue_length_limit: 50,
    })
}

pub(crate) fn priority_levels() -> Vec<PriorityLevelConfiguration> {
    let limited =
        |name: &str, shares: i32, lendable: i32, queuing: Option<QueuingConfiguration>| {
            let mut level = PriorityLevelConfiguration::default();
            name.clone_into(&mut level.metadata.name);
            level
                .metadata
                .annotations
                .insert(AUTO_UPDATE.to_owned(), "true".to_owned());
            "Limited".clone_into(&mut level.spec.type_);
            level.spec.limited = Some(Box::new(LimitedPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(shares),
                lendable_percent: Some(lendable),
                limit_response: LimitResponse {
                    type_: if queuing.is_some() { "Queue" } else { "Reject" }.to_owned(),
                    queuing: queuing.map(Box::new),
                },
                ..LimitedPriorityLevelConfiguration::default()
            }));
            level
        };
    let mut exempt = PriorityLevelConfiguration::default();
    "exempt".clone_into(&mut exempt.metadata.name);
    exempt
        .metadata
        .annotations
        .insert(AUTO_UPDATE.to_owned(), "true".to_owned());
    "Exempt".clone_into(&mut exempt.spec.type_);
    exempt.spec.exempt = Some(Box::new(ExemptPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(0),
        lendable_percent: Some(0),
    }));
    vec![
        exempt,
        limited("catch-all", 5, 0, None),
        limited("system", 30, 33, queue(64, 6)),
        limited("node-high", 40, 25, queue(64, 6)),
        limited("leader-election", 10, 0, queue(16, 4)),
        limited("workload-high", 40, 50, queue(128, 6)),
        limited("workload-low", 100, 90, queue(128, 6)),
        limited("global-default", 20, 50, queue(128, 6)),
    ]
}

fn groups(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| Subject {
        kind: "Group".to_owned(),
        group: Some(Box::new(GroupSubject {
            name: (*name).to_owned(),
        })),
        ..Subject::default()
    };
    names.iter().map(subject).collect()
}

fn users(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| Subject {
        kind: "User".to_owned(),
        user: Some(Box::new(UserSubject {
            name: (*name).to_owned(),
        })),
        ..Subject::default()
    };
    names.iter().map(subject).collect()
}

fn kube_system_service_accounts() -> Vec<Subject> {
    let account = ServiceAccountSubject {
        namespace: "kube-system".to_owned(),
        name: "*".to_owned(),
    };
    vec![Subject {
        kind: "ServiceAccount".to_owned(),
        service_account: Some(Box::new(account)),
        ..Subject::default()
    }]
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn resources(
    verbs: &[&str],
    group: &str,
    resources: &[&str],
    cluster_scope: bool,
) -> ResourcePolicyRule {
    ResourcePolicyRule {
        verbs: strings(verbs),
        api_groups: strings(&[group]),
        resources: strings(resources),
        namespaces: strings(&["*"]),
        cluster_scope,
    }
}

fn paths(verbs: &[&str], paths: &[&str]) -> NonResourcePolicyRule {
    NonResourcePolicyRule {
        verbs: strings(verbs),
        non_resource_urls: strings(paths),
    }
}

fn everything(subjects: Vec<Subject>) -> PolicyRulesWithSubjects {
    PolicyRulesWithSubjects {
        subjects,
        resource_rules: vec![resources(&["*"], "*", &["*"], true)],
        non_resource_rules: vec![paths(&["*"], &["*"])],
    }
}

pub(crate) fn flow_schemas() -> Vec<FlowSchema> {
    const EVERYONE: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
    let schema = |name: &str,
                  level: &str,
                  precedence: i32,
                  distinguisher: &str,
                  rules: PolicyRulesWithSubjects| {
        let mut schema = FlowSchema::default();
        name.clone_into(&mut schema.metadata.name);
        schema
            .metadata
            .annotations
            .insert(AUTO_UPDATE.to_owned(), "true".to_owned());
        level.clone_into(&mut schema.spec.priority_level_configuration.name);
        schema.spec.matching_precedence = precedence;
        schema.spec.distinguisher_method = (!distinguisher.is_empty()).then(|| {
            Box::new(FlowDistinguisherMethod {
                type_: distinguisher.to_owned(),
            })
        });
        schema.spec.rules = vec![rules];
        schema
    };
    let mut leader_election = users(&["system:kube-controller-manager", "system:kube-scheduler"]);
    leader_election.extend(kube_system_service_accounts());
    vec![
        schema(
            "exempt",
            "exempt",
            1,
            "",
            everything(groups(&["system:masters"])),
        ),
        schema(
            "catch-all",
            "catch-all",
            10000,
            "ByUser",
            everything(groups(&EVERYONE)),
        ),
        schema(
            "system-nodes",
            "system",
            500,
            "ByUser",
            everything(groups(&["system:nodes"])),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            PolicyRulesWithSubjects {
                subjects: groups(&["system:nodes"]),
                resource_rules: vec![
                    resources(&["*"], "", &["nodes", "nodes/status"], true),
                    resources(&["*"], "coordination.k8s.io", &["leases"], false),
                ],
                ..PolicyRulesWithSubjects::default()
            },
        ),
        schema(
            "probes",
            "exempt",
            2,
            "",
            PolicyRulesWithSubjects {
                subjects: groups(&EVERYONE),
                non_resource_rules: vec![paths(&["get"], &["/healthz", "/readyz", "/livez"])],
                ..PolicyRulesWithSubjects::default()
            },
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            PolicyRulesWithSubjects {
                subjects: leader_election,
                resource_rules: vec![resources(
                    &["get", "create", "update"],
                    "coordination.k8s.io",
                    &["leases"],
                    false,
                )],
                ..PolicyRulesWithSubjects::default()
            },
        ),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            everything(users(&["system:kube-controller-manager"])),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            everything(users(&["system:kube-scheduler"])),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            everything(kube_system_service_accounts()),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            everything(groups(&["system:serviceaccounts"])),
        ),
        schema(
            "global-default",
            "global-default",
            9900,
            "ByUser",
            everything(groups(&EVERYONE)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_names_a_level() {
        let levels: Vec<String> = priority_levels()
            .into_iter()
            .map(|level| level.metadata.name)
            .collect();
        assert_eq!(levels.len(), 8);
        let schemas = flow_schemas();
        assert_eq!(schemas.len(), 11);
        for schema in schemas {
            assert!(
                levels.contains(&schema.spec.priority_level_configuration.name),
                "{}",
                schema.metadata.name
            );
        }
    }

    #[test]
    fn suggestions_are_kept_up_to_date_where_that_is_wanted() {
        for (said, generation, keeps, noted) in [
            (Some("true"), 5, true, "true"),
            (Some("T"), 5, true, "T"),
            (Some("0"), 1, false, "0"),
            (Some("perhaps"), 1, true, "true"),
            (None, 1, true, "true"),
            (None, 2, false, "false"),
        ] {
            let wanted = flow_schemas().remove(4);
            let mut current = wanted.clone();
            current.metadata.generation = generation;
            current.metadata.annotations.clear();
            if let Some(said) = said {
                let annotations = &mut current.metadata.annotations;
                annotations.insert(AUTO_UPDATE.to_owned(), said.to_owned());
            }
            current.spec.matching_precedence = 77;
            let before = current.clone();
            let revised = revised(current, wanted.clone()).unwrap_or(before);
            assert_eq!(revised.spec == wanted.spec, keeps, "{said:?}");
            assert_eq!(revised.metadata.annotations[AUTO_UPDATE], noted);
        }
    }

    #[test]
    fn shares_of_the_exempt_level_are_for_administrators() {
        let levels = priority_levels();
        let mut exempt = levels[0].clone();
        exempt.metadata.generation = 2;
        exempt.spec.exempt = Some(Box::new(ExemptPriorityLevelConfiguration {
            nominal_concurrency_shares: Some(10),
            lendable_percent: Some(50),
        }));
        assert!(revised(exempt.clone(), levels[0].clone()).is_none());
        exempt.metadata.annotations.clear();
        let revised =
            revised(exempt.clone(), levels[0].clone()).expect("the annotation is missing");
        assert_eq!(revised.spec, exempt.spec);
        assert_eq!(revised.metadata.annotations[AUTO_UPDATE], "true");
        let mut catch_all = levels[1].clone();
        let mandatory = "false".to_owned();
        catch_all
            .metadata
            .annotations
            .insert(AUTO_UPDATE.to_owned(), mandatory);
        catch_all.spec.limited = None;
        let revised = super::revised(catch_all, levels[1].clone()).expect("it is put back");
        assert_eq!(revised.spec, levels[1].spec);
        assert_eq!(revised.metadata.annotations[AUTO_UPDATE], "true");
    }
}

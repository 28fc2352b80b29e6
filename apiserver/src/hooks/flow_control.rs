//! The priority levels and flow schemas every cluster has. Upstream: apiserver/pkg/apis/flowcontrol/bootstrap and
//! pkg/registry/flowcontrol/ensurer.
//!
//! Mandatory objects are always put back; suggested ones only while their annotation says that they are kept up to date.

use api_types::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, GroupSubject,
    LimitResponse, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, QueuingConfiguration, ResourcePolicyRule,
    ServiceAccountSubject, Subject, UserSubject,
};
use apimachinery::status::StatusError;

use crate::loopback::Loopback;

/// Who owns these objects.
pub(super) const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";

const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    for wanted in priority_levels() {
        match client
            .get::<PriorityLevelConfiguration>("", &wanted.metadata.name)
            .await?
        {
            None => client.ensure(wanted).await?,
            Some(mut existing) if keeps(&existing.metadata) && existing.spec != wanted.spec => {
                existing.spec = wanted.spec;
                client.update(existing).await?;
            }
            Some(_) => {}
        }
    }
    for wanted in flow_schemas() {
        match client.get::<FlowSchema>("", &wanted.metadata.name).await? {
            None => client.ensure(wanted).await?,
            Some(mut existing) if keeps(&existing.metadata) && existing.spec != wanted.spec => {
                existing.spec = wanted.spec;
                client.update(existing).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
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

fn keeps(metadata: &api_types::meta::v1::ObjectMeta) -> bool {
    MANDATORY.contains(&metadata.name.as_str())
        || metadata
            .annotations
            .get(AUTO_UPDATE)
            .is_some_and(|value| value == "true")
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
}

//! What features bring to the roles while their gates are on. Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.

use super::{Binding, Role, Rule, Subject, rule};

/// More rules for a role of the other tables.
pub(super) struct Addition {
    pub(super) gate: &'static str,
    pub(super) role: &'static str,
    /// How many of the role's rules come after these.
    pub(super) before: usize,
    pub(super) rules: &'static [Rule],
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// A role gets them in this order.
pub(super) const ADDITIONS: &[Addition] = &[
    Addition {
        gate: "GenericWorkload",
        role: "system:aggregate-to-edit",
        before: 0,
        rules: &[rule(
            &["scheduling.k8s.io"],
            &["podgroups", "workloads"],
            WRITE,
        )],
    },
    Addition {
        gate: "GenericWorkload",
        role: "system:aggregate-to-view",
        before: 0,
        rules: &[rule(
            &["scheduling.k8s.io"],
            &["podgroups", "podgroups/status", "workloads"],
            READ,
        )],
    },
    Addition {
        gate: "DRADeviceTaintRules",
        role: "system:kube-scheduler",
        before: 1,
        rules: &[rule(&["resource.k8s.io"], &["devicetaintrules"], READ)],
    },
    Addition {
        gate: "GenericWorkload",
        role: "system:kube-scheduler",
        before: 0,
        rules: &[
            rule(&["scheduling.k8s.io"], &["podgroups"], READ),
            rule(
                &["scheduling.k8s.io"],
                &["podgroups/status"],
                &["patch", "update"],
            ),
        ],
    },
    Addition {
        gate: "ClusterTrustBundle",
        role: "system:node",
        before: 1,
        rules: &[rule(
            &["certificates.k8s.io"],
            &["clustertrustbundles"],
            READ,
        )],
    },
    Addition {
        gate: "PodCertificateRequest",
        role: "system:node",
        before: 0,
        rules: &[rule(
            &["certificates.k8s.io"],
            &["podcertificaterequests"],
            &["create", "get", "list", "watch"],
        )],
    },
    Addition {
        gate: "DRAWorkloadResourceClaims",
        role: "system:controller:resource-claim-controller",
        before: 1,
        rules: &[
            rule(&["scheduling.k8s.io"], &["podgroups"], READ),
            rule(
                &["scheduling.k8s.io"],
                &["podgroups/status"],
                &["patch", "update"],
            ),
        ],
    },
    Addition {
        gate: "DRADeviceTaintRules",
        role: "system:controller:device-taint-eviction-controller",
        before: 0,
        rules: &[
            rule(
                &["resource.k8s.io"],
                &["devicetaintrules/status"],
                &["patch", "update"],
            ),
            rule(&["resource.k8s.io"], &["devicetaintrules"], READ),
        ],
    },
    Addition {
        gate: "WorkloadWithJob",
        role: "system:controller:job-controller",
        before: 0,
        rules: &[rule(
            &["scheduling.k8s.io"],
            &["podgroups", "workloads"],
            &["create", "get", "list", "watch"],
        )],
    },
];

const POOL_STATUS: &[Rule] = &[
    rule(
        &["resource.k8s.io"],
        &["resourcepoolstatusrequests"],
        &["delete", "get", "list", "watch"],
    ),
    rule(
        &["resource.k8s.io"],
        &["resourcepoolstatusrequests/status"],
        &["patch", "update"],
    ),
    rule(&["resource.k8s.io"], &["resourceslices"], READ),
    rule(&["resource.k8s.io"], &["resourceclaims"], READ),
    rule(
        &["", "events.k8s.io"],
        &["events"],
        &["create", "patch", "update"],
    ),
];

pub(super) const ROLES: &[(&str, Role)] = &[
    (
        "ClusterTrustBundle",
        Role {
            namespace: "",
            name: "system:cluster-trust-bundle-discovery",
            labels: &[],
            aggregates: &[],
            rules: &[rule(
                &["certificates.k8s.io"],
                &["clustertrustbundles"],
                READ,
            )],
        },
    ),
    (
        "DRAResourcePoolStatus",
        Role {
            namespace: "",
            name: "system:controller:resourcepoolstatusrequest-controller",
            labels: &[],
            aggregates: &[],
            rules: POOL_STATUS,
        },
    ),
    (
        "PodCertificateRequest",
        Role {
            namespace: "",
            name: "system:controller:podcertificaterequestcleaner",
            labels: &[],
            aggregates: &[],
            rules: &[rule(
                &["certificates.k8s.io"],
                &["podcertificaterequests"],
                &["delete", "get", "list", "watch"],
            )],
        },
    ),
];

pub(super) const BINDINGS: &[(&str, Binding)] = &[
    (
        "ClusterTrustBundle",
        Binding {
            namespace: "",
            name: "system:cluster-trust-bundle-discovery",
            role_kind: "ClusterRole",
            role: "system:cluster-trust-bundle-discovery",
            subjects: &[Subject::Group("system:serviceaccounts")],
        },
    ),
    (
        "DRAResourcePoolStatus",
        controller(
            "system:controller:resourcepoolstatusrequest-controller",
            &[Subject::ServiceAccount(
                "kube-system",
                "resourcepoolstatusrequest-controller",
            )],
        ),
    ),
    (
        "PodCertificateRequest",
        controller(
            "system:controller:podcertificaterequestcleaner",
            &[Subject::ServiceAccount(
                "kube-system",
                "podcertificaterequestcleaner",
            )],
        ),
    ),
];

const fn controller(role: &'static str, subjects: &'static [Subject]) -> Binding {
    Binding {
        namespace: "",
        name: role,
        role_kind: "ClusterRole",
        role,
        subjects,
    }
}

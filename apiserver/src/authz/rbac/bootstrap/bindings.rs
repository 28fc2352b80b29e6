//! Which users, groups and service accounts hold the bootstrap roles. Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.

use super::{Binding, Subject};

pub(super) const CLUSTER_ROLE_BINDINGS: &[Binding] = &[
    Binding {
        namespace: "",
        name: "cluster-admin",
        role_kind: "ClusterRole",
        role: "cluster-admin",
        subjects: &[Subject::Group("system:masters")],
    },
    Binding {
        namespace: "",
        name: "system:basic-user",
        role_kind: "ClusterRole",
        role: "system:basic-user",
        subjects: &[Subject::Group("system:authenticated")],
    },
    Binding {
        namespace: "",
        name: "system:discovery",
        role_kind: "ClusterRole",
        role: "system:discovery",
        subjects: &[Subject::Group("system:authenticated")],
    },
    Binding {
        namespace: "",
        name: "system:kube-controller-manager",
        role_kind: "ClusterRole",
        role: "system:kube-controller-manager",
        subjects: &[Subject::User("system:kube-controller-manager")],
    },
    Binding {
        namespace: "",
        name: "system:kube-dns",
        role_kind: "ClusterRole",
        role: "system:kube-dns",
        subjects: &[Subject::ServiceAccount("kube-system", "kube-dns")],
    },
    Binding {
        namespace: "",
        name: "system:kube-scheduler",
        role_kind: "ClusterRole",
        role: "system:kube-scheduler",
        subjects: &[Subject::User("system:kube-scheduler")],
    },
    Binding {
        namespace: "",
        name: "system:monitoring",
        role_kind: "ClusterRole",
        role: "system:monitoring",
        subjects: &[Subject::Group("system:monitoring")],
    },
    Binding {
        namespace: "",
        name: "system:node",
        role_kind: "ClusterRole",
        role: "system:node",
        subjects: &[],
    },
    Binding {
        namespace: "",
        name: "system:node-proxier",
        role_kind: "ClusterRole",
        role: "system:node-proxier",
        subjects: &[Subject::User("system:kube-proxy")],
    },
    Binding {
        namespace: "",
        name: "system:public-info-viewer",
        role_kind: "ClusterRole",
        role: "system:public-info-viewer",
        subjects: &[
            Subject::Group("system:authenticated"),
            Subject::Group("system:unauthenticated"),
        ],
    },
    Binding {
        namespace: "",
        name: "system:service-account-issuer-discovery",
        role_kind: "ClusterRole",
        role: "system:service-account-issuer-discovery",
        subjects: &[Subject::Group("system:serviceaccounts")],
    },
    Binding {
        namespace: "",
        name: "system:volume-scheduler",
        role_kind: "ClusterRole",
        role: "system:volume-scheduler",
        subjects: &[Subject::User("system:kube-scheduler")],
    },
];

pub(super) const CONTROLLER_ROLE_BINDINGS: &[Binding] = &[
    Binding {
        namespace: "",
        name: "system:controller:attachdetach-controller",
        role_kind: "ClusterRole",
        role: "system:controller:attachdetach-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "attachdetach-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:certificate-controller",
        role_kind: "ClusterRole",
        role: "system:controller:certificate-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "certificate-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:clusterrole-aggregation-controller",
        role_kind: "ClusterRole",
        role: "system:controller:clusterrole-aggregation-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "clusterrole-aggregation-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:cronjob-controller",
        role_kind: "ClusterRole",
        role: "system:controller:cronjob-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "cronjob-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:daemon-set-controller",
        role_kind: "ClusterRole",
        role: "system:controller:daemon-set-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "daemon-set-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:deployment-controller",
        role_kind: "ClusterRole",
        role: "system:controller:deployment-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "deployment-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:device-taint-eviction-controller",
        role_kind: "ClusterRole",
        role: "system:controller:device-taint-eviction-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "device-taint-eviction-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:disruption-controller",
        role_kind: "ClusterRole",
        role: "system:controller:disruption-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "disruption-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:endpoint-controller",
        role_kind: "ClusterRole",
        role: "system:controller:endpoint-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "endpoint-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:endpointslice-controller",
        role_kind: "ClusterRole",
        role: "system:controller:endpointslice-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "endpointslice-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:endpointslicemirroring-controller",
        role_kind: "ClusterRole",
        role: "system:controller:endpointslicemirroring-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "endpointslicemirroring-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:ephemeral-volume-controller",
        role_kind: "ClusterRole",
        role: "system:controller:ephemeral-volume-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "ephemeral-volume-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:expand-controller",
        role_kind: "ClusterRole",
        role: "system:controller:expand-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "expand-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:generic-garbage-collector",
        role_kind: "ClusterRole",
        role: "system:controller:generic-garbage-collector",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "generic-garbage-collector",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:horizontal-pod-autoscaler",
        role_kind: "ClusterRole",
        role: "system:controller:horizontal-pod-autoscaler",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "horizontal-pod-autoscaler",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:job-controller",
        role_kind: "ClusterRole",
        role: "system:controller:job-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "job-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:legacy-service-account-token-cleaner",
        role_kind: "ClusterRole",
        role: "system:controller:legacy-service-account-token-cleaner",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "legacy-service-account-token-cleaner",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:namespace-controller",
        role_kind: "ClusterRole",
        role: "system:controller:namespace-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "namespace-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:node-controller",
        role_kind: "ClusterRole",
        role: "system:controller:node-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "node-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:persistent-volume-binder",
        role_kind: "ClusterRole",
        role: "system:controller:persistent-volume-binder",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "persistent-volume-binder",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:pod-garbage-collector",
        role_kind: "ClusterRole",
        role: "system:controller:pod-garbage-collector",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "pod-garbage-collector",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:pv-protection-controller",
        role_kind: "ClusterRole",
        role: "system:controller:pv-protection-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "pv-protection-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:pvc-protection-controller",
        role_kind: "ClusterRole",
        role: "system:controller:pvc-protection-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "pvc-protection-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:replicaset-controller",
        role_kind: "ClusterRole",
        role: "system:controller:replicaset-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "replicaset-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:replication-controller",
        role_kind: "ClusterRole",
        role: "system:controller:replication-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "replication-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:resource-claim-controller",
        role_kind: "ClusterRole",
        role: "system:controller:resource-claim-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "resource-claim-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:resourcequota-controller",
        role_kind: "ClusterRole",
        role: "system:controller:resourcequota-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "resourcequota-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:root-ca-cert-publisher",
        role_kind: "ClusterRole",
        role: "system:controller:root-ca-cert-publisher",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "root-ca-cert-publisher",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:route-controller",
        role_kind: "ClusterRole",
        role: "system:controller:route-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "route-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:selinux-warning-controller",
        role_kind: "ClusterRole",
        role: "system:controller:selinux-warning-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "selinux-warning-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:service-account-controller",
        role_kind: "ClusterRole",
        role: "system:controller:service-account-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "service-account-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:service-ca-cert-publisher",
        role_kind: "ClusterRole",
        role: "system:controller:service-ca-cert-publisher",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "service-ca-cert-publisher",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:service-cidrs-controller",
        role_kind: "ClusterRole",
        role: "system:controller:service-cidrs-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "service-cidrs-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:service-controller",
        role_kind: "ClusterRole",
        role: "system:controller:service-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "service-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:statefulset-controller",
        role_kind: "ClusterRole",
        role: "system:controller:statefulset-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "statefulset-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:ttl-after-finished-controller",
        role_kind: "ClusterRole",
        role: "system:controller:ttl-after-finished-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "ttl-after-finished-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:ttl-controller",
        role_kind: "ClusterRole",
        role: "system:controller:ttl-controller",
        subjects: &[Subject::ServiceAccount("kube-system", "ttl-controller")],
    },
    Binding {
        namespace: "",
        name: "system:controller:validatingadmissionpolicy-status-controller",
        role_kind: "ClusterRole",
        role: "system:controller:validatingadmissionpolicy-status-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "validatingadmissionpolicy-status-controller",
        )],
    },
    Binding {
        namespace: "",
        name: "system:controller:volumeattributesclass-protection-controller",
        role_kind: "ClusterRole",
        role: "system:controller:volumeattributesclass-protection-controller",
        subjects: &[Subject::ServiceAccount(
            "kube-system",
            "volumeattributesclass-protection-controller",
        )],
    },
];

pub(super) const ROLE_BINDINGS: &[Binding] = &[
    Binding {
        namespace: "kube-public",
        name: "system:controller:bootstrap-signer",
        role_kind: "Role",
        role: "system:controller:bootstrap-signer",
        subjects: &[Subject::ServiceAccount("kube-system", "bootstrap-signer")],
    },
    Binding {
        namespace: "kube-system",
        name: "system::extension-apiserver-authentication-reader",
        role_kind: "Role",
        role: "extension-apiserver-authentication-reader",
        subjects: &[
            Subject::User("system:kube-controller-manager"),
            Subject::User("system:kube-scheduler"),
        ],
    },
    Binding {
        namespace: "kube-system",
        name: "system::leader-locking-kube-controller-manager",
        role_kind: "Role",
        role: "system::leader-locking-kube-controller-manager",
        subjects: &[
            Subject::User("system:kube-controller-manager"),
            Subject::ServiceAccount("kube-system", "kube-controller-manager"),
            Subject::ServiceAccount("kube-system", "leader-election-controller"),
        ],
    },
    Binding {
        namespace: "kube-system",
        name: "system::leader-locking-kube-scheduler",
        role_kind: "Role",
        role: "system::leader-locking-kube-scheduler",
        subjects: &[
            Subject::User("system:kube-scheduler"),
            Subject::ServiceAccount("kube-system", "kube-scheduler"),
        ],
    },
    Binding {
        namespace: "kube-system",
        name: "system:controller:bootstrap-signer",
        role_kind: "Role",
        role: "system:controller:bootstrap-signer",
        subjects: &[Subject::ServiceAccount("kube-system", "bootstrap-signer")],
    },
    Binding {
        namespace: "kube-system",
        name: "system:controller:cloud-provider",
        role_kind: "Role",
        role: "system:controller:cloud-provider",
        subjects: &[Subject::ServiceAccount("kube-system", "cloud-provider")],
    },
    Binding {
        namespace: "kube-system",
        name: "system:controller:token-cleaner",
        role_kind: "Role",
        role: "system:controller:token-cleaner",
        subjects: &[Subject::ServiceAccount("kube-system", "token-cleaner")],
    },
];

//! The Roles in kube-system and kube-public. Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.

use super::{Role, named, rule};

pub(super) const ROLES: &[Role] = &[
    Role {
        namespace: "kube-public",
        name: "system:controller:bootstrap-signer",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["configmaps"], &["get", "list", "watch"]),
            named(&[""], &["configmaps"], &["cluster-info"], &["update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "kube-system",
        name: "extension-apiserver-authentication-reader",
        labels: &[],
        aggregates: &[],
        rules: &[named(
            &[""],
            &["configmaps"],
            &["extension-apiserver-authentication"],
            &["get", "list", "watch"],
        )],
    },
    Role {
        namespace: "kube-system",
        name: "system::leader-locking-kube-controller-manager",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["coordination.k8s.io"],
                &["leases"],
                &["create", "get", "list", "update", "watch"],
            ),
            rule(
                &["coordination.k8s.io"],
                &["leasecandidates"],
                &["create", "get", "list", "update", "watch"],
            ),
        ],
    },
    Role {
        namespace: "kube-system",
        name: "system::leader-locking-kube-scheduler",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["coordination.k8s.io"],
                &["leases"],
                &["create", "get", "list", "update", "watch"],
            ),
            rule(
                &["coordination.k8s.io"],
                &["leasecandidates"],
                &["create", "get", "list", "update", "watch"],
            ),
        ],
    },
    Role {
        namespace: "kube-system",
        name: "system:controller:bootstrap-signer",
        labels: &[],
        aggregates: &[],
        rules: &[rule(&[""], &["secrets"], &["get", "list", "watch"])],
    },
    Role {
        namespace: "kube-system",
        name: "system:controller:cloud-provider",
        labels: &[],
        aggregates: &[],
        rules: &[rule(
            &[""],
            &["configmaps"],
            &["create", "get", "list", "watch"],
        )],
    },
    Role {
        namespace: "kube-system",
        name: "system:controller:token-cleaner",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["secrets"], &["delete", "get", "list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
];

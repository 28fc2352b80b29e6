//! The ClusterRoles of the controllers' service accounts. Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.

use super::{Role, named, rule};

pub(super) const CONTROLLER_ROLES: &[Role] = &[
    Role {
        namespace: "",
        name: "system:controller:attachdetach-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumeclaims", "persistentvolumes"],
                &["list", "watch"],
            ),
            rule(&[""], &["nodes"], &["get", "list", "watch"]),
            rule(&[""], &["nodes/status"], &["patch", "update"]),
            rule(&[""], &["pods"], &["list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
            rule(
                &["storage.k8s.io"],
                &["volumeattachments"],
                &["create", "delete", "get", "list", "watch"],
            ),
            rule(
                &["storage.k8s.io"],
                &["csidrivers"],
                &["get", "list", "watch"],
            ),
            rule(
                &["storage.k8s.io"],
                &["csinodes"],
                &["get", "list", "watch"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:certificate-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["certificates.k8s.io"],
                &["certificatesigningrequests"],
                &["delete", "get", "list", "watch"],
            ),
            rule(
                &["certificates.k8s.io"],
                &[
                    "certificatesigningrequests/approval",
                    "certificatesigningrequests/status",
                ],
                &["update"],
            ),
            named(
                &["certificates.k8s.io"],
                &["signers"],
                &["kubernetes.io/kube-apiserver-client-kubelet"],
                &["approve"],
            ),
            named(
                &["certificates.k8s.io"],
                &["signers"],
                &[
                    "kubernetes.io/kube-apiserver-client",
                    "kubernetes.io/kube-apiserver-client-kubelet",
                    "kubernetes.io/kubelet-serving",
                    "kubernetes.io/legacy-unknown",
                ],
                &["sign"],
            ),
            rule(
                &["authorization.k8s.io"],
                &["subjectaccessreviews"],
                &["create"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:clusterrole-aggregation-controller",
        labels: &[],
        aggregates: &[],
        rules: &[rule(
            &["rbac.authorization.k8s.io"],
            &["clusterroles"],
            &["escalate", "get", "list", "patch", "update", "watch"],
        )],
    },
    Role {
        namespace: "",
        name: "system:controller:cronjob-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["batch"],
                &["cronjobs"],
                &["get", "list", "update", "watch"],
            ),
            rule(
                &["batch"],
                &["jobs"],
                &[
                    "create", "delete", "get", "list", "patch", "update", "watch",
                ],
            ),
            rule(&["batch"], &["cronjobs/status"], &["update"]),
            rule(&["batch"], &["cronjobs/finalizers"], &["update"]),
            rule(&[""], &["pods"], &["delete", "list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:daemon-set-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["apps", "extensions"],
                &["daemonsets"],
                &["get", "list", "watch"],
            ),
            rule(&["apps", "extensions"], &["daemonsets/status"], &["update"]),
            rule(
                &["apps", "extensions"],
                &["daemonsets/finalizers"],
                &["update"],
            ),
            rule(&[""], &["nodes"], &["list", "watch"]),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "list", "patch", "watch"],
            ),
            rule(&[""], &["pods/binding"], &["create"]),
            rule(
                &["apps"],
                &["controllerrevisions"],
                &[
                    "create", "delete", "get", "list", "patch", "update", "watch",
                ],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:deployment-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["apps", "extensions"],
                &["deployments"],
                &["get", "list", "update", "watch"],
            ),
            rule(
                &["apps", "extensions"],
                &["deployments/status"],
                &["update"],
            ),
            rule(
                &["apps", "extensions"],
                &["deployments/finalizers"],
                &["update"],
            ),
            rule(
                &["apps", "extensions"],
                &["replicasets"],
                &[
                    "create", "delete", "get", "list", "patch", "update", "watch",
                ],
            ),
            rule(&[""], &["pods"], &["get", "list", "update", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:device-taint-eviction-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods"], &["delete", "get", "list", "watch"]),
            rule(&[""], &["pods/status"], &["patch", "update"]),
            rule(
                &["resource.k8s.io"],
                &["resourceclaims"],
                &["get", "list", "watch"],
            ),
            rule(
                &["resource.k8s.io"],
                &["resourceslices"],
                &["get", "list", "watch"],
            ),
            rule(
                &["resource.k8s.io"],
                &["deviceclasses"],
                &["get", "list", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:disruption-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["apps", "extensions"],
                &["deployments"],
                &["get", "list", "watch"],
            ),
            rule(
                &["apps", "extensions"],
                &["replicasets"],
                &["get", "list", "watch"],
            ),
            rule(
                &[""],
                &["replicationcontrollers"],
                &["get", "list", "watch"],
            ),
            rule(
                &["policy"],
                &["poddisruptionbudgets"],
                &["get", "list", "watch"],
            ),
            rule(&["apps"], &["statefulsets"], &["get", "list", "watch"]),
            rule(&["policy"], &["poddisruptionbudgets/status"], &["update"]),
            rule(&[""], &["pods/status"], &["patch", "update"]),
            rule(&["*"], &["*/scale"], &["get"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:endpoint-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods", "services"], &["get", "list", "watch"]),
            rule(
                &[""],
                &["endpoints"],
                &["create", "delete", "get", "list", "update", "watch"],
            ),
            rule(&[""], &["endpoints/restricted"], &["create"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:endpointslice-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["nodes", "pods", "services"],
                &["get", "list", "watch"],
            ),
            rule(&[""], &["services/finalizers"], &["update"]),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices"],
                &["create", "delete", "get", "list", "update", "watch"],
            ),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices/restricted"],
                &["create"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:endpointslicemirroring-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["endpoints", "services"], &["get", "list", "watch"]),
            rule(&[""], &["services/finalizers"], &["update"]),
            rule(&[""], &["endpoints/finalizers"], &["update"]),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices"],
                &["create", "delete", "get", "list", "update", "watch"],
            ),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices/restricted"],
                &["create"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:ephemeral-volume-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods"], &["get", "list", "watch"]),
            rule(&[""], &["pods/finalizers"], &["update"]),
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["create", "get", "list", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:expand-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumes"],
                &["get", "list", "patch", "update", "watch"],
            ),
            rule(
                &[""],
                &["persistentvolumeclaims/status"],
                &["patch", "update"],
            ),
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["get", "list", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:generic-garbage-collector",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["*"],
                &["*"],
                &["delete", "get", "list", "patch", "update", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:horizontal-pod-autoscaler",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["autoscaling"],
                &["horizontalpodautoscalers"],
                &["get", "list", "watch"],
            ),
            rule(
                &["autoscaling"],
                &["horizontalpodautoscalers/status"],
                &["update"],
            ),
            rule(&["*"], &["*/scale"], &["get", "update"]),
            rule(&[""], &["pods"], &["list", "watch"]),
            rule(&["metrics.k8s.io"], &["pods"], &["list", "watch"]),
            rule(
                &["custom.metrics.k8s.io"],
                &["*"],
                &["get", "list", "watch"],
            ),
            rule(
                &["external.metrics.k8s.io"],
                &["*"],
                &["get", "list", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:job-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["batch"],
                &["jobs"],
                &["get", "list", "patch", "update", "watch"],
            ),
            rule(&["batch"], &["jobs/status"], &["update"]),
            rule(&["batch"], &["jobs/finalizers"], &["update"]),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "list", "patch", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:legacy-service-account-token-cleaner",
        labels: &[],
        aggregates: &[],
        rules: &[
            named(
                &[""],
                &["configmaps"],
                &["kube-apiserver-legacy-service-account-token-tracking"],
                &["get"],
            ),
            rule(&[""], &["secrets"], &["delete", "patch"]),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:namespace-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["namespaces"], &["delete", "get", "list", "watch"]),
            rule(
                &[""],
                &["namespaces/finalize", "namespaces/status"],
                &["update"],
            ),
            rule(
                &["*"],
                &["*"],
                &["delete", "deletecollection", "get", "list", "watch"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:node-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["nodes"],
                &["delete", "get", "list", "patch", "update", "watch"],
            ),
            rule(&[""], &["nodes/status"], &["patch", "update"]),
            rule(&[""], &["pods/status"], &["patch", "update"]),
            rule(&[""], &["pods"], &["delete", "get", "list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:persistent-volume-binder",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumes"],
                &["create", "delete", "get", "list", "update", "watch"],
            ),
            rule(&[""], &["persistentvolumes/status"], &["update"]),
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["get", "list", "update", "watch"],
            ),
            rule(&[""], &["persistentvolumeclaims/status"], &["update"]),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "get", "list", "watch"],
            ),
            rule(
                &["storage.k8s.io"],
                &["storageclasses"],
                &["get", "list", "watch"],
            ),
            rule(&[""], &["nodes"], &["list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
            rule(&[""], &["events"], &["watch"]),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:pod-garbage-collector",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods"], &["delete", "list", "watch"]),
            rule(&[""], &["nodes"], &["get", "list", "watch"]),
            rule(&[""], &["pods/status"], &["patch"]),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:pv-protection-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumes"],
                &["get", "list", "update", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:pvc-protection-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["get", "list", "update", "watch"],
            ),
            rule(&[""], &["persistentvolumeclaims/status"], &["update"]),
            rule(&[""], &["pods"], &["get", "list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:replicaset-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["apps", "extensions"],
                &["replicasets"],
                &["get", "list", "update", "watch"],
            ),
            rule(
                &["apps", "extensions"],
                &["replicasets/status"],
                &["update"],
            ),
            rule(
                &["apps", "extensions"],
                &["replicasets/finalizers"],
                &["update"],
            ),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "list", "patch", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:replication-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["replicationcontrollers"],
                &["get", "list", "update", "watch"],
            ),
            rule(&[""], &["replicationcontrollers/status"], &["update"]),
            rule(&[""], &["replicationcontrollers/finalizers"], &["update"]),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "list", "patch", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:resource-claim-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods"], &["get", "list", "watch"]),
            rule(&[""], &["pods/finalizers"], &["update"]),
            rule(
                &["resource.k8s.io"],
                &["resourceclaims"],
                &["create", "delete", "get", "list", "watch"],
            ),
            rule(
                &["resource.k8s.io"],
                &["resourceclaims", "resourceclaims/status"],
                &["patch", "update"],
            ),
            rule(&[""], &["pods/status"], &["patch", "update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
            rule(
                &["resource.k8s.io"],
                &["resourceclaims/binding"],
                &["patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:resourcequota-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&["*"], &["*"], &["list", "watch"]),
            rule(&[""], &["resourcequotas/status"], &["update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:root-ca-cert-publisher",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["configmaps"], &["create", "update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:route-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["nodes"], &["list", "watch"]),
            rule(&[""], &["nodes/status"], &["patch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:selinux-warning-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
            rule(&[""], &["persistentvolumes"], &["get", "list", "watch"]),
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["get", "list", "watch"],
            ),
            rule(&[""], &["pods"], &["get", "list", "watch"]),
            rule(
                &["storage.k8s.io"],
                &["csidrivers"],
                &["get", "list", "watch"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:service-account-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["serviceaccounts"], &["create"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:service-ca-cert-publisher",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["configmaps"], &["create", "update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:service-cidrs-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["networking.k8s.io"],
                &["servicecidrs"],
                &["get", "list", "patch", "update", "watch"],
            ),
            rule(
                &["networking.k8s.io"],
                &["servicecidrs/finalizers"],
                &["patch", "update"],
            ),
            rule(
                &["networking.k8s.io"],
                &["servicecidrs/status"],
                &["patch", "update"],
            ),
            rule(
                &["networking.k8s.io"],
                &["ipaddresses"],
                &["get", "list", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:service-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["services"], &["get", "list", "watch"]),
            rule(&[""], &["services/status"], &["patch", "update"]),
            rule(&[""], &["nodes"], &["list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:statefulset-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["pods"], &["list", "watch"]),
            rule(&["apps"], &["statefulsets"], &["get", "list", "watch"]),
            rule(&["apps"], &["statefulsets/status"], &["update"]),
            rule(&["apps"], &["statefulsets/finalizers"], &["update"]),
            rule(
                &[""],
                &["pods"],
                &["create", "delete", "get", "patch", "update"],
            ),
            rule(
                &["apps"],
                &["controllerrevisions"],
                &[
                    "create", "delete", "get", "list", "patch", "update", "watch",
                ],
            ),
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["create", "get", "list", "watch"],
            ),
            rule(&[""], &["persistentvolumeclaims"], &["delete", "update"]),
            rule(&[""], &["pods/finalizers"], &["update"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:ttl-after-finished-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&["batch"], &["jobs"], &["delete", "get", "list", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:ttl-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(&[""], &["nodes"], &["list", "patch", "update", "watch"]),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:validatingadmissionpolicy-status-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &["admissionregistration.k8s.io"],
                &["validatingadmissionpolicies"],
                &["get", "list", "watch"],
            ),
            rule(
                &["admissionregistration.k8s.io"],
                &["validatingadmissionpolicies/status"],
                &["get", "patch", "update"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
    Role {
        namespace: "",
        name: "system:controller:volumeattributesclass-protection-controller",
        labels: &[],
        aggregates: &[],
        rules: &[
            rule(
                &[""],
                &["persistentvolumeclaims"],
                &["get", "list", "watch"],
            ),
            rule(&[""], &["persistentvolumes"], &["get", "list", "watch"]),
            rule(
                &["storage.k8s.io"],
                &["volumeattributesclasses"],
                &["get", "list", "update", "watch"],
            ),
            rule(
                &["", "events.k8s.io"],
                &["events"],
                &["create", "patch", "update"],
            ),
        ],
    },
];

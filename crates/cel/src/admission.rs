//! The types of what admission tells expressions besides objects: the request and its namespace.
//! Upstream: BuildRequestType and BuildNamespaceType of apiserver/pkg/admission/plugin/cel/compile.go.

use crate::env::Builder;
use crate::types::Type;

impl Builder {
    /// Declares `request` and `namespaceObject`.
    pub fn admission(self) -> Self {
        let strings = || Type::list(Type::String);
        let fields = |fields: &[(&str, Type)]| -> Vec<(String, Type)> {
            fields
                .iter()
                .map(|(name, of)| ((*name).to_owned(), of.clone()))
                .collect()
        };
        let text = |names: &[&str]| -> Vec<(String, Type)> {
            names
                .iter()
                .map(|name| ((*name).to_owned(), Type::String))
                .collect()
        };
        let kind = Type::object("kubernetes.GroupVersionKind");
        let resource = Type::object("kubernetes.GroupVersionResource");
        let labels = || Type::map(Type::String, Type::String);
        self.object_type(
            "kubernetes.GroupVersionKind",
            text(&["group", "version", "kind"]),
        )
        .object_type(
            "kubernetes.GroupVersionResource",
            text(&["group", "version", "resource"]),
        )
        .object_type(
            "kubernetes.UserInfo",
            fields(&[
                ("username", Type::String),
                ("uid", Type::String),
                ("groups", strings()),
                ("extra", Type::map(Type::String, strings())),
            ]),
        )
        .object_type(
            "kubernetes.AdmissionRequest",
            fields(&[
                ("kind", kind.clone()),
                ("resource", resource.clone()),
                ("subResource", Type::String),
                ("requestKind", kind),
                ("requestResource", resource),
                ("requestSubResource", Type::String),
                ("name", Type::String),
                ("namespace", Type::String),
                ("operation", Type::String),
                ("userInfo", Type::object("kubernetes.UserInfo")),
                ("dryRun", Type::Bool),
                ("options", Type::Dyn),
            ]),
        )
        .object_type(
            "kubernetes.NamespaceSpec",
            fields(&[("finalizers", strings())]),
        )
        .object_type(
            "kubernetes.NamespaceCondition",
            fields(&[
                ("status", Type::String),
                ("type", Type::String),
                ("lastTransitionTime", Type::Timestamp),
                ("message", Type::String),
                ("reason", Type::String),
            ]),
        )
        .object_type(
            "kubernetes.NamespaceStatus",
            fields(&[
                (
                    "conditions",
                    Type::list(Type::object("kubernetes.NamespaceCondition")),
                ),
                ("phase", Type::String),
            ]),
        )
        .object_type(
            "kubernetes.NamespaceMetadata",
            fields(&[
                ("name", Type::String),
                ("generateName", Type::String),
                ("namespace", Type::String),
                ("labels", labels()),
                ("annotations", labels()),
                ("UID", Type::String),
                ("creationTimestamp", Type::Timestamp),
                ("deletionGracePeriodSeconds", Type::Int),
                ("deletionTimestamp", Type::Timestamp),
                ("generation", Type::Int),
                ("resourceVersion", Type::String),
                ("finalizers", strings()),
            ]),
        )
        .object_type(
            "kubernetes.Namespace",
            fields(&[
                ("metadata", Type::object("kubernetes.NamespaceMetadata")),
                ("spec", Type::object("kubernetes.NamespaceSpec")),
                ("status", Type::object("kubernetes.NamespaceStatus")),
            ]),
        )
        .variable("namespaceObject", Type::object("kubernetes.Namespace"))
        .variable("request", Type::object("kubernetes.AdmissionRequest"))
    }
}

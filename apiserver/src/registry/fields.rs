//! Which fields lists and watches can be selected by, and how they are read from stored bytes.
//! Upstream: AddFieldLabelConversionFunc of each group and the GetAttrs functions of pkg/registry.

use api_types::schema::{StructSchema, TypeRef};

use super::wire::{self, Wire, WireError};

/// A selectable field.
#[derive(Clone, Copy, Debug)]
pub struct SelectableField {
    /// Name in selectors.
    pub name: &'static str,
    /// JSON path in the stored kind.
    pub path: &'static str,
    /// What an absent value counts as.
    pub absent: &'static str,
}

const fn field(name: &'static str) -> SelectableField {
    SelectableField {
        name,
        path: name,
        absent: "",
    }
}

const fn mapped(name: &'static str, path: &'static str) -> SelectableField {
    SelectableField {
        name,
        path,
        absent: "",
    }
}

const fn or(name: &'static str, absent: &'static str) -> SelectableField {
    SelectableField {
        name,
        path: name,
        absent,
    }
}

/// What a kind can be selected by besides metadata.name and metadata.namespace.
#[derive(Clone, Copy, Debug)]
pub struct Selectable {
    pub group: &'static str,
    pub resource: &'static str,
    pub fields: &'static [SelectableField],
    /// Other names of fields: what clients may say, and the field it means.
    pub aliases: &'static [(&'static str, &'static str)],
    /// The field watchers are indexed by.
    pub index: Option<&'static str>,
}

const EVENT_FIELDS: &[SelectableField] = &[
    field("involvedObject.kind"),
    field("involvedObject.namespace"),
    field("involvedObject.name"),
    field("involvedObject.uid"),
    field("involvedObject.apiVersion"),
    field("involvedObject.resourceVersion"),
    field("involvedObject.fieldPath"),
    field("reason"),
    field("reportingComponent"),
    // Older events name their source only here, newer ones only in reportingComponent.
    mapped("source", "source.component"),
    field("type"),
];

/// Every kind with selectable fields of its own.
pub const SELECTABLE: &[Selectable] = &[
    Selectable {
        group: "",
        resource: "pods",
        fields: &[
            field("spec.nodeName"),
            field("spec.restartPolicy"),
            field("spec.schedulerName"),
            field("spec.serviceAccountName"),
            or("spec.hostNetwork", "false"),
            field("status.phase"),
            field("status.podIP"),
            field("status.nominatedNodeName"),
        ],
        aliases: &[
            ("spec.host", "spec.nodeName"),
            ("status.podIPs", "status.podIP"),
        ],
        index: Some("spec.nodeName"),
    },
    Selectable {
        group: "",
        resource: "nodes",
        fields: &[or("spec.unschedulable", "false")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "",
        resource: "replicationcontrollers",
        fields: &[or("status.replicas", "0")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "",
        resource: "namespaces",
        fields: &[field("status.phase")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "",
        resource: "secrets",
        fields: &[field("type")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "",
        resource: "services",
        fields: &[field("spec.clusterIP"), field("spec.type")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "",
        resource: "events",
        fields: EVENT_FIELDS,
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "events.k8s.io",
        resource: "events",
        fields: EVENT_FIELDS,
        aliases: &[
            ("reportingController", "reportingComponent"),
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            (
                "regarding.resourceVersion",
                "involvedObject.resourceVersion",
            ),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
        ],
        index: None,
    },
    Selectable {
        group: "batch",
        resource: "jobs",
        fields: &[SelectableField {
            name: "status.successful",
            path: "status.succeeded",
            absent: "0",
        }],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        fields: &[field("spec.signerName")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "certificates.k8s.io",
        resource: "clustertrustbundles",
        fields: &[field("spec.signerName")],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "certificates.k8s.io",
        resource: "podcertificaterequests",
        fields: &[
            field("spec.signerName"),
            field("spec.podName"),
            field("spec.nodeName"),
        ],
        aliases: &[],
        index: None,
    },
    Selectable {
        group: "resource.k8s.io",
        resource: "resourceslices",
        fields: &[field("spec.nodeName"), field("spec.driver")],
        aliases: &[],
        index: None,
    },
];

/// The fields of a resource.
pub fn selectable(group: &str, resource: &str) -> Option<&'static Selectable> {
    SELECTABLE
        .iter()
        .find(|selectable| selectable.group == group && selectable.resource == resource)
}

/// The stored name of a field a client selects by, or upstream's complaint.
pub fn convert_label(
    group: &str,
    version: &str,
    resource: &str,
    kind: &str,
    label: &str,
) -> Result<String, String> {
    let Some(selectable) = selectable(group, resource) else {
        return match label {
            "metadata.name" | "metadata.namespace" => Ok(label.to_owned()),
            _ => Err(format!(
                "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )),
        };
    };
    if let Some((_, field)) = selectable.aliases.iter().find(|(alias, _)| *alias == label) {
        return Ok((*field).to_owned());
    }
    let known = match group {
        // It has its own names for core's other fields.
        "events.k8s.io" => matches!(label, "reason" | "type"),
        _ => selectable.fields.iter().any(|field| field.name == label),
    };
    let metadata = match resource {
        "nodes"
        | "namespaces"
        | "certificatesigningrequests"
        | "clustertrustbundles"
        | "podcertificaterequests"
        | "resourceslices" => label == "metadata.name",
        _ => matches!(label, "metadata.name" | "metadata.namespace"),
    };
    if known || metadata {
        return Ok(label.to_owned());
    }
    if resource == "resourceslices" {
        return Err(format!(
            "field label not supported for {group}/{version}, Kind={kind}: {label}"
        ));
    }
    if resource == "jobs" {
        return Err(format!("field label {label:?} not supported for Job"));
    }
    Err(format!("field label not supported: {label}"))
}

/// A selectable field as a path of protobuf tags.
#[derive(Clone, Debug)]
pub struct Reader {
    pub name: &'static str,
    tags: Vec<u32>,
    boolean: bool,
    absent: &'static str,
}

impl Reader {
    /// Resolves a field's path in the stored kind. None when the kind has no such field.
    pub fn new(schema: &'static StructSchema, field: &SelectableField) -> Option<Reader> {
        let mut tags = Vec::new();
        let mut schema = schema;
        let mut boolean = false;
        for key in field.path.split('.') {
            let (path, _) = schema.find_json(key)?;
            for step in path.steps() {
                let step = &schema.fields[usize::from(*step)];
                tags.push(step.tag);
                boolean = matches!(step.ty.deref(), TypeRef::Bool);
                if let Some(inner) = step.ty.struct_schema() {
                    schema = inner;
                }
            }
        }
        Some(Reader {
            name: field.name,
            tags,
            boolean,
            absent: field.absent,
        })
    }

    /// The field's value as text.
    pub fn read(&self, message: &[u8]) -> Result<String, WireError> {
        Ok(match wire::find(message, &self.tags)? {
            Some(Wire::Bytes(_)) if self.tags.is_empty() => String::new(),
            Some(value @ Wire::Bytes(_)) => value.text().ok_or(WireError)?.to_owned(),
            Some(Wire::Varint(value)) if self.boolean => {
                if value == 0 { "false" } else { "true" }.to_owned()
            }
            Some(Wire::Varint(value)) => (value as i64).to_string(),
            _ => self.absent.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Described;
    use api_types::core::v1::{Event, Pod};

    #[test]
    fn every_field_exists_in_its_kind() {
        for selectable in SELECTABLE {
            let resource = api_types::resources::RESOURCES
                .iter()
                .find(|row| row.group == selectable.group && row.resource == selectable.resource)
                .unwrap();
            let storage = resource.storage.as_ref().unwrap();
            let kind =
                api_types::kinds::lookup(storage.group, storage.version, resource.kind).unwrap();
            for field in selectable.fields {
                assert!(
                    Reader::new(kind.schema, field).is_some(),
                    "{}: {}",
                    selectable.resource,
                    field.name
                );
            }
        }
    }

    #[test]
    fn fields_are_read_from_stored_bytes() {
        let mut pod = Pod::default();
        pod.spec.node_name = "n1".to_owned();
        pod.spec.host_network = true;
        pod.status.phase = "Running".to_owned();
        let bytes = api_types::encode_protobuf(&pod);
        let read = |name| {
            Reader::new(
                Pod::SCHEMA,
                selectable("", "pods")
                    .unwrap()
                    .fields
                    .iter()
                    .find(|field| field.name == name)
                    .unwrap(),
            )
            .unwrap()
            .read(&bytes)
            .unwrap()
        };
        assert_eq!(
            (
                read("spec.nodeName"),
                read("spec.hostNetwork"),
                read("status.phase")
            ),
            ("n1".to_owned(), "true".to_owned(), "Running".to_owned())
        );
        let mut event = Event::default();
        event.source.component = "kubelet".to_owned();
        event.involved_object.name = "p".to_owned();
        let bytes = api_types::encode_protobuf(&event);
        let read = |name| {
            Reader::new(
                Event::SCHEMA,
                EVENT_FIELDS
                    .iter()
                    .find(|field| field.name == name)
                    .unwrap(),
            )
            .unwrap()
            .read(&bytes)
            .unwrap()
        };
        assert_eq!(
            (read("source"), read("involvedObject.name")),
            ("kubelet".to_owned(), "p".to_owned())
        );
    }

    #[test]
    fn unknown_fields_are_refused_in_upstreams_words() {
        let check =
            |group, resource, kind, label| convert_label(group, "v1", resource, kind, label);
        assert_eq!(
            check("", "pods", "Pod", "spec.host"),
            Ok("spec.nodeName".to_owned())
        );
        assert_eq!(
            check("", "pods", "Pod", "spec.foo"),
            Err("field label not supported: spec.foo".to_owned())
        );
        assert_eq!(
            check("apps", "deployments", "Deployment", "spec.foo"),
            Err("\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"".to_owned())
        );
        assert_eq!(
            check("batch", "jobs", "Job", "spec.foo"),
            Err("field label \"spec.foo\" not supported for Job".to_owned())
        );
        assert_eq!(
            check("events.k8s.io", "events", "Event", "regarding.name"),
            Ok("involvedObject.name".to_owned())
        );
    }
}

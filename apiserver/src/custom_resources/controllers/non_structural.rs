//! The condition of CRDs that older servers let have schemas which are not structural.
//! Upstream: pkg/controller/nonstructuralschema.

use std::collections::HashMap;

use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionCondition};
use apimachinery::field::{self, ErrorList, Path};
use structural_schema::{Structural, validate_structural};

use super::super::conditions::{self, NON_STRUCTURAL_SCHEMA, condition};

/// Which generation of each CRD has been looked at, so that schemas are not checked again for each change of a status, and
/// servers of different versions do not take turns.
#[derive(Default)]
pub(super) struct Seen(HashMap<String, Checked>);

struct Checked {
    uid: String,
    generation: i64,
    condition: Option<CustomResourceDefinitionCondition>,
    /// The condition has been set, or taken away, for this generation.
    written: bool,
}

impl Seen {
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The change that [`Seen::sync`] made is stored.
    pub(super) fn written(&mut self, crd: &CustomResourceDefinition) {
        if let Some(checked) = self.0.get_mut(&crd.metadata.name) {
            checked.written = true;
        }
    }

    /// Sets or takes away the condition. Whether that changed anything.
    pub(super) fn sync(&mut self, crd: &mut CustomResourceDefinition) -> bool {
        let metadata = &crd.metadata;
        let known = self.0.get(&metadata.name);
        let same = known.is_some_and(|known| {
            known.uid == metadata.uid && known.generation == metadata.generation
        });
        if !same {
            let checked = Checked {
                uid: metadata.uid.clone(),
                generation: metadata.generation,
                condition: wanted(crd),
                written: false,
            };
            self.0.insert(metadata.name.clone(), checked);
        }
        let Some(checked) = self.0.get(&crd.metadata.name) else {
            return false;
        };
        let old = conditions::find(crd, NON_STRUCTURAL_SCHEMA);
        if checked.written || conditions::equivalent(checked.condition.as_ref(), old) {
            return false;
        }
        match &checked.condition {
            Some(condition) => conditions::set(crd, condition.clone()),
            None => conditions::remove(crd, NON_STRUCTURAL_SCHEMA),
        }
        true
    }
}

fn wanted(crd: &CustomResourceDefinition) -> Option<CustomResourceDefinitionCondition> {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    if crd.spec.preserve_unknown_fields {
        let path = path.child("preserveUnknownFields");
        errors.push(field::invalid(&path, true, "must be false"));
    }
    for (index, version) in crd.spec.versions.iter().enumerate() {
        let schema = version.schema.as_ref();
        let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_deref()) else {
            continue;
        };
        if let Err(problem) = Structural::new(schema) {
            let name = &version.name;
            let message =
                format!("failed to check validation schema for version {name}: {problem}");
            return Some(CustomResourceDefinitionCondition {
                status: "Unknown".to_owned(),
                ..condition(NON_STRUCTURAL_SCHEMA, false, "StructuralError", message)
            });
        }
        let path = path.child("versions").index(index);
        let path = path.child("schema").child("openAPIV3Schema");
        errors.extend(validate_structural(schema, &path));
    }
    let message = errors.aggregate()?;
    Some(condition(
        NON_STRUCTURAL_SCHEMA,
        true,
        "Violations",
        message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preserving_unknown_fields_is_not_structural() {
        let mut seen = Seen::default();
        let mut crd = CustomResourceDefinition::default();
        assert!(!seen.sync(&mut crd));
        crd.metadata.generation = 2;
        crd.spec.preserve_unknown_fields = true;
        assert!(seen.sync(&mut crd));
        let condition = &crd.status.conditions[0];
        assert_eq!(
            (&*condition.status, &*condition.reason),
            ("True", "Violations")
        );
        assert_eq!(
            condition.message,
            "spec.preserveUnknownFields: Invalid value: true: must be false"
        );
        seen.written(&crd);
        // Once for each generation.
        crd.status.conditions.clear();
        assert!(!seen.sync(&mut crd));
        crd.metadata.generation = 3;
        assert!(seen.sync(&mut crd));
        crd.spec.preserve_unknown_fields = false;
        crd.metadata.generation = 4;
        assert!(seen.sync(&mut crd));
        assert!(crd.status.conditions.is_empty());
    }
}

//! What stands in the way of an apply. Upstream: structured-merge-diff merge/conflict.go, managedfields/internal/conflict.go.

use api_types::meta::v1::StatusCause;

use super::entries::Manager;
use super::path::Path;
use super::set::Set;
use crate::quote::quote;
use crate::status::{self, StatusError};

/// A field that an apply sets and another manager owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Who owns the field.
    pub(super) manager: Manager,
    /// The field.
    pub path: Path,
}

impl Conflict {
    /// The owner as messages name it: `"kubectl" with subresource "status" using apps/v1`.
    pub fn manager_text(&self) -> String {
        let Manager {
            name,
            operation,
            api_version,
            subresource,
        } = &self.manager;
        let mut text = quote(name);
        if !subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&quote(subresource));
        }
        if operation == "Update" {
            text.push_str(" using ");
            text.push_str(api_version);
        }
        text
    }
}

/// All conflicts of an apply, by owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    /// The fields that are in conflict.
    pub fn to_set(&self) -> Set {
        self.0
            .iter()
            .map(|conflict| conflict.path.clone())
            .collect()
    }

    /// The conflicts as a client sees them.
    pub fn to_status(&self) -> StatusError {
        let causes = self.0.iter().map(|conflict| StatusCause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.manager_text()),
            field: conflict.path.to_string(),
        });
        status::apply_conflict(causes.collect(), self.message())
    }

    fn message(&self) -> String {
        if let [only] = self.0.as_slice() {
            return format!(
                "Apply failed with 1 conflict: conflict with {}: {}",
                only.manager_text(),
                only.path
            );
        }
        let mut lines = Vec::new();
        let mut last: Option<&Manager> = None;
        for conflict in &self.0 {
            if last != Some(&conflict.manager) {
                lines.push(format!("conflicts with {}:", conflict.manager_text()));
                last = Some(&conflict.manager);
            }
            lines.push(format!("- {}", conflict.path));
        }
        format!(
            "Apply failed with {} conflicts: {}",
            self.0.len(),
            lines.join("\n")
        )
    }
}

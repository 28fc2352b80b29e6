//! Selection of objects by labels and fields, over the headers the watch cache keeps.

use std::sync::Arc;

use apimachinery::{fields, labels};

use super::options::ListOptions;
use crate::storage::{Entry, Everything, Predicate};

struct Selection {
    labels: labels::Selector,
    fields: fields::Selector,
}

impl Predicate for Selection {
    fn matches(&self, entry: &Entry) -> bool {
        self.labels.matches_with(|key| entry.labels().get(key))
            && self
                .fields
                .matches(|field| Some(entry.field(field).unwrap_or_default()))
    }

    fn exact_field(&self, field: &str) -> Option<&str> {
        self.fields.requires_exact_match(field)
    }
}

/// The predicate of list options.
pub fn predicate(options: &ListOptions) -> Arc<dyn Predicate> {
    if options.label_selector.is_empty() && options.field_selector.is_empty() {
        return Arc::new(Everything);
    }
    Arc::new(Selection {
        labels: options.label_selector.clone(),
        fields: options.field_selector.clone(),
    })
}

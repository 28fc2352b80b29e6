//! The columns of a custom resource's tables.
//! Upstream: apiextensions-apiserver/pkg/registry/customresource/tableconvertor.

use api_types::MicroTime;
use api_types::apiextensions::v1::CustomResourceColumnDefinition;
use api_types::meta::v1::ObjectMeta;
use serde_json::Value;
use structural_schema::json_path::JsonPath;

use super::intern;
use crate::table::{self, Cells, Column};

/// The columns of one version: its name, and what the CRD says.
#[derive(Debug)]
pub struct Columns {
    pub columns: Vec<Column>,
    /// Where each column but the first finds its cells.
    paths: Vec<JsonPath>,
}

impl Columns {
    /// Up to the first column whose path is broken.
    pub fn new(defined: &[CustomResourceColumnDefinition]) -> Columns {
        let age;
        let defined = if defined.is_empty() {
            age = [CustomResourceColumnDefinition {
                name: "Age".to_owned(),
                type_: "date".to_owned(),
                description: table::AGE_DESCRIPTION.to_owned(),
                json_path: ".metadata.creationTimestamp".to_owned(),
                ..CustomResourceColumnDefinition::default()
            }];
            &age[..]
        } else {
            defined
        };
        let mut columns = vec![table::NAME];
        let mut paths = Vec::new();
        for column in defined {
            let Ok(path) = JsonPath::parse(&column.json_path) else {
                break;
            };
            let description = if column.description.is_empty() {
                format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    column.json_path
                )
            } else {
                column.description.clone()
            };
            columns.push(Column {
                name: intern::text(&column.name),
                kind: intern::text(&column.type_),
                format: intern::text(&column.format),
                priority: column.priority,
                description: intern::text(&description),
            });
            paths.push(path);
        }
        Columns { columns, paths }
    }

    /// One object's cells. Ages are counted from now.
    pub fn cells(&self, document: &Value, metadata: &ObjectMeta) -> Cells {
        let now = MicroTime::now();
        let mut cells = Cells::default();
        cells.text(metadata.name.clone());
        for (column, path) in self.columns[1..].iter().zip(&self.paths) {
            cells.0.push(path.cell(column.kind, document, now));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_path_ends_the_columns() {
        let column = |name: &str, path: &str| CustomResourceColumnDefinition {
            name: name.to_owned(),
            type_: "string".to_owned(),
            json_path: path.to_owned(),
            ..CustomResourceColumnDefinition::default()
        };
        let defined = [
            column("One", ".one"),
            column("Two", ".two["),
            column("Three", ".three"),
        ];
        let columns = Columns::new(&defined);
        let names: Vec<_> = columns.columns.iter().map(|column| column.name).collect();
        assert_eq!(names, ["Name", "One"]);
        let object = serde_json::json!({"one": "1", "three": "3"});
        let metadata = ObjectMeta {
            name: "a".to_owned(),
            ..ObjectMeta::default()
        };
        assert_eq!(columns.cells(&object, &metadata).0, ["a", "1"]);
    }
}

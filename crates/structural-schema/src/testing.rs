//! What tests share.

use api_types::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use crate::Structural;

/// A schema as a CRD has it.
pub(crate) fn props(json: &Value) -> JSONSchemaProps {
    api_types::decode_json(json.to_string().as_bytes()).expect("a schema")
}

/// The same, ready for use.
pub(crate) fn schema(json: Value) -> Structural {
    Structural::new(&props(&json)).expect("a supported schema")
}

/// Messages, one a line.
pub(crate) fn texts(errors: &apimachinery::field::ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

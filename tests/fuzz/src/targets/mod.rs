//! The table of targets: a file per group, a row per thing that takes input from outside.

pub mod cel;
pub mod config;
pub mod json;
pub mod managed_fields;
pub mod names;
pub mod patches;
pub mod protobuf;
pub mod scalars;
pub mod selectors;

use crate::target::Target;

/// Every target. `tests/main.rs` has a test for each.
pub const TARGETS: &[Target] = &[
    json::DECODE,
    json::COMPACT,
    protobuf::DECODE,
    protobuf::ENVELOPE,
    scalars::QUANTITY,
    scalars::TIME,
    scalars::DURATION,
    scalars::INT_OR_STRING,
    selectors::LABELS,
    selectors::LABEL_SELECTOR,
    selectors::FIELDS,
    patches::JSON,
    patches::MERGE,
    patches::STRATEGIC,
    managed_fields::SET,
    managed_fields::APPLY,
    managed_fields::UPDATE,
    cel::EXPRESSION,
    cel::REGEX,
    config::KUBECONFIG,
    config::COMPONENT_CONFIG,
    config::FLAGS,
    config::CERTIFICATE,
    config::PEM_TEXT,
    names::NAMES,
    names::ADDRESSES,
    names::GROUPS,
];

/// Words of JSON, and of API objects in JSON.
pub(crate) const JSON_TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e999",
    "-0.0",
    "9223372036854775808",
    "\"\"",
    "\"a\":",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\u{2028}",
    "\u{feff}",
    " ",
    "\n",
    "\"kind\":",
    "\"apiVersion\":",
    "\"metadata\":",
    "\"spec\":",
    "\"status\":",
    "\"items\":",
    "\"name\":",
    "\"$patch\":\"delete\"",
    "{\"a\":",
    "[[",
    "]]",
    "\"1Ei\"",
    "\"2024-01-01T00:00:00Z\"",
    "name",
    "kind",
    "spec",
    "metadata",
    "containers",
    "managedFields",
    "labels",
    "annotations",
    "ports",
    "env",
    "finalizers",
];

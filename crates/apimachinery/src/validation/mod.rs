//! Rules for names, labels, addresses and object metadata, with upstream's messages.
//!
//! Upstream: apimachinery/pkg/util/validation, pkg/api/validation, pkg/apis/meta/v1/validation and pkg/api/validate.
//! Functions named `is_...` return what is wrong with a text, and nothing if it is fine; functions named `validate_...`
//! return field errors. Lengths are counted in bytes everywhere, also where a message says characters.

pub mod content;
mod ip;
mod names;
mod object_meta;
mod options;
mod selectors;

pub use content::{
    LABEL_VALUE_MAX_LENGTH, is_c_identifier, is_decimal_integer, is_label_key, is_label_value,
    is_path_segment_name, is_path_segment_prefix,
};
pub use ip::{
    get_warnings_for_cidr, get_warnings_for_ip, is_global_unicast, is_valid_cidr,
    is_valid_cidr_for_legacy_field, is_valid_interface_address, is_valid_ip,
    is_valid_ip_for_legacy_field, parse_cidr_sloppy, parse_ip_sloppy,
};
pub use names::*;
pub use object_meta::*;
pub use options::*;
pub use selectors::*;

/// A label's key, or any other qualified name: `[prefix/]name`. Upstream's older name for [`is_label_key`].
pub fn is_qualified_name(value: &str) -> Vec<String> {
    is_label_key(value)
}

#[cfg(test)]
mod tests;

//! The container hash, kept as annotation `io.kubernetes.container.hash`: a running container with another hash than its
//! spec is killed and made anew. It must equal upstream's, or swapping kubelets would restart every container of the node.
//!
//! Upstream: `kubecontainer.HashContainer`, which hashes Go's `%#v` text (of the spew library) of the JSON bytes.

use std::fmt::Write as _;

use api_types::core::v1::Container;
use apimachinery::hash::fnv32a;

/// Hash of the fields whose change restarts a container: name and image.
#[must_use]
pub fn hash_container(container: &Container) -> u64 {
    let json = format!(
        "{{\"image\":{},\"name\":{}}}",
        go_json_string(&container.image),
        go_json_string(&container.name)
    );
    // spew's text of a byte slice: the type, then each byte as a decimal number.
    let mut text = String::from("([]uint8)[");
    for (index, byte) in json.bytes().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        let _ = write!(text, "{byte}");
    }
    text.push(']');
    u64::from(fnv32a(text.as_bytes()))
}

/// A JSON string as Go's encoder writes it: `<`, `>`, `&` and two separators escaped.
fn go_json_string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_upstream() {
        // The value upstream's own test pins since 1.31.
        let container = Container {
            name: "test_container".to_owned(),
            image: "foo/image:v1".to_owned(),
            ..Default::default()
        };
        assert_eq!(hash_container(&container), 0x8e45_cbd0);
    }
}

//! Rust names for Go and JSON names.

/// Words of a camel case name: acronyms stay together (`podCIDRs` is `pod`, `CIDRs`).
pub(crate) fn words(name: &str) -> Vec<String> {
    let name = name
        .replace("openAPIV3Schema", "open_API_V3_Schema")
        .replace("IPv4", "Ipv4")
        .replace("IPv6", "Ipv6")
        .replace("QoS", "Qos")
        .replace("APIQPS", "API_QPS")
        .replace("MiB", "Mib");
    let mut out = Vec::new();
    for part in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        let chars: Vec<char> = part.chars().collect();
        let mut start = 0;
        let mut at = 0;
        while at < chars.len() {
            let begin = at;
            // A run of capitals and digits, then lower case.
            while at < chars.len()
                && (chars[at].is_ascii_uppercase() || (at > begin && chars[at].is_ascii_digit()))
            {
                at += 1;
            }
            let capitals = at - begin;
            let lower_start = at;
            while at < chars.len() && !chars[at].is_ascii_uppercase() {
                at += 1;
            }
            let lower: String = chars[lower_start..at].iter().collect();
            if capitals > 1 && !lower.is_empty() {
                // `IPs` is one word; in `HTTPGet` the last capital begins the next word.
                if lower == "s" {
                    out.push(chars[start..at].iter().collect());
                } else {
                    let last = if chars[lower_start - 1].is_ascii_digit() {
                        lower_start
                    } else {
                        lower_start - 1
                    };
                    out.push(chars[start..last].iter().collect());
                    out.push(chars[last..at].iter().collect());
                }
            } else {
                out.push(chars[start..at].iter().collect());
            }
            start = at;
        }
    }
    out.retain(|word: &String| !word.is_empty());
    out
}

/// Field and module names.
pub(crate) fn snake(name: &str) -> String {
    let joined = words(name).join("_").to_ascii_lowercase();
    match joined.as_str() {
        "type" | "continue" | "ref" | "enum" | "as" | "in" | "match" | "mod" | "use" | "where"
        | "self" | "static" | "const" | "fn" | "for" | "if" | "impl" | "let" | "loop" | "move"
        | "mut" | "pub" | "return" | "struct" | "super" | "trait" | "true" | "false" | "unsafe"
        | "while" | "async" | "await" | "dyn" | "abstract" | "box" | "do" | "final" | "macro"
        | "override" | "priv" | "try" | "typeof" | "unsized" | "virtual" | "yield" | "extern"
        | "crate" | "else" | "break" => format!("{joined}_"),
        _ => joined,
    }
}

/// Constant names.
pub(crate) fn screaming(value: &str) -> String {
    let joined = words(value).join("_").to_ascii_uppercase();
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{joined}")
    } else {
        joined
    }
}

/// The Rust module path of a Go package, or `None` for packages that are written by hand.
pub(crate) fn module(package: &str) -> Option<(String, String)> {
    let fixed = match package {
        "k8s.io/apimachinery/pkg/runtime" => return None,
        "k8s.io/apimachinery/pkg/version" => ("version", "v1"),
        "k8s.io/apimachinery/pkg/apis/meta/v1" => ("meta", "v1"),
        "k8s.io/client-go/tools/clientcmd/api/v1" => ("clientcmd", "v1"),
        "k8s.io/component-base/logs/api/v1" => ("component_base_logs", "v1"),
        "k8s.io/component-base/tracing/api/v1" => ("component_base_tracing", "v1"),
        "k8s.io/component-base/config/v1alpha1" => ("component_base_config", "v1alpha1"),
        "k8s.io/pod-security-admission/admission/api/v1" => ("pod_security", "v1"),
        "k8s.io/cloud-provider/config/v1alpha1" => ("cloud_provider_config", "v1alpha1"),
        "k8s.io/cloud-provider/controllers/node/config/v1alpha1" => {
            ("cloud_provider_node_config", "v1alpha1")
        }
        "k8s.io/cloud-provider/controllers/service/config/v1alpha1" => {
            ("cloud_provider_service_config", "v1alpha1")
        }
        _ => {
            let mut parts: Vec<&str> = package.split('/').collect();
            let version = parts.pop()?;
            let name = parts.pop()?;
            let owner = parts.get(1).copied().unwrap_or_default();
            let group = match (owner, name) {
                ("api", "apiserverinternal") => "internal_apiserver".to_string(),
                (_, "apiserver") => "apiserver_config".to_string(),
                (_, "config") => format!("{}_config", owner.replace('-', "_")),
                _ => name.replace('-', "_"),
            };
            return Some((group, version.to_string()));
        }
    };
    Some((fixed.0.to_string(), fixed.1.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_keep_acronyms_together() {
        for (json, rust) in [
            ("clusterIP", "cluster_ip"),
            ("clusterIPs", "cluster_ips"),
            ("podCIDRs", "pod_cidrs"),
            ("hostIPC", "host_ipc"),
            ("uid", "uid"),
            ("type", "type_"),
            ("continue", "continue_"),
            ("$ref", "ref_"),
            ("default", "default"),
            ("openAPIV3Schema", "open_api_v3_schema"),
            ("x-kubernetes-int-or-string", "x_kubernetes_int_or_string"),
            (
                "serverAddressByClientCIDRs",
                "server_address_by_client_cidrs",
            ),
            ("nonResourceURLs", "non_resource_urls"),
            ("targetWWNs", "target_wwns"),
            ("HTTPGet", "http_get"),
            ("CSRSigningController", "csr_signing_controller"),
            ("fsGroup", "fs_group"),
            ("JSONPath", "json_path"),
            ("pullSecretsV2Beta", "pull_secrets_v2_beta"),
        ] {
            assert_eq!(snake(json), rust, "{json}");
        }
    }

    #[test]
    fn constants_are_screaming_snake_case_of_the_value() {
        for (value, rust) in [
            ("Running", "RUNNING"),
            ("ReadWriteOncePod", "READ_WRITE_ONCE_POD"),
            ("ClusterIP", "CLUSTER_IP"),
            ("kubernetes.io/tls", "KUBERNETES_IO_TLS"),
            ("IPv4", "IPV4"),
            ("", ""),
        ] {
            assert_eq!(screaming(value), rust, "{value}");
        }
    }
}

//! /etc/hosts of pods. Upstream: `kubelet_pods.go`, `managedHostsFileContent` and neighbours.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use api_types::core::v1::HostAlias;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";

fn aliases(list: &[HostAlias]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in list {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    text
}

/// The file of a pod with its own network.
#[must_use]
pub fn managed_content(
    ips: &[String],
    hostname: &str,
    domain: &str,
    host_aliases: &[HostAlias],
) -> String {
    let mut text = String::from(HEADER);
    text.push_str("127.0.0.1\tlocalhost\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\n");
    text.push_str("fe00::0\tip6-mcastprefix\n");
    text.push_str("fe00::1\tip6-allnodes\n");
    text.push_str("fe00::2\tip6-allrouters\n");
    for ip in ips {
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{hostname}\n"));
        } else {
            text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n"));
        }
    }
    text + &aliases(host_aliases)
}

/// Writes the file; pods on the node's network get the node's with their aliases behind it.
///
/// # Errors
/// When the node's file cannot be read or the pod's not written.
pub fn ensure_hosts_file(
    file: &Path,
    node_hosts: &Path,
    ips: &[String],
    (hostname, domain): (&str, &str),
    host_aliases: &[HostAlias],
    host_network: bool,
) -> io::Result<()> {
    let content = if host_network {
        let mut content = HEADER_HOST_NETWORK.as_bytes().to_vec();
        content.extend(std::fs::read(node_hosts)?);
        content.extend(aliases(host_aliases).into_bytes());
        content
    } else {
        managed_content(ips, hostname, domain, host_aliases).into_bytes()
    };
    std::fs::write(file, content)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed() {
        let alias = HostAlias {
            ip: "123.45.67.89".into(),
            hostnames: vec!["some.domain".into(), "other".into()],
        };
        let got = managed_content(
            &["10.0.0.1".into(), "fd00::6".into()],
            "pod",
            "sub.ns.svc.cluster.local",
            &[alias],
        );
        assert_eq!(
            got,
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
             10.0.0.1\tpod.sub.ns.svc.cluster.local\tpod\nfd00::6\tpod.sub.ns.svc.cluster.local\tpod\n\n\
             # Entries added by HostAliases.\n123.45.67.89\tsome.domain\tother\n"
        );
    }

    #[test]
    fn of_the_node() {
        let dir = tempfile::tempdir().expect("folder");
        let node = dir.path().join("hosts");
        std::fs::write(&node, "1.2.3.4\tnode\n").expect("write");
        let file = dir.path().join("etc-hosts");
        ensure_hosts_file(&file, &node, &[], ("p", ""), &[], true).expect("written");
        assert_eq!(
            std::fs::read_to_string(&file).expect("read"),
            "# Kubernetes-managed hosts file (host network).\n1.2.3.4\tnode\n"
        );
    }
}

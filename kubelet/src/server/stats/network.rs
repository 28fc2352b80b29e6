//! Interfaces of a network namespace, from /proc. Upstream: cAdvisor.

use super::model::{InterfaceStats, NetworkStats, Time};

const DEFAULT_INTERFACE: &str = "eth0";

/// Interfaces in the format of /proc/net/dev, without those cAdvisor leaves out.
pub(super) fn parse(text: &str) -> Vec<InterfaceStats> {
    const IGNORED: [&str; 5] = ["lo", "veth", "docker", "nerdctl", "cali"];
    text.lines()
        .filter_map(|line| {
            let (name, values) = line.split_once(':')?;
            let name = name.trim();
            if name == "lo" || IGNORED[1..].iter().any(|prefix| name.starts_with(prefix)) {
                return None;
            }
            let values: Vec<u64> = values
                .split_whitespace()
                .filter_map(|value| value.parse().ok())
                .collect();
            let value = |at: usize| values.get(at).copied();
            Some(InterfaceStats {
                name: name.to_owned(),
                rx_bytes: value(0),
                rx_errors: value(2),
                tx_bytes: value(8),
                tx_errors: value(10),
            })
        })
        .collect()
}

fn stats(text: &str, now: Time) -> NetworkStats {
    let interfaces = parse(text);
    let default_interface = interfaces
        .iter()
        .find(|interface| interface.name == DEFAULT_INTERFACE)
        .cloned()
        .unwrap_or_default();
    NetworkStats {
        time: now,
        default_interface,
        interfaces,
    }
}

/// Interfaces a process sees.
pub(super) fn of_process(pid: u32, now: Time) -> Option<NetworkStats> {
    Some(stats(
        &std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?,
        now,
    ))
}

/// Interfaces of the node.
pub(super) fn of_node(now: Time) -> Option<NetworkStats> {
    Some(stats(
        &std::fs::read_to_string("/proc/self/net/dev").ok()?,
        now,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
                    eth0:    2000      20    3    0    0     0          0         0     4000      40    5    0    0     0       0          0\n\
                    vethab12:    1      1    0    0    0     0          0         0        1       1    0    0    0     0       0          0\n";
        let got = stats(text, Time::default());
        assert_eq!(got.interfaces.len(), 1);
        let want = InterfaceStats {
            name: "eth0".to_owned(),
            rx_bytes: Some(2000),
            rx_errors: Some(3),
            tx_bytes: Some(4000),
            tx_errors: Some(5),
        };
        assert_eq!(got.default_interface, want);
    }
}

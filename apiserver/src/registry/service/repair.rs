//! The bitmap of node ports as the Services of the cluster say that it should be.
//! Upstream: pkg/registry/core/service/portallocator/controller/repair.go.

use std::collections::{BTreeMap, HashMap, HashSet};

use api_types::core::v1::Service;
use apimachinery::status::StatusError;
use parking_lot::Mutex;

use super::node_ports::{Bitmap, NodePorts};

/// How often a port has to be found without a Service before it is free: a Service may be on its way.
const LEAKS_BEFORE_CLEANUP: u32 = 3;

/// What is wrong with a port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    NotAllocated,
    Duplicate,
    OutOfRange,
}

/// What was found in former runs.
#[derive(Default)]
pub struct PortRepair {
    /// How often a port may still be found without a Service.
    leaks: BTreeMap<i32, u32>,
}

/// The outcome of one look at all Services.
struct Rebuilt {
    bitmap: Bitmap,
    /// Services by their place, and their ports.
    findings: Vec<(usize, i32, Finding)>,
    leaks: BTreeMap<i32, u32>,
    leaked: Vec<i32>,
}

impl PortRepair {
    /// Makes the bitmap right, but for ports that may be on their way to a Service. What was wrong with which of the Services.
    ///
    /// # Errors
    /// When the bitmap could be neither read nor written.
    pub async fn run(
        &mut self,
        ports: &NodePorts,
        services: &[Service],
    ) -> Result<Vec<(usize, i32, Finding)>, StatusError> {
        let last = Mutex::new(None);
        let repaired = ports.change(|bitmap| {
            let rebuilt = rebuild(bitmap, ports.bounds(), services, &self.leaks);
            bitmap.clone_from(&rebuilt.bitmap);
            *last.lock() = Some(rebuilt);
            Ok(())
        });
        if let Err(error) = repaired.await {
            ports.metrics().repair_failed.inc();
            return Err(error);
        }
        let Some(rebuilt) = last.into_inner() else {
            return Ok(Vec::new());
        };
        let count = |kind: &str| ports.metrics().found.with_label_values(&[kind]).inc();
        for port in rebuilt.leaked {
            count("leak");
            tracing::error!(port, "The node port appears to have leaked: cleaning up");
        }
        for (_, _, finding) in &rebuilt.findings {
            count(match finding {
                Finding::NotAllocated => "repair",
                Finding::Duplicate => "duplicate",
                Finding::OutOfRange => "outOfRange",
            });
        }
        self.leaks = rebuilt.leaks;
        Ok(rebuilt.findings)
    }
}

fn rebuild(
    stored: &Bitmap,
    (first, count): (i32, i32),
    services: &[Service],
    leaks: &BTreeMap<i32, u32>,
) -> Rebuilt {
    let mut rebuilt = Rebuilt {
        bitmap: Bitmap::default(),
        findings: Vec::new(),
        leaks: leaks.clone(),
        leaked: Vec::new(),
    };
    for (index, service) in services.iter().enumerate() {
        for port in node_ports(service) {
            let bit = port - first;
            if bit < 0 || bit >= count {
                rebuilt.findings.push((index, port, Finding::OutOfRange));
            } else if rebuilt.bitmap.has(bit) {
                rebuilt.findings.push((index, port, Finding::Duplicate));
            } else {
                rebuilt.bitmap.set(bit, true);
                rebuilt.leaks.remove(&port);
                if !stored.has(bit) {
                    rebuilt.findings.push((index, port, Finding::NotAllocated));
                }
            }
        }
    }
    for bit in 0..count {
        if !stored.has(bit) || rebuilt.bitmap.has(bit) {
            continue;
        }
        let port = first + bit;
        let left = rebuilt.leaks.get(&port).copied();
        let left = left.unwrap_or(LEAKS_BEFORE_CLEANUP - 1);
        if left > 0 {
            rebuilt.leaks.insert(port, left - 1);
            rebuilt.bitmap.set(bit, true);
        } else {
            rebuilt.leaked.push(port);
        }
    }
    rebuilt
}

/// The node ports of a Service. One that two of its ports have is one if their protocols differ.
fn node_ports(service: &Service) -> Vec<i32> {
    let mut ports = Vec::new();
    let mut seen: HashMap<i32, HashSet<&str>> = HashMap::new();
    for port in &service.spec.ports {
        if port.node_port == 0 {
            continue;
        }
        let protocols = seen.entry(port.node_port).or_default();
        let is_first = protocols.is_empty();
        let is_other = protocols.insert(&port.protocol);
        if is_first || !is_other {
            ports.push(port.node_port);
        }
    }
    let health = service.spec.health_check_node_port;
    let taken = seen.get(&health);
    if health != 0 && taken.is_none_or(|protocols| protocols.contains("TCP")) {
        ports.push(health);
    }
    ports
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ServicePort;

    use super::*;

    const BOUNDS: (i32, i32) = (30000, 100);

    fn service(ports: &[(i32, &str)]) -> Service {
        let mut service = Service::default();
        service.spec.ports = ports
            .iter()
            .map(|(node_port, protocol)| ServicePort {
                node_port: *node_port,
                protocol: (*protocol).to_owned(),
                ..ServicePort::default()
            })
            .collect();
        service
    }

    fn bitmap(ports: &[i32]) -> Bitmap {
        let mut bitmap = Bitmap::default();
        for port in ports {
            bitmap.set(port - BOUNDS.0, true);
        }
        bitmap
    }

    #[test]
    fn services_say_what_is_taken() {
        let services = [
            service(&[(30001, "TCP"), (30001, "UDP"), (30002, "TCP")]),
            service(&[(30002, "TCP"), (40000, "TCP"), (0, "TCP")]),
        ];
        let rebuilt = rebuild(&bitmap(&[30001]), BOUNDS, &services, &BTreeMap::new());
        assert_eq!(rebuilt.bitmap, bitmap(&[30001, 30002]));
        assert_eq!(
            rebuilt.findings,
            [
                (0, 30002, Finding::NotAllocated),
                (1, 30002, Finding::Duplicate),
                (1, 40000, Finding::OutOfRange),
            ]
        );
    }

    #[test]
    fn ports_without_a_service_are_free_the_fourth_time() {
        let stored = bitmap(&[30005]);
        let mut leaks = BTreeMap::new();
        for _ in 0..2 {
            let rebuilt = rebuild(&stored, BOUNDS, &[], &leaks);
            assert_eq!((&rebuilt.bitmap, rebuilt.leaked.len()), (&stored, 0));
            leaks = rebuilt.leaks;
        }
        // One that gets a Service meanwhile is none.
        let used = rebuild(&stored, BOUNDS, &[service(&[(30005, "TCP")])], &leaks);
        assert_eq!((used.findings.len(), used.leaks.len()), (0, 0));
        let rebuilt = rebuild(&stored, BOUNDS, &[], &leaks);
        assert_eq!(rebuilt.leaked, [30005]);
        assert!(!rebuilt.bitmap.has(5));
    }

    #[test]
    fn ports_count_once_per_protocol() {
        let twice = service(&[(30001, "TCP"), (30001, "TCP")]);
        assert_eq!(node_ports(&twice), [30001, 30001]);
        let mut health = service(&[(30001, "UDP")]);
        health.spec.health_check_node_port = 30001;
        assert_eq!(node_ports(&health), [30001]);
        health.spec.health_check_node_port = 30002;
        assert_eq!(node_ports(&health), [30001, 30002]);
    }
}

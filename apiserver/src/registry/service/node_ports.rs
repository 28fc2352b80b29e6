//! Node ports: bits of the RangeAllocation at `ranges/servicenodeports`, which all apiservers of a cluster share.
//! Upstream: pkg/registry/core/service/portallocator and allocator/storage.
//!
//! Every allocation is one transaction on the bitmap. Its bytes are a big-endian number whose bit i is port first+i.

use std::collections::{HashMap, HashSet};

use api_types::core::v1::{RangeAllocation, Service};
use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use component_base::flags::PortRange;
use rand::Rng;

use super::metrics::{PortMetrics, Scope};
use crate::registry::errors::plain;
use crate::storage::{Current, Storage, Update, UpdateError, UpdateOptions};

/// The port before the first that a dry run makes up.
const NO_PORT: i32 = 32_767;

/// The node ports of a cluster.
#[derive(Clone)]
pub struct NodePorts {
    storage: Storage,
    first: i32,
    count: i32,
    metrics: PortMetrics,
}

/// A port could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Taken,
    OutOfRange,
    Full,
}

/// The bitmap, least significant bit first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bitmap(Vec<u8>);

impl Bitmap {
    fn from_big_endian(bytes: &[u8]) -> Bitmap {
        Bitmap(bytes.iter().rev().copied().collect())
    }

    fn to_big_endian(&self) -> Vec<u8> {
        let end = self
            .0
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        self.0[..end].iter().rev().copied().collect()
    }

    pub(super) fn has(&self, bit: i32) -> bool {
        let (byte, bit) = (bit as usize / 8, bit as usize % 8);
        self.0
            .get(byte)
            .is_some_and(|value| value & (1 << bit) != 0)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    pub(super) fn set(&mut self, bit: i32, on: bool) {
        let (byte, bit) = (bit as usize / 8, bit as usize % 8);
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        if on {
            self.0[byte] |= 1 << bit;
        } else {
            self.0[byte] &= !(1 << bit);
        }
    }
}

impl NodePorts {
    pub fn new(storage: Storage, range: PortRange, metrics: PortMetrics) -> NodePorts {
        NodePorts {
            storage,
            first: i32::from(range.base),
            count: i32::try_from(range.size).unwrap_or(0),
            metrics,
        }
    }

    pub(super) fn metrics(&self) -> &PortMetrics {
        &self.metrics
    }

    /// The first port and how many there are.
    pub(super) fn bounds(&self) -> (i32, i32) {
        (self.first, self.count)
    }

    /// As flags have it.
    pub fn range(&self) -> String {
        format!("{}-{}", self.first, self.first + self.count - 1)
    }

    /// The lower part that is kept for ports people ask for.
    fn static_band(&self) -> i32 {
        if self.count <= 16 {
            0
        } else {
            (self.count / 32).clamp(16, 128)
        }
    }

    /// Changes the bitmap in one transaction.
    pub(super) async fn change<T: Clone + Send>(
        &self,
        edit: impl Fn(&mut Bitmap) -> Result<T, Refused> + Send + Sync,
    ) -> Result<Result<T, Refused>, StatusError> {
        let key = self
            .storage
            .key("", "servicenodeports")
            .map_err(status::internal)?;
        let options = UpdateOptions {
            ignore_not_found: true,
            ..UpdateOptions::default()
        };
        let outcome = parking_lot::Mutex::new(None);
        let range = self.range();
        let result = self
            .storage
            .guaranteed_update(&key, options, |current: Current| {
                let mut allocation = current
                    .object
                    .and_then(|object| {
                        let envelope = api_types::decode_envelope(&object.value).ok()?;
                        api_types::decode_protobuf::<RangeAllocation>(envelope.raw).ok()
                    })
                    .unwrap_or_default();
                let mut bitmap = Bitmap::from_big_endian(&allocation.data.0);
                let edited = edit(&mut bitmap);
                allocation.range.clone_from(&range);
                allocation.data.0 = bitmap.to_big_endian();
                let refused = edited.is_err();
                *outcome.lock() = Some((edited, bitmap.count()));
                let update = if refused {
                    Update::Unchanged
                } else {
                    Update::Write {
                        value: api_types::encode_envelope(&allocation).into(),
                        ttl: None,
                    }
                };
                // What is refused on an absent map writes nothing either.
                std::future::ready(if refused { Err(()) } else { Ok(update) })
            })
            .await;
        match result {
            Ok(_) | Err(UpdateError::Rejected(())) => {
                let (edited, used) = outcome
                    .into_inner()
                    .ok_or_else(|| status::internal("node port allocation did not run"))?;
                if edited.is_ok() {
                    self.metrics.set(used, self.count as usize);
                }
                Ok(edited)
            }
            Err(UpdateError::Storage(error)) => Err(status::internal(error)),
        }
    }

    async fn allocate(
        &self,
        port: i32,
        dry_run: bool,
    ) -> Result<Result<i32, Refused>, StatusError> {
        let bit = port - self.first;
        let outside = bit < 0 || bit >= self.count;
        if outside && !dry_run {
            return Ok(Err(Refused::OutOfRange));
        }
        // A dry run does not mind ports that could not be had, as upstream.
        if dry_run {
            return Ok(if !outside && self.current().await?.has(bit) {
                Err(Refused::Taken)
            } else {
                Ok(port)
            });
        }
        self.change(|bitmap| {
            if bitmap.has(bit) {
                return Err(Refused::Taken);
            }
            bitmap.set(bit, true);
            Ok(port)
        })
        .await
    }

    async fn allocate_any(
        &self,
        taken: &[i32],
        dry_run: bool,
    ) -> Result<Result<i32, Refused>, StatusError> {
        // What a dry run shows is a port that nobody has, as upstream.
        if dry_run {
            let last = taken.iter().copied().max().unwrap_or(NO_PORT);
            return Ok(Ok(last + 1));
        }
        let (band, count, first) = (self.static_band(), self.count, self.first);
        let choose = move |bitmap: &Bitmap| {
            for (start, end) in [(band, count), (0, band)] {
                if start >= end {
                    continue;
                }
                let offset = rand::rng().random_range(start..end);
                if let Some(bit) = (offset..end)
                    .chain(start..offset)
                    .find(|bit| !bitmap.has(*bit))
                {
                    return Ok(bit);
                }
            }
            Err(Refused::Full)
        };
        self.change(|bitmap| {
            let bit = choose(bitmap)?;
            bitmap.set(bit, true);
            Ok(first + bit)
        })
        .await
    }

    async fn current(&self) -> Result<Bitmap, StatusError> {
        let key = self
            .storage
            .key("", "servicenodeports")
            .map_err(status::internal)?;
        match self.storage.get(&key, "").await {
            Ok(object) => {
                let envelope =
                    api_types::decode_envelope(&object.value).map_err(status::internal)?;
                let allocation: RangeAllocation =
                    api_types::decode_protobuf(envelope.raw).map_err(status::internal)?;
                Ok(Bitmap::from_big_endian(&allocation.data.0))
            }
            Err(error) if error.is_not_found() => Ok(Bitmap::default()),
            Err(error) => Err(status::internal(error)),
        }
    }

    /// Gives ports back.
    pub async fn release(&self, ports: &[i32]) -> Result<(), StatusError> {
        let bits: Vec<i32> = ports
            .iter()
            .map(|port| port - self.first)
            .filter(|bit| (0..self.count).contains(bit))
            .collect();
        let _ = self
            .change(|bitmap| {
                bits.iter().for_each(|bit| bitmap.set(*bit, false));
                Ok(())
            })
            .await?;
        Ok(())
    }

    fn refused(&self, service: &Service, index: usize, port: i32, refused: Refused) -> StatusError {
        let detail = match refused {
            Refused::Taken => "provided port is already allocated".to_owned(),
            Refused::OutOfRange => format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                self.range()
            ),
            Refused::Full => {
                return status::internal("failed to allocate a nodePort: range is full");
            }
        };
        let path = Path::new("spec")
            .child("ports")
            .index(index)
            .child("nodePort");
        let errors = field::invalid(&path, i64::from(port), detail).into();
        status::invalid(
            &GroupKind {
                group: String::new(),
                kind: "Service".to_owned(),
            },
            &service.metadata.name,
            &errors,
        )
    }

    fn counted(&self, asked: i32, success: bool, dry_run: bool) {
        let scope = if asked == 0 {
            Scope::Dynamic
        } else {
            Scope::Static
        };
        if !dry_run {
            self.metrics.counted(scope, success);
        }
    }

    /// Takes a port for a Service's port `index`.
    async fn take(
        &self,
        service: &Service,
        index: usize,
        port: i32,
        taken: &mut Vec<i32>,
        dry_run: bool,
    ) -> Result<i32, StatusError> {
        let got = if port == 0 {
            self.allocate_any(taken, dry_run).await?
        } else if taken.contains(&port) {
            Err(Refused::Taken)
        } else {
            self.allocate(port, dry_run).await?
        };
        self.counted(port, got.is_ok(), dry_run);
        let got = got.map_err(|why| self.refused(service, index, port, why))?;
        taken.push(got);
        Ok(got)
    }

    /// Gives every port of a new Service a node port. Ports of one number, for two protocols, share theirs.
    pub async fn assign_new(
        &self,
        service: &mut Service,
        taken: &mut Vec<i32>,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        let any = allocates_any(service);
        let mut assigned: HashMap<i32, i32> = HashMap::new();
        for index in 0..service.spec.ports.len() {
            let (port, asked) = port_at(service, index);
            if asked == 0 && !any {
                continue;
            }
            let got = match assigned.get(&port) {
                Some(shared) if asked == 0 || asked == *shared => *shared,
                Some(_) => self.take(service, index, asked, taken, dry_run).await?,
                None => {
                    let ports = &service.spec.ports;
                    let wanted = ports
                        .iter()
                        .find(|other| other.port == port && other.node_port != 0)
                        .map_or(0, |other| other.node_port);
                    let got = self.take(service, index, wanted, taken, dry_run).await?;
                    assigned.insert(port, got);
                    got
                }
            };
            service.spec.ports[index].node_port = got;
        }
        Ok(())
    }

    /// Gives every port of a changed Service a node port. `held` are those it has already.
    pub async fn assign_changed(
        &self,
        service: &mut Service,
        held: &[i32],
        taken: &mut Vec<i32>,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        let any = allocates_any(service);
        let mut seen: HashSet<(String, i32)> = HashSet::new();
        for index in 0..service.spec.ports.len() {
            let (_, mut port) = port_at(service, index);
            if port == 0 && !any {
                continue;
            }
            if port == 0 || !held.contains(&port) && !taken.contains(&port) {
                port = self.take(service, index, port, taken, dry_run).await?;
                service.spec.ports[index].node_port = port;
            }
            let protocol = service.spec.ports[index].protocol.clone();
            if !seen.insert((protocol.clone(), port)) {
                return Err(plain(format!("duplicate nodePort: {{{protocol} {port}}}")));
            }
        }
        Ok(())
    }

    /// Gives a Service the port its health is checked at.
    pub async fn assign_health_check(
        &self,
        service: &mut Service,
        taken: &mut Vec<i32>,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        let asked = service.spec.health_check_node_port;
        let got = if asked != 0 {
            self.allocate(asked, dry_run).await?
        } else {
            self.allocate_any(taken, dry_run).await?
        };
        self.counted(asked, got.is_ok(), dry_run);
        let port = got.map_err(|why| {
            let detail = match why {
                Refused::Taken => "provided port is already allocated",
                Refused::OutOfRange => "provided port is not in the valid range",
                Refused::Full => "range is full",
            };
            status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {asked}: {detail}"
            ))
        })?;
        service.spec.health_check_node_port = port;
        taken.push(port);
        Ok(())
    }
}

/// Whether ports that ask for none get one.
fn allocates_any(service: &Service) -> bool {
    let spec = &service.spec;
    spec.type_ == "NodePort" || spec.allocate_load_balancer_node_ports.unwrap_or(true)
}

/// A port's number and its node port.
fn port_at(service: &Service, index: usize) -> (i32, i32) {
    let port = &service.spec.ports[index];
    (port.port, port.node_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitmap_is_a_big_endian_number() {
        let mut bitmap = Bitmap::default();
        bitmap.set(0, true);
        bitmap.set(9, true);
        assert_eq!(bitmap.to_big_endian(), [0x02, 0x01]);
        assert!(Bitmap::from_big_endian(&[0x02, 0x01]).has(9));
        bitmap.set(9, false);
        assert_eq!(bitmap.to_big_endian(), [0x01]);
    }
}

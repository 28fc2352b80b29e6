//! Which priority levels there are and how many seats each has. Upstream: util/flowcontrol/apf_controller.go.
//!
//! Everything is made anew from all objects when one of them changes; the queues of levels stay. A level whose object is gone
//! lives until it is idle. Every [`BORROWING_PERIOD`] seats move to where they are needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use component_base::auth::UserInfo;
use http::HeaderValue;

use super::allocation::{Claim, allocate};
use super::classify::Classifier;
use super::level::{Level, Shared};
use super::queue_set::{Distinguisher, Queuing};
use super::shuffle::Dealer;
use super::stats::DemandSummary;
use crate::hooks::flow_control::{mandatory_flow_schema, mandatory_priority_level};
use crate::request::RequestInfo;

pub(crate) const BORROWING_PERIOD: Duration = Duration::from_secs(10);

/// The demand is smoothed with a half-life of five minutes.
const SMOOTHING: f64 = 0.977;

/// A request takes no more than this part of its level's seats.
const MAX_SEATS_PART: f64 = 0.15;

const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";

/// What requests are classified by. Made anew for every change, never changed itself.
pub(crate) struct Compiled {
    classifier: Classifier,
    schemas: Vec<Arc<Schema>>,
    catch_all: Arc<Schema>,
}

/// A flow schema and its level.
pub struct Schema {
    pub(crate) name: String,
    pub(crate) uid: HeaderValue,
    pub(crate) level_uid: HeaderValue,
    pub(crate) level: Arc<Level>,
    /// The place of its numbers in the level.
    pub(crate) place: u32,
    pub(crate) distinguisher: Distinguisher,
    /// The level has more than one queue: the flow matters.
    pub(crate) sharded: bool,
    /// The most seats a request can take; None where the level says nothing.
    pub(crate) max_seats: Option<u32>,
}

impl Compiled {
    pub(crate) fn classify(&self, user: &UserInfo, info: &RequestInfo) -> &Arc<Schema> {
        match self.classifier.classify(user, info) {
            Some(at) => &self.schemas[at],
            // Everybody is in a group that the last schema names, or should be.
            None => &self.catch_all,
        }
    }
}

/// The levels of a server.
pub(crate) struct Control {
    shared: Arc<Shared>,
    /// Seats of the whole server.
    total: u32,
    pub(crate) levels: BTreeMap<String, Managed>,
    nominal_sum: u32,
    /// The part of its target that each level gets, of those that are not held by a bound.
    pub(crate) fair_fraction: f64,
}

/// A level and its seats.
pub(crate) struct Managed {
    pub(crate) level: Arc<Level>,
    object: PriorityLevelConfiguration,
    queuing: Queuing,
    pub(crate) quiescing: bool,
    pub(crate) nominal: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) current: u32,
    pub(crate) demand: DemandSummary,
    pub(crate) smoothed: f64,
    pub(crate) target: f64,
}

impl Managed {
    fn is_exempt(&self) -> bool {
        self.queuing == Queuing::Exempt
    }

    /// Nominal shares, and how much of the seats may be lent and borrowed in percent.
    fn shares(&self) -> (i32, Option<i32>, Option<i32>) {
        let spec = &self.object.spec;
        if let Some(limited) = &spec.limited {
            return (
                limited.nominal_concurrency_shares.unwrap_or(0),
                limited.lendable_percent,
                limited.borrowing_limit_percent,
            );
        }
        let exempt = spec.exempt.as_deref();
        let shares = exempt.and_then(|exempt| exempt.nominal_concurrency_shares);
        let lendable = exempt.and_then(|exempt| exempt.lendable_percent);
        (shares.unwrap_or(0), lendable, None)
    }

    /// The least it keeps for now: what it used lately, within what is its own.
    fn least(&self) -> u32 {
        let used = self.demand.max.round() as u32;
        if self.is_exempt() {
            self.min.max(used)
        } else {
            self.min.max(self.nominal.min(used))
        }
    }

    fn note_demand(&mut self, demand: DemandSummary) {
        if demand.seconds <= 0.0 {
            self.demand.max = demand.max;
            return;
        }
        let envelope = demand.average + demand.deviation;
        self.demand = demand;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }

    fn max_seats(&self) -> Option<u32> {
        let limited = self.object.spec.limited.as_deref()?;
        let queuing = limited.limit_response.queuing.as_deref()?;
        let part = (f64::from(self.nominal) * MAX_SEATS_PART).ceil() as u32;
        let hand = u32::try_from(queuing.hand_size).unwrap_or(1).max(1);
        Some(part.min(self.nominal / hand).max(1))
    }
}

impl Control {
    /// One with only the mandatory levels.
    pub(crate) fn new(total: u32, shared: Arc<Shared>) -> (Control, Compiled) {
        let mut control = Control {
            shared,
            total,
            levels: BTreeMap::new(),
            nominal_sum: 0,
            fair_fraction: 0.0,
        };
        let compiled = control.digest(&BTreeMap::new(), &BTreeMap::new());
        (control, compiled)
    }

    /// Takes all objects as they are now.
    pub(crate) fn digest(
        &mut self,
        schemas: &BTreeMap<String, FlowSchema>,
        levels: &BTreeMap<String, PriorityLevelConfiguration>,
    ) -> Compiled {
        let mut old = std::mem::take(&mut self.levels);
        for (name, object) in levels {
            match queuing_of(object) {
                Some(queuing) => self.take_level(&mut old, object.clone(), queuing, false),
                None => tracing::warn!(
                    priority_level = name,
                    "A PriorityLevelConfiguration is ignored because its spec is broken"
                ),
            }
        }
        let mut ordered: Vec<FlowSchema> = schemas
            .values()
            .filter(|schema| {
                let level = &schema.spec.priority_level_configuration.name;
                self.levels.contains_key(level)
            })
            .cloned()
            .collect();
        ordered.sort_by(|a, b| {
            let key = |schema: &FlowSchema| schema.spec.matching_precedence;
            (key(a), &a.metadata.name).cmp(&(key(b), &b.metadata.name))
        });
        // Levels that are not wanted any more.
        let mandatory = [EXEMPT, CATCH_ALL];
        for (name, managed) in std::mem::take(&mut old) {
            let keep = mandatory.contains(&name.as_str());
            if !keep && managed.level.lock().is_idle() {
                continue;
            }
            let (object, queuing) = (managed.object.clone(), managed.queuing);
            let mut one = BTreeMap::from([(name, managed)]);
            self.take_level(&mut one, object, queuing, !keep);
        }
        for name in mandatory {
            if !self.levels.contains_key(name)
                && let Some(object) = mandatory_priority_level(name)
                && let Some(queuing) = queuing_of(&object)
            {
                self.take_level(&mut BTreeMap::new(), object, queuing, false);
            }
        }
        let has = |name: &str| ordered.iter().any(|schema| schema.metadata.name == name);
        let (has_exempt, has_catch_all) = (has(EXEMPT), has(CATCH_ALL));
        if !has_exempt && let Some(schema) = mandatory_flow_schema(EXEMPT) {
            ordered.insert(0, schema);
        }
        if !has_catch_all && let Some(schema) = mandatory_flow_schema(CATCH_ALL) {
            ordered.push(schema);
        }
        self.divide();
        self.lend(false);
        self.compile(&ordered)
    }

    /// Puts a level among those in force, with the queues it had.
    fn take_level(
        &mut self,
        old: &mut BTreeMap<String, Managed>,
        object: PriorityLevelConfiguration,
        queuing: Queuing,
        quiescing: bool,
    ) {
        let name = object.metadata.name.clone();
        let managed = match old.remove(&name) {
            Some(managed) => Managed {
                object,
                queuing,
                quiescing,
                ..managed
            },
            None => Managed {
                level: Level::new(&name, &self.shared),
                object,
                queuing,
                quiescing,
                nominal: 0,
                min: 0,
                max: 0,
                // Until the first division.
                current: u32::MAX,
                demand: DemandSummary::default(),
                smoothed: 0.0,
                target: 0.0,
            },
        };
        self.levels.insert(name, managed);
    }

    /// Divides the server's seats by nominal shares. Fractions are rounded up: the sum may be a little more.
    fn divide(&mut self) {
        let shares = self.levels.values().map(|managed| managed.shares().0);
        let sum: f64 = shares.map(f64::from).sum();
        let percent = |seats: u32, percent: i32| {
            (f64::from(seats) * f64::from(percent) / 100.0).round() as u32
        };
        for managed in self.levels.values_mut() {
            let (shares, lendable, borrowing) = managed.shares();
            let nominal = f64::from(self.total) * f64::from(shares) / sum.max(1.0);
            let nominal = nominal.ceil() as u32;
            let lendable = lendable.map_or(0, |lendable| percent(nominal, lendable));
            let borrowing = borrowing.map_or(self.total, |limit| percent(nominal, limit));
            managed.nominal = nominal;
            managed.min = nominal.saturating_sub(lendable);
            managed.max = nominal + borrowing;
            if managed.current == u32::MAX {
                managed.current = nominal - lendable / 2;
            }
        }
        self.nominal_sum = self.levels.values().map(|managed| managed.nominal).sum();
    }

    /// Gives each level seats by its demand since the last time.
    pub(crate) fn lend(&mut self, periodic: bool) {
        for managed in self.levels.values_mut() {
            let demand = managed.level.lock_synced().stats.demand.take();
            managed.note_demand(demand);
        }
        // Exempt levels take what they need.
        let mut remaining = i64::from(self.nominal_sum);
        let (mut min_sum, mut least_sum) = (0i64, 0i64);
        let mut claims = Vec::new();
        for managed in self.levels.values_mut() {
            let least = managed.least();
            managed.target = f64::from(least).max(managed.smoothed);
            if managed.is_exempt() {
                remaining -= i64::from(least);
                continue;
            }
            min_sum += i64::from(managed.min);
            least_sum += i64::from(least);
            claims.push(Claim {
                lower: f64::from(least),
                upper: f64::from(managed.max),
                target: managed.target,
            });
        }
        let mut shares: Option<Vec<f64>> = None;
        self.fair_fraction = 0.0;
        let part = if remaining <= min_sum {
            0.0
        } else if remaining <= least_sum {
            (remaining - min_sum) as f64 / (least_sum - min_sum) as f64
        } else {
            match allocate(self.nominal_sum, &claims) {
                Some((found, fraction)) => {
                    self.fair_fraction = fraction;
                    shares = Some(found);
                }
                None => {
                    tracing::error!("Seats cannot be divided among priority levels");
                    let limited = self.levels.values().filter(|managed| !managed.is_exempt());
                    shares = Some(limited.map(|level| f64::from(level.current)).collect());
                }
            }
            0.0
        };
        let mut shares = shares.map(Vec::into_iter);
        for (name, managed) in &mut self.levels {
            let least = managed.least();
            let current = if managed.is_exempt() {
                least
            } else if let Some(share) = shares.as_mut().and_then(Iterator::next) {
                share.round() as u32
            } else {
                let above = f64::from(least.saturating_sub(managed.min));
                managed.min + (above * part).round() as u32
            };
            if periodic && current != managed.current {
                tracing::debug!(
                    priority_level = name,
                    current,
                    before = managed.current,
                    "A priority level's seats change"
                );
            }
            managed.current = current;
            let denominator = if current > 0 {
                current
            } else {
                (f64::from(self.total) / 10.0).round().max(1.0) as u32
            };
            let mut queues = managed.level.lock();
            let now = queues.now;
            queues.quiescing = managed.quiescing;
            queues.configure(now, managed.queuing, current, denominator);
        }
    }

    fn compile(&self, schemas: &[FlowSchema]) -> Compiled {
        let in_use = |name: &str| schemas.iter().any(|schema| schema.metadata.name == name);
        let compiled: Vec<Arc<Schema>> = schemas
            .iter()
            .filter_map(|schema| {
                let level = &schema.spec.priority_level_configuration.name;
                let managed = self.levels.get(level)?;
                let method = schema.spec.distinguisher_method.as_deref();
                let queues = match managed.queuing {
                    Queuing::Queue { queues, .. } => queues,
                    Queuing::Exempt | Queuing::Reject => 0,
                };
                let sharded = queues > 1;
                Some(Arc::new(Schema {
                    name: schema.metadata.name.clone(),
                    uid: header(&schema.metadata.uid),
                    level_uid: header(&managed.object.metadata.uid),
                    place: managed.level.lock().schema(&schema.metadata.name, in_use),
                    level: managed.level.clone(),
                    distinguisher: match method.map(|method| method.type_.as_str()) {
                        Some("ByUser") if sharded => Distinguisher::ByUser,
                        Some("ByNamespace") if sharded => Distinguisher::ByNamespace,
                        _ => Distinguisher::None,
                    },
                    sharded,
                    max_seats: managed.max_seats(),
                }))
            })
            .collect();
        let catch_all = compiled.iter().find(|schema| schema.name == CATCH_ALL);
        let catch_all = catch_all.or(compiled.last());
        Compiled {
            classifier: Classifier::new(schemas.iter()),
            catch_all: catch_all.expect("there are mandatory schemas").clone(),
            schemas: compiled,
        }
    }
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What a level does with requests. None when its object makes no sense.
fn queuing_of(object: &PriorityLevelConfiguration) -> Option<Queuing> {
    let spec = &object.spec;
    let exempt = spec.type_ == "Exempt";
    // No level becomes exempt or ceases to be.
    if exempt != (object.metadata.name == EXEMPT) || exempt != spec.exempt.is_some() {
        return None;
    }
    if (spec.type_ == "Limited") != spec.limited.is_some() {
        return None;
    }
    let Some(limited) = &spec.limited else {
        return exempt.then_some(Queuing::Exempt);
    };
    let response = &limited.limit_response;
    match &response.queuing {
        None => (response.type_ == "Reject").then_some(Queuing::Reject),
        Some(_) if response.type_ == "Reject" => None,
        Some(queuing) => Some(Queuing::Queue {
            queues: usize::try_from(queuing.queues).ok()?,
            dealer: Dealer::new(queuing.queues, queuing.hand_size)?,
            length_limit: usize::try_from(queuing.queue_length_limit).ok()?,
        }),
    }
}

#[cfg(test)]
mod tests;

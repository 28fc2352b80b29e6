//! Who should hold a Lease, by what its candidates say of themselves, and what is to be done now to get there. All of it follows from
//! the Lease, its LeaseCandidates and the time; nothing is remembered between two steps.
//! Upstream: election.go and reconcileElectionStep of pkg/controlplane/controller/leaderelection; KEP-4355.

use std::cmp::Ordering;
use std::time::Duration;

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use api_types::coordination::v1beta1::LeaseCandidate;
use apimachinery::quote::quote;
use cel::Semver;

/// The strategy that is decided here.
pub(super) const OLDEST_EMULATION_VERSION: &str = "OldestEmulationVersion";
/// How long candidates have to answer a ping.
pub(super) const ELECTION: Duration = Duration::from_secs(5);
/// A candidate that has not renewed itself for so long is none.
const VALID: Duration = Duration::from_secs(30 * 60);
/// How long a Lease lasts that a candidate was given and has not renewed yet.
const LEASE_SECONDS: i32 = 5;

/// What is to be done about a Lease.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing, as long as nothing changes.
    Rest,
    /// The Lease is to be looked at again.
    Watch,
    /// These candidates, by their place, are to say that they are alive.
    Ping(Vec<usize>),
    Elect(Election),
}

/// The outcome of an election.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Election {
    pub(super) strategy: String,
    /// Nobody where the strategy is somebody else's.
    pub(super) holder: Option<String>,
}

/// Why an election cannot go on.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    pub(super) why: String,
    /// Whether the Lease is to be looked at again, although nothing has changed.
    pub(super) watch: bool,
}

fn after(time: MicroTime, duration: Duration) -> i64 {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    time.unix_micros().saturating_add(micros)
}

/// Whether a Lease was not renewed in its time.
pub(super) fn is_expired(lease: &Lease, now: MicroTime) -> bool {
    let (Some(renewed), Some(seconds)) = (lease.spec.renew_time, lease.spec.lease_duration_seconds)
    else {
        return true;
    };
    let seconds = i64::from(seconds).saturating_mul(1_000_000);
    renewed.unix_micros().saturating_add(seconds) < now.unix_micros()
}

/// Whether a candidate counts no more.
pub(super) fn is_candidate_expired(candidate: &LeaseCandidate, now: MicroTime) -> bool {
    let renewed = candidate.spec.renew_time;
    renewed.is_none_or(|renewed| after(renewed, VALID) < now.unix_micros())
}

/// Whether a candidate has been pinged and has not answered.
pub(super) fn is_pending(candidate: &LeaseCandidate) -> bool {
    match (candidate.spec.ping_time, candidate.spec.renew_time) {
        (Some(pinged), Some(renewed)) => renewed < pinged,
        _ => false,
    }
}

/// Its emulation version and its binary version, where it has both.
fn versions(candidate: &LeaseCandidate) -> Option<(Semver, Semver)> {
    let spec = &candidate.spec;
    Some((
        Semver::parse_tolerant(&spec.emulation_version)?,
        Semver::parse_tolerant(&spec.binary_version)?,
    ))
}

/// The candidate with the oldest emulation version; of those the one with the oldest binary, and of those the first.
pub(super) fn best<'a>(
    candidates: impl IntoIterator<Item = &'a LeaseCandidate>,
) -> Option<&'a LeaseCandidate> {
    let with_versions = candidates
        .into_iter()
        .filter_map(|candidate| Some((versions(candidate)?, candidate)));
    let first = with_versions.reduce(|best, other| {
        let created = |candidate: &LeaseCandidate| candidate.metadata.creation_timestamp;
        let order = (best.0.0.cmp(&other.0.0))
            .then_with(|| best.0.1.cmp(&other.0.1))
            .then_with(|| created(best.1).cmp(&created(other.1)));
        if order == Ordering::Greater {
            other
        } else {
            best
        }
    });
    first.map(|(_, candidate)| candidate)
}

/// The strategy of the candidates with the newest binary, who must be of one mind.
pub(super) fn strategy<'a>(
    candidates: impl IntoIterator<Item = &'a LeaseCandidate>,
) -> Result<&'a str, String> {
    // One that cannot be read is older than all.
    let binary =
        |candidate: &LeaseCandidate| Semver::parse_tolerant(&candidate.spec.binary_version);
    let mut candidates = candidates.into_iter();
    let mut newest = candidates.next().ok_or("no candidates")?;
    for candidate in candidates {
        let order = match (binary(newest), binary(candidate)) {
            (Some(newest), Some(other)) => newest.cmp(&other),
            (newest, other) => newest.is_some().cmp(&other.is_some()),
        };
        let (known, other) = (&newest.spec.strategy, &candidate.spec.strategy);
        match order {
            Ordering::Less => newest = candidate,
            Ordering::Equal if known != other => {
                return Err(format!(
                    "candidates {}, {} at same binary version but received differing strategies {known}, {other}",
                    quote(&newest.metadata.name),
                    quote(&candidate.metadata.name),
                ));
            }
            _ => {}
        }
    }
    Ok(&newest.spec.strategy)
}

fn is_needed(
    candidates: &[LeaseCandidate],
    lease: Option<&Lease>,
    now: MicroTime,
) -> Result<bool, String> {
    let Some(lease) = lease else { return Ok(true) };
    let holder = lease.spec.holder_identity.as_deref().unwrap_or_default();
    if is_expired(lease, now) || holder.is_empty() {
        return Ok(true);
    }
    // Candidates have to renew themselves long before they expire.
    let is_old = |candidate: &LeaseCandidate| {
        let renewed = candidate.spec.renew_time;
        renewed.is_some_and(|renewed| after(renewed, VALID / 2) < now.unix_micros())
    };
    if candidates.iter().any(is_old) {
        return Ok(true);
    }
    if strategy(candidates)? != OLDEST_EMULATION_VERSION {
        return Ok(false);
    }
    Ok(best(candidates).is_some_and(|best| best.metadata.name != holder))
}

/// What to do about a Lease with these candidates, of which none has expired.
pub(super) fn step(
    candidates: &[LeaseCandidate],
    lease: Option<&Lease>,
    now: MicroTime,
) -> Result<Step, Failed> {
    if candidates.is_empty() {
        return Ok(Step::Rest);
    }
    let watch = |why: String| Failed { why, watch: true };
    if !is_needed(candidates, lease, now).map_err(watch)? {
        return Ok(Step::Watch);
    }
    let moment = now.unix_micros();
    let is_recent =
        |time: Option<MicroTime>| time.is_some_and(|time| after(time, ELECTION) > moment);
    let (mut to_ping, mut waits) = (Vec::new(), false);
    for (index, candidate) in candidates.iter().enumerate() {
        let pinged = candidate.spec.ping_time;
        if is_recent(pinged) && is_pending(candidate) {
            waits = true;
        } else if !is_recent(candidate.spec.renew_time)
            && pinged
                .is_none_or(|pinged| after(pinged, ELECTION) < moment && !is_pending(candidate))
        {
            to_ping.push(index);
        }
    }
    if !to_ping.is_empty() {
        return Ok(Step::Ping(to_ping));
    }
    if waits {
        return Ok(Step::Watch);
    }
    let acked = || {
        let candidates = candidates.iter();
        candidates.filter(|candidate| is_recent(candidate.spec.renew_time))
    };
    let rest = |why: String| Failed { why, watch: false };
    if acked().next().is_none() {
        return Err(rest("no available candidates".to_owned()));
    }
    let strategy = strategy(acked()).map_err(rest)?;
    let holder = match strategy {
        OLDEST_EMULATION_VERSION => {
            let best = best(acked()).ok_or_else(|| {
                rest("should not happen, could not find suitable electee".to_owned())
            })?;
            Some(best.metadata.name.clone())
        }
        _ => None,
    };
    Ok(Step::Elect(Election {
        strategy: strategy.to_owned(),
        holder,
    }))
}

impl Election {
    /// The Lease that is made where there was none.
    pub(super) fn lease(&self, namespace: &str, name: &str, now: MicroTime) -> Lease {
        let mut lease = Lease::default();
        name.clone_into(&mut lease.metadata.name);
        namespace.clone_into(&mut lease.metadata.namespace);
        lease.spec.strategy = Some(self.strategy.clone());
        lease.spec.lease_duration_seconds = Some(LEASE_SECONDS);
        lease.spec.renew_time = Some(now);
        lease.spec.holder_identity = self.holder.clone();
        lease
    }

    /// Changes the Lease that there is; a holder who is alive is asked to leave. Says whether there was something to change.
    pub(super) fn change(&self, lease: &mut Lease, now: MicroTime) -> bool {
        let before = lease.spec.clone();
        let expired = is_expired(lease, now);
        let spec = &mut lease.spec;
        if spec.strategy.as_ref() != Some(&self.strategy) {
            spec.strategy = Some(self.strategy.clone());
        }
        if let Some(holder) = &self.holder {
            let held_by = spec.holder_identity.as_deref().unwrap_or_default();
            if held_by.is_empty() || expired && held_by != holder {
                spec.preferred_holder = None;
                spec.holder_identity = Some(holder.clone());
                spec.renew_time = Some(now);
                spec.lease_duration_seconds = Some(LEASE_SECONDS);
                spec.acquire_time = None;
            } else if held_by != holder {
                spec.preferred_holder = Some(holder.clone());
            }
        }
        *spec != before
    }
}

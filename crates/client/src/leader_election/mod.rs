//! One active instance among many, by a Lease. Upstream: `client-go/tools/leaderelection`.
//!
//! A candidate takes the Lease when it is free or its holder has not renewed it for the time the Lease says. That time is measured
//! on the candidate's own clock from the moment it *saw* the record change; clocks of different machines are never compared, so
//! their difference does not matter, only their speed. The leader renews every `retry_period`; when it has not managed to for
//! `renew_deadline` it stops, before anyone else may start. This prevents two leaders only as far as a stopped leader's requests
//! do not arrive late: what must not be done twice needs the API's own conflict checks as well.

mod elector;
mod lease_lock;
mod metrics;

pub use elector::{
    LeaderElectionConfig, LeaderElectionError, LeaderElector, LeaderStatus, Outcome,
};
pub use lease_lock::Leases;
pub use metrics::LeaderElectionMetrics;

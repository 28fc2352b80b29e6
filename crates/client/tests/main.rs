//! The client against servers that misbehave, in one process.
//!
//! `fake_server` stands in for the API server behind the client's transport: no sockets, so the clock can be paused and backoffs
//! cost nothing. `transport` has real sockets and TLS, `live` a real API server if one is named.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected should stop there"
)]

mod fake_server;
mod informers;
mod leader_election;
mod live;
mod recorder;
mod requests;
mod transport;

//! What needs more than one part of the crate, or a process or a server of its own.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

/// `run::main_with` in a process: exit codes, usage, signals.
mod daemon;
/// Delegated authentication and authorization against a server that plays the apiserver.
mod delegated;

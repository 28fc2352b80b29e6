//! Hostile input for every decoder, patch and parser that a client or a peer can reach.
//!
//! A [`Target`] is a row: seeds, a dictionary, and a check that says what must hold for any bytes. [`run`] makes inputs of
//! the seeds, runs the check under limits of stack, time and memory, and makes what fails small.

// What is checked.
pub mod target;
pub mod targets;

// What it is checked with.
mod fill;
pub mod input;
mod tree;

// How it is checked.
mod limits;
pub mod run;

pub use run::{Failure, Summary, run};
pub use target::{Case, Outcome, Target, Verdict};

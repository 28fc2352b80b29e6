//! Tests of the crate as its users see it.

#![expect(clippy::unwrap_used, reason = "tests may")]

mod lazy;
mod limits;
mod reference;

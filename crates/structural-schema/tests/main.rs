//! Whole schemas and objects, compared with what upstream's implementation says, and with chance.

mod chance;
mod reference;

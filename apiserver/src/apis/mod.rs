//! What each built-in kind demands of its objects: defaults, validation and write strategies. Upstream: pkg/apis and pkg/registry.
//!
//! Nothing here reads or writes storage. Defaults are a table over types (`defaults`), since a type is defaulted wherever
//! it occurs; validation is a pair of pure functions per kind (`validation`); strategies put both into the order of a
//! write (`strategies`). What the process's flags say about the rules is in `gates`.

pub mod defaults;
pub mod gates;
pub mod strategies;
pub mod validation;

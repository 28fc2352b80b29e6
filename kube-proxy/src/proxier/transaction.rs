//! Commands of nft's language, collected to be applied together.

use std::fmt::Write;
use std::time::Duration;

use super::TABLE;
use crate::sys::Family;

/// Commands for one family's table.
#[derive(Debug)]
pub struct Transaction {
    family: Family,
    text: String,
}

impl Transaction {
    pub fn new(family: Family) -> Self {
        Self {
            family,
            text: String::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn command(&mut self, verb: &str, object: &str, rest: &str) {
        let _ = writeln!(
            self.text,
            "{verb} {object} {} {TABLE} {rest}",
            self.family.nft()
        );
    }

    pub fn add_table(&mut self) {
        let _ = writeln!(
            self.text,
            "add table {} {TABLE} {{ comment \"rules for kube-proxy\" ; }}",
            self.family.nft()
        );
    }

    pub fn delete_table(&mut self) {
        let _ = writeln!(self.text, "delete table {} {TABLE}", self.family.nft());
    }

    pub fn add_base_chain(&mut self, chain: &str, kind: &str, hook: &str, priority: i32) {
        self.command(
            "add",
            "chain",
            &format!("{chain} {{ type {kind} hook {hook} priority {priority} ; }}"),
        );
    }

    pub fn add_chain(&mut self, chain: &str) {
        self.command("add", "chain", chain);
    }

    pub fn flush_chain(&mut self, chain: &str) {
        self.command("flush", "chain", chain);
    }

    pub fn delete_chain(&mut self, chain: &str) {
        self.command("delete", "chain", chain);
    }

    pub fn add_rule(&mut self, chain: &str, rule: &str) {
        self.command("add", "rule", &format!("{chain} {rule}"));
    }

    pub fn add_set(&mut self, set: &str, kind: &str, comment: &str) {
        self.command(
            "add",
            "set",
            &format!("{set} {{ type {kind} ; comment \"{comment}\" ; }}"),
        );
    }

    /// A set of clients that rules fill, and that empties itself.
    pub fn add_affinity_set(&mut self, set: &str, timeout: Duration) {
        let kind = self.family.address_type();
        self.command(
            "add",
            "set",
            &format!(
                "{set} {{ type {kind} ; flags dynamic,timeout ; timeout {}s ; }}",
                timeout.as_secs()
            ),
        );
    }

    pub fn delete_set(&mut self, set: &str) {
        self.command("delete", "set", set);
    }

    pub fn flush_set(&mut self, set: &str) {
        self.command("flush", "set", set);
    }

    pub fn add_map(&mut self, map: &str, kind: &str, comment: &str) {
        self.command(
            "add",
            "map",
            &format!("{map} {{ type {kind} : verdict ; comment \"{comment}\" ; }}"),
        );
    }

    pub fn flush_map(&mut self, map: &str) {
        self.command("flush", "map", map);
    }

    pub fn add_element(&mut self, container: &str, element: &str) {
        self.command("add", "element", &format!("{container} {{ {element} }}"));
    }

    pub fn delete_element(&mut self, container: &str, key: &str) {
        self.command("delete", "element", &format!("{container} {{ {key} }}"));
    }
}

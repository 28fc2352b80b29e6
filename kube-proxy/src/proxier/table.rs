//! What the kernel holds of one family's table, as far as it was written from here, and the difference to what it should hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::fragment::{ElementKey, Fragment};
use super::layout::Layout;
use super::names;
use super::transaction::Transaction;
use crate::sys::TableNames;
use crate::tracker::PortName;

/// An emptied chain is deleted this long after, in a transaction of its own.
const STALE: Duration = Duration::from_secs(1);

/// A mirror of the table. Cost of a change: the chains and elements of the Service ports that changed.
#[derive(Debug, Default)]
pub struct Table {
    fragments: HashMap<PortName, Fragment>,
    /// Elements with how many ports want them. Those of maps have one owner; of equal ones the last written counts.
    elements: HashMap<ElementKey, (usize, String)>,
    affinity_sets: HashMap<String, usize>,
    stale: BTreeMap<String, Instant>,
}

impl Table {
    /// Writes everything, over what was found. Affinity sets that are still wanted keep their clients.
    pub fn rewrite(
        &mut self,
        layout: &Layout,
        found: &TableNames,
        first: bool,
        fragments: HashMap<PortName, Fragment>,
        now: Instant,
        tx: &mut Transaction,
    ) {
        *self = Self {
            stale: std::mem::take(&mut self.stale),
            ..Self::default()
        };
        layout.write(tx, first);
        let wanted: BTreeSet<&str> = fragments
            .values()
            .flat_map(|fragment| fragment.chains.keys().map(String::as_str))
            .collect();
        for chain in found
            .chains
            .iter()
            .filter(|chain| names::is_service_chain(chain) && !wanted.contains(chain.as_str()))
        {
            tx.flush_chain(chain);
            self.stale.entry(chain.clone()).or_insert(now);
        }
        // A chain that is gone need not be deleted again.
        self.stale.retain(|chain, _| found.chains.contains(chain));
        let sets: BTreeSet<&str> = fragments
            .values()
            .flat_map(|fragment| fragment.affinity_sets.keys().map(String::as_str))
            .collect();
        // All wanted chains are emptied before any is filled, so that no old rule holds on to a set that goes.
        for chain in &wanted {
            tx.add_chain(chain);
            tx.flush_chain(chain);
        }
        for set in found
            .sets
            .iter()
            .filter(|set| names::is_affinity_set(set) && !sets.contains(set.as_str()))
        {
            tx.delete_set(set);
        }
        for (name, fragment) in fragments {
            self.change(name, Some(fragment), now, tx);
        }
    }

    /// Replaces what one port puts into the table; None takes it away.
    pub fn change(
        &mut self,
        name: PortName,
        new: Option<Fragment>,
        now: Instant,
        tx: &mut Transaction,
    ) {
        let old = self.fragments.remove(&name).unwrap_or_default();
        let wanted = new.as_ref();
        let empty = Fragment::default();
        let new_fragment = wanted.unwrap_or(&empty);

        for (set, timeout) in &new_fragment.affinity_sets {
            if !old.affinity_sets.contains_key(set) {
                let count = self.affinity_sets.entry(set.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    tx.add_affinity_set(set, *timeout);
                }
            }
        }
        for (chain, rules) in &new_fragment.chains {
            if old.chains.get(chain) != Some(rules) {
                tx.add_chain(chain);
            }
        }
        for (chain, rules) in &new_fragment.chains {
            if old.chains.get(chain) != Some(rules) {
                tx.flush_chain(chain);
                for rule in rules {
                    tx.add_rule(chain, rule);
                }
            }
            self.stale.remove(chain);
        }
        for (element, rest) in &new_fragment.elements {
            if old.elements.get(element) != Some(rest) {
                self.want(element, rest, !old.elements.contains_key(element), tx);
            }
        }
        for element in old
            .elements
            .keys()
            .filter(|element| !new_fragment.elements.contains_key(*element))
        {
            self.release(element, tx);
        }
        for chain in old
            .chains
            .keys()
            .filter(|chain| !new_fragment.chains.contains_key(*chain))
        {
            tx.flush_chain(chain);
            self.stale.insert(chain.clone(), now);
        }
        for set in old
            .affinity_sets
            .keys()
            .filter(|set| !new_fragment.affinity_sets.contains_key(*set))
        {
            if let Some(count) = self.affinity_sets.get_mut(set) {
                *count -= 1;
                if *count == 0 {
                    self.affinity_sets.remove(set);
                    tx.delete_set(set);
                }
            }
        }
        if let Some(fragment) = new {
            self.fragments.insert(name, fragment);
        }
    }

    fn want(&mut self, element: &ElementKey, rest: &str, another: bool, tx: &mut Transaction) {
        match self.elements.get_mut(element) {
            Some((count, written)) => {
                *count += usize::from(another);
                if written != rest {
                    tx.delete_element(element.container, &element.key);
                    tx.add_element(
                        element.container,
                        format!("{} {rest}", element.key).trim_end(),
                    );
                    rest.clone_into(written);
                }
            }
            None => {
                tx.add_element(
                    element.container,
                    format!("{} {rest}", element.key).trim_end(),
                );
                self.elements.insert(element.clone(), (1, rest.to_owned()));
            }
        }
    }

    fn release(&mut self, element: &ElementKey, tx: &mut Transaction) {
        let Some((count, _)) = self.elements.get_mut(element) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.elements.remove(element);
            tx.delete_element(element.container, &element.key);
        }
    }

    /// Deletes chains that were emptied a while ago.
    pub fn delete_stale(&mut self, now: Instant, tx: &mut Transaction) {
        self.stale.retain(|chain, since| {
            let due = now.duration_since(*since) >= STALE;
            if due {
                tx.delete_chain(chain);
            }
            !due
        });
    }

    pub fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Names of all ports in the table.
    pub fn ports(&self) -> impl Iterator<Item = &PortName> {
        self.fragments.keys()
    }

    /// How many ports have no endpoint here for a policy of Local: internal, external.
    pub fn without_local_endpoints(&self) -> (usize, usize) {
        let count = |of: fn(&Fragment) -> bool| {
            self.fragments
                .values()
                .filter(|fragment| of(fragment))
                .count()
        };
        (
            count(|fragment| fragment.no_local_internal),
            count(|fragment| fragment.no_local_external),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Family;

    fn name(service: &str) -> PortName {
        PortName {
            namespace: "ns".into(),
            service: service.into(),
            port: String::new(),
            protocol: "tcp",
        }
    }

    fn fragment(chain: &str, rules: &[&str], elements: &[(&'static str, &str, &str)]) -> Fragment {
        Fragment {
            chains: BTreeMap::from([(
                chain.to_owned(),
                rules.iter().map(|rule| (*rule).to_owned()).collect(),
            )]),
            elements: elements
                .iter()
                .map(|(container, key, rest)| {
                    (
                        ElementKey {
                            container,
                            key: (*key).to_owned(),
                        },
                        (*rest).to_owned(),
                    )
                })
                .collect(),
            ..Fragment::default()
        }
    }

    #[track_caller]
    fn check(table: &mut Table, change: (&str, Option<Fragment>), expected: &[&str]) {
        let mut tx = Transaction::new(Family::V4);
        table.change(name(change.0), change.1, Instant::now(), &mut tx);
        let commands: Vec<String> = tx
            .text()
            .lines()
            .map(|line| line.replace(" ip kube-proxy", ""))
            .collect();
        assert_eq!(commands, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn only_differences_are_written() {
        let mut table = Table::default();
        let first = fragment(
            "service-a/",
            &["one"],
            &[
                ("service-ips", "1", ": goto a"),
                ("cluster-ips", "shared", ""),
            ],
        );
        check(
            &mut table,
            ("a", Some(first.clone())),
            &[
                "add chain service-a/",
                "flush chain service-a/",
                "add rule service-a/ one",
                "add element cluster-ips { shared }",
                "add element service-ips { 1 : goto a }",
            ],
        );
        check(&mut table, ("a", Some(first.clone())), &[]);
        check(
            &mut table,
            (
                "b",
                Some(fragment(
                    "service-b/",
                    &["two"],
                    &[("cluster-ips", "shared", "")],
                )),
            ),
            &[
                "add chain service-b/",
                "flush chain service-b/",
                "add rule service-b/ two",
            ],
        );
        let changed = fragment(
            "service-a/",
            &["three"],
            &[
                ("service-ips", "1", ": drop"),
                ("cluster-ips", "shared", ""),
            ],
        );
        check(
            &mut table,
            ("a", Some(changed)),
            &[
                "add chain service-a/",
                "flush chain service-a/",
                "add rule service-a/ three",
                "delete element service-ips { 1 }",
                "add element service-ips { 1 : drop }",
            ],
        );
        check(
            &mut table,
            ("a", None),
            &["delete element service-ips { 1 }", "flush chain service-a/"],
        );
        check(
            &mut table,
            ("b", None),
            &[
                "delete element cluster-ips { shared }",
                "flush chain service-b/",
            ],
        );

        let mut tx = Transaction::new(Family::V4);
        table.delete_stale(Instant::now(), &mut tx);
        assert!(tx.is_empty(), "not yet");
        tokio::time::advance(STALE).await;
        table.delete_stale(Instant::now(), &mut tx);
        assert_eq!(
            tx.text(),
            "delete chain ip kube-proxy service-a/\ndelete chain ip kube-proxy service-b/\n"
        );
        assert!(!table.has_stale());
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_is_wanted_again_is_not_deleted() {
        let mut table = Table::default();
        let a = fragment("service-a/", &["one"], &[]);
        check(
            &mut table,
            ("a", Some(a.clone())),
            &[
                "add chain service-a/",
                "flush chain service-a/",
                "add rule service-a/ one",
            ],
        );
        check(&mut table, ("a", None), &["flush chain service-a/"]);
        check(
            &mut table,
            ("a", Some(a)),
            &[
                "add chain service-a/",
                "flush chain service-a/",
                "add rule service-a/ one",
            ],
        );
        assert!(!table.has_stale());
    }
}

//! Group versions that are not asked of peers: those that objects define, which are the same in all servers. Upstream:
//! peerproxy/gv_exclusion_manager.go.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// Group and version.
pub(crate) type GroupVersion = (String, String);

/// A peer may serve what was deleted for this long, until it sees the deletion too.
const GRACE: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(super) struct Exclusion {
    active: HashSet<GroupVersion>,
    /// Those that were active, and since when they are not.
    deleted: HashMap<GroupVersion, Instant>,
}

impl Exclusion {
    /// Takes note of what is defined now; whether anything has changed.
    pub(super) fn update(&mut self, active: HashSet<GroupVersion>, now: Instant) -> bool {
        let before = self.deleted.len();
        self.deleted
            .retain(|_, since| now.duration_since(*since) <= GRACE);
        let mut changed = self.deleted.len() != before || active != self.active;
        for gone in self.active.difference(&active) {
            self.deleted.insert(gone.clone(), now);
            changed = true;
        }
        self.active = active;
        changed
    }

    pub(super) fn contains(&self, group: &str, version: &str, now: Instant) -> bool {
        let key = (group.to_owned(), version.to_owned());
        self.active.contains(&key)
            || self
                .deleted
                .get(&key)
                .is_some_and(|since| now.duration_since(*since) <= GRACE)
    }

    /// When the next of the deleted is forgotten.
    pub(super) fn next_end(&self) -> Option<Instant> {
        // Not at the very end, when it would count still.
        let end = |since: &Instant| *since + GRACE + Duration::from_millis(1);
        self.deleted.values().map(end).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(versions: &[&str]) -> HashSet<GroupVersion> {
        let pair = |version: &&str| ("example.com".to_owned(), (*version).to_owned());
        versions.iter().map(pair).collect()
    }

    #[test]
    fn what_is_deleted_counts_for_a_while() {
        let start = Instant::now();
        let mut exclusion = Exclusion::default();
        assert!(exclusion.update(set(&["v1", "v2"]), start));
        assert!(!exclusion.update(set(&["v1", "v2"]), start));
        assert_eq!(exclusion.next_end(), None);
        assert!(exclusion.update(set(&["v1"]), start));
        let has = |exclusion: &Exclusion, version: &str, now| {
            exclusion.contains("example.com", version, now)
        };
        assert!(has(&exclusion, "v1", start));
        assert!(has(&exclusion, "v2", start));
        assert!(!has(&exclusion, "v3", start));
        assert!(has(&exclusion, "v2", start + GRACE));
        let end = exclusion.next_end().unwrap();
        assert!(!has(&exclusion, "v2", end));
        assert!(exclusion.update(set(&["v1"]), end), "it is forgotten");
        assert_eq!(exclusion.next_end(), None);
    }
}

//! What is counted of the requests that have the same labels.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::histogram::{self, Histogram};

/// What tells routes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels<'a> {
    pub verb: &'static str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'static str,
    pub component: &'static str,
}

impl<'a> Labels<'a> {
    /// Those of a page, which is no resource.
    pub(crate) fn of_page(
        resource: &'static str,
        subresource: &'a str,
        component: &'static str,
    ) -> Labels<'a> {
        Labels {
            verb: "",
            group: "",
            version: "",
            resource,
            subresource,
            scope: "",
            component,
        }
    }
}

/// Who else of the control plane asked, by the start of its User-Agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SystemClient(pub &'static str);

/// The daemons that are told apart.
const SYSTEM_CLIENTS: [&str; 4] = [
    SELF,
    "kube-controller-manager",
    "kube-scheduler",
    "cluster-policy-controller",
];
const SELF: &str = "kube-apiserver";

impl SystemClient {
    pub(super) fn of(user_agent: &str) -> SystemClient {
        let Some((product, _)) = user_agent.split_once('/') else {
            return SystemClient::default();
        };
        let mut known = SYSTEM_CLIENTS.into_iter();
        SystemClient(known.find(|known| *known == product).unwrap_or_default())
    }
}

/// Requests that were answered, by what else tells them apart.
pub(super) struct Total {
    pub(super) code: u16,
    pub(super) dry_run: Box<str>,
    pub(super) client: SystemClient,
    pub(super) count: AtomicU64,
}

/// The series of one set of labels. Each begins with its first value.
pub(crate) struct Route {
    verb: &'static str,
    group: Box<str>,
    version: Box<str>,
    resource: Box<str>,
    subresource: Box<str>,
    scope: &'static str,
    component: &'static str,
    pub(super) totals: RwLock<Vec<Total>>,
    pub(super) durations: OnceLock<Histogram>,
    /// Those of dry runs, by the option.
    pub(super) dry_runs: RwLock<Vec<(Box<str>, Histogram)>>,
    pub(super) service_level: OnceLock<Histogram>,
    pub(super) responses: OnceLock<Histogram>,
    pub(super) bodies: OnceLock<Histogram>,
    pub(super) events: OnceLock<Histogram>,
    pub(super) watch_lists: OnceLock<Histogram>,
    /// Requests that run now; None as long as there was none.
    pub(super) long_running: OnceLock<AtomicI64>,
    pub(super) terminations: RwLock<Vec<(u16, AtomicU64)>>,
    /// Answers that were broken off.
    pub(super) aborts: AtomicU64,
    /// Requests of this server to itself.
    pub(super) own: AtomicU64,
    /// It is on its way out: the release without it, or nothing.
    pub(super) deprecated: OnceLock<String>,
}

impl Route {
    pub(super) fn new(labels: &Labels<'_>) -> Route {
        Route {
            verb: labels.verb,
            group: labels.group.into(),
            version: labels.version.into(),
            resource: labels.resource.into(),
            subresource: labels.subresource.into(),
            scope: labels.scope,
            component: labels.component,
            totals: RwLock::default(),
            durations: OnceLock::new(),
            dry_runs: RwLock::default(),
            service_level: OnceLock::new(),
            responses: OnceLock::new(),
            bodies: OnceLock::new(),
            events: OnceLock::new(),
            watch_lists: OnceLock::new(),
            long_running: OnceLock::new(),
            terminations: RwLock::default(),
            aborts: AtomicU64::new(0),
            own: AtomicU64::new(0),
            deprecated: OnceLock::new(),
        }
    }

    pub(super) fn labels(&self) -> Labels<'_> {
        Labels {
            verb: self.verb,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            scope: self.scope,
            component: self.component,
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, code: u16, dry_run: &str, client: SystemClient) {
        let is = |total: &Total| {
            total.code == code && total.client == client && *total.dry_run == *dry_run
        };
        if client.0 == SELF {
            self.own.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(total) = self.totals.read().iter().find(|total| is(total)) {
            total.count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut totals = self.totals.write();
        match totals.iter().find(|total| is(total)) {
            Some(total) => {
                total.count.fetch_add(1, Ordering::Relaxed);
            }
            None => totals.push(Total {
                code,
                dry_run: dry_run.into(),
                client,
                count: AtomicU64::new(1),
            }),
        }
    }

    /// Counts a request that the server ended to protect itself.
    pub(super) fn terminated(&self, code: u16) {
        let mut terminations = self.terminations.write();
        match terminations.iter().find(|(known, _)| *known == code) {
            Some((_, count)) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            None => terminations.push((code, AtomicU64::new(1))),
        }
    }

    /// Counts the time that a dry run took.
    pub(super) fn dry_run_took(&self, dry_run: &str, nanoseconds: u64) {
        let mut dry_runs = self.dry_runs.write();
        if let Some((_, durations)) = dry_runs.iter().find(|(known, _)| **known == *dry_run) {
            durations.observe(nanoseconds);
            return;
        }
        let durations = Histogram::new(&histogram::DURATIONS);
        durations.observe(nanoseconds);
        dry_runs.push((dry_run.into(), durations));
    }

    /// Counts an event that a watch has sent, in bytes.
    pub(crate) fn event(&self, size: usize) {
        let events = self
            .events
            .get_or_init(|| Histogram::new(&histogram::EVENTS));
        events.observe(size as u64);
    }

    pub(super) fn running(&self) -> &AtomicI64 {
        self.long_running.get_or_init(AtomicI64::default)
    }
}

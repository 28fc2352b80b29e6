//! The configuration file while the server runs. Upstream: ApplyTo of pkg/kubeapiserver/options/authentication.go and
//! authenticationConfigUpdater of pkg/kubeapiserver/authenticator.
//!
//! New authenticators take over once all their issuers have answered; until then, and when the file is wrong, the old ones count.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::apiserver_config::v1::{AnonymousAuthConfig, AuthenticationConfiguration};
use apimachinery::field::{self, Path};
use apimachinery::os_error;
use component_base::file_watch::watch_files;
use component_base::metrics::Metrics;
use tokio::sync::Notify;

use super::{Common, CurrentAuthenticators, JwtAuthenticators};
use crate::authn::configuration::{parse, validate};
use crate::config::reload::ReloadMetrics;

/// How long new issuers have to answer, and how often it is looked whether they have.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(10);
/// What could not be read or reached is tried again after this long.
const RETRY: Duration = Duration::from_secs(60);
/// Requests that old authenticators work on have this long to end, and their metrics a while longer.
const OLD_LIFE: Duration = Duration::from_secs(60);
const OLD_METRICS: Duration = Duration::from_secs(30);

/// The file, and the configuration that came from it.
pub struct Source {
    pub path: PathBuf,
    pub text: Vec<u8>,
    pub configuration: AuthenticationConfiguration,
}

struct Reloader {
    path: PathBuf,
    /// The text that was last applied, or is known to be wrong.
    seen: Vec<u8>,
    /// Who may be anonymous does not change while the server runs.
    anonymous: Option<Box<AnonymousAuthConfig>>,
    issuers: BTreeSet<String>,
    current: Arc<CurrentAuthenticators>,
    common: Common,
    metrics: ReloadMetrics,
}

/// How a reload ended.
enum Outcome {
    Unchanged,
    Reloaded,
    /// It may work later.
    Again,
    /// The text is wrong and stays so.
    Wrong,
}

/// Follows the file until the server stops. Must be called inside a runtime.
pub fn start(
    source: Source,
    current: Arc<CurrentAuthenticators>,
    common: Common,
    metrics: &Metrics,
    server: &str,
) {
    let metrics = ReloadMetrics::new(metrics, "authentication", server);
    metrics.applied(&source.text);
    let stop = common.stop.clone();
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    watch_files(vec![source.path.clone()], stop.clone(), move || {
        notify.notify_one();
    });
    let mut reloader = Reloader {
        path: source.path,
        seen: source.text,
        anonymous: source.configuration.anonymous.clone(),
        issuers: issuers(&source.configuration),
        current,
        common,
        metrics,
    };
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let mut again = false;
        loop {
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(RETRY), if again => {}
            }
            let outcome = reloader.reload().await;
            again = matches!(outcome, Outcome::Again);
            match outcome {
                Outcome::Unchanged => {}
                Outcome::Reloaded => reloader.metrics.count(true),
                Outcome::Again | Outcome::Wrong => reloader.metrics.count(false),
            }
        }
    }));
}

fn issuers(configuration: &AuthenticationConfiguration) -> BTreeSet<String> {
    let jwt = configuration.jwt.iter();
    jwt.map(|authenticator| authenticator.issuer.url.clone())
        .collect()
}

impl Reloader {
    async fn reload(&mut self) -> Outcome {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                let error = os_error::on_reading(&self.path, &error);
                tracing::error!(error, "failed to read authentication config file");
                return Outcome::Again;
            }
        };
        if text == self.seen {
            return Outcome::Unchanged;
        }
        let configuration = match parse(&text) {
            Ok(configuration) => configuration,
            Err(error) => {
                tracing::error!(error, "failed to load authentication config");
                self.seen = text;
                return Outcome::Wrong;
            }
        };
        let mut errors = validate(&configuration, &self.common.disallowed_issuers);
        if configuration.anonymous != self.anonymous {
            let path = Path::new("anonymous");
            errors.push(field::forbidden(
                &path,
                "changed from initial configuration file",
            ));
        }
        if let Some(error) = errors.aggregate() {
            tracing::error!(error, "failed to validate authentication config");
            self.seen = text;
            return Outcome::Wrong;
        }
        if let Err(error) = self.replace(&configuration).await {
            tracing::error!(error, "failed to update authentication config");
            return Outcome::Again;
        }
        self.metrics.applied(&text);
        self.seen = text;
        tracing::info!("reloaded authentication config");
        Outcome::Reloaded
    }

    async fn replace(&mut self, configuration: &AuthenticationConfiguration) -> Result<(), String> {
        let new = JwtAuthenticators::start(configuration, &self.common)?;
        if let Err(error) = healthy(&new).await {
            new.life.cancel();
            return Err(error);
        }
        let old = self.current.current.swap(Arc::new(new));
        let issuers = issuers(configuration);
        let removed: Vec<String> = self.issuers.difference(&issuers).cloned().collect();
        self.issuers = issuers;
        let metrics = self.common.metrics.clone();
        let stop = self.common.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            tokio::time::sleep(OLD_LIFE).await;
            old.life.cancel();
            tokio::time::sleep(OLD_METRICS).await;
            for issuer in removed {
                metrics.forget(&issuer);
            }
        }));
        Ok(())
    }
}

/// Waits for the issuers of new authenticators.
async fn healthy(new: &JwtAuthenticators) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // The first look comes soon, since issuers mostly answer at once.
    let mut wait = Duration::from_millis(50);
    loop {
        tokio::time::sleep(wait).await;
        match new.health() {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(format!("[{error}, context deadline exceeded]"));
            }
            Err(_) => wait = (wait * 2).min(POLL),
        }
    }
}

//! The configuration file while the server runs. Upstream: runReload of pkg/kubeapiserver/authorizer.
//!
//! A changed file counts at once when it is valid and still has all authorizers but webhooks; when it is not, it is logged and the
//! old ones count on.

use std::path::PathBuf;
use std::sync::Arc;

use api_types::apiserver_config::v1::AuthorizationConfiguration;
use apimachinery::os_error;
use component_base::file_watch::watch_files;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::configuration::{load, required_types};
use crate::config::reload::ReloadMetrics;

/// The file, and what was last read from it.
pub struct Source {
    pub path: PathBuf,
    pub text: Vec<u8>,
    pub configuration: AuthorizationConfiguration,
}

struct Reloader {
    source: Source,
    required: Vec<String>,
    chain: Arc<Chain>,
    metrics: ReloadMetrics,
}

/// Follows the file until the server stops. Must be called inside a runtime.
pub fn start(source: Source, chain: Arc<Chain>, metrics: ReloadMetrics, stop: &CancellationToken) {
    metrics.applied(&source.text);
    let path = source.path.clone();
    let reloader = Mutex::new(Reloader {
        required: required_types(&source.configuration),
        source,
        chain,
        metrics,
    });
    watch_files(vec![path], stop.clone(), move || {
        let mut reloader = reloader.lock();
        if let Err(error) = reloader.reload() {
            tracing::error!(error, "reloading authorization config");
            reloader.metrics.count(false);
        }
    });
}

impl Reloader {
    fn reload(&mut self) -> Result<(), String> {
        let path = &self.source.path;
        let text = std::fs::read(path).map_err(|error| os_error::on_reading(path, &error))?;
        if text == self.source.text {
            return Ok(());
        }
        // A file that is wrong is told of once.
        self.source.text = text;
        let configuration = load(&self.source.text, &self.required)?;
        if configuration == self.source.configuration {
            return Ok(());
        }
        self.source.configuration = configuration;
        self.chain
            .replace(&self.source.configuration)
            .map_err(|error| error.to_string())?;
        tracing::info!("reloaded authz config");
        self.metrics.count(true);
        self.metrics.applied(&self.source.text);
        Ok(())
    }
}

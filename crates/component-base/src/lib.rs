//! What every daemon needs around its work: flags, logs, TLS serving, health, metrics, delegated authentication.
//!
//! Upstream: k8s.io/component-base, and the parts of k8s.io/apiserver that every daemon's own HTTPS port uses.
//! Nothing here knows a particular daemon. A daemon owns its flag table and its config; this crate parses the one and
//! loads the other, gives it a runtime, a log, a metrics registry and servers, and ends it when it is told to.

/// Who is asking and whether they may.
pub mod auth;
/// The parts that component configs share.
pub mod component_config;
/// Component config files.
pub mod config;
/// `/configz`.
pub mod configz;
/// `/debug/pprof` and `/debug/flags/v`.
pub mod debug;
/// Feature gates.
pub mod features;
/// Files that change while a daemon runs.
pub mod file_watch;
/// One table of rows per daemon, parsed like pflag does.
pub mod flags;
/// `/flagz`.
pub mod flagz;
/// `/healthz`, `/livez`, `/readyz`.
pub mod healthz;
/// Logs in klog's text format and in JSON.
pub mod logs;
/// The registry handed down from `main`, with upstream's buckets and text.
pub mod metrics;
/// The skeleton of `main`.
pub mod run;
/// Listeners, TLS, HTTP/1.1 and HTTP/2.
pub mod serving;
/// Signals.
pub mod shutdown;
/// `/statusz`.
pub mod statusz;
/// What this build calls itself.
pub mod version;

/// A boxed error, for start-up and `main`; modules with a choice to offer have their own enums.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Displays an error with its causes: `outer: inner: innermost`.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'a));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

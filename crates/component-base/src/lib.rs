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
/// Names of gRPC codes.
pub mod grpc;
/// `/healthz`, `/livez`, `/readyz`.
pub mod healthz;
/// Logs in klog's text format and in JSON.
pub mod logs;
/// The registry handed down from `main`, with upstream's buckets and text.
pub mod metrics;
/// Service managers.
pub mod notify;
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

use apimachinery::os_error;

/// A boxed error, for start-up and `main`; modules with a choice to offer have their own enums.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Displays an error with its causes: `outer: inner: innermost`. A cause that the text before it already ends with is not
/// said again.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'a));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let text = match cause.downcast_ref::<std::io::Error>() {
                Some(error) => os_error::text(error),
                None => cause.to_string(),
            };
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            source = cause.source();
        }
        Ok(())
    }
}

/// Several problems as one text: one alone as it is, more as `[a, b]`, each once. Upstream: utilerrors.NewAggregate.
pub fn aggregate(problems: &[String]) -> String {
    let mut said: Vec<&str> = Vec::new();
    for problem in problems {
        if !said.contains(&problem.as_str()) {
            said.push(problem);
        }
    }
    match *said {
        [only] => only.to_owned(),
        _ => format!("[{}]", said.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates() {
        let all = |problems: &[&str]| {
            let owned: Vec<String> = problems.iter().map(|one| (*one).to_owned()).collect();
            aggregate(&owned)
        };
        assert_eq!(all(&["a"]), "a");
        assert_eq!(all(&["a", "b", "a"]), "[a, b]");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn a_chain_says_nothing_twice() {
        let busy = || std::io::Error::from_raw_os_error(98);
        assert_eq!(
            Chain(&Outer("failed to listen", busy())).to_string(),
            "failed to listen: address already in use"
        );
        let whole = Outer("bind: address already in use", busy());
        assert_eq!(Chain(&whole).to_string(), "bind: address already in use");
    }
}

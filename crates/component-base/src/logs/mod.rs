//! Logs in klog's text format and in JSON, on stderr. Upstream: k8s.io/component-base/logs, k8s.io/klog/v2.
//!
//! How tracing's levels map: error is `E`, warn is `W`, info is `I` at verbosity 0. `debug!` and `trace!` are `I` lines of a
//! higher verbosity: 4 and 6, unless the event says otherwise with a field `v` (`debug!(v = 2, "...")`). An event is
//! written when its verbosity is at most `-v`, or at most what `--vmodule` says for its file. Lines of libraries are held
//! back further: their debug is verbosity 9, their trace 10.
//!
//! An event without fields is written like klog's Infof (`msg`), one with fields like InfoS (`"msg" key="value"`); fields of
//! enclosing spans follow. A field named `error` is written as `err`.

mod format;
#[cfg(test)]
pub(crate) mod tests;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::flags::Flags;
use format::{Fields, Line};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// What the logging flags or a config file say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub format: Format,
    pub verbosity: u32,
    /// File name patterns without `.rs`, and the verbosity of files that match; the first match counts.
    pub vmodule: Vec<(String, u32)>,
}

impl Options {
    /// Reads `--logging-format`, `-v` and `--vmodule`. The error is upstream's.
    pub fn from_flags(flags: &Flags) -> Result<Self, String> {
        let period = "log-flush-frequency";
        if flags.has(period) && flags.duration_nanos(period) <= 0 {
            return Err(format!(
                "flushFrequency: Invalid value: \"{}\": Must be greater than zero",
                apimachinery::duration::format(flags.duration_nanos(period))
            ));
        }
        Self::new(
            flags.string("logging-format"),
            flags.uint("v") as u32,
            flags.string("vmodule"),
        )
    }

    /// The same from the values of a LoggingConfiguration.
    pub fn new(format: &str, verbosity: u32, vmodule: &str) -> Result<Self, String> {
        let format = match format {
            "text" | "" => Format::Text,
            "json" => Format::Json,
            other => {
                return Err(format!(
                    "format: Invalid value: {}: Unsupported log format",
                    apimachinery::quote::quote(other)
                ));
            }
        };
        let vmodule: Vec<(String, u32)> = vmodule
            .split(',')
            .filter_map(|item| item.split_once('='))
            .filter_map(|(pattern, level)| Some((pattern.to_owned(), level.parse().ok()?)))
            .collect();
        if format == Format::Json && !vmodule.is_empty() {
            return Err("format: Forbidden: Only supported for text log format".to_owned());
        }
        Ok(Self {
            format,
            verbosity,
            vmodule,
        })
    }
}

static VERBOSITY: AtomicU32 = AtomicU32::new(0);
static VMODULE: RwLock<Vec<(String, u32)>> = RwLock::new(Vec::new());
/// Whether there is anything in `VMODULE`.
static SOME_FILES: AtomicBool = AtomicBool::new(false);

/// The `-v` in force.
pub fn verbosity() -> u32 {
    VERBOSITY.load(Ordering::Relaxed)
}

/// Whether lines of this verbosity are written, for work that is only done for the log.
pub fn v(level: u32) -> bool {
    level <= verbosity()
}

/// The same of the lines of a file (`file!()`), of which `--vmodule` may want more.
pub fn v_in(level: u32, file: &str) -> bool {
    v(level) || (SOME_FILES.load(Ordering::Relaxed) && level <= limit_for(Some(file)))
}

/// Changes `-v` while running.
pub fn set_verbosity(level: u32) {
    VERBOSITY.store(level, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Changes format, `-v` and `--vmodule`: for daemons whose config file is read after logging began.
pub fn reconfigure(options: &Options) {
    *VMODULE.write() = options.vmodule.clone();
    SOME_FILES.store(!options.vmodule.is_empty(), Ordering::Relaxed);
    JSON.store(u32::from(options.format == Format::Json), Ordering::Relaxed);
    set_verbosity(options.verbosity);
}

static JSON: AtomicU32 = AtomicU32::new(0);

/// Sends the process's log to stderr. The first call counts, later ones only change the options.
pub fn init(options: &Options) {
    reconfigure(options);
    let subscriber = tracing_subscriber::registry().with(KlogLayer::new(std::io::stderr()));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Crates that log their own inner workings; their lines are for people who debug those crates.
fn is_library(target: &str) -> bool {
    const LIBRARIES: &[&str] = &[
        "h2",
        "hyper",
        "hyper_util",
        "rustls",
        "tokio",
        "tokio_util",
        "tower",
        "tonic",
        "mio",
        "want",
        "hickory_proto",
        "hickory_server",
        "tungstenite",
        "tokio_tungstenite",
        "netlink_proto",
        "rtnetlink",
        "etcd_client",
        "polling",
    ];
    let name = target.split("::").next().unwrap_or(target);
    LIBRARIES.contains(&name)
}

/// The verbosity of an event that says nothing itself.
fn default_verbosity(metadata: &Metadata<'_>) -> u32 {
    let library = is_library(metadata.target());
    match *metadata.level() {
        Level::ERROR | Level::WARN => 0,
        Level::INFO if library => 2,
        Level::INFO => 0,
        Level::DEBUG if library => 9,
        Level::DEBUG => 4,
        _ if library => 10,
        _ => 6,
    }
}

/// Whether a file name matches a pattern of `--vmodule` (`*` and `?`).
fn matches(pattern: &str, name: &str) -> bool {
    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                glob(&pattern[1..], name) || (!name.is_empty() && glob(pattern, &name[1..]))
            }
            (Some(b'?'), Some(_)) => glob(&pattern[1..], &name[1..]),
            (Some(a), Some(b)) if a == b => glob(&pattern[1..], &name[1..]),
            _ => false,
        }
    }
    glob(pattern.as_bytes(), name.as_bytes())
}

/// The verbosity up to which this file's lines are written.
fn limit_for(file: Option<&str>) -> u32 {
    let global = verbosity();
    let vmodule = VMODULE.read();
    if vmodule.is_empty() {
        return global;
    }
    let name = file.map(base_name).unwrap_or_default();
    let name = name.strip_suffix(".rs").unwrap_or(name);
    vmodule
        .iter()
        .find(|(pattern, _)| matches(pattern, name))
        .map_or(global, |(_, level)| global.max(*level))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Writes events to a stream, each as one write.
pub(crate) struct KlogLayer<W> {
    out: Arc<Mutex<W>>,
}

impl<W: Write + Send + 'static> KlogLayer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
        }
    }
}

impl<S, W> Layer<S> for KlogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= Level::WARN {
            Interest::always()
        } else {
            Interest::sometimes()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if *metadata.level() <= Level::WARN {
            return true;
        }
        let limit = limit_for(metadata.file());
        // The event may name its own verbosity, which only its values tell: let it through if that could help.
        let could_be = if metadata.is_event() && metadata.fields().field("v").is_some() {
            0
        } else {
            default_verbosity(metadata)
        };
        // Spans carry fields for events of any level below them; those of info level are always kept.
        could_be <= limit
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let highest = VMODULE
            .read()
            .iter()
            .map(|(_, level)| *level)
            .chain([verbosity()])
            .max()
            .unwrap_or(0);
        Some(match highest {
            0 => LevelFilter::INFO,
            1..=4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let verbosity = fields
            .verbosity
            .unwrap_or_else(|| default_verbosity(metadata));
        if *metadata.level() > Level::WARN && verbosity > limit_for(metadata.file()) {
            return;
        }
        let own = fields.values.len();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(of_span) = span.extensions().get::<Fields>() {
                    fields.values.extend(of_span.values.iter().cloned());
                }
            }
        }
        let line = Line {
            level: *metadata.level(),
            verbosity,
            file: metadata.file().map_or("unknown", base_name),
            line: metadata.line().unwrap_or(1),
            structured: own > 0,
            fields: &fields,
        };
        let text = if JSON.load(Ordering::Relaxed) == 1 {
            line.json()
        } else {
            line.text()
        };
        // Nobody can be told when stderr is gone.
        let _ = self.out.lock().write_all(text.as_bytes());
    }
}

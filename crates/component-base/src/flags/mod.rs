//! Command-line flags: one table of rows per daemon, parsed with pflag's rules.
//! Upstream: k8s.io/component-base/cli/flag over github.com/spf13/pflag and cobra.
//!
//! A daemon writes its table as consts ([`Group`]s of [`FlagRow`]s, some of them the shared ones of [`common`]) and reads
//! the parsed [`Flags`] while it builds its config; nothing else asks the command line anything. Parsing, `--help`,
//! `/flagz` and the list of accepted flags all come from the table, so they cannot drift apart.
//!
//! Kept from pflag: `--b` is true and only `--b=false` is false, the last repeat wins, the first value of a list or map
//! replaces its default and later ones add, `_` in a name is `-`. Different: all errors are reported in one run.

pub mod common;
mod help;
mod parse;
mod value;

pub use help::{help, usage};
pub use parse::{Flags, ParseError, Parsed};
pub use value::{NamedCertKey, PortRange, Value};
pub(crate) use value::{parse_bool, parse_uint};

use crate::features::Gate;

/// One flag. Build rows with [`FlagRow::new`] and the `const` setters.
#[derive(Clone, Copy, Debug)]
pub struct FlagRow {
    /// Upstream's name, without dashes in front.
    pub name: &'static str,
    /// One-letter form, `v` of `-v`.
    pub shorthand: Option<char>,
    pub kind: Kind,
    /// The default as pflag prints it: `5s`, `[pods]`, `<nil>`, a string without quotes.
    pub default: &'static str,
    pub help: &'static str,
    pub effect: Effect,
    /// Set for deprecated flags: what to do instead. Using the flag prints it on stderr.
    pub deprecated: Option<&'static str>,
    /// Accepted but not listed in `--help`.
    pub hidden: bool,
    /// Word for the value in `--help`, where it is not the kind's.
    pub varname: Option<&'static str>,
}

/// Whether a flag changes what the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Implemented,
    /// Accepted, because a daemon must start with the arguments of its upstream twin; setting it is logged as a warning
    /// with this reason.
    WithoutEffect(&'static str),
}

/// The type of a flag's value, and with it how its text is read and how repeats combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// Go's int and int64.
    Int,
    Int32,
    Uint,
    Uint32,
    Float32,
    Float64,
    /// Go duration text.
    Duration,
    String,
    /// Comma separated with CSV quoting; repeats append.
    StringSlice,
    /// One element per use; repeats append, commas stay.
    StringArray,
    Int32Slice,
    /// An address, or none.
    Ip,
    /// An address kept as text (config fields); differs from `Ip` in its error text only.
    IpText,
    /// `ip` or `ip:port`, kept as text.
    IpPort,
    /// `k=v,k=v`; repeats merge.
    MapStringString,
    /// One `k=v` per use; repeats merge.
    MapStringStringNoSplit,
    /// `k<v,k<v` of the eviction thresholds; repeats merge.
    LangleMapStringString,
    /// `k=v,k` (runtime-config): a key alone has the empty value; repeats merge.
    ConfigurationMap,
    /// pflag's own map with CSV quoting; repeats merge.
    StringToString,
    /// `Gate=true,Other=false`; repeats merge.
    MapStringBool,
    /// `component:Gate=true` (or without the component) and `name:value` headers; repeats append per key.
    ColonMultimap {
        /// Whether an element without a colon is taken, under the empty key.
        default_key: bool,
    },
    /// `cert,key` or `cert,key:name,name`; repeats append.
    NamedCertKey,
    /// `from-to`, `from+size` or one port.
    PortRange,
    /// A resource quantity, kept as text.
    Quantity,
    /// `node:type=quantity,...` of reserved memory; repeats append.
    ReservedMemory,
    /// The log level of `-v`.
    Level,
    /// `pattern=N,...`.
    VModule,
    /// true, false, `raw`, or a version to report.
    Version,
}

/// Rows under one heading of `--help`. Groups with the same heading are shown as one.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Upstream's section name, as in `Secure serving` (shown as "Secure serving flags:").
    pub section: &'static str,
    pub rows: &'static [FlagRow],
}

/// All flags of a daemon. The order of sections is the order in `--help`; rows are sorted by name within one.
pub type Table = &'static [Group];

/// How a daemon reports bad arguments; upstream's daemons differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageStyle {
    /// Usage, then `Error: ...` (kube-scheduler, kube-controller-manager, kube-proxy).
    UsageThenError,
    /// `Error: ...` only (kube-apiserver).
    ErrorOnly,
    /// A klog line "command failed" (kubelet).
    LogLine,
}

/// What the command line of a daemon looks like.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// `kube-scheduler`.
    pub name: &'static str,
    /// The paragraph at the top of `--help`.
    pub description: &'static str,
    pub flags: Table,
    /// Gates listed under `--feature-gates` in `--help`.
    pub features: &'static [Gate],
    pub usage_style: UsageStyle,
}

/// Reason of rows whose feature this build does not have yet.
pub const NOT_YET: &str = "not yet supported: accepted so that a swapped-in daemon starts";
/// Reason of rows that only mean something to Go's runtime or to code upstream is about to drop.
pub const UPSTREAM_ONLY: &str = "has no meaning in this implementation";

impl FlagRow {
    /// A row that takes effect, is listed, and is not deprecated.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            shorthand: None,
            kind,
            default,
            help,
            effect: Effect::Implemented,
            deprecated: None,
            hidden: false,
            varname: None,
        }
    }

    pub const fn shorthand(mut self, letter: char) -> Self {
        self.shorthand = Some(letter);
        self
    }

    pub const fn deprecated(mut self, instead: &'static str) -> Self {
        self.deprecated = Some(instead);
        self
    }

    pub const fn without_effect(mut self, reason: &'static str) -> Self {
        self.effect = Effect::WithoutEffect(reason);
        self
    }

    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub const fn varname(mut self, word: &'static str) -> Self {
        self.varname = Some(word);
        self
    }
}

/// Every row of a table, in table order.
pub fn rows(table: Table) -> impl Iterator<Item = &'static FlagRow> {
    table.iter().flat_map(|group| group.rows)
}

#[cfg(test)]
mod tests;

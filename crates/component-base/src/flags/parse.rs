//! The parser. Upstream: pflag's FlagSet.Parse, cobra's argument checks.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::value::parse_bool;
use super::{Command, Effect, FlagRow, Kind, NamedCertKey, PortRange, Table, Value, rows};
use apimachinery::quote::quote;

/// One thing wrong with the command line; the text is pflag's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// What the command line asked for.
#[derive(Debug)]
pub enum Parsed {
    /// `--help`: print [`super::help`] and exit 0.
    Help,
    /// `--version` or `--version=raw`: print it and exit 0. (`--version=vX.Y.Z` runs, see [`Flags::reported_version`].)
    Version(String),
    /// Run with these flags.
    Run(Flags),
}

/// Every flag of the daemon with its value.
///
/// The getters panic on a name that is not in the table or has another type: that is a mistake in the program, which
/// the daemon's table test finds, never one on the command line.
#[derive(Clone, Debug)]
pub struct Flags {
    entries: HashMap<&'static str, Entry>,
    /// One line for stderr per deprecated flag used, in order of use.
    deprecations: Vec<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    row: &'static FlagRow,
    value: Value,
    changed: bool,
}

impl Flags {
    /// All flags at their defaults. Panics when a default in the table does not parse.
    pub fn defaults(table: Table) -> Self {
        let mut entries = HashMap::new();
        for row in rows(table) {
            let value = Value::of_default(row.kind, row.default).unwrap_or_else(|e| {
                panic!(
                    "default {:?} of --{} is not a {:?}: {e}",
                    row.default, row.name, row.kind
                )
            });
            let earlier = entries.insert(
                row.name,
                Entry {
                    row,
                    value,
                    changed: false,
                },
            );
            assert!(earlier.is_none(), "--{} is in the table twice", row.name);
        }
        Self {
            entries,
            deprecations: Vec::new(),
        }
    }

    /// Parses the arguments (without the program's name).
    pub fn parse<I>(command: &Command, arguments: I) -> Result<Parsed, Vec<ParseError>>
    where
        I: IntoIterator<Item = String>,
    {
        let mut flags = Self::defaults(command.flags);
        let shorthands: HashMap<char, &'static FlagRow> = rows(command.flags)
            .filter_map(|row| Some((row.shorthand?, row)))
            .collect();
        let mut errors = Vec::new();
        let mut positional = Vec::new();
        let mut help = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                positional.extend(arguments.by_ref());
            } else if let Some(flag) = argument.strip_prefix("--") {
                if flag.starts_with('-') || flag.starts_with('=') {
                    errors.push(ParseError(format!("bad flag syntax: {argument}")));
                    continue;
                }
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (flag, None),
                };
                let name = name.replace('_', "-");
                if name == "help" {
                    help = true;
                    continue;
                }
                let Some(row) = flags.entries.get(name.as_str()).map(|entry| entry.row) else {
                    errors.push(ParseError(format!("unknown flag: --{name}")));
                    continue;
                };
                let value = match (value, no_option_value(row.kind)) {
                    (Some(value), _) => value,
                    (None, Some(value)) => value.to_owned(),
                    (None, None) => match arguments.next() {
                        Some(value) => value,
                        None => {
                            errors.push(ParseError(format!("flag needs an argument: --{name}")));
                            continue;
                        }
                    },
                };
                errors.extend(flags.set(row, &value).err());
            } else if argument.len() > 1 && argument.starts_with('-') {
                let mut letters = argument[1..].chars();
                while let Some(letter) = letters.next() {
                    if letter == 'h' {
                        help = true;
                        continue;
                    }
                    let Some(row) = shorthands.get(&letter).copied() else {
                        errors.push(ParseError(format!(
                            "unknown shorthand flag: {} in {argument}",
                            quote_char(letter)
                        )));
                        break;
                    };
                    let rest = letters.as_str();
                    let value = if let Some(value) = rest.strip_prefix('=') {
                        value.to_owned()
                    } else if let Some(value) = no_option_value(row.kind) {
                        errors.extend(flags.set(row, value).err());
                        continue;
                    } else if !rest.is_empty() {
                        rest.to_owned()
                    } else if let Some(value) = arguments.next() {
                        value
                    } else {
                        errors.push(ParseError(format!(
                            "flag needs an argument: {} in {argument}",
                            quote_char(letter)
                        )));
                        break;
                    };
                    errors.extend(flags.set(row, &value).err());
                    break;
                }
            } else {
                positional.push(argument);
            }
        }
        if help && errors.is_empty() {
            return Ok(Parsed::Help);
        }
        if errors.is_empty()
            && let Some(entry) = flags.entries.get("version")
            && let Value::String(version) = &entry.value
            && !version.starts_with('v')
            && parse_bool(version) != Ok(false)
        {
            return Ok(Parsed::Version(version.clone()));
        }
        if let Some(unwanted) = positional.iter().find(|argument| !argument.is_empty()) {
            errors.push(ParseError(match command.usage_style {
                super::UsageStyle::LogLine => format!("unknown command {unwanted}"),
                _ => {
                    let list: Vec<String> =
                        positional.iter().map(|argument| quote(argument)).collect();
                    format!(
                        "{} does not take any arguments, got [{}]",
                        quote(command.name),
                        list.join(" ")
                    )
                }
            }));
        }
        if errors.is_empty() {
            Ok(Parsed::Run(flags))
        } else {
            Err(errors)
        }
    }

    fn set(&mut self, row: &'static FlagRow, text: &str) -> Result<(), ParseError> {
        let Some(entry) = self.entries.get_mut(row.name) else {
            return Err(ParseError(format!("unknown flag: --{}", row.name)));
        };
        entry
            .value
            .set(row.kind, text, entry.changed)
            .map_err(|why| {
                let name = match row.shorthand {
                    Some(letter) => format!("-{letter}, --{}", row.name),
                    None => format!("--{}", row.name),
                };
                ParseError(format!(
                    "invalid argument {} for {} flag: {why}",
                    quote(text),
                    quote(&name)
                ))
            })?;
        entry.changed = true;
        if let Some(instead) = row.deprecated {
            self.deprecations.push(format!(
                "Flag --{} has been deprecated, {instead}",
                row.name
            ));
        }
        Ok(())
    }

    /// The version that `--version=vX.Y.Z-something` asks the daemon to report.
    pub fn reported_version(&self) -> Option<&str> {
        self.has("version")
            .then(|| self.string("version"))
            .filter(|version| version.starts_with('v'))
    }

    /// Lines about deprecated flags that were used, for stderr.
    pub fn deprecations(&self) -> &[String] {
        &self.deprecations
    }

    /// Flags that were set and have no effect, with the reason.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let mut found: Vec<_> = self
            .entries
            .values()
            .filter(|entry| entry.changed)
            .filter_map(|entry| match entry.row.effect {
                Effect::WithoutEffect(reason) => Some((entry.row.name, reason)),
                Effect::Implemented => None,
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Name and current text of every flag, sorted by name.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> = self
            .entries
            .values()
            .map(|entry| {
                let text = entry.value.to_string();
                let text = match entry.row.kind {
                    Kind::StringToString => format!("[{text}]"),
                    Kind::Quantity if text.is_empty() => "0".to_owned(),
                    _ => text,
                };
                (entry.row.name, text)
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Whether the daemon has this flag at all.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether the command line set the flag.
    pub fn changed(&self, name: &str) -> bool {
        self.entry(name).changed
    }

    fn entry(&self, name: &str) -> &Entry {
        self.entries
            .get(name)
            .unwrap_or_else(|| panic!("no flag --{name} in the table"))
    }

    /// The value of any flag.
    pub fn value(&self, name: &str) -> &Value {
        &self.entry(name).value
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(value) => *value,
            other => mismatch(name, other),
        }
    }

    /// Int and Int32 flags.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(value) => *value,
            other => mismatch(name, other),
        }
    }

    /// Int32 flags.
    pub fn int32(&self, name: &str) -> i32 {
        i32::try_from(self.int(name)).unwrap_or_else(|_| panic!("--{name} is not an int32 flag"))
    }

    /// Uint, Uint32 and Level flags.
    pub fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(value) => *value,
            other => mismatch(name, other),
        }
    }

    pub fn float(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Float(value) => *value,
            other => mismatch(name, other),
        }
    }

    /// Nanoseconds; Go's durations may be negative.
    pub fn duration_nanos(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Duration(value) => *value,
            other => mismatch(name, other),
        }
    }

    /// A duration, with negative ones as zero.
    pub fn duration(&self, name: &str) -> Duration {
        Duration::from_nanos(u64::try_from(self.duration_nanos(name)).unwrap_or(0))
    }

    /// String, IpText, IpPort, Quantity and VModule flags.
    pub fn string(&self, name: &str) -> &str {
        match self.value(name) {
            Value::String(value) => value,
            other => mismatch(name, other),
        }
    }

    /// A string flag, `None` when empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.string(name)).filter(|text| !text.is_empty())
    }

    /// StringSlice, StringArray and ReservedMemory flags.
    pub fn strings(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::Strings(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn int32s(&self, name: &str) -> &[i32] {
        match self.value(name) {
            Value::Int32s(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn ip(&self, name: &str) -> Option<IpAddr> {
        match self.value(name) {
            Value::Ip(value) => *value,
            other => mismatch(name, other),
        }
    }

    /// All map kinds with string values.
    pub fn map(&self, name: &str) -> &BTreeMap<String, String> {
        match self.value(name) {
            Value::Map(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn bool_map(&self, name: &str) -> &BTreeMap<String, bool> {
        match self.value(name) {
            Value::BoolMap(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn multimap(&self, name: &str) -> &BTreeMap<String, Vec<String>> {
        match self.value(name) {
            Value::Multimap(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn cert_keys(&self, name: &str) -> &[NamedCertKey] {
        match self.value(name) {
            Value::CertKeys(value) => value,
            other => mismatch(name, other),
        }
    }

    pub fn port_range(&self, name: &str) -> PortRange {
        match self.value(name) {
            Value::PortRange(value) => *value,
            other => mismatch(name, other),
        }
    }
}

#[track_caller]
fn mismatch(name: &str, value: &Value) -> ! {
    panic!("--{name} is read as another type than {value:?}")
}

fn quote_char(letter: char) -> String {
    format!("'{letter}'")
}

/// The value of the flag when it stands alone.
pub(super) fn no_option_value(kind: Kind) -> Option<&'static str> {
    matches!(kind, Kind::Bool | Kind::Version).then_some("true")
}

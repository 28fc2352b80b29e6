//! `--help` and usage. Upstream: pflag's FlagUsages, component-base/cli/flag/sectioned.go.

use std::fmt::Write as _;

use super::parse::no_option_value;
use super::{Command, FlagRow, Kind, UsageStyle};
use apimachinery::quote::quote;

/// The text of `--help`.
pub fn help(command: &Command) -> String {
    format!("{}\n\n{}", command.description.trim_end(), usage(command))
}

/// The text shown before an argument error.
pub fn usage(command: &Command) -> String {
    let mut out = format!("Usage:\n  {} [flags]\n", command.name);
    let mut sections: Vec<(&str, Vec<&FlagRow>)> = Vec::new();
    for group in command.flags {
        match sections.iter_mut().find(|(name, _)| *name == group.section) {
            Some((_, rows)) => rows.extend(group.rows),
            None => sections.push((group.section, group.rows.iter().collect())),
        }
    }
    for (section, mut rows) in sections {
        rows.retain(|row| !row.hidden);
        if rows.is_empty() {
            continue;
        }
        rows.sort_by_key(|row| row.name);
        if section.is_empty() {
            let _ = write!(out, "\nFlags:\n{}", flag_usages(command, &rows));
        } else {
            let _ = write!(out, "\n{section} flags:\n\n{}", flag_usages(command, &rows));
        }
    }
    out
}

fn flag_usages(command: &Command, rows: &[&FlagRow]) -> String {
    let heads: Vec<String> = rows.iter().map(|row| head(row)).collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    // The kubelet prints its flags wrapped for a very narrow screen, which pflag gives up on at this column.
    let column = if command.usage_style == UsageStyle::LogLine {
        16
    } else {
        width + 3
    };
    for (row, head) in rows.iter().zip(&heads) {
        let text = tail(command, row).replace('\n', &format!("\n{:column$}", ""));
        let _ = writeln!(out, "{head:width$}   {text}");
    }
    out
}

fn head(row: &FlagRow) -> String {
    let mut head = match row.shorthand {
        Some(letter) => format!("  -{letter}, --{}", row.name),
        None => format!("      --{}", row.name),
    };
    let varname = row.varname.unwrap_or(type_name(row.kind));
    if !varname.is_empty() {
        head.push(' ');
        head.push_str(varname);
    }
    if let Some(value) = no_option_value(row.kind).filter(|_| row.kind != Kind::Bool) {
        let _ = write!(head, "[={value}]");
    }
    head
}

fn tail(command: &Command, row: &FlagRow) -> String {
    let mut text = row.help.to_owned();
    const OPTIONS: &str = "Options are:";
    if row.name == "feature-gates"
        && let Some(at) = text.find(OPTIONS)
    {
        let rest = text.split_off(at + OPTIONS.len());
        let prefix = if matches!(row.kind, Kind::ColonMultimap { .. }) {
            "kube:"
        } else {
            ""
        };
        for line in command.features.iter().filter_map(|gate| gate.help_line()) {
            let _ = write!(text, "\n{prefix}{line}");
        }
        text.push_str(&rest);
    }
    if !is_zero(row) {
        if row.kind == Kind::String && row.varname.is_none() {
            let _ = write!(text, " (default {})", quote(row.default));
        } else {
            let _ = write!(text, " (default {})", row.default);
        }
    }
    if let Some(instead) = row.deprecated {
        let _ = write!(text, " (DEPRECATED: {instead})");
    }
    text
}

/// pflag shows no default that is its type's zero value, and does not know the zero of every type.
fn is_zero(row: &FlagRow) -> bool {
    match row.kind {
        Kind::Bool => matches!(row.default, "false" | ""),
        Kind::Duration => matches!(row.default, "0" | "0s"),
        Kind::Int | Kind::Int32 | Kind::Uint | Kind::Uint32 | Kind::Float32 | Kind::Float64 => {
            row.default == "0"
        }
        Kind::String => row.default.is_empty(),
        Kind::Ip => row.default == "<nil>",
        Kind::StringSlice | Kind::StringArray => row.default == "[]",
        _ => matches!(row.default, "false" | "<nil>" | "" | "0"),
    }
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "",
        Kind::Int => "int",
        Kind::Int32 => "int32",
        Kind::Uint => "uint",
        Kind::Uint32 => "uint32",
        Kind::Float32 => "float32",
        Kind::Float64 => "float",
        Kind::Duration => "duration",
        Kind::String => "string",
        Kind::StringSlice => "strings",
        Kind::StringArray => "stringArray",
        Kind::Int32Slice => "int32Slice",
        Kind::Ip | Kind::IpText => "ip",
        Kind::IpPort => "ipport",
        Kind::MapStringString
        | Kind::MapStringStringNoSplit
        | Kind::LangleMapStringString
        | Kind::ConfigurationMap => "mapStringString",
        Kind::StringToString => "stringToString",
        Kind::MapStringBool => "mapStringBool",
        Kind::ColonMultimap { .. } => "colonSeparatedMultimapStringString",
        Kind::NamedCertKey => "namedCertKey",
        Kind::PortRange => "portRange",
        Kind::Quantity => "quantity",
        Kind::ReservedMemory => "reserved-memory",
        Kind::Level => "Level",
        Kind::VModule => "pattern=N,...",
        Kind::Version => "version",
    }
}

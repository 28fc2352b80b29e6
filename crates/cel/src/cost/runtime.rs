//! What calls cost while they run.

use super::functions::{AUTHORIZE, selector};
use super::{REGEX_FACTOR, STRING_FACTOR, SizeEstimate, times};
use crate::eval::LIST_COST;
use crate::value::{Opaque, Value};

/// How a call is counted; chosen once per call of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    Fixed(u64),
    /// The first argument, walked over this often.
    Walk(f64),
    /// The same for functions of the language, which look into optionals.
    WalkInto,
    /// What the call makes, walked over.
    WalkResult(f64),
    /// The elements of the second argument.
    SecondSize,
    /// The shorter of two.
    Shorter,
    /// Both.
    Sum,
    Regex,
    Contains,
    Selector,
    /// Everything in the first argument.
    Traverse,
    ContainsIp(bool),
    ContainsCidr(bool),
    Validate,
    Sets(f64),
    MakesList,
    Flatten,
    SelfCompare(usize),
}

/// The size of an argument; things without one count as one.
fn size(value: Option<&Value<'_>>) -> u64 {
    match value {
        Some(Value::Optional(Some(inner))) => size(Some(inner)),
        value => value.and_then(Value::size).unwrap_or(1),
    }
}

/// The size as the rules of the Kubernetes libraries see it: optionals are one.
fn plain_size(value: Option<&Value<'_>>) -> u64 {
    value.and_then(Value::size).unwrap_or(1)
}

fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * STRING_FACTOR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * STRING_FACTOR) as u64,
        Value::List(list) => list
            .iter()
            .map(|element| element.map_or(1, |element| traversal(&element)))
            .sum(),
        Value::Map(map) => map
            .keys()
            .iter()
            .map(|key| {
                traversal(key)
                    + map
                        .find(key)
                        .ok()
                        .flatten()
                        .map_or(1, |value| traversal(&value))
            })
            .sum(),
        _ => 1,
    }
}

/// What `==` and `!=` cost.
pub(crate) fn equality(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> u64 {
    match left {
        Some(Value::Opaque(_)) => 1,
        _ => times(size(left).min(size(right)), STRING_FACTOR),
    }
}

impl Rule {
    /// The rule for a function; the overload is empty where several may be meant.
    pub(crate) fn of(function: &str, overload: &str) -> Rule {
        if let Some(rule) = Self::of_lists(overload) {
            return rule;
        }
        match function {
            "check" => Rule::Fixed(AUTHORIZE),
            "fieldSelector" | "labelSelector" => Rule::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Rule::Traverse,
            "ip" if overload == "cidr_ip" => Rule::Fixed(1),
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => Rule::Walk(1.0),
            "replace" | "split" | "ip.isCanonical" => Rule::Walk(2.0),
            "join" => Rule::WalkResult(2.0),
            "find" | "findAll" => Rule::Regex,
            "containsIP" => Rule::ContainsIp(overload == "cidr_contains_ip_string"),
            "containsCIDR" => Rule::ContainsCidr(overload == "cidr_contains_cidr_string"),
            "validate" => Rule::Validate,
            _ => match overload {
                "starts_with_string" | "ends_with_string" | "string_to_bytes"
                | "bytes_to_string" | "strings_quote" | "string_format" => Rule::WalkInto,
                "in_list" => Rule::SecondSize,
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes" => Rule::Shorter,
                "add_string" | "add_bytes" => Rule::Sum,
                "matches_string" => Rule::Regex,
                "contains_string" => Rule::Contains,
                _ => Rule::Fixed(1),
            },
        }
    }

    fn of_lists(overload: &str) -> Option<Rule> {
        Some(match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => Rule::Sets(1.0),
            "list_sets_equivalent_list" => Rule::Sets(2.0),
            "list_slice" | "lists_range" | "list_reverse" => Rule::MakesList,
            "list_flatten" | "list_flatten_int" => Rule::Flatten,
            "list_distinct" => Rule::SelfCompare(0),
            _ if overload.starts_with("list_") && overload.ends_with("_sort") => {
                Rule::SelfCompare(0)
            }
            _ if overload.ends_with("_sortByAssociatedKeys") => Rule::SelfCompare(1),
            _ => return None,
        })
    }

    /// Whether the cost depends on what the call makes.
    pub(crate) fn needs_result(self) -> bool {
        matches!(self, Rule::WalkResult(_) | Rule::MakesList)
    }

    /// The cost of a call with these arguments.
    pub(crate) fn cost(self, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
        let of = |index: usize| size(args.get(index));
        match self {
            Rule::Fixed(cost) => cost,
            Rule::Walk(factor) => times(plain_size(args.first()), factor * STRING_FACTOR),
            Rule::WalkInto => times(of(0), STRING_FACTOR),
            Rule::WalkResult(factor) => times(plain_size(result), factor * STRING_FACTOR),
            Rule::SecondSize => of(1),
            Rule::Shorter => times(of(0).min(of(1)), STRING_FACTOR),
            Rule::Sum => times(of(0) + of(1), STRING_FACTOR),
            Rule::Regex => times(of(0) + 1, STRING_FACTOR) * times(of(1), REGEX_FACTOR),
            Rule::Contains => times(of(0), STRING_FACTOR) * times(of(1), STRING_FACTOR),
            Rule::Selector => selector(SizeEstimate::fixed(of(1))).max,
            Rule::Traverse => args.first().map_or(0, traversal),
            Rule::ContainsIp(parses) => {
                times(2 * of(0), STRING_FACTOR)
                    + if parses {
                        times(of(1), STRING_FACTOR)
                    } else {
                        0
                    }
            }
            Rule::ContainsCidr(parses) => {
                let compare = times(2 * of(0), STRING_FACTOR) + times(of(0), STRING_FACTOR) + 1;
                compare
                    + if parses {
                        times(of(1), STRING_FACTOR)
                    } else {
                        0
                    }
            }
            Rule::Validate => match args.first() {
                Some(Value::Opaque(opaque)) if let Opaque::NamedFormat(format) = &**opaque => {
                    times(of(1) + 1, STRING_FACTOR) * times(format.regex_size, REGEX_FACTOR)
                }
                _ => 1,
            },
            Rule::Sets(factor) => {
                1 + (plain_size(args.first()) as f64 * plain_size(args.get(1)) as f64 * factor)
                    as u64
            }
            Rule::MakesList => 1 + LIST_COST + plain_size(result),
            Rule::Flatten => {
                let depth = match args.get(1) {
                    Some(Value::Int(depth)) => *depth as f64,
                    _ => 1.0,
                };
                // Negative depths, which are errors, wrap around as upstream.
                let walked = plain_size(args.first()) as f64 * depth;
                (if walked < 0.0 {
                    walked as i64 as u64
                } else {
                    walked as u64
                })
                .wrapping_add(1 + LIST_COST)
            }
            Rule::SelfCompare(index) => self_compare(args.get(index)),
        }
    }
}

/// What comparing all elements with each other costs.
fn self_compare(list: Option<&Value<'_>>) -> u64 {
    let count = plain_size(list) as f64;
    let first = match list {
        Some(Value::List(list)) if !list.is_empty() => list.get(0).ok(),
        _ => None,
    };
    let is_text = matches!(first, Some(Value::String(_) | Value::Bytes(_)));
    let factor = if is_text { 2.0 + STRING_FACTOR } else { 2.0 };
    (count * count * factor) as u64 + 1 + LIST_COST
}

//! What calls of the libraries' functions cost, estimated.

use super::estimate::{Argument, Coster};
use super::{CostEstimate, REGEX_FACTOR, STRING_FACTOR, SizeEstimate, times};
use crate::syntax::ast::Kind;
use crate::types::Type;
use crate::value::Value;

/// The cost of a call and the size of its result.
pub(super) struct CallEstimate {
    pub(super) cost: CostEstimate,
    pub(super) size: Option<SizeEstimate>,
}

impl CallEstimate {
    fn new(cost: CostEstimate) -> Option<Self> {
        Some(CallEstimate { cost, size: None })
    }

    fn sized(cost: CostEstimate, size: SizeEstimate) -> Option<Self> {
        Some(CallEstimate {
            cost,
            size: Some(size),
        })
    }
}

const ONE: CostEstimate = CostEstimate::fixed(1);
/// What asking the authorizer costs.
pub(super) const AUTHORIZE: u64 = 350_000;
/// Bytes of addresses.
const ADDRESS: SizeEstimate = SizeEstimate { min: 4, max: 16 };
const MAX_FORMAT: u64 = 64;
const MAX_FORMAT_REGEX: f64 = 128.0;

/// What a selector of this length costs: a list, and a requirement for every two characters.
pub(super) fn selector(length: SizeEstimate) -> CostEstimate {
    let requirement = (crate::eval::LIST_COST + crate::eval::STRUCT_COST) as f64;
    CostEstimate::fixed(crate::eval::LIST_COST)
        .plus(length.times(STRING_FACTOR))
        .plus(length.times(0.5).times(requirement))
}

/// A literal argument that is a number; negative ones are zero.
fn literal(arg: &Argument<'_>, default: u64) -> u64 {
    match &arg.expr.kind {
        Kind::Literal(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        _ => default,
    }
}

/// A call that makes a list.
fn makes_list(factor: f64, size: SizeEstimate) -> Option<CallEstimate> {
    let cost = size
        .times(factor)
        .plus(ONE)
        .plus(CostEstimate::fixed(crate::eval::LIST_COST));
    CallEstimate::sized(cost, size)
}

/// The estimate for a function of a library; none for those of the language.
pub(super) fn estimate<'c>(
    coster: &Coster<'c>,
    function: &str,
    overload: &str,
    target: Option<&Argument<'c>>,
    args: &[Argument<'c>],
) -> Option<CallEstimate> {
    let size = |arg: &Argument<'_>| coster.argument_size(arg);
    if let Some(found) = by_overload(coster, overload, target, args) {
        return Some(found);
    }
    let first = args.first();
    match function {
        "check" => CallEstimate::new(CostEstimate::fixed(AUTHORIZE)),
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
        | "allowed" | "reason" | "error" | "errored" => CallEstimate::new(ONE),
        "fieldSelector" | "labelSelector" if args.len() == 1 => {
            CallEstimate::new(selector(size(&args[0])))
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            let target = target?;
            match coster.element_size(target) {
                Some((Type::String | Type::Bytes, element)) => {
                    CallEstimate::new(size(target).each(ONE.plus(element.times(STRING_FACTOR))))
                }
                Some(_) => CallEstimate::new(size(target).each(ONE)),
                None => CallEstimate::new(size(target).times(STRING_FACTOR)),
            }
        }
        "url" | "jsonpatch.escapeKey" => {
            CallEstimate::sized(size(first?).times(STRING_FACTOR), size(first?))
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            CallEstimate::sized(size(target?).times(STRING_FACTOR), size(target?))
        }
        "replace" if args.len() >= 2 => {
            let text = size(target?);
            let result = replaced(text, size(&args[0]), size(&args[1]));
            CallEstimate::sized(text.times(2.0 * STRING_FACTOR), result)
        }
        "split" => {
            let text = size(target?);
            let max = match args.get(1).map(|arg| &arg.expr.kind) {
                Some(Kind::Literal(Value::Int(number))) => *number as u64,
                _ => text.max,
            };
            CallEstimate::sized(
                text.times(2.0 * STRING_FACTOR),
                SizeEstimate { min: 0, max },
            )
        }
        "join" => {
            let list = size(target?);
            let mut result = coster
                .element_size(target?)
                .map_or(SizeEstimate::fixed(0), |(_, element)| list.by(element));
            if let Some(separator) = first {
                let gaps = SizeEstimate {
                    min: list.min.saturating_sub(1),
                    max: list.max.saturating_sub(1),
                };
                result = result.plus(size(separator).by(gaps));
            }
            CallEstimate::sized(result.times(STRING_FACTOR), result)
        }
        "find" | "findAll" => {
            let text = size(target?);
            let walk = text.plus(SizeEstimate::fixed(1)).times(STRING_FACTOR);
            let cost = walk.by(size(first?).times(REGEX_FACTOR));
            CallEstimate::sized(
                cost,
                SizeEstimate {
                    min: 0,
                    max: text.max,
                },
            )
        }
        "ip" if overload == "cidr_ip" => CallEstimate::new(ONE),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            CallEstimate::new(size(first?).times(STRING_FACTOR))
        }
        "ip.isCanonical" => CallEstimate::new(size(first?).times(2.0 * STRING_FACTOR)),
        "containsIP" => {
            let cost = ADDRESS.plus(ADDRESS).times(STRING_FACTOR);
            CallEstimate::new(match overload {
                "cidr_contains_ip_string" => cost.plus(size(first?).times(STRING_FACTOR)),
                _ => cost,
            })
        }
        "containsCIDR" => {
            let cost = ADDRESS
                .plus(ADDRESS)
                .times(STRING_FACTOR)
                .plus(ADDRESS.times(STRING_FACTOR))
                .plus(ONE);
            CallEstimate::new(match overload {
                "cidr_contains_cidr_string" => cost.plus(size(first?).times(STRING_FACTOR)),
                _ => cost,
            })
        }
        "validate" => CallEstimate::new(
            size(first?)
                .times(STRING_FACTOR)
                .times(MAX_FORMAT_REGEX * REGEX_FACTOR),
        ),
        "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => CallEstimate::new(ONE),
        "_==_" if args.len() == 2 && args[0].of == args[1].of => equality(&args[0].of, &args[1]),
        _ => None,
    }
}

/// Comparing values of the libraries' types.
fn equality(of: &Type, right: &Argument<'_>) -> Option<CallEstimate> {
    let (Type::Opaque(name, _) | Type::Struct(name)) = of else {
        return None;
    };
    match &**name {
        "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => {
            CallEstimate::new(ONE)
        }
        name if name.starts_with("kubernetes.authorization.") => CallEstimate::new(ONE),
        "kubernetes.NamedFormat" => CallEstimate::new(
            CostEstimate {
                min: 1,
                max: MAX_FORMAT,
            }
            .times(STRING_FACTOR),
        ),
        "kubernetes.URL" => {
            let max = right.computed().map_or(1, |size| size.max);
            CallEstimate::new(CostEstimate { min: 1, max }.times(STRING_FACTOR))
        }
        _ => None,
    }
}

fn replaced(text: SizeEstimate, old: SizeEstimate, new: SizeEstimate) -> SizeEstimate {
    let ceil = |a: u64, b: u64| times(a, 1.0 / b as f64).min((a as f64 / b as f64).ceil() as u64);
    let (mut count, mut kept) = (SizeEstimate::fixed(0), SizeEstimate::fixed(0));
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = ceil(text.max, old.min);
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = ceil(text.min, old.max);
    }
    count.by(new).plus(kept)
}

/// The libraries of lists and sets go by overload.
fn by_overload<'c>(
    coster: &Coster<'c>,
    overload: &str,
    target: Option<&Argument<'c>>,
    args: &[Argument<'c>],
) -> Option<CallEstimate> {
    let size = |arg: &Argument<'_>| coster.argument_size(arg);
    match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
            let factor = if overload == "list_sets_equivalent_list" {
                2.0
            } else {
                1.0
            };
            let [a, b] = args else { return None };
            CallEstimate::new(size(a).by(size(b)).times(factor).plus(ONE))
        }
        "list_slice" => {
            let [start, end] = args else { return None };
            let list = size(target?);
            makes_list(
                1.0,
                SizeEstimate::fixed(literal(end, list.max).wrapping_sub(literal(start, 0))),
            )
        }
        "lists_range" => makes_list(1.0, SizeEstimate::fixed(literal(args.first()?, u64::MAX))),
        "list_reverse" => makes_list(1.0, size(target?)),
        "list_flatten" => makes_list(1.0, size(target?)),
        "list_flatten_int" => makes_list(literal(args.first()?, u64::MAX) as f64, size(target?)),
        "list_distinct" => makes_list(2.0, size(target?).by(size(target?))),
        _ if overload.ends_with("_sort") && overload.starts_with("list_") => {
            sorted(overload, size(target?))
        }
        _ if overload.ends_with("_sortByAssociatedKeys") => sorted(overload, size(args.first()?)),
        _ => None,
    }
}

fn sorted(overload: &str, size: SizeEstimate) -> Option<CallEstimate> {
    let is_text = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    makes_list(
        if is_text { 2.0 + STRING_FACTOR } else { 2.0 },
        size.by(size),
    )
}

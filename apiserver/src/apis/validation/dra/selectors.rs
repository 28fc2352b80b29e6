//! Selectors of devices: expressions about `device`. Upstream: dynamic-resource-allocation/cel.
//!
//! A selector may look at attributes, whose types nobody knows before it runs, and at capacities. Its worst case must not
//! cost too much, for which the environment says how large a device can be.

use std::sync::LazyLock;

use cel::{Env, SizeEstimate, SizeEstimator, Type};

use super::slices::{LONGEST_VALUE, MOST_NAMES};
use super::*;

const MOST_SELECTORS: usize = 32;
const LONGEST_EXPRESSION: usize = 10 * 1024;
/// In CEL's units.
const HIGHEST_COST: u64 = 1_000_000;
const LONGEST_DRIVER: usize = 63;
const DEVICE: &str = "kubernetes.DRADevice";
const SHARED: &str = "allowMultipleAllocations";

static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    let quantity = Type::object("kubernetes.Quantity");
    let by_name = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
    let mut fields = vec![
        ("driver".to_owned(), Type::String),
        ("attributes".to_owned(), by_name(Type::Any)),
        ("capacity".to_owned(), by_name(quantity)),
    ];
    if gates::enabled("DRAConsumableCapacity") {
        fields.push((SHARED.to_owned(), Type::Bool));
    }
    Env::builder()
        .bindings()
        .object_type(DEVICE, fields)
        .variable("device", Type::object(DEVICE))
        .build()
});

/// How large the parts of a device can be.
struct Device;

impl SizeEstimator for Device {
    fn size(&self, path: &[&str]) -> Option<SizeEstimate> {
        let max = match path {
            ["device"] => 0,
            ["device", "driver"] => LONGEST_DRIVER,
            ["device", field] if *field == SHARED => 1,
            ["device", "attributes" | "capacity"] => MOST_NAMES,
            ["device", "attributes" | "capacity", "@keys"] => LONGEST_DOMAIN,
            ["device", "attributes" | "capacity", "@values" | "@items"] => MOST_NAMES,
            [
                "device",
                "attributes" | "capacity",
                "@values" | "@items",
                "@keys",
            ] => LONGEST_ID,
            // All attributes are of one type, whatever their names.
            ["device", "attributes", "@values" | "@items", _] => LONGEST_VALUE,
            [
                "device",
                "capacity",
                "@values" | "@items",
                "@values" | "@items",
            ] => 0,
            _ => return None,
        };
        Some(SizeEstimate {
            min: 0,
            max: max as u64,
        })
    }
}

pub(super) fn selectors(list: &[DeviceSelector], path: &Path) -> ErrorList {
    items(list, MOST_SELECTORS, path, |selector, path| {
        let path = path.child("cel");
        match &selector.cel {
            None => field::required(&path, "").into(),
            Some(cel) => expression(&cel.expression, &path.child("expression")),
        }
    })
}

fn expression(text: &str, path: &Path) -> ErrorList {
    if text.len() > LONGEST_EXPRESSION {
        return field::too_long(path, LONGEST_EXPRESSION).into();
    }
    let program = match ENVIRONMENT.compile(text) {
        Ok(program) => program,
        Err(errors) => {
            return match errors.instantiation() {
                Some(error) => {
                    field::internal(path, format!("program instantiation failed: {error}")).into()
                }
                None => field::invalid(path, text, format!("compilation failed: {errors}")).into(),
            };
        }
    };
    let of = program.output_type();
    if !matches!(of, Type::Bool | Type::Any) {
        let detail = format!("must evaluate to bool or the unknown type, not {of}");
        return field::invalid(path, text, detail).into();
    }
    if program.estimate_cost(&Device).max > HIGHEST_COST {
        return field::forbidden(path, "too complex, exceeds cost limit").into();
    }
    ErrorList::new()
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[track_caller]
    fn of(text: &str, want: &[&str]) {
        check(expression(text, &Path::new("e")), want);
    }

    #[test]
    fn selectors_say_yes_or_no_about_a_device() {
        for good in [
            "true",
            "device.driver == 'a' && device.allowMultipleAllocations",
            "device.attributes['a'].flag",
            "device.attributes['a'].model == 'x' || 'b' in device.attributes",
            "device.capacity['a'].memory.compareTo(quantity('1Gi')) >= 0",
            "cel.bind(dra, device.attributes['a'], dra.one && dra.other)",
            "device.attributes['a'].version.isGreaterThan(semver('1.0.0'))",
        ] {
            of(good, &[]);
        }
        of(
            "1",
            &["e: Invalid value: \"1\": must evaluate to bool or the unknown type, not int"],
        );
        for (text, shown) in [
            ("device.attributes['a']", "map(string, google.protobuf.Any)"),
            ("device.attributes['a'].b.c", "dyn"),
        ] {
            let want = format!(
                "e: Invalid value: {text:?}: must evaluate to bool or the unknown type, not {shown}"
            );
            of(text, &[&want]);
        }
        of(
            "device.attributes.a.b.all(c, true)",
            &[
                "e: Invalid value: \"device.attributes.a.b.all(c, true)\": compilation failed: ERROR: <input>:1:20: expression of type 'any' cannot be range of a comprehension (must be list, map, or dynamic)\n | device.attributes.a.b.all(c, true)\n | ...................^",
            ],
        );
        of(
            "device.none",
            &[
                "e: Invalid value: \"device.none\": compilation failed: ERROR: <input>:1:7: undefined field 'none'\n | device.none\n | ......^",
            ],
        );
    }

    #[test]
    fn selectors_cost_little() {
        // What a device can have is bounded; what an expression makes is not.
        of(
            "device.attributes.all(d, device.attributes[d].all(i, i.startsWith('a')))",
            &[],
        );
        let of_all = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a + b == c + d))))";
        of(of_all, &["e: Forbidden: too complex, exceeds cost limit"]);
    }
}

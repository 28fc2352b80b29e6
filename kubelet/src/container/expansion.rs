//! `$(VAR)` expansion in commands, arguments, environment and subPathExpr.
//!
//! Upstream: `third_party/forked/golang/expansion`. `$$` is a dollar sign; a reference without a value stays as it is.

use std::collections::BTreeMap;

/// Expands with the values of one map.
#[must_use]
pub fn expand(input: &str, values: &BTreeMap<String, String>) -> String {
    expand_with(input, |name| values.get(name).cloned())
}

/// Expands with a look-up; `None` leaves the reference as written.
pub fn expand_with(input: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('(') {
            match inner.find(')') {
                Some(end) => {
                    let name = &inner[..end];
                    match lookup(name) {
                        Some(value) => output.push_str(&value),
                        None => {
                            output.push_str("$(");
                            output.push_str(name);
                            output.push(')');
                        }
                    }
                    rest = &inner[end + 1..];
                }
                None => {
                    // Not a reference after all: the text goes on behind the bracket.
                    output.push_str("$(");
                    rest = inner;
                }
            }
        } else {
            output.push('$');
            match after.chars().next() {
                Some(next) => {
                    output.push(next);
                    rest = &after[next.len_utf8()..];
                }
                None => rest = after,
            }
        }
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: &str) {
        let values: BTreeMap<String, String> = [
            ("VAR_A", "A"),
            ("VAR_B", "B"),
            ("VAR_C", "C"),
            ("VAR_REF", "$(VAR_A)"),
            ("VAR_EMPTY", ""),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        assert_eq!(expand(input, &values), want, "{input}");
    }

    #[test]
    fn upstream_cases() {
        check("$(VAR_A)", "A");
        check("___$(VAR_B)___", "___B___");
        check("___$(VAR_C)", "___C");
        check("$(VAR_A)-$(VAR_A)", "A-A");
        check("$(VAR_REF)", "$(VAR_A)");
        check("%%$(VAR_REF)--$(VAR_REF)%%", "%%$(VAR_A)--$(VAR_A)%%");
        check("foo$(VAR_EMPTY)bar", "foobar");
        check("foo$$(VAR_A)bar", "foo$(VAR_A)bar");
        check("foo$$$(VAR_A)bar", "foo$Abar");
        check("foo\\$(VAR_C)bar", "foo\\Cbar");
        check("$(VAR_DNE)", "$(VAR_DNE)");
        check("$VAR_A", "$VAR_A");
        check("foo$", "foo$");
        check("f$$", "f$");
        check("$(VAR_A", "$(VAR_A");
        check("$(", "$(");
        check("$()", "$()");
        check("$(VAR_A))", "A)");
        check("$((VAR_A))", "$((VAR_A))");
        check("$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)");
        check("$?_boo_$!", "$?_boo_$!");
        check("$($(VAR_A)--", "$($(VAR_A)--");
        check("--$($(VAR_A)--", "--$($(VAR_A)--");
        check("$$$$$(VAR_A)", "$$A");
        check("$$$$$$(VAR_A)", "$$$(VAR_A)");
    }
}

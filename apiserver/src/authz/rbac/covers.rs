//! Do some rules grant at least what others grant? Upstream: component-helpers/auth/rbac/validation/policy_comparator.go.
//!
//! A rule grants every combination of its groups, resources, verbs and names, and each of these single grants must be granted by one
//! rule of the owner. A request's worth of rules has more of them than there is memory, so they are not written down: values that the
//! same rules of the owner have are looked at once, what is wholly granted is not looked into, and a comparison has [`Limits`].

use std::collections::HashMap;
use std::hash::Hash;

use api_types::rbac::v1::PolicyRule;

/// The outcome of a comparison.
#[derive(Debug, Default, PartialEq)]
pub struct Coverage {
    /// Single grants of the servant that no rule of the owner grants. Empty when all are covered.
    pub uncovered: Vec<PolicyRule>,
    /// A limit was reached: there may be more of them.
    pub more: bool,
}

impl Coverage {
    pub fn is_complete(&self) -> bool {
        self.uncovered.is_empty() && !self.more
    }
}

/// How far a comparison goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Uncovered grants that are told.
    pub uncovered: usize,
    /// Rules and values that are looked at, again and again; some nanoseconds each.
    pub steps: u64,
}

/// Compares what `servant` rules grant with what `owner` rules grant.
pub fn covers(owner: &[PolicyRule], servant: &[PolicyRule]) -> Coverage {
    let limits = Limits {
        uncovered: usize::MAX,
        steps: u64::MAX,
    };
    covers_within(owner, servant, limits)
}

/// [`covers`] for rules that may come from anybody.
pub fn covers_within(owner: &[PolicyRule], servant: &[PolicyRule], limits: Limits) -> Coverage {
    let owner = Owner::new(owner);
    let mut coverage = Coverage::default();
    let mut left = limits;
    for rule in servant {
        let compared = owner
            .compare_resources(rule, &mut left, &mut coverage.uncovered)
            .and_then(|()| owner.compare_paths(rule, &mut left, &mut coverage.uncovered));
        if compared.is_err() {
            coverage.more = true;
            break;
        }
    }
    coverage
}

/// A limit was reached.
struct Enough;

impl Limits {
    fn step(&mut self, steps: usize) -> Result<(), Enough> {
        self.steps = self.steps.checked_sub(steps as u64).ok_or(Enough)?;
        Ok(())
    }

    fn tell(&mut self) -> Result<(), Enough> {
        self.uncovered = self.uncovered.checked_sub(1).ok_or(Enough)?;
        Ok(())
    }
}

/// Numbers of rules of the owner, growing.
type Rules = Vec<u32>;

/// The owner's rules by what they have.
struct Owner<'a> {
    /// All of them.
    rules: Rules,
    /// Those for any name.
    unnamed: Rules,
    groups: Axis<'a>,
    resources: Axis<'a>,
    verbs: Axis<'a>,
    names: Axis<'a>,
    paths: Axis<'a>,
    /// What is before the `*` of paths that end with one.
    prefixes: Vec<(&'a str, u32)>,
}

/// The rules that have a value in one of their lists.
struct Axis<'a>(HashMap<&'a str, Rules>);

impl<'a> Axis<'a> {
    fn new(owner: &'a [PolicyRule], list: impl Fn(&'a PolicyRule) -> &'a [String]) -> Self {
        let mut rules: HashMap<&str, Rules> = HashMap::new();
        for (number, rule) in (0..).zip(owner) {
            for value in list(rule) {
                let rules = rules.entry(value).or_default();
                if rules.last() != Some(&number) {
                    rules.push(number);
                }
            }
        }
        Self(rules)
    }

    fn of(&self, value: &str) -> &[u32] {
        self.0.get(value).map_or(&[], Vec::as_slice)
    }
}

impl<'a> Owner<'a> {
    fn new(rules: &'a [PolicyRule]) -> Self {
        let numbered = || (0..).zip(rules);
        Self {
            rules: numbered().map(|(number, _)| number).collect(),
            unnamed: numbered()
                .filter(|(_, rule)| rule.resource_names.is_empty())
                .map(|(number, _)| number)
                .collect(),
            groups: Axis::new(rules, |rule| &rule.api_groups),
            resources: Axis::new(rules, |rule| &rule.resources),
            verbs: Axis::new(rules, |rule| &rule.verbs),
            names: Axis::new(rules, |rule| &rule.resource_names),
            paths: Axis::new(rules, |rule| &rule.non_resource_urls),
            prefixes: numbered()
                .flat_map(|(number, rule)| {
                    let paths = rule.non_resource_urls.iter();
                    paths.filter_map(move |path| Some((path.strip_suffix('*')?, number)))
                })
                .collect(),
        }
    }

    fn compare_resources(
        &self,
        rule: &PolicyRule,
        left: &mut Limits,
        uncovered: &mut Vec<PolicyRule>,
    ) -> Result<(), Enough> {
        let lists = [
            List::new(&rule.api_groups, left, |group| {
                [self.groups.of("*"), self.groups.of(group)]
            })?,
            List::new(&rule.resources, left, |resource| {
                let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
                let any = subresource.map(|subresource| format!("*/{subresource}"));
                [
                    self.resources.of("*"),
                    self.resources.of(resource),
                    any.as_deref().map_or(&[], |any| self.resources.of(any)),
                ]
            })?,
            List::new(&rule.verbs, left, |verb| {
                [self.verbs.of("*"), self.verbs.of(verb)]
            })?,
            // An owner without names may touch any; an owner with names covers only a grant that names one of them.
            if rule.resource_names.is_empty() {
                List::new([""], left, |_| [&self.unnamed[..]])?
            } else {
                List::new(&rule.resource_names, left, |name| {
                    [&self.unnamed[..], self.names.of(name)]
                })?
            },
        ];
        let named = !rule.resource_names.is_empty();
        compare(&lists, &self.rules, left, |grant| {
            let value = |place: usize| vec![grant[place].to_owned()];
            uncovered.push(PolicyRule {
                api_groups: value(0),
                resources: value(1),
                verbs: value(2),
                resource_names: if named { value(3) } else { Vec::new() },
                ..PolicyRule::default()
            });
        })
    }

    fn compare_paths(
        &self,
        rule: &PolicyRule,
        left: &mut Limits,
        uncovered: &mut Vec<PolicyRule>,
    ) -> Result<(), Enough> {
        left.step(
            rule.non_resource_urls
                .len()
                .saturating_mul(self.prefixes.len()),
        )?;
        let lists = [
            List::of_rules(&rule.non_resource_urls, left, |path| {
                let begun = self.prefixes.iter();
                let begun = begun.filter(|(prefix, _)| path.starts_with(prefix));
                let begun: Rules = begun.map(|(_, rule)| *rule).collect();
                union(&[&begun, self.paths.of(path)])
            })?,
            List::new(&rule.verbs, left, |verb| {
                [self.verbs.of("*"), self.verbs.of(verb)]
            })?,
        ];
        compare(&lists, &self.unnamed, left, |grant| {
            uncovered.push(PolicyRule {
                non_resource_urls: vec![grant[0].to_owned()],
                verbs: vec![grant[1].to_owned()],
                ..PolicyRule::default()
            });
        })
    }
}

/// A list of the servant's rule, and which of the owner's rules have each of its values.
struct List<'a> {
    /// And where among the classes they are.
    values: Vec<(&'a str, usize)>,
    /// The owner's rules that have a value, once for all values that the same ones have.
    classes: Vec<Rules>,
}

impl<'a> List<'a> {
    /// `rules` gives lists that the owner has, of which a value has all.
    fn new<'o, const N: usize>(
        values: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
        left: &mut Limits,
        rules: impl Fn(&'a str) -> [&'o [u32]; N],
    ) -> Result<Self, Enough> {
        // Lists of the owner are told apart by where they are.
        let place = |rules: &[u32]| (rules.as_ptr().addr(), rules.len());
        Self::grouped(
            values.into_iter().map(AsRef::as_ref),
            left,
            |value| rules(value).map(place),
            |value| union(&rules(value)),
        )
    }

    fn of_rules(
        values: &'a [String],
        left: &mut Limits,
        rules: impl Fn(&'a str) -> Rules,
    ) -> Result<Self, Enough> {
        Self::grouped(values.iter().map(String::as_str), left, &rules, &rules)
    }

    fn grouped<K: Eq + Hash>(
        values: impl Iterator<Item = &'a str>,
        left: &mut Limits,
        key: impl Fn(&'a str) -> K,
        rules: impl Fn(&'a str) -> Rules,
    ) -> Result<Self, Enough> {
        let mut known: HashMap<K, usize> = HashMap::new();
        let mut list = Self {
            values: Vec::new(),
            classes: Vec::new(),
        };
        for value in values {
            left.step(1)?;
            let next = list.classes.len();
            let class = *known.entry(key(value)).or_insert(next);
            if class == next {
                let rules = rules(value);
                // They stay in memory.
                left.step(16 * rules.len())?;
                list.classes.push(rules);
            }
            list.values.push((value, class));
        }
        Ok(list)
    }
}

/// Tells each combination of values that none of the rules in `held` has, in order.
fn compare(
    lists: &[List<'_>],
    held: &[u32],
    left: &mut Limits,
    mut tell: impl FnMut(&[&str]),
) -> Result<(), Enough> {
    if lacks(lists, held, left)? {
        descend(lists, held, left, &mut Vec::new(), &mut tell)?;
    }
    Ok(())
}

/// [`compare`] for what comes behind `grant`, where something is lacking.
fn descend<'a>(
    lists: &[List<'a>],
    held: &[u32],
    left: &mut Limits,
    grant: &mut Vec<&'a str>,
    tell: &mut impl FnMut(&[&str]),
) -> Result<(), Enough> {
    let Some((list, lists)) = lists.split_first() else {
        left.tell()?;
        tell(grant);
        return Ok(());
    };
    for (value, class) in &list.values {
        let both = intersection(held, &list.classes[*class], left)?;
        if lacks(lists, &both, left)? {
            grant.push(value);
            descend(lists, &both, left, grant, tell)?;
            grant.pop();
        }
    }
    Ok(())
}

/// Whether there is a combination of values that none of the rules in `held` has.
fn lacks(lists: &[List<'_>], held: &[u32], left: &mut Limits) -> Result<bool, Enough> {
    if held.is_empty() {
        return Ok(lists.iter().all(|list| !list.values.is_empty()));
    }
    let Some((list, lists)) = lists.split_first() else {
        return Ok(false);
    };
    for class in &list.classes {
        let both = intersection(held, class, left)?;
        if lacks(lists, &both, left)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn union(lists: &[&[u32]]) -> Rules {
    let mut all = lists.concat();
    all.sort_unstable();
    all.dedup();
    all
}

fn intersection(left: &[u32], right: &[u32], limits: &mut Limits) -> Result<Rules, Enough> {
    limits.step(left.len() + right.len() + 1)?;
    let mut right = right.iter().peekable();
    let mut both = Vec::new();
    for rule in left {
        while right.next_if(|other| *other < rule).is_some() {}
        if right.next_if_eq(&rule).is_some() {
            both.push(*rule);
        }
    }
    Ok(both)
}

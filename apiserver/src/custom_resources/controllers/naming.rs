//! Which of the names that a CRD asks for it gets: those that no other CRD of the group has.
//! Upstream: pkg/controller/status/naming_controller.go.

use std::collections::HashSet;

use api_types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
};
use apimachinery::field::aggregate;
use apimachinery::quote::quote;

use super::super::conditions::{self, ESTABLISHED, NAMES_ACCEPTED, condition};

/// Sets the accepted names and the conditions that go with them. `all` are group and accepted names of every CRD, this one
/// too. Whether anything changed.
pub(super) fn sync<'a>(
    crd: &mut CustomResourceDefinition,
    all: impl Iterator<Item = (&'a str, &'a CustomResourceDefinitionNames)>,
) -> bool {
    if crd.spec.names == crd.status.accepted_names {
        return false;
    }
    let (names, accepted, established) = decide(crd, &Taken::of_group(&crd.spec.group, all));
    let old = conditions::find(crd, NAMES_ACCEPTED);
    if names == crd.status.accepted_names && conditions::equivalent(Some(&accepted), old) {
        return false;
    }
    crd.status.accepted_names = names;
    conditions::set(crd, accepted);
    conditions::set(crd, established);
    true
}

/// Names that CRDs of a group have.
#[derive(Default)]
struct Taken<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn of_group(
        group: &str,
        all: impl Iterator<Item = (&'a str, &'a CustomResourceDefinitionNames)>,
    ) -> Taken<'a> {
        let mut taken = Taken::default();
        for (_, names) in all.filter(|(other, _)| *other == group) {
            taken.resources.insert(&names.plural);
            taken.resources.insert(&names.singular);
            let short_names = names.short_names.iter();
            taken.resources.extend(short_names.map(String::as_str));
            taken.kinds.insert(&names.kind);
            taken.kinds.insert(&names.list_kind);
        }
        taken
    }
}

fn conflict(requested: &str, accepted: &str, taken: &HashSet<&str>) -> Option<String> {
    let conflicts = requested != accepted && taken.contains(requested);
    conflicts.then(|| format!("{} is already in use", quote(requested)))
}

/// Takes a name, or says who has it.
fn take(slot: &mut String, requested: &str, taken: &HashSet<&str>) -> Option<String> {
    let conflict = conflict(requested, slot, taken);
    if conflict.is_none() {
        requested.clone_into(slot);
    }
    conflict
}

fn decide(
    crd: &CustomResourceDefinition,
    taken: &Taken<'_>,
) -> (
    CustomResourceDefinitionNames,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionCondition,
) {
    let (requested, accepted) = (&crd.spec.names, &crd.status.accepted_names);
    let mut names = accepted.clone();
    // The last conflict is the one that is told.
    let mut found: Option<(&str, String)> = None;
    for (slot, requested, reason) in [
        (&mut names.plural, &requested.plural, "PluralConflict"),
        (&mut names.singular, &requested.singular, "SingularConflict"),
    ] {
        let problem = take(slot, requested, &taken.resources);
        found = problem.map(|problem| (reason, problem)).or(found);
    }
    let new_short_names = requested.short_names.iter();
    let problems = new_short_names
        .filter(|name| !accepted.short_names.contains(name))
        .filter_map(|name| conflict(name, "", &taken.resources));
    match aggregate(problems) {
        Some(problem) => found = Some(("ShortNamesConflict", problem)),
        None => names.short_names.clone_from(&requested.short_names),
    }
    for (slot, requested, reason) in [
        (&mut names.kind, &requested.kind, "KindConflict"),
        (
            &mut names.list_kind,
            &requested.list_kind,
            "ListKindConflict",
        ),
    ] {
        let problem = take(slot, requested, &taken.kinds);
        found = problem.map(|problem| (reason, problem)).or(found);
    }
    names.categories.clone_from(&requested.categories);

    let is_accepted = found.is_none();
    let accepted = match found {
        Some((reason, problem)) => condition(NAMES_ACCEPTED, false, reason, problem),
        None => condition(NAMES_ACCEPTED, true, "NoConflicts", "no conflicts found"),
    };
    let established = match conditions::find(crd, ESTABLISHED) {
        Some(old) if old.status == "True" || !is_accepted => old.clone(),
        _ if is_accepted => condition(
            ESTABLISHED,
            false,
            "Installing",
            "the initial names have been accepted",
        ),
        _ => condition(
            ESTABLISHED,
            false,
            "NotAccepted",
            "not all names are accepted",
        ),
    };
    (names, accepted, established)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str, short_names: &[&str]) -> CustomResourceDefinition {
        let mut crd = CustomResourceDefinition::default();
        crd.metadata.name = format!("{plural}.example.com");
        "example.com".clone_into(&mut crd.spec.group);
        crd.spec.names = CustomResourceDefinitionNames {
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            short_names: short_names.iter().map(|name| (*name).to_owned()).collect(),
            categories: Vec::new(),
        };
        crd
    }

    fn accepted(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
        assert!(sync(&mut crd, std::iter::empty()));
        crd
    }

    fn beside<'a>(
        crds: &[&'a CustomResourceDefinition],
    ) -> impl Iterator<Item = (&'a str, &'a CustomResourceDefinitionNames)> {
        crds.to_vec()
            .into_iter()
            .map(|crd| (&*crd.spec.group, &crd.status.accepted_names))
    }

    fn told(crd: &CustomResourceDefinition) -> Vec<String> {
        let conditions = crd.status.conditions.iter();
        conditions
            .map(|it| format!("{}={} {}: {}", it.type_, it.status, it.reason, it.message))
            .collect()
    }

    #[test]
    fn free_names_are_accepted() {
        let mut crd = accepted(crd("things", "Thing", &["th"]));
        assert_eq!(
            told(&crd),
            [
                "NamesAccepted=True NoConflicts: no conflicts found",
                "Established=False Installing: the initial names have been accepted",
            ]
        );
        assert_eq!(crd.status.accepted_names, crd.spec.names);
        assert!(!sync(&mut crd, std::iter::empty()));
    }

    #[test]
    fn taken_names_are_not() {
        let first = accepted(crd("things", "Thing", &["th", "a"]));
        let mut second = crd("others", "Thing", &["th", "b", "a"]);
        assert!(sync(&mut second, beside(&[&first])));
        assert_eq!(
            told(&second),
            [
                "NamesAccepted=False ListKindConflict: \"ThingList\" is already in use",
                "Established=False NotAccepted: not all names are accepted",
            ]
        );
        assert_eq!(second.status.accepted_names.plural, "others");
        assert_eq!(second.status.accepted_names.kind, "");
        assert!(second.status.accepted_names.short_names.is_empty());
        // Told once.
        let before = second.clone();
        assert!(!sync(&mut second, beside(&[&first, &before])));
        // Until they are free.
        assert!(sync(&mut second, beside(&[&before])));
        assert_eq!(
            told(&second),
            [
                "NamesAccepted=True NoConflicts: no conflicts found",
                "Established=False Installing: the initial names have been accepted",
            ]
        );
    }

    #[test]
    fn several_short_names_are_told_together() {
        let first = accepted(crd("things", "Thing", &["th", "a"]));
        let mut second = crd("others", "Other", &["th", "a"]);
        sync(&mut second, beside(&[&first]));
        assert_eq!(
            told(&second)[0],
            "NamesAccepted=False ShortNamesConflict: [\"th\" is already in use, \"a\" is already in use]"
        );
    }

    #[test]
    fn groups_do_not_share_names() {
        let mut first = accepted(crd("things", "Thing", &[]));
        "example.org".clone_into(&mut first.spec.group);
        let mut second = crd("others", "Thing", &[]);
        sync(&mut second, beside(&[&first]));
        assert!(conditions::is_true(&second, NAMES_ACCEPTED));
    }

    #[test]
    fn what_is_established_stays_so() {
        let first = accepted(crd("things", "Thing", &["th"]));
        let mut second = accepted(crd("others", "Other", &[]));
        conditions::set(
            &mut second,
            condition(ESTABLISHED, true, "InitialNamesAccepted", "m"),
        );
        second.spec.names.short_names = vec!["th".to_owned()];
        assert!(sync(&mut second, beside(&[&first])));
        assert_eq!(
            told(&second),
            [
                "NamesAccepted=False ShortNamesConflict: \"th\" is already in use",
                "Established=True InitialNamesAccepted: m",
            ]
        );
    }
}

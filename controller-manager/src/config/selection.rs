//! `--controllers`: which of the table's controllers run. Upstream: k8s.io/controller-manager/app/helper.go.

use std::collections::BTreeMap;

use component_base::features::FeatureGates;

use crate::controllers::{Default, Descriptor};

/// What the flag asks for, by canonical name.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    star: bool,
    named: BTreeMap<&'static str, bool>,
}

/// Why a controller does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Run,
    /// The flag leaves it out.
    Disabled,
    /// One of its feature gates is off.
    GateOff,
    /// It is part of the cloud-controller-manager.
    Cloud,
    /// This daemon does not have it yet.
    NotBuilt,
}

impl Selection {
    /// Reads the flag's elements. Names that are not in the table, and names of controllers that this daemon does not have, are
    /// errors; of several elements for one controller the first counts.
    pub fn new(elements: &[String], table: &'static [Descriptor]) -> Result<Self, Vec<String>> {
        let (mut selection, mut errors) = (
            Self {
                star: false,
                named: BTreeMap::new(),
            },
            Vec::new(),
        );
        for element in elements {
            if element == "*" {
                selection.star = true;
                continue;
            }
            let (name, on) = element
                .strip_prefix('-')
                .map_or((element.as_str(), true), |name| (name, false));
            let Some(row) = table
                .iter()
                .find(|row| row.name == name || row.aliases.contains(&name))
            else {
                errors.push(format!("{name:?} is not in the list of known controllers"));
                continue;
            };
            if on && row.build.is_none() && row.default != Default::Cloud {
                errors.push(format!("controller {name:?} is not available in this version of kube-controller-manager: take it out of --controllers"));
                continue;
            }
            selection.named.entry(row.name).or_insert(on);
        }
        if errors.is_empty() {
            Ok(selection)
        } else {
            Err(errors)
        }
    }

    /// Whether a controller of the table runs.
    pub fn verdict(&self, row: &Descriptor, features: &FeatureGates) -> Verdict {
        let wanted = self
            .named
            .get(row.name)
            .copied()
            .unwrap_or(self.star && !row.default.is_off());
        let always = row.default == Default::Always && row.build.is_some();
        if !wanted && !always {
            Verdict::Disabled
        } else if row.default == Default::Cloud {
            Verdict::Cloud
        } else if !row
            .default
            .gates()
            .iter()
            .all(|gate| features.knows(gate) && features.enabled(gate))
        {
            Verdict::GateOff
        } else if row.build.is_none() {
            Verdict::NotBuilt
        } else {
            Verdict::Run
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::CONTROLLERS;

    fn verdict(flag: &[&str], name: &str) -> Verdict {
        let elements: Vec<_> = flag.iter().map(|element| (*element).to_owned()).collect();
        let row = CONTROLLERS.iter().find(|row| row.name == name).unwrap();
        Selection::new(&elements, CONTROLLERS)
            .unwrap()
            .verdict(row, &FeatureGates::default())
    }

    #[test]
    fn names_aliases_and_the_star() {
        assert_eq!(verdict(&["*"], "job-controller"), Verdict::Run);
        assert_eq!(verdict(&["*", "-job"], "job-controller"), Verdict::Disabled);
        assert_eq!(
            verdict(&["*", "-job", "job"], "job-controller"),
            Verdict::Disabled,
            "the first counts"
        );
        assert_eq!(verdict(&["job-controller"], "job-controller"), Verdict::Run);
        assert_eq!(
            verdict(&["job"], "deployment-controller"),
            Verdict::Disabled
        );
        assert_eq!(
            verdict(&["*"], "selinux-warning-controller"),
            Verdict::Disabled
        );
        assert_eq!(
            verdict(&["*"], "storage-version-migrator-controller"),
            Verdict::GateOff
        );
        assert_eq!(verdict(&["*"], "node-route-controller"), Verdict::Cloud);
        assert_eq!(
            verdict(&["service"], "service-lb-controller"),
            Verdict::Cloud
        );
    }

    #[test]
    fn the_token_controller_cannot_be_left_out() {
        let row = Descriptor {
            build: Some(|_| Box::pin(async { Ok(None) })),
            ..crate::controllers::not_built(CONTROLLERS[0].name, &[], Default::Always)
        };
        let selection = Selection::new(&[format!("-{}", row.name)], CONTROLLERS).unwrap();
        assert_eq!(
            selection.verdict(&row, &FeatureGates::default()),
            Verdict::Run
        );
    }

    #[test]
    fn unknown_and_missing_controllers_are_refused() {
        let error =
            |flag: &str| Selection::new(&[flag.to_owned()], CONTROLLERS).unwrap_err()[0].clone();
        assert_eq!(
            error("-nonsense"),
            "\"nonsense\" is not in the list of known controllers"
        );
        if let Some(missing) = CONTROLLERS
            .iter()
            .find(|row| row.build.is_none() && row.default == Default::On)
        {
            assert!(error(missing.name).contains("is not available in this version"));
            assert!(Selection::new(&[format!("-{}", missing.name)], CONTROLLERS).is_ok());
        }
    }

    #[test]
    fn the_table_is_upstreams() {
        let mut names: Vec<&str> = CONTROLLERS.iter().map(|row| row.name).collect();
        names.extend(CONTROLLERS.iter().flat_map(|row| row.aliases));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names and aliases are unique");
        assert_eq!(CONTROLLERS.len(), 52);
        let help = crate::config::flags::FLAGS
            .iter()
            .flat_map(|group| group.rows)
            .find(|row| row.name == "controllers")
            .unwrap()
            .help;
        let listed = help
            .split("All controllers: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let mut table: Vec<&str> = CONTROLLERS.iter().map(|row| row.name).collect();
        table.sort_unstable();
        assert_eq!(listed.split(", ").collect::<Vec<_>>(), table);
        for gate in CONTROLLERS.iter().flat_map(|row| row.default.gates()) {
            assert!(FeatureGates::default().knows(gate), "{gate}");
        }
    }
}

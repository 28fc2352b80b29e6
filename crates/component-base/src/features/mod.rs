//! Feature gates. Upstream: k8s.io/component-base/featuregate.
//!
//! One immutable list of what is known ([`KNOWN`]) and one set of what is on, built once from `--feature-gates` or a
//! config file and passed down. Asking for a gate that is not known is a mistake in the program.

mod known;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use known::KNOWN;

use crate::metrics::{Metrics, Opts, Stability};

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Alpha,
    Beta,
    Ga,
    Deprecated,
}

impl Stage {
    /// The stage as metrics and help spell it; GA is the empty text there.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Ga => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

/// A gate as this version knows it.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub name: &'static str,
    pub stage: Stage,
    pub default: bool,
    /// The default is the only value that is taken.
    pub locked: bool,
    /// Gates that must be on for this one to be on.
    pub needs: &'static [&'static str],
}

impl Gate {
    const fn new(name: &'static str, stage: Stage, default: bool) -> Self {
        Self {
            name,
            stage,
            default,
            locked: false,
            needs: &[],
        }
    }

    pub const fn alpha(name: &'static str, default: bool) -> Self {
        Self::new(name, Stage::Alpha, default)
    }

    pub const fn beta(name: &'static str, default: bool) -> Self {
        Self::new(name, Stage::Beta, default)
    }

    pub const fn ga(name: &'static str, default: bool) -> Self {
        Self::new(name, Stage::Ga, default)
    }

    pub const fn deprecated(name: &'static str, default: bool) -> Self {
        Self::new(name, Stage::Deprecated, default)
    }

    pub const fn locked(mut self) -> Self {
        self.locked = true;
        self
    }

    pub const fn needs(mut self, gates: &'static [&'static str]) -> Self {
        self.needs = gates;
        self
    }

    /// The gate's line in `--help`; none for GA and deprecated ones.
    pub fn help_line(&self) -> Option<String> {
        match self.stage {
            Stage::Alpha | Stage::Beta => Some(format!(
                "{}=true|false ({} - default={})",
                self.name,
                self.stage.as_str(),
                self.default
            )),
            Stage::Ga | Stage::Deprecated => None,
        }
    }
}

/// Why gates cannot be set as asked; texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("unrecognized feature gate: {0}")]
    Unrecognized(String),
    #[error("cannot set feature gate {name} to {to}, feature is locked to {default}")]
    Locked {
        name: String,
        to: bool,
        default: bool,
    },
    #[error("{name} is enabled, but depends on features that are disabled: [{}]", needs.join(" "))]
    Needs { name: String, needs: Vec<String> },
    #[error("missing bool value for {0}")]
    MissingValue(String),
    #[error("invalid value of {name}={value}, err: {why}")]
    InvalidValue {
        name: String,
        value: String,
        why: String,
    },
    #[error("component not registered: {0}")]
    UnknownComponent(String),
}

/// Which features are on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FeatureGates {
    state: Arc<State>,
}

#[derive(Clone, Debug)]
struct State {
    known: &'static [Gate],
    on: HashMap<&'static str, bool>,
    /// What was set by name, for `/flagz` and logs.
    set: BTreeMap<String, bool>,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self::new(KNOWN)
    }
}

impl FeatureGates {
    /// All gates at their defaults.
    pub fn new(known: &'static [Gate]) -> Self {
        let on = known.iter().map(|gate| (gate.name, gate.default)).collect();
        Self {
            state: Arc::new(State {
                known,
                on,
                set: BTreeMap::new(),
            }),
        }
    }

    /// A copy with these gates set on top. All errors are reported.
    pub fn with(&self, settings: &BTreeMap<String, bool>) -> Result<Self, Vec<GateError>> {
        let mut state = (*self.state).clone();
        state
            .set
            .extend(settings.iter().map(|(name, on)| (name.clone(), *on)));
        let mut errors = Vec::new();
        // AllAlpha and AllBeta first: a gate that is named is not touched by them, whatever the order.
        for (special, stage) in [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)] {
            if let Some(on) = state.set.get(special) {
                for gate in state.known {
                    if gate.stage == stage && !gate.locked && !state.set.contains_key(gate.name) {
                        state.on.insert(gate.name, *on);
                    }
                }
            }
        }
        for (name, on) in &state.set {
            match state.known.iter().find(|gate| gate.name == name) {
                None => errors.push(GateError::Unrecognized(name.clone())),
                Some(gate) if gate.locked && gate.default != *on => {
                    errors.push(GateError::Locked {
                        name: name.clone(),
                        to: *on,
                        default: gate.default,
                    });
                }
                Some(gate) => {
                    state.on.insert(gate.name, *on);
                }
            }
        }
        if errors.is_empty() {
            for gate in state.known.iter().filter(|gate| state.on[gate.name]) {
                let off = |need: &&&str| !state.on.get(**need).copied().unwrap_or(false);
                let needs: Vec<String> = gate
                    .needs
                    .iter()
                    .filter(off)
                    .map(|need| (*need).to_owned())
                    .collect();
                if !needs.is_empty() {
                    errors.push(GateError::Needs {
                        name: gate.name.to_owned(),
                        needs,
                    });
                }
            }
        }
        if errors.is_empty() {
            Ok(Self {
                state: Arc::new(state),
            })
        } else {
            Err(errors)
        }
    }

    /// Sets gates from `--feature-gates` of the daemons whose flag may name a component (`kube:Gate=true`).
    pub fn with_components(
        &self,
        settings: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, Vec<GateError>> {
        let mut map = BTreeMap::new();
        let mut errors = Vec::new();
        for (component, pairs) in settings {
            if !matches!(component.as_str(), "" | "kube") {
                errors.push(GateError::UnknownComponent(component.clone()));
                continue;
            }
            for pair in pairs {
                let Some((name, value)) = pair.split_once('=') else {
                    errors.push(GateError::MissingValue(pair.clone()));
                    continue;
                };
                let (name, value) = (name.trim(), value.trim());
                match crate::flags::parse_bool(value) {
                    Ok(on) => {
                        map.insert(name.to_owned(), on);
                    }
                    Err(why) => {
                        errors.push(GateError::InvalidValue {
                            name: name.to_owned(),
                            value: value.to_owned(),
                            why,
                        });
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.with(&map)
    }

    /// Whether a feature is on. Panics on a name that is not known.
    #[track_caller]
    pub fn enabled(&self, name: &str) -> bool {
        match self.state.on.get(name) {
            Some(on) => *on,
            None => panic!("feature gate {name} is not known"),
        }
    }

    /// Whether there is such a gate.
    pub fn knows(&self, name: &str) -> bool {
        self.state.on.contains_key(name)
    }

    /// Every gate with whether it is on, sorted by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static Gate, bool)> + '_ {
        self.state
            .known
            .iter()
            .map(|gate| (gate, self.state.on[gate.name]))
    }

    /// What was set by name.
    pub fn explicitly_set(&self) -> &BTreeMap<String, bool> {
        &self.state.set
    }

    /// Logs upstream's notes about gates that were set and will go away.
    pub fn log_warnings(&self) {
        for (name, value) in &self.state.set {
            match self
                .state
                .known
                .iter()
                .find(|gate| gate.name == name)
                .map(|gate| gate.stage)
            {
                Some(Stage::Deprecated) => tracing::info!(
                    featureGate = name,
                    value,
                    "Warning: setting deprecated feature gate. It will be removed in a future release."
                ),
                Some(Stage::Ga) => tracing::info!(
                    featureGate = name,
                    value,
                    "Warning: setting GA feature gate. It will be removed in a future release."
                ),
                _ => {}
            }
        }
    }

    /// Registers `kubernetes_feature_enabled`.
    pub fn register_metrics(&self, metrics: &Metrics) {
        let enabled = metrics.gauge_vec(
            Opts::new(
                "kubernetes_feature_enabled",
                "This metric records the data about the stage and enablement of a k8s feature.",
            )
            .stability(Stability::Beta),
            &["name", "stage"],
        );
        for (gate, on) in self.all() {
            enabled
                .with_label_values(&[gate.name, gate.stage.as_str()])
                .set(f64::from(u8::from(on)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, bool)]) -> Result<FeatureGates, Vec<GateError>> {
        FeatureGates::default().with(
            &pairs
                .iter()
                .map(|(name, on)| ((*name).to_owned(), *on))
                .collect(),
        )
    }

    fn texts(result: Result<FeatureGates, Vec<GateError>>) -> Vec<String> {
        result
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn names_are_unique_sorted_and_dependencies_known() {
        assert!(KNOWN.is_sorted_by(|a, b| a.name < b.name));
        for gate in KNOWN {
            for need in gate.needs {
                assert!(
                    KNOWN.iter().any(|other| other.name == *need),
                    "{} needs unknown {need}",
                    gate.name
                );
            }
        }
        // Defaults must hold together, or no daemon could start.
        set(&[]).unwrap();
    }

    #[test]
    fn sets_and_refuses() {
        let gates = set(&[("PodDeletionCost", false)]).unwrap();
        assert!(!gates.enabled("PodDeletionCost"));
        assert_eq!(
            texts(set(&[("Foo", true)])),
            ["unrecognized feature gate: Foo"]
        );
        assert_eq!(
            texts(set(&[("ImageVolume", false)])),
            ["cannot set feature gate ImageVolume to false, feature is locked to true"]
        );
    }

    #[test]
    fn all_alpha_spares_named_gates() {
        let gates = set(&[("AllAlpha", true), ("EventedPLEG", false)]);
        let gates = gates.unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(gates.enabled("QOSReserved"));
        assert!(!gates.enabled("EventedPLEG"));
        assert!(!FeatureGates::default().enabled("QOSReserved"));
    }

    #[test]
    fn component_settings() {
        let parse = |text: &str| {
            let settings = BTreeMap::from([(String::new(), vec![text.to_owned()])]);
            FeatureGates::default().with_components(&settings)
        };
        assert!(
            !parse("PodDeletionCost=false")
                .unwrap()
                .enabled("PodDeletionCost")
        );
        assert_eq!(
            texts(parse("PodDeletionCost")),
            ["missing bool value for PodDeletionCost"]
        );
        assert_eq!(
            texts(parse("AllAlpha=x")),
            ["invalid value of AllAlpha=x, err: strconv.ParseBool: parsing \"x\": invalid syntax"]
        );
        let other = BTreeMap::from([("wardle".to_owned(), vec!["A=true".to_owned()])]);
        assert!(FeatureGates::default().with_components(&other).is_err());
    }
}

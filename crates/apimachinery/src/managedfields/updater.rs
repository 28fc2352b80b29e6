//! What an update or an apply does to the object and to the sets of all managers. Upstream: structured-merge-diff merge.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conflict::{Conflict, Conflicts};
use super::entries::{Manager, Managers, Owned};
use super::field_manager::{ConversionError, TypeConverter};
use super::path::values_equal;
use super::schema::ObjectType;
use super::set::{Filter, Set};
use super::typed::{self, Comparison, TypedValue};

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Error {
    /// Other managers own what the apply sets.
    #[error("conflicts")]
    Conflicts(Conflicts),
    /// Something is wrong with the object, the schema or a conversion.
    #[error("{0}")]
    Other(String),
}

/// An object at a version.
#[derive(Debug, Clone)]
pub(super) struct Versioned {
    pub typed: TypedValue,
    pub api_version: String,
}

pub(super) struct Updater<'a> {
    pub types: &'a dyn TypeConverter,
    pub ignore: &'a BTreeMap<String, Filter>,
}

impl Updater<'_> {
    /// After a create, update or patch: the manager owns what it changed, and nobody else does.
    pub(super) fn update(
        &self,
        live: &Versioned,
        new: &Versioned,
        managers: Managers,
        manager: &Manager,
    ) -> Result<Managers, Error> {
        let mut managers = self.reconcile(live, managers)?;
        let compared = self.take_over(live, new, &mut managers, manager, true)?;
        self.own_changes(compared, &new.api_version, &mut managers, manager);
        Ok(managers)
    }

    /// [`Updater::update`] where the objects have been compared and all managers are at their version.
    pub(super) fn update_compared(
        &self,
        comparison: Comparison,
        ty: &ObjectType,
        api_version: &str,
        mut managers: Managers,
        manager: &Manager,
    ) -> Managers {
        let comparison = comparison.filter(self.ignore.get(api_version));
        for (other, owned) in &mut managers {
            if let Some(set) = typed::reconcile(&owned.set, ty) {
                owned.set_fields(set);
            }
            if other != manager {
                for gone in [&comparison.modified, &comparison.added, &comparison.removed] {
                    owned.lose(gone);
                }
            }
        }
        managers.retain(|_, owned| !owned.set.is_empty());
        self.own_changes(comparison, api_version, &mut managers, manager);
        managers
    }

    fn own_changes(
        &self,
        compared: Comparison,
        api_version: &str,
        managers: &mut Managers,
        manager: &Manager,
    ) {
        let before = managers
            .remove(manager)
            .map_or_else(Set::new, |owned| Arc::unwrap_or_clone(owned.set));
        let mut set = before;
        set.remove(&compared.removed);
        set.absorb(compared.modified);
        set.absorb(compared.added);
        if let Some(filter) = self.ignore.get(api_version) {
            set = filter.apply(set);
        }
        if !set.is_empty() {
            let api_version = api_version.to_owned();
            managers.insert(
                manager.clone(),
                Owned {
                    set: Arc::new(set),
                    api_version,
                    applied: false,
                    time: None,
                    text: None,
                },
            );
        }
    }

    /// Merges a configuration into the object. The object is `None` if that changes nothing.
    pub(super) fn apply(
        &self,
        live: &Versioned,
        config: &Versioned,
        managers: Managers,
        manager: &Manager,
        force: bool,
    ) -> Result<(Option<Versioned>, Managers), Error> {
        let mut managers = self.reconcile(live, managers)?;
        let merged = live
            .typed
            .merge(&config.typed)
            .map_err(|errors| Error::Other(format!("failed to merge config: {errors}")))?;
        let merged = Versioned {
            typed: merged,
            api_version: live.api_version.clone(),
        };
        let mut set = config.typed.to_field_set();
        if let Some(filter) = self.ignore.get(&config.api_version) {
            set = filter.apply(set);
        }
        let last = managers.remove(manager);
        let time = last.as_ref().and_then(|last| last.time);
        managers.insert(
            manager.clone(),
            Owned {
                set: Arc::new(set),
                api_version: config.api_version.clone(),
                applied: true,
                time,
                text: None,
            },
        );
        let pruned = self
            .prune(merged, &managers, manager, last.as_ref())
            .map_err(|error| Error::Other(format!("failed to prune fields: {error}")))?;
        self.take_over(live, &pruned, &mut managers, manager, force)?;
        let changed = !values_equal(&live.typed.value, &pruned.typed.value);
        Ok((changed.then_some(pruned), managers))
    }

    /// Takes what `manager` changed from all others. Returns what changed.
    fn take_over(
        &self,
        old: &Versioned,
        new: &Versioned,
        managers: &mut Managers,
        manager: &Manager,
        force: bool,
    ) -> Result<Comparison, Error> {
        let compare = |old: &TypedValue, new: &TypedValue, version: &str| {
            old.compare(new)
                .map(|comparison| comparison.filter(self.ignore.get(version)))
                .map_err(|errors| Error::Other(format!("failed to compare objects: {errors}")))
        };
        // What changed, and of that what was set, by version.
        let mut versions: BTreeMap<String, Option<(Comparison, Set)>> = BTreeMap::new();
        let with_written = |comparison: Comparison| {
            let written = comparison.written();
            (comparison, written)
        };
        let comparison = compare(&old.typed, &new.typed, &new.api_version)?;
        versions.insert(new.api_version.clone(), Some(with_written(comparison)));
        let mut conflicts = Vec::new();
        let mut taken: Vec<(Manager, Option<Set>)> = Vec::new();
        for (other, owned) in managers.iter().filter(|(other, _)| *other != manager) {
            let version = &owned.api_version;
            if !versions.contains_key(version) {
                let old = self
                    .convert(old, version)
                    .map_err(|e| e.context("failed to convert old object"))?;
                let new = self
                    .convert(new, version)
                    .map_err(|e| e.context("failed to convert new object"))?;
                let comparison = match (old, new) {
                    (Some(old), Some(new)) => {
                        Some(with_written(compare(&old.typed, &new.typed, version)?))
                    }
                    _ => None,
                };
                versions.insert(version.clone(), comparison);
            }
            // A version that does not exist any more takes its managers with it.
            let Some((comparison, written)) = &versions[version] else {
                taken.push((other.clone(), None));
                continue;
            };
            let lost = owned.set.intersection(written);
            if !lost.is_empty() {
                conflicts.extend(lost.paths().into_iter().map(|path| Conflict {
                    manager: other.clone(),
                    path,
                }));
            }
            taken.push((
                other.clone(),
                Some(owned.set.difference(&lost).difference(&comparison.removed)),
            ));
        }
        if !force && !conflicts.is_empty() {
            return Err(Error::Conflicts(Conflicts(conflicts)));
        }
        for (other, rest) in taken {
            match (rest, managers.get_mut(&other)) {
                (Some(rest), Some(owned)) => owned.set_fields(rest),
                _ => {
                    managers.remove(&other);
                }
            }
        }
        managers.retain(|_, owned| !owned.set.is_empty());
        Ok(versions
            .remove(&new.api_version)
            .flatten()
            .unwrap_or_default()
            .0)
    }

    /// Removes what the manager applied last time and not now, unless somebody else owns it.
    fn prune(
        &self,
        merged: Versioned,
        managers: &Managers,
        manager: &Manager,
        last: Option<&Owned>,
    ) -> Result<Versioned, Error> {
        let Some(last) = last.filter(|last| !last.set.is_empty()) else {
            return Ok(merged);
        };
        let converted = self
            .convert(&merged, &last.api_version)
            .map_err(|e| e.context("failed to convert merged object to last applied version"))?;
        let Some(converted) = converted else {
            return Ok(merged);
        };
        let named = |set: &Set, of: &Versioned| {
            set.with_named_fields(&of.typed.ty.schema, Some(of.typed.ty.root))
        };
        let pruned = Versioned {
            typed: converted.typed.remove_items(&named(&last.set, &converted)),
            api_version: converted.api_version.clone(),
        };
        let pruned = self
            .add_back_owned(&converted, pruned, &last.api_version, managers)
            .map_err(|e| e.context("failed add back owned items"))?;
        // What nobody owned, or only updaters did, stays too: only what was in the last configuration may go.
        let at_last = self
            .convert(&pruned, &last.api_version)
            .map_err(|e| e.context("failed to convert pruned object to last applied version"))?;
        let Some(at_last) = at_last else {
            return Ok(merged);
        };
        let pruned_set = named(&at_last.typed.to_field_set(), &converted);
        let merged_set = named(&converted.typed.to_field_set(), &converted);
        let gone = merged_set
            .difference(&pruned_set)
            .intersection(&named(&last.set, &converted));
        let result = Versioned {
            typed: converted.typed.remove_items(&gone),
            api_version: converted.api_version.clone(),
        };
        let version = managers
            .get(manager)
            .map_or(&merged.api_version, |owned| &owned.api_version);
        match self.convert(&result, version).map_err(Error::from)? {
            Some(result) => Ok(result),
            None => Err(Error::Other(format!(
                "no corresponding type for version {version}"
            ))),
        }
    }

    /// Adds back what pruning removed and some manager owns.
    fn add_back_owned(
        &self,
        merged: &Versioned,
        pruned: Versioned,
        pruned_version: &str,
        managers: &Managers,
    ) -> Result<Versioned, Failure> {
        let mut by_version: BTreeMap<&str, Set> = BTreeMap::new();
        for owned in managers.values() {
            let set = by_version.entry(&owned.api_version).or_default();
            *set = set.union(&owned.set);
        }
        // The pruned version comes first: what a conversion needs may be among what was pruned.
        let first = by_version.remove_entry(pruned_version);
        let mut merged = merged.clone();
        let mut pruned = pruned;
        for (version, owned) in first.into_iter().chain(by_version) {
            let (Some(merged_there), Some(pruned_there)) = (
                self.convert(&merged, version)?,
                self.convert(&pruned, version)?,
            ) else {
                continue;
            };
            let ty = &merged_there.typed.ty;
            let named = |set: &Set| set.with_named_fields(&ty.schema, Some(ty.root));
            let wanted = named(&pruned_there.typed.to_field_set()).union(&named(&owned));
            let gone = named(&merged_there.typed.to_field_set()).difference(&wanted);
            pruned = Versioned {
                typed: merged_there.typed.remove_items(&gone),
                api_version: version.to_owned(),
            };
            merged = merged_there;
        }
        Ok(pruned)
    }

    /// The sets as the current schema has them.
    fn reconcile(&self, live: &Versioned, managers: Managers) -> Result<Managers, Error> {
        let mut at_version: BTreeMap<String, Option<Versioned>> = BTreeMap::new();
        let mut out = Managers::new();
        for (manager, mut owned) in managers {
            if !at_version.contains_key(&owned.api_version) {
                let converted = self
                    .convert(live, &owned.api_version)
                    .map_err(Error::from)?;
                at_version.insert(owned.api_version.clone(), converted);
            }
            let Some(live) = &at_version[&owned.api_version] else {
                continue;
            };
            if let Some(set) = live.typed.reconcile(&owned.set) {
                owned.set_fields(set);
            }
            out.insert(manager, owned);
        }
        Ok(out)
    }

    /// The object at a version; `None` if the version does not exist.
    fn convert(&self, object: &Versioned, version: &str) -> Result<Option<Versioned>, Failure> {
        if object.api_version == version {
            return Ok(Some(object.clone()));
        }
        let Some(ty) = self.types.object_type(version) else {
            return Ok(None);
        };
        let value = match self.types.convert(&object.typed.value, version) {
            Ok(value) => value,
            Err(ConversionError::MissingVersion) => return Ok(None),
            Err(ConversionError::Failed(message)) => return Err(Failure(message)),
        };
        let typed =
            TypedValue::new(value, ty, false).map_err(|errors| Failure(errors.to_string()))?;
        Ok(Some(Versioned {
            typed,
            api_version: version.to_owned(),
        }))
    }
}

/// A failed conversion, before it is said what it was for.
pub(super) struct Failure(String);

impl Failure {
    fn context(self, what: &str) -> Error {
        Error::Other(format!("{what}: {}", self.0))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Other(failure.0)
    }
}

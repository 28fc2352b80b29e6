//! Objects against their schema. Upstream: kube-openapi/pkg/validation/validate and apiserver/validation.
//!
//! One walk over object and schema together. Paths and messages are made only for what is wrong. Of `anyOf` and `oneOf` only
//! whether and how well each schema fits is computed; messages are then made for the one that fits best. How well is how
//! many checks passed, counted exactly as upstream counts, since it decides which messages users see.

pub(crate) mod format;
mod message;
mod scalar;

use std::collections::HashSet;

use apimachinery::field::{self, ErrorKind, ErrorList, Path};
use serde_json::Value;

use crate::correlate::Correlated;
use crate::node::{Additional, Check, Node, Structural};
use message::{Finding, Place};
pub(crate) use message::{bad_value as bad, whole};

impl Structural {
    /// What is wrong with a new object, or with a new part of one at a path.
    pub fn validate(&self, object: &Value, path: &Path) -> ErrorList {
        validate(&self.root, object, path, false)
    }

    /// What is wrong with a changed object. What did not change is not complained about.
    pub fn validate_update(&self, new: &Value, old: &Value, path: &Path) -> ErrorList {
        let mut run = Run::new(path, false);
        let correlated = Correlated::new(&self.root, new, old);
        run.node(&self.root, new, &Place::Root, Some(&correlated));
        run.into_errors()
    }
}

/// Checks a value; `is_default` says that it is a default in a schema and no object's.
pub(crate) fn validate(node: &Node, value: &Value, path: &Path, is_default: bool) -> ErrorList {
    let mut run = Run::new(path, is_default);
    run.node(node, value, &Place::Root, None);
    run.into_errors()
}

/// The error to add, if some errors make it pointless or harmful to evaluate rules.
pub fn blocking_error(errors: &ErrorList) -> Option<field::Error> {
    let blocks = |error: &field::Error| {
        matches!(
            error.kind,
            ErrorKind::NotSupported
                | ErrorKind::Required
                | ErrorKind::TooLong
                | ErrorKind::TooMany
                | ErrorKind::TypeInvalid
        )
    };
    errors.iter().any(blocks).then(|| {
        field::invalid(
            &Path::nil(),
            Option::<&str>::None,
            "some validation rules were not checked because the object was invalid; correct the existing errors to \
             complete validation",
        )
    })
}

/// How much text the findings of an object have before further ones are not told: each says where it is, however long that is.
const MOST_TOLD: usize = 8 << 20;

/// One validation, or one look at how well a schema fits.
struct Run<'p> {
    path: &'p Path,
    is_default: bool,
    /// Whether findings are kept, and not only counted.
    keeps: bool,
    findings: Vec<Finding>,
    /// Their messages, and how long they are together.
    messages: HashSet<String>,
    told: usize,
    /// How many findings there were, counting those that were dropped as repeats.
    wrong: usize,
}

impl<'p> Run<'p> {
    fn new(path: &'p Path, is_default: bool) -> Self {
        Run {
            path,
            is_default,
            keeps: true,
            findings: Vec::new(),
            messages: HashSet::new(),
            told: 0,
            wrong: 0,
        }
    }

    fn into_errors(self) -> ErrorList {
        self.findings
            .into_iter()
            .map(|finding| finding.error)
            .collect()
    }

    /// Notes a finding. It is made only if it is kept; the same message is kept once.
    fn add(&mut self, finding: impl FnOnce(&Path) -> Finding) {
        self.wrong += 1;
        if !self.keeps {
            return;
        }
        let finding = if self.told > MOST_TOLD {
            Finding::untold()
        } else {
            finding(self.path)
        };
        if self.messages.insert(finding.message.clone()) {
            self.told += finding.message.len();
            self.findings.push(finding);
        }
    }

    /// Forgets what was noted after so many findings.
    fn forget(&mut self, kept: usize) {
        for finding in self.findings.drain(kept..) {
            self.messages.remove(&finding.message);
            self.told -= finding.message.len();
        }
    }

    /// How well a schema fits, and whether it does.
    fn fit(&self, node: &Node, value: &Value, at: &Place<'_>) -> (u64, bool) {
        let mut run = Run {
            path: self.path,
            is_default: self.is_default,
            keeps: false,
            findings: Vec::new(),
            messages: HashSet::new(),
            told: 0,
            wrong: 0,
        };
        let count = run.node(node, value, at, None);
        (count, run.wrong == 0)
    }

    /// Notes what is wrong by a schema that is known not to fit. To count that is not needed: looking twice at each level would
    /// take time exponential in how deep `anyOf` are nested.
    fn explain(&mut self, node: &Node, value: &Value, at: &Place<'_>) {
        if self.keeps {
            self.node(node, value, at, None);
        }
    }

    /// Checks a value and forgives what did not change. Returns how many checks passed.
    fn node(
        &mut self,
        node: &Node,
        value: &Value,
        at: &Place<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> u64 {
        let (kept, wrong) = (self.findings.len(), self.wrong);
        let count = self.value(node, value, at, correlated);
        if self.wrong > wrong && correlated.is_some_and(Correlated::is_unchanged) {
            self.forget(kept);
            self.wrong = wrong;
        }
        count
    }

    fn value(
        &mut self,
        node: &Node,
        value: &Value,
        at: &Place<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> u64 {
        if value.is_null() {
            let count = self.null(node, at);
            self.enumeration(node, value, at);
            return count;
        }
        // One for the value, one for each validator that applies: schemas and enum always do, type mostly.
        let mut count = 3;
        let format = node.format(self.is_default);
        if scalar::is_typed(node, self.is_default) || format.is_some() {
            count += 1;
            match scalar::type_error(node, value, at, self.is_default) {
                None => count += 1,
                Some(error) => self.add(|path| error.into_finding(path)),
            }
        }
        count += self.combinations(node, value, at);
        match value {
            Value::String(text) => {
                count += 1;
                self.string(node, text, at);
                if let Some((format, name)) = format.filter(|(format, _)| format.is_text()) {
                    count += 1;
                    if !format.accepts(text) {
                        self.add(|path| Finding::format(path, at, name, text));
                    }
                }
            }
            Value::Number(number) => {
                count += 2;
                self.number(node, number, at);
            }
            Value::Array(items) => count += 1 + self.items(node, items, at, correlated),
            Value::Object(_) | Value::Bool(_) | Value::Null => {}
        }
        self.enumeration(node, value, at);
        if let Value::Object(fields) = value {
            count += 1 + self.fields(node, fields, at, correlated);
        }
        count
    }

    fn null(&mut self, node: &Node, at: &Place<'_>) -> u64 {
        if scalar::is_typed(node, self.is_default) && !node.flags.nullable {
            let expected = scalar::type_names(node, self.is_default);
            self.add(|path| Finding::wrong_type(path, at, &expected, "null"));
            return 0;
        }
        1
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`.
    fn combinations(&mut self, node: &Node, value: &Value, at: &Place<'_>) -> u64 {
        let mut count = 0;
        for check in &node.checks {
            match check {
                Check::AnyOf(nodes) => {
                    let mut best: Option<(u64, &Node)> = None;
                    let mut fitting = None;
                    for node in nodes {
                        let (fit, fits) = self.fit(node, value, at);
                        if fits {
                            fitting = Some(fit);
                            break;
                        }
                        if best.is_none_or(|(known, _)| fit > known) {
                            best = Some((fit, node));
                        }
                    }
                    match (fitting, best) {
                        (Some(fit), _) => count += fit,
                        (None, best) => {
                            self.add(|path| Finding::any_of(path, at));
                            if let Some((fit, best)) = best {
                                count += fit;
                                self.explain(best, value, at);
                            }
                        }
                    }
                }
                Check::OneOf(nodes) => {
                    let mut best: Option<(u64, &Node)> = None;
                    let mut fitting = None;
                    let mut valid = 0;
                    for node in nodes {
                        let (fit, fits) = self.fit(node, value, at);
                        if fits {
                            valid += 1;
                            fitting = fitting.or(Some(fit));
                        } else if valid == 0 && best.is_none_or(|(known, _)| fit > known) {
                            best = Some((fit, node));
                        }
                    }
                    match (valid, fitting) {
                        (1, fit) => count += fit.unwrap_or(0),
                        _ => {
                            self.add(|path| Finding::one_of(path, at, valid));
                            if let (0, Some((fit, best))) = (valid, best) {
                                count += fit;
                                self.explain(best, value, at);
                            }
                        }
                    }
                }
                Check::AllOf(nodes) => {
                    let mut valid = 0;
                    for node in nodes {
                        let wrong = self.wrong;
                        count += self.node(node, value, at, None);
                        valid += usize::from(self.wrong == wrong);
                    }
                    if valid != nodes.len() {
                        self.add(|path| Finding::all_of(path, at, valid == 0));
                    }
                }
                Check::Not(node) if self.fit(node, value, at).1 => {
                    self.add(|path| Finding::not(path, at));
                }
                _ => {}
            }
        }
        count + 1
    }

    fn enumeration(&mut self, node: &Node, value: &Value, at: &Place<'_>) {
        for check in &node.checks {
            if let Check::Enum(allowed) = check
                && !allowed
                    .iter()
                    .any(|allowed| scalar::is_same(value, allowed))
            {
                self.add(|path| Finding::enumeration(path, at, value, allowed));
            }
        }
    }

    fn items(
        &mut self,
        node: &Node,
        items: &[Value],
        at: &Place<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> u64 {
        let mut count = 1;
        if let Some(schema) = &node.items {
            for (index, item) in items.iter().enumerate() {
                let child = correlated.and_then(|correlated| correlated.index(index));
                count += self.node(schema, item, &Place::Index(at, index), child.as_ref());
            }
        }
        let size = items.len();
        for check in &node.checks {
            match check {
                Check::MinItems(min) if (size as i64) < *min => {
                    self.add(|path| Finding::too_few_items(path, at, *min, size));
                }
                Check::MaxItems(max) if size as i64 > *max => {
                    self.add(|path| Finding::too_many_items(path, at, *max, size));
                }
                Check::UniqueItems if has_duplicates(items) => {
                    self.add(|path| Finding::duplicates(path, at));
                }
                _ => {}
            }
        }
        count
    }

    fn fields(
        &mut self,
        node: &Node,
        fields: &serde_json::Map<String, Value>,
        at: &Place<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> u64 {
        let size = fields.len();
        let mut count = 0;
        for check in &node.checks {
            match check {
                Check::MinProperties(min) if (size as i64) < *min => {
                    self.add(|path| Finding::too_few_properties(path, at, *min, size));
                }
                Check::MaxProperties(max) if size as i64 > *max => {
                    self.add(|path| Finding::too_many_properties(path, at, *max, size));
                }
                _ => {}
            }
        }
        for (name, value) in fields {
            let (schema, place) = match (node.property(name), &node.additional) {
                (Some(property), _) => (property, Place::Property(at, name)),
                (None, Additional::Schema(values)) => (values, Place::Value(at, name)),
                (None, Additional::Denied) => {
                    self.add(|path| Finding::forbidden_property(path, at, name));
                    continue;
                }
                (None, Additional::Unset | Additional::Allowed) => continue,
            };
            // What an object is does not show in its old version: both were converted.
            let is_type = matches!(at, Place::Root) && matches!(&**name, "kind" | "apiVersion");
            let child = correlated
                .filter(|_| !is_type)
                .and_then(|correlated| correlated.key(name));
            count += self.node(schema, value, &place, child.as_ref());
        }
        for check in &node.checks {
            if let Check::Required(names) = check {
                for name in names.iter().filter(|name| !fields.contains_key(&***name)) {
                    self.add(|path| Finding::required(path, &Place::Value(at, name)));
                }
            }
        }
        count
    }
}

/// Without comparing all with all: schemas of CRDs may not ask for this, only very old ones do.
fn has_duplicates(items: &[Value]) -> bool {
    let mut seen = HashSet::with_capacity(items.len());
    items.iter().any(|item| !seen.insert(item.to_string()))
}

#[cfg(test)]
mod tests;

//! Label selectors: `app=web,tier in (a,b),!legacy`. Upstream: apimachinery/pkg/labels and meta/v1's conversions of
//! `LabelSelector`.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

use api_types::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::field::{self, ErrorList, Path};
use crate::quote::quote;
use crate::validation::{is_label_key, is_label_value};

/// Why text, or a `LabelSelector`, is not a selector. Prints as upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

impl From<ErrorList> for SelectorError {
    fn from(errors: ErrorList) -> Self {
        Self(errors.to_string())
    }
}

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key==value`; the same as [`Operator::Equals`] but for how it prints.
    DoubleEquals,
    /// `key!=value`
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`; both sides are integers.
    GreaterThan,
    /// `key<1`; both sides are integers.
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// The condition, if key, operator and values go together and are valid.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Self, SelectorError> {
        Self::new_at(key.into(), operator, values, &Path::nil()).map_err(SelectorError::from)
    }

    /// The condition, or all that is wrong with it, found in the field at `path`.
    pub fn new_at(
        key: String,
        operator: Operator,
        values: Vec<String>,
        path: &Path,
    ) -> Result<Self, ErrorList> {
        let mut errors = ErrorList::new();
        let problems = is_label_key(&key);
        if !problems.is_empty() {
            errors.push(field::invalid(
                &path.child("key"),
                &key,
                problems.join("; "),
            ));
        }
        let values_path = path.child("values");
        // An absent list is a nil slice to upstream, which prints as null.
        let bad_count = |detail: &str| {
            field::invalid(
                &values_path,
                Some(&values).filter(|values| !values.is_empty()),
                detail,
            )
        };
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(bad_count(
                    "for 'in', 'notin' operators, values set can't be empty",
                ));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if values.len() != 1 =>
            {
                errors.push(bad_count(
                    "exact-match compatibility requires one single value",
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(bad_count(
                    "values set must be empty for exists and does not exist",
                ));
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.push(bad_count(
                        "for 'Gt', 'Lt' operators, exactly one value is required",
                    ));
                }
                for (i, value) in values.iter().enumerate() {
                    if parse_int(value).is_none() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errors.push(field::invalid(&values_path.index(i), value, detail));
                    }
                }
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let problems = is_label_value(value);
            if !problems.is_empty() {
                errors.push(field::invalid(
                    &values_path.index(i).key(&key),
                    value,
                    problems.join("; "),
                ));
            }
        }
        errors.into_result().map(|()| Self {
            key,
            operator,
            values,
        })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the value is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values to compare with, in the order given.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the condition holds for a label with that value, or for its absence.
    pub fn matches_value(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let (Some(left), [limit]) = (value.and_then(parse_int), self.values.as_slice())
                else {
                    return false;
                };
                let Some(right) = parse_int(limit) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan {
                    left > right
                } else {
                    left < right
                }
            }
        }
    }
}

/// Go's `strconv.ParseInt(text, 10, 64)`, which takes a leading plus sign like Rust does.
fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::Equals => ("=", ""),
            Operator::DoubleEquals => ("==", ""),
            Operator::NotEquals => ("!=", ""),
            Operator::GreaterThan => (">", ""),
            Operator::LessThan => ("<", ""),
            Operator::In => (" in (", ")"),
            Operator::NotIn => (" notin (", ")"),
        };
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        write!(f, "{}{before}{}{after}", self.key, values.join(","))
    }
}

/// Conditions that must all hold, or the selector that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

impl Selector {
    /// Matches every set of labels.
    pub const fn everything() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: false,
        }
    }

    /// Matches no set of labels.
    pub const fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Parses the text form of a selector, as in the `labelSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Self::parse_at(text, &Path::nil())
    }

    /// Like [`Selector::parse`], for text that was found in the field at `path`.
    pub fn parse_at(text: &str, path: &Path) -> Result<Self, SelectorError> {
        let requirements = parse::parse(text, path)?;
        Ok(Self::from_iter(requirements))
    }

    /// Matches objects that have all these labels. Nothing is validated; no labels at all is [`Selector::everything`].
    pub fn from_set(labels: &BTreeMap<String, String>) -> Self {
        Self::from_iter(labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        }))
    }

    /// The selector that a `LabelSelector` field means: none matches nothing, an empty one everything.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else {
            return Ok(Self::nothing());
        };
        let mut requirements =
            Vec::with_capacity(selector.match_labels.len() + selector.match_expressions.len());
        for (key, value) in &selector.match_labels {
            requirements.push(Requirement::new(
                key,
                Operator::Equals,
                vec![value.clone()],
            )?);
        }
        for expression in &selector.match_expressions {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{} is not a valid label selector operator",
                        quote(other)
                    )));
                }
            };
            requirements.push(Requirement::new(
                &expression.key,
                operator,
                expression.values.clone(),
            )?);
        }
        Ok(Self::from_iter(requirements))
    }

    /// The selector with one more condition.
    #[must_use]
    pub fn and(mut self, requirement: Requirement) -> Self {
        if !self.nothing {
            self.requirements.push(requirement);
            self.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        }
        self
    }

    /// Whether the labels match.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the labels match that `lookup` tells, wherever they are kept.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches_value(lookup(&requirement.key)))
    }

    /// Whether the selector restricts nothing.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether the selector was made to match nothing.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The conditions, in the order of their keys.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value that the selector requires the label to have, if it requires a single one.
    pub fn requires_exact_match(&self, key: &str) -> Option<&str> {
        let requirement = self
            .requirements
            .iter()
            .find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut requirements: Vec<Requirement> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements,
            nothing: false,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

/// A `LabelSelector` as plain labels, where it can be written so. Upstream: `LabelSelectorAsMap`.
pub fn label_selector_as_map(
    selector: Option<&LabelSelector>,
) -> Result<BTreeMap<String, String>, SelectorError> {
    let Some(selector) = selector else {
        return Ok(BTreeMap::new());
    };
    let mut labels = selector.match_labels.clone();
    for expression in &selector.match_expressions {
        let operator = quote(&expression.operator);
        match (expression.operator.as_str(), expression.values.as_slice()) {
            ("In", [value]) => {
                labels.insert(expression.key.clone(), value.clone());
            }
            ("In", _) => {
                return Err(SelectorError(format!(
                    "operator {operator} without a single value cannot be converted into the old label selector format"
                )));
            }
            ("NotIn" | "Exists" | "DoesNotExist", _) => {
                return Err(SelectorError(format!(
                    "operator {operator} cannot be converted into the old label selector format"
                )));
            }
            _ => {
                return Err(SelectorError(format!(
                    "{operator} is not a valid selector operator"
                )));
            }
        }
    }
    Ok(labels)
}

/// Text as a `LabelSelector`. Upstream: `ParseToLabelSelector`.
pub fn parse_to_label_selector(text: &str) -> Result<LabelSelector, SelectorError> {
    let requirements = parse::parse(text, &Path::nil()).map_err(|error| {
        SelectorError(format!(
            "couldn't parse the selector string \"{text}\": {error}"
        ))
    })?;
    let mut selector = LabelSelector::default();
    // Upstream goes through the requirements in the order of their keys.
    for requirement in Selector::from_iter(requirements).requirements {
        let operator = match requirement.operator {
            Operator::Equals | Operator::DoubleEquals => {
                selector.match_labels.extend(
                    requirement
                        .values
                        .into_iter()
                        .map(|value| (requirement.key.clone(), value)),
                );
                continue;
            }
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::GreaterThan => {
                return Err(SelectorError(
                    "\"gt\" isn't supported in label selectors".to_owned(),
                ));
            }
            Operator::LessThan => {
                return Err(SelectorError(
                    "\"lt\" isn't supported in label selectors".to_owned(),
                ));
            }
            Operator::NotEquals => {
                return Err(SelectorError(
                    "\"!=\" is not a valid label selector operator".to_owned(),
                ));
            }
        };
        selector.match_expressions.push(LabelSelectorRequirement {
            key: requirement.key,
            operator: operator.to_owned(),
            values: requirement.values,
        });
    }
    Ok(selector)
}

/// A `LabelSelector` for humans: `<none>` if it is empty, `<error>` if it is invalid. Upstream: `FormatLabelSelector`.
pub fn format_label_selector(selector: Option<&LabelSelector>) -> String {
    match Selector::from_label_selector(selector) {
        Err(_) => "<error>".to_owned(),
        Ok(selector) => match selector.to_string() {
            text if text.is_empty() => "<none>".to_owned(),
            text => text,
        },
    }
}

/// Labels for humans: `a=b,c=d`, or `<none>`. Upstream: `FormatLabels`.
pub fn format_labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        "<none>".to_owned()
    } else {
        Selector::from_set(labels).to_string()
    }
}

#[cfg(test)]
mod tests;

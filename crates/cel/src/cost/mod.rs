//! What expressions cost: an estimate before, and the count while they run.
//!
//! Upstream: checker/cost.go and interpreter/runtimecost.go of cel-go, and apiserver/pkg/cel/library/cost.go.

mod estimate;
mod functions;
pub(crate) mod runtime;

pub(crate) use estimate::estimate;

use crate::value::Schema;

/// The most one evaluation may cost. About a tenth of a second.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most all evaluations for one object may cost, per policy binding or custom resource. About a second.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// The most all match conditions of one webhook or policy binding may cost.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// What walking over one character costs.
pub(crate) const STRING_FACTOR: f64 = 0.1;
/// What one character of a regular expression costs per unit of the text.
pub(crate) const REGEX_FACTOR: f64 = 0.25;

/// Between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostEstimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

/// How many characters, elements or entries: between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeEstimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

/// Knows how large things in variables may be.
pub trait SizeEstimator {
    /// The size of what a path leads to: the variable, then fields, `@items`, `@values` or `@keys`.
    fn size(&self, path: &[&str]) -> Option<SizeEstimate>;
}

/// Knows nothing.
impl SizeEstimator for () {
    fn size(&self, _: &[&str]) -> Option<SizeEstimate> {
        None
    }
}

/// Knows the limits of a schema, of which every variable is.
impl SizeEstimator for Schema {
    fn size(&self, path: &[&str]) -> Option<SizeEstimate> {
        let (_, path) = path.split_first()?;
        self.max_elements(path)
            .map(|max| SizeEstimate { min: 0, max })
    }
}

pub(crate) fn times(number: u64, factor: f64) -> u64 {
    let product = (number as f64 * factor).ceil();
    if product >= 18_446_744_073_709_551_616.0 {
        u64::MAX
    } else {
        product as u64
    }
}

impl CostEstimate {
    pub(crate) const ZERO: CostEstimate = CostEstimate::fixed(0);

    pub(crate) const fn fixed(cost: u64) -> Self {
        CostEstimate {
            min: cost,
            max: cost,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub(crate) fn by(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        CostEstimate {
            min: times(self.min, factor),
            max: times(self.max, factor),
        }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        CostEstimate {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

impl SizeEstimate {
    pub(crate) const UNKNOWN: SizeEstimate = SizeEstimate {
        min: 0,
        max: u64::MAX,
    };

    pub(crate) const fn fixed(size: u64) -> Self {
        SizeEstimate {
            min: size,
            max: size,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        SizeEstimate {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub(crate) fn by(self, other: Self) -> Self {
        SizeEstimate {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// What walking over all of it costs.
    pub(crate) fn times(self, factor: f64) -> CostEstimate {
        CostEstimate {
            min: times(self.min, factor),
            max: times(self.max, factor),
        }
    }

    /// What doing something for each element costs.
    pub(crate) fn each(self, cost: CostEstimate) -> CostEstimate {
        CostEstimate {
            min: self.min.saturating_mul(cost.min),
            max: self.max.saturating_mul(cost.max),
        }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        SizeEstimate {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

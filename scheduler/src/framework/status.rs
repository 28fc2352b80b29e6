//! What a plugin says about a pod, or about a pod on a node. Upstream: kube-scheduler/framework/interface.go (`Status`).

use std::borrow::Cow;

use smallvec::SmallVec;

/// Kinds of answers. Upstream: `Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The plugin agrees. Plugins say it with `Ok(())`.
    Success,
    /// Something went wrong that has nothing to do with whether the pod fits.
    Error,
    /// The pod does not fit, but removing other pods might help.
    Unschedulable,
    /// The pod does not fit, and preemption cannot change that.
    UnschedulableAndUnresolvable,
    /// A Permit plugin wants the pod to wait.
    Wait,
    /// The plugin has nothing to do for this pod: its later extension points are not called.
    Skip,
    /// The pod waits for something that an external component does.
    Pending,
}

impl Code {
    /// Upstream's text, as metrics show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Error => "Error",
            Self::Unschedulable => "Unschedulable",
            Self::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Self::Wait => "Wait",
            Self::Skip => "Skip",
            Self::Pending => "Pending",
        }
    }
}

/// Reasons are nearly always constants, and nearly always one.
pub type Reasons = SmallVec<[Cow<'static, str>; 1]>;

/// An answer that is not a plain yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What kind of answer.
    pub code: Code,
    /// Why, in the words that users see.
    pub reasons: Reasons,
    /// The plugin that gave it; "" until the runtime fills it in.
    pub plugin: &'static str,
}

/// The answer of a plugin: yes, or a [`Status`].
pub type Verdict = Result<(), Status>;

impl Status {
    /// An answer with one reason.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reasons = Reasons::new();
        reasons.push(reason.into());
        Self {
            code,
            reasons,
            plugin: "",
        }
    }

    /// An answer without a reason.
    pub fn bare(code: Code) -> Self {
        Self {
            code,
            reasons: Reasons::new(),
            plugin: "",
        }
    }

    /// [`Code::Unschedulable`].
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unschedulable, reason)
    }

    /// [`Code::UnschedulableAndUnresolvable`].
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::UnschedulableAndUnresolvable, reason)
    }

    /// [`Code::Error`].
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Error, reason)
    }

    /// [`Code::Skip`].
    pub fn skip() -> Self {
        Self::bare(Code::Skip)
    }

    /// The same, told to be from a plugin unless it already is from one.
    #[must_use]
    pub fn from_plugin(mut self, plugin: &'static str) -> Self {
        if self.plugin.is_empty() {
            self.plugin = plugin;
        }
        self
    }

    /// Whether the pod was turned down, as opposed to an error.
    pub fn is_rejected(&self) -> bool {
        matches!(
            self.code,
            Code::Unschedulable | Code::UnschedulableAndUnresolvable | Code::Pending
        )
    }

    /// Whether the plugin wants to be left out.
    pub fn is_skip(&self) -> bool {
        self.code == Code::Skip
    }

    /// All reasons in one line.
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

/// The code of a verdict.
pub fn code_of(verdict: &Verdict) -> Code {
    match verdict {
        Ok(()) => Code::Success,
        Err(status) => status.code,
    }
}

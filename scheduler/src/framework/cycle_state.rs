//! What plugins remember between the extension points of one scheduling cycle. Upstream: framework/cycle_state.go.

use std::any::Any;
use std::collections::BTreeSet;

/// Something a plugin keeps in the [`CycleState`].
pub trait StateData: Any + Send + Sync {
    /// A copy for a what-if run. State that is never changed after PreFilter may share.
    fn clone_box(&self) -> Box<dyn StateData>;
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any + Clone + Send + Sync> StateData for T {
    fn clone_box(&self) -> Box<dyn StateData> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// State of one attempt to schedule one pod.
#[derive(Default)]
pub struct CycleState {
    /// Ten entries at most, so a scan is faster than a map.
    data: Vec<(&'static str, Box<dyn StateData>)>,
    /// Plugins whose PreFilter said [`Skip`](super::status::Code::Skip).
    pub skip_filter: BTreeSet<&'static str>,
    /// Plugins whose PreScore said skip.
    pub skip_score: BTreeSet<&'static str>,
    /// Plugins whose PreBindPreFlight said skip.
    pub skip_pre_bind: BTreeSet<&'static str>,
    /// Whether durations of single plugins are recorded in this cycle.
    pub record_plugin_metrics: bool,
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        Self {
            data: self
                .data
                .iter()
                .map(|(key, data)| (*key, (**data).clone_box()))
                .collect(),
            skip_filter: self.skip_filter.clone(),
            skip_score: self.skip_score.clone(),
            skip_pre_bind: self.skip_pre_bind.clone(),
            record_plugin_metrics: self.record_plugin_metrics,
        }
    }
}

impl CycleState {
    /// Keeps `value` under `key`.
    pub fn write<T: Any + Clone + Send + Sync>(&mut self, key: &'static str, value: T) {
        let value: Box<dyn StateData> = Box::new(value);
        match self.data.iter_mut().find(|(other, _)| *other == key) {
            Some((_, slot)) => *slot = value,
            None => self.data.push((key, value)),
        }
    }

    /// What is kept under `key`.
    pub fn read<T: Any>(&self, key: &'static str) -> Option<&T> {
        let (_, data) = self.data.iter().find(|(other, _)| *other == key)?;
        (**data).as_any().downcast_ref()
    }

    /// The same, to change it.
    pub fn read_mut<T: Any>(&mut self, key: &'static str) -> Option<&mut T> {
        let (_, data) = self.data.iter_mut().find(|(other, _)| *other == key)?;
        (**data).as_any_mut().downcast_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_apart() {
        let mut state = CycleState::default();
        state.write("a", vec![1]);
        let copy = state.clone();
        state.read_mut::<Vec<i32>>("a").unwrap().push(2);
        assert_eq!(copy.read::<Vec<i32>>("a"), Some(&vec![1]));
        assert_eq!(state.read::<Vec<i32>>("a"), Some(&vec![1, 2]));
        assert_eq!(state.read::<String>("a"), None);
        assert_eq!(state.read::<Vec<i32>>("b"), None);
    }
}

//! Stands in for `DynamicResources`: pods with resource claims wait, and are told why. Upstream: plugins/dynamicresources.
//!
//! Upstream's plugin also takes part in PostFilter for every pod, and what it says there is in the message of every pod that does not fit; an
//! earlier PreFilter that ends the cycle leaves it without state, which it reports as "not found", and then nobody is preempted. Both are kept.
//!
//! Allocating devices is not part of this version. A pod that uses claims must not run without them, so it is turned down in PreFilter
//! rather than let through.

use std::sync::Arc;

use crate::framework::cycle_state::CycleState;
use crate::framework::diagnosis::NodeToStatus;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{
    Cycle, Filter, NodeNames, NominatingInfo, Plugin, PostFilter, PreFilter,
};
use crate::framework::runtime::Framework;
use crate::framework::status::{Status, Verdict};

const REASON: &str =
    "pod uses resourceClaims, which this scheduler cannot allocate (DynamicResources is not built)";

const STATE: &str = "DynamicResources";

pub struct ResourceClaims;

impl Plugin for ResourceClaims {
    fn name(&self) -> &'static str {
        super::names::DYNAMIC_RESOURCES
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        // Nothing makes such a pod fit; a registration keeps it from being tried on every event.
        vec![ClusterEventWithHint::hinted(
            EventResource::Pod,
            Action::UPDATE_POD_GENERATED_RESOURCE_CLAIM,
            |_, _| Ok(crate::framework::event::Hint::Skip),
        )]
    }
}

impl PreFilter for ResourceClaims {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        state.write(STATE, ());
        if cycle.pod().spec.resource_claims.is_empty() {
            return Err(Status::skip());
        }
        Err(Status::unresolvable(REASON))
    }
}

impl Filter for ResourceClaims {
    fn filter(&self, _: &Cycle<'_>, _: &CycleState, _: &NodeInfo) -> Verdict {
        Ok(())
    }
}

impl PostFilter for ResourceClaims {
    fn post_filter(
        &self,
        _: &Framework,
        _: &Cycle<'_>,
        state: &CycleState,
        _: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict) {
        let status = match state.read::<()>(STATE) {
            None => Status::error("not found"),
            Some(()) => Status::unschedulable("no new claims to deallocate"),
        };
        (None, Err(status))
    }
}

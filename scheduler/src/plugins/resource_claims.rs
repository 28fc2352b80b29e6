//! Stands in for `DynamicResources`: pods with resource claims wait, and are told why. Upstream: plugins/dynamicresources.
//!
//! Allocating devices is not part of this version. A pod that uses claims must not run without them, so it is turned down in PreFilter
//! rather than let through.

use std::sync::Arc;

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter};
use crate::framework::status::{Status, Verdict};

const REASON: &str =
    "pod uses resourceClaims, which this scheduler cannot allocate (DynamicResources is not built)";

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
    fn pre_filter(&self, cycle: &Cycle<'_>, _: &mut CycleState) -> Result<NodeNames, Status> {
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

//! Does the pod fit into what the node has left, and how well? Upstream: plugins/noderesources.

/// `NodeResourcesBalancedAllocation`.
pub mod balanced_allocation;
/// `NodeResourcesFit`.
pub mod fit;
/// How to rank nodes by what is left.
pub mod scoring;

//! Volumes: which node can reach them, how many a node takes, and binding claims that wait for a consumer.

/// `VolumeBinding`.
pub mod binding;
/// What claims and volumes mean; shared by the plugins here.
pub mod claims;
/// `NodeVolumeLimits`.
pub mod limits;
/// `VolumeRestrictions`.
pub mod restrictions;
/// `VolumeZone`.
pub mod zone;

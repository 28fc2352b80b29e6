//! An OCI image as a volume. Upstream: `pkg/volume/image`.
//!
//! The kubelet only pulls it; the runtime mounts it into the container, so there is nothing to set up here.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec};

/// The plugin.
pub(super) struct Image;

impl VolumePlugin for Image {
    fn name(&self) -> &'static str {
        "kubernetes.io/image"
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume().is_some_and(|volume| volume.image.is_some())
    }

    fn attributes(&self, _: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: true,
            managed: false,
            selinux_relabel: false,
        }
    }

    fn path(&self, _: &VolumeHost, _: &str, _: &VolumeSpec) -> PathBuf {
        PathBuf::new()
    }

    fn set_up<'a>(
        &'a self,
        _: &'a Arc<VolumeHost>,
        _: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn tear_down(&self, _: &VolumeHost, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn measure(&self) -> How {
        How::Not
    }
}

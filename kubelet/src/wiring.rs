//! Where the volume manager and the HTTP API are plugged in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::{Container, Pod, VolumeMount};
use client::Client;
use component_base::Error;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::Options;
use crate::node::NodeInfo;
use crate::objects::ObjectManager;
use crate::pod_volumes::{BlockDevice, MountedVolume, PodVolumes};
use crate::sync_loop::Kubelet;

/// Pods without volumes run; others are told why not.
struct NoVolumes;

impl PodVolumes for NoVolumes {
    fn wait_for_attach_and_mount<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            if pod.spec.volumes.is_empty() {
                Ok(())
            } else {
                Err("this kubelet has no volume manager".to_owned())
            }
        })
    }
    fn wait_for_unmount<'a>(&'a self, _: &'a Arc<Pod>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn mounted(&self, _: &Pod) -> HashMap<String, MountedVolume> {
        HashMap::new()
    }
    fn block_devices(&self, _: &Pod, _: &Container) -> Result<Vec<BlockDevice>, String> {
        Ok(Vec::new())
    }
    fn prepare_sub_path(
        &self,
        _: &Pod,
        _: &str,
        _: usize,
        _: &VolumeMount,
        _: &MountedVolume,
        _: &str,
    ) -> Result<PathBuf, String> {
        Err("this kubelet has no volume manager".to_owned())
    }
    fn extra_supplemental_groups(&self, _: &Pod) -> Vec<i64> {
        Vec::new()
    }
    fn pod_volumes_exist(&self, _: &str) -> bool {
        false
    }
    fn volumes_in_use(&self) -> Vec<String> {
        Vec::new()
    }
    fn mark_volumes_as_reported_in_use(&self, _: &[String]) {}
}

/// The volume manager.
///
/// # Errors
/// When it cannot start.
pub(crate) fn volumes(
    _: &Options,
    _: Option<&Client>,
    _: &Arc<ObjectManager>,
    _: &Arc<NodeInfo>,
    _: &CancellationToken,
) -> Result<Arc<dyn PodVolumes>, Error> {
    Ok(Arc::new(NoVolumes))
}

/// The HTTP API.
///
/// # Errors
/// When its port cannot be had.
pub(crate) async fn server(
    _: &Options,
    _: &Arc<Kubelet>,
    _: Option<&Client>,
    _: &component_base::metrics::Metrics,
    _: &CancellationToken,
) -> Result<(), Error> {
    Ok(())
}

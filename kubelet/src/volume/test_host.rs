//! A host for tests: a root folder that goes away, mounts that only exist in a list, objects from a map.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_types::Quantity;
use api_types::authentication::v1::TokenRequest;
use api_types::core::v1::{ConfigMap, Pod, Secret};
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::mounter::RecordingMounter;
use super::tokens::{TokenManager, TokenSource};
use super::{VolumeHost, VolumeNode};
use crate::objects::{ObjectError, PodObjects};

#[derive(Default)]
pub(crate) struct Objects {
    config_maps: Mutex<HashMap<String, Arc<ConfigMap>>>,
    secrets: Mutex<HashMap<String, Arc<Secret>>>,
}

impl Objects {
    pub(crate) fn set_config_map(&self, name: &str, object: ConfigMap) {
        self.config_maps
            .lock()
            .insert(name.to_owned(), Arc::new(object));
    }

    pub(crate) fn set_secret(&self, name: &str, object: Secret) {
        self.secrets
            .lock()
            .insert(name.to_owned(), Arc::new(object));
    }
}

impl PodObjects for Objects {
    fn config_map<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<ConfigMap>, ObjectError>> {
        let found = self.config_maps.lock().get(name).cloned();
        Box::pin(async move {
            found.ok_or_else(|| ObjectError::NotFound(format!("configmap {name:?} not found")))
        })
    }

    fn secret<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Secret>, ObjectError>> {
        let found = self.secrets.lock().get(name).cloned();
        Box::pin(async move {
            found.ok_or_else(|| ObjectError::NotFound(format!("secret {name:?} not found")))
        })
    }
}

#[derive(Default)]
struct Tokens(AtomicUsize);

impl TokenSource for Tokens {
    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        request: &'a TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest, String>> {
        Box::pin(async move {
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let mut token = request.clone();
            let uid = request
                .spec
                .bound_object_ref
                .as_ref()
                .map(|bound| bound.uid.clone())
                .unwrap_or_default();
            token.status.token = format!(
                "token {number} of {namespace}/{name} for {}, pod {uid}",
                request.spec.audiences.join("+")
            );
            let life =
                jiff::SignedDuration::from_secs(request.spec.expiration_seconds.unwrap_or(3600));
            token.status.expiration_timestamp =
                api_types::Time::from_timestamp(Timestamp::now().checked_add(life).expect("time"));
            Ok(token)
        })
    }
}

struct Node;

impl VolumeNode for Node {
    fn allocatable(&self) -> BTreeMap<String, Quantity> {
        crate::pod_resources::tests::list(&[("cpu", "4"), ("memory", "1Gi")])
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("kubernetes.io/hostname".to_owned(), "node".to_owned())])
    }

    fn name(&self) -> String {
        "node".to_owned()
    }
}

pub(crate) struct TestHost {
    root: tempfile::TempDir,
    pub(crate) host: Arc<VolumeHost>,
    pub(crate) mounter: Arc<RecordingMounter>,
    pub(crate) objects: Arc<Objects>,
}

impl TestHost {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("folder");
        let mounter = Arc::new(RecordingMounter::default());
        let objects = Arc::new(Objects::default());
        let host = Arc::new(VolumeHost {
            root_dir: root.path().to_owned(),
            mounter: mounter.clone(),
            objects: objects.clone(),
            tokens: Arc::new(TokenManager::with_source(Some(Arc::new(Tokens::default())))),
            client: None,
            node: Arc::new(Node),
        });
        TestHost {
            root,
            host,
            mounter,
            objects,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }
}

pub(crate) fn pod() -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = "ns".to_owned();
    pod.metadata.name = "pod".to_owned();
    pod.metadata.uid = "uid-1".to_owned();
    pod.spec.service_account_name = "robot".to_owned();
    pod
}

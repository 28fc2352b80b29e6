//! The pods this kubelet is to run, and the mirror pods that show static ones in the API.
//!
//! Upstream: `pkg/kubelet/pod/pod_manager.go`. A static pod and its mirror share a full name and have different UIDs.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::core::v1::Pod;
use parking_lot::RwLock;

use crate::container::pod_full_name;
use crate::sources::{is_mirror_pod, is_static_pod};

#[derive(Default)]
struct Maps {
    pods: HashMap<String, Arc<Pod>>,
    mirrors: HashMap<String, Arc<Pod>>,
    pod_by_name: HashMap<String, Arc<Pod>>,
    mirror_by_name: HashMap<String, Arc<Pod>>,
    /// UID of a mirror to the UID of its static pod.
    translation: HashMap<String, String>,
}

/// Pods by UID and by name.
#[derive(Default)]
pub struct PodManager {
    maps: RwLock<Maps>,
}

impl PodManager {
    /// Adds a pod, or replaces it.
    pub fn update(&self, pod: &Arc<Pod>) {
        let mut maps = self.maps.write();
        let name = pod_full_name(pod);
        let uid = pod.metadata.uid.clone();
        if is_mirror_pod(pod) {
            if let Some(original) = maps.pod_by_name.get(&name) {
                let original = original.metadata.uid.clone();
                maps.translation.insert(uid.clone(), original);
            }
            maps.mirrors.insert(uid, pod.clone());
            maps.mirror_by_name.insert(name, pod.clone());
        } else {
            if let Some(mirror) = maps.mirror_by_name.get(&name) {
                let mirror = mirror.metadata.uid.clone();
                maps.translation.insert(mirror, uid.clone());
            }
            maps.pods.insert(uid, pod.clone());
            maps.pod_by_name.insert(name, pod.clone());
        }
    }

    /// Forgets a pod.
    pub fn remove(&self, pod: &Pod) {
        let mut maps = self.maps.write();
        let name = pod_full_name(pod);
        let uid = &pod.metadata.uid;
        if is_mirror_pod(pod) {
            maps.mirrors.remove(uid);
            maps.mirror_by_name.remove(&name);
            maps.translation.remove(uid);
        } else {
            maps.pods.remove(uid);
            // A pod of the same name may already be there.
            if maps
                .pod_by_name
                .get(&name)
                .is_some_and(|other| other.metadata.uid == *uid)
            {
                maps.pod_by_name.remove(&name);
            }
        }
    }

    /// All pods that are no mirrors.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.maps.read().pods.values().cloned().collect()
    }

    /// Pods, mirrors, and full names of mirrors without a pod.
    #[must_use]
    pub fn pods_and_mirrors(&self) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>, Vec<String>) {
        let maps = self.maps.read();
        let orphans = maps
            .mirror_by_name
            .keys()
            .filter(|name| !maps.pod_by_name.contains_key(*name))
            .cloned()
            .collect();
        (
            maps.pods.values().cloned().collect(),
            maps.mirrors.values().cloned().collect(),
            orphans,
        )
    }

    /// The pod of that UID.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.maps.read().pods.get(uid).cloned()
    }

    /// The pod of that name.
    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.maps
            .read()
            .pod_by_name
            .get(&format!("{name}_{namespace}"))
            .cloned()
    }

    /// The mirror of a static pod.
    #[must_use]
    pub fn mirror_of(&self, pod: &Pod) -> Option<Arc<Pod>> {
        self.maps
            .read()
            .mirror_by_name
            .get(&pod_full_name(pod))
            .cloned()
    }

    /// For a pod: the pod and its mirror. For a mirror: its pod, if there is one, and the mirror; the flag is set.
    #[must_use]
    pub fn pod_and_mirror(&self, pod: &Arc<Pod>) -> (Option<Arc<Pod>>, Option<Arc<Pod>>, bool) {
        let maps = self.maps.read();
        let name = pod_full_name(pod);
        if is_mirror_pod(pod) {
            (
                maps.pod_by_name.get(&name).cloned(),
                Some(pod.clone()),
                true,
            )
        } else {
            (
                Some(pod.clone()),
                maps.mirror_by_name.get(&name).cloned(),
                false,
            )
        }
    }

    /// The UID the kubelet works with: of the static pod for a mirror, the same otherwise.
    #[must_use]
    pub fn translate_uid(&self, uid: &str) -> String {
        self.maps
            .read()
            .translation
            .get(uid)
            .cloned()
            .unwrap_or_else(|| uid.to_owned())
    }

    /// For every static pod the UID of its mirror; nothing while there is none yet.
    #[must_use]
    pub fn mirror_uids(&self) -> HashMap<String, Option<String>> {
        let maps = self.maps.read();
        let mut uids: HashMap<String, Option<String>> = maps
            .pods
            .values()
            .filter(|pod| is_static_pod(pod))
            .map(|pod| (pod.metadata.uid.clone(), None))
            .collect();
        for (mirror, pod) in &maps.translation {
            uids.insert(pod.clone(), Some(mirror.clone()));
        }
        uids
    }
}

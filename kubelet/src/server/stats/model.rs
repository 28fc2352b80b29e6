//! The Summary API. Upstream: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A time as the API writes it: whole seconds, or null.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Time(pub Option<Timestamp>);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => {
                serializer.serialize_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            }
            None => serializer.serialize_none(),
        }
    }
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The node.
    pub node: NodeStats,
    /// Pods.
    pub pods: Vec<PodStats>,
}

/// Use of the node.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    /// Name.
    pub node_name: String,
    /// The kubelet, the runtime and all pods together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system_containers: Vec<ContainerStats>,
    /// When the node was started.
    pub start_time: Time,
    /// CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// Network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    /// The file system of the kubelet's root folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FsStats>,
    /// File systems of the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStats>,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rlimit: Option<RlimitStats>,
    /// Swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

/// Processes of the node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RlimitStats {
    /// When.
    pub time: Time,
    /// Most there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maxpid: Option<i64>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curproc: Option<i64>,
}

/// File systems of the runtime.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStats {
    /// Of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_fs: Option<FsStats>,
    /// Of writable layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_fs: Option<FsStats>,
}

/// Identity of a pod.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PodReference {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
}

/// Use of a pod.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    /// Which.
    pub pod_ref: PodReference,
    /// When it was started.
    pub start_time: Time,
    /// Containers that run.
    pub containers: Vec<ContainerStats>,
    /// CPU of the pod's cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Memory of the pod's cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// Network of its sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    /// Volumes.
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volume_stats: Vec<VolumeStats>,
    /// Disk that goes with the pod.
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<FsStats>,
    /// Processes.
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    pub process_stats: Option<ProcessStats>,
    /// Swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

/// Processes of a pod.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessStats {
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u64>,
}

/// Use of a container.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    /// Name.
    pub name: String,
    /// When it was started.
    pub start_time: Time,
    /// CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// Writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<FsStats>,
    /// Logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<FsStats>,
    /// Swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

/// CPU.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    /// When.
    pub time: Time,
    /// Rate over the last seconds, billionths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_nano_cores: Option<u64>,
    /// Sum since the start, nanoseconds of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_core_nano_seconds: Option<u64>,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// When.
    pub time: Time,
    /// Limit less working set; not there without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// All that is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    /// Without page cache that can be dropped at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_set_bytes: Option<u64>,
    /// Anonymous memory.
    #[serde(rename = "rssBytes", skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Page faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<u64>,
    /// Page faults that had to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_page_faults: Option<u64>,
}

/// Swap, in bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwapStats {
    /// When.
    pub time: Time,
    /// May still be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_available_bytes: Option<u64>,
    /// Is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_usage_bytes: Option<u64>,
}

/// One network interface.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStats {
    /// Name.
    pub name: String,
    /// Bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Packets received with errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_errors: Option<u64>,
    /// Bytes sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    /// Packets sent with errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_errors: Option<u64>,
}

/// Network of a pod or the node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NetworkStats {
    /// When.
    pub time: Time,
    /// `eth0`, if there is one.
    #[serde(flatten)]
    pub default_interface: InterfaceStats,
    /// All.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceStats>,
}

/// A file system or a part of it.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FsStats {
    /// When.
    pub time: Time,
    /// Bytes that may still be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Bytes of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Bytes in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Inodes that may still be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
    /// Inodes of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Inodes in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_used: Option<u64>,
}

/// A claim.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PvcReference {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VolumeStats {
    /// Use.
    #[serde(flatten)]
    pub fs: FsStats,
    /// Name in the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Claim it belongs to.
    #[serde(rename = "pvcRef", skip_serializing_if = "Option::is_none")]
    pub pvc_ref: Option<PvcReference>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_upstreams() {
        let time = Time(Some(Timestamp::from_second(1_704_067_200).expect("time")));
        let summary = Summary {
            node: NodeStats {
                node_name: "n".to_owned(),
                start_time: time,
                ..Default::default()
            },
            pods: vec![PodStats {
                pod_ref: PodReference {
                    name: "p".to_owned(),
                    namespace: "ns".to_owned(),
                    uid: "u".to_owned(),
                },
                network: Some(NetworkStats {
                    time,
                    default_interface: InterfaceStats {
                        name: "eth0".to_owned(),
                        rx_bytes: Some(1),
                        ..Default::default()
                    },
                    interfaces: Vec::new(),
                }),
                volume_stats: vec![VolumeStats {
                    fs: FsStats {
                        time,
                        used_bytes: Some(0),
                        ..Default::default()
                    },
                    name: "v".to_owned(),
                    pvc_ref: Some(PvcReference {
                        name: "c".to_owned(),
                        namespace: "ns".to_owned(),
                    }),
                }],
                ephemeral_storage: Some(FsStats::default()),
                process_stats: Some(ProcessStats {
                    process_count: Some(3),
                }),
                ..Default::default()
            }],
        };
        let json = serde_json::to_string(&summary).expect("json");
        assert_eq!(
            json,
            "{\"node\":{\"nodeName\":\"n\",\"startTime\":\"2024-01-01T00:00:00Z\"},\"pods\":[{\"podRef\":{\"name\":\"p\",\"namespace\":\"ns\",\
             \"uid\":\"u\"},\"startTime\":null,\"containers\":[],\"network\":{\"time\":\"2024-01-01T00:00:00Z\",\"name\":\"eth0\",\"rxBytes\":1},\
             \"volume\":[{\"time\":\"2024-01-01T00:00:00Z\",\"usedBytes\":0,\"name\":\"v\",\"pvcRef\":{\"name\":\"c\",\"namespace\":\"ns\"}}],\
             \"ephemeral-storage\":{\"time\":null},\"process_stats\":{\"process_count\":3}}]}"
        );
    }
}

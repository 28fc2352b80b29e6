//! kube-scheduler: binds pods to nodes.

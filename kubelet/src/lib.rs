//! kubelet: the node agent, on a CRI runtime.

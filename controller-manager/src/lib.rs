//! kube-controller-manager: the reconcilers of the control plane.

//! Loads a cluster or one daemon and reports CPU time, memory and latency.

//! Cluster DNS: CoreDNS's answers for Services and pods, on hickory-server.

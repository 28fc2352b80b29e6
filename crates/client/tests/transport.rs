//! Real connections: HTTP/1.1 and HTTP/2, TLS, certificates, tokens, upgrades.

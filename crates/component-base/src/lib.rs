//! What every daemon needs around its work: flags, logs, TLS serving, health, metrics, delegated authentication.

pub mod auth;

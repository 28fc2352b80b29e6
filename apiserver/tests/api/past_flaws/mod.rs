//! One test for each class of flaws that upstream's API server had once, named after the advisory. Classes that show in one part are
//! tested there: CVE-2020-8562 in `connect/dial.rs`, CVE-2023-44487 also in component-base's `serving/tests.rs`.

/// What is stored, and who judges it before.
mod admission;
/// What requests say.
mod content;
/// Who asks.
mod identity;
/// Whom the server asks on behalf of clients.
mod proxies;
/// Webhooks that users configure.
mod webhooks;

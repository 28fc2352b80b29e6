//! End to end: what a user does with a cluster, and what the cluster leaves when it is gone.

/// What each daemon says of bad start-up input.
mod bad_input;
/// Operators, webhooks and API servers of others, in pods.
mod operators;

use e2e::{Cluster, binaries, skip_reason, text};

/// deploy/up, what others run in a cluster, the whole demo by kubectl, deploy/down. One cluster serves all of it.
#[test]
fn cluster() {
    if let Some(reason) = skip_reason() {
        eprintln!("skipped: {reason}");
        return;
    }
    let image = format!("operator={}", binaries().join("operator").display());
    let cluster = Cluster::up(&["--image", &image]);
    let again = cluster.run("status");
    assert!(
        again.status.success(),
        "deploy/status failed:\n{}",
        text(&again)
    );
    operators::run(&cluster);
    let demo = cluster.run("demo");
    println!("{}", text(&demo));
    assert!(
        demo.status.success(),
        "the demo failed; logs:\n{}",
        cluster.logs()
    );
    cluster.down();
}

//! End to end: what a user does with a cluster, and what the cluster leaves when it is gone.

/// What each daemon says of bad start-up input.
mod bad_input;

use e2e::{Cluster, skip_reason, text};

/// deploy/up, the whole demo by kubectl, deploy/down.
#[test]
fn demo() {
    if let Some(reason) = skip_reason() {
        eprintln!("skipped: {reason}");
        return;
    }
    let cluster = Cluster::up(&[]);
    let again = cluster.run("status");
    assert!(
        again.status.success(),
        "deploy/status failed:\n{}",
        text(&again)
    );
    let demo = cluster.run("demo");
    println!("{}", text(&demo));
    assert!(
        demo.status.success(),
        "the demo failed; logs:\n{}",
        cluster.logs()
    );
    cluster.down();
}

//! Takes over a changed file while the server runs. Upstream: server/options/encryptionconfig/controller.

use std::sync::Arc;
use std::time::Duration;

use super::Encryption;
use super::config::{self, Loaded};

const POLL: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_secs(1000);
/// How long the key services of a new file may take to be well, at least.
const HEALTH: Duration = Duration::from_secs(10);

impl Encryption {
    /// Follows the file until the server stops. `changed` is called after another configuration counts.
    pub async fn follow(self: &Arc<Self>, changed: impl Fn() + Send + Sync) {
        let following = async {
            let mut retry = FIRST_RETRY;
            loop {
                let wait = match self.take_over().await {
                    Ok(new) => {
                        if new {
                            tracing::info!("Loaded new kms encryption config content");
                            changed();
                        }
                        retry = FIRST_RETRY;
                        POLL
                    }
                    Err(error) => {
                        self.metrics.reloaded(false);
                        let path = self.path.display();
                        tracing::error!("error processing encryption config file {path}: {error}");
                        let wait = retry.min(POLL);
                        retry = (retry * 2).min(LONGEST_RETRY);
                        wait
                    }
                };
                tokio::time::sleep(wait).await;
            }
        };
        self.stop.run_until_cancelled(following).await;
    }

    /// Looks at the file once. Whether another configuration counts now.
    pub async fn take_over(&self) -> Result<bool, String> {
        if config::read(&self.path)?.hash == self.current.load().hash {
            return Ok(false);
        }
        let stop = self.stop.child_token();
        let loaded = config::load(&self.path, true, &self.metrics, stop.clone()).await?;
        // The file may be back to what it was.
        if loaded.hash == self.current.load().hash {
            stop.cancel();
            return Ok(false);
        }
        if let Err(why) = wait_until_well(&loaded).await {
            stop.cancel();
            return Err(format!(
                "health check for new transformers failed, polling error timed out waiting for the condition: {why}"
            ));
        }
        self.metrics.reloaded(true);
        self.metrics.applied(&loaded.hash);
        let old = {
            let mut users = self.users.lock();
            let loaded = Arc::new(loaded);
            let old = self.current.swap(loaded.clone());
            users.retain(|user| user.strong_count() > 0);
            for user in users.iter().filter_map(std::sync::Weak::upgrade) {
                user.chain
                    .store(loaded.rule(&user.group, &user.resource).cloned());
            }
            old
        };
        // Calls that are under way still need the old ones.
        tokio::spawn(async move {
            tokio::time::sleep(old.close_after).await;
            old.stop.cancel();
        });
        Ok(true)
    }
}

async fn wait_until_well(loaded: &Loaded) -> Result<(), String> {
    let limit = loaded.close_after.max(HEALTH);
    let mut last = Ok(());
    let waiting = async {
        loop {
            last = loaded.check().await;
            if last.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    match tokio::time::timeout(limit, waiting).await {
        Ok(()) => Ok(()),
        Err(_) => last.and(Err("context deadline exceeded".to_owned())),
    }
}

//! Resources that are kept in an etcd of their own, as events often are. Upstream: ParseEtcdServersOverrides of
//! server/options/etcd.go.
//!
//! Each such etcd has a watch, a clock and leases of its own: nothing relates the revisions of one to those of another.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::storage::{Backend, Error, EtcdConfig, StorageMetrics};

/// `--etcd-servers-overrides`.
#[derive(Default)]
pub struct EtcdOverrides {
    /// Group, resource, and the index of its backend.
    resources: Vec<(String, String, usize)>,
    backends: Vec<(BTreeSet<String>, Backend)>,
}

impl EtcdOverrides {
    /// Makes a client for each set of servers. `overrides` were validated before; all else is as for the other resources.
    pub fn new(
        overrides: &[String],
        config: &EtcdConfig,
        metrics: &Arc<StorageMetrics>,
        stop: &CancellationToken,
    ) -> Result<EtcdOverrides, Error> {
        let mut made = EtcdOverrides::default();
        for (group, resource, servers) in overrides.iter().filter_map(|text| parse(text)) {
            // In another order they are the same servers.
            let set: BTreeSet<String> = servers.iter().cloned().collect();
            let known = made.backends.iter().position(|(have, _)| *have == set);
            let index = match known {
                Some(index) => index,
                None => {
                    let config = EtcdConfig {
                        endpoints: servers,
                        ..config.clone()
                    };
                    let backend = Backend::new(config, metrics.clone(), stop.clone())?;
                    backend.start();
                    made.backends.push((set, backend));
                    made.backends.len() - 1
                }
            };
            made.resources.push((group, resource, index));
        }
        Ok(made)
    }

    /// Where a resource is kept, if not where the others are. The last override counts.
    pub fn backend(&self, group: &str, resource: &str) -> Option<&Backend> {
        let (_, _, index) = self
            .resources
            .iter()
            .rev()
            .find(|(of, name, _)| of == group && name == resource)?;
        self.backends.get(*index).map(|(_, backend)| backend)
    }

    /// All of them, each once.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().map(|(_, backend)| backend)
    }
}

/// `group/resource#server;server`
fn parse(text: &str) -> Option<(String, String, Vec<String>)> {
    let (resource, servers) = text.split_once('#')?;
    let (group, resource) = resource.split_once('/')?;
    let servers = servers.split(';').map(str::to_owned).collect();
    Some((group.to_owned(), resource.to_owned(), servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_name_a_resource_and_servers() {
        let servers = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(
            parse("/events#http://a:1;http://b:2"),
            Some((String::new(), "events".to_owned(), servers))
        );
        let (group, resource, _) = parse("apps/deployments#http://a:1").unwrap();
        assert_eq!((group.as_str(), resource.as_str()), ("apps", "deployments"));
    }
}

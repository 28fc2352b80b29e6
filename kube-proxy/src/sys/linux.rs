//! The real kernel: through nft, conntrack and /proc/sys.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{BoxFuture, Family, Flow, Kernel, KernelError, TableNames};

pub struct Linux;

const NFT: &str = "nft";
const CONNTRACK: &str = "conntrack";

async fn run(
    tool: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<std::process::Output, KernelError> {
    let start = |source| KernelError::Start { tool, source };
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends before it has read everything says why on its standard error.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await.map_err(start)
}

fn checked(tool: &'static str, output: std::process::Output) -> Result<Vec<u8>, KernelError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(KernelError::Failed {
        tool,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

impl Kernel for Linux {
    fn apply<'a>(&'a self, commands: &'a str) -> BoxFuture<'a, Result<(), KernelError>> {
        Box::pin(async move { checked(NFT, run(NFT, &["-f", "-"], commands).await?).map(|_| ()) })
    }

    fn table<'a>(
        &'a self,
        family: Family,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Option<TableNames>, KernelError>> {
        Box::pin(async move {
            let output = run(
                NFT,
                &["--json", "--terse", "list", "table", family.nft(), table],
                "",
            )
            .await?;
            if !output.status.success()
                && String::from_utf8_lossy(&output.stderr).contains("No such file or directory")
            {
                return Ok(None);
            }
            let listing = checked(NFT, output)?;
            table_names(&listing)
                .map(Some)
                .map_err(|error| KernelError::Failed {
                    tool: NFT,
                    message: format!("its list of table {table} cannot be read: {error}"),
                })
        })
    }

    fn supports(&self, family: Family) -> bool {
        family == Family::V4 || Path::new("/proc/net/if_inet6").exists()
    }

    fn udp_flows(&self, family: Family) -> BoxFuture<'_, Result<Vec<Flow>, KernelError>> {
        Box::pin(async move {
            let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
            let listing = checked(
                CONNTRACK,
                run(CONNTRACK, &["-L", "-p", "udp", "-f", family], "").await?,
            )?;
            Ok(String::from_utf8_lossy(&listing)
                .lines()
                .filter_map(flow)
                .collect())
        })
    }

    fn delete_udp_flow<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<(), KernelError>> {
        Box::pin(async move {
            let source = flow.source.to_string();
            let destination = flow.destination.to_string();
            let (source_port, destination_port) = (
                flow.source_port.to_string(),
                flow.destination_port.to_string(),
            );
            let arguments = [
                "-D",
                "-p",
                "udp",
                "--orig-src",
                &source,
                "--orig-dst",
                &destination,
                "--sport",
                &source_port,
                "--dport",
                &destination_port,
            ];
            let output = run(CONNTRACK, &arguments, "").await?;
            // A flow that ended by itself meanwhile is gone as well.
            if !output.status.success()
                && String::from_utf8_lossy(&output.stderr).contains("0 flow entries")
            {
                return Ok(());
            }
            checked(CONNTRACK, output).map(|_| ())
        })
    }

    fn sysctl(&self, name: &str) -> Option<i64> {
        std::fs::read_to_string(Path::new("/proc/sys").join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn set_sysctl(&self, name: &str, value: i64) -> Result<(), KernelError> {
        let path = Path::new("/proc/sys").join(name);
        std::fs::write(&path, value.to_string()).map_err(|source| KernelError::Write {
            path: path.display().to_string(),
            source,
        })
    }
}

fn table_names(listing: &[u8]) -> Result<TableNames, serde_json::Error> {
    let listing: serde_json::Value = serde_json::from_slice(listing)?;
    let mut names = TableNames::default();
    for object in listing["nftables"].as_array().into_iter().flatten() {
        let name = |kind: &str| object[kind]["name"].as_str().map(str::to_owned);
        names.chains.extend(name("chain"));
        names.sets.extend(name("set"));
        names.maps.extend(name("map"));
    }
    Ok(names)
}

/// A line of `conntrack -L`: the tuple of the original direction, then that of the reply.
fn flow(line: &str) -> Option<Flow> {
    let all = |key: &str| {
        line.split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix(key))
            .collect::<Vec<_>>()
    };
    let (sources, destinations) = (all("src="), all("dst="));
    let (source_ports, destination_ports) = (all("sport="), all("dport="));
    Some(Flow {
        source: sources.first()?.parse().ok()?,
        source_port: source_ports.first()?.parse().ok()?,
        destination: destinations.first()?.parse().ok()?,
        destination_port: destination_ports.first()?.parse().ok()?,
        reply_source: sources.get(1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_conntrack() {
        let line = "udp      17 25 src=10.244.0.5 dst=10.96.0.10 sport=4711 dport=53 src=10.244.1.3 dst=10.244.0.5 sport=53 dport=4711 [ASSURED] mark=0 use=1";
        let expected = Flow {
            source: "10.244.0.5".parse().expect("an address"),
            source_port: 4711,
            destination: "10.96.0.10".parse().expect("an address"),
            destination_port: 53,
            reply_source: "10.244.1.3".parse().expect("an address"),
        };
        assert_eq!(flow(line), Some(expected));
        assert_eq!(flow("nonsense"), None);
    }

    #[test]
    fn listings_of_nft() {
        let listing = br#"{"nftables":[{"metainfo":{}},{"table":{"name":"t"}},{"chain":{"name":"c"}},{"set":{"name":"s"}},{"map":{"name":"m"}},{"rule":{"chain":"c"}}]}"#;
        let names = table_names(listing).expect("JSON");
        let one = |name: &str| std::collections::BTreeSet::from([name.to_owned()]);
        assert_eq!(
            names,
            TableNames {
                chains: one("c"),
                sets: one("s"),
                maps: one("m")
            }
        );
    }
}

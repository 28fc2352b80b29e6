//! How often a server has asked etcd for something: its own counters, and those of etcd.

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::Result;

/// By the server's metrics: lists of one resource, and reads of one object.
const SERVER: &str = "etcd_request_duration_seconds_count";
/// By etcd's: requests for a range of keys, of whatever size.
const ETCD: &str = "grpc_server_started_total";

/// Requests since a server's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EtcdReads {
    lists: f64,
    gets: f64,
    ranges: Option<f64>,
}

impl EtcdReads {
    /// From what /metrics of the server says, and of etcd where it is known.
    pub(crate) fn of(server: &str, etcd: Option<&str>) -> Self {
        Self {
            lists: sum(server, SERVER, "operation=\"list\""),
            gets: sum(server, SERVER, "operation=\"get\""),
            ranges: etcd.map(|text| sum(text, ETCD, "grpc_method=\"Range\"")),
        }
    }

    /// What came after an earlier look, in words.
    pub(crate) fn since(self, earlier: Self) -> String {
        let mut text = format!(
            "the server counts {} lists and {} gets in etcd",
            self.lists - earlier.lists,
            self.gets - earlier.gets
        );
        if let (Some(now), Some(before)) = (self.ranges, earlier.ranges) {
            text.push_str(&format!(", etcd {} range requests", now - before));
        }
        text
    }
}

/// The sum of a metric's samples with this label, in Prometheus's text format.
fn sum(text: &str, metric: &str, label: &str) -> f64 {
    text.lines()
        .filter_map(|line| {
            let sample = line.strip_prefix(metric)?.strip_prefix('{')?;
            let (labels, value) = sample.rsplit_once('}')?;
            if !labels.split(',').any(|found| found == label) {
                return None;
            }
            value.split_whitespace().next()?.parse::<f64>().ok()
        })
        .sum()
}

/// What an address without TLS answers to a GET.
pub(crate) async fn text(url: &Url) -> Result<String> {
    let failed = |error: String| format!("{url}: {error}");
    if url.scheme() != "http" {
        return Err(failed("only http is read".to_owned()).into());
    }
    let addresses = url.socket_addrs(|| None)?;
    let tcp = TcpStream::connect(&*addresses)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    let request = Request::get(url.path())
        .header(HOST, url.authority())
        .body(Full::<Bytes>::default())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(failed(response.status().to_string()).into());
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_TEXT: &str = r#"# TYPE etcd_request_duration_seconds histogram
etcd_request_duration_seconds_bucket{group="",operation="list",resource="pods",le="+Inf"} 9
etcd_request_duration_seconds_count{group="",operation="list",resource="pods"} 2
etcd_request_duration_seconds_count{group="apps",operation="list",resource="deployments"} 3 1700000000000
etcd_request_duration_seconds_count{group="",operation="listWithCount",resource="pods"} 40
etcd_request_duration_seconds_count{group="",operation="get",resource="pods"} 7
"#;

    #[test]
    fn counters_are_summed_by_operation() {
        let earlier = EtcdReads::of(SERVER_TEXT, None);
        assert_eq!((earlier.lists, earlier.gets), (5.0, 7.0));
        let etcd = |count| {
            format!(
                "grpc_server_started_total{{grpc_method=\"Range\",grpc_type=\"unary\"}} {count}\n"
            )
        };
        let earlier = EtcdReads::of(SERVER_TEXT, Some(&etcd(10)));
        let later = SERVER_TEXT.replace("} 7", "} 9");
        let later = EtcdReads::of(&later, Some(&etcd(12)));
        assert_eq!(
            later.since(earlier),
            "the server counts 0 lists and 2 gets in etcd, etcd 2 range requests"
        );
    }
}

//! Asks other name servers about names outside the zone, by UDP and, for truncated answers, by TCP.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// A server that does not answer in this time is passed over.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_UDP_ANSWER: usize = 4096;

/// The name servers to ask, in order.
#[derive(Clone, Debug, Default)]
pub struct Forwarder {
    servers: Vec<SocketAddr>,
}

impl Forwarder {
    /// The name servers of a resolv.conf. A file that is missing or names none means that nothing is forwarded.
    pub fn from_resolv_conf(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self {
            servers: name_servers(&text),
        }
    }

    /// The first answer that a server gives to the raw query; None when none does.
    pub async fn ask(&self, query: &[u8]) -> Option<Message> {
        for server in &self.servers {
            match tokio::time::timeout(TIMEOUT, ask_one(*server, query)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "Name server did not answer"),
                Err(_) => tracing::debug!(%server, "Name server did not answer in time"),
            }
        }
        None
    }
}

fn name_servers(text: &str) -> Vec<SocketAddr> {
    let addresses = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    // A loopback name server is the host's, not one that a pod could reach; asking it would be asking ourselves.
    addresses
        .filter(|address| !address.is_loopback())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

async fn ask_one(server: SocketAddr, query: &[u8]) -> Result<Message, std::io::Error> {
    let local: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_UDP_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Something else than the answer to this query: keep waiting for it.
        if buffer.get(..2) != query.get(..2) {
            continue;
        }
        let answer = Message::from_vec(&buffer[..length]).map_err(std::io::Error::other)?;
        return if answer.metadata.truncation {
            ask_by_tcp(server, query).await
        } else {
            Ok(answer)
        };
    }
}

async fn ask_by_tcp(server: SocketAddr, query: &[u8]) -> Result<Message, std::io::Error> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(query).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_a_file() {
        let text = "# comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver  2001:db8::1\nnameserver 127.0.0.53\nnameserver nonsense\n";
        assert_eq!(
            name_servers(text),
            [
                "192.0.2.1:53".parse().expect("an address"),
                "[2001:db8::1]:53".parse().expect("an address")
            ]
        );
    }
}

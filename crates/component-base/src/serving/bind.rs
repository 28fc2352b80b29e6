//! Sockets. Upstream: apiserver/pkg/server/options/serving.go CreateListener, Go's net.Listen.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A listening TCP socket, not yet served.
#[derive(Debug)]
pub struct Listener {
    pub(super) inner: tokio::net::TcpListener,
    address: SocketAddr,
}

/// A socket could not be opened; the text is Go's.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to listen on {address}: listen tcp {address}: {operation}: {}",
    apimachinery::os_error::text(source)
)]
pub struct BindError {
    address: SocketAddr,
    operation: &'static str,
    #[source]
    source: std::io::Error,
}

impl Listener {
    /// The address, with the port the kernel chose when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Opens a TCP socket. An unspecified address of either family means all addresses of both, as it does in Go.
/// Must be called inside a runtime.
pub fn bind_plain(address: SocketAddr) -> Result<Listener, BindError> {
    bind(address, false)
}

/// [`bind_plain`], optionally sharing the port with other sockets that share it too.
pub(super) fn bind(address: SocketAddr, share_port: bool) -> Result<Listener, BindError> {
    let all = address.ip().is_unspecified();
    let open =
        |address: SocketAddr| -> Result<tokio::net::TcpListener, (&'static str, std::io::Error)> {
            let family = if address.is_ipv6() {
                AddressFamily::INET6
            } else {
                AddressFamily::INET
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
                .map_err(|errno| ("socket", errno.into()))?;
            let set_up = || -> rustix::io::Result<()> {
                sockopt::set_socket_reuseaddr(&socket, true)?;
                if share_port {
                    sockopt::set_socket_reuseport(&socket, true)?;
                }
                if address.is_ipv6() {
                    sockopt::set_ipv6_v6only(&socket, !all)?;
                }
                Ok(())
            };
            set_up().map_err(|errno| ("setsockopt", errno.into()))?;
            rustix::net::bind(&socket, &address).map_err(|errno| ("bind", errno.into()))?;
            rustix::net::listen(&socket, 4096).map_err(|errno| ("listen", errno.into()))?;
            tokio::net::TcpListener::from_std(std::net::TcpListener::from(socket))
                .map_err(|error| ("register", error))
        };
    let error = |(operation, source)| BindError {
        address,
        operation,
        source,
    };
    let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
    let inner = if all {
        match open(both) {
            // Without IPv6 in the kernel only the family asked for is left.
            Err(("socket" | "setsockopt", _)) if address.is_ipv4() => open(address),
            Err(("bind", source))
                if address.is_ipv4() && source.kind() == std::io::ErrorKind::AddrNotAvailable =>
            {
                open(address)
            }
            other => other,
        }
    } else {
        open(address)
    }
    .map_err(error)?;
    let address = inner
        .local_addr()
        .map_err(|source| error(("getsockname", source)))?;
    Ok(Listener { inner, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_has_gos_text() {
        let first = bind_plain("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = first.local_addr().port();
        let error = bind_plain(SocketAddr::from(([0, 0, 0, 0], port))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "failed to listen on 0.0.0.0:{port}: listen tcp 0.0.0.0:{port}: bind: address already in use"
            )
        );
    }

    #[tokio::test]
    async fn ports_can_be_shared() {
        let first = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        bind(first.local_addr(), true).unwrap();
        assert!(bind(first.local_addr(), false).is_err());
    }
}

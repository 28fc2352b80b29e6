//! Telling the service manager that a daemon has started. Upstream: github.com/coreos/go-systemd/daemon; see sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket of the service manager, for services of `Type=notify`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that this daemon is ready, where somebody wants to know.
pub fn ready() {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, "READY=1") {
        tracing::error!(%error, ?socket, "Unable to send systemd daemon successful start message");
    }
}

/// Sends one message. A name that starts with `@` is in the abstract namespace.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let from = UnixDatagram::unbound()?;
    // A service manager that does not read is no reason to wait.
    from.set_nonblocking(true)?;
    from.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn received(at: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        at.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = at.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_go_to_paths_and_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&at), "READY=1");
        let name = format!("component-base-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        assert_eq!(received(&at), "READY=1");
        let gone = folder.path().join("gone");
        assert!(send(gone.as_os_str(), "READY=1").is_err());
    }
}

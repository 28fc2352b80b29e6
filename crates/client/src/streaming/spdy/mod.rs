//! SPDY/3.1, as far as Kubernetes uses it, client side. Upstream: `github.com/moby/spdystream`.
//!
//! What differs from the specification, because the servers out there are that library: there is no flow control (window updates are
//! neither sent nor obeyed: a sender that waited for them would wait for ever), streams opened by the server are refused, settings are
//! ignored.

mod connection;
mod frame;
mod headers;

pub use connection::{Connection, SpdyError, Stream, StreamReader, StreamWriter};
pub use frame::{Frame, FrameError, decode, encode};
pub use headers::{HeaderBlock, HeaderReader, HeaderWriter};

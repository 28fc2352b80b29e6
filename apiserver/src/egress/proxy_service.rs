//! What is said in a tunnel. Upstream: konnectivity-client/proto/client/client.proto of sigs.k8s.io/apiserver-network-proxy.

use bytes::Bytes;

/// Takes a stream of packets and gives one.
pub(super) const PROXY: &str = "/ProxyService/Proxy";

/// The numbers and names of packets, by the same index.
const NAMES: [&str; 7] = [
    "DIAL_REQ",
    "DIAL_RSP",
    "CLOSE_REQ",
    "CLOSE_RSP",
    "DATA",
    "DIAL_CLS",
    "DRAIN",
];
const DIAL_REQ: i32 = 0;
const DIAL_RSP: i32 = 1;
const CLOSE_REQ: i32 = 2;
const CLOSE_RSP: i32 = 3;
const DATA: i32 = 4;
const DIAL_CLS: i32 = 5;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Packet {
    /// Says which payload counts.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(oneof = "Payload", tags = "2, 3, 4, 5, 6, 7")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(message, tag = "2")]
    DialRequest(DialRequest),
    #[prost(message, tag = "3")]
    DialResponse(DialResponse),
    #[prost(message, tag = "4")]
    Data(Data),
    #[prost(message, tag = "5")]
    CloseRequest(CloseRequest),
    #[prost(message, tag = "6")]
    CloseResponse(CloseResponse),
    #[prost(message, tag = "7")]
    CloseDial(CloseDial),
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialRequest {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DialResponse {
    /// Empty when the target was reached.
    #[prost(string, tag = "1")]
    pub(super) error: String,
    #[prost(int64, tag = "2")]
    pub(super) connection: i64,
    /// The request's.
    #[prost(int64, tag = "3")]
    pub(super) random: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Data {
    #[prost(int64, tag = "1")]
    pub(super) connection: i64,
    #[prost(string, tag = "2")]
    error: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) data: Bytes,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CloseRequest {
    #[prost(int64, tag = "1")]
    connection: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloseResponse {
    #[prost(string, tag = "1")]
    pub(super) error: String,
    #[prost(int64, tag = "2")]
    pub(super) connection: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct CloseDial {
    #[prost(int64, tag = "1")]
    pub(super) random: i64,
}

/// What a proxy says.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    Dialled(DialResponse),
    Data(Data),
    Closed(CloseResponse),
    DialClosed(CloseDial),
    /// Nothing for a client.
    Other,
}

impl Packet {
    fn new(kind: i32, payload: Payload) -> Packet {
        Packet {
            kind,
            payload: Some(payload),
        }
    }

    /// Asks for a TCP connection. The number comes back in the answer.
    pub(super) fn dial(address: &str, random: i64) -> Packet {
        let request = DialRequest {
            protocol: "tcp".to_owned(),
            address: address.to_owned(),
            random,
        };
        Packet::new(DIAL_REQ, Payload::DialRequest(request))
    }

    /// Asks to give up a dial.
    pub(super) fn close_dial(random: i64) -> Packet {
        Packet::new(DIAL_CLS, Payload::CloseDial(CloseDial { random }))
    }

    pub(super) fn data(connection: i64, data: Bytes) -> Packet {
        let data = Data {
            connection,
            error: String::new(),
            data,
        };
        Packet::new(DATA, Payload::Data(data))
    }

    /// Asks to close a connection.
    pub(super) fn close(connection: i64) -> Packet {
        Packet::new(
            CLOSE_REQ,
            Payload::CloseRequest(CloseRequest { connection }),
        )
    }

    /// As metrics have it.
    pub(super) fn name(&self) -> String {
        let known = usize::try_from(self.kind)
            .ok()
            .and_then(|kind| NAMES.get(kind));
        known.map_or_else(|| self.kind.to_string(), |name| (*name).to_owned())
    }

    /// A payload that is not there is as one without anything in it, as in Go.
    pub(super) fn told(self) -> Told {
        match (self.kind, self.payload) {
            (DIAL_RSP, Some(Payload::DialResponse(response))) => Told::Dialled(response),
            (DIAL_RSP, _) => Told::Dialled(DialResponse::default()),
            (DATA, Some(Payload::Data(data))) => Told::Data(data),
            (DATA, _) => Told::Data(Data::default()),
            (CLOSE_RSP, Some(Payload::CloseResponse(response))) => Told::Closed(response),
            (CLOSE_RSP, _) => Told::Closed(CloseResponse::default()),
            (DIAL_CLS, Some(Payload::CloseDial(close))) => Told::DialClosed(close),
            (DIAL_CLS, _) => Told::DialClosed(CloseDial::default()),
            _ => Told::Other,
        }
    }
}

/// What proxies of tests say and are asked.
#[cfg(test)]
impl Packet {
    pub(super) fn dialled(random: i64, connection: i64, error: &str) -> Packet {
        let response = DialResponse {
            error: error.to_owned(),
            connection,
            random,
        };
        Packet::new(DIAL_RSP, Payload::DialResponse(response))
    }

    pub(super) fn closed(connection: i64) -> Packet {
        let response = CloseResponse {
            error: String::new(),
            connection,
        };
        Packet::new(CLOSE_RSP, Payload::CloseResponse(response))
    }

    /// The address and the number of a dial.
    pub(super) fn asked(&self) -> Option<(&str, i64)> {
        match &self.payload {
            Some(Payload::DialRequest(request)) if request.protocol == "tcp" => {
                Some((&request.address, request.random))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn packets_are_what_the_protocol_says() {
        for (packet, name, bytes) in [
            (
                Packet::dial("a:1", 7),
                "DIAL_REQ",
                &b"\x12\x0c\x0a\x03tcp\x12\x03a:1\x18\x07"[..],
            ),
            (
                Packet::close_dial(7),
                "DIAL_CLS",
                b"\x08\x05\x3a\x02\x08\x07",
            ),
            (
                Packet::data(3, Bytes::from_static(b"hi")),
                "DATA",
                b"\x08\x04\x22\x06\x08\x03\x1a\x02hi",
            ),
            (Packet::close(3), "CLOSE_REQ", b"\x08\x02\x2a\x02\x08\x03"),
        ] {
            assert_eq!(packet.name(), name);
            assert_eq!(packet.encode_to_vec(), bytes, "{name}");
        }
    }

    #[test]
    fn packets_of_proxies() {
        let told = |bytes: &[u8]| Packet::decode(bytes).expect("a packet").told();
        let response = DialResponse {
            error: "no".to_owned(),
            connection: 4,
            random: 7,
        };
        assert_eq!(
            told(b"\x08\x01\x1a\x08\x0a\x02no\x10\x04\x18\x07"),
            Told::Dialled(response)
        );
        // Without the payload, or with that of another.
        assert_eq!(told(b"\x08\x01"), Told::Dialled(DialResponse::default()));
        assert_eq!(
            told(b"\x08\x03\x2a\x02\x08\x03"),
            Told::Closed(CloseResponse::default())
        );
        assert_eq!(told(b"\x08\x05"), Told::DialClosed(CloseDial { random: 0 }));
        // To agents, and of times to come.
        assert_eq!(told(b"\x08\x06\x42\x00"), Told::Other);
        assert_eq!(told(b"\x08\x63"), Told::Other);
        assert_eq!(Packet::decode(&b"\x08\x63"[..]).expect("one").name(), "99");
    }
}

//! Speaks DNS: takes the question out of a request, asks `records` or another server, and sends what they say.

use std::sync::Arc;

use component_base::metrics::{CounterVec, Metrics, Opts};
use hickory_proto::op::{Metadata, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::forward::Forwarder;
use crate::records::{Answer, Records};

/// Answers requests.
pub struct Handler {
    records: Arc<Records>,
    forwarder: Forwarder,
    responses: CounterVec,
}

/// What is sent back.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    recursion_available: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Handler {
    pub fn new(records: Arc<Records>, forwarder: Forwarder, metrics: &Metrics) -> Self {
        let responses = metrics.counter_vec(
            Opts::new(
                "coredns_dns_responses_total",
                "Counter of response status codes.",
            ),
            &["rcode"],
        );
        Self {
            records,
            forwarder,
            responses,
        }
    }

    async fn reply(&self, request: &Request) -> Reply {
        let failed = |code| Reply {
            code,
            ..Reply::default()
        };
        if request.metadata.op_code != OpCode::Query {
            return failed(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else {
            return failed(ResponseCode::FormErr);
        };
        if !self.records.is_synced() {
            return failed(ResponseCode::ServFail);
        }
        let authority = || vec![self.records.authority()];
        match self
            .records
            .answer(info.query.name(), info.query.query_type())
        {
            Answer::Found { records, extra } => {
                let authorities = if records.is_empty() {
                    authority()
                } else {
                    Vec::new()
                };
                Reply {
                    authoritative: true,
                    answers: records,
                    authorities,
                    additionals: extra,
                    ..Reply::default()
                }
            }
            Answer::NoSuchName => Reply {
                code: ResponseCode::NXDomain,
                authoritative: true,
                authorities: authority(),
                ..Reply::default()
            },
            Answer::NotOurs => match self.forwarder.ask(request.as_slice()).await {
                Some(answer) => Reply {
                    code: answer.metadata.response_code,
                    authoritative: false,
                    recursion_available: true,
                    answers: answer.answers,
                    authorities: answer.authorities,
                    additionals: answer.additionals,
                },
                None => failed(ResponseCode::ServFail),
            },
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let reply = self.reply(request).await;
        self.responses
            .with_label_values(&[reply.code.to_str()])
            .inc();
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = reply.recursion_available;
        let message = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &reply.answers,
            &reply.authorities,
            &[],
            &reply.additionals,
        );
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "Response could not be sent");
                hickory_proto::op::Header {
                    metadata,
                    counts: Default::default(),
                }
                .into()
            }
        }
    }
}

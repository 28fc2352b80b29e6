//! Pages that every daemon has: `/metrics/slis`, `/statusz`, `/flagz`, `/debug`. Upstream: server/routes, server/statusz,
//! server/flagz.

use component_base::debug;
use component_base::flagz::Flagz;
use component_base::metrics::HealthMetrics;
use component_base::serving::{Body, Request, Response};
use component_base::statusz::Statusz;

use crate::config::Config;

/// The name the pages give this daemon.
const COMPONENT: &str = "apiserver";

/// What `/statusz` lists.
const DEBUG_PATHS: [&str; 7] = [
    FLAGZ, "/healthz", "/livez", "/metrics", "/readyz", STATUSZ, "/version",
];
pub(super) const FLAGZ: &str = "/flagz";
pub(super) const STATUSZ: &str = "/statusz";
const SLIS: &str = "/metrics/slis";

pub struct Pages {
    /// What health checks found.
    pub health_metrics: HealthMetrics,
    flagz: Option<Flagz>,
    statusz: Option<Statusz>,
    profiling: bool,
}

impl Pages {
    pub fn new(config: &Config) -> Pages {
        let enabled = |gate| config.features.enabled(gate);
        Pages {
            health_metrics: HealthMetrics::default(),
            flagz: enabled("ComponentFlagz").then(|| Flagz::new(COMPONENT, &config.flags)),
            statusz: enabled("ComponentStatusz").then(|| Statusz::new(COMPONENT, DEBUG_PATHS)),
            profiling: config.flags.bool("profiling"),
        }
    }

    /// Those of the index. What is below `/debug` is not told.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        let flagz = self.flagz.is_some().then_some(FLAGZ);
        let statusz = self.statusz.is_some().then_some(STATUSZ);
        [Some(SLIS), flagz, statusz].into_iter().flatten()
    }

    /// Answers a request for one of the pages; gives others back.
    pub async fn answer(&self, request: Request) -> Result<Response, Request> {
        match (request.uri().path(), &self.flagz, &self.statusz) {
            (SLIS, ..) => Ok(self.health_metrics.handle(&request)),
            (FLAGZ, Some(page), _) => Ok(page.handle(&request)),
            (STATUSZ, _, Some(page)) => Ok(page.handle(&request)),
            (path, ..) if path.starts_with("/debug/") => {
                debug::handle(request, self.profiling).await
            }
            _ => Err(request),
        }
    }
}

/// A request for the listener's kind of handler.
pub fn request(cx: &crate::request::context::RequestContext, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = cx.method.clone();
    *request.uri_mut() = cx.uri.clone();
    *request.headers_mut() = cx.headers.clone();
    request
}

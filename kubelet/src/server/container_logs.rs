//! `/containerLogs`: finds the container whose log is asked for and streams it.
//!
//! Upstream: `getContainerLogs` of the server, `GetKubeletContainerLogs` and `validateContainerLogStatus` of the kubelet. Once
//! streaming has begun the status is 200 and a later error is text at the end of the log, as upstream.

use std::sync::Arc;

use api_types::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, PodLogOptions, PodStatus,
};
use component_base::serving::{Body, Request, Response};
use futures::future::BoxFuture;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::failed;
use super::host::Host;
use super::log_reader::{self, LogOptions, Running};
use crate::container::{ContainerId, find_container_spec};
use crate::cri::v1;

/// Whose log.
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

/// Answers a request.
pub(super) async fn serve(
    host: &Arc<dyn Host>,
    request: &Request,
    target: &Target,
    split_streams: bool,
) -> Response {
    let options = match options(request.uri().query().unwrap_or_default()) {
        Ok(options) => options,
        Err(()) => {
            return failed(
                StatusCode::BAD_REQUEST,
                "{\"message\": \"Unable to decode query.\"}",
            );
        }
    };
    if !is_valid(&options) {
        return failed(
            StatusCode::UNPROCESSABLE_ENTITY,
            "{\"message\": \"Invalid request.\"}",
        );
    }
    let Some(pod) = host.pod_by_name(&target.namespace, &target.pod) else {
        return failed(
            StatusCode::NOT_FOUND,
            format!("pod {:?} does not exist", target.pod),
        );
    };
    if find_container_spec(&pod.spec, &target.container).is_none() {
        return failed(
            StatusCode::NOT_FOUND,
            format!(
                "container {:?} not found in pod {:?}",
                target.container, target.pod
            ),
        );
    }
    let stream = options.stream.as_deref().unwrap_or("All");
    if stream != "All" && !split_streams {
        return failed(
            StatusCode::BAD_REQUEST,
            format!(
                "unable to return the given log stream: {stream:?}. Please enable PodLogsQuerySplitStreams feature gate in kubelet"
            ),
        );
    }
    if !matches!(stream, "All" | "Stdout" | "Stderr") {
        return failed(
            StatusCode::BAD_REQUEST,
            format!("invalid stream type {stream:?}"),
        );
    }
    let found = host.pod_status(&pod).and_then(|status| {
        container_id(
            &pod.metadata.name,
            &status,
            &target.container,
            options.previous,
        )
    });
    let id = match found {
        Ok(id) => id,
        Err(error) => return failed(StatusCode::BAD_REQUEST, error),
    };
    let read = LogOptions {
        tail_lines: options.tail_lines,
        limit_bytes: options.limit_bytes,
        since: since(&options),
        follow: options.follow,
        timestamps: options.timestamps,
        stdout: stream != "Stderr",
        stderr: stream != "Stdout",
    };
    let (sender, body) = Body::channel(16);
    let host = host.clone();
    tokio::spawn(async move {
        let result = match host.container_status(&id.id).await {
            Ok(status) => {
                let running = ContainerRunning {
                    host: &*host,
                    id: &id.id,
                };
                // The reader ends by itself when nobody reads any more; a client that leaves while nothing is written is seen here.
                tokio::select! {
                    result = log_reader::read_logs(std::path::Path::new(&status.log_path), &read, &running, &sender) => result,
                    () = sender.closed() => Ok(()),
                }
            }
            Err(error) => {
                tracing::debug!(container = %id, %error, "Failed to get container status");
                Err(format!("unable to retrieve container logs for {id}"))
            }
        };
        if let Err(error) = result {
            sender.send(error).await;
        }
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

struct ContainerRunning<'a> {
    host: &'a dyn Host,
    id: &'a str,
}

impl Running for ContainerRunning<'_> {
    fn is_running(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async {
            match self.host.container_status(self.id).await {
                Ok(status) => Ok(status.state == i32::from(v1::ContainerState::ContainerRunning)),
                // A runtime that restarts does not stop its containers.
                Err(error) if error.status.code() == tonic::Code::Unavailable => Ok(true),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Options of a query, as Go's conversion reads them.
fn options(query: &str) -> Result<PodLogOptions, ()> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let first = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    // Anything but "false" and "0" is true, the empty text too.
    let flag = |name: &str| {
        first(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    };
    let number = |text: Option<&str>| {
        text.map(|text| text.parse::<i64>().map_err(|_| ()))
            .transpose()
    };
    // An old name of tailLines, which wins; "all" is no limit.
    let tail = match first("tail").filter(|tail| !tail.is_empty()) {
        Some("all") => None,
        Some(tail) => Some(tail),
        None => first("tailLines"),
    };
    let since_time = match first("sinceTime") {
        None => None,
        Some("") => Some(api_types::Time::default()),
        Some(text) => Some(api_types::Time::from_timestamp(
            text.parse().map_err(|_| ())?,
        )),
    };
    Ok(PodLogOptions {
        container: first("container").unwrap_or_default().to_owned(),
        follow: flag("follow"),
        previous: flag("previous"),
        since_seconds: number(first("sinceSeconds"))?,
        since_time,
        timestamps: flag("timestamps"),
        tail_lines: number(tail)?,
        limit_bytes: number(first("limitBytes"))?,
        stream: first("stream").map(str::to_owned),
        ..Default::default()
    })
}

/// Upstream: `ValidatePodLogOptions`.
fn is_valid(options: &PodLogOptions) -> bool {
    options.tail_lines.is_none_or(|lines| lines >= 0)
        && options.limit_bytes.is_none_or(|bytes| bytes >= 1)
        && !(options.since_seconds.is_some() && options.since_time.is_some())
        && options.since_seconds.is_none_or(|seconds| seconds >= 1)
}

fn since(options: &PodLogOptions) -> Option<Timestamp> {
    let ago = options.since_seconds.and_then(|seconds| {
        Timestamp::now()
            .checked_sub(SignedDuration::from_secs(seconds))
            .ok()
    });
    let at = options
        .since_time
        .filter(|time| !time.is_zero())
        .map(|time| time.timestamp());
    ago.max(at)
}

/// The container whose log is meant: the running one, or the last that ran.
///
/// # Errors
/// With the text users see when there is none.
fn container_id(
    pod: &str,
    status: &PodStatus,
    container: &str,
    previous: bool,
) -> Result<ContainerId, String> {
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let found: Option<&ContainerStatus> = lists
        .into_iter()
        .flatten()
        .find(|status| status.name == container);
    let status =
        found.ok_or_else(|| format!("container {container:?} in pod {pod:?} is not available"))?;
    let terminated = |state: &ContainerState| -> Option<ContainerStateTerminated> {
        state.terminated.as_deref().cloned()
    };
    let last = terminated(&status.last_state);
    let last_id = last
        .as_ref()
        .map(|last| last.container_id.clone())
        .filter(|id| !id.is_empty());
    let over = || format!("container {container:?} in pod {pod:?} is terminated");
    let id = if previous {
        last_id.ok_or_else(|| {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        })?
    } else if status.state.running.is_some() {
        status.container_id.clone()
    } else if let Some(now) = terminated(&status.state) {
        // The next one may not have started: then the one before is meant.
        if now.container_id.is_empty() {
            last_id.ok_or_else(over)?
        } else {
            now.container_id
        }
    } else if last.is_some() {
        last_id.ok_or_else(over)?
    } else if let Some(waiting) = &status.state.waiting {
        let why = match waiting.reason.as_str() {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            other => other,
        };
        return Err(format!(
            "container {container:?} in pod {pod:?} is waiting to start: {why}"
        ));
    } else {
        return Err(format!(
            "container {container:?} in pod {pod:?} is waiting to start - no logs yet"
        ));
    };
    Ok(ContainerId::parse(&id).unwrap_or(ContainerId {
        runtime: String::new(),
        id,
    }))
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{ContainerStateRunning, ContainerStateWaiting};

    use super::*;

    fn terminated(id: &str) -> ContainerState {
        ContainerState {
            terminated: Some(Box::new(ContainerStateTerminated {
                container_id: id.to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn waiting(reason: &str) -> ContainerState {
        ContainerState {
            waiting: Some(Box::new(ContainerStateWaiting {
                reason: reason.to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(
        state: ContainerState,
        last: ContainerState,
        previous: bool,
        want: Result<&str, &str>,
    ) {
        let status = PodStatus {
            container_statuses: vec![ContainerStatus {
                name: "c".to_owned(),
                container_id: "containerd://now".to_owned(),
                state,
                last_state: last,
                ..Default::default()
            }],
            ..Default::default()
        };
        let got = container_id("p", &status, "c", previous);
        assert_eq!(
            got.map(|id| id.to_string()),
            want.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn which_container() {
        let none = ContainerState::default;
        let running = || ContainerState {
            running: Some(Box::new(ContainerStateRunning::default())),
            ..Default::default()
        };
        check(running(), none(), false, Ok("containerd://now"));
        check(
            running(),
            terminated("containerd://old"),
            true,
            Ok("containerd://old"),
        );
        check(
            running(),
            none(),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        );
        check(
            running(),
            terminated(""),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        );
        check(
            terminated("containerd://end"),
            none(),
            false,
            Ok("containerd://end"),
        );
        check(
            terminated(""),
            terminated("containerd://old"),
            false,
            Ok("containerd://old"),
        );
        check(
            terminated(""),
            none(),
            false,
            Err("container \"c\" in pod \"p\" is terminated"),
        );
        check(
            waiting("CrashLoopBackOff"),
            terminated("containerd://old"),
            false,
            Ok("containerd://old"),
        );
        check(
            waiting(""),
            terminated(""),
            false,
            Err("container \"c\" in pod \"p\" is terminated"),
        );
        check(
            waiting("ErrImagePull"),
            none(),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
        );
        check(
            waiting("ImagePullBackOff"),
            none(),
            false,
            Err(
                "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
            ),
        );
        check(
            waiting("ContainerCreating"),
            none(),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(
            none(),
            none(),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start - no logs yet"),
        );
        assert_eq!(
            container_id("p", &PodStatus::default(), "c", false),
            Err("container \"c\" in pod \"p\" is not available".to_owned())
        );
    }

    #[test]
    fn queries() {
        let got =
            options("follow=true&previous=0&timestamps&sinceSeconds=5&tailLines=10&limitBytes=7")
                .expect("valid");
        assert!(got.follow && !got.previous && got.timestamps);
        assert_eq!(
            (got.since_seconds, got.tail_lines, got.limit_bytes),
            (Some(5), Some(10), Some(7))
        );
        assert_eq!(
            options("tail=3&tailLines=10").expect("valid").tail_lines,
            Some(3)
        );
        assert_eq!(
            options("tail=all&tailLines=10").expect("valid").tail_lines,
            None
        );
        let at = options("sinceTime=2024-01-01T00:00:00Z")
            .expect("valid")
            .since_time
            .expect("time");
        assert_eq!(at.timestamp().as_second(), 1_704_067_200);
        for broken in ["tailLines=x", "sinceTime=yesterday", "limitBytes=1.5"] {
            assert!(options(broken).is_err(), "{broken}");
        }
        for (query, valid) in [
            ("tailLines=0", true),
            ("tailLines=-1", false),
            ("limitBytes=0", false),
            ("limitBytes=1", true),
            ("sinceSeconds=0", false),
            ("sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z", false),
        ] {
            assert_eq!(
                is_valid(&options(query).expect("decoded")),
                valid,
                "{query}"
            );
        }
    }
}

//! From method and path to what answers. One function, so that the whole API can be read in one place.

use http::Method;
use percent_encoding::percent_decode_str;

use super::Switches;

/// Roots for `/statusz`.
pub(super) const PATHS: [&str; 16] = [
    "/attach",
    "/checkpoint",
    "/configz",
    "/containerLogs",
    "/debug",
    "/exec",
    "/flagz",
    "/healthz",
    "/logs",
    "/metrics",
    "/pods",
    "/portForward",
    "/run",
    "/runningpods",
    "/stats",
    "/statusz",
];

const DISABLED: &str = "Debug endpoints are disabled.";

/// A container in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerPath {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: Option<String>,
    pub(super) container: String,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Healthz,
    HealthMetrics,
    Pods,
    RunningPods,
    Summary,
    Metrics,
    ProbeMetrics,
    ResourceMetrics,
    CadvisorMetrics,
    ContainerLogs {
        namespace: String,
        pod: String,
        container: String,
    },
    Exec(ContainerPath),
    Attach(ContainerPath),
    PortForward {
        namespace: String,
        pod: String,
        uid: Option<String>,
    },
    Run(ContainerPath),
    Checkpoint {
        namespace: String,
        pod: String,
        container: String,
    },
    NodeLogs(String),
    Configz,
    Flagz,
    Statusz,
    Debug,
}

/// Whether and where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    To(Target),
    /// No root of this name.
    NotFound,
    /// The root is known, the rest is not.
    NoSuchPage,
    WrongMethod,
    /// 405 with this text.
    Disabled(&'static str),
}

fn only(method: &Method, allowed: &[Method], target: Target) -> Route {
    if allowed.contains(method) {
        Route::To(target)
    } else {
        Route::WrongMethod
    }
}

/// Finds what answers.
pub(super) fn find(method: &Method, path: &str, switches: &Switches) -> Route {
    const READ: &[Method] = &[Method::GET];
    const READ_OR_POST: &[Method] = &[Method::GET, Method::POST];
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let rest = parts.get(1..).unwrap_or_default();
    match (parts.first().copied().unwrap_or_default(), rest) {
        ("healthz", _) => Route::To(Target::Healthz),
        ("metrics", []) => Route::To(Target::Metrics),
        ("metrics", ["slis"]) => Route::To(Target::HealthMetrics),
        ("metrics", ["cadvisor"]) => Route::To(Target::CadvisorMetrics),
        ("metrics", ["probes"]) => Route::To(Target::ProbeMetrics),
        ("metrics", ["resource"]) => Route::To(Target::ResourceMetrics),
        ("pods", []) => only(method, READ, Target::Pods),
        ("pods", _) => Route::NoSuchPage,
        ("stats", ["summary"]) => only(method, READ_OR_POST, Target::Summary),
        ("stats", _) => Route::NoSuchPage,
        (root, rest) if switches.enable_debugging_handlers => {
            debugging(method, root, rest, switches)
        }
        // Upstream names these on the read-only port as well.
        (
            "run" | "exec" | "attach" | "portForward" | "containerLogs" | "runningpods" | "logs",
            _,
        ) => Route::Disabled(DISABLED),
        ("debug", ["pprof", ..]) => Route::Disabled(DISABLED),
        _ => Route::NotFound,
    }
}

fn debugging(method: &Method, root: &str, rest: &[&str], switches: &Switches) -> Route {
    const READ: &[Method] = &[Method::GET];
    const POST: &[Method] = &[Method::POST];
    const READ_OR_POST: &[Method] = &[Method::GET, Method::POST];
    let container = |rest: &[&str]| match *rest {
        [namespace, pod, container] => Some(ContainerPath {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: None,
            container: container.to_owned(),
        }),
        [namespace, pod, uid, container] => Some(ContainerPath {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: Some(uid.to_owned()),
            container: container.to_owned(),
        }),
        _ => None,
    };
    match (root, rest) {
        ("run", rest) => container(rest).map_or(Route::NoSuchPage, |path| {
            only(method, POST, Target::Run(path))
        }),
        ("exec", rest) => container(rest).map_or(Route::NoSuchPage, |path| {
            only(method, READ_OR_POST, Target::Exec(path))
        }),
        ("attach", rest) => container(rest).map_or(Route::NoSuchPage, |path| {
            only(method, READ_OR_POST, Target::Attach(path))
        }),
        ("portForward", [namespace, pod, uid @ ..]) if uid.len() < 2 => only(
            method,
            READ_OR_POST,
            Target::PortForward {
                namespace: (*namespace).to_owned(),
                pod: (*pod).to_owned(),
                uid: uid.first().map(|uid| (*uid).to_owned()),
            },
        ),
        ("containerLogs", [namespace, pod, container]) => only(
            method,
            READ,
            Target::ContainerLogs {
                namespace: (*namespace).to_owned(),
                pod: (*pod).to_owned(),
                container: (*container).to_owned(),
            },
        ),
        ("checkpoint", [namespace, pod, container]) if switches.checkpoint => only(
            method,
            POST,
            Target::Checkpoint {
                namespace: (*namespace).to_owned(),
                pod: (*pod).to_owned(),
                container: (*container).to_owned(),
            },
        ),
        ("runningpods", []) => only(method, READ, Target::RunningPods),
        ("logs", rest) if switches.enable_system_log_handler => {
            only(method, READ, Target::NodeLogs(rest.join("/")))
        }
        ("logs", _) => Route::Disabled("logs endpoint is disabled."),
        ("configz", []) => Route::To(Target::Configz),
        ("flagz", []) => Route::To(Target::Flagz),
        ("statusz", []) => Route::To(Target::Statusz),
        ("debug", ["flags", "v"]) if switches.enable_debug_flags_handler => {
            Route::To(Target::Debug)
        }
        ("debug", ["flags", "v"]) => Route::Disabled("flags endpoint is disabled."),
        ("debug", ["pprof", ..]) if switches.enable_profiling_handler => {
            only(method, READ, Target::Debug)
        }
        ("debug", ["pprof", ..]) => Route::Disabled("profiling endpoint is disabled."),
        ("portForward" | "containerLogs" | "runningpods", _) => Route::NoSuchPage,
        ("checkpoint", _) if switches.checkpoint => Route::NoSuchPage,
        _ => Route::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Switches = Switches {
        enable_debugging_handlers: true,
        enable_system_log_handler: true,
        enable_system_log_query: false,
        enable_profiling_handler: true,
        enable_debug_flags_handler: true,
        checkpoint: true,
        split_log_streams: false,
        websockets: true,
    };

    fn container(uid: Option<&str>) -> ContainerPath {
        ContainerPath {
            namespace: "ns".to_owned(),
            pod: "pod".to_owned(),
            uid: uid.map(str::to_owned),
            container: "c".to_owned(),
        }
    }

    #[test]
    fn routes() {
        for (method, path, want) in [
            (Method::GET, "/healthz", Route::To(Target::Healthz)),
            (Method::GET, "/healthz/syncloop", Route::To(Target::Healthz)),
            (Method::GET, "/pods", Route::To(Target::Pods)),
            (Method::GET, "/pods/", Route::To(Target::Pods)),
            (Method::POST, "/pods", Route::WrongMethod),
            (Method::GET, "/pods/x", Route::NoSuchPage),
            (Method::GET, "/runningpods/", Route::To(Target::RunningPods)),
            (Method::POST, "/stats/summary", Route::To(Target::Summary)),
            (Method::GET, "/stats", Route::NoSuchPage),
            (Method::GET, "/metrics", Route::To(Target::Metrics)),
            (
                Method::GET,
                "/metrics/resource",
                Route::To(Target::ResourceMetrics),
            ),
            (Method::GET, "/metrics/nope", Route::NotFound),
            (
                Method::POST,
                "/exec/ns/pod/c",
                Route::To(Target::Exec(container(None))),
            ),
            (
                Method::GET,
                "/exec/ns/pod/uid/c",
                Route::To(Target::Exec(container(Some("uid")))),
            ),
            (Method::GET, "/exec/ns/pod", Route::NoSuchPage),
            (Method::GET, "/run/ns/pod/c", Route::WrongMethod),
            (
                Method::POST,
                "/run/ns/pod/c",
                Route::To(Target::Run(container(None))),
            ),
            (
                Method::POST,
                "/portForward/ns/pod",
                Route::To(Target::PortForward {
                    namespace: "ns".to_owned(),
                    pod: "pod".to_owned(),
                    uid: None,
                }),
            ),
            (
                Method::GET,
                "/logs/",
                Route::To(Target::NodeLogs(String::new())),
            ),
            (
                Method::GET,
                "/logs/pods/a.log",
                Route::To(Target::NodeLogs("pods/a.log".to_owned())),
            ),
            (Method::GET, "/configz", Route::To(Target::Configz)),
            (
                Method::GET,
                "/debug/pprof/profile",
                Route::To(Target::Debug),
            ),
            (Method::GET, "/nope", Route::NotFound),
            (Method::GET, "/", Route::NotFound),
        ] {
            assert_eq!(find(&method, path, &ALL), want, "{method} {path}");
        }
    }

    #[test]
    fn without_debugging_handlers() {
        let off = Switches {
            enable_debugging_handlers: false,
            ..ALL
        };
        for path in [
            "/run/ns/pod/c",
            "/exec/ns/pod/c",
            "/attach/ns/pod/c",
            "/portForward/ns/pod",
            "/containerLogs/ns/pod/c",
            "/runningpods/",
            "/debug/pprof/profile",
            "/logs/",
        ] {
            assert_eq!(
                find(&Method::GET, path, &off),
                Route::Disabled("Debug endpoints are disabled."),
                "{path}"
            );
        }
        for path in [
            "/configz",
            "/statusz",
            "/checkpoint/ns/pod/c",
            "/debug/flags/v",
        ] {
            assert_eq!(find(&Method::GET, path, &off), Route::NotFound, "{path}");
        }
        assert_eq!(find(&Method::GET, "/pods", &off), Route::To(Target::Pods));
    }

    #[test]
    fn single_switches() {
        let off = Switches {
            enable_system_log_handler: false,
            enable_profiling_handler: false,
            enable_debug_flags_handler: false,
            ..ALL
        };
        for (path, why) in [
            ("/logs/x", "logs endpoint is disabled."),
            ("/debug/pprof/", "profiling endpoint is disabled."),
            ("/debug/flags/v", "flags endpoint is disabled."),
        ] {
            assert_eq!(
                find(&Method::GET, path, &off),
                Route::Disabled(why),
                "{path}"
            );
        }
    }
}

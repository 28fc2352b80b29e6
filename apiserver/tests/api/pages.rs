//! Paths that are no resources: pages of every daemon, and what is answered where there is nothing.

use super::*;

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_pages_show_what_runs() {
    let Some(server) = Server::start().await else {
        return;
    };
    let status = server.accept("/statusz", "").await;
    assert!(text(&status).starts_with("\napiserver statusz\n"));
    assert!(
        text(&status)
            .ends_with("Paths: /flagz /healthz /livez /metrics /readyz /statusz /version\n")
    );
    let form = "application/json;g=config.k8s.io;v=v1beta1;as=Flagz";
    let shown = server.accept("/flagz", form).await.expect(200);
    assert_eq!(shown["flags"]["profiling"], "true");
    assert_eq!(shown["metadata"]["name"], "apiserver");
    assert_eq!(server.get("/debug/pprof/heap").await.code, 501);

    server.get("/livez").await;
    let results = server.get("/metrics/slis").await;
    let line = "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1";
    assert!(text(&results).contains(line), "{}", text(&results));

    let index = server.get("/").await.expect(200);
    let paths: Vec<&str> = index["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    assert!(paths.is_sorted());
    for path in [
        "/flagz",
        "/livez/loopback-serving-certificate",
        "/metrics/slis",
    ] {
        assert!(paths.contains(&path), "{path}");
    }
    assert!(!paths.iter().any(|path| path.starts_with("/debug")));
}

#[tokio::test(flavor = "multi_thread")]
async fn profiling_and_pages_can_be_switched_off() {
    let more = [
        "--profiling=false",
        "--feature-gates=ComponentFlagz=false,ComponentStatusz=false",
    ];
    let Some(server) = Server::start_with(&more.map(str::to_owned)).await else {
        return;
    };
    for path in ["/debug/pprof/", "/debug/flags/v", "/flagz", "/statusz"] {
        assert_eq!(server.get(path).await.code, 404, "{path}");
    }
}

/// Below the groups that this server has itself, a router answers; everything else is a text.
#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_not() {
    let Some(server) = Server::start().await else {
        return;
    };
    for (method, path, code, is_status) in [
        ("GET", "/apis/apps/v1beta1", 404, true),
        ("GET", "/api/v2", 404, true),
        ("GET", "/apis/apiextensions.k8s.io/v9", 404, true),
        ("GET", "/apis/none.example.com/v1", 404, false),
        ("GET", "/nonsense", 404, false),
        ("GET", "/api/v1/proxy/namespaces/x", 404, true),
        ("GET", "/api/v1/namespaces/x/namespaces", 404, true),
        (
            "GET",
            "/api/v1/namespaces/default/namespaces/default",
            404,
            true,
        ),
        (
            "GET",
            "/api/v1/watch/namespaces/default/namespaces",
            404,
            true,
        ),
        ("DELETE", "/api", 405, true),
        ("DELETE", "/apis/apps/v1", 405, true),
        ("POST", "/version", 405, true),
    ] {
        let answer = server.send(method, path, &[], "").await;
        assert_eq!(answer.code, code, "{method} {path}");
        let shown = answer.headers["content-type"].to_str().unwrap();
        let expected = if is_status {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        assert_eq!(shown, expected, "{method} {path}");
        let no_sniff = answer.headers.contains_key("x-content-type-options");
        assert_eq!(no_sniff, !is_status, "{method} {path}");
    }
    // Lists of groups take any method.
    for path in ["/apis", "/apis/apps"] {
        assert_eq!(server.send("DELETE", path, &[], "").await.code, 200);
    }
}

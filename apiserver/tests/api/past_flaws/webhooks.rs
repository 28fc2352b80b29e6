//! Webhooks that users configure, and what those who cannot configure them learn.

use serde_json::json;

use super::super::canary::Log;
use super::super::webhooks::{Hooks, MUTATING, VALIDATING};
use super::super::{CONFIG_MAPS, Server, config_map};

/// Who may configure webhooks could have the server ask any address by redirects, and read the answers in its log.
#[tokio::test]
async fn cve_2020_8561_webhooks_do_not_redirect_and_are_not_logged() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let Some(server) = Server::start().await else {
        return;
    };
    let hooks = Hooks::start().await;
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let canary = "canary-4c1d09e7b2aa-body";
    let mut paths: Vec<String> = ["page", "status", "ok-page", "ok-json", "refusal"]
        .iter()
        .map(|kind| format!("{kind}/{canary}"))
        .collect();
    for code in [301, 302, 303, 307, 308] {
        paths.push(format!("redirect/{code}/{port}"));
    }
    for (index, path) in paths.iter().enumerate() {
        for (resource, policy) in [
            (VALIDATING, "Fail"),
            (VALIDATING, "Ignore"),
            (MUTATING, "Fail"),
        ] {
            let name = format!("w{index}-{}", policy.to_lowercase());
            let hook = hooks.hook(
                &name,
                "",
                json!({"failurePolicy": policy, "timeoutSeconds": 5}),
            );
            let mut hook = hook;
            let url = hook["clientConfig"]["url"].as_str().unwrap();
            // The words of a configuration are no secret of the webhook.
            hook["clientConfig"]["url"] = format!("{url}{path}").into();
            server.configure(resource, &name, json!([hook])).await;
            let answer = server.post(CONFIG_MAPS, config_map(&name)).await;
            let refused = policy == "Fail" || path.starts_with("refusal");
            assert_eq!(answer.code == 201, !refused, "{path}: {}", answer.code);
            let asked = hooks.seen();
            assert_eq!(asked.len(), 1, "{path} was asked once");
            server
                .delete(&format!("{resource}/{name}"), json!({}))
                .await
                .expect(200);
        }
    }
    let reached = elsewhere.accept().map(|_| ());
    let nobody = reached.unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock, "it was followed");
    assert_eq!(log.tells(canary), None);
}

/// Profiles and the log's verbosity, by which the bodies of requests and answers got into the log, are for those who are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_8561_profiles_and_verbosity_need_rights() {
    let Some(server) = Server::start_with(&["--authorization-mode=RBAC".to_owned()]).await else {
        return;
    };
    for (method, path) in [
        ("GET", "/debug/pprof/"),
        ("GET", "/debug/pprof/heap"),
        ("GET", "/debug/pprof/cmdline"),
        ("PUT", "/debug/flags/v"),
        ("GET", "/debug/flags/v"),
        ("GET", "/debug/api_priority_and_fairness/dump_requests"),
        ("GET", "/metrics"),
        ("GET", "/configz"),
        ("GET", "/flagz"),
        ("GET", "/statusz"),
    ] {
        let jane = [("impersonate-user", "jane")];
        let answer = server.send(method, path, &jane, "9").await;
        assert_eq!(answer.code, 403, "{method} {path}");
        let nobody = [("authorization", "none")];
        let answer = server.send(method, path, &nobody, "9").await;
        assert_eq!(answer.code, 403, "{method} {path}");
    }
    let answer = server.send("PUT", "/debug/flags/v", &[], "2").await;
    assert_eq!(answer.code, 200);
}

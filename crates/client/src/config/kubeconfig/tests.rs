use super::*;

fn file(user: &str, cluster: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: u, namespace: ns}}\n\
         clusters:\n- name: k\n  cluster: {cluster}\nusers:\n- name: u\n  user: {user}\npreferences: {{}}\n"
    )
}

#[track_caller]
fn good(user: &str, cluster: &str) -> ClientConfig {
    ClientConfig::from_kubeconfig_text(&file(user, cluster)).unwrap()
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = ClientConfig::from_kubeconfig_text(text)
        .unwrap_err()
        .to_string();
    assert!(error.contains(expected), "got: {error}\nwant: {expected}");
}

const SERVER: &str = "{server: 'https://h:6443'}";

#[test]
fn every_way_to_authenticate() {
    for (user, expected) in [
        ("{}", Auth::None),
        ("null", Auth::None),
        ("{token: abc}", Auth::Token("abc".into())),
        (
            "{tokenFile: /t, token: abc}",
            Auth::TokenFile("/t".into(), Some("abc".into())),
        ),
        ("{token: 12345}", Auth::Token("12345".into())),
        ("{token: ~, tokenFile: null}", Auth::None),
        (
            "{username: a, password: b}",
            Auth::Basic {
                username: "a".into(),
                password: "b".into(),
            },
        ),
    ] {
        assert_eq!(good(user, SERVER).auth, expected, "{user}");
    }
    let config = good(
        "{exec: {command: aws, args: [x], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}}",
        SERVER,
    );
    let Auth::Exec(exec) = config.auth else {
        panic!("{:?}", config.auth)
    };
    assert_eq!(
        (exec.command.as_str(), exec.args.as_slice()),
        ("aws", &["x".to_owned()][..])
    );
    let config = good(
        "{as: jane, as-groups: [dev], as-user-extra: {k: [v]}, as-uid: '7'}",
        SERVER,
    );
    assert_eq!(
        config.impersonation,
        Impersonation {
            user: "jane".into(),
            uid: "7".into(),
            groups: vec!["dev".into()],
            extra: vec![("k".into(), vec!["v".into()])]
        }
    );
}

#[test]
fn cluster_settings() {
    let config = good(
        "{}",
        "{server: 'https://h:6443', certificate-authority-data: QUJD, tls-server-name: kubernetes}",
    );
    assert_eq!(
        config.tls.ca,
        Some(CertificateSource::Data(b"ABC".to_vec()))
    );
    assert_eq!(config.tls.server_name.as_deref(), Some("kubernetes"));
    assert_eq!(config.default_namespace.as_deref(), Some("ns"));
    assert!(
        good(
            "{}",
            "{server: 'https://h', insecure-skip-tls-verify: true}"
        )
        .tls
        .insecure
    );
    assert!(good("{}", "{server: 'https://h', disable-compression: true}").disable_compression);
}

#[test]
fn what_is_refused_and_how() {
    check_error(
        &file("{}", "{server: ''}"),
        "no server found for cluster \"k\"",
    );
    check_error(
        &file("{}", "{server: 'https://h', proxy-url: 'socks5://p'}"),
        "proxy-url",
    );
    check_error(
        &file("{client-certificate-data: QUJD}", SERVER),
        "client-key-data or client-key must be specified for u",
    );
    check_error(
        &file("{token: a, username: b}", SERVER),
        "more than one authentication method found for u; found [token basicAuth]",
    );
    check_error(
        &file(
            "{client-certificate: /nonexistent, client-key: /nonexistent}",
            SERVER,
        ),
        "unable to read client-cert /nonexistent for u due to open /nonexistent: no such file or directory",
    );
    check_error(
        &file("{exec: {args: [x]}}", SERVER),
        "command must be specified for u to use exec authentication plugin",
    );
    check_error(
        &file("{as-groups: [x]}", SERVER),
        "without impersonating a user",
    );
    check_error(
        &file("{auth-provider: {name: gcp}}", SERVER),
        "no Auth Provider found for name \"gcp\"",
    );
    check_error(&file("{client-key-data: '***'}", SERVER), "base64");
    check_error("", "no configuration has been provided");
    check_error(
        "apiVersion: v1\nkind: Pod\n",
        "error loading config file \"<text>\": no kind \"Pod\" is registered for version \"v1\"",
    );
    check_error(
        "current-context: nope\n",
        "invalid configuration: [context was not found for specified context: nope, cluster has no server defined]",
    );
    check_error(
        &file("{tokenFile: /nonexistent}", SERVER),
        "open /nonexistent: no such file or directory",
    );
    check_error(
        &file(
            "{}",
            "{server: 'https://h', insecure-skip-tls-verify: true, certificate-authority-data: QUJD}",
        ),
        "specifying a root certificates file with the insecure flag is not allowed",
    );
    check_error(
        "a: [",
        "error loading config file \"<text>\": yaml: line 1: unclosed bracket '['",
    );
    let both = file(
        "{token: a, username: b, client-certificate-data: QUJD}",
        SERVER,
    );
    check_error(&both, ", more than one authentication method");
}

#[test]
fn names_of_nothing() {
    let context = |context: &str| {
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {context}}}]\n\
             clusters: [{{name: k, cluster: {SERVER}}}]\nusers: [{{name: u, user: {{token: a, username: b}}}}]\n"
        )
    };
    // Whoever is not there has no credentials.
    let config = ClientConfig::from_kubeconfig_text(&context("{cluster: k, user: x}")).unwrap();
    assert_eq!(config.auth, Auth::None);
    for nowhere in ["{cluster: x, user: x}", "{user: x}"] {
        check_error(
            &context(nowhere),
            "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable",
        );
    }
    check_error(
        &context("{cluster: x, user: u}"),
        "invalid configuration: [more than one authentication method found for u; found [token basicAuth], only one is allowed, \
         cluster has no server defined]",
    );
    let master = |text: &str| {
        let config = Kubeconfig::parse(text, "<text>").unwrap();
        config.client_config_for(None, "https://m")
    };
    assert_eq!(
        master(&context("{cluster: x}")).unwrap().server,
        "https://m"
    );
    assert_eq!(
        master("current-context: nope\n").unwrap_err().to_string(),
        "invalid configuration: context was not found for specified context: nope"
    );
}

#[test]
fn file_names_count_from_the_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), "x").unwrap();
    std::fs::write(folder.path().join("token"), "abc\n").unwrap();
    let path = folder.path().join("config");
    std::fs::write(
        &path,
        file(
            "{tokenFile: token}",
            "{server: 'https://h', certificate-authority: ca.crt}",
        ),
    )
    .unwrap();
    let config = ClientConfig::from_kubeconfig(&path).unwrap();
    assert_eq!(
        config.tls.ca,
        Some(CertificateSource::File(folder.path().join("ca.crt")))
    );
    assert_eq!(
        config.auth,
        Auth::TokenFile(folder.path().join("token"), Some("abc".into()))
    );
    let missing = ClientConfig::from_kubeconfig("/nonexistent").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "stat /nonexistent: no such file or directory"
    );
    let config = ClientConfig::load(Some(&path), "https://other:1").unwrap();
    assert_eq!(config.server, "https://other:1");
}

#[test]
fn contexts_can_be_chosen() {
    let text = "contexts:\n- {name: a, context: {cluster: x, user: u}}\n- {name: b, context: {cluster: y, user: u}}\ncurrent-context: a\n\
                clusters:\n- {name: x, cluster: {server: 'https://x'}}\n- {name: y, cluster: {server: 'https://y'}}\nusers:\n- {name: u, user: {}}\n";
    let parsed = Kubeconfig::parse(text, "test").unwrap();
    assert_eq!(parsed.contexts().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(parsed.client_config(None).unwrap().server, "https://x");
    assert_eq!(parsed.client_config(Some("b")).unwrap().server, "https://y");
}

/// Upstream reads kubeconfigs leniently.
#[test]
fn of_a_key_that_comes_twice_the_last_counts() {
    let parsed = Kubeconfig::parse("current-context: a\ncurrent-context: b\n", "<text>").unwrap();
    assert_eq!(parsed.current_context, "b");
}

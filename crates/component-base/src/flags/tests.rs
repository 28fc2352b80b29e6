use super::*;

const TABLE: Table = &[
    Group {
        section: "Misc",
        rows: &[
            FlagRow::new(
                "config",
                Kind::String,
                "",
                "The path to the configuration file.",
            ),
            FlagRow::new("on", Kind::Bool, "true", "Whether it is on."),
            FlagRow::new("port", Kind::Int, "6443", "The port."),
            FlagRow::new("small", Kind::Int32, "5", "A small number."),
            FlagRow::new("rate", Kind::Float32, "0.1", "A rate."),
            FlagRow::new("wait", Kind::Duration, "1m0s", "How long.").deprecated("use patience"),
            FlagRow::new("address", Kind::Ip, "0.0.0.0", "Where."),
            FlagRow::new("list", Kind::StringSlice, "[a,b]", "A list."),
            FlagRow::new("array", Kind::StringArray, "[]", "An array."),
            FlagRow::new("map", Kind::MapStringString, "", "A map."),
            FlagRow::new("gates", Kind::MapStringBool, "", "Gates."),
            FlagRow::new(
                "multi",
                Kind::ColonMultimap { default_key: true },
                "",
                "Gates of components.",
            ),
            FlagRow::new(
                "headers",
                Kind::ColonMultimap { default_key: false },
                "",
                "Headers.",
            ),
            FlagRow::new("eviction", Kind::LangleMapStringString, "", "Thresholds."),
            FlagRow::new("runtime", Kind::ConfigurationMap, "", "APIs."),
            FlagRow::new("labels", Kind::StringToString, "[]", "Labels."),
            FlagRow::new("sni", Kind::NamedCertKey, "[]", "Certificates."),
            FlagRow::new("ports", Kind::PortRange, "30000-32767", "Ports."),
            FlagRow::new("curves", Kind::Int32Slice, "[]", "Curves."),
            FlagRow::new("listen", Kind::IpPort, "0.0.0.0:10256", "Listen here."),
            FlagRow::new("text-address", Kind::IpText, "0.0.0.0", "Where."),
            FlagRow::new("secret", Kind::Bool, "false", "Not shown.")
                .hidden()
                .without_effect("for no reason"),
        ],
    },
    Group {
        section: "Logs",
        rows: common::LOGS,
    },
    Group {
        section: "Global",
        rows: &[FlagRow::new("help", Kind::Bool, "false", "help for kube-test").shorthand('h')],
    },
    Group {
        section: "Global",
        rows: common::VERSION,
    },
];

const COMMAND: Command = Command {
    name: "kube-test",
    description: "Tests.\n",
    flags: TABLE,
    features: &[],
    usage_style: UsageStyle::UsageThenError,
};

fn parse(arguments: &[&str]) -> Result<Parsed, Vec<String>> {
    Flags::parse(&COMMAND, arguments.iter().map(|text| (*text).to_owned()))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn flags(arguments: &[&str]) -> Flags {
    match parse(arguments) {
        Ok(Parsed::Run(flags)) => flags,
        other => panic!("{arguments:?} gives {other:?}"),
    }
}

#[track_caller]
fn error(argument: &str) -> String {
    let errors = parse(&[argument]).expect_err("must be an error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn booleans_stand_alone() {
    assert!(flags(&[]).bool("on"));
    assert!(!flags(&["--on=false"]).bool("on"));
    assert!(flags(&["--on"]).bool("on"));
    // `--on false` is `--on` and an argument, as with pflag.
    assert_eq!(
        parse(&["--on", "false"]).unwrap_err(),
        ["\"kube-test\" does not take any arguments, got [\"false\"]"]
    );
}

#[test]
fn the_last_repeat_wins() {
    let flags = flags(&[
        "--port=1",
        "--port",
        "2",
        "--config=a",
        "--config",
        "--port=3",
    ]);
    assert_eq!(flags.int("port"), 2);
    assert_eq!(flags.string("config"), "--port=3");
    assert!(flags.changed("port") && !flags.changed("wait"));
}

#[test]
fn lists_replace_the_default_and_then_grow() {
    assert_eq!(flags(&[]).strings("list"), ["a", "b"]);
    assert_eq!(
        flags(&["--list=x,\"y,z\"", "--list=w"]).strings("list"),
        ["x", "y,z", "w"]
    );
    assert_eq!(flags(&["--list="]).strings("list"), [] as [&str; 0]);
    assert_eq!(
        flags(&["--array=x,y", "--array=z"]).strings("array"),
        ["x,y", "z"]
    );
    assert_eq!(flags(&["--curves=23,24"]).int32s("curves"), [23, 24]);
}

#[test]
fn maps_merge() {
    let flags = flags(&[
        "--map=a=1,b=2",
        "--map=b=3, c = 4",
        "--gates=A=true",
        "--gates=B=false",
        "--multi=A=true,kube:B=false,wardle:C=true",
        "--headers=a:1,a:2",
        "--eviction=memory.available<100Mi",
        "--runtime=api/all=true,batch/v1",
        "--labels=a=b,c=d",
    ]);
    let map = |name: &str| {
        flags
            .map(name)
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(map("map"), ["a=1", "b=3", "c=4"]);
    assert_eq!(map("eviction"), ["memory.available=100Mi"]);
    assert_eq!(map("runtime"), ["api/all=true", "batch/v1="]);
    assert_eq!(map("labels"), ["a=b", "c=d"]);
    assert_eq!(flags.bool_map("gates").len(), 2);
    assert_eq!(flags.multimap("multi")[""], ["A=true"]);
    assert_eq!(flags.multimap("multi")["kube"], ["B=false"]);
    assert_eq!(flags.multimap("headers")["a"], ["1", "2"]);
}

#[test]
fn other_kinds() {
    let flags = flags(&[
        "--wait=90s",
        "--rate=0.5",
        "--address=::1",
        "--sni=a.crt,a.key:*.foo.com,foo.com",
        "--sni=b.crt,b.key",
        "--ports=100+10",
        "--listen=127.0.0.1",
        "--text_address=10.0.0.1",
        "-v4",
        "--secret",
    ]);
    assert_eq!(flags.duration("wait"), std::time::Duration::from_secs(90));
    assert_eq!(flags.float("rate"), 0.5);
    assert_eq!(flags.ip("address"), Some("::1".parse().unwrap()));
    assert_eq!(flags.cert_keys("sni")[0].names, ["*.foo.com", "foo.com"]);
    assert_eq!(flags.cert_keys("sni")[1].key_file, "b.key");
    assert_eq!(
        flags.port_range("ports"),
        PortRange {
            base: 100,
            size: 11
        }
    );
    assert_eq!(flags.string("text-address"), "10.0.0.1");
    assert_eq!(flags.uint("v"), 4);
    assert_eq!(
        flags.deprecations(),
        ["Flag --wait has been deprecated, use patience"]
    );
    assert_eq!(flags.without_effect(), [("secret", "for no reason")]);
    assert_eq!(self::flags(&["-v", "3"]).uint("v"), 3);
    assert_eq!(self::flags(&["-v=2"]).uint("v"), 2);
}

/// Texts taken from upstream's daemons.
#[test]
fn errors_are_pflags() {
    for (argument, text) in [
        ("--foo", "unknown flag: --foo"),
        ("--foo=1", "unknown flag: --foo"),
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("-v", "flag needs an argument: 'v' in -v"),
        ("--config", "flag needs an argument: --config"),
        ("---x", "bad flag syntax: ---x"),
        ("--=3", "bad flag syntax: --=3"),
        (
            "-vx",
            "invalid argument \"x\" for \"-v, --v\" flag: strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "--port=x",
            "invalid argument \"x\" for \"--port\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "--port=99999999999999999999",
            "invalid argument \"99999999999999999999\" for \"--port\" flag: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        (
            "--small=99999999999",
            "invalid argument \"99999999999\" for \"--small\" flag: strconv.ParseInt: parsing \"99999999999\": value out of range",
        ),
        (
            "--on=maybe",
            "invalid argument \"maybe\" for \"--on\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "--wait=5",
            "invalid argument \"5\" for \"--wait\" flag: time: missing unit in duration \"5\"",
        ),
        (
            "--rate=x",
            "invalid argument \"x\" for \"--rate\" flag: strconv.ParseFloat: parsing \"x\": invalid syntax",
        ),
        (
            "--address=x",
            "invalid argument \"x\" for \"--address\" flag: failed to parse IP: \"x\"",
        ),
        (
            "--text-address=x",
            "invalid argument \"x\" for \"--text-address\" flag: \"x\" is not a valid IP address",
        ),
        (
            "--curves=a",
            "invalid argument \"a\" for \"--curves\" flag: strconv.ParseInt: parsing \"a\": invalid syntax",
        ),
        (
            "--sni=a",
            "invalid argument \"a\" for \"--sni\" flag: expected comma separated certificate and key file paths",
        ),
        (
            "--ports=x",
            "invalid argument \"x\" for \"--ports\" flag: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "--ports=5-3",
            "invalid argument \"5-3\" for \"--ports\" flag: end port cannot be less than start port: 5-3",
        ),
        (
            "--labels=a",
            "invalid argument \"a\" for \"--labels\" flag: a must be formatted as key=value",
        ),
        (
            "--eviction=a",
            "invalid argument \"a\" for \"--eviction\" flag: malformed pair, expect string<string",
        ),
        (
            "--headers=a",
            "invalid argument \"a\" for \"--headers\" flag: malformed pair, expect string:string",
        ),
        (
            "--log-json-info-buffer-size=x",
            "invalid argument \"x\" for \"--log-json-info-buffer-size\" flag: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "--vmodule=a",
            "invalid argument \"a\" for \"--vmodule\" flag: \"a\" does not have the pattern=N format",
        ),
        (
            "--list=a\"b",
            "invalid argument \"a\\\"b\" for \"--list\" flag: parse error on line 1, column 2: bare \" in non-quoted-field",
        ),
        (
            "--listen=x",
            "invalid argument \"x\" for \"--listen\" flag: \"x\" is not in a valid format (ip or ip:port): address x: missing port in address",
        ),
        (
            "--listen=1.2.3.4:x",
            "invalid argument \"1.2.3.4:x\" for \"--listen\" flag: \"x\" is not a valid number",
        ),
        (
            "--version=foo",
            "invalid argument \"foo\" for \"--version\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax",
        ),
        (
            "foo",
            "\"kube-test\" does not take any arguments, got [\"foo\"]",
        ),
    ] {
        assert_eq!(error(argument), text, "for {argument}");
    }
}

#[test]
fn all_errors_come_at_once() {
    let errors = parse(&["--foo", "--port=x", "--bar"]).unwrap_err();
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[2], "unknown flag: --bar");
}

#[test]
fn help_and_version() {
    assert!(matches!(parse(&["--help"]), Ok(Parsed::Help)));
    assert!(matches!(parse(&["-h"]), Ok(Parsed::Help)));
    for (argument, asked) in [("--version", "true"), ("--version=raw", "raw")] {
        match parse(&[argument]) {
            Ok(Parsed::Version(version)) => assert_eq!(version, asked),
            other => panic!("{argument} gives {other:?}"),
        }
    }
    assert_eq!(flags(&["--version=false"]).reported_version(), None);
    assert_eq!(
        flags(&["--version=v1.36.2-acme"]).reported_version(),
        Some("v1.36.2-acme")
    );
}

#[test]
fn help_is_laid_out_as_pflag_does() {
    let text = help(&COMMAND);
    assert!(
        text.starts_with("Tests.\n\nUsage:\n  kube-test [flags]\n\nMisc flags:\n\n"),
        "{text}"
    );
    let row = |name: &str| {
        text.lines()
            .find(|line| line.contains(&format!("--{name}")))
            .unwrap()
            .to_owned()
    };
    let squeezed = |name: &str| row(name).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed("address"), "--address ip Where. (default 0.0.0.0)");
    assert_eq!(
        squeezed("config"),
        "--config string The path to the configuration file."
    );
    assert_eq!(squeezed("on"), "--on Whether it is on. (default true)");
    assert_eq!(
        squeezed("wait"),
        "--wait duration How long. (default 1m0s) (DEPRECATED: use patience)"
    );
    assert_eq!(
        squeezed("sni"),
        "--sni namedCertKey Certificates. (default [])"
    );
    assert_eq!(squeezed("list"), "--list strings A list. (default [a,b])");
    assert_eq!(
        squeezed("logging-format"),
        "--logging-format string Sets the log format. Permitted formats: \"json\" (gated by LoggingBetaOptions), \"text\". (default \"text\")"
    );
    assert!(row("v ").starts_with("  -v, --v Level "), "{}", row("v "));
    assert!(
        row("version").starts_with("      --version version[=true]   "),
        "{}",
        row("version")
    );
    assert!(!text.contains("--secret"));
}

#[test]
fn current_values_have_gos_text() {
    let flags = flags(&[
        "--sni=a.crt,a.key:x",
        "--map=b=2,a=1",
        "--multi=A=true",
        "--wait=90s",
    ]);
    let text = |name: &str| flags.value(name).to_string();
    assert_eq!(text("sni"), "[a.crt,a.key:x]");
    assert_eq!(text("map"), "a=1,b=2");
    assert_eq!(text("multi"), ":A=true");
    assert_eq!(text("wait"), "1m30s");
    assert_eq!(text("address"), "0.0.0.0");
    assert_eq!(text("ports"), "30000-32767");
    assert!(flags.all().is_sorted());
}

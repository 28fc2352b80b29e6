//! Files and flags that operators write, and certificates that peers show.

use std::collections::BTreeMap;

use apimachinery::pem::{self, Block};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::config::Kubeconfig;
use component_base::auth::x509::{CaBundle, user_of};
use component_base::config::Document;
use component_base::features::FeatureGates;
use component_base::flags::{Command, FlagRow, Flags, Group, Kind, Parsed, UsageStyle, rows};
use component_base::logs;

use crate::target::{Case, Outcome, Target, Verdict, listed, nested, same, verdict};

/// A kubeconfig, in YAML or JSON.
pub const KUBECONFIG: Target = Target {
    name: "config/kubeconfig",
    promise: "every context gives a configuration or an error with text",
    cases: 300,
    seed: kubeconfig,
    tokens: YAML_TOKENS,
    check: read_kubeconfig,
};

/// A component config file.
pub const COMPONENT_CONFIG: Target = Target {
    name: "config/component-config",
    promise: "strict and lenient reading agree on what is no such file at all",
    cases: 300,
    seed: component_config,
    tokens: YAML_TOKENS,
    check: read_component_config,
};

/// Command lines: a line per argument. Feature gates and log patterns are values of flags.
pub const FLAGS: Target = Target {
    name: "config/flags",
    promise: "every argument is taken or reported; what `all` shows is taken again",
    cases: 2500,
    seed: |number| {
        listed(
            &[
                "--feature-gates=AllAlpha=true,AllBeta=false\n--vmodule=a*=3,b/[c-d]?=4\n-v=2",
                "--int=1\n--int32=-1\n--float=1e3\n--duration=1h30m\n--ip=::1\n--bool=false",
                "--slice=a,\"b,c\",d\n--array=a,b\n--map=a=b,c=d\n--labels=a=b,c=\"d,e\"\n--int32s=1,2",
                "--multi=a:b,c:d=e\n--headers=a:b\n--runtime=api/all=true,apps/v1=false\n--eviction=memory.available<100Mi",
                "--sni=a.crt,a.key:*.example.com,b\n--ports=30000-32767\n--listen=[::]:80\n--quantity=1Mi\n--reserved=0:memory=1Gi;1:memory=2Gi",
                "-v\n10\n--help",
                "--version=raw\n--\nrest",
                "--ports=30000+100\n--gates=Kubelet:A=true,B=false",
            ],
            number,
        )
    },
    tokens: &[
        "--",
        "-",
        "=",
        "\n",
        ",",
        ":",
        ";",
        "\"",
        "\"\"",
        "feature-gates",
        "vmodule",
        "v",
        "int",
        "slice",
        "labels",
        "true",
        "1",
        "-1",
        "0x1f",
        "1_000",
        "1e999",
        "NaN",
        "[",
        "]",
        "+",
        "<",
        "AllAlpha",
        "AllBeta",
        "*",
        "?",
        "\\",
        "/",
        "é",
        " ",
        "--sni=",
        "--ports=",
        "--multi=",
        "--map=",
        "--reserved=",
        "--listen=",
        "--headers=",
        "65536",
        "help",
    ],
    check: parse_flags,
};

/// PEM bundles, and the certificates in them as a TLS peer shows them.
pub const CERTIFICATE: Target = Target {
    name: "config/certificate",
    promise: "a certificate in a bundle that is taken has a user or an error",
    cases: 800,
    seed: certificate,
    tokens: &[
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "-----BEGIN ",
        "-----END ",
        "\n",
        "MIIB",
        "AAAA",
        "=",
        "\x30\u{7f}",
        "\x30\x03\x02\x01\x02",
        "\x06\x03\x55\x04\x03",
        "\x06\x03\x55\x04\x0a",
        "\x0c\x01a",
        "\x31\x0b",
        "\x05\x00",
        "\x30\x00",
    ],
    check: read_certificate,
};

const YAML_TOKENS: &[&str] = &[
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "  ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "|",
    ">",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!!binary ",
    "#",
    "---\n",
    "...\n",
    "~",
    "null",
    "true",
    "1e3",
    "0o7",
    "users",
    "clusters",
    "contexts",
    "current-context: a\n",
    "exec",
    "? ",
    "%YAML 1.2\n",
    "name: a",
    "apiVersion: v1\n",
    "kind: Config\n",
    "{a: ",
    "[*a,*a,*a,*a,*a,*a,*a,*a]",
    "\u{feff}",
    "é",
];

/// Each level of aliases has nine of the one before.
fn alias_bomb(levels: usize) -> Vec<u8> {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..levels {
        let aliases = [format!("*a{}", level - 1).as_str(); 9].join(",");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text.into_bytes()
}

const KUBECONFIG_YAML: &str = "apiVersion: v1
kind: Config
current-context: c
preferences: {}
clusters:
- name: k
  cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: YQ==, tls-server-name: a}
contexts:
- name: c
  context: {cluster: k, user: u, namespace: n}
- name: d
  context: {cluster: k, user: e}
users:
- name: u
  user: {token: t, client-certificate: a.crt, client-key: a.key, as: x, as-groups: [a, b], as-user-extra: {k: [v]}}
- name: e
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: get-token
      args: [a, b]
      env: [{name: A, value: B}]
      interactiveMode: Never
      provideClusterInfo: true
";

fn kubeconfig(number: u32) -> Vec<u8> {
    match number % 400 {
        0 => alias_bomb(10),
        1 => [b"clusters: ".to_vec(), nested("[", "", "]", 3000)].concat(),
        2 => nested("{a: ", "b", "}", 3000),
        3 => [b"users: &a [*a]\n".to_vec(), alias_bomb(4)].concat(),
        4 => (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth % 200))).collect::<String>().into_bytes(),
        5 => br#"{"kind":"Config","clusters":[{"name":"k","cluster":{"server":"h"}}],"contexts":[{"name":"","context":{"cluster":"k"}}]}"#.to_vec(),
        _ => KUBECONFIG_YAML.into(),
    }
}

fn read_kubeconfig(case: &Case) -> Outcome {
    let config = match Kubeconfig::parse(&case.text(), "test") {
        Err(error) if error.to_string().is_empty() => {
            return Err("an error without text".to_owned());
        }
        Err(_) => return Ok(Verdict::Refused),
        Ok(config) => config,
    };
    let mut result = config.client_config(None);
    for context in config.contexts().take(20) {
        let other = config.client_config(Some(context));
        if other
            .as_ref()
            .is_err_and(|error| error.to_string().is_empty())
        {
            return Err("an error without text".to_owned());
        }
        result = result.or(other);
    }
    Ok(verdict(&result))
}

fn component_config(number: u32) -> Vec<u8> {
    match number % 400 {
        0 => alias_bomb(10),
        1 => nested("{a: ", "b", "}", 3000),
        2..100 => b"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\naddress: 0.0.0.0\naddress: ::1\nclusterDNS: [10.0.0.10]\nevictionHard: {memory.available: 100Mi}\n".to_vec(),
        100..200 => b"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: a\n  pluginConfig:\n  - name: NodeResourcesFit\n    args: {scoringStrategy: {type: MostAllocated}}\n".to_vec(),
        _ => {
            let kinds: Vec<_> = api_types::kinds::KINDS.iter().filter(|info| info.schema.wire.is_empty()).collect();
            api_types::encode_json(&*crate::fill::object_of(kinds[number as usize % kinds.len()], number))
        }
    }
}

fn read_component_config(case: &Case) -> Outcome {
    let document = match Document::parse(&case.bytes) {
        Err(error) if error.to_string().is_empty() => {
            return Err("an error without text".to_owned());
        }
        Err(_) => return Ok(Verdict::Refused),
        Ok(document) => document,
    };
    let kubelet = document.decode::<api_types::kubelet_config::v1beta1::KubeletConfiguration>();
    let leniently =
        document.decode_leniently::<api_types::kubelet_config::v1beta1::KubeletConfiguration>();
    if kubelet.is_ok() && leniently.is_err() {
        return Err(format!(
            "strict reading takes what lenient reading refuses: {leniently:?}"
        ));
    }
    let proxy = document.decode::<api_types::kube_proxy_config::v1alpha1::KubeProxyConfiguration>();
    let scheduler =
        document.decode::<api_types::kube_scheduler_config::v1::KubeSchedulerConfiguration>();
    Ok(match (kubelet, proxy, scheduler) {
        (Err(_), Err(_), Err(_)) => Verdict::Refused,
        _ => Verdict::Accepted,
    })
}

/// A flag of every kind.
const COMMAND: Command = Command {
    name: "fuzz",
    description: "Tests.\n",
    flags: &[
        Group {
            section: "Misc",
            rows: &[
                FlagRow::new("string", Kind::String, "", "A text."),
                FlagRow::new("bool", Kind::Bool, "true", "A truth."),
                FlagRow::new("int", Kind::Int, "6443", "A number."),
                FlagRow::new("int32", Kind::Int32, "5", "A number."),
                FlagRow::new("float", Kind::Float32, "0.1", "A number."),
                FlagRow::new("duration", Kind::Duration, "1m0s", "A time."),
                FlagRow::new("ip", Kind::Ip, "0.0.0.0", "An address."),
                FlagRow::new("ip-text", Kind::IpText, "0.0.0.0", "An address."),
                FlagRow::new("listen", Kind::IpPort, "0.0.0.0:10256", "An address."),
                FlagRow::new("slice", Kind::StringSlice, "[a,b]", "A list."),
                FlagRow::new("array", Kind::StringArray, "[]", "A list."),
                FlagRow::new("int32s", Kind::Int32Slice, "[]", "A list."),
                FlagRow::new("map", Kind::MapStringString, "", "A map."),
                FlagRow::new("labels", Kind::StringToString, "[]", "A map."),
                FlagRow::new("feature-gates", Kind::MapStringBool, "", "A map."),
                FlagRow::new("eviction", Kind::LangleMapStringString, "", "A map."),
                FlagRow::new("runtime", Kind::ConfigurationMap, "", "A map."),
                FlagRow::new(
                    "gates",
                    Kind::ColonMultimap { default_key: true },
                    "",
                    "Gates.",
                ),
                FlagRow::new(
                    "multi",
                    Kind::ColonMultimap { default_key: false },
                    "",
                    "Headers.",
                ),
                FlagRow::new("sni", Kind::NamedCertKey, "[]", "Certificates."),
                FlagRow::new("ports", Kind::PortRange, "30000-32767", "Ports."),
                FlagRow::new("quantity", Kind::Quantity, "1Mi", "A quantity."),
                FlagRow::new("reserved", Kind::ReservedMemory, "", "Memory."),
                FlagRow::new("help", Kind::Bool, "false", "Help.").shorthand('h'),
            ],
        },
        Group {
            section: "Logs",
            rows: component_base::flags::common::LOGS,
        },
        Group {
            section: "Global",
            rows: component_base::flags::common::VERSION,
        },
    ],
    features: &[],
    usage_style: UsageStyle::UsageThenError,
};

fn parse_flags(case: &Case) -> Outcome {
    let text = case.text();
    let parsed = Flags::parse(&COMMAND, text.lines().map(str::to_owned));
    let flags = match parsed {
        Ok(Parsed::Run(flags)) => flags,
        Ok(_) => return Ok(Verdict::Accepted),
        Err(errors) if errors.is_empty() => return Err("refused without a reason".to_owned()),
        Err(errors) => {
            if errors.iter().any(|error| error.to_string().is_empty()) {
                return Err("an error without text".to_owned());
            }
            return Ok(Verdict::Refused);
        }
    };
    let all = flags.all();
    if all.len() != rows(COMMAND.flags).count() {
        return Err(format!("{} flags are shown", all.len()));
    }
    let settings: &BTreeMap<String, bool> = flags.bool_map("feature-gates");
    let _ = FeatureGates::default().with(settings);
    let _ = FeatureGates::default().with_components(flags.multimap("gates"));
    let _ = logs::Options::from_flags(&flags);
    let _ = logs::Options::new("text", 0, &text);
    Ok(Verdict::Accepted)
}

const PEM: &str = include_str!("../../seeds/client.pem");

fn certificate(number: u32) -> Vec<u8> {
    if number.is_multiple_of(2) {
        return PEM.into();
    }
    CaBundle::from_pem(PEM.as_bytes())
        .ok()
        .and_then(|bundle| bundle.certificates().into_iter().next())
        .unwrap_or_default()
}

fn read_certificate(case: &Case) -> Outcome {
    let alone = user_of(&case.bytes);
    let Ok(bundle) = CaBundle::from_pem(&case.bytes) else {
        return Ok(verdict(&alone));
    };
    for certificate in bundle.certificates() {
        let _ = user_of(&certificate);
    }
    Ok(Verdict::Accepted)
}

/// [`pem::decode`] and [`pem::blocks`].
pub const PEM_TEXT: Target = Target {
    name: "config/pem",
    promise: "blocks are in order and no longer than their text, and read the same when they are written again",
    cases: 6000,
    seed: |number| listed(PEM_TEXTS, number),
    tokens: &[
        "-----BEGIN ",
        "-----END ",
        "-----",
        "-----BEGIN A-----\n",
        "-----END A-----\n",
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----",
        "Proc-Type: 4,ENCRYPTED\n",
        ":",
        "\n",
        "\r\n",
        " ",
        "\t",
        "QQ==",
        "QUI=",
        "QUJD",
        "=",
    ],
    check: read_pem,
};

const PEM_TEXTS: &[&str] = &[
    PEM,
    "",
    "-----BEGIN A-----\n-----END A-----\n",
    "-----BEGIN A-----\nQUJD\n-----END A-----",
    "text\n-----BEGIN A-----\r\nK: v\r\n\r\nQUJD\r\n-----END A-----\r\n-----BEGIN B-----\nQQ==\n-----END B-----\nmore",
    "-----BEGIN A-----\nQUJD\n-----END B-----\n-----BEGIN C-----\nQUI=\n-----END C-----\n",
    "-----BEGIN A-----\n-----BEGIN B-----\nQU JD\t\n-----END B-----\n-----END A-----\n",
    "-----BEGIN -----\nQUJD\n-----END -----\n",
];

fn read_pem(case: &Case) -> Outcome {
    let text = &case.bytes[..];
    let all: Vec<Block> = pem::blocks(text).collect();
    let mut rest = text;
    let mut length = 0;
    for block in &all {
        let Some((same_block, after)) = pem::decode(rest) else {
            return Err("a block is gone".to_owned());
        };
        same("a block", block, &same_block)?;
        if after.len() >= rest.len() || !text.ends_with(after) {
            return Err("what follows a block is not the end of its text".to_owned());
        }
        rest = after;
        length += block.label.len() + block.contents.len();
        let Some((again, [])) = pem::decode(&written(block)) else {
            return Err(format!("written again it is no block: {block:?}"));
        };
        let without_headers = Block {
            has_headers: false,
            ..block.clone()
        };
        same("written again", &again, &without_headers)?;
    }
    if length > text.len() {
        return Err(format!("{length} bytes of {}", text.len()));
    }
    Ok(match all.is_empty() {
        true => Verdict::Refused,
        false => Verdict::Accepted,
    })
}

fn written(block: &Block) -> Vec<u8> {
    let encoded = STANDARD.encode(&block.contents);
    let mut out = [b"-----BEGIN ", &block.label[..], b"-----\n"].concat();
    for line in encoded.as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(&[b"-----END ", &block.label[..], b"-----\n"].concat());
    out
}

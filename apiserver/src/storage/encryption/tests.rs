//! Configurations as files say them.

use super::*;

const HEADER: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
/// 32, 24 and 5 bytes.
const LONG: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const MIDDLE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SHORT: &str = "AAAAAAA=";

struct File(tempfile::TempDir);

impl File {
    fn new(resources: &str) -> File {
        let file = File(tempfile::tempdir().unwrap());
        file.write(resources);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("encryption.yaml")
    }

    fn write(&self, resources: &str) {
        std::fs::write(self.path(), format!("{HEADER}resources:\n{resources}")).unwrap();
    }

    async fn load(&self, reload: bool) -> Result<Arc<Encryption>, String> {
        let metrics = Metrics::bare(Default::default());
        let stop = CancellationToken::new();
        Encryption::load(&self.path(), reload, "me", &metrics, &stop).await
    }
}

/// One entry of the list.
fn entry(resources: &str, providers: &str) -> String {
    format!("- resources: [{resources}]\n  providers: [{providers}]\n")
}

fn keys(provider: &str, keys: &[(&str, &str)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, secret)| format!("{{name: '{name}', secret: '{secret}'}}"))
        .collect();
    format!("{provider}: {{keys: [{}]}}", keys.join(", "))
}

fn provider(provider: &str, secret: &str) -> String {
    format!("{{{}}}", keys(provider, &[("k", secret)]))
}

fn kms(more: &str) -> String {
    format!(
        "{{kms: {{apiVersion: v2, name: p, endpoint: 'unix:///nowhere.sock', timeout: 1ms{more}}}}}"
    )
}

#[track_caller]
fn refused(resources: &str, why: &str) {
    let file = File::new(resources);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(file.load(false)).err();
    assert_eq!(error.as_deref(), Some(why));
}

#[track_caller]
fn invalid(resources: &str, why: &str) {
    refused(resources, &format!("error while parsing file: {why}"));
}

#[test]
fn lists_are_checked() {
    let identity = "{identity: {}}";
    invalid(
        "",
        "resources: Required value: at least one resources is required",
    );
    invalid(
        &entry("", identity),
        "resources[0].resources: Required value: at least one resources[0].resources is required",
    );
    invalid(
        &entry("secrets", ""),
        "resources[0].providers: Required value: at least one resources[0].providers is required",
    );
    for (resources, why) in [
        (
            "Secrets",
            "[0]: Invalid value: \"Secrets\": resource name should not contain capital letters",
        ),
        (
            "'*'",
            "[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        ),
        (
            "serviceipallocations",
            "[0]: Invalid value: \"serviceipallocations\": resources which do not have REST API/s cannot be encrypted",
        ),
        (
            "events.events.k8s.io",
            "[0]: Invalid value: \"events.events.k8s.io\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        (
            "a.extensions",
            "[0]: Invalid value: \"a.extensions\": 'extensions' group has been removed and cannot be used for encryption",
        ),
        (
            "'secrets.*'",
            "[0]: Invalid value: \"secrets.*\": encrypting the same resource across groups is not supported",
        ),
        (
            "a, a",
            ": Invalid value: [\"a\",\"a\"]: the same resource cannot be specified multiple times",
        ),
        (
            "secrets, '*.'",
            ": Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        ),
        (
            "a.b, '*.*'",
            ": Invalid value: [\"a.b\",\"*.*\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        ),
    ] {
        invalid(
            &entry(resources, identity),
            &format!("resources[0].resources{why}"),
        );
    }
}

#[test]
fn earlier_rules_must_not_mask_later_ones() {
    let identity = "{identity: {}}";
    let two =
        |one: &str, other: &str| format!("{}{}", entry(one, identity), entry(other, identity));
    for (one, other, name, rule) in [
        ("'*.apps'", "deployments.apps", "deployments.apps", "*.apps"),
        ("'*.'", "secrets", "secrets", "*."),
        ("'*.*'", "secrets", "secrets", "*.*"),
        ("'*.*'", "'*.'", "*.", "*.*"),
        ("'*.apps'", "'*.apps'", "*.apps", "*.apps"),
    ] {
        refused(
            &two(one, other),
            &format!(
                "error while building transformers: resource {name:?} is masked by earlier rule {rule:?}"
            ),
        );
    }
}

#[test]
fn providers_are_checked() {
    let check = |providers: &str, why: &str| {
        invalid(
            &entry("secrets", providers),
            &format!("resources[0].providers[0]{why}"),
        );
    };
    check(
        "{}",
        ": Invalid value: {\"AESGCM\":null,\"AESCBC\":null,\"Secretbox\":null,\"Identity\":null,\"KMS\":null}: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity",
    );
    // A secret is never shown.
    check(
        &format!("{{identity: {{}}, {}}}", keys("aescbc", &[("k", LONG)])),
        ": Invalid value: {\"AESGCM\":null,\"AESCBC\":{\"Keys\":[{\"Name\":\"k\",\"Secret\":\"REDACTED\"}]},\"Secretbox\":null,\"Identity\":{},\"KMS\":null}: more than one provider specified in a single element, should split into different list elements",
    );
    check(
        "{aescbc: {keys: []}}",
        ".aescbc.keys: Required value: at least one keys is required",
    );
    check(
        &provider("aesgcm", SHORT),
        ".aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected one of [16 24 32]",
    );
    check(
        &provider("secretbox", MIDDLE),
        ".secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 24, expected one of [32]",
    );
    check(
        &provider("aescbc", "?"),
        ".aescbc.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded",
    );
    check(
        &provider("aescbc", ""),
        ".aescbc.keys[0].secret: Required value: secret is a mandatory field for a key",
    );
    check(
        &format!("{{{}}}", keys("aescbc", &[("", LONG)])),
        ".aescbc.keys[0].name: Required value: name is a mandatory field for a key",
    );
}

#[test]
fn key_services_are_checked() {
    let check = |kms: &str, why: &str| {
        let providers = format!("{{kms: {{{kms}}}}}");
        invalid(
            &entry("secrets", &providers),
            &format!("resources[0].providers[0].kms{why}"),
        );
    };
    let good = "apiVersion: v2, endpoint: 'unix:///a'";
    check(
        good,
        ".name: Required value: name is a mandatory field for a provider",
    );
    check(
        &format!("name: 'a:b', {good}"),
        ".name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':'",
    );
    check(
        &format!("name: a, {good}, timeout: 0s"),
        ".timeout: Invalid value: \"0s\": timeout should be a positive value",
    );
    check(
        &format!("name: a, {good}, cachesize: 5"),
        ".cachesize: Invalid value: 5: cachesize is not supported in v2",
    );
    check(
        "name: a, apiVersion: v2",
        ".endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms",
    );
    check(
        "name: a, apiVersion: v2, endpoint: 'tcp://a'",
        ".endpoint: Invalid value: \"tcp://a\": unsupported scheme \"tcp\" for KMS provider, only unix is supported",
    );
    check(
        "name: a, apiVersion: v3, endpoint: 'unix:///a'",
        ".apiVersion: Invalid value: \"v3\": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported",
    );
    let twice = format!("{}, {}", kms(""), kms(""));
    invalid(
        &entry("secrets", &twice),
        "resources[0].providers[1].kms.name: Invalid value: \"p\": duplicate KMS provider name p, names must be unique",
    );
    refused(
        &entry("secrets", "{kms: {name: a, endpoint: 'unix:///a'}}"),
        "error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.",
    );
}

#[tokio::test]
async fn files_are_read_strictly() {
    let file = File::new(&entry("secrets", "{identity: {}}"));
    let shown = file.path().display().to_string();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let error = |text: String| {
        std::fs::write(file.path(), text).unwrap();
        async { file.load(false).await.err().unwrap() }
    };
    assert_eq!(
        error(String::new()).await,
        format!(
            "error while parsing file: error while loading file: encryption provider configuration file {shown:?} is empty"
        )
    );
    let before = format!(
        "error while parsing file: error decoding encryption provider configuration file {shown:?}: "
    );
    assert_eq!(
        error(format!("{text}nonsense: 1\n")).await,
        format!("{before}strict decoding error: unknown field \"nonsense\"")
    );
    assert_eq!(
        error(text.replace("EncryptionConfiguration", "Other")).await,
        format!(
            "{before}no kind \"Other\" is registered for version \"apiserver.config.k8s.io/v1\""
        )
    );
    // Two kinds are one.
    let other = text
        .replace("apiserver.config.k8s.io/v1", "v1")
        .replace("EncryptionConfiguration", "EncryptionConfig");
    std::fs::write(file.path(), other).unwrap();
    assert!(file.load(false).await.is_ok());
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(
        file.load(false).await.err().unwrap(),
        format!(
            "error while parsing file: error while loading file: error reading encryption provider configuration file {shown:?}: open {shown}: no such file or directory"
        )
    );
}

const KEY: &str = "/registry/secrets/a/b";

fn seal(transformer: &Arc<dyn Transformer>) -> Bytes {
    let stored = transformer
        .to_storage(KEY, Bytes::from_static(b"k8s\0clear"))
        .unwrap();
    assert!(!stored.ends_with(b"clear"));
    stored
}

#[track_caller]
fn opens(transformer: &Arc<dyn Transformer>, stored: &Bytes, stale: bool) {
    let opened = transformer.from_storage(KEY, stored.clone()).unwrap();
    assert_eq!(opened, (Bytes::from_static(b"k8s\0clear"), stale));
}

#[tokio::test]
async fn the_first_provider_and_key_write_and_all_read() {
    let secrets = |providers: String| async move {
        let encryption = File::new(&entry("secrets", &providers))
            .load(false)
            .await
            .unwrap();
        encryption.transformer("", "secrets").unwrap()
    };
    let cbc = |names: &[(&str, &str)]| format!("{{{}}}", keys("aescbc", names));
    let old = secrets(cbc(&[("1", LONG)])).await;
    let rotated = secrets(cbc(&[("2", OTHER), ("1", LONG)])).await;
    let (written, newer) = (seal(&old), seal(&rotated));
    assert!(
        written.starts_with(b"k8s:enc:aescbc:v1:1:") && newer.starts_with(b"k8s:enc:aescbc:v1:2:")
    );
    opens(&old, &written, false);
    opens(&rotated, &written, true);
    opens(&rotated, &newer, false);
    let error = old.from_storage(KEY, newer.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no matching key was found for the provided AES transformer"
    );
    // The same provider twice, and another cipher.
    let twice = secrets(format!("{}, {}", cbc(&[("2", OTHER)]), cbc(&[("1", LONG)]))).await;
    opens(&twice, &written, true);
    let gcm = secrets(format!(
        "{}, {}",
        provider("aesgcm", MIDDLE),
        cbc(&[("1", LONG)])
    ))
    .await;
    opens(&gcm, &written, true);
    opens(&gcm, &seal(&gcm), false);
    let error = gcm
        .from_storage(KEY, seal(&secrets(provider("secretbox", LONG)).await))
        .unwrap_err();
    assert_eq!(error.to_string(), "no matching prefix found");
    // What another object's value was is refused.
    let error = gcm
        .from_storage("/registry/secrets/a/c", seal(&gcm))
        .unwrap_err();
    assert_eq!(error.to_string(), "cipher: message authentication failed");
}

#[tokio::test]
async fn identity_reads_what_is_clear() {
    let clear = Bytes::from_static(b"k8s\0clear");
    let load = |providers: String| async move {
        let encryption = File::new(&entry("secrets", &providers))
            .load(false)
            .await
            .unwrap();
        encryption.transformer("", "secrets").unwrap()
    };
    // To: new values are encrypted, old ones are read and written again.
    let to = load(format!(
        "{}, {{identity: {{}}}}",
        provider("secretbox", LONG)
    ))
    .await;
    opens(&to, &clear, true);
    let stored = seal(&to);
    opens(&to, &stored, false);
    // And back: new values are clear.
    let back = load(format!(
        "{{identity: {{}}}}, {}",
        provider("secretbox", LONG)
    ))
    .await;
    assert_eq!(back.to_storage(KEY, clear.clone()).unwrap(), clear);
    opens(&back, &clear, false);
    opens(&back, &stored, true);
    let only = load("{identity: {}}".to_owned()).await;
    let error = only.from_storage(KEY, stored).unwrap_err();
    assert_eq!(error.to_string(), "no matching prefix found");
}

#[tokio::test]
async fn the_most_exact_rule_counts() {
    let file = File::new(&format!(
        "{}{}{}{}",
        entry("events", "{identity: {}}"),
        entry("secrets, deployments.apps", &provider("aescbc", LONG)),
        entry("'*.apps'", &provider("aesgcm", LONG)),
        entry("'*.*'", &provider("secretbox", LONG)),
    ));
    let encryption = file.load(false).await.unwrap();
    let prefix = |group: &str, resource: &str| {
        let transformer = encryption.transformer(group, resource).unwrap();
        let stored = transformer
            .to_storage("k", Bytes::from_static(b"v"))
            .unwrap();
        String::from_utf8_lossy(&stored)
            .split_inclusive(':')
            .take(3)
            .collect::<String>()
    };
    assert_eq!(prefix("", "secrets"), "k8s:enc:aescbc:");
    assert_eq!(prefix("apps", "deployments"), "k8s:enc:aescbc:");
    assert_eq!(prefix("apps", "daemonsets"), "k8s:enc:aesgcm:");
    assert_eq!(prefix("x.example.com", "things"), "k8s:enc:secretbox:");
    assert_eq!(prefix("", "events"), "v");
    // Without a rule there is nothing on the way, unless there may be one day.
    let file = File::new(&entry("secrets", &provider("aescbc", LONG)));
    assert!(
        file.load(false)
            .await
            .unwrap()
            .transformer("", "pods")
            .is_none()
    );
    let followed = file.load(true).await.unwrap();
    let pods = followed.transformer("", "pods").unwrap();
    assert_eq!(pods.to_storage("k", Bytes::from_static(b"v")).unwrap(), "v");
    assert!(followed.health_checks().len() == 1 && followed.check().await.is_ok());
}

#[tokio::test]
async fn a_changed_file_is_taken_over() {
    let file = File::new(&entry("secrets", &provider("aescbc", LONG)));
    let metrics = Metrics::bare(Default::default());
    let stop = CancellationToken::new();
    let encryption = Encryption::load(&file.path(), true, "me", &metrics, &stop)
        .await
        .unwrap();
    let secrets = encryption.transformer("", "secrets").unwrap();
    let pods = encryption.transformer("", "pods").unwrap();
    let old = seal(&secrets);
    assert_eq!(encryption.take_over().await, Ok(false));
    file.write(&format!(
        "{}{}",
        entry(
            "secrets",
            &format!("{}, {}", provider("aesgcm", LONG), provider("aescbc", LONG))
        ),
        entry("pods", &provider("secretbox", LONG))
    ));
    assert_eq!(encryption.take_over().await, Ok(true));
    opens(&secrets, &old, true);
    assert!(seal(&secrets).starts_with(b"k8s:enc:aesgcm:v1:k:"));
    assert!(seal(&pods).starts_with(b"k8s:enc:secretbox:v1:k:"));
    // A file that is wrong changes nothing.
    file.write("");
    assert!(encryption.take_over().await.is_err());
    assert!(seal(&secrets).starts_with(b"k8s:enc:aesgcm:v1:k:"));
    let text = String::from_utf8(metrics.text()).unwrap();
    let hash = &encryption.current.load().hash;
    let infos: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("apiserver_encryption_config_controller_last_config_info"))
        .collect();
    assert!(infos.len() == 1 && infos[0].contains(hash), "{infos:?}");
    assert!(text.contains("automatic_reloads_total{apiserver_id_hash=\"sha256:"));
    assert!(text.contains("transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_that_is_not_there_is_waited_for() {
    let encryption = File::new(&entry("secrets", &kms("")))
        .load(false)
        .await
        .unwrap();
    let secrets = encryption.transformer("", "secrets").unwrap();
    let error = secrets
        .to_storage(KEY, Bytes::from_static(b"v"))
        .unwrap_err();
    assert!(error.transient && error.to_string() == "got unexpected nil transformer");
    let why = encryption.check().await.unwrap_err();
    assert!(
        why.starts_with("kms-provider-0: rpc error: code = DeadlineExceeded desc = "),
        "{why}"
    );
    assert_eq!(encryption.name(), "kms-providers");
}

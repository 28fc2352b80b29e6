//! Mutual TLS with etcd, and certificates that change under way.

use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::etcd::{Etcd, ServerTls};
use super::*;
use crate::under_test::{Error, TlsFiles};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate whose common name is `name`.
    fn issue(
        &self,
        folder: &Path,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (std::path::PathBuf, std::path::PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        );
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_read_again_for_each_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, &trusted.pem).unwrap();
    let (cert, key) = trusted.issue(folder.path(), "server", ExtendedKeyUsagePurpose::ServerAuth);
    // etcd's own health probe uses the server's certificate as a client; it may fail, which only logs.
    let Some(mut etcd) = Etcd::start_with(Some(ServerTls {
        ca: ca.clone(),
        cert,
        key,
    }))
    .await
    else {
        return;
    };
    let (cert_file, key_file) =
        stranger.issue(folder.path(), "client", ExtendedKeyUsagePurpose::ClientAuth);
    let process = Process::with(EtcdConfig {
        endpoints: vec![etcd.endpoint()],
        tls: TlsFiles {
            ca_file: Some(ca),
            cert_file: Some(cert_file),
            key_file: Some(key_file),
        },
        request_timeout: Duration::from_secs(10),
        ..EtcdConfig::default()
    });
    let refused = process.backend.current_revision().await;
    assert!(
        matches!(refused, Err(Error::Unreachable { .. })),
        "a stranger's certificate was taken: {refused:?}"
    );
    // A rotation: the same files, a certificate etcd trusts.
    trusted.issue(folder.path(), "client", ExtendedKeyUsagePurpose::ClientAuth);
    let storage = process.pods().await;
    let version = put(&storage, "default", "a", "u l n").await;
    let mut watcher = watch_from(&storage, version).await;
    etcd.restart().await;
    eventually(|| async {
        process
            .backend
            .health(Duration::from_secs(2))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    let version = set(&storage, "default", "b", "u l n").await;
    assert_eq!(
        next(&mut watcher).await,
        format!("ADDED default/b@{version}")
    );
}

#[test]
fn bad_configurations_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.crt");
    let metrics = || StorageMetrics::new(&prometheus::Registry::new()).unwrap();
    for (endpoints, tls, expected) in [
        (vec![], TlsFiles::default(), "--etcd-servers"),
        (
            vec!["http://127.0.0.1:2379"],
            TlsFiles {
                cert_file: Some(missing.clone()),
                ..TlsFiles::default()
            },
            "KeyFile and CertFile must both be present[key: , cert: ",
        ),
        (
            vec!["ftp://127.0.0.1:2379"],
            TlsFiles::default(),
            "scheme must be http or https",
        ),
        (
            vec!["https://127.0.0.1:2379"],
            TlsFiles {
                ca_file: Some(missing),
                cert_file: None,
                key_file: None,
            },
            "missing.crt: no such file or directory",
        ),
    ] {
        let endpoints = endpoints.into_iter().map(str::to_owned).collect();
        let config = EtcdConfig {
            endpoints,
            tls,
            ..EtcdConfig::default()
        };
        let Err(error) = Backend::new(config, metrics(), CancellationToken::new()) else {
            panic!("taken: {expected}")
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A user who may not watch all keys: the prefix is watched, and lists are as consistent as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_to_the_prefix_is_enough() {
    use etcd_client::{
        Certificate, ConnectOptions, Identity, Permission, TlsOptions, UserAddOptions,
    };

    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let usage = || ExtendedKeyUsagePurpose::ClientAuth;
    let (cert, key) = authority.issue(folder.path(), "server", ExtendedKeyUsagePurpose::ServerAuth);
    let Some(etcd) = Etcd::start_with(Some(ServerTls {
        ca: ca.clone(),
        cert,
        key,
    }))
    .await
    else {
        return;
    };
    let (root_cert, root_key) = authority.issue(folder.path(), "root", usage());
    let read = |path| std::fs::read(path).unwrap();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&authority.pem))
        .identity(Identity::from_pem(read(root_cert), read(root_key)));
    let options = ConnectOptions::new().with_tls(tls);
    let mut root = etcd_client::Client::connect([etcd.endpoint()], Some(options))
        .await
        .unwrap();
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("apiserver").await.unwrap();
    let prefix = Permission::read_write("/registry/").with_prefix();
    root.role_grant_permission("apiserver", prefix)
        .await
        .unwrap();
    root.user_add("apiserver", "", Some(UserAddOptions::new().with_no_pwd()))
        .await
        .unwrap();
    root.user_grant_role("apiserver", "apiserver")
        .await
        .unwrap();
    root.auth_enable().await.unwrap();

    let (cert_file, key_file) = authority.issue(folder.path(), "apiserver", usage());
    let process = || {
        Process::with(EtcdConfig {
            endpoints: vec![etcd.endpoint()],
            tls: TlsFiles {
                ca_file: Some(ca.clone()),
                cert_file: Some(cert_file.clone()),
                key_file: Some(key_file.clone()),
            },
            ..EtcdConfig::default()
        })
    };
    let (writer, reader) = (process(), process());
    let storage = reader.pods().await;
    let mut watcher = watch_from(&storage, reader.backend.current_revision().await.unwrap()).await;
    let other = writer.uncached();
    for number in 0..30 {
        let version = put(&other, "default", &format!("pod{number:02}"), "u l n").await;
        // A revision that no key below the prefix announces.
        root.put("elsewhere", "x", None).await.unwrap();
        let list = list_all(&storage).await;
        assert_eq!(names(&list).len(), number + 1);
        assert!(list.resource_version() > version);
        assert_eq!(
            next(&mut watcher).await,
            format!("ADDED default/pod{number:02}@{version}")
        );
    }
}

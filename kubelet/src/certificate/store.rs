//! Certificates on disk, in upstream's layout: each pair is a file of its own, a link names the current one.
//! Upstream: `client-go/util/certificate/certificate_store.go`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// What counts about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Valid from here.
    pub not_before: Timestamp,
    /// Valid until then.
    pub not_after: Timestamp,
}

impl Leaf {
    /// The first certificate of a PEM text.
    #[must_use]
    pub fn of(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let validity = parsed.validity();
        Some(Leaf {
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    /// Whether it is still valid.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        Timestamp::now() < self.not_after
    }
}

/// The pairs of one purpose, for example `kubelet-client`.
#[derive(Clone, Debug)]
pub struct FileStore {
    dir: PathBuf,
    prefix: &'static str,
}

impl FileStore {
    /// The store in a folder. An update that was cut off is finished.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn new(dir: &Path, prefix: &'static str) -> io::Result<Self> {
        let store = FileStore {
            dir: dir.to_owned(),
            prefix,
        };
        let updated = store.file("updated");
        if !store.current_path().exists() && updated.is_symlink() {
            fs::rename(updated, store.current_path())?;
        }
        Ok(store)
    }

    fn file(&self, qualifier: &str) -> PathBuf {
        self.dir.join(format!("{}-{qualifier}.pem", self.prefix))
    }

    /// Where the current pair is: certificates and key in one file.
    #[must_use]
    pub fn current_path(&self) -> PathBuf {
        self.file("current")
    }

    /// The current pair: the linked one, or `<prefix>.crt` and `<prefix>.key`.
    #[must_use]
    pub fn current(&self) -> Option<Vec<u8>> {
        if let Ok(pair) = fs::read(self.current_path()) {
            return Some(pair);
        }
        let part = |ending: &str| fs::read(self.dir.join(format!("{}.{ending}", self.prefix)));
        let mut pair = part("crt").ok()?;
        pair.extend(part("key").ok()?);
        Some(pair)
    }

    /// Writes a new pair and makes it the current one.
    ///
    /// # Errors
    /// When something else than a link is in the link's place, or the disk refuses.
    pub fn update(&self, certificate_pem: &[u8], key_pem: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let now = Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let path = std::path::absolute(self.file(&now))?;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(certificate_pem)?;
        if !certificate_pem.ends_with(b"\n") {
            file.write_all(b"\n")?;
        }
        file.write_all(key_pem)?;
        file.sync_all()?;
        let (current, updated) = (self.current_path(), self.file("updated"));
        for link in [&current, &updated] {
            if fs::symlink_metadata(link).is_ok_and(|found| !found.is_symlink()) {
                return Err(io::Error::other(format!(
                    "expected {:?} to be a symlink but it is a file",
                    link.display().to_string()
                )));
            }
        }
        match fs::remove_file(&updated) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(&path, &updated)?;
        fs::rename(updated, current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_and_recovers() {
        let dir = tempfile::tempdir().expect("folder");
        let store = FileStore::new(dir.path(), "kubelet-client").expect("store");
        assert_eq!(store.current(), None);
        store.update(b"cert\n", b"key\n").expect("updated");
        assert_eq!(store.current().expect("pair"), b"cert\nkey\n");
        assert!(store.current_path().is_symlink());
        // Cut off between the two links.
        fs::rename(store.current_path(), store.file("updated")).expect("renamed");
        let store = FileStore::new(dir.path(), "kubelet-client").expect("store");
        assert_eq!(store.current().expect("pair"), b"cert\nkey\n");
        // A file in the link's place is not overwritten.
        fs::remove_file(store.current_path()).expect("removed");
        fs::write(store.current_path(), "mine").expect("written");
        assert!(store.update(b"cert\n", b"key\n").is_err());
    }

    #[test]
    fn validity() {
        let made = component_base::serving::generate_self_signed("host", &[], &[]).expect("made");
        let leaf = Leaf::of(made.certificate_pem.as_bytes()).expect("a leaf");
        assert!(leaf.is_valid());
        let life = leaf.not_after.duration_since(leaf.not_before);
        assert_eq!(life.as_hours(), 365 * 24 + 1);
        assert_eq!(Leaf::of(b"no"), None);
    }
}

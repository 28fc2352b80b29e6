//! A file that is set aside when it is full. Upstream: gopkg.in/natefinch/lumberjack.v2, as audit uses it.
//!
//! The file that is written to always has the name that was asked for; older ones have the time at which they were set aside in
//! their names, as `audit-2026-11-29T02-14-15.057.log`, and `.gz` after it when they are compressed. A thread looks after the old
//! ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp, civil};

const COMPRESSED: &str = ".gz";
const TIME: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// What becomes of full files.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// In bytes.
    pub max_size: u64,
    /// In days; 0 for no limit.
    pub max_age: i64,
    /// 0 for no limit.
    pub max_backups: usize,
    pub compress: bool,
}

/// A log file, opened by the first write.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    size: u64,
    /// Wakes who looks after old files.
    mill: Option<SyncSender<()>>,
}

impl RotatingFile {
    pub fn new(path: PathBuf, rotation: Rotation) -> RotatingFile {
        RotatingFile {
            path,
            rotation,
            file: None,
            size: 0,
            mill: None,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        let max = self.rotation.max_size;
        if length > max {
            return Err(io::Error::other(format!(
                "write length {length} exceeds maximum file size {max}"
            )));
        }
        if self.file.is_none() {
            self.open(length)?;
        }
        if self.size + length > max {
            self.rotate()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("no log file"));
        };
        file.write_all(bytes)?;
        self.size += length;
        Ok(())
    }

    /// Goes on with the file that is there, unless it is full.
    fn open(&mut self, length: u64) -> io::Result<()> {
        self.wake_mill();
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.open_new(),
            Err(error) => return Err(because("error getting log file info", &error)),
        };
        if metadata.len() + length >= self.rotation.max_size {
            return self.rotate();
        }
        match OpenOptions::new().append(true).open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.size = metadata.len();
                Ok(())
            }
            Err(_) => self.open_new(),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.open_new()?;
        self.wake_mill();
        Ok(())
    }

    /// Sets the file aside, if there is one, and begins another with its owner and rights.
    fn open_new(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| because("can't make directories for new logfile", &error))?;
        }
        let old = fs::metadata(&self.path).ok();
        let mut mode = 0o600;
        if let Some(old) = &old {
            mode = old.permissions().mode();
            let aside = Names::of(&self.path).backup(Timestamp::now());
            fs::rename(&self.path, self.path.with_file_name(aside))
                .map_err(|error| because("can't rename log file", &error))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(mode)
            .open(&self.path)
            .map_err(|error| because("can't open new logfile", &error))?;
        if let Some(old) = old {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        self.file = Some(file);
        self.size = 0;
        Ok(())
    }

    fn wake_mill(&mut self) {
        let rotation = &self.rotation;
        if rotation.max_backups == 0 && rotation.max_age == 0 && !rotation.compress {
            return;
        }
        let mill = self.mill.get_or_insert_with(|| {
            let (sender, wakes) = sync_channel(1);
            let (path, rotation) = (self.path.clone(), self.rotation.clone());
            let work = move || {
                for () in wakes {
                    if let Err(error) = look_after(&path, &rotation, Timestamp::now()) {
                        tracing::warn!(error = %error, "Looking after old audit logs failed");
                    }
                }
            };
            let thread = std::thread::Builder::new().name("audit-log-mill".to_owned());
            if let Err(error) = thread.spawn(work) {
                tracing::error!(error = %error, "Old audit logs are not looked after");
            }
            sender
        });
        // It is awake already, or could not be started.
        let _ = mill.try_send(());
    }
}

fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// How old files are called.
struct Names {
    stem: String,
    extension: String,
}

impl Names {
    fn of(path: &Path) -> Names {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let dot = name.rfind('.').unwrap_or(name.len());
        Names {
            stem: format!("{}-", &name[..dot]),
            extension: name[dot..].to_owned(),
        }
    }

    fn backup(&self, now: Timestamp) -> String {
        format!("{}{}{}", self.stem, now.strftime(TIME), self.extension)
    }

    /// When a file was set aside, if it is one of these.
    fn time_of(&self, name: &str) -> Option<Timestamp> {
        let rest = name.strip_prefix(&self.stem)?;
        let rest = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
        let time = rest.strip_suffix(&self.extension)?;
        let time = civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S.%f", time).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }
}

/// Removes old files that are too many or too old, and compresses the others.
fn look_after(path: &Path, rotation: &Rotation, now: Timestamp) -> io::Result<()> {
    let names = Names::of(path);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir()
            && let Some(time) = names.time_of(&name)
        {
            files.push((time, name));
        }
    }
    // The newest first.
    files.sort_by(|one, two| two.cmp(one));
    let oldest = now - SignedDuration::from_hours(24 * rotation.max_age);
    let mut kept: Vec<&str> = Vec::new();
    let mut result = Ok(());
    for (time, name) in &files {
        let base = name.strip_suffix(COMPRESSED).unwrap_or(name);
        if !kept.contains(&base) {
            kept.push(base);
        }
        let too_many = rotation.max_backups > 0 && kept.len() > rotation.max_backups;
        let too_old = rotation.max_age > 0 && *time < oldest;
        let done = if too_many || too_old {
            fs::remove_file(folder.join(name))
        } else if rotation.compress && base == name {
            compress(
                &folder.join(name),
                &folder.join(format!("{name}{COMPRESSED}")),
            )
        } else {
            Ok(())
        };
        // One that fails does not keep the others from being looked after.
        if result.is_ok() {
            result = done;
        }
    }
    result
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let result = || -> io::Result<()> {
        let mut source = File::open(from)?;
        let metadata = source.metadata()?;
        // One that is there already is from an attempt that failed.
        let target = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(metadata.permissions().mode())
            .open(to)?;
        std::os::unix::fs::fchown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        let mut encoder = GzEncoder::new(target, Compression::default());
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()?.flush()
    };
    match result() {
        Ok(()) => fs::remove_file(from),
        Err(error) => {
            let _ = fs::remove_file(to);
            Err(because("failed to compress log file", &error))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn rotation(max_size: u64) -> Rotation {
        Rotation {
            max_size,
            max_age: 0,
            max_backups: 0,
            compress: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn full_files_are_set_aside_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, "old\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut file = RotatingFile::new(path.clone(), rotation(20));
        file.write(b"123456789\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\n123456789\n");
        file.write(b"abcdefghi\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "abcdefghi\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        let found = names(folder.path());
        assert_eq!(found.len(), 2);
        let (aside, current) = (&found[0], &found[1]);
        assert_eq!(current, "audit.log");
        assert!(Names::of(&path).time_of(aside).is_some(), "{aside}");
        let text = fs::read_to_string(folder.path().join(aside)).unwrap();
        assert_eq!(text, "old\n123456789\n");
        let error = file.write(&[b'x'; 21]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "write length 21 exceeds maximum file size 20"
        );
    }

    #[test]
    fn names_have_the_time() {
        let names = Names::of(Path::new("/var/log/kube.audit.log"));
        let time: Timestamp = "2026-11-29T02:14:15.057Z".parse().unwrap();
        let name = names.backup(time);
        assert_eq!(name, "kube.audit-2026-11-29T02-14-15.057.log");
        assert_eq!(names.time_of(&name), Some(time));
        assert_eq!(names.time_of(&format!("{name}.gz")), Some(time));
        for other in [
            "kube.audit.log",
            "kube.audit-x.log",
            "kube.audit-2026-11-29.log",
        ] {
            assert_eq!(names.time_of(other), None);
        }
        assert_eq!(
            Names::of(Path::new("audit")).backup(time),
            "audit-2026-11-29T02-14-15.057"
        );
    }

    #[test]
    fn old_files_go_and_others_are_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let at = |time: &str| format!("a-2026-01-{time}-00-00.000.log");
        for time in ["01T00", "02T00", "03T00", "04T00"] {
            fs::write(folder.path().join(at(time)), time).unwrap();
        }
        fs::write(folder.path().join("b.log"), "").unwrap();
        let now: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let mut rules = rotation(1);
        rules.max_backups = 3;
        look_after(&path, &rules, now).unwrap();
        assert_eq!(
            names(folder.path()),
            [at("02T00"), at("03T00"), at("04T00"), "b.log".to_owned()]
        );
        rules.max_age = 2;
        rules.compress = true;
        look_after(&path, &rules, now).unwrap();
        let compressed = at("04T00") + COMPRESSED;
        assert_eq!(
            names(folder.path()),
            [
                at("03T00") + COMPRESSED,
                compressed.clone(),
                "b.log".to_owned()
            ]
        );
        let mut text = String::new();
        let file = File::open(folder.path().join(compressed)).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "04T00");
    }
}

//! Reads container logs in the CRI format. Upstream: `cri-client/pkg/logs`.
//!
//! A line of the file is `<time> <stream> <tag> <text>`; a line of the container that was too long for one is several with the
//! tag `P` and a last one with `F`, and is put together again. While following, the folder is watched: rotation replaces the
//! file, and then reading goes on in the new one after the old one is read to its end.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use component_base::serving::BodySender;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use inotify::{Inotify, WatchMask};
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader};

/// Without any event the file and the container are looked at this often.
const FORCE_CHECK: Duration = Duration::from_secs(1);
const BLOCK: u64 = 1024;

/// What to read.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Only the last lines.
    pub tail_lines: Option<i64>,
    /// Only so many bytes.
    pub limit_bytes: Option<i64>,
    /// Only lines of this time and later.
    pub since: Option<Timestamp>,
    /// Until the container ends.
    pub follow: bool,
    /// Each line with its time in front.
    pub timestamps: bool,
    /// With standard output.
    pub stdout: bool,
    /// With standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            tail_lines: None,
            limit_bytes: None,
            since: None,
            follow: false,
            timestamps: false,
            stdout: true,
            stderr: true,
        }
    }
}

/// Tells whether the container still writes.
pub trait Running: Send + Sync {
    /// Asked while following, at the end of the file.
    fn is_running(&self) -> BoxFuture<'_, Result<bool, String>>;
}

/// One parsed line of the file.
#[derive(Debug, PartialEq)]
struct Message<'a> {
    time: Timestamp,
    /// As written, for output.
    time_text: &'a str,
    stdout: bool,
    text: &'a [u8],
}

/// Parses `<time> <stream> <tag> <text>`. The newline of a partial line is not part of its text.
fn parse(line: &[u8]) -> Result<Message<'_>, String> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(stream)) = (parts.next(), parts.next()) else {
        return Err("timestamp is not found".to_owned());
    };
    let time_text = std::str::from_utf8(time).map_err(|_| "timestamp is not found".to_owned())?;
    let time: Timestamp = time_text.parse().map_err(|error| {
        format!("unexpected timestamp format \"2006-01-02T15:04:05.999999999Z07:00\": {error}")
    })?;
    let stdout = match stream {
        b"stdout" => true,
        b"stderr" => false,
        other => {
            return Err(format!(
                "unexpected stream type {:?}",
                String::from_utf8_lossy(other)
            ));
        }
    };
    let (Some(tags), Some(text)) = (parts.next(), parts.next()) else {
        return Err("log tag is not found".to_owned());
    };
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    let text = if partial {
        text.strip_suffix(b"\n").unwrap_or(text)
    } else {
        text
    };
    Ok(Message {
        time,
        time_text,
        stdout,
        text,
    })
}

/// The time with exactly nine digits of fraction, in the zone it was written in.
fn fixed_time(text: &str) -> String {
    let zone_at = text
        .char_indices()
        .skip(19)
        .find(|(_, c)| matches!(c, 'Z' | 'z' | '+' | '-'))
        .map_or(text.len(), |(at, _)| at);
    let (time, zone) = text.split_at(zone_at);
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let fraction: String = fraction.chars().take(9).collect();
    let zone = if matches!(zone, "z" | "+00:00" | "-00:00") {
        "Z"
    } else {
        zone
    };
    format!("{seconds}.{fraction:0<9}{zone}")
}

/// Why writing ended.
enum End {
    /// All bytes that were asked for are written.
    Limit,
    /// Nobody reads any more.
    Closed,
}

struct Writer<'a> {
    options: &'a LogOptions,
    remaining: u64,
    out: &'a BodySender,
    pending: Vec<u8>,
    line_start: bool,
}

impl Writer<'_> {
    fn write(&mut self, message: &Message<'_>) -> Result<(), End> {
        let prefix = self.options.timestamps && self.line_start;
        self.line_start = message.text.last().is_none_or(|last| *last == b'\n');
        if self.options.since.is_some_and(|since| message.time < since) {
            return Ok(());
        }
        if !(if message.stdout {
            self.options.stdout
        } else {
            self.options.stderr
        }) {
            return Ok(());
        }
        let before = self.pending.len();
        if prefix {
            self.pending
                .extend_from_slice(fixed_time(message.time_text).as_bytes());
            self.pending.push(b' ');
        }
        self.pending.extend_from_slice(message.text);
        let written = (self.pending.len() - before) as u64;
        if written >= self.remaining {
            let keep = usize::try_from(self.remaining).unwrap_or(usize::MAX);
            self.pending.truncate(before.saturating_add(keep));
            self.remaining = 0;
            return Err(End::Limit);
        }
        self.remaining -= written;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.pending.is_empty() || self.out.send(std::mem::take(&mut self.pending)).await {
            Ok(())
        } else {
            Err(End::Closed)
        }
    }
}

/// Sends a container's log to `out`.
///
/// # Errors
/// With the text upstream shows when the log cannot be read. A reader that went away is not an error.
pub async fn read_logs(
    path: &Path,
    options: &LogOptions,
    container: &dyn Running,
    out: &BodySender,
) -> Result<(), String> {
    // The runtime's path may be a link; what is watched is where the file really is.
    let shown = path.display().to_string();
    let path = tokio::fs::canonicalize(path).await.map_err(|error| {
        format!(
            "failed to try resolving symlinks in path {shown:?}: {}",
            go_error("lstat", &shown, &error)
        )
    })?;
    let mut file = File::open(&path).await.map_err(|error| {
        format!(
            "failed to open log file {shown:?}: {}",
            go_error("open", &shown, &error)
        )
    })?;
    let tail = options.tail_lines.unwrap_or(-1);
    let start = tail_start(&mut file, tail)
        .await
        .map_err(|error| format!("failed to tail {tail} lines of log file {shown:?}: {error}"))?;
    file.seek(SeekFrom::Start(start))
        .await
        .map_err(|error| format!("failed to seek {start} in log file {shown:?}: {error}"))?;
    let mut writer = Writer {
        options,
        remaining: options
            .limit_bytes
            .map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(0)),
        out,
        pending: Vec::new(),
        line_start: true,
    };
    let mut left = (options.tail_lines.is_some() && !options.follow).then_some(tail);
    let mut reader = BufReader::with_capacity(32 * 1024, file);
    let mut follower: Option<Follower> = None;
    let (mut ended, mut replaced) = (false, false);
    let mut line = Vec::new();
    loop {
        if left == Some(0) {
            break;
        }
        reader
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| format!("failed to read log file {shown:?}: {error}"))?;
        let whole = line.last() == Some(&b'\n');
        if !whole && options.follow && (!ended || replaced) {
            // The rest of the line is still to come: it is kept, and read on behind it.
            if writer.flush().await.is_err() {
                return Ok(());
            }
            if std::mem::take(&mut replaced) {
                // The old file was read to its end after the new one had taken its place.
                match File::open(&path).await {
                    Ok(file) => {
                        line.clear();
                        reader = BufReader::with_capacity(32 * 1024, file);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(format!(
                            "failed to open log file {shown:?}: {}",
                            go_error("open", &shown, &error)
                        ));
                    }
                }
                continue;
            }
            match &mut follower {
                Some(follower) => ended |= follower.wait(container).await? == Change::Ended,
                // Something may have been written, or the file rotated, before the watch was there.
                None => follower = Some(Follower::new(&path)?),
            }
            replaced = is_replaced(reader.get_ref(), &path).await;
            continue;
        }
        if line.is_empty() {
            break;
        }
        match parse(&line) {
            Ok(message) => {
                if writer.write(&message).is_err() {
                    break;
                }
                if let Some(left) = &mut left {
                    *left -= 1;
                }
            }
            Err(error) => {
                tracing::error!(path = shown, error, line = %String::from_utf8_lossy(&line), "Failed when parsing line in log file")
            }
        }
        line.clear();
        if !whole {
            break;
        }
        // What is there is sent together, and what may have to wait for more is sent before.
        if (writer.pending.len() >= 32 * 1024 || reader.buffer().is_empty())
            && writer.flush().await.is_err()
        {
            return Ok(());
        }
    }
    let _ = writer.flush().await;
    Ok(())
}

/// Go's words for a failed file operation.
fn go_error(operation: &str, path: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("{operation} {path}: {why}")
}

/// Where the last `count` lines begin; a line without its end does not count.
async fn tail_start(file: &mut File, count: i64) -> std::io::Result<u64> {
    let Ok(count) = u64::try_from(count) else {
        return Ok(0);
    };
    let size = file.seek(SeekFrom::End(0)).await?;
    let (mut right, mut newlines) = (size, 0_u64);
    let mut block = Vec::new();
    while right > 0 {
        let left = right.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(left)).await?;
        block.clear();
        (&mut *file)
            .take(right - left)
            .read_to_end(&mut block)
            .await?;
        let here = block.iter().filter(|byte| **byte == b'\n').count() as u64;
        if newlines + here > count {
            // The lines wanted begin behind one of the newlines in this block.
            let skip = newlines + here - count;
            let mut ends = block
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .map(|(at, _)| at as u64 + 1);
            let nth = usize::try_from(skip - 1).unwrap_or(usize::MAX);
            return Ok(left + ends.nth(nth).unwrap_or(0));
        }
        newlines += here;
        right = left;
    }
    Ok(0)
}

/// Whether another file than the open one has its path now.
async fn is_replaced(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata().await, tokio::fs::metadata(path).await) else {
        return false;
    };
    (open.dev(), open.ino()) != (there.dev(), there.ino())
}

#[derive(PartialEq, Eq)]
enum Change {
    /// Something in the folder.
    Happened,
    Ended,
}

/// Watches the folder of a log.
struct Follower {
    events: inotify::EventStream<[u8; 4096]>,
}

impl Follower {
    fn new(path: &Path) -> Result<Self, String> {
        let Some(dir) = path.parent() else {
            return Err(format!(
                "failed to watch directory of {:?}",
                path.display().to_string()
            ));
        };
        let watched = |error: std::io::Error| {
            format!(
                "failed to watch directory {:?}: {error}",
                dir.display().to_string()
            )
        };
        let inotify = Inotify::init()
            .map_err(|error| format!("failed to create fsnotify watcher: {error}"))?;
        let mask = WatchMask::MODIFY
            | WatchMask::CREATE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::ATTRIB;
        inotify.watches().add(dir, mask).map_err(watched)?;
        Ok(Follower {
            events: inotify.into_event_stream([0; 4096]).map_err(watched)?,
        })
    }

    /// Waits for the next change, but not longer than a second. A container that ended has nothing more to say.
    async fn wait(&mut self, container: &dyn Running) -> Result<Change, String> {
        if !container.is_running().await? {
            return Ok(Change::Ended);
        }
        match tokio::time::timeout(FORCE_CHECK, self.events.next()).await {
            Ok(Some(Err(error))) => Err(error.to_string()),
            _ => Ok(Change::Happened),
        }
    }
}

#[cfg(test)]
#[path = "log_reader_tests.rs"]
mod tests;

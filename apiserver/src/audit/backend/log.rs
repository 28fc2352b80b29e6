//! Events in a file or on standard output. Upstream: plugin/pkg/audit/log.

use std::fs::File;
use std::io::{self, Write as _};

use parking_lot::Mutex;

use super::lost;
use super::rotate::RotatingFile;
use crate::audit::event::Line;
use crate::audit::legacy;
use crate::audit::metrics::AuditMetrics;

/// How events look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Text.
    Legacy,
}

/// Where they are written.
pub enum Output {
    Stdout,
    File(File),
    Rotating(RotatingFile),
}

/// The log backend. A line is written with one call, under a lock: lines never mix.
pub struct Log {
    format: Format,
    output: Mutex<Output>,
}

impl Log {
    pub fn new(output: Output, format: Format) -> Log {
        Log {
            format,
            output: Mutex::new(output),
        }
    }

    /// Writes all; false when one is lost.
    pub(super) fn write(&self, lines: &[Line], metrics: &AuditMetrics) -> bool {
        let mut all = true;
        for line in lines {
            if let Err(error) = self.write_one(line) {
                lost(
                    metrics,
                    "log",
                    &error.to_string(),
                    std::slice::from_ref(line),
                );
                all = false;
            }
        }
        all
    }

    fn write_one(&self, line: &Line) -> io::Result<()> {
        let text;
        let bytes = match self.format {
            Format::Json => &line.bytes()[..],
            Format::Legacy => {
                text = legacy::text(line) + "\n";
                text.as_bytes()
            }
        };
        match &mut *self.output.lock() {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Output::File(file) => file.write_all(bytes),
            Output::Rotating(file) => file.write(bytes),
        }
    }
}

//! What one input may cost, and how a broken limit becomes a failure that can be repeated.
//!
//! Panics are caught. CPU time and memory are measured after each input. What ends the process (a stack overflow, an
//! allocation beyond the address space) or never ends leaves the input in a file, which is written before each try.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::target::{Case, Outcome, Target};

/// Stack of the thread that tries inputs: what threads of servers have.
pub(crate) const STACK: usize = 2 << 20;

/// CPU time of one input, in a build without optimisations: several times what the slowest takes, since a processor that two
/// threads share may take twice as long.
const CPU: Duration = Duration::from_secs(6);

/// Time after which an input is taken to hang.
const WALL: Duration = Duration::from_secs(60);

/// Memory that one input may add to the most that the process had so far.
const MEMORY_KIB: u64 = 192 << 10;

/// Address space of the process.
const ADDRESS_SPACE: u64 = 8 << 30;

/// Tries inputs of one target.
pub(crate) struct Guard {
    target: Target,
    path: PathBuf,
    file: File,
    started: Arc<Mutex<Option<Instant>>>,
    /// Ends the watchdog when dropped.
    _alive: Sender<()>,
}

impl Guard {
    pub(crate) fn new(target: &Target, folder: &Path) -> std::io::Result<Self> {
        install_hook();
        limit_address_space();
        std::fs::create_dir_all(folder)?;
        let name = format!(
            "{}.{}.trying",
            target.name.replace('/', "-"),
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create(&path)?;
        let started = Arc::new(Mutex::new(None));
        let (alive, watch) = channel::<()>();
        let (seen, shown, name) = (Arc::clone(&started), path.clone(), target.name);
        std::thread::spawn(move || {
            while watch.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let started: Option<Instant> = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                if started.is_some_and(|at| at.elapsed() > WALL) {
                    eprintln!(
                        "{name}: an input takes more than {WALL:?}; it is in {}",
                        shown.display()
                    );
                    std::process::exit(2);
                }
            }
        });
        Ok(Self {
            target: *target,
            path,
            file,
            started,
            _alive: alive,
        })
    }

    /// Tries an input, and says what it cost.
    pub(crate) fn judge(&self, case: &Case) -> (Outcome, Duration) {
        self.note(case);
        let memory = peak_kib();
        let cpu = cpu_time();
        let check = self.target.check;
        PANIC.with_borrow_mut(|panic| *panic = Some(String::new()));
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| check(case)));
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let panic = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        let cost = cpu_time().saturating_sub(cpu);
        let more = peak_kib().saturating_sub(memory);
        let outcome = match outcome {
            Err(_) => Err(format!("panicked {panic}")),
            Ok(Err(broken)) => Err(broken),
            Ok(Ok(_)) if cost > CPU => Err(format!("took {cost:?} of CPU, more than {CPU:?}")),
            Ok(Ok(_)) if more > MEMORY_KIB => {
                // Otherwise no smaller input could be seen to do the same.
                let _ = std::fs::write("/proc/self/clear_refs", "5");
                Err(format!("took {more} KiB more memory than anything before"))
            }
            Ok(fine) => fine,
        };
        (outcome, cost)
    }

    fn note(&self, case: &Case) {
        let bytes = case.to_file();
        let written = self.file.write_all_at(&bytes, 0);
        if written.is_ok() {
            let _ = self.file.set_len(bytes.len() as u64);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

thread_local! {
    /// Where the panic of an input is kept; `None` while none is tried.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of inputs are reported once, in the end, and not for each step of making them small.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = PANIC.with_borrow_mut(|panic| match panic {
                Some(text) => {
                    *text = info.to_string();
                    true
                }
                None => false,
            });
            if !ours {
                other(info);
            }
        }));
    });
}

/// Makes an allocation without bound fail instead of the machine.
fn limit_address_space() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::As);
    let wanted = now
        .maximum
        .map_or(ADDRESS_SPACE, |most| most.min(ADDRESS_SPACE));
    let limit = Rlimit {
        current: Some(now.current.map_or(wanted, |current| current.min(wanted))),
        maximum: now.maximum,
    };
    // Where it is not allowed, memory is still measured.
    let _ = setrlimit(Resource::As, limit);
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The most memory that this process had.
fn peak_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0)
}

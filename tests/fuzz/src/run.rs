//! Runs a target on many inputs and makes the first that fails small.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::input::any_recipe;
use crate::limits::{Guard, STACK};
use crate::target::{Case, Target, Verdict};

/// What a run without failures did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Inputs tried.
    pub cases: u32,
    /// Those that were valid.
    pub accepted: u32,
    /// CPU time of the slowest.
    pub slowest: Duration,
}

/// An input that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Name of the target.
    pub target: &'static str,
    /// The input, made small.
    pub case: Case,
    /// What it broke.
    pub broken: String,
    /// Where it is kept.
    pub file: PathBuf,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.case.bytes[..self.case.bytes.len().min(2000)];
        write!(
            f,
            "{}: {}\n{} bytes: {}\nagain: cargo run -p fuzz -- --replay {} {}",
            self.target,
            self.broken,
            self.case.bytes.len(),
            shown.escape_ascii(),
            self.file.display(),
            self.target,
        )
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// After so many inputs, the same ones every time.
    Cases(u32),
    /// After this time, with inputs that begin with those of this batch.
    Time(Duration, u64),
}

/// Inputs of one random number generator.
const BATCH: u32 = 256;

/// Runs a target. Failures and the input being tried are kept in `folder`.
pub fn run(target: &Target, bound: Bound, folder: &Path) -> Result<Summary, Box<Failure>> {
    let (target, folder) = (*target, folder.to_owned());
    on_small_stack(move || {
        let guard = Guard::new(&target, &folder).expect("the folder for inputs can be written");
        let started = Instant::now();
        let mut summary = Summary::default();
        let (first, more): (u64, Box<dyn Fn(u32) -> u32>) = match bound {
            Bound::Cases(cases) => (
                0,
                Box::new(move |done| cases.saturating_sub(done).min(BATCH)),
            ),
            Bound::Time(time, first) => (
                first,
                Box::new(move |_| if started.elapsed() < time { BATCH } else { 0 }),
            ),
        };
        let deadline = match bound {
            Bound::Cases(_) => None,
            Bound::Time(time, _) => Some(started + time),
        };
        for batch in first.. {
            let cases = more(summary.cases);
            if cases == 0 {
                break;
            }
            run_batch(&target, &guard, batch, cases, deadline, &mut summary)
                .map_err(|(case, broken)| keep(&target, &guard, case, broken, &folder))?;
        }
        Ok(summary)
    })
}

/// Tries one input that was kept.
pub fn replay(target: &Target, case: Case, folder: &Path) -> Result<Verdict, Box<Failure>> {
    let (target, folder) = (*target, folder.to_owned());
    on_small_stack(move || {
        let guard = Guard::new(&target, &folder).expect("the folder for inputs can be written");
        let outcome = guard.judge(&case).0;
        outcome.map_err(|broken| keep(&target, &guard, case, broken, &folder))
    })
}

fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .expect("a thread starts");
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_batch(
    target: &Target,
    guard: &Guard,
    batch: u64,
    cases: u32,
    deadline: Option<Instant>,
    summary: &mut Summary,
) -> Result<(), (Case, String)> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&batch.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let shared = RefCell::new((summary, false));
    let result = runner.run(&any_recipe(), |recipe| {
        if deadline.is_some_and(|end| Instant::now() > end) && !shared.borrow().1 {
            return Ok(());
        }
        let case = recipe.case(target);
        let (outcome, cost) = guard.judge(&case);
        let (summary, failed) = &mut *shared.borrow_mut();
        match outcome {
            Ok(verdict) => {
                if !*failed {
                    summary.cases += 1;
                    summary.accepted += u32::from(verdict == Verdict::Accepted);
                    summary.slowest = summary.slowest.max(cost);
                }
                Ok(())
            }
            Err(broken) => {
                *failed = true;
                Err(TestCaseError::fail(broken))
            }
        }
    });
    match result {
        Ok(()) => Ok(()),
        Err(TestError::Fail(broken, recipe)) => {
            Err((recipe.case(target), broken.message().to_owned()))
        }
        Err(TestError::Abort(why)) => panic!("{}: {why}", target.name),
    }
}

/// Makes the bytes of a failure fewer, and writes them to a file.
fn keep(
    target: &Target,
    guard: &Guard,
    mut case: Case,
    mut broken: String,
    folder: &Path,
) -> Box<Failure> {
    let started = Instant::now();
    let mut size = case.bytes.len() / 2;
    while size > 0 && started.elapsed() < Duration::from_secs(20) {
        let mut at = 0;
        while at < case.bytes.len() && started.elapsed() < Duration::from_secs(20) {
            let mut smaller = case.clone();
            smaller.bytes.drain(at..(at + size).min(case.bytes.len()));
            match guard.judge(&smaller).0 {
                Err(other) => (case, broken) = (smaller, other),
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    let bytes = case.to_file();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let file = folder.join(format!("{}-{hash:016x}", target.name.replace('/', "-")));
    if let Err(error) = std::fs::write(&file, bytes) {
        broken = format!(
            "{broken} (and {} cannot be written: {error})",
            file.display()
        );
    }
    Box::new(Failure {
        target: target.name,
        case,
        broken,
        file,
    })
}

//! A daemon's start runs code that nothing runs later: building tables, reading flags and certificates, connecting. The
//! kernel keeps those pages mapped until memory is short; [`give_back`] unmaps them once.

use std::fs;
use std::io;
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of the program and its libraries that nobody changed, so that those that are still used come back from
/// the page cache, one by one, and the others do not. Returns how many bytes were mapped.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read, or the kernel refuses (madvise(2)).
pub fn give_back() -> io::Result<usize> {
    let mut bytes = 0;
    for mapping in unchanged(&fs::read_to_string("/proc/self/smaps")?) {
        unmap_pages(mapping.range)?;
        bytes += mapping.resident;
    }
    Ok(bytes)
}

/// What the kernel has of a file in memory, exactly as the file has it.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    /// In bytes.
    resident: usize,
}

/// The mappings of files that can be neither written nor have been (proc_pid_smaps(5)): relocated tables, which are
/// read-only by now, have anonymous pages.
fn unchanged(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut current: Option<Mapping> = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(field) = first.strip_suffix(':') else {
            found.extend(current.take());
            // Path names are the sixth word; those of no file are in brackets.
            let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
            if second.starts_with("r-") && second.ends_with('p') && is_file {
                current = range(first).map(|range| Mapping { range, resident: 0 });
            }
            continue;
        };
        let bytes = second.parse::<usize>().unwrap_or(0) * 1024;
        match field {
            "Rss" => {
                if let Some(mapping) = &mut current {
                    mapping.resident = bytes;
                }
            }
            "Anonymous" | "Private_Dirty" | "Shared_Dirty" | "Swap" | "Locked" if bytes > 0 => {
                current = None;
            }
            _ => {}
        }
    }
    found.extend(current);
    found
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    (range.start < range.end).then_some(range)
}

#[expect(
    unsafe_code,
    reason = "madvise is unsafe: of anonymous memory it would drop what was written"
)]
fn unmap_pages(range: Range<usize>) -> io::Result<()> {
    let start = range.start as *mut std::ffi::c_void;
    // SAFETY: the range is a private mapping of a file, which nobody can write to and of which no page differs from the
    // file: what is read there afterwards is what was read there before.
    unsafe { madvise(start, range.end - range.start, Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d000000000-55d000010000 r--p 00000000 fe:00 1   /usr/bin/daemon
Size:                 64 kB
Rss:                  32 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d000010000-55d000030000 r-xp 00010000 fe:00 1   /usr/bin/daemon with a space
Rss:                 100 kB
Anonymous:             0 kB
55d000030000-55d000040000 r--p 00030000 fe:00 1   /usr/bin/daemon
Rss:                  64 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
55d000040000-55d000050000 rw-p 00030000 fe:00 1   /usr/bin/daemon
Rss:                  64 kB
Anonymous:             0 kB
55d000050000-55d000060000 r--s 00030000 fe:00 1   /usr/lib/shared
Rss:                  64 kB
55d000060000-55d000070000 r--p 00000000 00:00 0
Rss:                  64 kB
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0   [vdso]
Rss:                   4 kB
";

    #[test]
    fn only_what_is_as_in_its_file() {
        let mapping = |range, kilobytes: usize| Mapping {
            range,
            resident: kilobytes * 1024,
        };
        assert_eq!(
            unchanged(SMAPS),
            [
                mapping(0x55d000000000..0x55d000010000, 32),
                mapping(0x55d000010000..0x55d000030000, 100),
            ]
        );
        assert_eq!(unchanged("7f-zz r-xp 0 0 0 /x\nRss: x\n"), []);
    }

    #[test]
    fn the_program_goes_on() {
        let resident = || {
            let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
            unchanged(&smaps)
                .iter()
                .map(|mapping| mapping.resident)
                .sum::<usize>()
        };
        let before = resident();
        let given = give_back().expect("madvise");
        assert!(
            given > 0 && given <= before + 64 * 1024,
            "{given} of {before}"
        );
        assert!(resident() < before, "less than {before}");
    }
}

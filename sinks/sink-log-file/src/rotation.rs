//! The names of rotated files and how many of them are kept.
//!
//! `events.jsonl` becomes `events.20261122T180533.123Z.jsonl`, a second one of the same millisecond
//! `events.20261122T180533.123Z-2.jsonl`. The order of the names is the order of the files, even when the clock stepped
//! back in between.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use stats_sv2::UnixMillis;

use crate::open_file::folder_of;

/// Characters of a time stamp such as `20261122T180533.123Z`.
const STAMP_LENGTH: usize = 20;

/// A rotated file, ordered by age, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rotated {
    stamp: String,
    number: u32,
    pub(crate) path: PathBuf,
}

/// The rotated files of a log file, the oldest first.
pub(crate) fn rotated_files(log: &Path) -> io::Result<Vec<Rotated>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder_of(log))? {
        let path = entry?.path();
        if let Some((stamp, number)) = parse(log, &path) {
            found.push(Rotated { stamp, number, path });
        }
    }
    found.sort();
    Ok(found)
}

/// A name that comes after those that exist.
pub(crate) fn next_name(log: &Path, existing: &[Rotated], now: UnixMillis) -> PathBuf {
    let stamp = stamp(now);
    let (stamp, number) = match existing.last() {
        Some(newest) if newest.stamp >= stamp => (newest.stamp.clone(), newest.number.saturating_add(1)),
        _ => (stamp, 1),
    };
    let mut name = log.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{stamp}"));
    if number > 1 {
        name.push(format!("-{number}"));
    }
    name.push(dotted_extension(log));
    folder_of(log).join(name)
}

/// Deletes the oldest files beyond `keep`.
pub(crate) fn expire(log: &Path, keep: NonZeroU32) -> io::Result<()> {
    let files = rotated_files(log)?;
    let surplus = files.len().saturating_sub(usize::try_from(keep.get()).unwrap_or(usize::MAX));
    files[..surplus].iter().try_for_each(|file| std::fs::remove_file(&file.path))
}

/// `2026-11-22T18:05:33.123Z` without its separators.
fn stamp(now: UnixMillis) -> String {
    // Beyond the year 9999 the formatter gives up; such a clock gets the last stamp there is.
    let now = Duration::from_millis(now.0).min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_millis(UNIX_EPOCH + now).to_string().replace(['-', ':'], "")
}

fn dotted_extension(log: &Path) -> OsString {
    let mut dotted = OsString::new();
    if let Some(extension) = log.extension() {
        dotted.push(".");
        dotted.push(extension);
    }
    dotted
}

fn parse(log: &Path, candidate: &Path) -> Option<(String, u32)> {
    let name = candidate.file_name()?.as_encoded_bytes();
    let middle = name
        .strip_prefix(log.file_stem()?.as_encoded_bytes())?
        .strip_prefix(b".")?
        .strip_suffix(dotted_extension(log).as_encoded_bytes())?;
    let (stamp, number) = std::str::from_utf8(middle).ok()?.split_at_checked(STAMP_LENGTH)?;
    let shape = |(index, c): (usize, char)| match index {
        8 => c == 'T',
        15 => c == '.',
        19 => c == 'Z',
        _ => c.is_ascii_digit(),
    };
    if !stamp.char_indices().all(shape) {
        return None;
    }
    let number = match number.strip_prefix('-') {
        Some(digits) => digits.parse().ok().filter(|number| *number > 1)?,
        None if number.is_empty() => 1,
        None => return None,
    };
    Some((stamp.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn touch(path: &Path) {
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn names_carry_the_utc_time() {
        let log = Path::new("dir/events.jsonl");
        let name = next_name(log, &[], UnixMillis(1_795_370_733_123));
        assert_eq!(name, Path::new("dir/events.20261122T180533.123Z.jsonl"));
        assert_eq!(next_name(Path::new("log"), &[], UnixMillis(0)), Path::new("./log.19700101T000000.000Z"));
    }

    #[test]
    fn only_our_names_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("events.jsonl");
        for foreign in [
            "events.jsonl",
            "events.20261122T180533.123Z.jsonl.gz",
            "events.20261122T180533.123Z-1.jsonl",
            "events.20261122T180533.123Z-x.jsonl",
            "events.20261122X180533.123Z.jsonl",
            "events.old.jsonl",
            "other.20261122T180533.123Z.jsonl",
        ] {
            touch(&folder.path().join(foreign));
        }
        touch(&folder.path().join("events.20261122T180533.123Z-12.jsonl"));
        touch(&folder.path().join("events.20261122T180533.123Z-2.jsonl"));
        touch(&folder.path().join("events.20261122T180533.123Z.jsonl"));
        let numbers: Vec<u32> = rotated_files(&log).unwrap().into_iter().map(|file| file.number).collect();
        assert_eq!(numbers, [1, 2, 12]);
        expire(&log, NonZeroU32::MIN).unwrap();
        assert_eq!(rotated_files(&log).unwrap()[0].number, 12);
        assert!(folder.path().join("events.old.jsonl").exists());
    }

    proptest! {
        /// Whatever the clock does, no name comes twice and the newest file has the last name.
        #[test]
        fn names_rise(times in prop::collection::vec(0_u64..5, 1..12)) {
            let folder = tempfile::tempdir().unwrap();
            let log = folder.path().join("e.jsonl");
            for time in times {
                let name = next_name(&log, &rotated_files(&log).unwrap(), UnixMillis(time * 1000));
                prop_assert!(!name.exists());
                touch(&name);
                let newest = rotated_files(&log).unwrap().pop().unwrap();
                prop_assert_eq!(newest.path, name);
            }
        }
    }
}

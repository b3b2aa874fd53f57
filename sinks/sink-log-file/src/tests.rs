//! The contract, rotation, crashes, and a disk that is full.

use std::fs;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use sidecar_core::{
    Batch, BlockingSink, ByteSize, Claim, Clock, Durability, ManualClock, Period, SinkContext, SinkError, SinkRegistry,
    SinkSettings, StableId,
};
use sink_contract::{Contract, Draw, Guarantee, Stored, SyntheticJournal, SyntheticSession};
use stats_sv2::{EventKind, Role, UnixMillis};
use tempfile::TempDir;

use crate::rotation::rotated_files;
use crate::{LogFileSettings, LogFileSink, TYPE};

const NOW: UnixMillis = UnixMillis(1_795_370_733_000);
const DAY_MS: u64 = 24 * 3_600_000;

/// A folder with a log file and a session that writes to it.
struct Bench {
    folder: TempDir,
    clock: Arc<ManualClock>,
    settings: LogFileSettings,
    journal: SyntheticJournal,
    session: SyntheticSession,
    draw: Draw,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = LogFileSettings::at(folder.path().join("logs/events.jsonl"));
        Self {
            folder,
            clock: Arc::new(ManualClock::at(NOW)),
            settings,
            journal: SyntheticJournal::new(sidecar_core::JournalId(1), NOW),
            session: SyntheticSession::new("pool-a", Role::Pool, 7),
            draw: Draw::new(1, NOW),
        }
    }

    fn context(&self, durability: Durability) -> SinkContext {
        SinkContext {
            name: Arc::from("log"),
            durability,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            neighbours: Arc::default(),
        }
    }

    fn sink(&self) -> LogFileSink {
        LogFileSink::new(self.settings.clone(), self.context(Durability::Power))
    }

    fn started(&self) -> LogFileSink {
        let mut sink = self.sink();
        sink.start().unwrap();
        sink
    }

    fn shares(&mut self, count: usize) -> Arc<Batch> {
        let events: Vec<_> = (0..count).map(|_| self.draw.event(EventKind::ShareSubmitted)).collect();
        let record = self.journal.append(&mut self.session, &events);
        self.journal.batch(&[record])
    }

    fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Sequence numbers in the file itself.
    fn current(&self) -> Vec<u64> {
        sequences(self.path())
    }

    fn rotated(&self) -> Vec<PathBuf> {
        rotated_files(self.path()).unwrap().into_iter().map(|file| file.path).collect()
    }

    /// Sequence numbers in all files, the oldest first.
    fn everything(&self) -> Vec<u64> {
        self.rotated().iter().flat_map(|path| sequences(path)).chain(self.current()).collect()
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{} ends in half a line", path.display());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sequences(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line["sequence"].as_u64().unwrap()).collect()
}

fn stored_ids(log: &Path) -> Vec<StableId> {
    let files = if log.parent().unwrap().exists() { rotated_files(log).unwrap() } else { Vec::new() };
    files
        .iter()
        .map(|file| file.path.as_path())
        .chain([log])
        .flat_map(lines)
        .map(|line| StableId {
            publisher: Arc::from(line["publisher"].as_str().unwrap()),
            session_id: u64::from_str_radix(line["session"].as_str().unwrap(), 16).unwrap(),
            derived: line["derived"].as_bool().unwrap_or(false),
            sequence: line["sequence"].as_u64().unwrap(),
        })
        .collect()
}

fn contract(rotate_size: u64) -> Contract {
    Contract::new(
        Guarantee::AtLeastOnce,
        move |folder| {
            let settings = LogFileSettings {
                rotate_size: ByteSize(rotate_size),
                keep: NonZeroU32::new(1_000).unwrap(),
                ..LogFileSettings::at(folder.join("events.jsonl"))
            };
            let context = SinkContext {
                name: Arc::from("log"),
                durability: Durability::Process,
                clock: Arc::new(ManualClock::at(NOW)),
                neighbours: Arc::default(),
            };
            settings.build(context).unwrap()
        },
        |folder| Stored::Ids(stored_ids(&folder.join("events.jsonl"))),
    )
}

#[test]
fn keeps_the_contract_of_a_sink() {
    contract(64 << 20).check();
}

#[test]
fn keeps_the_contract_while_it_rotates() {
    contract(2_000).cases(12).check();
}

#[test]
fn a_full_file_is_rotated_and_old_ones_expire() {
    let mut bench = Bench::new();
    bench.settings.rotate_size = ByteSize(1);
    bench.settings.keep = NonZeroU32::new(2).unwrap();
    let mut sink = bench.started();
    for _ in 0..6 {
        sink.deliver(&bench.shares(3)).unwrap();
    }
    // The clock stood still: all six have one time stamp, and none was overwritten.
    assert_eq!(bench.rotated().len(), 2);
    assert_eq!(bench.everything(), (10..=18).collect::<Vec<u64>>());
    assert_eq!(bench.current(), [16, 17, 18]);
}

#[test]
fn a_file_of_yesterday_is_rotated_even_when_nothing_comes() {
    let mut bench = Bench::new();
    let mut sink = bench.started();
    sink.deliver(&bench.shares(1)).unwrap();
    sink.maintain(NOW).unwrap();
    assert!(bench.rotated().is_empty());
    let tomorrow = UnixMillis(NOW.0 + DAY_MS);
    sink.maintain(tomorrow).unwrap();
    sink.maintain(tomorrow).unwrap();
    assert_eq!(bench.rotated().len(), 1, "an empty file is not rotated");
    assert!(bench.current().is_empty());
}

#[test]
fn a_file_of_an_earlier_run_is_rotated_by_its_age() {
    let mut bench = Bench::new();
    let mut sink = bench.started();
    sink.deliver(&bench.shares(1)).unwrap();
    sink.close().unwrap();
    let yesterday = std::time::UNIX_EPOCH + Duration::from_millis(NOW.0 - DAY_MS);
    fs::File::options().write(true).open(bench.path()).unwrap().set_modified(yesterday).unwrap();
    let mut sink = bench.started();
    sink.deliver(&bench.shares(1)).unwrap();
    assert_eq!(bench.rotated().len(), 1);
    assert_eq!(bench.current(), [2]);
}

#[test]
fn a_file_that_was_moved_away_or_deleted_is_begun_anew() {
    let mut bench = Bench::new();
    let mut sink = bench.started();
    sink.deliver(&bench.shares(1)).unwrap();
    let moved = bench.folder.path().join("moved");
    fs::rename(bench.path(), &moved).unwrap();
    sink.deliver(&bench.shares(1)).unwrap();
    assert_eq!((sequences(&moved), bench.current()), (vec![1], vec![2]));
    fs::remove_file(bench.path()).unwrap();
    sink.maintain(NOW).unwrap();
    sink.deliver(&bench.shares(1)).unwrap();
    assert_eq!(bench.current(), [3]);
    // As logrotate does with copytruncate.
    fs::File::options().write(true).open(bench.path()).unwrap().set_len(0).unwrap();
    sink.deliver(&bench.shares(1)).unwrap();
    sink.reopen().unwrap();
    assert_eq!(bench.current(), [4]);
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_gone() {
    let bench = Bench::new();
    let mut first = bench.started();
    let mut second = bench.sink();
    assert!(matches!(second.start(), Err(SinkError::Transient { what, .. }) if what.contains("events.jsonl")));
    first.close().unwrap();
    second.start().unwrap();
}

#[test]
fn what_is_no_log_is_left_alone() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), "[settings]\nkey = 1").unwrap();
    assert!(matches!(bench.sink().start(), Err(SinkError::Fatal { what, .. }) if what.contains("events.jsonl")));
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "[settings]\nkey = 1");

    fs::remove_file(bench.path()).unwrap();
    fs::create_dir(bench.path()).unwrap();
    assert!(matches!(bench.sink().start(), Err(SinkError::Fatal { .. })));
    assert!(bench.settings.probe().is_err());
}

#[test]
fn a_folder_that_cannot_be_made_says_which() {
    let mut bench = Bench::new();
    fs::write(bench.folder.path().join("file"), "").unwrap();
    bench.settings.path = bench.folder.path().join("file/logs/events.jsonl");
    assert!(matches!(bench.sink().start(), Err(SinkError::Fatal { what, .. }) if what.contains("file/logs")));
}

#[test]
fn probing_changes_nothing() {
    let bench = Bench::new();
    bench.settings.probe().unwrap();
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);
    assert_eq!(bench.settings.claims(), [Claim::File(bench.path().to_owned())]);
}

#[test]
fn a_damaged_event_is_rejected_and_the_others_are_written() {
    let mut bench = Bench::new();
    let mut sink = bench.started();
    let shares: Vec<_> = (0..3).map(|_| bench.draw.event(EventKind::ShareSubmitted)).collect();
    let mut record = (*bench.journal.append(&mut bench.session, &shares)).clone();
    // The second frame becomes one of a kind that its payload does not fit.
    let mut frames = record.frames.to_vec();
    frames[record.frames.len() / 3 + 2] = EventKind::MinerConnected.msg_type();
    record.frames = frames.into();
    let outcome = sink.deliver(&bench.journal.batch(&[Arc::new(record)]));
    let Err(SinkError::Partial { rejected, retry_from: None }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(rejected.iter().map(|event| event.index).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.current(), [1, 3]);
}

#[test]
fn settings_are_checked() {
    let mut registry = SinkRegistry::new();
    registry.register::<LogFileSettings>(TYPE).unwrap();
    let parse = |table: &str| {
        let table = toml::de::ValueDeserializer::parse(table).unwrap();
        registry.parse(TYPE, table).unwrap().map(|settings| settings.claims()).map_err(|error| error.to_string())
    };
    assert_eq!(parse("{ path = 'a/b.jsonl' }").unwrap(), [Claim::File("a/b.jsonl".into())]);
    parse("{ path = 'a', rotate_size = '1 MiB', rotate_every = '1h', keep = 1 }").unwrap();
    for (table, part) in [
        ("{}", "path"),
        ("{ path = 'a/' }", "names no file"),
        ("{ path = '' }", "names no file"),
        ("{ path = 'a', rotate_size = '1 KiB' }", "at least"),
        ("{ path = 'a', rotate_every = '1s' }", "at least"),
        ("{ path = 'a', keep = 0 }", "nonzero"),
        ("{ path = 'a', rotate = '1h' }", "unknown field"),
    ] {
        let error = parse(table).unwrap_err();
        assert!(error.contains(part), "{table}: {error}");
    }
}

/// A write that fails half-way, as on a full disk: the test runs itself under a limit on the size of files, which the
/// system enforces in the middle of a write.
#[test]
fn a_failed_write_is_cut_off_and_succeeds_later() {
    const INSIDE: &str = "LOG_FILE_TEST_UNDER_LIMIT";
    if std::env::var_os(INSIDE).is_none() {
        let test = std::env::current_exe().unwrap();
        let status = std::process::Command::new("sh")
            .arg("-c")
            .arg("trap '' XFSZ; ulimit -S -f 64; exec \"$0\" --exact tests::a_failed_write_is_cut_off_and_succeeds_later")
            .arg(test)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        assert!(String::from_utf8_lossy(&status.stdout).contains("1 passed"));
        return;
    }
    let mut bench = Bench::new();
    bench.settings.rotate_every = Period(Duration::MAX);
    let mut sink = bench.started();
    sink.deliver(&bench.shares(10)).unwrap();
    // About 230 KB of text, above the limit of 32 or 64 KiB.
    let large = bench.shares(1_000);
    for _ in 0..2 {
        assert!(matches!(sink.deliver(&large), Err(SinkError::Transient { .. })));
        assert_eq!(bench.current(), (1..=10).collect::<Vec<u64>>());
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    rustix::process::setrlimit(
        rustix::process::Resource::Fsize,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    )
    .unwrap();
    sink.deliver(&large).unwrap();
    assert_eq!(bench.current(), (1..=1_010).collect::<Vec<u64>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Wherever a crash cuts the file, and whether or not a loss of power left zeros behind the cut, whole lines stay,
    /// nothing else does, and the next delivery follows them.
    #[test]
    fn a_torn_tail_is_cut_off(count in 1_usize..600, cut in any::<prop::sample::Index>(), zeros in prop_oneof![Just(0), 1_usize..200_000]) {
        let mut bench = Bench::new();
        let mut sink = bench.started();
        sink.deliver(&bench.shares(count)).unwrap();
        drop(sink);
        let whole = fs::read(bench.path()).unwrap();
        let torn = &whole[..cut.index(whole.len() + 1)];
        let mut file = fs::File::create(bench.path()).unwrap();
        file.write_all(torn).unwrap();
        file.write_all(&vec![0; zeros]).unwrap();
        drop(file);
        let left = torn.iter().filter(|byte| **byte == b'\n').count() as u64;

        let mut sink = bench.started();
        prop_assert_eq!(bench.current(), (1..=left).collect::<Vec<u64>>());
        sink.deliver(&bench.shares(1)).unwrap();
        prop_assert_eq!(bench.current().pop(), Some(count as u64 + 1));
    }
}

use proptest::prelude::*;
use stats_sv2::UnixMillis;
use stats_sv2::codec::Message;
use stats_sv2::event::Heartbeat;

use super::*;

const MAX: u64 = 1 << 20;

fn frames(count: u64, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..count {
        Heartbeat { timestamp: UnixMillis(seed + index), flags: 0 }.encode(&mut bytes);
    }
    bytes
}

fn open(path: &Path) -> (Spool, VecDeque<Segment>) {
    Spool::open(path, MAX, "pool").unwrap()
}

/// Everything from a place on.
fn read_all(spool: &Spool, mut place: Place) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(record) = spool.read(place).unwrap() {
        place = record.end;
        records.push(record);
    }
    records
}

fn contents(records: &[Record]) -> Vec<(u64, u64, Vec<u8>)> {
    records.iter().map(|record| (record.session_id, record.first, record.frames.clone())).collect()
}

#[test]
fn a_file_cut_at_any_byte_keeps_every_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, segments) = open(&path);
    assert!(segments.is_empty());
    let mut ends = vec![spool.file_len()];
    let mut written = Vec::new();
    for (session, first, count) in [(7, 1, 2), (7, 3, 1), (9, 1, 3)] {
        let bytes = frames(count, first);
        spool.append(session, first, count, &bytes).unwrap();
        written.push((session, first, bytes));
        ends.push(spool.file_len());
    }
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, ends[3]);
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut spool, segments) = open(&path);
        let kept = ends.iter().skip(1).filter(|end| **end <= length as u64).count();
        assert_eq!(contents(&read_all(&spool, 0)), written[..kept], "cut at {length}");
        let ranges: Vec<_> = segments.iter().map(|segment| (segment.session_id, segment.first, segment.last)).collect();
        let expected: &[_] = match kept {
            0 => &[],
            1 => &[(7, 1, 2)],
            2 => &[(7, 1, 3)],
            _ => &[(7, 1, 3), (9, 1, 3)],
        };
        assert_eq!(ranges, expected, "cut at {length}");
        // The torn tail is gone: what is appended now is found again.
        spool.append(11, 1, 1, &frames(1, 1)).unwrap();
        drop(spool);
        let (spool, _) = open(&path);
        assert_eq!(read_all(&spool, 0).len(), kept + 1, "cut at {length}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, _) = open(&path);
    let header = spool.file_len() as usize;
    spool.append(7, 1, 1, &frames(1, 1)).unwrap();
    let first = spool.file_len() as usize;
    spool.append(7, 2, 1, &frames(1, 2)).unwrap();
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let opened = Spool::open(&path, MAX, "pool");
        if at < header {
            assert!(opened.is_err(), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "a file that is not understood is left alone");
        } else {
            let (spool, _) = opened.unwrap();
            assert_eq!(read_all(&spool, 0).len(), usize::from(at >= first), "byte {at}");
        }
    }
}

#[test]
fn damage_that_appears_while_it_is_open_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, _) = open(&path);
    let place = spool.append(7, 1, 1, &frames(1, 1)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.read(place), Err(SpoolError::Damaged { .. })));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool-config.toml");
    std::fs::write(&path, "[stats]\n").unwrap();
    assert!(matches!(Spool::open(&path, MAX, "pool"), Err(SpoolError::NotASpool { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[stats]\n");
}

#[test]
fn an_empty_spool_takes_a_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    drop(open(&path));
    drop(Spool::open(&path, MAX, "another").unwrap());
    let (mut spool, _) = open(&path);
    spool.append(7, 1, 1, &frames(1, 1)).unwrap();
    drop(spool);
    assert!(matches!(
        Spool::open(&path, MAX, "another"),
        Err(SpoolError::OtherPublisher { found, .. }) if found == "pool"
    ));
}

#[test]
fn what_was_left_beside_by_a_killed_process_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    std::fs::write(with_suffix(&path, ".new"), b"half a copy").unwrap();
    drop(open(&path));
    assert!(!with_suffix(&path, ".new").exists());
}

#[test]
fn an_append_that_fails_leaves_the_spool_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, _) = open(&path);
    spool.append(7, 1, 1, &frames(1, 1)).unwrap();
    // Neither writing nor cutting works for a while, and half a record got through.
    let writable = std::mem::replace(&mut spool.file, File::open(&path).unwrap());
    assert!(matches!(spool.append(7, 2, 1, &frames(1, 2)), Err(SpoolError::Io { .. })));
    (&writable).seek(SeekFrom::End(0)).unwrap();
    (&writable).write_all(b"half a record").unwrap();
    assert!(spool.append(7, 2, 1, &frames(1, 2)).is_err());
    spool.file = writable;
    spool.append(7, 3, 1, &frames(1, 3)).unwrap();
    let firsts: Vec<u64> = read_all(&spool, 0).iter().map(|record| record.first).collect();
    assert_eq!(firsts, [1, 3]);
    drop(spool);
    let (_, segments) = open(&path);
    let ranges: Vec<_> = segments.iter().map(|segment| (segment.first, segment.last)).collect();
    assert_eq!(ranges, [(1, 1), (3, 3)], "a gap in the numbers begins a segment of its own");
}

#[derive(Debug, Clone)]
enum Action {
    Append { session: u64, count: u64 },
    Release(usize),
    Rename { from: u64, to: u64 },
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..4u64, 1..600u64).prop_map(|(session, count)| Action::Append { session, count }),
        3 => any::<prop::sample::Index>().prop_map(|index| Action::Release(index.index(1_000))),
        1 => (1..4u64, 1..9u64).prop_map(|(from, to)| Action::Rename { from, to }),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a list of records: nothing that is not released is lost or changed, places stay valid, and the file keeps
    /// its limit.
    #[test]
    fn the_spool_is_a_bounded_list(actions in prop::collection::vec(action(), 1..80)) {
        const LIMIT: u64 = 64 << 10;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut spool = Spool::open(&path, LIMIT, "pool").unwrap().0;
        // What must be there: (place, session, first, frames).
        let mut model: Vec<(Place, u64, u64, Vec<u8>)> = Vec::new();
        let mut next = 1;
        for action in actions {
            match action {
                Action::Append { session, count } => {
                    let bytes = frames(count, next);
                    if spool.has_room(bytes.len()) {
                        let place = spool.append(session, next, count, &bytes).unwrap();
                        model.push((place, session, next, bytes));
                    }
                    next += count;
                }
                Action::Release(index) if !model.is_empty() => {
                    let gone = index % (model.len() + 1);
                    let place = model.get(gone).map_or(spool.end(), |(place, ..)| *place);
                    spool.release(place).unwrap();
                    model.drain(..gone);
                }
                Action::Release(_) => {}
                Action::Rename { from, to } => {
                    spool.rename_session(from, to).unwrap();
                    for (_, session, ..) in &mut model {
                        if *session == from {
                            *session = to;
                        }
                    }
                }
                Action::Reopen => {
                    drop(spool);
                    let (reopened, segments) = Spool::open(&path, LIMIT, "pool").unwrap();
                    spool = reopened;
                    // What was released may come back, in front: a front is reclaimed when it is worth the copy.
                    let found = read_all(&spool, 0);
                    let extra = found.len() - model.len();
                    prop_assert!(segments.iter().map(|segment| segment.last - segment.first + 1).sum::<u64>()
                        == found.iter().map(|record| record.count).sum::<u64>());
                    let mut place = 0;
                    for (index, record) in found.iter().enumerate() {
                        if index >= extra {
                            model[index - extra].0 = place;
                        }
                        place = record.end;
                    }
                    if extra > 0 {
                        spool.release(model.first().map_or(spool.end(), |(place, ..)| *place)).unwrap();
                    }
                }
            }
            prop_assert!(spool.file_len() <= LIMIT);
            prop_assert_eq!(std::fs::metadata(&path).unwrap().len(), spool.file_len());
            let start = model.first().map_or(spool.end(), |(place, ..)| *place);
            let expected: Vec<_> = model.iter().map(|(_, session, first, bytes)| (*session, *first, bytes.clone())).collect();
            prop_assert_eq!(contents(&read_all(&spool, start)), expected);
        }
    }
}

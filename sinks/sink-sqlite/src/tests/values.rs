//! Rules 29 to 31: which targets give work, and counters as a source of shares.

use mining_stats::{Sums, Target, Work};
use stats_sv2::event::{BlockFound, ShareRejected, SharesCounted};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, Text, U256, UnixMillis};

use super::{Fixture, HOUR, HOUR_START, MINUTE, SECOND, close, easy_work, hash, heartbeat, opened, share, share_at};
use crate::query::{History, Part, SeriesQuery, Subject};

fn counted(accepted: u32, rejected: u32, work: U256, since: u64, at: u64) -> Event<'static> {
    Event::SharesCounted(SharesCounted {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(at),
        since: UnixMillis(since),
        accepted,
        rejected,
        work,
    })
}

fn work(shares: u64) -> U256 {
    let each = Target::DIFFICULTY_ONE.work().hashes();
    Work::from_hashes(each * each.wrapping_sub(each).wrapping_add(shares.try_into().unwrap())).to_wire()
}

#[test]
fn invalid_targets_count_and_give_no_work() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    let easier_than_the_share = CompactTarget(0x1b00_ffff);
    fixture.events(&[
        opened(1, "alice", t),
        share(1, t),
        share_at(1, t, CompactTarget(0)),
        share_at(1, t, CompactTarget(0x1d80_ffff)),
        share_at(1, t, CompactTarget(0x2301_0000)),
        share_at(1, t, easier_than_the_share),
        share_at(1, t, Target::MAX.to_compact()),
    ]);
    let (accepted, sum, _) = fixture.bucket("total", 1, "alice", 0);
    assert_eq!(accepted, 6);
    assert!((sum - easy_work() - 1.0).abs() < 1.0, "{sum}");
    assert_eq!(fixture.get::<u64>("SELECT invalid_target FROM rollup_total WHERE series = 1"), 4);
    assert_eq!(fixture.get::<u64>("SELECT invalid_target FROM channels"), 4);
    assert_eq!(fixture.get::<u64>("SELECT accepted FROM rollup_10s WHERE series = 3"), 6);
}

#[test]
fn rejects_are_folded_into_the_known_reasons() {
    let mut fixture = Fixture::new();
    let reject = |code: &'static str| {
        Event::ShareRejected(ShareRejected {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis(HOUR_START),
            channel_id: ChannelId(1),
            sequence_number: 1,
            error_code: Text::new(code).unwrap(),
        })
    };
    fixture.events(&[opened(1, "alice", HOUR_START), reject("stale-share"), reject("stale-share"), reject("<script>")]);
    let overview = History::open(&fixture.path()).unwrap().overview(HOUR_START + MINUTE).unwrap();
    let totals = &overview.sources[0].channels.as_ref().unwrap().totals;
    assert_eq!(totals.rejected, 3);
    let reasons: Vec<_> = totals.rejected_by_reason.iter().map(|(reason, count)| (*reason, *count)).collect();
    assert_eq!(reasons, [("stale-share", 2), ("unknown", 1)]);
}

#[test]
fn counters_give_exact_counts_and_squares_as_a_lower_bound() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "bridge", t), heartbeat(t)]);
    fixture.events(&[counted(10, 3, work(10), t, t + 5 * SECOND)]);
    let (accepted, sum, _) = fixture.bucket("1m", 1, "bridge", t);
    assert_eq!(accepted, 10);
    assert!((sum / (10.0 * easy_work()) - 1.0).abs() < 1e-9);
    assert_eq!(fixture.get::<u64>("SELECT squares_are_lower_bound FROM rollup_1h WHERE series = 1"), 1);
    assert_eq!(fixture.get::<u64>("SELECT rejected FROM rollup_total WHERE series = 1"), 3);
    let squares: f64 = fixture.get("SELECT work_squared FROM rollup_total WHERE series = 1");
    let mut expected = Sums::default();
    expected.add_counted(10, 0, 10.0 * easy_work(), true);
    assert!((squares / expected.work_squared - 1.0).abs() < 1e-9);
    let history = History::open(&fixture.path()).unwrap();
    let window = history.workers("pool-a", MINUTE, t + 5 * SECOND, None, 1).unwrap().remove(0).window;
    assert!(window.text.contains("at least"), "{}", window.text);

    // Work that no such number of shares can have.
    fixture.events(&[counted(1, 0, U256([0xff; 32]), t, t + 6 * SECOND)]);
    assert_eq!(fixture.get::<u64>("SELECT invalid_target FROM rollup_total WHERE series = 1"), 1);
}

#[test]
fn counters_over_a_long_span_make_no_spike() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "bridge", t), heartbeat(t)]);
    fixture.events(&[counted(601, 0, work(601), t, t + 10 * MINUTE)]);
    let conn = super::read(&fixture.path());
    let mut minutes = conn.prepare("SELECT accepted FROM rollup_1m WHERE series = 1 ORDER BY bucket").unwrap();
    let minutes: Vec<u64> = minutes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(minutes.len(), 10);
    assert!(minutes.iter().all(|count| (60..=61).contains(count)), "{minutes:?}");
    assert_eq!(minutes.iter().sum::<u64>(), 601);
    let (_, sum, _) = fixture.bucket("total", 1, "bridge", 0);
    assert!((sum / (601.0 * easy_work()) - 1.0).abs() < 1e-9);

    // Half a day of work at once: a total, not a rate of the minute in which it was told.
    fixture.events(&[counted(43_200, 0, work(43_200), t + 10 * MINUTE, t + 12 * HOUR)]);
    let query = SeriesQuery {
        publisher: "pool-a".to_owned(),
        subject: Subject::Channels,
        from_ms: t,
        to_ms: t + 13 * HOUR,
        points: 100,
    };
    let points = History::open(&fixture.path()).unwrap().series(&query).unwrap().points;
    assert!(points.iter().all(|point| point.value.is_none_or(|value| value < 2.0 * easy_work())), "{points:?}");
    assert_eq!(fixture.bucket("total", 1, "bridge", 0).0, 601 + 43_200);
}

#[test]
fn a_block_is_found_once() {
    let mut fixture = Fixture::new();
    let block = Event::BlockFound(BlockFound {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: UnixMillis(HOUR_START),
        height: 900_000,
        block_hash: hash(7),
    });
    fixture.events(&[opened(1, "alice", HOUR_START), block.clone(), block]);
    assert_eq!(fixture.get::<u64>("SELECT blocks FROM rollup_total WHERE series = 1"), 1);
    assert!(close(fixture.get("SELECT count(*) * 1.0 FROM blocks"), 1.0));
    let blocks = History::open(&fixture.path()).unwrap().blocks("pool-a", &Part::first(5)).unwrap();
    assert_eq!((blocks.len(), blocks[0].identity.as_deref()), (1, Some("alice")));
    assert_eq!(blocks[0].block_hash.as_deref(), Some(hash(7).to_string().as_str()));
}

#[test]
fn blocks_of_unknown_hash_are_different_blocks() {
    let mut fixture = Fixture::new();
    // A program that only counts its blocks has no hash to tell.
    let block = |at| {
        Event::BlockFound(BlockFound {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(1),
            timestamp: UnixMillis(at),
            height: 0,
            block_hash: hash(0),
        })
    };
    let records = [
        fixture.journal.append(&mut fixture.session, &[opened(1, "bridge", HOUR_START), block(HOUR_START)]),
        fixture.journal.append(&mut fixture.session, &[block(HOUR_START), block(HOUR_START + MINUTE)]),
    ];
    fixture.deliver(&records);
    fixture.deliver(&records);
    assert_eq!(fixture.get::<u64>("SELECT blocks FROM rollup_total WHERE series = 1"), 3);
    let blocks = History::open(&fixture.path()).unwrap().blocks("pool-a", &Part::first(5)).unwrap();
    assert_eq!((blocks.len(), blocks[0].found_ms, &blocks[0].block_hash), (3, HOUR_START + MINUTE, &None));
}

#[test]
fn counters_of_a_wild_span_do_not_strike_out_years() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "bridge", t), heartbeat(t), share(1, t + 1)]);
    let mut earlier = sink_contract::SyntheticSession::new("pool-a", stats_sv2::Role::Pool, 9);
    let record = fixture.journal.append(&mut earlier, &[share(1, t - 5 * HOUR)]);
    fixture.deliver(&[record]);
    fixture.events(&[counted(1, 0, work(1), 0, t + MINUTE)]);
    assert_eq!(fixture.bucket("1h", 0, "", t - 5 * HOUR).2, 0, "the work of another day keeps its rate");
    assert_eq!(fixture.bucket("1h", 0, "", t).2, 2);
}

//! Which number each event moves, and which it must not.

use sink_contract::{Draw, SyntheticSession};
use stats_sv2::event::*;
use stats_sv2::session::OPEN_FINISHING;
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, EventKind, Role, Text, U256, UnixMillis};

use super::{Counted, HASH, NOW, TARGET, WORK, channel_opened, miner_connected, miner_share, parse, pool, share};

fn later(millis: u64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

fn heartbeat(at: UnixMillis) -> Event<'static> {
    Event::Heartbeat(Heartbeat { timestamp: at, flags: 0 })
}

fn session_started() -> Event<'static> {
    Event::SessionStarted(SessionStarted {
        session_id: 7,
        role: Role::Pool,
        timestamp: NOW,
        first_sequence: 1,
        flags: 0,
        vendor: Text::cut("vendor/1"),
    })
}

fn session_ended(outcome: u8) -> Event<'static> {
    Event::SessionEnded(SessionEnded { session_id: 7, timestamp: NOW, outcome, reason: Text::cut("bye") })
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a / b - 1.0).abs() < 1e-9)
}

#[test]
fn shares_and_their_work_at_both_levels() {
    let mut counted = Counted::new(10);
    let reject = |code: &'static str| {
        Event::ShareRejected(ShareRejected {
            downstream_id: DownstreamId(1),
            timestamp: NOW,
            channel_id: ChannelId(1),
            sequence_number: 1,
            error_code: Text::cut(code),
        })
    };
    let impossible = Event::ShareSubmitted(ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp: NOW,
        channel_id: ChannelId(1),
        sequence_number: 1,
        target: CompactTarget(0),
        share: HASH,
    });
    counted.publish(
        &mut pool(),
        &[
            channel_opened(1, "alice"),
            share(1, NOW),
            share(1, NOW),
            impossible,
            reject("stale-share"),
            reject("<b>never heard of</b>"),
            miner_connected(5, "bob"),
            miner_share(5, NOW),
        ],
    );
    let samples = counted.samples();
    let of = |series: &str| samples.get(series).copied();
    for (series, expected) in [
        (r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#, 3.0),
        (r#"mining_shares_invalid_target_total{publisher="pool-a",level="channel"}"#, 1.0),
        (r#"mining_shares_rejected_total{publisher="pool-a",level="channel",reason="stale-share"}"#, 1.0),
        (r#"mining_shares_rejected_total{publisher="pool-a",level="channel",reason="unknown"}"#, 1.0),
        (r#"mining_shares_rejected_total{publisher="pool-a",level="channel",reason="duplicate-share"}"#, 0.0),
        (r#"mining_worker_shares_accepted_total{publisher="pool-a",level="channel",worker="alice"}"#, 3.0),
        (r#"mining_worker_shares_rejected_total{publisher="pool-a",level="channel",worker="alice"}"#, 2.0),
        (r#"mining_worker_shares_accepted_total{publisher="pool-a",level="channel",worker="(other)"}"#, 0.0),
        (r#"mining_shares_accepted_total{publisher="pool-a",level="miner"}"#, 1.0),
        (r#"mining_worker_shares_accepted_total{publisher="pool-a",level="miner",worker="bob"}"#, 1.0),
        (r#"mining_channels_open{publisher="pool-a"}"#, 1.0),
        (r#"mining_downstreams_connected{publisher="pool-a"}"#, 1.0),
        (r#"mining_miners_connected{publisher="pool-a"}"#, 1.0),
        (r#"mining_events_total{publisher="pool-a",kind="share_submitted"}"#, 3.0),
    ] {
        assert_eq!(of(series), Some(expected), "{series}");
    }
    assert!(close(of(r#"mining_work_hashes_total{publisher="pool-a",level="channel"}"#), 2.0 * WORK));
    let best = of(r#"mining_best_share_difficulty{publisher="pool-a",level="channel"}"#).unwrap();
    assert!((best - 2.0).abs() < 1e-3, "the share's own difficulty, not the target's: {best}");
}

#[test]
fn a_batch_that_comes_again_counts_once() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    let first = counted.publish(&mut session, &[share(1, NOW), share(1, NOW)]);
    let second = counted.journal.append(&mut session, &[share(1, NOW)]);
    counted.deliver(&[first, second.clone()]);
    counted.deliver(&[second]);
    let accepted = r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#;
    assert_eq!(counted.sample(accepted), Some(3.0));
}

#[test]
fn counters_of_other_programs_add_up_and_make_no_spike() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    let begin = later(0);
    counted.publish(&mut session, &[heartbeat(begin)]);
    counted.pass(600_000);
    let mut work = [0; 32];
    work[..8].copy_from_slice(&6_000_000_000_u64.to_le_bytes());
    let counts = SharesCounted {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        timestamp: counted.now,
        since: begin,
        accepted: 600,
        rejected: 2,
        work: U256(work),
    };
    counted.publish(&mut session, &[Event::SharesCounted(counts)]);
    let accepted = r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#;
    assert_eq!(counted.sample(accepted), Some(600.0));
    let rate = |window: &str| {
        let labels = format!(r#"{{publisher="pool-a",level="channel",window="{window}"}}"#);
        counted.sample(&format!("mining_hashrate_hashes_per_second{labels}")).unwrap()
    };
    for window in ["5m", "15m", "1h"] {
        let rate = rate(window);
        assert!((rate / 1e7 - 1.0).abs() < 0.05, "{window}: {rate}");
    }
}

#[test]
fn an_announcement_tells_what_is_open_and_counts_nothing() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    counted.publish(&mut session, &[channel_opened(1, "alice"), channel_opened(2, "bob"), share(1, NOW)]);
    counted.publish(
        &mut session,
        &[
            Event::AnnounceBegin(AnnounceBegin { timestamp: NOW }),
            channel_opened(2, "bob"),
            channel_opened(3, "carol"),
            share(2, NOW),
            Event::AnnounceEnd(AnnounceEnd { timestamp: NOW }),
        ],
    );
    let accepted = r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#;
    assert_eq!(counted.sample(accepted), Some(1.0));
    let open = r#"mining_channels_open{publisher="pool-a"}"#;
    assert_eq!(counted.sample(open), Some(2.0), "alice's channel was not named");
    // The name of a closed channel is remembered for a share that comes late.
    counted.publish(&mut session, &[share(1, NOW)]);
    let alice = r#"mining_worker_shares_accepted_total{publisher="pool-a",level="channel",worker="alice"}"#;
    assert_eq!(counted.sample(alice), Some(2.0));
}

#[test]
fn a_new_process_learns_what_is_open_from_the_sidecars_announcement() {
    let mut counted = Counted::new(10);
    let session = pool();
    let announced = counted.journal.announcement(
        &session,
        &[
            session_started(),
            Event::AnnounceBegin(AnnounceBegin { timestamp: NOW }),
            channel_opened(1, "alice"),
            Event::AnnounceEnd(AnnounceEnd { timestamp: NOW }),
        ],
    );
    counted.deliver(&[announced]);
    assert_eq!(counted.sample(r#"mining_channels_open{publisher="pool-a"}"#), Some(1.0));
    assert_eq!(counted.sample(r#"mining_source_sessions_started_total{publisher="pool-a"}"#), Some(0.0));
    assert!(!counted.samples().keys().any(|series| series.starts_with("mining_events_total")));
    // An announcement without the session says that it has ended.
    let other = SyntheticSession::new("pool-b", Role::Pool, 9);
    let announced = counted.journal.announcement(&other, &[session_started()]);
    counted.deliver(&[announced]);
    assert_eq!(counted.sample(r#"mining_channels_open{publisher="pool-a"}"#), Some(0.0));
    assert_eq!(counted.sample(r#"mining_source_up{publisher="pool-a"}"#), Some(0.0));
    assert_eq!(counted.sample(r#"mining_source_up{publisher="pool-b"}"#), Some(1.0));
}

#[test]
fn the_end_of_a_session_closes_and_its_rest_opens_nothing() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    counted.derive(&mut session, &[session_started()]);
    counted.publish(&mut session, &[channel_opened(1, "alice"), heartbeat(NOW)]);
    let (up, open) = (r#"mining_source_up{publisher="pool-a"}"#, r#"mining_channels_open{publisher="pool-a"}"#);
    assert_eq!((counted.sample(up), counted.sample(open)), (Some(1.0), Some(1.0)));
    counted.derive(&mut session, &[session_ended(ENDED_REPLACED)]);
    assert_eq!((counted.sample(up), counted.sample(open)), (Some(0.0), Some(0.0)));
    let replaced = r#"mining_source_sessions_ended_total{publisher="pool-a",outcome="replaced"}"#;
    assert_eq!(counted.sample(replaced), Some(1.0));
    counted.derive(
        &mut session,
        &[Event::SessionStarted(SessionStarted {
            session_id: 7,
            role: Role::Pool,
            timestamp: NOW,
            first_sequence: 1,
            flags: OPEN_FINISHING,
            vendor: Text::cut("vendor/1"),
        })],
    );
    counted.publish(&mut session, &[channel_opened(2, "bob"), share(1, NOW), share(2, NOW)]);
    assert_eq!((counted.sample(up), counted.sample(open)), (Some(0.0), Some(0.0)));
    for worker in ["alice", "bob"] {
        let series =
            format!(r#"mining_worker_shares_accepted_total{{publisher="pool-a",level="channel",worker="{worker}"}}"#);
        assert_eq!(counted.sample(&series), Some(1.0), "{worker}");
    }
}

#[test]
fn a_silent_source_is_down_and_its_hashrate_is_unknown_not_zero() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    counted.publish(&mut session, &[heartbeat(NOW), share(1, NOW)]);
    counted.pass(60_000);
    counted.publish(&mut session, &[heartbeat(later(60_000)), share(1, later(60_000))]);
    let up = r#"mining_source_up{publisher="pool-a"}"#;
    let rate = r#"mining_hashrate_hashes_per_second{publisher="pool-a",level="channel",window="5m"}"#;
    let upper = r#"mining_hashrate_hashes_per_second_upper{publisher="pool-a",level="channel",window="5m"}"#;
    let lower = r#"mining_hashrate_hashes_per_second_lower{publisher="pool-a",level="channel",window="5m"}"#;
    assert_eq!(counted.sample(up), Some(1.0));
    let measured = counted.sample(rate).unwrap();
    assert!((measured / (2.0 * WORK / 60.0) - 1.0).abs() < 1e-6, "{measured}");
    assert!(counted.sample(lower).unwrap() < measured && measured < counted.sample(upper).unwrap());
    counted.pass(31_000);
    assert_eq!(counted.sample(up), Some(0.0));
    assert_eq!(counted.sample(rate), None, "stale");
    // The source is back, told of the time in between, and there was no share: that is an observed zero with a bound.
    counted.pass(3_600_000);
    counted.publish(&mut session, &[heartbeat(counted.now)]);
    assert_eq!(counted.sample(rate), Some(0.0));
    assert!(counted.sample(upper).unwrap() > 0.0);
}

#[test]
fn silence_of_many_is_bounded_by_the_hardest_target() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    let harder = |share: Event<'static>| match share {
        Event::ShareSubmitted(share) => {
            // One byte less: 256 times harder.
            let [target, share_hash] = [share.target, share.share].map(|number| CompactTarget(number.0 - 0x0100_0000));
            Event::ShareSubmitted(ShareSubmitted { target, share: share_hash, ..share })
        }
        other => other,
    };
    // The last share before the silence is an easy one.
    counted.publish(&mut session, &[heartbeat(NOW), harder(share(1, NOW)), share(2, NOW)]);
    counted.pass(600_000);
    counted.publish(&mut session, &[heartbeat(counted.now)]);
    let upper = r#"mining_hashrate_hashes_per_second_upper{publisher="pool-a",level="channel",window="5m"}"#;
    let bound = counted.sample(upper).unwrap();
    let expected = 3.0 * 256.0 * WORK / 300.0;
    assert!((bound / expected - 1.0).abs() < 0.05, "{bound} {expected}");
}

#[test]
fn a_gap_is_not_time_without_shares() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    for second in 0..60 {
        counted.publish(&mut session, &[share(1, later(second * 1_000))]);
        counted.pass(1_000);
    }
    // Two minutes are lost on the way, and the journal says so.
    counted.pass(120_000);
    let lost: Vec<_> = (0..50).map(|_| heartbeat(counted.now)).collect();
    let missing = counted.journal.append(&mut session, &lost);
    counted.derive(
        &mut session,
        &[Event::Gap(Gap {
            session_id: 7,
            first_sequence: missing.first_sequence,
            last_sequence: missing.last_sequence(),
            since: later(59_000),
            timestamp: counted.now,
            kind: GAP_MISSING,
        })],
    );
    for second in 180..240 {
        counted.publish(&mut session, &[share(1, later(second * 1_000))]);
        counted.pass(1_000);
    }
    let rate = counted
        .sample(r#"mining_hashrate_hashes_per_second{publisher="pool-a",level="channel",window="15m"}"#)
        .unwrap();
    assert!((rate / WORK - 1.0).abs() < 0.05, "one share a second in the time that was seen: {}", rate / WORK);
    let lost =
        |reason| counted.sample(&format!(r#"mining_source_lost_events_total{{publisher="pool-a",reason="{reason}"}}"#));
    assert_eq!((lost("missing"), lost("not-read")), (Some(50.0), Some(0.0)), "counted once");
    assert_eq!(counted.sample(r#"mining_source_gaps_total{publisher="pool-a"}"#), Some(1.0));
    // Numbers that nobody explains went past this sink; and what the publisher dropped is told by it.
    drop(counted.journal.append(&mut session, &lost_heartbeats(5)));
    let dropped = EventsDropped {
        count: u64::MAX >> 1,
        first_timestamp: UnixMillis(0),
        last_timestamp: counted.now,
        reason: Text::cut("queue-full"),
    };
    counted.publish(&mut session, &[Event::EventsDropped(dropped)]);
    let lost =
        |reason| counted.sample(&format!(r#"mining_source_lost_events_total{{publisher="pool-a",reason="{reason}"}}"#));
    assert_eq!(lost("not-read"), Some(5.0));
    assert_eq!(lost("dropped"), Some((1_u64 << 40) as f64), "a wild number is cut, and nothing overflows");
}

fn lost_heartbeats(count: usize) -> Vec<Event<'static>> {
    (0..count).map(|_| heartbeat(NOW)).collect()
}

#[test]
fn blocks_and_luck() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    let tip = Event::ChainTipChanged(ChainTipChanged { timestamp: NOW, height: 800_000, target: TARGET });
    let block = |hash: u8| {
        Event::BlockFound(BlockFound {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(1),
            timestamp: later(5_000),
            height: 800_001,
            block_hash: U256([hash; 32]),
        })
    };
    counted.publish(&mut session, &[tip, share(1, NOW), share(1, NOW), block(1), block(1), share(1, NOW), block(2)]);
    counted.publish(&mut session, &[share(1, NOW)]);
    for (series, expected) in [
        (r#"mining_blocks_found_total{publisher="pool-a"}"#, 2.0),
        (r#"mining_chain_tip_height{publisher="pool-a"}"#, 800_000.0),
        (r#"mining_expected_blocks_total{publisher="pool-a"}"#, 4.0),
        (r#"mining_network_difficulty{publisher="pool-a"}"#, 1.0),
        (r#"mining_round_work_hashes{publisher="pool-a"}"#, WORK),
        (r#"mining_last_block_found_timestamp_seconds{publisher="pool-a"}"#, later(5_000).0 as f64 / 1_000.0),
    ] {
        assert!(close(counted.sample(series), expected), "{series}: {:?}", counted.sample(series));
    }
}

#[test]
fn quotes_from_their_creation_to_their_end() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    let created = |hash: u8| {
        Event::QuoteCreated(QuoteCreated {
            downstream_id: DownstreamId(1),
            amount: Amount(8),
            timestamp: NOW,
            channel_id: ChannelId(1),
            share_hash: U256([hash; 32]),
            sequence_number: 1,
        })
    };
    let answered = |hash: u8, at: u64| {
        let quote_id = Text::cut(format!("quote-{hash}"));
        Event::QuoteAnswered(QuoteAnswered { share_hash: U256([hash; 32]), quote_id, timestamp: later(at) })
    };
    let failed = |hash: u8, code: &'static str| {
        Event::QuoteFailed(QuoteFailed {
            share_hash: Some(U256([hash; 32])),
            error_code: Text::cut(code),
            error_message: Text::cut("\"\n"),
            timestamp: NOW,
        })
    };
    counted.publish(
        &mut session,
        &[
            created(1),
            created(1),
            created(2),
            created(3),
            created(4),
            created(5),
            answered(1, 30),
            answered(1, 90_000),
            failed(2, "timeout"),
            failed(3, "a code that some mint made up"),
            answered(4, 90_000),
            Event::QuotePaid(QuotePaid { quote_id: Text::cut("quote-1"), amount: Amount(8), timestamp: NOW }),
        ],
    );
    let pending = r#"mining_quotes_pending{publisher="pool-a"}"#;
    assert_eq!(counted.sample(pending), Some(1.0));
    counted.derive(&mut session, &[session_ended(ENDED_CLEAN)]);
    for (series, expected) in [
        ("mining_quotes_created_total{publisher=\"pool-a\"}", 5.0),
        ("mining_quotes_answered_total{publisher=\"pool-a\"}", 2.0),
        ("mining_quotes_failed_total{publisher=\"pool-a\",code=\"timeout\"}", 1.0),
        ("mining_quotes_failed_total{publisher=\"pool-a\",code=\"other\"}", 1.0),
        ("mining_quotes_paid_total{publisher=\"pool-a\"}", 1.0),
        ("mining_quotes_abandoned_total{publisher=\"pool-a\"}", 1.0),
        ("mining_ehash_created_total{publisher=\"pool-a\"}", 40.0),
        ("mining_ehash_paid_total{publisher=\"pool-a\"}", 8.0),
        ("mining_quotes_pending{publisher=\"pool-a\"}", 0.0),
        ("mining_quote_latency_seconds_bucket{le=\"0.025\",publisher=\"pool-a\"}", 0.0),
        ("mining_quote_latency_seconds_bucket{le=\"0.05\",publisher=\"pool-a\"}", 1.0),
        ("mining_quote_latency_seconds_bucket{le=\"60.0\",publisher=\"pool-a\"}", 1.0),
        ("mining_quote_latency_seconds_bucket{le=\"+Inf\",publisher=\"pool-a\"}", 2.0),
        ("mining_quote_latency_seconds_count{publisher=\"pool-a\"}", 2.0),
        ("mining_quote_latency_seconds_sum{publisher=\"pool-a\"}", 90.03),
    ] {
        assert!(
            counted.sample(series).is_some_and(|value| (value - expected).abs() < 1e-9),
            "{series}: {:?} in\n{}",
            counted.sample(series),
            counted.text()
        );
    }
    // A quote is no share.
    let accepted = r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#;
    assert_eq!(counted.sample(accepted), Some(0.0), "and the counter is there before the first share");
}

#[test]
fn hostile_names_make_one_line_each_and_few_series() {
    let mut counted = Counted::new(5);
    let mut draw = Draw::hostile(3, NOW);
    for id in 0..20 {
        let name = format!("\u{202e}\"\n\\{id}'; --");
        let mut session = SyntheticSession::new(&name, Role::Proxy, id);
        for _ in 0..5 {
            counted.publish(&mut session, &draw.every_kind());
            let shares = (0..20).map(|_| draw.event(EventKind::MinerShareRejected)).collect::<Vec<_>>();
            counted.publish(&mut session, &shares);
        }
    }
    // The parser itself checks that no line is broken and no series doubled.
    let samples = counted.samples();
    let publishers = |series: &&String| series.starts_with("mining_source_up{");
    assert_eq!(samples.keys().filter(publishers).count(), 4, "three by name, the others together");
    let workers = samples.keys().filter(|series| series.starts_with("mining_worker_shares_accepted_total{"));
    let (other, own): (Vec<_>, Vec<_>) = workers.partition(|series| series.contains("worker=\"(other)\""));
    assert!(own.len() <= 5 && other.len() <= 8, "{own:?} {other:?}");
    assert!(samples.keys().filter(|series| series.contains("quotes_failed")).all(|series| series.len() < 400));
    assert!(!counted.text().contains(['\u{202e}', '\u{1b}', '\r', '\0']));
    // A miner that calls itself by our word for the rest does not make that series twice.
    let mut session = SyntheticSession::new("p", Role::Pool, 99);
    counted.publish(&mut session, &[channel_opened(1, "(other)"), share(1, NOW)]);
    parse(&counted.text());
}

#[test]
fn both_formats_hold_the_same_samples() {
    let mut counted = Counted::new(10);
    let mut session = pool();
    counted.publish(&mut session, &[channel_opened(1, "alice"), share(1, NOW)]);
    let lines =
        |text: &str| -> Vec<String> { text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect() };
    let (classic, open_metrics) = (counted.text(), counted.open_metrics());
    assert_eq!(lines(&classic), lines(&open_metrics));
    assert!(open_metrics.ends_with("# EOF\n") && open_metrics.contains("# TYPE mining_work_hashes counter\n"));
    assert!(classic.contains("# TYPE mining_work_hashes_total counter\n"));
}

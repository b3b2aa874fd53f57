//! Long lists, part by part: every row once, in the order of the whole.

use stats_sv2::event::{
    BlockFound, ChannelClosed, DownstreamConnected, EventsDropped, MinerDisconnected, QuoteCreated, ShareRejected,
};
use stats_sv2::{Amount, ChannelId, DownstreamId, Event, MinerId, Text, U256, UnixMillis};

use super::{Fixture, HOUR, HOUR_START, SECOND, heartbeat, miner, opened, share};
use crate::query::{EhashOf, History, MAX_ROWS, Part, QueryError, Subject};

/// After all of it.
const NOW: u64 = HOUR_START + 90 * SECOND;
/// Rows of each list.
const ROWS: u32 = 23;

fn connected(id: u32, at: u64) -> Event<'static> {
    let none = || Text::cut("");
    Event::DownstreamConnected(DownstreamConnected {
        downstream_id: DownstreamId(id),
        flags: 0,
        timestamp: UnixMillis(at),
        address: none(),
        vendor: none(),
        hardware_version: none(),
        firmware: none(),
        device_id: none(),
    })
}

fn rejected(downstream: u32, code: &str, at: u64) -> Event<'_> {
    Event::ShareRejected(ShareRejected {
        downstream_id: DownstreamId(downstream),
        timestamp: UnixMillis(at),
        channel_id: ChannelId(1),
        sequence_number: 1,
        error_code: Text::new(code).unwrap(),
    })
}

/// Several of each moment, and of each amount.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    for id in 0..ROWS {
        let at = HOUR_START + u64::from(id / 4) * SECOND;
        let name = format!("rig-{id}");
        fixture.events(&[connected(id, at), opened(id, &name, at), miner(id, &name, at)]);
        fixture.events(&[
            Event::BlockFound(BlockFound {
                downstream_id: DownstreamId(id),
                channel_id: ChannelId(1),
                timestamp: UnixMillis(at),
                height: id,
                // The publisher knows no hash: all are different blocks.
                block_hash: U256([0; 32]),
            }),
            Event::QuoteCreated(QuoteCreated {
                downstream_id: DownstreamId(id),
                amount: Amount(u64::MAX - u64::from(id % 3)),
                timestamp: UnixMillis(at),
                channel_id: ChannelId(1),
                share_hash: U256([id as u8; 32]),
                sequence_number: id,
            }),
        ]);
    }
    // Whoever comes back later gave as much as others, by two channels.
    fixture.events(&[
        Event::ChannelClosed(ChannelClosed {
            downstream_id: DownstreamId(3),
            channel_id: ChannelId(1),
            timestamp: UnixMillis(HOUR_START + 60 * SECOND),
            reason: Text::cut("bye"),
        }),
        opened(3, "rig-3", HOUR_START + 61 * SECOND),
    ]);
    fixture
}

/// Reads a list in parts of every small size, and in parts that begin by number; each must make up the whole.
fn check<T, P: Copy>(
    name: &str,
    rows: u32,
    read: impl Fn(&Part<P>) -> Result<Vec<T>, QueryError>,
    key: impl Fn(&T) -> String,
    place: impl Fn(&T) -> P,
) {
    let keys = |part: &Part<P>| -> Vec<String> { read(part).unwrap().iter().map(&key).collect() };
    let whole = keys(&Part::first(u32::MAX));
    assert_eq!(whole.len(), rows as usize, "{name}: {whole:?}");
    let mut once = whole.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), whole.len(), "{name}: {whole:?}");
    for limit in 1..=5 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let part = read(&Part { after, skip: 0, limit }).unwrap();
            let Some(last) = part.last() else { break };
            after = Some(place(last));
            seen.extend(part.iter().map(&key));
        }
        assert_eq!(seen, whole, "{name} in parts of {limit}");
        let by_number =
            (0..rows.div_ceil(limit)).map(|part| Part { after: None, skip: u64::from(part * limit), limit });
        assert_eq!(by_number.flat_map(|part| keys(&part)).collect::<Vec<_>>(), whole, "{name} by number");
    }
}

#[test]
fn every_row_is_in_one_part() {
    let fixture = fixture();
    let history = History::open(&fixture.path()).unwrap();
    check(
        "connections",
        2 * ROWS,
        |part| history.connections("pool-a", Some(NOW), part),
        |row| format!("{} {} {:?} {}", row.opened_ms, row.connection_id, row.channel_id, row.name),
        |row| row.place,
    );
    check(
        "downstreams",
        ROWS,
        |part| history.downstreams("pool-a", Some(NOW), part),
        |row| format!("{} {:?}", row.downstream_id, row.channels),
        |row| row.place,
    );
    check("blocks", ROWS, |part| history.blocks("pool-a", part), |row| row.height.to_string(), |row| row.place);
    assert_eq!(history.blocks_total("pool-a").unwrap(), u64::from(ROWS));
    for of in [EhashOf::Identity, EhashOf::Downstream, EhashOf::Channel] {
        check(
            &format!("{of:?}"),
            ROWS,
            |part| history.ehash("pool-a", of, part),
            |row| format!("{:?} {:?} {:?} {}", row.identity, row.downstream_id, row.channel_id, row.ehash),
            |row| row.place,
        );
    }
}

#[test]
fn the_past_is_in_parts_as_well() {
    let mut fixture = Fixture::new();
    for at in (0..9).map(|number| HOUR_START + number / 2 * SECOND) {
        fixture.events(&[
            opened(1, "alice", at),
            miner(1, "alice", at),
            Event::ChannelClosed(ChannelClosed {
                downstream_id: DownstreamId(1),
                channel_id: ChannelId(1),
                timestamp: UnixMillis(at),
                reason: Text::cut("bye"),
            }),
            Event::MinerDisconnected(MinerDisconnected {
                miner_id: MinerId(1),
                timestamp: UnixMillis(at),
                reason: Text::cut("bye"),
            }),
        ]);
    }
    for at in (1..=9).map(|number| HOUR_START + number * HOUR) {
        fixture.events(&[
            Event::EventsDropped(EventsDropped {
                count: 1,
                first_timestamp: UnixMillis(at),
                last_timestamp: UnixMillis(at),
                reason: Text::cut("full"),
            }),
            heartbeat(at + SECOND),
        ]);
    }
    let history = History::open(&fixture.path()).unwrap();
    for subject in [Subject::Identity("alice".to_owned()), Subject::MinerName("alice".to_owned())] {
        check(
            "connections of a worker",
            9,
            |part| history.worker_connections("pool-a", &subject, part),
            |row| format!("{} {}", row.opened_ms, row.place.number),
            |row| row.place,
        );
        let all = history.worker_connections("pool-a", &subject, &Part::first(100)).unwrap();
        assert!(all.is_sorted_by(|a, b| a.opened_ms >= b.opened_ms));
    }
    check(
        "losses",
        9,
        |part| history.losses("pool-a", part),
        |(number, loss)| format!("{} {number}", loss.from_ms),
        |(number, _)| *number,
    );
    let nobody = Subject::Identity("bob".to_owned());
    let unknown = history.worker_connections("pool-a", &nobody, &Part::first(1));
    assert!(matches!(unknown, Err(QueryError::UnknownSubject { .. })));
}

#[test]
fn rejects_since_the_history_began_are_those_of_the_totals() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t), rejected(1, "stale-share", t), rejected(1, "stale-share", t + SECOND)]);
    fixture.events(&[share(1, t), rejected(1, "duplicate-share", t + 2 * SECOND)]);
    let history = History::open(&fixture.path()).unwrap();
    for subject in [Subject::Channels, Subject::Identity("alice".to_owned())] {
        let ever = history.rejects_ever("pool-a", &subject, NOW).unwrap();
        assert_eq!((ever.accepted, ever.rejected, ever.from_ms, ever.to_ms, ever.tier), (1, 3, t, NOW, None));
        assert_eq!(ever.by_reason.into_iter().collect::<Vec<_>>(), [("duplicate-share", 1), ("stale-share", 2)]);
    }
}

#[test]
fn lists_are_ordered_and_bounded() {
    let fixture = fixture();
    let history = History::open(&fixture.path()).unwrap();
    let newest = history.connections("pool-a", Some(NOW), &Part::first(1)).unwrap().remove(0);
    assert_eq!((newest.name.as_str(), newest.opened_ms), ("rig-3", HOUR_START + 61 * SECOND));
    let opened: Vec<u64> =
        history.connections("pool-a", Some(NOW), &Part::first(100)).unwrap().iter().map(|row| row.opened_ms).collect();
    assert!(opened.is_sorted_by(|a, b| a >= b), "{opened:?}");
    let ehash = history.ehash("pool-a", EhashOf::Identity, &Part::first(100)).unwrap();
    let ehash: Vec<u128> = ehash.iter().map(|row| row.ehash.parse().unwrap()).collect();
    assert!(ehash.is_sorted_by(|a, b| a >= b), "{ehash:?}");
    // Whatever is asked is bounded, and a place may be anything.
    assert_eq!(Part::<()>::first(u32::MAX).limit(), MAX_ROWS + 1);
    let far = crate::query::Place { at_ms: u64::MAX, number: u64::MAX };
    let part = Part { after: Some(far), skip: u64::MAX, limit: u32::MAX };
    assert!(history.blocks("pool-a", &part).unwrap().is_empty());
    assert_eq!(history.blocks("pool-a", &Part { skip: 0, ..part }).unwrap().len(), ROWS as usize);
}

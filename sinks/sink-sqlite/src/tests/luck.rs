//! What blocks took: the work between them over the network's, each at the target of its time.

use sidecar_core::Record;
use stats_sv2::event::ChainTipChanged;
use stats_sv2::{CompactTarget, Event, UnixMillis};

use super::{EASY, Fixture, HOUR_START, SECOND, block, easy_work, opened, share};
use crate::query::{BlockView, History, Overview, Part};

/// A hundredth of [`EASY`].
const HUNDRED: CompactTarget = CompactTarget(0x1c02_8f59);

fn tip(target: CompactTarget, at: u64) -> Event<'static> {
    Event::ChainTipChanged(ChainTipChanged { timestamp: UnixMillis(at), height: 5, target })
}

fn shares(count: u64, at: u64) -> impl Iterator<Item = Event<'static>> {
    (0..count).map(move |index| share(1, at + index))
}

fn overview(fixture: &Fixture) -> Overview {
    History::open(&fixture.path()).unwrap().overview(HOUR_START + 60 * SECOND).unwrap()
}

fn efforts(fixture: &Fixture) -> Vec<(u32, Option<f64>)> {
    let history = History::open(&fixture.path()).unwrap();
    let blocks: Vec<BlockView> = history.blocks("pool-a", &Part::first(10)).unwrap();
    blocks.into_iter().map(|block| (block.height, block.effort)).collect()
}

fn about(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.max(1.0)
}

#[test]
fn a_block_took_what_was_worked_since_the_one_before() {
    // Whatever is in one transaction, or in one each.
    for together in [true, false] {
        let mut fixture = Fixture::new();
        let t = HOUR_START;
        let mut events = vec![opened(1, "alice", t), tip(HUNDRED, t)];
        events.extend(shares(50, t));
        events.push(block(1, t + SECOND));
        events.extend(shares(100, t + 2 * SECOND));
        events.push(block(2, t + 3 * SECOND));
        events.push(block(3, t + 3 * SECOND + 1));
        events.push(tip(EASY, t + 4 * SECOND));
        events.extend(shares(3, t + 5 * SECOND));
        events.push(block(4, t + 6 * SECOND));
        events.extend(shares(2, t + 7 * SECOND));
        if together {
            fixture.events(&events);
        } else {
            for event in &events {
                fixture.events(std::slice::from_ref(event));
            }
        }
        let efforts = efforts(&fixture);
        let expected = [(4, Some(3.0)), (3, Some(0.0)), (2, Some(1.0)), (1, None)];
        assert_eq!(efforts.len(), expected.len());
        for (found, expected) in efforts.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert_eq!(found.1.is_some(), expected.1.is_some(), "{efforts:?}");
            assert!(found.1.zip(expected.1).is_none_or(|(found, expected)| about(found, expected)), "{efforts:?}");
        }
        let source = overview(&fixture).sources.remove(0);
        let luck = source.luck.unwrap();
        assert_eq!((luck.blocks, luck.since_ms), (3, t + 3 * SECOND));
        assert!(about(luck.mean_effort, 4.0 / 3.0), "{luck:?}");
        let probability = mining_stats::luck::probability_of_total_effort(4.0, 3).unwrap();
        assert!(about(luck.probability, probability), "{luck:?}");
        let round = source.round.unwrap();
        assert_eq!(round.since_ms, t + 6 * SECOND, "to the block, not to a bucket");
        assert!(about(round.effort, 2.0), "{round:?}");
    }
}

#[test]
fn what_cannot_be_known_is_not_told_and_nothing_is_counted_twice() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    // No target of the network yet.
    fixture.events(&[opened(1, "alice", t), share(1, t), block(1, t + 1), share(1, t + 2), block(2, t + 3)]);
    assert_eq!(efforts(&fixture), [(2, None), (1, None)]);
    assert_eq!(overview(&fixture).sources[0].luck, None);
    // A block of the past that is told after later ones.
    fixture.events(&[tip(EASY, t + 4), share(1, t + 5), block(3, t + 6), share(1, t + 7)]);
    let record = fixture.journal.append(&mut fixture.session, &[block(4, t + 5)]);
    fixture.deliver(&[std::sync::Arc::new(Record { finishing: true, ..(*record).clone() })]);
    let efforts = efforts(&fixture);
    assert_eq!(efforts, [(3, Some(1.0)), (4, Some(1.0)), (2, None), (1, None)], "as they were told");
    assert_eq!(fixture.get::<f64>("SELECT max(source_work) FROM blocks"), 4.0 * easy_work());
}

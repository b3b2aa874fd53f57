//! Who has series of their own, when that changes, and when it ends.

use sink_contract::SyntheticSession;
use stats_sv2::Event;

use super::{Counted, Samples, channel_opened, pool, share};

fn series(worker: &str) -> String {
    format!(r#"mining_worker_shares_accepted_total{{publisher="pool-a",level="channel",worker="{worker}"}}"#)
}

fn shares(counted: &mut Counted, session: &mut SyntheticSession, channel: u32, count: usize) {
    let now = counted.now;
    let shares: Vec<Event<'_>> = (0..count).map(|_| share(channel, now)).collect();
    counted.publish(session, &shares);
}

/// Accepted shares of the worker; `None` without a series.
fn of(samples: &Samples, worker: &str) -> Option<f64> {
    samples.get(&series(worker)).copied()
}

#[test]
fn those_with_the_most_work_have_series_and_a_change_loses_and_doubles_nothing() {
    let mut counted = Counted::new(2);
    let mut session = pool();
    counted.publish(&mut session, &[1, 2, 3].map(|id| channel_opened(id, &format!("w{id}"))));
    for channel in 1..=3 {
        shares(&mut counted, &mut session, channel, 10);
    }
    // First come, first served, until the ranking.
    let samples = counted.samples();
    assert_eq!([1, 2, 3].map(|id| of(&samples, &format!("w{id}"))), [Some(10.0), Some(10.0), None]);
    assert_eq!(of(&samples, "(other)"), Some(10.0));
    counted.maintain();
    shares(&mut counted, &mut session, 3, 2);
    counted.pass(300_000);
    counted.maintain();
    assert_eq!(of(&counted.samples(), "w3"), None, "a little more work is no reason to change");
    shares(&mut counted, &mut session, 3, 30);
    shares(&mut counted, &mut session, 1, 20);
    counted.pass(300_000);
    counted.maintain();
    let samples = counted.samples();
    assert_eq!((of(&samples, "w1"), of(&samples, "w2")), (Some(30.0), None));
    assert_eq!(of(&samples, "w3"), Some(0.0), "what it did before stays where it was counted");
    assert_eq!(of(&samples, "(other)"), Some(42.0));
    shares(&mut counted, &mut session, 3, 1);
    // w2 comes back with more work than anybody: its series goes on from where it stopped.
    shares(&mut counted, &mut session, 2, 500);
    counted.pass(300_000);
    counted.maintain();
    shares(&mut counted, &mut session, 2, 3);
    let samples = counted.samples();
    assert_eq!(of(&samples, "w2"), Some(13.0));
    assert_eq!(of(&samples, "(other)"), Some(542.0));
}

#[test]
fn the_silent_expire_and_make_room() {
    let mut counted = Counted::new(1);
    let mut session = pool();
    counted.publish(&mut session, &[channel_opened(1, "old"), channel_opened(2, "new")]);
    shares(&mut counted, &mut session, 1, 5);
    for _ in 0..24 {
        counted.pass(3_600_000);
        shares(&mut counted, &mut session, 2, 1);
        counted.maintain();
    }
    counted.pass(300_000);
    counted.maintain();
    counted.pass(300_000);
    counted.maintain();
    let samples = counted.samples();
    assert_eq!(of(&samples, "old"), None);
    assert_eq!(of(&samples, "new").map(|count| count < 24.0), Some(true), "{samples:?}");
    let total = r#"mining_shares_accepted_total{publisher="pool-a",level="channel"}"#;
    assert_eq!(samples.get(total), Some(&29.0), "the total forgets nobody");
    // A channel of an expired worker may still bring a share.
    shares(&mut counted, &mut session, 1, 1);
    assert_eq!(counted.sample(total), Some(30.0));
}

#[test]
fn a_publisher_without_a_sign_expires_with_its_workers() {
    let mut counted = Counted::new(1);
    let mut session = pool();
    counted.publish(&mut session, &[channel_opened(1, "w")]);
    shares(&mut counted, &mut session, 1, 1);
    counted.pass(25 * 3_600_000);
    counted.maintain();
    assert!(!counted.samples().keys().any(|series| series.contains("pool-a")));
    assert_eq!(counted.sample("mining_workers_with_series"), Some(0.0));
    let mut other = SyntheticSession::new("pool-b", stats_sv2::Role::Pool, 1);
    shares(&mut counted, &mut other, 1, 1);
    assert_eq!(counted.sample("mining_workers_with_series"), Some(1.0), "its place is free again");
}

#[test]
fn no_series_at_all_is_a_setting() {
    let mut counted = Counted::new(0);
    let mut session = pool();
    counted.publish(&mut session, &[channel_opened(1, "w")]);
    shares(&mut counted, &mut session, 1, 4);
    counted.maintain();
    assert_eq!((of(&counted.samples(), "w"), of(&counted.samples(), "(other)")), (None, Some(4.0)));
}

//! Miners of a translator: one by its name, whatever its connections, with rejects by reason and programs.

use stats_sv2::event::{MinerConnected, MinerDisconnected, MinerShareRejected};
use stats_sv2::{Event, MinerId, Text, UnixMillis};

use super::{Fixture, HOUR_START, MINUTE, SECOND, miner, miner_share, opened};
use crate::query::History;

fn connected(id: u32, name: &'static str, user_agent: &'static str, at: u64) -> Event<'static> {
    Event::MinerConnected(MinerConnected {
        miner_id: MinerId(id),
        name: Text::new(name).unwrap(),
        timestamp: UnixMillis(at),
        address: Text::new("192.0.2.1").unwrap(),
        user_agent: Text::new(user_agent).unwrap(),
    })
}

fn rejected(id: u32, code: &'static str, at: u64) -> Event<'static> {
    Event::MinerShareRejected(MinerShareRejected {
        miner_id: MinerId(id),
        timestamp: UnixMillis(at),
        error_code: Text::new(code).unwrap(),
    })
}

fn gone(id: u32, at: u64) -> Event<'static> {
    Event::MinerDisconnected(MinerDisconnected {
        miner_id: MinerId(id),
        timestamp: UnixMillis(at),
        reason: Text::new("").unwrap(),
    })
}

#[test]
fn a_miner_that_reconnects_is_one_miner() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[connected(1, "rig", "cgminer/4.12", t), miner_share(1, t + 1), rejected(1, "stale-share", t + 2)]);
    fixture.events(&[
        gone(1, t + SECOND),
        connected(2, "rig", "bosminer/1", t + 2 * SECOND),
        miner_share(2, t + 3 * SECOND),
    ]);
    fixture.events(&[rejected(2, "stale-share", t + 4 * SECOND), rejected(2, "duplicate-share", t + 4 * SECOND)]);
    fixture.events(&[miner(3, "other", t)]);

    let history = History::open(&fixture.path()).unwrap();
    let miners = history.miners("pool-a", MINUTE, t + 5 * SECOND, None, 9).unwrap();
    let names: Vec<_> = miners.iter().map(|miner| miner.worker.name.as_str()).collect();
    assert_eq!(names, ["other", "rig"]);
    let rig = &miners[1];
    assert_eq!((rig.connections, rig.worker.open, rig.worker.totals.accepted), (2, 1, 2));
    let reasons: Vec<_> = rig.worker.totals.rejected_by_reason.iter().map(|(code, count)| (*code, *count)).collect();
    assert_eq!(reasons, [("duplicate-share", 1), ("stale-share", 2)]);
    let programs: Vec<_> = rig
        .user_agents
        .iter()
        .map(|program| (program.user_agent.as_str(), program.open, program.accepted, program.rejected))
        .collect();
    assert_eq!(programs, [("bosminer/1", 1, 1, 2), ("cgminer/4.12", 0, 1, 1)]);
    let all: Vec<_> = history
        .user_agents("pool-a")
        .unwrap()
        .into_iter()
        .map(|program| (program.user_agent, program.connections))
        .collect();
    assert_eq!(all, [("bosminer/1".to_owned(), 1), ("cgminer/4.12".to_owned(), 2)]);
}

#[test]
fn miners_are_paged_whatever_identities_are_called() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "a", t), opened(2, "c", t), miner(1, "c", t), opened(3, "d", t), miner(2, "e", t)]);
    let history = History::open(&fixture.path()).unwrap();
    let names = |after| -> Vec<String> {
        let page = history.miners("pool-a", MINUTE, t + 1, after, 1).unwrap();
        page.into_iter().map(|miner| miner.worker.name).collect()
    };
    assert_eq!((names(None), names(Some("c")), names(Some("e"))), (vec!["c".to_owned()], vec!["e".to_owned()], vec![]));
    let mut workers = Vec::new();
    let mut after: Option<(String, bool)> = None;
    while let Some(worker) = history
        .workers("pool-a", MINUTE, t + 1, after.as_ref().map(|(name, is_miner)| (name.as_str(), *is_miner)), 1)
        .unwrap()
        .pop()
    {
        after = Some((worker.name.clone(), worker.is_miner));
        workers.push((worker.name, worker.is_miner));
    }
    let workers: Vec<(&str, bool)> = workers.iter().map(|(name, is_miner)| (name.as_str(), *is_miner)).collect();
    assert_eq!(workers, [("a", false), ("c", false), ("c", true), ("d", false), ("e", true)]);
}

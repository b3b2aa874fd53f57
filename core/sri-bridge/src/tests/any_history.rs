//! The property of the bridge: whatever happens between polls, what it counted is what the polls saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mining_stats::Work;
use proptest::prelude::*;
use ruint::aliases::U256;
use stats_sv2::event::CHANNEL_EXTENDED;
use stats_sv2::{CompactTarget, Event, EventKind, UnixMillis};

use super::replay::{Replay, Totals};
use crate::{
    ChannelView, DownstreamView, Known, MAX_BLOCKS_PER_POLL, MinerView, SriRole, StartedAt, UPSTREAM_CHANNELS, View,
    difference,
};

const LONGEST_SPAN: Duration = Duration::from_secs(15);

/// One thing that happens at a program, or to whoever polls it.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect(prop::sample::Index),
    OpenChannel(prop::sample::Index, usize),
    CloseChannel(prop::sample::Index),
    Shares {
        channel: prop::sample::Index,
        accepted: u32,
        rejected: u32,
        hashes: u64,
    },
    /// The channel's id goes to another one, whose counters begin at zero.
    Replace(prop::sample::Index),
    Retarget(prop::sample::Index, u32),
    Restart,
    Pass(u64),
    ClockBack(u64),
    /// Lists come on several pages, and those channels are missed.
    Poll {
        paged: bool,
        missed: Vec<prop::sample::Index>,
    },
    /// The bridge ends and starts again from what it stored.
    BridgeRestart,
    NewSession,
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Connect),
        1 => index().prop_map(Step::Disconnect),
        4 => (index(), 0_usize..2).prop_map(|(at, name)| Step::OpenChannel(at, name)),
        1 => index().prop_map(Step::CloseChannel),
        8 => (index(), 0_u32..50, 0_u32..5, 1_u64..1 << 50)
            .prop_map(|(channel, accepted, rejected, hashes)| Step::Shares { channel, accepted, rejected, hashes }),
        1 => index().prop_map(Step::Replace),
        1 => (index(), 1_u32..3).prop_map(|(at, target)| Step::Retarget(at, target)),
        1 => Just(Step::Restart),
        3 => (0_u64..20_000).prop_map(Step::Pass),
        1 => (0_u64..5_000).prop_map(Step::ClockBack),
        6 => Just(Step::Poll { paged: false, missed: Vec::new() }),
        3 => prop::collection::vec(index(), 0..3).prop_map(|missed| Step::Poll { paged: true, missed }),
        1 => Just(Step::BridgeRestart),
        1 => Just(Step::NewSession),
    ]
}

/// The program as it is, beside the bridge.
struct World {
    role: SriRole,
    now: u64,
    /// The program's clock and ours differ, and ours may be set.
    offset: i64,
    started: u64,
    next_downstream: u32,
    next_channel: BTreeMap<u32, u32>,
    downstreams: BTreeMap<u32, BTreeMap<u32, ChannelView>>,
    known: Known,
    replay: Replay,
    /// What polls saw of channels that are no more, and the last sight of each that is.
    past: BTreeMap<(u32, u32), Totals>,
    seen: BTreeMap<(u32, u32), ChannelView>,
    polls: u64,
}

impl World {
    fn new(role: SriRole) -> Self {
        let mut world = Self {
            role,
            now: 1_700_000_000_000,
            offset: 77_000,
            started: 1_700_000_000_000,
            next_downstream: 1,
            next_channel: BTreeMap::new(),
            downstreams: BTreeMap::new(),
            known: Known::default(),
            replay: Replay::default(),
            past: BTreeMap::new(),
            seen: BTreeMap::new(),
            polls: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.started = self.now;
        self.next_downstream = 1;
        self.next_channel.clear();
        self.downstreams.clear();
        if self.role == SriRole::Proxy {
            self.downstreams.insert(UPSTREAM_CHANNELS, BTreeMap::new());
        }
    }

    fn channel(&self, at: prop::sample::Index) -> Option<(u32, u32)> {
        let all: Vec<_> = self
            .downstreams
            .iter()
            .flat_map(|(downstream, channels)| channels.keys().map(move |channel| (*downstream, *channel)))
            .collect();
        (!all.is_empty()).then(|| *at.get(&all))
    }

    fn downstream(&self, at: prop::sample::Index) -> Option<u32> {
        let all: Vec<_> = self.downstreams.keys().copied().collect();
        (!all.is_empty()).then(|| *at.get(&all))
    }

    /// What polls saw of a channel is final from now on.
    fn retire(&mut self, key: (u32, u32)) {
        if let Some(last) = self.seen.remove(&key) {
            add(&mut self.past, key, &last);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect if self.role == SriRole::Pool => {
                self.downstreams.insert(self.next_downstream, BTreeMap::new());
                self.next_downstream += 1;
            }
            Step::Disconnect(at) if self.role == SriRole::Pool => {
                if let Some(downstream) = self.downstream(at) {
                    self.downstreams.remove(&downstream);
                    for key in self.seen.keys().copied().filter(|key| key.0 == downstream).collect::<Vec<_>>() {
                        self.retire(key);
                    }
                }
            }
            Step::Connect | Step::Disconnect(_) => {}
            Step::OpenChannel(at, name) => {
                if let Some(downstream) = self.downstream(at) {
                    let next = self.next_channel.entry(downstream).or_insert(2);
                    let channel = new_channel(["alice", "bob"][name]);
                    self.downstreams.get_mut(&downstream).unwrap().insert(*next, channel);
                    *next += 1;
                }
            }
            Step::CloseChannel(at) => {
                if let Some(key) = self.channel(at) {
                    self.downstreams.get_mut(&key.0).unwrap().remove(&key.1);
                    self.retire(key);
                }
            }
            Step::Shares { channel, accepted, rejected, hashes } => {
                if let Some(key) = self.channel(channel) {
                    let channel = self.downstreams.get_mut(&key.0).unwrap().get_mut(&key.1).unwrap();
                    channel.accepted += accepted;
                    channel.rejected += rejected;
                    channel.best_difficulty += f64::from(accepted) / 3.0;
                    let work = U256::from(accepted) * U256::from(hashes);
                    channel.work = channel.work.saturating_add(Work::from_hashes(work));
                }
            }
            Step::Replace(at) => {
                // Only counters that fall can tell, so a poll must have seen some and the next must see none.
                if let Some(key) = self.channel(at)
                    && self.seen.get(&key).is_some_and(|seen| seen.accepted + seen.rejected > 0)
                {
                    let channel = self.downstreams.get_mut(&key.0).unwrap().get_mut(&key.1).unwrap();
                    *channel = new_channel(&channel.user_identity);
                    self.retire(key);
                    self.poll(false, &BTreeSet::new());
                }
            }
            Step::Retarget(at, target) => {
                if let Some(key) = self.channel(at) {
                    let channel = self.downstreams.get_mut(&key.0).unwrap().get_mut(&key.1).unwrap();
                    channel.target = CompactTarget(0x1d00_0000 + target);
                }
            }
            Step::Restart => {
                for key in self.seen.keys().copied().collect::<Vec<_>>() {
                    self.retire(key);
                }
                self.now += 5_000;
                self.begin();
            }
            Step::Pass(millis) => self.now += millis,
            Step::ClockBack(millis) => self.offset -= millis.cast_signed(),
            Step::Poll { paged, missed } => {
                let missed = missed.into_iter().filter_map(|at| self.channel(at)).collect();
                self.poll(paged, &missed);
            }
            Step::BridgeRestart => self.known = Known::decode(&self.known.encode()).unwrap(),
            Step::NewSession => {
                self.known.forget_open();
                self.replay = Replay { totals: std::mem::take(&mut self.replay.totals), ..Replay::default() };
            }
        }
    }

    fn poll(&mut self, paged: bool, missed: &BTreeSet<(u32, u32)>) {
        let second = (self.started / 1000).cast_signed();
        // How wide the brackets are changes from poll to poll.
        let slack = (self.polls % 3).cast_signed();
        self.polls += 1;
        let mut view = View {
            role: self.role,
            started: StartedAt { earliest: second - slack, latest: second + 1 },
            uptime_ms: (self.now - self.started) / 1000 * 1000,
            downstreams: BTreeMap::new(),
            miners: BTreeMap::new(),
            miners_paged: false,
        };
        for (downstream, channels) in &self.downstreams {
            let mut seen = DownstreamView { paged, ..DownstreamView::default() };
            for (channel, counters) in channels {
                let key = (*downstream, *channel);
                if !missed.contains(&key) {
                    seen.channels.insert(*channel, counters.clone());
                    self.seen.insert(key, counters.clone());
                }
            }
            view.downstreams.insert(*downstream, seen);
        }
        let ours = UnixMillis(self.now.checked_add_signed(self.offset).unwrap());
        let (events, next) = difference(&self.known, &view, ours, LONGEST_SPAN);
        self.replay.apply(&events);
        self.known = next;

        let mut expected = self.past.clone();
        for (key, channel) in &self.seen {
            add(&mut expected, *key, channel);
        }
        expected.retain(|_, totals| *totals != Totals::default());
        assert_eq!(self.replay.totals, expected, "counted (left) is not what polls saw (right)");
        if !paged {
            assert!(difference(&self.known, &view, ours, LONGEST_SPAN).0.is_empty(), "the same view again is no news");
            let open: BTreeMap<_, _> = self
                .downstreams
                .iter()
                .flat_map(|(downstream, channels)| {
                    channels.iter().map(move |(id, channel)| {
                        ((*downstream, *id), (channel.user_identity.clone(), channel.target.0))
                    })
                })
                .collect();
            assert_eq!(self.replay.channels, open, "open by the events (left), open at the program (right)");
        }
        let connected: BTreeSet<u32> = self.downstreams.keys().copied().filter(|id| *id != UPSTREAM_CHANNELS).collect();
        assert_eq!(self.replay.downstreams, connected);
    }
}

fn add(totals: &mut BTreeMap<(u32, u32), Totals>, key: (u32, u32), channel: &ChannelView) {
    let totals = totals.entry(key).or_default();
    totals.0 += u64::from(channel.accepted);
    totals.1 += u64::from(channel.rejected);
    totals.2 = totals.2.saturating_add(channel.work);
}

fn new_channel(name: &str) -> ChannelView {
    ChannelView {
        kind: CHANNEL_EXTENDED,
        user_identity: name.to_owned(),
        nominal_hashrate: 1_000,
        target: CompactTarget(0x1d00_ffff),
        accepted: 0,
        rejected: 0,
        work: Work::ZERO,
        best_difficulty: 0.0,
        blocks: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_pool_is_counted_exactly(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut world = World::new(SriRole::Pool);
        steps.into_iter().for_each(|step| world.step(step));
    }

    #[test]
    fn a_translator_is_counted_exactly(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut world = World::new(SriRole::Proxy);
        steps.into_iter().for_each(|step| world.step(step));
    }
}

fn view_of(role: SriRole, started: i64, channels: &[(u32, u32, ChannelView)]) -> View {
    let mut downstreams: BTreeMap<u32, DownstreamView> = BTreeMap::new();
    for (downstream, id, channel) in channels {
        downstreams.entry(*downstream).or_default().channels.insert(*id, channel.clone());
    }
    View {
        role,
        started: StartedAt { earliest: started, latest: started },
        uptime_ms: 10_000,
        downstreams,
        miners: BTreeMap::new(),
        miners_paged: false,
    }
}

fn kinds(events: &[Event<'_>]) -> Vec<EventKind> {
    events.iter().map(Event::kind).collect()
}

#[test]
fn a_program_that_was_running_before_is_counted_from_its_start() {
    let channel = ChannelView { accepted: 7, blocks: 2, ..new_channel("alice") };
    let now = UnixMillis(1_000_000);
    let view = view_of(SriRole::Pool, 990, &[(1, 2, channel)]);
    let (events, known) = difference(&Known::default(), &view, now, LONGEST_SPAN);
    assert_eq!(
        kinds(&events),
        [EventKind::SourceInfo, EventKind::DownstreamConnected, EventKind::ChannelOpened, EventKind::SharesCounted],
        "when its two blocks were found nobody knows"
    );
    let Event::SharesCounted(counted) = &events[3] else { panic!() };
    assert_eq!((counted.since, counted.timestamp, counted.accepted), (UnixMillis(990_000), now, 7));

    let channel = ChannelView { accepted: 8, blocks: 3, ..new_channel("alice") };
    let later = UnixMillis(1_005_000);
    let (events, _) = difference(&known, &view_of(SriRole::Pool, 990, &[(1, 2, channel)]), later, LONGEST_SPAN);
    assert_eq!(kinds(&events), [EventKind::SharesCounted, EventKind::BlockFound]);
    let Event::SharesCounted(counted) = &events[0] else { panic!() };
    assert_eq!((counted.since, counted.accepted), (now, 1));
}

/// Each of these alone shows that an id belongs to another channel now.
#[test]
fn whatever_falls_begins_anew() {
    let before = ChannelView {
        accepted: 10,
        rejected: 10,
        work: Work::from_hashes(U256::from(10)),
        best_difficulty: 10.0,
        blocks: 10,
        ..new_channel("alice")
    };
    let at = |channel: &ChannelView| view_of(SriRole::Pool, 990, &[(1, 2, channel.clone())]);
    let (_, known) = difference(&Known::default(), &at(&before), UnixMillis(1_000_000), LONGEST_SPAN);
    for after in [
        ChannelView { accepted: 9, ..before.clone() },
        ChannelView { rejected: 9, ..before.clone() },
        ChannelView { work: Work::from_hashes(U256::from(9)), ..before.clone() },
        ChannelView { best_difficulty: 9.0, ..before.clone() },
        ChannelView { blocks: 9, ..before.clone() },
        ChannelView { user_identity: "bob".to_owned(), ..before.clone() },
    ] {
        let (events, _) = difference(&known, &at(&after), UnixMillis(1_001_000), LONGEST_SPAN);
        let [Event::ChannelClosed(_), Event::ChannelOpened(_), Event::SharesCounted(counted), blocks @ ..] =
            events.as_slice()
        else {
            panic!("{after:?}: {events:?}");
        };
        let told = (counted.accepted, counted.rejected, Work::from_wire(counted.work), blocks.len());
        assert_eq!(told, (after.accepted, after.rejected, after.work, after.blocks as usize));
    }
}

#[test]
fn a_channel_missed_between_pages_is_not_closed_at_once_nor_counted_again() {
    let both = |accepted| {
        let channel = ChannelView { accepted, ..new_channel("alice") };
        view_of(SriRole::Pool, 990, &[(1, 2, channel.clone()), (1, 3, channel)])
    };
    let mut missing = both(10);
    let downstream = missing.downstreams.get_mut(&1).unwrap();
    downstream.channels.remove(&3);
    downstream.paged = true;
    let mut known = Known::default();
    let mut poll = |view: &View| {
        let (events, next) = difference(&known, view, UnixMillis(1_000_000), LONGEST_SPAN);
        known = next;
        events
    };
    poll(&both(10));
    assert_eq!(kinds(&poll(&missing)), []);
    assert_eq!(kinds(&poll(&missing)), [EventKind::ChannelClosed]);
    assert_eq!(kinds(&poll(&missing)), []);
    let events = poll(&both(11));
    let [Event::SharesCounted(_), Event::ChannelOpened(_), Event::SharesCounted(counted)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(counted.accepted, 1);
}

#[test]
fn many_blocks_are_told_over_several_polls() {
    let found = |blocks| view_of(SriRole::Pool, 990, &[(1, 2, ChannelView { blocks, ..new_channel("alice") })]);
    let (_, mut known) = difference(&Known::default(), &found(0), UnixMillis(1_000_000), LONGEST_SPAN);
    let mut told = Vec::new();
    for _ in 0..4 {
        let (events, next) =
            difference(&known, &found(MAX_BLOCKS_PER_POLL * 5 / 2), UnixMillis(1_001_000), LONGEST_SPAN);
        told.push(events.len());
        known = next;
    }
    assert_eq!(told, [1_000, 1_000, 500, 0]);
}

#[test]
fn a_long_silence_is_told() {
    let view = view_of(SriRole::Pool, 990, &[(1, 2, new_channel("alice"))]);
    let (_, known) = difference(&Known::default(), &view, UnixMillis(1_000_000), LONGEST_SPAN);
    let (events, _) = difference(&known, &view, UnixMillis(1_015_000), LONGEST_SPAN);
    assert!(events.is_empty());
    let (events, _) = difference(&known, &view, UnixMillis(1_015_001), LONGEST_SPAN);
    let [Event::EventsDropped(dropped)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((dropped.first_timestamp, dropped.last_timestamp), (UnixMillis(1_000_000), UnixMillis(1_015_001)));
}

#[test]
fn miners_come_and_go() {
    let miner = |name: &str, hashrate| MinerView { name: name.to_owned(), address: "192.0.2.1".to_owned(), hashrate };
    let view = |miners: &[(u32, MinerView)], paged| View {
        miners: miners.iter().cloned().collect(),
        miners_paged: paged,
        ..view_of(SriRole::Proxy, 990, &[(UPSTREAM_CHANNELS, 2, new_channel("alice"))])
    };
    let mut known = Known::default();
    let mut replay = Replay::default();
    let mut poll = |view: View| {
        let (events, next) = difference(&known, &view, UnixMillis(1_000_000), LONGEST_SPAN);
        known = next;
        replay.apply(&events);
        (replay.miners.clone(), replay.upstream)
    };
    let told = |entries: &[(u32, &str, u64)]| {
        entries.iter().map(|(id, name, rate)| (*id, ((*name).to_owned(), *rate))).collect::<BTreeMap<_, _>>()
    };
    // Not authorized yet; then with a name; then vardiff guesses anew.
    assert_eq!(poll(view(&[(1, miner("", 0))], false)), (told(&[]), true));
    assert_eq!(poll(view(&[(1, miner("a", 0)), (2, miner("b", 9))], false)).0, told(&[(1, "a", 0), (2, "b", 9)]));
    assert_eq!(poll(view(&[(1, miner("a", 5)), (2, miner("b", 9))], false)).0, told(&[(1, "a", 5), (2, "b", 9)]));
    // Missed between two pages once is not gone, twice is; an id of another miner is another miner.
    assert_eq!(poll(view(&[(1, miner("a", 5))], true)).0, told(&[(1, "a", 5), (2, "b", 9)]));
    assert_eq!(poll(view(&[(1, miner("a", 5))], true)).0, told(&[(1, "a", 5)]));
    assert_eq!(poll(view(&[(1, miner("c", 5))], false)).0, told(&[(1, "c", 5)]));
    // Another run, in which nobody has a channel yet.
    let restarted = View {
        started: StartedAt { earliest: 2_000, latest: 2_000 },
        downstreams: BTreeMap::from([(UPSTREAM_CHANNELS, DownstreamView::default())]),
        ..view(&[(1, miner("c", 1))], false)
    };
    assert_eq!(poll(restarted), (told(&[(1, "c", 1)]), false));
}

#[test]
fn stored_state_of_a_newer_version_is_refused() {
    let newer = br#"{"version":2,"known":"something else"}"#;
    assert!(matches!(Known::decode(newer), Err(crate::KnownError::Newer { found: 2 })));
    assert!(matches!(Known::decode(b"{}"), Err(crate::KnownError::Damaged(_))));
}

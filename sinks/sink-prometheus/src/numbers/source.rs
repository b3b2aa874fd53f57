//! One publisher: its totals, its sessions, and the shares that it tells of.

use std::collections::VecDeque;
use std::sync::Arc;

use mining_stats::{RejectReason, ShareCredit, Sums, TargetBounds, Work};
use rustc_hash::{FxHashMap, FxHashSet};
use sidecar_core::Record;
use stats_sv2::event::{
    ChainTipChanged, ENDED_CLEAN, ENDED_EXPIRED, ENDED_REPLACED, MinerShareRejected, MinerShareSubmitted,
    ShareRejected, ShareSubmitted, SharesCounted,
};
use stats_sv2::{CompactTarget, Role, U256, UnixMillis};

use crate::numbers::session::{OpenCounts, Session};
use crate::numbers::windows::{ObservedTime, Slots};
use crate::numbers::workers::{Seats, WorkerTable};
use crate::numbers::{Quotes, Run};

/// Blocks whose hashes are remembered, so that one that is told twice was found once.
const REMEMBERED_BLOCKS: usize = 64;

/// At which of the two levels a share was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// An SV2 channel, by a pool.
    Channel = 0,
    /// An SV1 miner, by a translator.
    Miner = 1,
}

/// The shares of one level.
#[derive(Debug, Default)]
pub(crate) struct LevelSums {
    /// Since the beginning. Never fall.
    pub(crate) total: Sums,
    /// The last hour.
    pub(crate) slots: Slots,
    pub(crate) workers: WorkerTable,
    /// Work of the last share's target.
    last_share_work: Option<f64>,
}

impl LevelSums {
    /// Work of a share, for what an observed zero says: that of the hardest target lately, or else of the last share.
    pub(crate) fn share_work(&self) -> Option<f64> {
        self.slots.hardest().or(self.last_share_work)
    }
}

/// The tip of the network's chain, as the publisher tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tip {
    pub(crate) at_ms: u64,
    pub(crate) height: u32,
    /// Expected hashes of a block; `None` for an invalid target.
    pub(crate) work: Option<f64>,
}

/// Everything about one publisher.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) role: Role,
    pub(crate) vendor: Arc<str>,
    pub(crate) network: Option<Arc<str>>,
    pub(crate) first_received_ms: u64,
    pub(crate) last_received_ms: u64,
    pub(crate) last_event_ms: u64,
    /// By message type.
    pub(crate) events: Box<[u64; 256]>,
    pub(crate) undecodable: u64,
    pub(crate) sessions_started: u64,
    /// Clean, replaced, expired, unknown.
    pub(crate) sessions_ended: [u64; 4],
    pub(crate) gaps: u64,
    pub(crate) missing: u64,
    pub(crate) unseen: u64,
    pub(crate) not_read: u64,
    pub(crate) dropped: u64,
    pub(crate) observed: ObservedTime,
    pub(crate) levels: [LevelSums; 2],
    pub(crate) quotes: Quotes,
    pub(crate) blocks: u64,
    pub(crate) last_block_ms: Option<u64>,
    recent_blocks: VecDeque<U256>,
    pub(crate) tip: Option<Tip>,
    /// Work at channels since the last block, or since counting began.
    pub(crate) round_work: f64,
    pub(crate) round_since_ms: u64,
    /// Blocks that the work would have found on average, each share at the network target of its time.
    pub(crate) expected_blocks: f64,
    sessions: FxHashMap<(Arc<str>, u64), Session>,
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Channel, Self::Miner];

    /// The level at which a program of this role judges shares.
    pub(crate) const fn of_role(role: Role) -> Self {
        match role {
            Role::Proxy => Self::Miner,
            _ => Self::Channel,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Miner => "miner",
        }
    }
}

impl Source {
    pub(crate) fn new(record: &Record) -> Self {
        Self {
            role: record.role,
            vendor: "".into(),
            network: None,
            first_received_ms: record.received_at.0,
            last_received_ms: 0,
            last_event_ms: 0,
            events: Box::new([0; 256]),
            undecodable: 0,
            sessions_started: 0,
            sessions_ended: [0; 4],
            gaps: 0,
            missing: 0,
            unseen: 0,
            not_read: 0,
            dropped: 0,
            observed: ObservedTime::default(),
            levels: Default::default(),
            quotes: Quotes::default(),
            blocks: 0,
            last_block_ms: None,
            recent_blocks: VecDeque::new(),
            tip: None,
            round_work: 0.0,
            round_since_ms: record.received_at.0,
            expected_blocks: 0.0,
            sessions: FxHashMap::default(),
        }
    }

    pub(super) fn heard(&mut self, record: &Record) {
        self.role = record.role;
        self.last_received_ms = self.last_received_ms.max(record.received_at.0);
    }

    pub(super) fn take_session(&mut self, record: &Record) -> Session {
        self.sessions.remove(&(Arc::clone(&record.publisher), record.session_id)).unwrap_or_default()
    }

    pub(super) fn put_session(&mut self, record: &Record, mut session: Session) {
        session.last_received_ms = session.last_received_ms.max(record.received_at.0);
        self.sessions.insert((Arc::clone(&record.publisher), record.session_id), session);
    }

    pub(super) fn session_ended(&mut self, outcome: u8) {
        let place = match outcome {
            ENDED_CLEAN => 0,
            ENDED_REPLACED => 1,
            ENDED_EXPIRED => 2,
            _ => 3,
        };
        self.sessions_ended[place] += 1;
    }

    pub(super) fn end_sessions_except(&mut self, open: &FxHashSet<(&str, u64)>) {
        let mut gone = Vec::new();
        for ((publisher, id), session) in &mut self.sessions {
            if !session.ended && !open.contains(&(&**publisher, *id)) {
                session.end();
                gone.push(*id);
            }
        }
        for id in gone {
            self.session_ended(u8::MAX);
            self.quotes.abandon(id);
        }
    }

    /// Whether a session is open.
    pub(crate) fn has_session(&self) -> bool {
        self.sessions.values().any(|session| !session.ended)
    }

    pub(crate) fn open(&self) -> OpenCounts {
        self.sessions.values().map(Session::open).fold(OpenCounts::default(), |sum, open| OpenCounts {
            downstreams: sum.downstreams + open.downstreams,
            channels: sum.channels + open.channels,
            miners: sum.miners + open.miners,
            upstreams: sum.upstreams + open.upstreams,
        })
    }

    /// Spans that still grow.
    pub(crate) fn open_spans(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sessions.values().filter_map(|session| session.observed)
    }

    /// Forgets workers and ended sessions without a sign since this time. Returns whether the publisher itself is to be
    /// forgotten; then its workers are.
    pub(super) fn expire(&mut self, since: u64, seats: &mut Seats) -> bool {
        let observed = &mut self.observed;
        self.sessions.retain(|_, session| {
            let stays = session.last_received_ms >= since;
            if let (false, Some((start, end))) = (stays, session.observed) {
                observed.add(start, end);
            }
            stays
        });
        let is_gone = self.last_received_ms < since;
        let since = if is_gone { u64::MAX } else { since };
        for level in &mut self.levels {
            level.workers.expire(since, seats);
        }
        is_gone
    }

    pub(super) fn forget_old_slots(&mut self, now: u64) {
        self.observed.forget_old(now);
        for level in &mut self.levels {
            level.slots.forget_old(now);
        }
    }

    pub(super) fn tip_changed(&mut self, tip: &ChainTipChanged) {
        let work = TargetBounds::default().work(tip.target).ok();
        self.tip = Some(Tip { at_ms: tip.timestamp.0, height: tip.height, work });
    }

    pub(super) fn block_found(&mut self, hash: U256, at: u64) {
        // Only a block of unknown hash cannot be known again.
        if hash != U256::default() {
            if self.recent_blocks.contains(&hash) {
                return;
            }
            self.recent_blocks.push_back(hash);
            if self.recent_blocks.len() > REMEMBERED_BLOCKS {
                self.recent_blocks.pop_front();
            }
        }
        self.blocks += 1;
        self.last_block_ms = self.last_block_ms.max(Some(at));
        self.round_work = 0.0;
        self.round_since_ms = at;
    }

    /// Work that pays for the pool's blocks.
    fn worked(&mut self, work: f64) {
        self.round_work += work;
        if let Some(network) = self.tip.and_then(|tip| tip.work) {
            self.expected_blocks += work / network;
        }
    }
}

impl Run<'_> {
    #[inline]
    pub(super) fn share_submitted(&mut self, share: &ShareSubmitted) {
        if self.session.is_announcing() || self.record.kind != sidecar_core::RecordKind::Events {
            return;
        }
        let at = self.record.counted_at(share.timestamp).0;
        self.moment(at);
        let worker = self.worker_of_channel(share.downstream_id.0, share.channel_id.0);
        if let Some(credit) = self.accepted(Level::Channel, &worker, share.target, share.share, at) {
            self.source.worked(credit.work);
        }
    }

    pub(super) fn miner_share_submitted(&mut self, share: &MinerShareSubmitted, at: u64) {
        let worker = self.worker_of_miner(share.miner_id.0);
        self.accepted(Level::Miner, &worker, share.target, share.share, at);
    }

    fn accepted(
        &mut self,
        level: Level,
        worker: &Arc<str>,
        target: CompactTarget,
        share: CompactTarget,
        at: u64,
    ) -> Option<ShareCredit> {
        let sums = &mut self.source.levels[level as usize];
        let credit = TargetBounds::default().credit(target, share).ok();
        let work = credit.map_or(0.0, |credit| credit.work);
        let own = sums.workers.sums_of(worker, self.seats, self.record.received_at.0, work);
        for counted in [&mut sums.total, own] {
            match credit {
                Some(credit) => counted.add_share(credit, true),
                None => counted.add_invalid_target(),
            }
        }
        sums.workers.shared_at(worker, at);
        if let Some(credit) = credit {
            sums.slots.add_share(credit, at);
            sums.last_share_work = Some(credit.work);
        }
        credit
    }

    pub(super) fn share_rejected(&mut self, reject: &ShareRejected<'_>) {
        let worker = self.worker_of_channel(reject.downstream_id.0, reject.channel_id.0);
        self.rejected(Level::Channel, &worker, reject.error_code.as_str());
    }

    pub(super) fn miner_share_rejected(&mut self, reject: &MinerShareRejected<'_>) {
        let worker = self.worker_of_miner(reject.miner_id.0);
        self.rejected(Level::Miner, &worker, reject.error_code.as_str());
    }

    fn rejected(&mut self, level: Level, worker: &Arc<str>, error_code: &str) {
        let reason = RejectReason::fold(error_code);
        let sums = &mut self.source.levels[level as usize];
        sums.total.add_reject(reason);
        sums.workers.sums_of(worker, self.seats, self.record.received_at.0, 0.0).add_reject(reason);
    }

    /// Shares of a program that only has counters (delivery rule 31).
    pub(super) fn shares_counted(&mut self, counted: &SharesCounted, at: u64) {
        let worker = self.worker_of_channel(counted.downstream_id.0, counted.channel_id.0);
        let (accepted, rejected) = (u64::from(counted.accepted), u64::from(counted.rejected));
        let work = Work::from_wire(counted.work).to_f64();
        let per_share = work / accepted.max(1) as f64;
        let is_valid = (1.0..=TargetBounds::DEFAULT_HARDEST.expected_hashes()).contains(&per_share);
        let received_ms = self.record.received_at.0;
        let sums = &mut self.source.levels[Level::Channel as usize];
        let own = sums.workers.sums_of(&worker, self.seats, received_ms, if is_valid { work } else { 0.0 });
        for counts in [&mut sums.total, own] {
            counts.add_counted(0, rejected, 0.0, true);
            if is_valid {
                counts.add_counted(accepted, 0, work, true);
            } else {
                counts.accepted += accepted;
                counts.invalid_target += accepted;
            }
        }
        if accepted == 0 {
            return;
        }
        sums.workers.shared_at(&worker, at);
        if is_valid {
            let since = self.record.counted_at(UnixMillis(counted.since.0)).0.min(at);
            sums.slots.add_counted(accepted, work, since, at);
            sums.last_share_work = Some(per_share);
            self.source.worked(work);
        }
    }
}

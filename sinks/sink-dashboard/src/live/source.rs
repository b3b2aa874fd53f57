//! One publisher in the present: its session, what is open in it, and its workers.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mining_stats::RejectReason;
use rustc_hash::FxHashMap;
use sidecar_core::{Envelope, EventKind};
use stats_sv2::CompactTarget;
use stats_sv2::codec::Message;
use stats_sv2::event::{MinerShareRejected, MinerShareSubmitted, ShareRejected, ShareSubmitted, SharesCounted};

use super::message::WorkerKind;
use super::recent::{KeptShare, MAX_SHARES};

/// Workers of one publisher that are followed; the history knows all of them.
pub(crate) const MAX_WORKERS: usize = 20_000;
/// Channels, and miners, of one publisher that are followed.
pub(crate) const MAX_OPEN: usize = 100_000;

/// What is open: a channel of a downstream, or a miner's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Channel { downstream: u32, channel: u32 },
    Miner(u32),
}

/// One number, since this is looked up for every share. A miner and a channel may share theirs, and are still not equal.
impl Hash for Connection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(match *self {
            Self::Channel { downstream, channel } => u64::from(downstream) << 32 | u64::from(channel),
            Self::Miner(id) => u64::from(id),
        });
    }
}

#[derive(Debug)]
struct Open {
    worker: u32,
    /// The announcement that named it last.
    announcement: u32,
}

/// A worker with what it did since the last look.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) kind: WorkerKind,
    pub(crate) name: Arc<str>,
    pub(crate) open: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) last_share_ms: Option<u64>,
    pub(crate) shares: VecDeque<KeptShare>,
}

impl Worker {
    pub(crate) fn note(&mut self, share: KeptShare) {
        if self.shares.len() == MAX_SHARES {
            self.shares.pop_front();
        } else if self.shares.is_empty() {
            // At once and no more than that: it would grow to the next power of two.
            self.shares.reserve_exact(MAX_SHARES);
        }
        self.shares.push_back(share);
    }
}

/// A publisher.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) publisher: Arc<str>,
    pub(crate) role: &'static str,
    pub(crate) session_id: u64,
    pub(crate) has_session: bool,
    pub(crate) is_silent: bool,
    pub(crate) heard_ms: u64,
    pub(crate) announcing: bool,
    announcement: u32,
    applied: u64,
    applied_derived: u64,
    open: FxHashMap<Connection, Open>,
    /// Open connections say which of them is theirs.
    workers: Vec<Worker>,
    /// The places of workers by name.
    names: FxHashMap<(WorkerKind, Arc<str>), u32>,
    /// Places of forgotten workers.
    free: Vec<u32>,
    /// Workers with shares since the last look.
    changed: Vec<u32>,
}

impl Source {
    pub(crate) fn new(publisher: Arc<str>, role: &'static str, session_id: u64) -> Self {
        Self {
            publisher,
            role,
            session_id,
            has_session: true,
            is_silent: false,
            heard_ms: 0,
            announcing: false,
            announcement: 0,
            applied: 0,
            applied_derived: 0,
            open: FxHashMap::default(),
            workers: Vec::new(),
            names: FxHashMap::default(),
            free: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Begins another session: whatever was open is not. Returns the workers that went.
    pub(crate) fn begin_session(&mut self, role: &'static str, session_id: u64) -> Vec<u32> {
        (self.role, self.session_id, self.has_session) = (role, session_id, true);
        (self.announcing, self.applied, self.applied_derived) = (false, 0, 0);
        self.close_all()
    }

    /// Notes that a record was applied. How many of its events came before: a delivery may be repeated.
    pub(crate) fn applied_before(&mut self, derived: bool, first: u64, last: u64) -> u64 {
        let applied = if derived { &mut self.applied_derived } else { &mut self.applied };
        let known = (*applied + 1).saturating_sub(first);
        *applied = (*applied).max(last);
        known
    }

    /// A connection opened, or is announced again. Returns the worker if it was not online before.
    pub(crate) fn open(&mut self, connection: Connection, kind: WorkerKind, name: &str) -> Option<u32> {
        if let Some(open) = self.open.get_mut(&connection) {
            let worker = self.workers.get(open.worker as usize);
            if worker.is_some_and(|worker| worker.kind == kind && &*worker.name == name) {
                open.announcement = self.announcement;
                return None;
            }
            // A reused number whose end was not told.
            self.close(connection);
        }
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        let worker = self.worker(kind, name)?;
        self.open.insert(connection, Open { worker, announcement: self.announcement });
        let entry = self.workers.get_mut(worker as usize)?;
        entry.open += 1;
        let came = entry.open == 1;
        came.then_some(worker)
    }

    /// A connection closed. Returns the worker if that was its last.
    pub(crate) fn close(&mut self, connection: Connection) -> Option<u32> {
        let open = self.open.remove(&connection)?;
        let worker = self.workers.get_mut(open.worker as usize)?;
        worker.open = worker.open.saturating_sub(1);
        (worker.open == 0).then_some(open.worker)
    }

    /// All channels of a downstream closed.
    pub(crate) fn close_downstream(&mut self, id: u32) -> Vec<u32> {
        self.close_where(
            |connection, _| matches!(connection, Connection::Channel { downstream, .. } if *downstream == id),
        )
    }

    pub(crate) fn close_all(&mut self) -> Vec<u32> {
        self.close_where(|_, _| true)
    }

    pub(crate) fn announce_begin(&mut self) {
        self.announcing = true;
        self.announcement = self.announcement.wrapping_add(1);
    }

    /// What the announcement did not name is not open any more.
    pub(crate) fn announce_end(&mut self) -> Vec<u32> {
        self.announcing = false;
        let current = self.announcement;
        self.close_where(|_, open| open.announcement != current)
    }

    fn close_where(&mut self, is_closed: impl Fn(&Connection, &Open) -> bool) -> Vec<u32> {
        let closed: Vec<Connection> =
            self.open.iter().filter(|(connection, open)| is_closed(connection, open)).map(|(key, _)| *key).collect();
        let mut gone: Vec<u32> = closed.into_iter().filter_map(|connection| self.close(connection)).collect();
        // So that messages have an order that does not depend on a hash map.
        gone.sort_unstable();
        gone
    }

    fn worker(&mut self, kind: WorkerKind, name: &str) -> Option<u32> {
        let key = (kind, Arc::from(name));
        if let Some(id) = self.names.get(&key) {
            return Some(*id);
        }
        if self.workers.len() >= MAX_WORKERS && self.free.is_empty() {
            self.forget_offline();
            if self.free.is_empty() {
                return None;
            }
        }
        let worker = Worker {
            kind,
            name: Arc::clone(&key.1),
            open: 0,
            accepted: 0,
            rejected: 0,
            last_share_ms: None,
            shares: VecDeque::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                *self.workers.get_mut(id as usize)? = worker;
                id
            }
            None => {
                self.workers.push(worker);
                // Below MAX_WORKERS.
                self.workers.len() as u32 - 1
            }
        };
        self.names.insert(key, id);
        Some(id)
    }

    fn forget_offline(&mut self) {
        let is_online = |id: u32| self.workers.get(id as usize).is_some_and(|worker| worker.open > 0);
        self.changed.retain(|id| is_online(*id));
        let free = &mut self.free;
        self.names.retain(|_, id| {
            let stays = is_online(*id);
            if !stays {
                free.push(*id);
            }
            stays
        });
    }

    /// Takes an event if it is about shares, which come by the million: only the one kind is read, nothing is allocated, and
    /// no name is looked at.
    #[inline]
    pub(crate) fn take_shares(&mut self, envelope: &Envelope<'_>) -> bool {
        let (payload, record) = (envelope.frame.payload(), envelope.record);
        match envelope.kind() {
            EventKind::ShareSubmitted => {
                if let Ok(share) = ShareSubmitted::decode(payload) {
                    let at_ms = record.counted_at(share.timestamp).0;
                    let connection = channel(share.downstream_id.0, share.channel_id.0);
                    self.accepted(connection, at_ms, share.target, share.share);
                }
            }
            EventKind::MinerShareSubmitted => {
                if let Ok(share) = MinerShareSubmitted::decode(payload) {
                    let at_ms = record.counted_at(share.timestamp).0;
                    self.accepted(Connection::Miner(share.miner_id.0), at_ms, share.target, share.share);
                }
            }
            EventKind::ShareRejected => {
                if let Ok(share) = ShareRejected::decode(payload) {
                    let at_ms = record.counted_at(share.timestamp).0;
                    let connection = channel(share.downstream_id.0, share.channel_id.0);
                    self.rejected(connection, at_ms, share.error_code.as_str());
                }
            }
            EventKind::MinerShareRejected => {
                if let Ok(share) = MinerShareRejected::decode(payload) {
                    let at_ms = record.counted_at(share.timestamp).0;
                    self.rejected(Connection::Miner(share.miner_id.0), at_ms, share.error_code.as_str());
                }
            }
            EventKind::SharesCounted => {
                if let Ok(counted) = SharesCounted::decode(payload) {
                    let at_ms = record.counted_at(counted.timestamp).0;
                    let connection = channel(counted.downstream_id.0, counted.channel_id.0);
                    self.counted(connection, at_ms, counted.accepted.into(), counted.rejected.into());
                }
            }
            _ => return false,
        }
        true
    }

    fn accepted(&mut self, connection: Connection, at_ms: u64, target: CompactTarget, share: CompactTarget) {
        let Some(worker) = self.shares(connection, 1, 0) else { return };
        worker.last_share_ms = worker.last_share_ms.max(Some(at_ms));
        worker.note(KeptShare::Accepted { at_ms, target, share });
    }

    fn rejected(&mut self, connection: Connection, at_ms: u64, code: &str) {
        let Some(worker) = self.shares(connection, 0, 1) else { return };
        let error_code = RejectReason::fold(code).code();
        worker.note(KeptShare::Rejected { at_ms, error_code });
    }

    fn counted(&mut self, connection: Connection, at_ms: u64, accepted: u64, rejected: u64) {
        if accepted + rejected > 0
            && let Some(worker) = self.shares(connection, accepted, rejected)
            && accepted > 0
        {
            worker.last_share_ms = worker.last_share_ms.max(Some(at_ms));
        }
    }

    /// Adds shares of a connection to its worker. Inside an announcement everything has happened before.
    fn shares(&mut self, connection: Connection, accepted: u64, rejected: u64) -> Option<&mut Worker> {
        if self.announcing {
            return None;
        }
        let id = self.open.get(&connection)?.worker;
        let worker = self.workers.get_mut(id as usize)?;
        if worker.accepted + worker.rejected == 0 {
            self.changed.push(id);
        }
        worker.accepted += accepted;
        worker.rejected += rejected;
        Some(worker)
    }

    pub(crate) fn worker_of(&self, connection: Connection) -> Option<&Worker> {
        self.get(self.open.get(&connection)?.worker)
    }

    pub(crate) fn get(&self, worker: u32) -> Option<&Worker> {
        self.workers.get(worker as usize)
    }

    pub(crate) fn find(&self, kind: WorkerKind, name: &str) -> Option<&Worker> {
        self.names.get(&(kind, Arc::from(name))).and_then(|id| self.get(*id))
    }

    /// Workers with something open.
    #[cfg(test)]
    pub(crate) fn connected(&self) -> u64 {
        self.names.values().filter(|id| self.get(**id).is_some_and(|worker| worker.open > 0)).count() as u64
    }

    /// Workers with shares since the last look.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Worker> {
        self.changed.iter().filter_map(|id| self.get(*id))
    }

    /// That was the look.
    pub(crate) fn forget_changes(&mut self) {
        for id in self.changed.drain(..) {
            if let Some(worker) = self.workers.get_mut(id as usize) {
                (worker.accepted, worker.rejected) = (0, 0);
            }
        }
    }
}

/// A channel of a downstream.
pub(crate) const fn channel(downstream: u32, channel: u32) -> Connection {
    Connection::Channel { downstream, channel }
}

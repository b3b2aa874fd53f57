//! One publisher in the present: its session, what is open in it, and its workers.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::message::WorkerKind;
use super::recent::{KeptShare, MAX_SHARES};

/// Workers of one publisher that are followed; the history knows all of them.
pub(crate) const MAX_WORKERS: usize = 20_000;
/// Channels, and miners, of one publisher that are followed.
pub(crate) const MAX_OPEN: usize = 100_000;

/// What is open: a channel of a downstream, or a miner's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    Channel { downstream: u32, channel: u32 },
    Miner(u32),
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
        }
        self.shares.push_back(share);
    }
}

/// A publisher.
#[derive(Debug)]
pub(crate) struct Source {
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
    workers: FxHashMap<u32, Worker>,
    names: FxHashMap<(WorkerKind, Arc<str>), u32>,
    next_worker: u32,
    /// Workers with shares since the last look.
    changed: Vec<u32>,
}

impl Source {
    pub(crate) fn new(role: &'static str, session_id: u64) -> Self {
        Self {
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
            workers: FxHashMap::default(),
            names: FxHashMap::default(),
            next_worker: 0,
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
            let worker = self.workers.get(&open.worker);
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
        let entry = self.workers.get_mut(&worker)?;
        entry.open += 1;
        (entry.open == 1).then_some(worker)
    }

    /// A connection closed. Returns the worker if that was its last.
    pub(crate) fn close(&mut self, connection: Connection) -> Option<u32> {
        let open = self.open.remove(&connection)?;
        let worker = self.workers.get_mut(&open.worker)?;
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
        // By age, so that messages have an order that does not depend on a hash map.
        gone.sort_unstable();
        gone
    }

    fn worker(&mut self, kind: WorkerKind, name: &str) -> Option<u32> {
        let key = (kind, Arc::from(name));
        if let Some(id) = self.names.get(&key) {
            return Some(*id);
        }
        if self.workers.len() >= MAX_WORKERS {
            self.forget_offline();
            if self.workers.len() >= MAX_WORKERS {
                return None;
            }
        }
        let id = self.next_worker;
        self.next_worker = self.next_worker.wrapping_add(1);
        let worker = Worker {
            kind,
            name: Arc::clone(&key.1),
            open: 0,
            accepted: 0,
            rejected: 0,
            last_share_ms: None,
            shares: VecDeque::new(),
        };
        self.workers.insert(id, worker);
        self.names.insert(key, id);
        Some(id)
    }

    fn forget_offline(&mut self) {
        self.workers.retain(|_, worker| worker.open > 0);
        let workers = &self.workers;
        self.names.retain(|_, id| workers.contains_key(id));
        self.changed.retain(|id| workers.contains_key(id));
    }

    /// Adds shares of a connection to its worker.
    pub(crate) fn shares(&mut self, connection: Connection, accepted: u64, rejected: u64) -> Option<&mut Worker> {
        let id = self.open.get(&connection)?.worker;
        let worker = self.workers.get_mut(&id)?;
        if worker.accepted + worker.rejected == 0 {
            self.changed.push(id);
        }
        worker.accepted += accepted;
        worker.rejected += rejected;
        Some(worker)
    }

    pub(crate) fn worker_of(&self, connection: Connection) -> Option<&Worker> {
        self.workers.get(&self.open.get(&connection)?.worker)
    }

    pub(crate) fn get(&self, worker: u32) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    pub(crate) fn find(&self, kind: WorkerKind, name: &str) -> Option<&Worker> {
        self.names.get(&(kind, Arc::from(name))).and_then(|id| self.workers.get(id))
    }

    pub(crate) fn online(&self) -> u64 {
        self.workers.values().filter(|worker| worker.open > 0).count() as u64
    }

    /// Gives each worker with shares since the last look to `visit`, and forgets what they did.
    pub(crate) fn take_changed(&mut self, mut visit: impl FnMut(&Worker)) {
        for id in std::mem::take(&mut self.changed) {
            if let Some(worker) = self.workers.get_mut(&id) {
                visit(worker);
                (worker.accepted, worker.rejected) = (0, 0);
            }
        }
    }
}

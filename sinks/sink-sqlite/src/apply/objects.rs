//! What is open: downstreams, channels, miners, upstreams. A state event that repeats what is known changes nothing, one
//! that contradicts it closes the old object and opens the new, and in a session that is over it opens nothing.

use rusqlite::params;
use stats_sv2::CompactTarget;
use stats_sv2::event::{
    ChannelClosed, ChannelOpened, ChannelTargetChanged, DownstreamConnected, DownstreamDisconnected, MinerConnected,
    MinerDisconnected, MinerHashrateUpdate, UpstreamConnected, UpstreamDisconnected,
};
use stats_sv2::limits::MAX_OPEN_OBJECTS;

use crate::apply::Run;
use crate::cache::{Downstream, OTHER, SeriesKind, Worker, channel_key};
use crate::error::HistoryError;
use crate::rollup::SeriesRef;

/// Ids under which the stand-in for objects beyond the limit is found; real ids may collide with it, which only means
/// that their shares count there too.
const OVERFLOW_ID: u32 = u32::MAX;

/// What the end of a channel or miner means for its row.
enum Closing {
    /// The row was open.
    Open(i64),
    /// The row of a session that only delivers its rest: closed from its start, and now known to have lasted longer.
    Rest(i64),
    /// Nothing: it was closed before.
    Nothing,
}

impl Run<'_> {
    /// The time at which a new object is closed at once: the session is over, or only delivers its rest (rule 5).
    fn closed_from_start(&self, at: u64) -> Option<u64> {
        (self.session.ended || self.record.finishing).then_some(at)
    }

    /// Number of the announcement under way, for the mark of what it named.
    fn naming(&self) -> u32 {
        if self.session.announcing { self.session.announcement } else { 0 }
    }

    fn is_full(&self) -> bool {
        self.session.open_objects() >= MAX_OPEN_OBJECTS
    }

    // --- downstreams

    pub(super) fn downstream_connected(
        &mut self,
        connected: &DownstreamConnected<'_>,
        at: u64,
    ) -> Result<(), HistoryError> {
        let id = connected.downstream_id.0;
        if let Some(known) = self.session.downstreams.get(&id).filter(|known| known.row != 0) {
            let row = known.row;
            // The same connection told again, or one that so far was only known by its channels.
            let same = self
                .conn
                .prepare_cached(
                    "UPDATE downstreams SET connected_at = ?2, flags = ?3, address = ?4, vendor = ?5, hardware_version = ?6,
                       firmware = ?7, device_id = ?8, implied = 0, named = max(named, ?9)
                     WHERE id = ?1 AND (implied = 1 OR connected_at = ?2)",
                )?
                .execute(params![
                    row,
                    at,
                    connected.flags,
                    connected.address.as_str(),
                    connected.vendor.as_str(),
                    connected.hardware_version.as_str(),
                    connected.firmware.as_str(),
                    connected.device_id.as_str(),
                    self.naming()
                ])?;
            if same > 0 {
                return Ok(());
            }
            self.close_downstream(id, at, "id-reused")?;
        } else if self.is_full() {
            return Ok(());
        }
        let closed = self.closed_from_start(at);
        self.conn
            .prepare_cached(
                "INSERT INTO downstreams (source, session, downstream_id, connected_at, disconnected_at, flags, address, vendor,
                   hardware_version, firmware, device_id, named) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                self.source.row,
                self.session.row,
                id,
                at,
                closed,
                connected.flags,
                connected.address.as_str(),
                connected.vendor.as_str(),
                connected.hardware_version.as_str(),
                connected.firmware.as_str(),
                connected.device_id.as_str(),
                self.naming()
            ])?;
        if closed.is_none() {
            let row = self.conn.last_insert_rowid();
            self.session.downstreams.entry(id).or_default().row = row;
        }
        Ok(())
    }

    pub(super) fn downstream_disconnected(
        &mut self,
        gone: &DownstreamDisconnected<'_>,
        at: u64,
    ) -> Result<(), HistoryError> {
        self.close_downstream(gone.downstream_id.0, at, gone.reason.as_str())
    }

    /// Closes a downstream and, with it, its channels.
    fn close_downstream(&mut self, id: u32, at: u64, reason: &str) -> Result<(), HistoryError> {
        let Some(Downstream { row, channels }) = self.session.downstreams.remove(&id) else { return Ok(()) };
        for channel_id in channels {
            self.close_channel(id, channel_id, at, reason)?;
        }
        self.conn
            .prepare_cached(
                "UPDATE downstreams SET disconnected_at = max(connected_at, ?2), reason = ?3 WHERE id = ?1",
            )?
            .execute(params![row, at, reason])?;
        Ok(())
    }

    /// A channel belongs to a downstream that was not seen to connect.
    fn imply_downstream(&mut self, id: u32, at: u64, closed: Option<u64>) -> Result<(), HistoryError> {
        if self.session.downstreams.get(&id).is_some_and(|known| known.row != 0) {
            if self.session.announcing {
                // Whose channel is open is open itself.
                self.conn
                    .prepare_cached("UPDATE downstreams SET named = ?2 WHERE id = ?1")?
                    .execute(params![self.session.downstreams[&id].row, self.session.announcement])?;
            }
            return Ok(());
        }
        if closed.is_some() {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO downstreams (source, session, downstream_id, connected_at, implied, named) VALUES (?1, ?2, ?3, ?4, 1, ?5)",
            )?
            .execute(params![self.source.row, self.session.row, id, at, self.naming()])?;
        let row = self.conn.last_insert_rowid();
        self.session.downstreams.entry(id).or_default().row = row;
        Ok(())
    }

    // --- channels

    pub(super) fn channel_opened(&mut self, opened: &ChannelOpened<'_>, at: u64) -> Result<(), HistoryError> {
        let (downstream_id, channel_id) = (opened.downstream_id.0, opened.channel_id.0);
        let identity = self.series(SeriesKind::Identity, opened.user_identity.as_str(), at)?;
        let known = self.session.channels.get(&channel_key(downstream_id, channel_id)).copied();
        if let Some(index) = known.filter(|index| self.session.workers[*index as usize].open) {
            let naming = self.naming();
            let worker = &self.session.workers[index as usize];
            let (row, implied) = (worker.row, worker.implied);
            if implied || (worker.opened_at == at && worker.identity == identity) {
                self.conn
                    .prepare_cached(
                        "UPDATE channels SET identity = ?2, kind = ?3, nominal_hashrate = ?4, target = ?5, opened_at = ?6,
                           implied = 0, named = max(named, ?7) WHERE id = ?1",
                    )?
                    .execute(params![row, identity.id, opened.kind, opened.nominal_hashrate, opened.target.0, at, naming])?;
                self.rename_worker(index, identity, at);
                self.forget_older_target(index, opened.target);
                return self.imply_downstream(downstream_id, at, None);
            }
            self.close_channel(downstream_id, channel_id, at, "id-reused")?;
        } else if self.is_full() {
            return Ok(());
        }
        let closed = self.closed_from_start(at);
        self.imply_downstream(downstream_id, at, closed)?;
        let connection = self.connection(SeriesKind::Downstream, downstream_id, at)?;
        self.conn
            .prepare_cached(
                "INSERT INTO channels (source, session, downstream_id, channel_id, identity, connection, kind, nominal_hashrate,
                   target, opened_at, closed_at, named) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                self.source.row,
                self.session.row,
                downstream_id,
                channel_id,
                identity.id,
                connection.id,
                opened.kind,
                opened.nominal_hashrate,
                opened.target.0,
                at,
                closed,
                self.naming()
            ])?;
        let row = self.conn.last_insert_rowid();
        let worker = Worker { open: closed.is_none(), ..Worker::new(row, false, identity, connection, at) };
        self.session.insert_channel(downstream_id, channel_id, worker);
        Ok(())
    }

    pub(super) fn channel_closed(&mut self, closed: &ChannelClosed<'_>, at: u64) -> Result<(), HistoryError> {
        let (downstream_id, channel_id) = (closed.downstream_id.0, closed.channel_id.0);
        self.close_channel(downstream_id, channel_id, at, closed.reason.as_str())?;
        if let Some(downstream) = self.session.downstreams.get_mut(&downstream_id) {
            downstream.channels.remove(&channel_id);
        }
        Ok(())
    }

    fn close_channel(
        &mut self,
        downstream_id: u32,
        channel_id: u32,
        at: u64,
        reason: &str,
    ) -> Result<(), HistoryError> {
        let index = match self.session.channels.get(&channel_key(downstream_id, channel_id)) {
            Some(index) => *index,
            // What is closed may have been forgotten.
            None if self.closed_from_start(at).is_some() => {
                match self.session.load_closed_channel(self.conn, downstream_id, channel_id)? {
                    Some(index) => index,
                    None => return Ok(()),
                }
            }
            None => return Ok(()),
        };
        let row = match self.close_worker(index, at) {
            Closing::Open(row) => row,
            Closing::Rest(row) => {
                let mut longer =
                    self.conn.prepare_cached("UPDATE channels SET closed_at = max(closed_at, ?2) WHERE id = ?1")?;
                longer.execute(params![row, at])?;
                return Ok(());
            }
            Closing::Nothing => return Ok(()),
        };
        self.conn
            .prepare_cached("UPDATE channels SET closed_at = max(opened_at, ?2), reason = ?3 WHERE id = ?1")?
            .execute(params![row, at, reason])?;
        Ok(())
    }

    /// What the end of a channel or miner changes.
    fn close_worker(&mut self, index: u32, at: u64) -> Closing {
        let is_rest = self.closed_from_start(at).is_some();
        let worker = &mut self.session.workers[index as usize];
        if worker.row == 0 {
            return Closing::Nothing;
        }
        if worker.open {
            worker.open = false;
            self.session.closed_workers += 1;
            return Closing::Open(worker.row);
        }
        if is_rest { Closing::Rest(worker.row) } else { Closing::Nothing }
    }

    pub(super) fn channel_target_changed(&mut self, changed: &ChannelTargetChanged) -> Result<(), HistoryError> {
        let key = channel_key(changed.downstream_id.0, changed.channel_id.0);
        let known = self.session.channels.get(&key).copied();
        let Some(index) = known.filter(|index| self.session.workers[*index as usize].open) else { return Ok(()) };
        let worker = &self.session.workers[index as usize];
        self.conn
            .prepare_cached("UPDATE channels SET target = ?2 WHERE id = ?1")?
            .execute(params![worker.row, changed.target.0])?;
        self.forget_older_target(index, changed.target);
        Ok(())
    }

    /// The channel of these ids, open or closed, if one was ever known.
    pub(super) fn known_channel(&mut self, downstream_id: u32, channel_id: u32) -> Result<Option<u32>, HistoryError> {
        match self.session.channels.get(&channel_key(downstream_id, channel_id)) {
            Some(index) => Ok(Some(*index)),
            None => self.session.load_closed_channel(self.conn, downstream_id, channel_id),
        }
    }

    /// The series of an open downstream; an id that nobody connected with has none.
    pub(super) fn series_of_downstream(&mut self, id: u32, at: u64) -> Result<Option<SeriesRef>, HistoryError> {
        let is_open = self.session.downstreams.get(&id).is_some_and(|known| known.row != 0);
        if is_open { self.connection(SeriesKind::Downstream, id, at).map(Some) } else { Ok(None) }
    }

    /// The channel of a share, made if nothing is known of it: its opening was lost.
    pub(super) fn channel_of_share(
        &mut self,
        downstream_id: u32,
        channel_id: u32,
        at: u64,
    ) -> Result<u32, HistoryError> {
        if let Some(index) = self.known_channel(downstream_id, channel_id)? {
            return Ok(index);
        }
        if self.is_full() {
            return self.overflow(false, at);
        }
        let closed = self.closed_from_start(at);
        self.imply_downstream(downstream_id, at, closed)?;
        let identity = self.series(SeriesKind::Identity, "", at)?;
        let connection = self.connection(SeriesKind::Downstream, downstream_id, at)?;
        self.conn
            .prepare_cached(
                "INSERT INTO channels (source, session, downstream_id, channel_id, identity, connection, opened_at, closed_at, implied)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)",
            )?
            .execute(params![
                self.source.row,
                self.session.row,
                downstream_id,
                channel_id,
                identity.id,
                connection.id,
                at,
                closed
            ])?;
        let row = self.conn.last_insert_rowid();
        let worker =
            Worker { implied: true, open: closed.is_none(), ..Worker::new(row, false, identity, connection, at) };
        Ok(self.session.insert_channel(downstream_id, channel_id, worker))
    }

    // --- miners

    pub(super) fn miner_connected(&mut self, connected: &MinerConnected<'_>, at: u64) -> Result<(), HistoryError> {
        let id = connected.miner_id.0;
        let identity = self.series(SeriesKind::MinerName, connected.name.as_str(), at)?;
        let known = self.session.miners.get(&id).copied();
        if let Some(index) = known.filter(|index| self.session.workers[*index as usize].open) {
            let worker = &self.session.workers[index as usize];
            let (row, implied) = (worker.row, worker.implied);
            if implied || (worker.opened_at == at && worker.identity == identity) {
                self.conn
                    .prepare_cached(
                        "UPDATE miners SET identity = ?2, address = ?3, user_agent = ?4, connected_at = ?5, implied = 0,
                           named = max(named, ?6) WHERE id = ?1",
                    )?
                    .execute(params![
                        row,
                        identity.id,
                        connected.address.as_str(),
                        connected.user_agent.as_str(),
                        at,
                        self.naming()
                    ])?;
                self.rename_worker(index, identity, at);
                return Ok(());
            }
            self.close_miner(id, at, "id-reused")?;
        } else if self.is_full() {
            return Ok(());
        }
        let connection = self.connection(SeriesKind::MinerId, id, at)?;
        let closed = self.closed_from_start(at);
        self.conn
            .prepare_cached(
                "INSERT INTO miners (source, session, miner_id, identity, connection, address, user_agent, connected_at,
                   disconnected_at, named) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                self.source.row,
                self.session.row,
                id,
                identity.id,
                connection.id,
                connected.address.as_str(),
                connected.user_agent.as_str(),
                at,
                closed,
                self.naming()
            ])?;
        let row = self.conn.last_insert_rowid();
        let worker = Worker { open: closed.is_none(), ..Worker::new(row, true, identity, connection, at) };
        self.session.insert_miner(id, worker);
        Ok(())
    }

    pub(super) fn miner_disconnected(&mut self, gone: &MinerDisconnected<'_>, at: u64) -> Result<(), HistoryError> {
        self.close_miner(gone.miner_id.0, at, gone.reason.as_str())
    }

    fn close_miner(&mut self, id: u32, at: u64, reason: &str) -> Result<(), HistoryError> {
        let index = match self.session.miners.get(&id) {
            Some(index) => *index,
            None if self.closed_from_start(at).is_some() => match self.session.load_closed_miner(self.conn, id)? {
                Some(index) => index,
                None => return Ok(()),
            },
            None => return Ok(()),
        };
        let row = match self.close_worker(index, at) {
            Closing::Open(row) => row,
            Closing::Rest(row) => {
                let mut longer = self
                    .conn
                    .prepare_cached("UPDATE miners SET disconnected_at = max(disconnected_at, ?2) WHERE id = ?1")?;
                longer.execute(params![row, at])?;
                return Ok(());
            }
            Closing::Nothing => return Ok(()),
        };
        self.conn
            .prepare_cached("UPDATE miners SET disconnected_at = max(connected_at, ?2), reason = ?3 WHERE id = ?1")?
            .execute(params![row, at, reason])?;
        Ok(())
    }

    pub(super) fn miner_hashrate_update(&mut self, update: &MinerHashrateUpdate, at: u64) -> Result<(), HistoryError> {
        let known = self.session.miners.get(&update.miner_id.0).copied();
        let known = known.filter(|index| self.session.workers[*index as usize].open);
        // An announcement's update belongs to a miner that it named; it must not make one.
        let index = match known {
            Some(index) => index,
            None if self.session.announcing => return Ok(()),
            None => self.miner_of_share(update.miner_id.0, at)?,
        };
        let row = self.session.workers[index as usize].row;
        self.conn
            .prepare_cached("UPDATE miners SET declared_hashrate = ?2 WHERE id = ?1")?
            .execute(params![row, update.hashrate])?;
        Ok(())
    }

    /// The miner of a share, made if nothing is known of it.
    pub(super) fn miner_of_share(&mut self, id: u32, at: u64) -> Result<u32, HistoryError> {
        if let Some(index) = self.session.miners.get(&id) {
            return Ok(*index);
        }
        if let Some(index) = self.session.load_closed_miner(self.conn, id)? {
            return Ok(index);
        }
        if self.is_full() {
            return self.overflow(true, at);
        }
        let identity = self.series(SeriesKind::MinerName, "", at)?;
        let connection = self.connection(SeriesKind::MinerId, id, at)?;
        let closed = self.closed_from_start(at);
        self.conn
            .prepare_cached(
                "INSERT INTO miners (source, session, miner_id, identity, connection, connected_at, disconnected_at, implied)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
            )?
            .execute(params![self.source.row, self.session.row, id, identity.id, connection.id, at, closed])?;
        let row = self.conn.last_insert_rowid();
        let worker =
            Worker { implied: true, open: closed.is_none(), ..Worker::new(row, true, identity, connection, at) };
        Ok(self.session.insert_miner(id, worker))
    }

    // --- upstreams

    pub(super) fn upstream_connected(
        &mut self,
        connected: &UpstreamConnected<'_>,
        at: u64,
    ) -> Result<(), HistoryError> {
        let address = connected.address.as_str();
        let known = self
            .conn
            .prepare_cached(
                "UPDATE upstreams SET named = max(named, ?4)
                 WHERE session = ?1 AND address = ?2 AND connected_at = ?3 AND disconnected_at IS NULL",
            )?
            .execute(params![self.session.row, address, at, self.naming()])?;
        if known > 0 {
            return Ok(());
        }
        self.close_upstream(address, at, "replaced")?;
        let closed = self.closed_from_start(at);
        self.conn
            .prepare_cached(
                "INSERT INTO upstreams (source, session, address, connected_at, disconnected_at, named)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.source.row, self.session.row, address, at, closed, self.naming()])?;
        Ok(())
    }

    pub(super) fn upstream_disconnected(
        &mut self,
        gone: &UpstreamDisconnected<'_>,
        at: u64,
    ) -> Result<(), HistoryError> {
        self.close_upstream(gone.address.as_str(), at, gone.reason.as_str())
    }

    fn close_upstream(&mut self, address: &str, at: u64, reason: &str) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached(
                "UPDATE upstreams SET disconnected_at = max(connected_at, ?3), reason = ?4
                 WHERE session = ?1 AND address = ?2 AND disconnected_at IS NULL",
            )?
            .execute(params![self.session.row, address, at, reason])?;
        Ok(())
    }

    // --- workers

    /// A worker that was known from its shares alone, or is told again, gets its name and time.
    fn rename_worker(&mut self, index: u32, identity: SeriesRef, opened_at: u64) {
        // What it has gathered belongs to the name that it had.
        self.spill_worker(index as usize);
        let worker = &mut self.session.workers[index as usize];
        worker.identity = identity;
        worker.width = identity.finest().width_ms();
        worker.opened_at = opened_at;
        worker.implied = false;
    }

    /// A share that waits to be written must not bring an older target back.
    fn forget_older_target(&mut self, index: u32, target: CompactTarget) {
        let worker = &mut self.session.workers[index as usize];
        if worker.dirty {
            worker.counts.target = target;
        }
    }

    // --- series

    fn series(&mut self, kind: SeriesKind, name: &str, at: u64) -> Result<SeriesRef, HistoryError> {
        self.source.series(self.conn, kind, name, at, self.policy.series)
    }

    fn connection(&mut self, kind: SeriesKind, id: u32, at: u64) -> Result<SeriesRef, HistoryError> {
        self.series(kind, &id.to_string(), at)
    }

    /// Stands in for channels or miners beyond the limit of open objects: their shares count, under a shared name.
    fn overflow(&mut self, is_miner: bool, at: u64) -> Result<u32, HistoryError> {
        let known = if is_miner {
            self.session.miners.get(&OVERFLOW_ID)
        } else {
            self.session.channels.get(&channel_key(OVERFLOW_ID, OVERFLOW_ID))
        };
        if let Some(index) = known {
            return Ok(*index);
        }
        let (names, ids) = if is_miner {
            (SeriesKind::MinerName, SeriesKind::MinerId)
        } else {
            (SeriesKind::Identity, SeriesKind::Downstream)
        };
        let identity = self.series(names, OTHER, at)?;
        let connection = self.connection(ids, OVERFLOW_ID, at)?;
        let worker = Worker::new(0, is_miner, identity, connection, at);
        Ok(if is_miner {
            self.session.insert_miner(OVERFLOW_ID, worker)
        } else {
            self.session.insert_channel(OVERFLOW_ID, OVERFLOW_ID, worker)
        })
    }
}

//! Shares: into the worker's row, the buckets of its name and connection, and the publisher's total.

use mining_stats::{RejectReason, ShareCredit, Sums, TargetBounds, Work, tier::SLOT_MS};
use sidecar_core::RecordKind;
use stats_sv2::event::{
    BlockFound, MinerShareRejected, MinerShareSubmitted, ShareRejected, ShareSubmitted, SharesCounted,
};

use crate::apply::Run;
use crate::cache::{SeriesKind, channel_key};
use crate::error::HistoryError;
use crate::rollup::{Pending, SeriesRef};

/// Counters that span more slots than this are not spread over them: too little is known about when the work was done.
const MAX_COUNTED_SLOTS: u64 = 60;

impl Run<'_> {
    #[inline]
    pub(super) fn share_submitted(&mut self, share: &ShareSubmitted) -> Result<(), HistoryError> {
        if self.session.announcing || self.record.kind == RecordKind::Announcement {
            return Ok(());
        }
        let at = self.at(share.timestamp);
        self.moment(at)?;
        let key = channel_key(share.downstream_id.0, share.channel_id.0);
        let index = match self.session.channels.get(&key) {
            Some(index) => *index,
            None => self.channel_of_share(share.downstream_id.0, share.channel_id.0, at)?,
        };
        match self.policy.bounds.credit(share.target, share.share) {
            Ok(credit) => {
                let total = &self.session.channels_total;
                if !total.1.takes(at, TOTAL_WIDTH) || total.0.is_none() {
                    self.open_total(false, at)?;
                }
                self.session.channels_total.1.add(credit, at, TOTAL_WIDTH);
                self.credit(index, credit, share.target, at);
            }
            Err(_) => self.invalid_targets(index, 1, at)?,
        }
        Ok(())
    }

    pub(super) fn miner_share_submitted(&mut self, share: &MinerShareSubmitted, at: u64) -> Result<(), HistoryError> {
        let index = self.miner_of_share(share.miner_id.0, at)?;
        match self.policy.bounds.credit(share.target, share.share) {
            Ok(credit) => {
                let total = &self.session.miners_total;
                if !total.1.takes(at, TOTAL_WIDTH) || total.0.is_none() {
                    self.open_total(true, at)?;
                }
                self.session.miners_total.1.add(credit, at, TOTAL_WIDTH);
                self.credit(index, credit, share.target, at);
            }
            Err(_) => self.invalid_targets(index, 1, at)?,
        }
        Ok(())
    }

    #[inline]
    fn credit(&mut self, index: u32, credit: ShareCredit, target: stats_sv2::CompactTarget, at: u64) {
        let worker = &self.session.workers[index as usize];
        if !worker.pending.takes(at, worker.width) {
            self.spill_worker(index as usize);
        }
        let worker = self.session.touch(index);
        worker.pending.add(credit, at, worker.width);
        let counts = &mut worker.counts;
        counts.accepted += 1;
        counts.work += credit.work;
        counts.best_share_work = counts.best_share_work.max(credit.share_work);
        counts.target = target;
        worker.shared_at(at);
    }

    /// The total's shares of another slot go to the buckets, and its series is looked up if this is the first share.
    fn open_total(&mut self, miners: bool, at: u64) -> Result<(), HistoryError> {
        let series = self.total_series(miners, at)?;
        let pending = if miners { &mut self.session.miners_total.1 } else { &mut self.session.channels_total.1 };
        let pending: Pending = std::mem::take(pending);
        if !pending.is_empty() {
            pending.add_to(self.rollup, series, &self.source.struck);
        }
        Ok(())
    }

    fn total_series(&mut self, miners: bool, at: u64) -> Result<SeriesRef, HistoryError> {
        let known = if miners { self.session.miners_total.0 } else { self.session.channels_total.0 };
        if let Some(series) = known {
            return Ok(series);
        }
        let kind = if miners { SeriesKind::Miners } else { SeriesKind::Channels };
        let series = self.source.series(self.conn, kind, "", at, self.policy.series)?;
        let total = if miners { &mut self.session.miners_total } else { &mut self.session.channels_total };
        total.0 = Some(series);
        Ok(series)
    }

    /// Adds something rare to the buckets of a worker's name, its connection and the total.
    pub(super) fn add_to_buckets(
        &mut self,
        index: u32,
        at: u64,
        mut add: impl FnMut(&mut Sums, bool),
    ) -> Result<(), HistoryError> {
        let worker = &self.session.workers[index as usize];
        let (identity, connection, miners) = (worker.identity, worker.connection, worker.is_miner);
        let total = self.total_series(miners, at)?;
        for series in [identity, connection, total] {
            let rated = series.is_rated(at, &self.source.struck);
            add(self.rollup.entry(series, at), rated);
        }
        Ok(())
    }

    fn invalid_targets(&mut self, index: u32, count: u64, at: u64) -> Result<(), HistoryError> {
        let worker = self.session.touch(index);
        worker.counts.accepted += count;
        worker.counts.invalid_target += count;
        worker.shared_at(at);
        self.add_to_buckets(index, at, |sums, _| {
            sums.accepted += count;
            sums.invalid_target += count;
        })
    }

    /// A rejection makes no channel, as an accepted share does: its number may be a miner's invention, and there are 2^32 of
    /// them. One without a channel counts in the total, and for its downstream if that is open.
    pub(super) fn share_rejected(&mut self, reject: &ShareRejected<'_>, at: u64) -> Result<(), HistoryError> {
        let downstream_id = reject.downstream_id.0;
        if let Some(index) = self.known_channel(downstream_id, reject.channel_id.0)? {
            return self.rejected(index, reject.error_code.as_str(), at);
        }
        let reason = RejectReason::fold(reject.error_code.as_str());
        let total = self.total_series(false, at)?;
        for series in self.series_of_downstream(downstream_id, at)?.into_iter().chain([total]) {
            self.rollup.entry(series, at).add_reject(reason);
        }
        Ok(())
    }

    pub(super) fn miner_share_rejected(
        &mut self,
        reject: &MinerShareRejected<'_>,
        at: u64,
    ) -> Result<(), HistoryError> {
        let index = self.miner_of_share(reject.miner_id.0, at)?;
        self.rejected(index, reject.error_code.as_str(), at)
    }

    fn rejected(&mut self, index: u32, error_code: &str, at: u64) -> Result<(), HistoryError> {
        let reason = RejectReason::fold(error_code);
        self.session.touch(index).counts.rejected += 1;
        self.add_to_buckets(index, at, |sums, _| sums.add_reject(reason))
    }

    /// Shares of a program that only has counters (delivery rule 31). A short span counts where it ends; a longer one is
    /// spread evenly over its minutes, so that it makes no spike; a very long one adds to totals alone, and its time
    /// leaves the rates.
    pub(super) fn shares_counted(&mut self, counted: &SharesCounted, at: u64) -> Result<(), HistoryError> {
        let index = self.channel_of_share(counted.downstream_id.0, counted.channel_id.0, at)?;
        let (accepted, rejected) = (u64::from(counted.accepted), u64::from(counted.rejected));
        let work = Work::from_wire(counted.work).to_f64();
        let counts = &mut self.session.touch(index).counts;
        counts.rejected += rejected;
        if rejected > 0 {
            self.add_to_buckets(index, at, |sums, _| sums.add_counted(0, rejected, 0.0, true))?;
        }
        if accepted == 0 {
            return Ok(());
        }
        let per_share = work / accepted as f64;
        if !(1.0..=TargetBounds::DEFAULT_HARDEST.expected_hashes()).contains(&per_share) {
            return self.invalid_targets(index, accepted, at);
        }
        let worker = self.session.touch(index);
        worker.counts.accepted += accepted;
        worker.counts.work += work;
        worker.shared_at(at);
        let since = self.at(counted.since).min(at);
        let slots = (at / SLOT_MS) - (since / SLOT_MS);
        if at - since <= SLOT_MS {
            return self.add_to_buckets(index, at, |sums, rated| sums.add_counted(accepted, 0, work, rated));
        }
        if slots > MAX_COUNTED_SLOTS {
            let since = self.not_long_before_the_session(since, at)?;
            self.lose("coarse-counter", since, at, 0, "", true)?;
            return self.add_to_buckets(index, at, |sums, rated| sums.add_counted(accepted, 0, work, rated));
        }
        // Shares up to a moment are the even part of all, rounded down; so the parts add up exactly.
        let span = at - since;
        let up_to = |moment: u64| u128::from(accepted) * u128::from(moment - since) / u128::from(span);
        let mut start = since;
        while start < at {
            let end = at.min((start / SLOT_MS + 1) * SLOT_MS);
            let part = (up_to(end) - up_to(start)) as u64;
            if part > 0 {
                let part_work = work * part as f64 / accepted as f64;
                self.add_to_buckets(index, start, |sums, rated| sums.add_counted(part, 0, part_work, rated))?;
            }
            start = end;
        }
        Ok(())
    }

    pub(super) fn block_found(&mut self, block: &BlockFound, at: u64) -> Result<(), HistoryError> {
        let index = self.channel_of_share(block.downstream_id.0, block.channel_id.0, at)?;
        let identity = self.session.workers[index as usize].identity;
        let added = self
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO blocks (source, session, block_hash, height, found_at, downstream_id, channel_id, identity)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(rusqlite::params![
                self.source.row,
                self.session.row,
                block.block_hash.0,
                block.height,
                at,
                block.downstream_id.0,
                block.channel_id.0,
                identity.id
            ])?;
        if added == 0 {
            // A block is found once, however often it is told. Only a block of unknown hash cannot be known again.
            return Ok(());
        }
        let block = self.conn.last_insert_rowid();
        self.session.touch(index).counts.blocks += 1;
        self.add_to_buckets(index, at, |sums, _| sums.blocks += 1)?;
        self.note_effort(block, at)
    }

    /// Notes what work had been done when a block was found: what is written, and what waits to be.
    fn note_effort(&mut self, block: i64, at: u64) -> Result<(), HistoryError> {
        let total = self.total_series(false, at)?;
        let waiting = self.rollup.gathered_work(total) + self.session.channels_total.1.work();
        self.conn
            .prepare_cached(
                "UPDATE blocks SET
                   source_work = ?5 + coalesce((SELECT work FROM rollup_total WHERE bucket = 0 AND series = ?2), 0),
                   network_target = (SELECT target FROM chain_tips WHERE source = ?3 AND at <= ?4 ORDER BY at DESC LIMIT 1)
                 WHERE id = ?1",
            )?
            .execute(rusqlite::params![block, total.id, self.source.row, at, waiting])?;
        Ok(())
    }
}

/// The total is kept at ten seconds.
const TOTAL_WIDTH: u64 = mining_stats::Tier::TenSeconds.width_ms();

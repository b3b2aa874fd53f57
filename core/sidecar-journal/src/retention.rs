//! Which records leave, and their leaving (delivery rules 11 and 18). Each step is bounded and part of a commit.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;
use stats_sv2::UnixMillis;

use crate::open_state::{self, SessionState};
use crate::row::{COLUMNS, RawRow};

/// Rows looked at in one query.
const STEP_ROWS: usize = 256;
/// What a row costs besides its frames, roughly.
const ROW_OVERHEAD: u64 = 96;

/// What may and must leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Bytes that must leave.
    pub(crate) over: u64,
    /// The last record that may leave for the sake of bytes.
    pub(crate) droppable: u64,
    /// Records received before this leave.
    pub(crate) too_old: UnixMillis,
    /// Records up to the offset leave if received before the time: every sink has taken them.
    pub(crate) taken: Option<(u64, UnixMillis)>,
    /// At most so many bytes in this step, since others wait for the commit.
    pub(crate) step_bytes: u64,
}

/// What a step removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) last_offset: u64,
    /// Cumulative count at the last record removed.
    pub(crate) cumulative: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Rules {
    fn removes(&self, offset: u64, received_at: u64, removed: u64) -> bool {
        (removed < self.over && offset <= self.droppable)
            || received_at < self.too_old.0
            || self.taken.is_some_and(|(upto, before)| offset <= upto && received_at < before.0)
    }
}

/// Moment before which a record received has at least that age.
pub(crate) fn before(now: UnixMillis, age: Duration) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// Removes what the rules say from the old end, within a transaction. State that is still open is carried along.
pub(crate) fn step(connection: &Connection, rules: &Rules) -> rusqlite::Result<Option<Removed>> {
    let mut removed = Removed::default();
    let mut states: HashMap<i64, SessionState> = HashMap::new();
    'rows: while removed.bytes < rules.step_bytes {
        let mut query = connection.prepare_cached(
            "SELECT offset, session, state, received_at, cumulative, length(frames) FROM batches \
             WHERE offset > ?1 ORDER BY offset LIMIT ?2",
        )?;
        let mut rows = query.query([removed.last_offset as i64, STEP_ROWS as i64])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            let offset = row.get::<_, i64>(0)? as u64;
            if removed.bytes >= rules.step_bytes || !rules.removes(offset, row.get::<_, i64>(3)? as u64, removed.bytes)
            {
                break 'rows;
            }
            if row.get(2)? {
                carry(connection, offset, row.get(1)?, &mut states)?;
            }
            removed.last_offset = offset;
            removed.cumulative = row.get::<_, i64>(4)? as u64;
            removed.records += 1;
            removed.bytes += row.get::<_, i64>(5)? as u64 + ROW_OVERHEAD;
        }
        if seen < STEP_ROWS {
            break;
        }
    }
    if removed.records == 0 {
        return Ok(None);
    }
    connection.prepare_cached("DELETE FROM batches WHERE offset <= ?1")?.execute([removed.last_offset as i64])?;
    for (session, state) in &states {
        open_state::store(connection, *session, state)?;
    }
    connection.prepare_cached("UPDATE journal SET tail_cumulative = ?1")?.execute([removed.cumulative as i64])?;
    Ok(Some(removed))
}

/// Applies a state record that leaves to what is carried along for its session.
fn carry(
    connection: &Connection,
    offset: u64,
    session: i64,
    states: &mut HashMap<i64, SessionState>,
) -> rusqlite::Result<()> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM batches WHERE offset = ?1"))?;
    let row = query.query_row([offset as i64], RawRow::read)?;
    if !row.is_intact() {
        // Its events are lost to the sinks as well; the next announcement mends the state.
        return Ok(());
    }
    let state = match states.entry(session) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(open_state::load(connection, session)?),
    };
    state.apply(row.head.derived, row.head.finishing, &row.frames);
    Ok(())
}

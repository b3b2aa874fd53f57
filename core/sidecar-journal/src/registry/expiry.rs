//! Sessions that did not come back are ended, and ended ones that nothing refers to are forgotten (delivery rule 12).

use std::time::Duration;

use stats_sv2::UnixMillis;
use stats_sv2::event::ENDED_EXPIRED;

use super::{Registry, later};
use crate::group::Group;

/// A session that has not come back for this long is expired.
pub const SESSION_EXPIRES_AFTER: Duration = Duration::from_secs(24 * 3600);
/// After a start publishers get this long to come back before anything is expired: the sidecar itself may have been away.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(600);
/// An ended session is remembered for this long after its last record has left, so that a late resend is recognised.
const SESSION_REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Ended sessions without records that are remembered at most.
const MAX_REMEMBERED_SESSIONS: usize = 16_384;

impl Registry {
    /// Ends sessions that did not come back (delivery rule 12), and forgets those that nothing refers to any more.
    pub(crate) fn expire(&mut self, first_offset: u64, now: UnixMillis, group: &mut Group) {
        if now < self.expires_from {
            return;
        }
        let due: Vec<i64> = self
            .sessions
            .values()
            .filter(|session| session.row.ended.is_none() && !session.connected)
            .filter(|session| later(session.row.heard_at, SESSION_EXPIRES_AFTER) <= now)
            .map(|session| session.row.id)
            .collect();
        for id in due {
            self.end(id, ENDED_EXPIRED, "", now, group);
        }
        let mut idle: Vec<(UnixMillis, i64)> = self
            .sessions
            .values()
            .filter(|session| session.row.ended.is_some() && !session.connected && !session.dirty)
            .filter(|session| session.row.last_offset < first_offset)
            .filter(|session| !self.locals.values().any(|local| *local == session.row.id))
            .map(|session| (session.row.ended_at, session.row.id))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(MAX_REMEMBERED_SESSIONS);
        for (place, (ended_at, id)) in idle.into_iter().enumerate() {
            if place < surplus || later(ended_at, SESSION_REMEMBERED_FOR) <= now {
                self.forget(id);
                group.forgotten_sessions.push(id);
            }
        }
    }

    fn forget(&mut self, id: i64) {
        if let Some(session) = self.sessions.remove(&id) {
            self.ids.remove(&(session.row.publisher, session.row.session_id));
        }
    }
}

//! Where a sink stands in the journal: found at start, moved over what was delivered, over what has expired.

use sidecar_core::{Cursor, Record};
use sidecar_journal::{Head, JournalError, Tail};

use super::StartAt;

/// A place between two records: after `offset`, with `cumulative` events before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) cumulative: u64,
}

impl Place {
    /// Before the oldest record.
    pub(crate) fn oldest(tail: Tail) -> Self {
        Self { offset: tail.first_offset.saturating_sub(1), cumulative: tail.cumulative_before }
    }

    /// After the newest.
    pub(crate) fn newest(head: Head) -> Self {
        Self { offset: head.offset, cumulative: head.cumulative_events }
    }

    /// Before this record.
    pub(crate) fn before(record: &Record) -> Self {
        Self {
            offset: record.offset.saturating_sub(1),
            cumulative: record.cumulative_events.saturating_sub(u64::from(record.count)),
        }
    }

    /// After this record.
    pub(crate) fn after(record: &Record) -> Self {
        Self { offset: record.offset, cumulative: record.cumulative_events }
    }
}

/// What a place is found from.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) journal_id: sidecar_core::JournalId,
    pub(crate) head: Head,
    pub(crate) tail: Tail,
}

/// A place that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// The cursor did not lead to it, or the records after the cursor are gone: state of what is open may be stale.
    pub(crate) lost_track: bool,
}

impl Known {
    /// Follows a cursor (delivery rule 16): one of another journal, or beyond the head, says nothing about this journal.
    /// `cumulative_at` counts the events up to an offset.
    pub(crate) fn find(
        &self,
        cursor: Option<Cursor>,
        start: StartAt,
        cumulative_at: impl FnOnce(u64) -> Result<u64, JournalError>,
    ) -> Result<Found, JournalError> {
        let found = match (cursor, start) {
            (Some(cursor), _) if cursor.journal_id == self.journal_id && cursor.offset <= self.head.offset => {
                let place = Place { offset: cursor.offset, cumulative: cumulative_at(cursor.offset)? };
                Found { place, lost_track: cursor.offset + 1 < self.tail.first_offset }
            }
            (Some(_), _) => Found { place: Place::oldest(self.tail), lost_track: true },
            (None, StartAt::Earliest) => Found { place: Place::oldest(self.tail), lost_track: false },
            (None, StartAt::Latest) => Found { place: Place::newest(self.head), lost_track: false },
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use sidecar_core::JournalId;

    use super::*;

    #[test]
    fn cursors_are_followed_only_in_their_own_journal() {
        let known = Known {
            journal_id: JournalId(7),
            head: Head { offset: 50, cumulative_events: 500 },
            tail: Tail { first_offset: 11, cumulative_before: 100 },
        };
        let oldest = Place { offset: 10, cumulative: 100 };
        let newest = Place { offset: 50, cumulative: 500 };
        let cursor = |journal, offset| Some(Cursor { journal_id: JournalId(journal), offset });
        for (cursor, start, place, lost_track) in [
            (cursor(7, 20), StartAt::Latest, Place { offset: 20, cumulative: 200 }, false),
            (cursor(7, 10), StartAt::Latest, oldest, false),
            (cursor(7, 5), StartAt::Latest, Place { offset: 5, cumulative: 50 }, true),
            (cursor(8, 20), StartAt::Latest, oldest, true),
            (cursor(7, 51), StartAt::Latest, oldest, true),
            (None, StartAt::Earliest, oldest, false),
            (None, StartAt::Latest, newest, false),
        ] {
            let found = known.find(cursor, start, |offset| Ok(offset * 10)).unwrap();
            assert_eq!(found, Found { place, lost_track }, "{cursor:?} {start:?}");
        }
    }
}

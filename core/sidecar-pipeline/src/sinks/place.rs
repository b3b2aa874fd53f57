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
    /// Where a sink begins that wants only what comes from now on.
    pub(crate) head: Head,
    /// The offset that no cursor can rightly lie beyond. Not the head of the moment: what came since the journal was
    /// opened would make the cursor of a younger copy look valid, and be skipped.
    pub(crate) reach: u64,
    pub(crate) tail: Tail,
}

/// A place that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) track: Track,
}

/// Whether what a sink knows belongs to the place that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    Kept,
    /// Its cursor says nothing about this journal: the sink may know less than what is before the place, or more than what
    /// comes after it.
    Lost,
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
            (Some(cursor), _) if cursor.journal_id == self.journal_id && cursor.offset <= self.reach => {
                let place = Place { offset: cursor.offset, cumulative: cumulative_at(cursor.offset)? };
                Found { place, track: Track::Kept }
            }
            (Some(_), _) => Found { place: Place::oldest(self.tail), track: Track::Lost },
            (None, StartAt::Earliest) => Found { place: Place::oldest(self.tail), track: Track::Kept },
            (None, StartAt::Latest) => Found { place: Place::newest(self.head), track: Track::Kept },
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
            head: Head { offset: 40, cumulative_events: 400 },
            reach: 50,
            tail: Tail { first_offset: 11, cumulative_before: 100 },
        };
        let oldest = Place { offset: 10, cumulative: 100 };
        let newest = Place { offset: 40, cumulative: 400 };
        let cursor = |journal, offset| Some(Cursor { journal_id: JournalId(journal), offset });
        for (cursor, start, place, track) in [
            (cursor(7, 20), StartAt::Latest, Place { offset: 20, cumulative: 200 }, Track::Kept),
            (cursor(7, 10), StartAt::Latest, oldest, Track::Kept),
            (cursor(7, 5), StartAt::Latest, Place { offset: 5, cumulative: 50 }, Track::Kept),
            (cursor(7, 50), StartAt::Latest, Place { offset: 50, cumulative: 500 }, Track::Kept),
            (cursor(8, 20), StartAt::Latest, oldest, Track::Lost),
            (cursor(7, 51), StartAt::Latest, oldest, Track::Lost),
            (None, StartAt::Earliest, oldest, Track::Kept),
            (None, StartAt::Latest, newest, Track::Kept),
        ] {
            let found = known.find(cursor, start, |offset| Ok(offset * 10)).unwrap();
            assert_eq!(found, Found { place, track }, "{cursor:?} {start:?}");
        }
    }
}

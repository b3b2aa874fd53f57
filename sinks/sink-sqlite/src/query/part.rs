//! Parts of a list that is too long to be read at once: each begins behind the last row of the one before. A place is made of
//! what the list is ordered by and of a number that no other row has, so that no row is passed over or told twice.

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;
use serde::{Deserialize, Serialize};

use crate::query::MAX_ROWS;

/// Ends what can be asked: SQLite's integers are signed.
const LAST: u64 = u64::MAX >> 1;

/// Which rows of a list are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<P> {
    /// The row that it begins behind; the first one of all if `None`.
    pub after: Option<P>,
    /// Rows that are passed over from there.
    pub skip: u64,
    /// Rows at most. None has more than [`MAX_ROWS`] and one, which says that there are more.
    pub limit: u32,
}

impl<P> Part<P> {
    /// The first rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, skip: 0, limit }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.min(MAX_ROWS + 1)
    }

    pub(super) fn skip(&self) -> Bounded {
        Bounded(self.skip)
    }
}

/// A row's place in a list of what happened, the latest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// When it happened.
    pub at_ms: u64,
    /// Its number in the file.
    pub number: u64,
}

impl Place {
    /// Before everything that happened.
    pub(super) const START: Self = Self { at_ms: LAST, number: LAST };
}

/// A number that may come from anybody, as SQLite can hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounded(pub(super) u64);

impl ToSql for Bounded {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((self.0.min(LAST) as i64).into())
    }
}

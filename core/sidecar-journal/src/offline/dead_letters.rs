//! Dead letters of a journal file, read from outside.

use std::io;
use std::path::Path;

use rusqlite::params;

use super::open;
use crate::dead_letter::{COLUMNS, DeadLetter, KeptLetter};
use crate::error::JournalError;
use crate::row::role;

/// Letters of one read: no read transaction lasts longer, since a sidecar may be running.
const READ_LETTERS: u64 = 64;

/// Shows the dead letters of one sink, or of all, newest first and `limit` at most. Letters that come meanwhile are not
/// among them. What `visit` fails with is told as [`JournalError::Export`].
pub fn dead_letters(
    path: &Path,
    sink: Option<&str>,
    limit: u64,
    visit: &mut dyn FnMut(KeptLetter) -> io::Result<()>,
) -> Result<(), JournalError> {
    let connection = open(path)?;
    // In the order of the table, which is that of the letters; the index would have to be sorted first.
    let sql = format!(
        "SELECT {COLUMNS}, letters.id, sessions.role FROM dead_letters letters NOT INDEXED
         LEFT JOIN sessions ON sessions.publisher = letters.publisher AND sessions.session_id = letters.session_id
         WHERE letters.id < ?1 AND (?2 IS NULL OR letters.sink = ?2) ORDER BY letters.id DESC LIMIT ?3"
    );
    let (mut before, mut left) = (i64::MAX, limit);
    while left > 0 {
        let wanted = left.min(READ_LETTERS);
        let read = || -> rusqlite::Result<Vec<(i64, KeptLetter)>> {
            let mut query = connection.prepare_cached(&sql)?;
            let rows = query.query_map(params![before, sink, wanted as i64], |row| {
                let role = row.get::<_, Option<u8>>(9)?.map(role).transpose()?;
                Ok((row.get(8)?, KeptLetter { letter: DeadLetter::read(row)?, role }))
            })?;
            rows.collect()
        };
        let letters = read().map_err(JournalError::sqlite("read dead letters"))?;
        let found = letters.len() as u64;
        for (id, letter) in letters {
            before = id;
            visit(letter).map_err(JournalError::Export)?;
        }
        if found < wanted {
            return Ok(());
        }
        left -= found;
    }
    Ok(())
}

/// The names of the sinks that have dead letters, in order.
pub fn sinks_with_dead_letters(path: &Path) -> Result<Vec<String>, JournalError> {
    let connection = open(path)?;
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut query = connection.prepare("SELECT DISTINCT sink FROM dead_letters ORDER BY sink")?;
        query.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(JournalError::sqlite("read which sinks have dead letters"))
}

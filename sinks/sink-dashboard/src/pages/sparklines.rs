//! The small lines beside the rows of a list: the usual range of one worker in few points.

use sink_sqlite::History;
use sink_sqlite::query::{QueryError, SeriesQuery, Subject};

use super::range::Range;

/// Points of a small line.
const POINTS: u64 = 24;

/// Hashrates from old to new; `None` where nothing was observed.
pub(super) type Line = Vec<Option<f64>>;

/// One worker over a range.
pub(super) fn of(
    history: &History,
    publisher: &str,
    name: String,
    is_miner: bool,
    range: &Range,
) -> Result<Line, QueryError> {
    let query = SeriesQuery {
        publisher: publisher.to_owned(),
        subject: if is_miner { Subject::MinerName(name) } else { Subject::Identity(name) },
        from_ms: range.from_ms,
        to_ms: range.to_ms,
        points: POINTS,
    };
    Ok(history.series(&query)?.points.iter().map(|point| point.value).collect())
}

//! The small lines beside the rows of a list: 24 hours of one worker in few points.

use sink_sqlite::History;
use sink_sqlite::query::{QueryError, SeriesQuery, Subject};

const DAY_MS: u64 = 86_400_000;
/// Points of a small line.
const POINTS: u64 = 24;

/// Hashrates from old to new; `None` where nothing was observed.
pub(super) type Line = Vec<Option<f64>>;

/// The last day of one worker.
pub(super) fn of(
    history: &History,
    publisher: &str,
    name: String,
    is_miner: bool,
    now_ms: u64,
) -> Result<Line, QueryError> {
    let query = SeriesQuery {
        publisher: publisher.to_owned(),
        subject: if is_miner { Subject::MinerName(name) } else { Subject::Identity(name) },
        from_ms: now_ms.saturating_sub(DAY_MS),
        to_ms: now_ms,
        points: POINTS,
    };
    Ok(history.series(&query)?.points.iter().map(|point| point.value).collect())
}

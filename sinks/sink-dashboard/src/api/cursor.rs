//! Cursors: where in a list its next page begins. They are made of the last row's place and mean nothing to clients.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The cursor of what stands behind a place.
pub(crate) fn write(place: &impl Serialize) -> String {
    // A place is a few numbers, or a name, which are always written.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

/// The place that was asked for.
pub(crate) fn read<P: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<P>, Problem> {
    let place = |cursor: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
    cursor.map(|cursor| place(cursor).ok_or_else(unknown)).transpose()
}

/// A cursor that this question was never answered with.
pub(crate) fn unknown() -> Problem {
    Problem::bad_request("`cursor` is not one that was given out for this question")
}

/// Takes a page out of what was read, which is one row more where there are more pages; and the cursor of the next one.
pub(crate) fn cut<T, P: Serialize>(rows: &mut Vec<T>, limit: u32, place: impl FnOnce(&T) -> P) -> Option<String> {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| has_more).map(|last| write(&place(last)))
}

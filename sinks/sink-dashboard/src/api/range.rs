//! Which publisher, which subject and which time a question is about.

use serde::Deserialize;
use sink_sqlite::History;
use sink_sqlite::query::{QueryError, SourceView, Subject};
use stats_sv2::Role;

use super::problem::Problem;
use crate::live::message::WorkerKind;
use crate::security::redact::Redaction;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The longest range: the history keeps less.
const MAX_RANGE_MS: u64 = 10 * 366 * DAY_MS;
/// The end of the year 9999: dates end there.
const LAST_MS: u64 = 253_402_300_799_999;
/// What the publisher of a question is called before there is any.
pub(super) const NONE_HEARD: &str = "(none was heard yet)";

/// A span of time in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

impl Range {
    /// From `from` to `to`, or the time called `name` before now, or the last day.
    pub(crate) fn asked(
        from_ms: Option<u64>,
        to_ms: Option<u64>,
        name: Option<&str>,
        now_ms: u64,
    ) -> Result<Self, Problem> {
        if name.is_some() && from_ms.is_some() {
            return Err(Problem::bad_request("give `range` or `from`, not both"));
        }
        let to_ms = to_ms.unwrap_or(now_ms);
        let from_ms = match (from_ms, name) {
            (Some(from_ms), _) => from_ms,
            (None, name) => to_ms.saturating_sub(length(name.unwrap_or("24h"))?),
        };
        Self { from_ms, to_ms }.checked()
    }

    /// The last `hours` before `to`.
    pub(crate) fn hours(hours: f64, to_ms: u64) -> Result<Self, Problem> {
        let length = hours * HOUR_MS as f64;
        if !(length >= 1.0 && length <= MAX_RANGE_MS as f64) {
            return Err(Problem::bad_request("`hours` must be above 0 and below ten years"));
        }
        Self { from_ms: to_ms.saturating_sub(length as u64), to_ms }.checked()
    }

    fn checked(self) -> Result<Self, Problem> {
        let Self { from_ms, to_ms } = self;
        if from_ms >= to_ms {
            return Err(Problem::bad_request(format!("the range from {from_ms} to {to_ms} is empty")));
        }
        if to_ms - from_ms > MAX_RANGE_MS || to_ms > LAST_MS {
            return Err(Problem::bad_request("the range is longer than ten years, or ends after the year 9999"));
        }
        Ok(self)
    }
}

/// The length that a name such as `6h`, `30d` or `1y` means.
pub(crate) fn length(name: &str) -> Result<u64, Problem> {
    let unknown = || Problem::bad_request(format!("`{name}` is no length of time; write it like 15m, 6h, 30d or 1y"));
    let unit = match name.chars().last() {
        Some('m') => MINUTE_MS,
        Some('h') => HOUR_MS,
        Some('d') => DAY_MS,
        Some('y') => 365 * DAY_MS,
        _ => return Err(unknown()),
    };
    let number: u64 = name[..name.len() - 1].parse().map_err(|_| unknown())?;
    number.checked_mul(unit).filter(|length| (MINUTE_MS..=MAX_RANGE_MS).contains(length)).ok_or_else(unknown)
}

/// Rows of an answer: as many as are asked for, up to `most`.
pub(crate) fn limit<T: Ord + Copy + From<u8>>(asked: Option<T>, usual: T, most: T) -> Result<T, Problem> {
    match asked.unwrap_or(usual) {
        rows if rows < T::from(1) => Err(Problem::bad_request("`limit` must be at least 1")),
        rows => Ok(rows.min(most)),
    }
}

/// A publisher that was silent for so long, while another was heard, has retired.
const RETIRED_AFTER_MS: u64 = 7 * DAY_MS;

/// What decides which of several publishers is meant where none is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// The question is about programs of its kind.
    pub(crate) fits: bool,
    pub(crate) first_seen_ms: u64,
    pub(crate) last_event_ms: u64,
    pub(crate) publisher: &'a str,
}

impl<'a> Claim<'a> {
    /// Of a source about which the question is.
    pub(crate) fn of(source: &'a SourceView) -> Self {
        Self {
            fits: has_miners(source.role),
            first_seen_ms: source.first_seen_ms,
            last_event_ms: source.last_event_ms,
            publisher: &source.publisher,
        }
    }
}

/// The one that is meant where none is named: of those that fit and have not retired the first that was heard. Whoever comes later
/// does not change what a question is about.
pub(crate) fn usual<'s, S>(sources: &'s [S], claim: impl Fn(&'s S) -> Claim<'s>) -> Option<&'s S> {
    let latest = sources.iter().map(|source| claim(source).last_event_ms).max()?;
    sources.iter().min_by_key(|source| {
        let Claim { fits, first_seen_ms, last_event_ms, publisher } = claim(source);
        (!fits, latest - last_event_ms > RETIRED_AFTER_MS, first_seen_ms, publisher)
    })
}

/// The publisher that is asked about: the named one, or else the usual one of those that `fits`.
pub(crate) fn publisher(
    history: &History,
    asked: Option<&str>,
    fits: impl Fn(&str) -> bool,
) -> Result<Option<String>, QueryError> {
    let publishers = history.publishers()?;
    let found = match asked {
        Some(name) => publishers.iter().find(|publisher| publisher.publisher == name),
        None => usual(&publishers, |known| Claim {
            fits: fits(known.role),
            first_seen_ms: known.first_seen_ms,
            last_event_ms: known.last_event_ms,
            publisher: &known.publisher,
        }),
    };
    match (found, asked) {
        (Some(found), _) => Ok(Some(found.publisher.clone())),
        (None, Some(name)) => Err(QueryError::UnknownPublisher { publisher: name.to_owned() }),
        (None, None) => Ok(None),
    }
}

/// Whether a publisher of this role has miners, or others that mine for it: what most questions are about.
fn has_miners(role: &str) -> bool {
    role != Role::Mint.name() && role != Role::JdServer.name()
}

/// The publisher that is asked about, where there must be one.
pub(crate) fn some_publisher(history: &History, asked: Option<&str>) -> Result<String, QueryError> {
    publisher(history, asked, has_miners)?
        .ok_or_else(|| QueryError::UnknownPublisher { publisher: NONE_HEARD.to_owned() })
}

/// What a series is about, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SubjectKind {
    /// All channels: a pool's hashrate.
    Channels,
    /// All SV1 miners: a translator's hashrate.
    Miners,
    /// One user_identity; `name` says which.
    Identity,
    /// One SV1 miner; `name` says which.
    Miner,
    /// One downstream connection; `id` says which.
    Downstream,
    /// One miner connection; `id` says which.
    MinerConnection,
}

/// A subject with its name or number, as it was asked for.
#[derive(Debug, Clone)]
pub(crate) enum AskedSubject {
    /// The whole publisher, whatever it has.
    Whole,
    Channels,
    Miners,
    Downstream(u32),
    MinerConnection(u32),
    /// By the name that is shown.
    Worker(WorkerKind, String),
}

impl AskedSubject {
    pub(crate) fn new(kind: Option<SubjectKind>, name: Option<String>, id: Option<u32>) -> Result<Self, Problem> {
        let missing = |what: &str| Problem::bad_request(format!("this `subject` needs `{what}`"));
        let id = || id.ok_or_else(|| missing("id"));
        let name = || name.ok_or_else(|| missing("name"));
        Ok(match kind {
            None => Self::Whole,
            Some(SubjectKind::Channels) => Self::Channels,
            Some(SubjectKind::Miners) => Self::Miners,
            Some(SubjectKind::Downstream) => Self::Downstream(id()?),
            Some(SubjectKind::MinerConnection) => Self::MinerConnection(id()?),
            Some(SubjectKind::Identity) => Self::Worker(WorkerKind::Identity, name()?),
            Some(SubjectKind::Miner) => Self::Worker(WorkerKind::Miner, name()?),
        })
    }

    /// Finds it in the history.
    pub(crate) fn find(
        &self,
        history: &History,
        publisher: &str,
        redaction: &Redaction,
    ) -> Result<Subject, QueryError> {
        Ok(match self {
            Self::Whole => whole(history, publisher)?,
            Self::Channels => Subject::Channels,
            Self::Miners => Subject::Miners,
            Self::Downstream(id) => Subject::Downstream(*id),
            Self::MinerConnection(id) => Subject::MinerId(*id),
            Self::Worker(kind, name) => named(*kind, real_name(history, publisher, *kind, name.clone(), redaction)?),
        })
    }

    /// An error of the history about this subject, with the words of the question. The history's own name the worker as
    /// it is called there, which may be hidden here.
    pub(crate) fn blamed(&self, error: QueryError) -> QueryError {
        match error {
            QueryError::UnknownSubject { publisher, .. } => {
                QueryError::UnknownSubject { publisher, subject: self.words() }
            }
            other => other,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Whole => "shares yet".to_owned(),
            Self::Channels => "channels".to_owned(),
            Self::Miners => "miners".to_owned(),
            Self::Downstream(id) => format!("downstream {id}"),
            Self::MinerConnection(id) => format!("miner connection {id}"),
            Self::Worker(WorkerKind::Identity, name) => format!("worker {name}"),
            Self::Worker(WorkerKind::Miner, name) => format!("miner {name}"),
        }
    }
}

/// All channels of a pool, or all miners of a translator.
pub(crate) fn whole(history: &History, publisher: &str) -> Result<Subject, QueryError> {
    let publishers = history.publishers()?;
    let role = publishers.iter().find(|known| known.publisher == publisher).map_or("", |known| known.role);
    Ok(if role == "proxy" { Subject::Miners } else { Subject::Channels })
}

pub(crate) fn named(kind: WorkerKind, name: String) -> Subject {
    match kind {
        WorkerKind::Identity => Subject::Identity(name),
        WorkerKind::Miner => Subject::MinerName(name),
    }
}

/// The name that the history knows, of one that may be a pseudonym.
pub(crate) fn real_name(
    history: &History,
    publisher: &str,
    kind: WorkerKind,
    shown: String,
    redaction: &Redaction,
) -> Result<String, QueryError> {
    if redaction.shows_names() {
        return Ok(shown);
    }
    let names = history.worker_names(publisher, kind == WorkerKind::Miner)?;
    redaction.real_name(publisher, &shown, names).ok_or_else(|| QueryError::UnknownSubject {
        publisher: publisher.to_owned(),
        subject: AskedSubject::Worker(kind, shown.clone()).words(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_and_still_lives_is_meant() {
        let meant = |sources: &[(&'static str, bool, u64, u64)]| {
            let claim = |source: &(&'static str, bool, u64, u64)| Claim {
                publisher: source.0,
                fits: source.1,
                first_seen_ms: source.2 * DAY_MS,
                last_event_ms: source.3 * DAY_MS,
            };
            usual(sources, claim).map(|source| source.0)
        };
        assert_eq!(meant(&[]), None);
        assert_eq!(meant(&[("mint", false, 1, 20), ("b", true, 2, 20), ("a", true, 3, 20)]), Some("b"));
        assert_eq!(meant(&[("trial", true, 1, 1), ("pool", true, 5, 20)]), Some("pool"), "the trial is over");
        assert_eq!(meant(&[("trial", true, 14, 14), ("pool", true, 15, 20)]), Some("trial"), "it may come back");
        assert_eq!(
            meant(&[("pool", true, 1, 1), ("mint", false, 1, 20)]),
            Some("pool"),
            "a silent one is still a pool"
        );
    }

    #[test]
    fn ranges_are_named_or_given() {
        let now = 1_800_000_000_000;
        let range = Range::asked(None, None, Some("7d"), now).unwrap();
        assert_eq!((range.from_ms, range.to_ms), (now - 7 * DAY_MS, now));
        assert_eq!(Range::asked(None, None, None, now).unwrap().from_ms, now - DAY_MS);
        let range = Range::asked(Some(5), Some(7), None, now).unwrap();
        assert_eq!((range.from_ms, range.to_ms), (5, 7));
        assert!(Range::asked(Some(5), None, Some("7d"), now).is_err());
        assert!(Range::asked(Some(7), Some(7), None, now).is_err());
        assert!(Range::asked(Some(0), Some(u64::MAX), None, now).is_err());
        for bad in ["", "h", "0h", "-1h", "1.5h", "7", "7w", "99999999999999999999d", "20y", "1€"] {
            assert!(length(bad).is_err(), "{bad}");
        }
        assert!(
            Range::hours(f64::NAN, now).is_err() && Range::hours(0.0, now).is_err() && Range::hours(1e9, now).is_err()
        );
        assert_eq!(Range::hours(0.5, now).unwrap().from_ms, now - HOUR_MS / 2);
    }
}

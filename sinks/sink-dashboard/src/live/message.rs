//! The JSON form of the live stream, `GET /api/v1/live` (server-sent events) and `GET /api/v1/live/poll`.
//!
//! Each message is one server-sent event: `id:` is `RUN-NUMBER`, where RUN names this run of the sidecar and NUMBER counts
//! its messages; `event:` is one of the types below; `data:` is one line of JSON. After a reconnection the browser sends the
//! last id that it saw as `Last-Event-ID`, and gets what it missed from a ring of recent messages. Where that is not
//! possible (too long ago, or another run) the first message is `reset`: read the page's numbers again.
//!
//! | event | data | when |
//! |---|---|---|
//! | `update` | [`Update`] | once a second while somebody listens |
//! | `worker` | [`WorkerMessage`] | a worker's first connection opened, or its last one closed |
//! | `block` | [`BlockMessage`] | a publisher found a block |
//! | `quote` | [`QuoteMessage`] | a quote was created, sent, answered, failed or paid |
//! | `source` | [`SourceMessage`] | a publisher's session began, ended or fell silent |
//! | `reset` | `{}` | what was missed is not known any more |
//!
//! Times are Unix milliseconds, hashrates H/s. Ehash is a decimal string, since it goes beyond 2^53.

use std::collections::BTreeMap;

use mining_stats::reading::STALE_AFTER_MS;
use serde::Serialize;
use sink_sqlite::query::WindowReading;

/// A message by its type. Which of them it is `event` says; each stands as it is in `data`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum Message {
    /// `update`
    Update(Update),
    /// `worker`
    Worker(WorkerMessage),
    /// `block`
    Block(BlockMessage),
    /// `quote`
    Quote(QuoteMessage),
    /// `source`
    Source(SourceMessage),
}

impl Message {
    /// Its type.
    pub(crate) const fn event(&self) -> &'static str {
        match self {
            Self::Update(_) => "update",
            Self::Worker(_) => "worker",
            Self::Block(_) => "block",
            Self::Quote(_) => "quote",
            Self::Source(_) => "source",
        }
    }
}

/// Everything that changed within a second.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Update {
    /// When it was made.
    pub(crate) at_ms: u64,
    /// Each publisher, the most recently heard first.
    pub(crate) sources: Vec<SourceUpdate>,
    /// Why `sources` is empty: the history could not be read. Null when all is well.
    pub(crate) history_error: Option<String>,
    /// Workers with shares since the last update, the most recent first; at most [`MAX_WORKER_UPDATES`].
    pub(crate) workers: Vec<WorkerUpdate>,
    /// More workers had shares than are listed: read the list again to see them all.
    pub(crate) more_workers: u64,
    /// Messages of other types that were left out in this second because there were too many.
    pub(crate) suppressed: u64,
}

/// Workers listed in one update at most.
pub(crate) const MAX_WORKER_UPDATES: usize = 256;

/// A publisher's numbers at a glance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct SourceUpdate {
    /// Its name.
    pub(crate) publisher: String,
    /// `pool`, `proxy`, ...
    #[schema(value_type = String)]
    pub(crate) role: &'static str,
    /// `live`, `stale` (silent for 30 s) or `ended` (no open session).
    pub(crate) state: SourceState,
    /// Time of its last event or heartbeat.
    pub(crate) last_event_ms: u64,
    /// Milliseconds since then.
    pub(crate) silent_ms: u64,
    /// Open downstream connections.
    pub(crate) downstreams: u64,
    /// Open channels.
    pub(crate) channels_open: u64,
    /// Connected SV1 miners.
    pub(crate) miners_open: u64,
    /// Workers that are online, as lists of workers have it: connected, with a share lately, or just come.
    pub(crate) workers_online: u64,
    /// Measured hashrate over `1m 5m 15m 1h 6h 1d 7d`, of the channels, or of the miners where there are no channels.
    pub(crate) windows: Vec<WindowReading>,
    /// Accepted shares since the history began.
    pub(crate) accepted: u64,
    /// Rejected shares since the history began.
    pub(crate) rejected: u64,
    /// The same by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) rejected_by_reason: BTreeMap<&'static str, u64>,
    /// SV1 difficulty of the best share.
    pub(crate) best_share_difficulty: Option<f64>,
    /// Blocks found.
    pub(crate) blocks: u64,
    /// Quotes created.
    pub(crate) quotes: u64,
    /// Their ehash: a decimal number as text.
    pub(crate) ehash: String,
}

/// Whether a publisher is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceState {
    /// Its session is open and it was heard within 30 s.
    Live,
    /// Its session is open and it is silent.
    Stale,
    /// It has no open session.
    Ended,
}

impl SourceState {
    /// Of a publisher, by whether it has an open session and how long it is silent.
    pub(crate) const fn of(has_session: bool, silent_ms: u64) -> Self {
        match silent_ms > STALE_AFTER_MS {
            _ if !has_session => Self::Ended,
            true => Self::Stale,
            false => Self::Live,
        }
    }

    /// The name in JSON and CSV.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Ended => "ended",
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkerKind {
    /// A user_identity of channels.
    Identity,
    /// The name of an SV1 miner.
    Miner,
}

/// Shares of one worker since the last update.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct WorkerUpdate {
    /// The publisher.
    pub(crate) publisher: String,
    /// What the name stands for.
    pub(crate) kind: WorkerKind,
    /// Untrusted text.
    pub(crate) name: String,
    /// Open channels or connections.
    pub(crate) open: u64,
    /// Shares accepted since the last update.
    pub(crate) accepted: u64,
    /// Shares rejected since the last update.
    pub(crate) rejected: u64,
    /// Its last accepted share.
    pub(crate) last_share_ms: Option<u64>,
}

/// A worker appeared or went.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct WorkerMessage {
    /// The publisher.
    pub(crate) publisher: String,
    /// What the name stands for.
    pub(crate) kind: WorkerKind,
    /// Untrusted text.
    pub(crate) name: String,
    /// `up` or `down`.
    pub(crate) state: UpDown,
    /// When.
    pub(crate) at_ms: u64,
}

/// Here or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UpDown {
    /// Here.
    Up,
    /// Gone.
    Down,
}

/// A block was found.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct BlockMessage {
    /// The publisher.
    pub(crate) publisher: String,
    /// When.
    pub(crate) at_ms: u64,
    /// Height; 0 where unknown.
    pub(crate) height: u32,
    /// As explorers print it; null where the publisher told none.
    pub(crate) block_hash: Option<String>,
    /// Who found it, where known; untrusted text.
    pub(crate) name: Option<String>,
}

/// A quote went a step further.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct QuoteMessage {
    /// The publisher.
    pub(crate) publisher: String,
    /// `created`, `sent`, `answered`, `failed` or `paid`.
    #[schema(value_type = String)]
    pub(crate) state: &'static str,
    /// When.
    pub(crate) at_ms: u64,
    /// Hash of the share, as explorers print hashes, where the event tells it.
    pub(crate) share_hash: Option<String>,
    /// Ehash: a decimal number as text, where the event tells it.
    pub(crate) amount: Option<String>,
    /// The mint's id, where the event tells it; untrusted text.
    pub(crate) quote_id: Option<String>,
    /// Who mined the share, where known; untrusted text.
    pub(crate) name: Option<String>,
    /// Why it failed; untrusted text.
    pub(crate) error_code: Option<String>,
}

/// A publisher came, went or fell silent.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct SourceMessage {
    /// Its name.
    pub(crate) publisher: String,
    /// `pool`, `proxy`, ...
    #[schema(value_type = String)]
    pub(crate) role: &'static str,
    /// `up` or `down`.
    pub(crate) state: UpDown,
    /// When.
    pub(crate) at_ms: u64,
    /// `session-started`, `session-ended`, `silent`, `heard-again`.
    #[schema(value_type = String)]
    pub(crate) reason: &'static str,
}

//! `/api/v1/pipeline/sinks`, `/sessions` and `/dead_letters`: the tables of `/api/v1/pipeline`. What that does not say is empty
//! here, never 0.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::csv::{Rows, Table};
use super::problem::Problem;
use super::query::Query;
use super::shape::{Answered, Asking};
use super::status::report;
use crate::state::AppState;

/// Options of these tables.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PipelineQuery {
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// A part of the report.
fn part<T: DeserializeOwned>(report: &mut Value, name: &str) -> Result<T, Problem> {
    serde_json::from_value(report[name].take()).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the pipeline's {name} cannot be told: {error}"))
    })
}

/// The sinks with their ledgers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Sinks {
    /// By name.
    sinks: Vec<Sink>,
}

/// A sink.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
struct Sink {
    /// Its name in the configuration.
    name: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// `starting`, `healthy`, `retrying`, `failed`, `stopping` or `stopped`.
    status: Option<String>,
    /// Since when.
    since_ms: Option<u64>,
    /// Age of the oldest event that it has still to take.
    lag_ms: Option<u64>,
    /// appended = delivered + filtered + dead_lettered + expired + pending, since the start.
    ledger: Ledger,
    /// What the ledger leaves unexplained: always 0, or there is a bug.
    ledger_difference: Option<i64>,
    /// Deliveries attempted.
    attempts: Option<u64>,
    /// Failed attempts by kind.
    failures: BTreeMap<String, u64>,
    /// When a batch was done last.
    last_delivery_ms: Option<u64>,
    /// Errors since the start.
    errors: Option<u64>,
    /// The last of them.
    last_error: Option<String>,
    /// When it happened.
    last_error_at_ms: Option<u64>,
}

/// What became of the events of a sink.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
struct Ledger {
    /// Came into the journal for it.
    appended: Option<u64>,
    /// Are durable at the sink.
    delivered: Option<u64>,
    /// Are left out by its route.
    filtered: Option<u64>,
    /// Can never succeed.
    dead_lettered: Option<u64>,
    /// Went past it, by reason.
    expired: BTreeMap<String, u64>,
    /// Are still to come.
    pending: Option<u64>,
}

/// Counts by reason as text, without those that are 0.
fn by_reason(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().filter(|(_, count)| **count > 0);
    counts.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

impl Table for Sinks {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "type",
        "status",
        "since_ms",
        "lag_ms",
        "appended",
        "delivered",
        "filtered",
        "dead_lettered",
        "expired",
        "expired_by_reason",
        "pending",
        "unexplained",
        "attempts",
        "failures",
        "failures_by_kind",
        "last_delivery_ms",
        "errors",
        "last_error",
        "last_error_at_ms",
    ];

    fn rows(&self, rows: &mut Rows) {
        for sink in &self.sinks {
            let ledger = &sink.ledger;
            let sum = |counts: &BTreeMap<String, u64>| {
                (!counts.is_empty()).then(|| counts.values().fold(0_u64, |sum, count| sum.saturating_add(*count)))
            };
            let (expired, failures) = (by_reason(&ledger.expired), by_reason(&sink.failures));
            rows.row([
                (&sink.name).into(),
                sink.kind.as_deref().into(),
                sink.status.as_deref().into(),
                sink.since_ms.into(),
                sink.lag_ms.into(),
                ledger.appended.into(),
                ledger.delivered.into(),
                ledger.filtered.into(),
                ledger.dead_lettered.into(),
                sum(&ledger.expired).into(),
                expired.as_str().into(),
                ledger.pending.into(),
                sink.ledger_difference.map(|difference| difference as f64).into(),
                sink.attempts.into(),
                sum(&sink.failures).into(),
                failures.as_str().into(),
                sink.last_delivery_ms.into(),
                sink.errors.into(),
                sink.last_error.as_deref().into(),
                sink.last_error_at_ms.into(),
            ]);
        }
    }
}

/// The sinks with their ledgers, by name.
#[utoipa::path(get, path = "/api/v1/pipeline/sinks", tag = "status", params(PipelineQuery),
    responses((status = 200, body = Sinks), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sinks(
    State(state): State<AppState>,
    Query(asked): Query<PipelineQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let sinks: BTreeMap<String, Sink> = part(&mut report(&state).await?, "sinks")?;
    form.table(&Sinks { sinks: sinks.into_iter().map(|(name, sink)| Sink { name, ..sink }).collect() })
}

/// The sessions of publishers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Sessions {
    /// As the journal has them.
    sessions: Vec<Session>,
}

/// A session of a publisher.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
struct Session {
    /// The publisher.
    publisher: String,
    /// What kind of program it is.
    role: Option<String>,
    /// Its number, in hexadecimal.
    session: String,
    /// Name and version of the program; untrusted text.
    vendor: Option<String>,
    /// Whether a connection has it open.
    connected: Option<bool>,
    /// How it ended: `clean`, `replaced` or `expired`; null while it has not.
    ended: Option<String>,
    /// Its last durable number.
    committed_sequence: Option<u64>,
    /// Numbers that are lost.
    missing: Option<u64>,
    /// It ended without saying so: what it had not delivered is not known.
    loss_unknown: Option<bool>,
    /// When the sidecar first accepted it.
    started_at_ms: Option<u64>,
    /// Time of its last event or heartbeat.
    last_event_at_ms: Option<u64>,
    /// When the sidecar last heard of it.
    heard_at_ms: Option<u64>,
}

impl Table for Sessions {
    const COLUMNS: &'static [&'static str] = &[
        "publisher",
        "role",
        "session",
        "vendor",
        "connected",
        "ended",
        "committed_sequence",
        "missing",
        "loss_unknown",
        "started_at_ms",
        "last_event_at_ms",
        "heard_at_ms",
    ];

    fn rows(&self, rows: &mut Rows) {
        for session in &self.sessions {
            rows.row([
                (&session.publisher).into(),
                session.role.as_deref().into(),
                (&session.session).into(),
                session.vendor.as_deref().into(),
                session.connected.into(),
                session.ended.as_deref().into(),
                session.committed_sequence.into(),
                session.missing.into(),
                session.loss_unknown.into(),
                session.started_at_ms.into(),
                session.last_event_at_ms.into(),
                session.heard_at_ms.into(),
            ]);
        }
    }
}

/// The sessions of publishers that the journal knows.
#[utoipa::path(get, path = "/api/v1/pipeline/sessions", tag = "status", params(PipelineQuery),
    responses((status = 200, body = Sessions), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sessions(
    State(state): State<AppState>,
    Query(asked): Query<PipelineQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    form.table(&Sessions { sessions: part(&mut report(&state).await?, "sources")? })
}

/// The latest dead letters.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DeadLetters {
    /// Dead letters that are kept in all; null where it is not known. `hashpool-sidecar journal dead-letters` lists them.
    total: Option<u64>,
    /// The latest of them, the newest first.
    dead_letters: Vec<DeadLetter>,
}

/// An event that can never reach its sink.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub(crate) struct DeadLetter {
    /// The sink, or `(ingest)` for what was malformed when it came.
    pub(crate) sink: String,
    /// The publisher.
    pub(crate) publisher: String,
    /// Its session, in hexadecimal.
    pub(crate) session: String,
    /// Whether the sidecar itself made the event about the session; such events have numbers of their own.
    pub(crate) derived: bool,
    /// Its number in the session.
    pub(crate) sequence: u64,
    /// When the sidecar received it.
    pub(crate) received_at_ms: u64,
    /// Which event.
    pub(crate) event: String,
    /// Why it can never succeed.
    pub(crate) reason: String,
    /// What it says; untrusted text.
    pub(crate) contents: String,
}

impl Table for DeadLetters {
    const COLUMNS: &'static [&'static str] =
        &["sink", "publisher", "session", "derived", "sequence", "received_at_ms", "event", "reason", "contents"];

    fn rows(&self, rows: &mut Rows) {
        for letter in &self.dead_letters {
            rows.row([
                (&letter.sink).into(),
                (&letter.publisher).into(),
                (&letter.session).into(),
                letter.derived.into(),
                letter.sequence.into(),
                letter.received_at_ms.into(),
                (&letter.event).into(),
                (&letter.reason).into(),
                (&letter.contents).into(),
            ]);
        }
    }
}

/// The latest events that can never reach their sink.
#[utoipa::path(get, path = "/api/v1/pipeline/dead_letters", tag = "status", params(PipelineQuery),
    responses((status = 200, body = DeadLetters), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn dead_letters(
    State(state): State<AppState>,
    Query(asked): Query<PipelineQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let mut report = report(&state).await?;
    let total = report["journal"]["dead_letters"].as_u64();
    form.table(&DeadLetters { total, dead_letters: part(&mut report, "dead_letters")? })
}

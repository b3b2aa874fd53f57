//! `/api/v1/quotes`, `/api/v1/ehash` and `/api/v1/blocks`. Ehash is a decimal number as text.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{BlockView, EhashOf, EhashView, Part, QuoteFilter, QuoteState, QuoteView};

use super::csv::{Rows, Table};
use super::cursor;
use super::problem::Problem;
use super::query::Query;
use super::range::{real_name, some_publisher};
use super::shape::{Answered, Asking, MAX_PAGE};
use crate::live::message::WorkerKind;
use crate::state::AppState;

/// Rows of a page unless the question says otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QuotesQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Only quotes that stand there: `created`, `sent`, `answered`, `failed`, `paid`, `abandoned`.
    state: Option<String>,
    /// Only quotes for shares of this user_identity, as lists show it.
    name: Option<String>,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// A page of quotes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Quotes {
    /// The publisher.
    publisher: String,
    /// The latest first.
    quotes: Vec<QuoteView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for Quotes {
    const COLUMNS: &'static [&'static str] = &[
        "share_hash",
        "state",
        "amount",
        "identity",
        "downstream_id",
        "channel_id",
        "sequence_number",
        "created_ms",
        "sent_ms",
        "answered_ms",
        "failed_ms",
        "paid_ms",
        "latency_ms",
        "quote_id",
        "error_code",
        "error_message",
        "paid_amount",
    ];

    fn rows(&self, rows: &mut Rows) {
        for quote in &self.quotes {
            rows.row([
                (&quote.share_hash).into(),
                quote.state.as_str().into(),
                quote.amount.as_deref().into(),
                quote.identity.as_deref().into(),
                quote.downstream_id.into(),
                quote.channel_id.into(),
                quote.sequence_number.into(),
                quote.created_ms.into(),
                quote.sent_ms.into(),
                quote.answered_ms.into(),
                quote.failed_ms.into(),
                quote.paid_ms.into(),
                quote.latency_ms.into(),
                quote.quote_id.as_deref().into(),
                quote.error_code.as_deref().into(),
                quote.error_message.as_deref().into(),
                quote.paid_amount.as_deref().into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Quotes with their lives, the latest first.
#[utoipa::path(get, path = "/api/v1/quotes", tag = "quotes", params(QuotesQuery),
    responses((status = 200, body = Quotes), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn quotes(
    State(state): State<AppState>,
    Query(asked): Query<QuotesQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let stands = asked.state.as_deref().map(|name| {
        QuoteState::from_name(name).ok_or_else(|| Problem::bad_request(format!("no quote stands at `{name}`")))
    });
    let stands = stands.transpose()?;
    let before = cursor::read(asked.cursor.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let redaction = std::sync::Arc::clone(&state.redaction);
    let (publisher, mut quotes) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let identity = asked
                .name
                .map(|name| real_name(history, &publisher, WorkerKind::Identity, name, &redaction))
                .transpose()?;
            let filter = QuoteFilter { state: stands, identity, before };
            let quotes = history.quote_page(&publisher, &filter, limit + 1)?;
            Ok((publisher, quotes))
        })
        .await?;
    let next_cursor = cursor::cut(&mut quotes, limit, |last| last.place);
    state.redaction.quotes(&publisher, &mut quotes);
    form.table(&Quotes { publisher, quotes, next_cursor })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EhashQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// What it is summed by; `identity` if absent.
    #[param(inline)]
    by: Option<EhashBy>,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// What ehash is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EhashBy {
    /// user_identity, over all its connections.
    Identity,
    /// A downstream connection of a session.
    Downstream,
    /// A channel of a session.
    Channel,
}

/// Ehash by who mined it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Ehash {
    /// The publisher.
    publisher: String,
    /// The most first.
    ehash: Vec<EhashView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for Ehash {
    const COLUMNS: &'static [&'static str] =
        &["identity", "session_id", "downstream_id", "channel_id", "quotes", "ehash"];

    fn rows(&self, rows: &mut Rows) {
        for row in &self.ehash {
            rows.row([
                row.identity.as_deref().into(),
                row.session_id.as_deref().into(),
                row.downstream_id.into(),
                row.channel_id.into(),
                row.quotes.into(),
                (&row.ehash).into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Whose shares gave how much ehash.
#[utoipa::path(get, path = "/api/v1/ehash", tag = "quotes", params(EhashQuery),
    responses((status = 200, body = Ehash), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ehash(State(state): State<AppState>, Query(asked): Query<EhashQuery>, asking: Asking) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let by = match asked.by {
        None | Some(EhashBy::Identity) => EhashOf::Identity,
        Some(EhashBy::Downstream) => EhashOf::Downstream,
        Some(EhashBy::Channel) => EhashOf::Channel,
    };
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (publisher, mut ehash) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let ehash = history.ehash(&publisher, by, &part)?;
            Ok((publisher, ehash))
        })
        .await?;
    let next_cursor = cursor::cut(&mut ehash, limit, |last| last.place);
    state.redaction.ehash(&publisher, &mut ehash);
    form.table(&Ehash { publisher, ehash, next_cursor })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BlocksQuery {
    /// Name of the publisher; the one that was heard first if absent.
    source: Option<String>,
    /// Rows of a page; 100 if absent, at most 1,000. In CSV 10,000.
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same question otherwise.
    cursor: Option<String>,
    /// `json` or `csv`; without it `Accept` decides.
    format: Option<String>,
}

/// Blocks that the publisher found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Blocks {
    /// The publisher.
    publisher: String,
    /// The latest first.
    blocks: Vec<BlockView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for Blocks {
    const COLUMNS: &'static [&'static str] = &["block_hash", "height", "found_ms", "identity", "effort"];

    fn rows(&self, rows: &mut Rows) {
        for block in &self.blocks {
            rows.row([
                block.block_hash.as_deref().into(),
                block.height.into(),
                block.found_ms.into(),
                block.identity.as_deref().into(),
                block.effort.into(),
            ]);
        }
    }

    fn next_cursor(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Blocks that the publisher found: not those that the network found without it.
#[utoipa::path(get, path = "/api/v1/blocks", tag = "blocks", params(BlocksQuery),
    responses((status = 200, body = Blocks), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn blocks(
    State(state): State<AppState>,
    Query(asked): Query<BlocksQuery>,
    asking: Asking,
) -> Answered {
    let form = asking.form(asked.format.as_deref())?;
    let limit = form.rows(asked.limit, DEFAULT_LIMIT, MAX_PAGE)?;
    let part = Part { after: cursor::read(asked.cursor.as_deref())?, skip: 0, limit: limit + 1 };
    let (publisher, mut blocks) = state
        .history
        .read(move |history| {
            let publisher = some_publisher(history, asked.source.as_deref())?;
            let blocks = history.blocks(&publisher, &part)?;
            Ok((publisher, blocks))
        })
        .await?;
    let next_cursor = cursor::cut(&mut blocks, limit, |last| last.place);
    state.redaction.blocks(&publisher, &mut blocks);
    form.table(&Blocks { publisher, blocks, next_cursor })
}

//! `/api/stats`, `/api/services`, `/api/connections`, `/api/pool` and `/health`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sidecar_core::ErrorChain;
use sink_sqlite::query::{DownstreamView, MAX_ROWS, Part, SourceView, Totals};

use super::facts::{Facts, Service, choose};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::shape::{Answered, json, json_with};
use crate::api::status::{Health, not_ready};
use crate::live::message::SourceState;
use crate::live::updater::source_state;
use crate::state::AppState;

/// Flag of a SetupConnection that asks to choose the work.
const REQUIRES_WORK_SELECTION: u32 = 1 << 1;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SourceQuery {
    /// Name of the publisher; the pool (or translator, where the path is about one) that was heard first if absent.
    source: Option<String>,
}

/// A downstream of the pool.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Proxy {
    /// The pool's number for it.
    id: u32,
    /// Its network address; empty where the pool does not tell it.
    address: String,
    /// Its open channels.
    channels: Vec<u32>,
    /// Accepted and rejected shares of its open channels.
    shares_submitted: u64,
    /// Quotes created for them; quotes never count as shares.
    quotes_created: u64,
    /// Their ehash. A number, as the original has it: beyond 2^53 a reader may round it. `/api/v1` has it as text.
    ehash_mined: u128,
    /// Its last accepted share: Unix seconds in `/api/stats`, words such as `12s ago` in `/api/connections`, null if there
    /// is none.
    #[schema(value_type = Option<Object>)]
    last_share_at: LastShare,
    /// Whether it asked to choose its work.
    work_selection: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LastShare {
    Seconds(Option<u64>),
    Words(Option<String>),
}

impl Proxy {
    fn of(downstream: &DownstreamView, last_share_at: LastShare) -> Self {
        Self {
            id: downstream.downstream_id,
            address: downstream.address.clone(),
            channels: downstream.channels.clone(),
            shares_submitted: downstream.accepted + downstream.rejected,
            quotes_created: downstream.quotes,
            // It was written from such a number.
            ehash_mined: downstream.ehash.parse().unwrap_or_default(),
            last_share_at,
            work_selection: downstream.flags & REQUIRES_WORK_SELECTION != 0,
        }
    }
}

/// `GET /api/stats`: hashpool's fields, and the totals of the original design.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Stats {
    /// Where the pool listens: from SourceInfo `listen_address` or the configuration, else null.
    listen_address: Option<String>,
    /// From SourceInfo `service.*` or the configuration; empty if neither tells any.
    services: Vec<Service>,
    /// Open downstream connections; at most 10,000.
    downstream_proxies: Vec<Proxy>,
    /// When this was read, in Unix seconds.
    timestamp: u64,
    /// The publisher; null before one was heard.
    publisher: Option<String>,
    /// Accepted shares since the history began.
    total_shares: u64,
    /// Rejected shares since the history began.
    total_rejected: u64,
    /// Blocks found.
    blocks_found: u64,
    /// Quotes created.
    total_quotes: u64,
    /// Their ehash: a decimal number as text.
    total_ehash: String,
    /// Measured over the last 5 minutes; null where nothing was measured.
    hashrate_hs: Option<f64>,
    /// Open downstream connections, in all.
    downstreams: u64,
    /// Open channels.
    channels: u64,
    /// Connected SV1 miners.
    miners: u64,
}

/// The pool at a glance, in hashpool's shape and with the totals of the original design.
#[utoipa::path(get, path = "/api/stats", tag = "compatibility", params(SourceQuery),
    responses((status = 200, body = Stats), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stats(State(state): State<AppState>, Query(asked): Query<SourceQuery>) -> Answered {
    let overview = state.overview().await?;
    let source = chosen(&overview, &asked, |source| source.channels.is_some())?;
    let downstreams = match source {
        Some(source) => downstreams(&state, &source.publisher).await?,
        None => Vec::new(),
    };
    let group = source.and_then(|source| source.channels.as_ref().or(source.miners.as_ref()));
    let totals =
        group.map_or_else(|| Totals { ehash: "0".to_owned(), ..Totals::default() }, |group| group.totals.clone());
    let measured = group
        .and_then(|group| group.windows.iter().find(|window| window.window == "5m"))
        .and_then(|window| window.reading.measured());
    let (listen_address, services) = place(&state, source);
    json(&Stats {
        listen_address,
        services,
        downstream_proxies: downstreams
            .iter()
            .map(|proxy| Proxy::of(proxy, LastShare::Seconds(proxy.last_share_ms.map(|at| at / 1000))))
            .collect(),
        timestamp: overview.now_ms / 1000,
        publisher: source.map(|source| source.publisher.clone()),
        total_shares: totals.accepted,
        total_rejected: totals.rejected,
        blocks_found: totals.blocks,
        total_quotes: totals.quotes,
        total_ehash: totals.ehash,
        hashrate_hs: measured.map(|estimate| estimate.rate.hashes_per_second()),
        downstreams: source.map_or(0, |source| source.downstreams),
        channels: source.map_or(0, |source| source.channels_open),
        miners: source.map_or(0, |source| source.miners_open),
    })
}

/// `GET /api/services`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Services {
    /// From SourceInfo `service.*` or the configuration; empty if neither tells any.
    services: Vec<Service>,
}

/// The services beside the pool.
#[utoipa::path(get, path = "/api/services", tag = "compatibility", params(SourceQuery),
    responses((status = 200, body = Services), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn services(State(state): State<AppState>, Query(asked): Query<SourceQuery>) -> Answered {
    let overview = state.overview().await?;
    let source = chosen(&overview, &asked, |source| source.channels.is_some())?;
    json(&Services { services: place(&state, source).1 })
}

/// `GET /api/connections`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Connections {
    /// Open downstream connections; at most 10,000.
    proxies: Vec<Proxy>,
    /// Open downstream connections, in all.
    total: u64,
}

/// The pool's downstream connections.
#[utoipa::path(get, path = "/api/connections", tag = "compatibility", params(SourceQuery),
    responses((status = 200, body = Connections), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn connections(State(state): State<AppState>, Query(asked): Query<SourceQuery>) -> Answered {
    let overview = state.overview().await?;
    let source = chosen(&overview, &asked, |source| source.channels.is_some())?;
    let downstreams = match source {
        Some(source) => downstreams(&state, &source.publisher).await?,
        None => Vec::new(),
    };
    let now_ms = state.now_ms();
    let proxies = downstreams
        .iter()
        .map(|proxy| Proxy::of(proxy, LastShare::Words(proxy.last_share_ms.map(|at| ago(now_ms.saturating_sub(at))))))
        .collect();
    json(&Connections { proxies, total: source.map_or(0, |source| source.downstreams) })
}

/// `GET /api/pool`: what a translator's page shows of its pool.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Pool {
    /// From SourceInfo `network` or the configuration, else null.
    blockchain_network: Option<String>,
    /// The upstream that the translator told or the configuration names, else null.
    upstream_pool: Option<UpstreamPool>,
    /// Whether the translator has an upstream now, by its UpstreamConnected events.
    connected: bool,
}

/// The pool that a translator is connected to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct UpstreamPool {
    /// Its address.
    address: String,
}

/// The pool that a translator works for.
#[utoipa::path(get, path = "/api/pool", tag = "compatibility", params(SourceQuery),
    responses((status = 200, body = Pool), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pool(State(state): State<AppState>, Query(asked): Query<SourceQuery>) -> Answered {
    let overview = state.overview().await?;
    let source = chosen(&overview, &asked, |source| source.role == "proxy")?;
    let facts = Facts::of(source, &state.settings.source);
    let upstream = source.and_then(|source| source.upstreams.first().cloned());
    let connected =
        upstream.is_some() && source.is_some_and(|source| source_state(source, overview.now_ms) == SourceState::Live);
    let mut configured = state.settings.source.upstream_address.clone();
    if let Some(address) = &mut configured {
        state.redaction.address(address);
    }
    json(&Pool {
        blockchain_network: facts.network(),
        upstream_pool: upstream.or(configured).map(|address| UpstreamPool { address }),
        connected,
    })
}

/// `GET /health`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HealthShape {
    /// A source is heard, and the sidecar is ready.
    healthy: bool,
    /// The numbers are not known to be of now: no source is heard, or the history cannot be read.
    stale: bool,
}

/// Whether the numbers are fresh: 200, or 503 when they are stale, cannot be read, or the sidecar is not ready. In this shape
/// whatever fails, since that is what probes and pages read; `/api/v1/health` says what it is.
#[utoipa::path(get, path = "/health", tag = "compatibility",
    responses((status = 200, body = HealthShape), (status = 503, body = HealthShape)))]
pub(super) async fn health(State(state): State<AppState>) -> Answered {
    let publishers = match state.history.read(sink_sqlite::History::publishers).await {
        Ok(publishers) => publishers,
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "the health cannot be read");
            return json_with(StatusCode::SERVICE_UNAVAILABLE, &HealthShape { healthy: false, stale: true });
        }
    };
    let health = Health::of(&publishers, state.now_ms(), not_ready(&state).is_empty());
    json_with(health.status(), &HealthShape { healthy: health.healthy, stale: health.stale })
}

fn chosen<'o>(
    overview: &'o sink_sqlite::query::Overview,
    asked: &SourceQuery,
    fits: impl Fn(&SourceView) -> bool,
) -> Result<Option<&'o SourceView>, Problem> {
    match (choose(overview, asked.source.as_deref(), fits), &asked.source) {
        (None, Some(name)) => Err(Problem::not_found(format!("no publisher {name} is known"))),
        (found, _) => Ok(found),
    }
}

async fn downstreams(state: &AppState, publisher: &str) -> Result<Vec<DownstreamView>, Problem> {
    let publisher = publisher.to_owned();
    let mut downstreams =
        state.history.read(move |history| history.downstreams(&publisher, None, &Part::first(MAX_ROWS))).await?;
    state.redaction.downstreams(&mut downstreams);
    Ok(downstreams)
}

/// Where the source and its services are. What SourceInfo told is redacted with the overview; what is configured, here.
fn place(state: &AppState, source: Option<&SourceView>) -> (Option<String>, Vec<Service>) {
    let facts = Facts::of(source, &state.settings.source);
    let (mut listen, mut services) = (facts.listen_address(), facts.services());
    if let Some(listen) = &mut listen {
        state.redaction.address(listen);
    }
    services.iter_mut().for_each(|service| state.redaction.address(service.address_mut()));
    (listen, services)
}

/// A time span in the original's words.
pub(super) fn ago(ms: u64) -> String {
    format!("{} ago", short_time(ms))
}

/// The two greatest units: `12s`, `3m 4s`, `5h 6m`, `7d 8h`.
pub(super) fn short_time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

//! `/api/miners`: the connected miners of a translator, or the open channels of a pool.

use axum::extract::State;
use mining_stats::{Hashrate, text};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sink_sqlite::History;
use sink_sqlite::query::{MAX_ROWS, Part, QueryError};

use super::pool::short_time;
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::range::{Range, publisher};
use crate::api::shape::{Answered, json};
use crate::state::AppState;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MinersQuery {
    /// Name of the publisher; the translator, or else pool, that was heard first if absent.
    source: Option<String>,
    /// Window of the hashrates, up to now; the last 5 minutes if absent.
    hours: Option<f64>,
    /// Start of the window in Unix seconds, instead of `hours`; it always ends now.
    from: Option<u64>,
    /// Not looked at: a list of who is connected is about now.
    #[expect(dead_code, reason = "accepted, since pages send it")]
    to: Option<u64>,
}

/// Who is connected.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Miners {
    /// Open connections, in all.
    total_miners: u64,
    /// The sum of the hashrates of the workers who are connected, such as `1.20 TH/s`; `unknown` where nothing was measured.
    /// Of whoever left or changed the name the window still holds shares, which would count twice.
    total_hashrate: String,
    /// Accepted shares of the open connections, in all.
    total_shares: u64,
    /// The newest connection first; at most 10,000.
    miners: Vec<Miner>,
    /// The same as `total_hashrate` in H/s; null where nothing was measured.
    total_hashrate_hs: Option<f64>,
}

/// A connection.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Miner {
    /// Name of the worker; untrusted text.
    name: String,
    /// The translator's number for the miner, or the pool's for the downstream.
    id: u32,
    /// Its network address; empty where it is not told.
    address: String,
    /// Measured hashrate of the worker over all its connections, such as `1.20 TH/s`; `unknown` where nothing was measured.
    hashrate: String,
    /// Accepted shares of this connection.
    shares: u64,
    /// How long it is connected, such as `3h 4m`.
    connected_time: String,
    /// `hashrate` in H/s; null where nothing was measured.
    hashrate_hs: Option<f64>,
}

/// Who is connected and how fast they are.
#[utoipa::path(get, path = "/api/miners", tag = "compatibility", params(MinersQuery),
    responses((status = 200, body = Miners), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn miners(State(state): State<AppState>, Query(asked): Query<MinersQuery>) -> Answered {
    /// Long enough for a number, short enough to be of now.
    const WINDOW_HOURS: f64 = 5.0 / 60.0;
    let now_ms = state.now_ms();
    let range = match (asked.hours, asked.from) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("give `hours` or `from`, not both")),
        (_, Some(from)) => Range::asked(Some(from.saturating_mul(1000)), Some(now_ms), None, now_ms)?,
        (hours, None) => Range::hours(hours.unwrap_or(WINDOW_HOURS), now_ms)?,
    };
    let read = state
        .history
        .read(move |history| {
            let Some(publisher) = publisher(history, asked.source.as_deref(), |role| role == "proxy")? else {
                return Ok(None);
            };
            let connections = history.connections(&publisher, None, &Part::first(MAX_ROWS))?;
            let totals = history.open_totals(&publisher)?;
            let rates = rates(history, &publisher, now_ms - range.from_ms, now_ms)?;
            Ok(Some((publisher, connections, totals, rates)))
        })
        .await?;
    let (publisher, mut connections, totals, rates) = read.unwrap_or_default();
    let rates_of: Vec<Option<Hashrate>> = connections
        .iter()
        .map(|connection| rates[usize::from(connection.is_miner)].get(&connection.name).copied())
        .collect();
    // Each worker once, however many connections it has.
    let measured: Vec<f64> = rates.iter().flat_map(FxHashMap::values).map(|rate| rate.hashes_per_second()).collect();
    let total_hashrate_hs = (!measured.is_empty()).then(|| measured.iter().sum::<f64>());
    state.redaction.connections(&publisher, &mut connections);
    let shown = |rate: Option<Hashrate>| rate.map_or_else(|| "unknown".to_owned(), |rate| text::hashrate(rate, 3));
    let miners: Vec<Miner> = connections
        .into_iter()
        .zip(rates_of)
        .map(|(connection, rate)| Miner {
            name: connection.name,
            id: connection.connection_id,
            address: connection.address,
            hashrate: shown(rate),
            shares: connection.accepted,
            connected_time: short_time(now_ms.saturating_sub(connection.opened_ms)),
            hashrate_hs: rate.map(Hashrate::hashes_per_second),
        })
        .collect();
    json(&Miners {
        total_miners: totals.connections,
        total_hashrate: shown(total_hashrate_hs.map(Hashrate::from_hashes_per_second)),
        total_shares: totals.accepted,
        total_hashrate_hs,
        miners,
    })
}

/// Hashrates by name: of user identities, and of miners.
type Rates = [FxHashMap<String, Hashrate>; 2];

/// The measured hashrate of every worker who is connected, of as many as there are.
fn rates(history: &History, publisher: &str, window_ms: u64, now_ms: u64) -> Result<Rates, QueryError> {
    let mut rates = Rates::default();
    let mut last: Option<(String, bool)> = None;
    loop {
        let after = last.as_ref().map(|(name, is_miner)| (name.as_str(), *is_miner));
        let workers = history.workers(publisher, window_ms, now_ms, after, MAX_ROWS)?;
        let is_last = workers.len() < MAX_ROWS as usize;
        last = workers.last().map(|worker| (worker.name.clone(), worker.is_miner));
        for worker in workers.into_iter().filter(|worker| worker.open > 0) {
            if let Some(estimate) = worker.window.reading.measured() {
                rates[usize::from(worker.is_miner)].insert(worker.name, estimate.rate);
            }
        }
        if is_last {
            return Ok(rates);
        }
    }
}

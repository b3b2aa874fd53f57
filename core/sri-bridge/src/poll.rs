//! One poll: all requests that make one [`View`], or nothing.
//!
//! The program answers each request from the latest of its snapshots, and lists are in no order, so pages of one list may
//! not fit together. Whoever is known and not listed is therefore asked for by id; a list of channels whose pages
//! disagree is read again, and given up after a few times.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use stats_sv2::limits::MAX_OPEN_OBJECTS;

use crate::api::{
    ApiChannel, Channels, Client, ClientChannel, Global, Health, Page, ServerChannel, Sv1Client, ValueError, bounded,
    hashes_per_second,
};
use crate::client::{ApiClient, HttpError};
use crate::config::{MonitoringUrl, SriRole};
use crate::view::{ChannelView, DownstreamView, MinerView, StartedAt, UPSTREAM_CHANNELS, View};

/// Entries asked for at once: as many as SRI gives.
const PAGE: usize = 100;

/// How often a list is read again when its pages disagree.
const LIST_ATTEMPTS: usize = 3;

/// Why a poll gave no view. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// A request failed.
    #[error("the monitoring API cannot be read")]
    Http(#[from] HttpError),
    /// The program at this address has no such half.
    #[error("{path} answered 404: is there an SRI {role:?} at this address?")]
    NotThere {
        /// The path.
        path: String,
        /// What was looked for.
        role: SriRole,
    },
    /// Neither clients nor an upstream: monitoring is half switched off, or the program is neither pool nor translator.
    #[error("the program tells neither of clients nor of an upstream; set role, and enable monitoring there")]
    NoRole,
    /// The program started again, or its clock was set, while it was read.
    #[error("the program restarted while it was read")]
    Restarted,
    /// Pages of one list did not fit together several times.
    #[error("{path} changed while it was read, {LIST_ATTEMPTS} times")]
    Unsettled {
        /// The path.
        path: String,
    },
    /// More objects than a session may have.
    #[error("{path} lists more than {MAX_OPEN_OBJECTS} objects")]
    TooMany {
        /// The path.
        path: String,
    },
    /// A value that no SRI program gives.
    #[error("the monitoring API gives a value that makes no sense")]
    Value(#[from] ValueError),
}

/// Reads everything once. `known` are the downstreams that were there at the last poll.
pub async fn read_view(
    url: &MonitoringUrl,
    role: Option<SriRole>,
    known: impl IntoIterator<Item = u32>,
) -> Result<View, PollError> {
    let mut api = Reader { client: ApiClient::new(url), role: role.unwrap_or(SriRole::Pool) };
    let before: Health = api.need("/api/v1/health").await?;
    let global: Global = api.need("/api/v1/global").await?;
    api.role = match role {
        Some(role) => role,
        None if global.sv2_clients.is_some() => SriRole::Pool,
        None if global.sv1_clients.is_some() || global.server.is_some() => SriRole::Proxy,
        None => return Err(PollError::NoRole),
    };
    let mut view = View {
        role: api.role,
        started: StartedAt { earliest: started(before.timestamp, global.uptime_secs), latest: 0 },
        uptime_ms: 0,
        downstreams: BTreeMap::new(),
        miners: BTreeMap::new(),
        miners_paged: false,
    };
    match api.role {
        SriRole::Pool => view.downstreams = api.clients(known).await?,
        SriRole::Proxy => {
            let upstream = api.channels::<ServerChannel>("/api/v1/server/channels").await?;
            let upstream = upstream.ok_or_else(|| api.not_there("/api/v1/server/channels"))?;
            view.downstreams.insert(UPSTREAM_CHANNELS, upstream);
            // A translator may have its SV1 half switched off.
            if global.sv1_clients.is_some() {
                (view.miners, view.miners_paged) = api.miners().await?;
            }
        }
    }
    let objects = view.downstreams.values().map(|downstream| 1 + downstream.channels.len()).sum::<usize>();
    if objects + view.miners.len() > MAX_OPEN_OBJECTS {
        return Err(PollError::TooMany { path: url.to_string() });
    }
    let after: Global = api.need("/api/v1/global").await?;
    let end: Health = api.need("/api/v1/health").await?;
    view.started.latest = started(end.timestamp, after.uptime_secs);
    view.uptime_ms = u64::try_from(after.uptime_secs.cast_signed()).unwrap_or(0).saturating_mul(1000);
    if after.uptime_secs.cast_signed() < global.uptime_secs.cast_signed() || view.started.latest < view.started.earliest
    {
        return Err(PollError::Restarted);
    }
    Ok(view)
}

/// The second of the start. Signed, since an uptime behind a clock that was set back is a negative number that wrapped.
fn started(timestamp: u64, uptime_secs: u64) -> i64 {
    timestamp.cast_signed().saturating_sub(uptime_secs.cast_signed())
}

struct Reader<'u> {
    client: ApiClient<'u>,
    role: SriRole,
}

impl Reader<'_> {
    async fn need<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, PollError> {
        self.client.get(path).await?.ok_or_else(|| self.not_there(path))
    }

    fn not_there(&self, path: &str) -> PollError {
        PollError::NotThere { path: path.to_owned(), role: self.role }
    }

    /// The pool's clients with their channels. A client that left between two requests is left out.
    async fn clients(
        &mut self,
        known: impl IntoIterator<Item = u32>,
    ) -> Result<BTreeMap<u32, DownstreamView>, PollError> {
        let (listed, _) = self.list::<Client>("/api/v1/clients", |client| client.client_id).await?;
        let translators: BTreeSet<u32> = listed
            .values()
            .filter(|client| client.client_kind == "translator_proxy")
            .map(|client| client.client_id)
            .collect();
        let mut ids: BTreeSet<u32> = listed.into_keys().collect();
        ids.extend(known);
        let mut clients = BTreeMap::new();
        for id in ids {
            if let Some(client) = self.channels::<ClientChannel>(&format!("/api/v1/clients/{id}/channels")).await? {
                clients.insert(id, DownstreamView { translator: translators.contains(&id), ..client });
            }
        }
        Ok(clients)
    }

    async fn miners(&mut self) -> Result<(BTreeMap<u32, MinerView>, bool), PollError> {
        let (listed, paged) = self.list::<Sv1Client>("/api/v1/sv1/clients", |client| client.client_id).await?;
        let miners = listed
            .into_iter()
            .map(|(id, client)| {
                let view = MinerView {
                    name: bounded(&client.sv1_username),
                    address: bounded(&client.connection_ip),
                    hashrate: hashes_per_second(client.hashrate),
                };
                (id, view)
            })
            .collect();
        Ok((miners, paged))
    }

    /// A list of entries with an id, and whether it came on several pages. What a page repeats is taken once; what falls
    /// between two pages is missing.
    async fn list<T: DeserializeOwned>(
        &mut self,
        path: &str,
        id: impl Fn(&T) -> u32,
    ) -> Result<(BTreeMap<u32, T>, bool), PollError> {
        let mut entries = BTreeMap::new();
        let mut offset = 0;
        loop {
            let page: Page<T> = self.need(&format!("{path}?offset={offset}&limit={PAGE}")).await?;
            if page.total > MAX_OPEN_OBJECTS {
                return Err(PollError::TooMany { path: path.to_owned() });
            }
            let count = page.items.len();
            entries.extend(page.items.into_iter().map(|entry| (id(&entry), entry)));
            offset += count;
            if count == 0 || offset >= page.total {
                return Ok((entries, offset > count));
            }
        }
    }

    /// The channels at a path; `None` when there is no such client.
    async fn channels<C: ApiChannel + DeserializeOwned>(
        &mut self,
        path: &str,
    ) -> Result<Option<DownstreamView>, PollError> {
        for _ in 0..LIST_ATTEMPTS {
            match self.channel_pages::<C>(path).await? {
                Pages::Gone => return Ok(None),
                Pages::Settled(downstream) => return Ok(Some(downstream)),
                Pages::Unsettled => {}
            }
        }
        Err(PollError::Unsettled { path: path.to_owned() })
    }

    async fn channel_pages<C: ApiChannel + DeserializeOwned>(&mut self, path: &str) -> Result<Pages, PollError> {
        let mut channels: BTreeMap<u32, ChannelView> = BTreeMap::new();
        let mut totals = None;
        let mut offset = 0;
        loop {
            let page: Option<Channels<C>> = self.client.get(&format!("{path}?offset={offset}&limit={PAGE}")).await?;
            let Some(page) = page else { return Ok(Pages::Gone) };
            let of_page = (page.total_extended, page.total_standard);
            if *totals.get_or_insert(of_page) != of_page {
                return Ok(Pages::Unsettled);
            }
            let (longest, total) = (of_page.0.max(of_page.1), of_page.0.saturating_add(of_page.1));
            if total > MAX_OPEN_OBJECTS {
                return Err(PollError::TooMany { path: path.to_owned() });
            }
            let advanced = page.extended_channels.len().max(page.standard_channels.len());
            for channel in page.extended_channels {
                channels.extend([channel.view(false)?]);
            }
            for channel in page.standard_channels {
                channels.extend([channel.view(true)?]);
            }
            offset += advanced;
            if offset >= longest || advanced == 0 {
                // Repeated and so also missing entries: the list was shuffled between two pages.
                let complete = channels.len() == total;
                let paged = offset > advanced;
                return Ok(if complete {
                    Pages::Settled(DownstreamView { translator: false, channels, paged })
                } else {
                    Pages::Unsettled
                });
            }
        }
    }
}

enum Pages {
    Gone,
    Settled(DownstreamView),
    Unsettled,
}

//! A reader of SRI's monitoring API, pages and all: what a pool and a translator say about themselves, as the truth
//! that the stories hold the sidecar against. It shares no code with the bridge that it checks.

mod metrics;
mod model;

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Result, ensure};

pub use metrics::{MetricSample, Metrics};
pub use model::{
    Client, ClientChannels, ClientsPage, PoolChannel, Sv1Client, Sv1ClientsPage, UpstreamChannel, UpstreamChannels,
};

use crate::http;

/// The largest page that the API gives; it gives 25 entries when not asked.
pub const PAGE: usize = 100;

/// A reader of one application's monitoring API.
#[derive(Debug, Clone, Copy)]
pub struct MonitoringApi {
    address: SocketAddr,
    page: usize,
}

/// All channels of a pool, from one pass over the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolSnapshot {
    /// By (client_id, channel_id): neither is unique alone.
    pub channels: BTreeMap<(u64, u32), PoolChannel>,
}

/// All upstream channels and SV1 miners of a translator, from one pass over the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TranslatorSnapshot {
    /// By the channel id that the pool gave.
    pub channels: BTreeMap<u32, UpstreamChannel>,
    /// By the translator's own client id.
    pub miners: BTreeMap<u64, Sv1Client>,
}

impl PoolSnapshot {
    /// Shares accepted on all channels.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.channels.values().map(|channel| u64::from(channel.shares_accepted)).sum()
    }

    /// Shares rejected on all channels.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.channels.values().map(|channel| u64::from(channel.shares_rejected)).sum()
    }

    /// Blocks found on all channels.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.channels.values().map(|channel| u64::from(channel.blocks_found)).sum()
    }

    /// Accepted shares by (client_id, channel_id).
    #[must_use]
    pub fn accepted_by_channel(&self) -> BTreeMap<(u64, u32), u64> {
        self.channels.iter().map(|(key, channel)| (*key, u64::from(channel.shares_accepted))).collect()
    }
}

impl TranslatorSnapshot {
    /// Shares that the pool has acknowledged, on all channels.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.channels.values().map(|channel| u64::from(channel.shares_acknowledged)).sum()
    }

    /// Shares that the translator found valid and sent to the pool, on all channels.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.channels.values().map(|channel| u64::from(channel.shares_submitted)).sum()
    }
}

impl MonitoringApi {
    /// A reader of the API at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, page: PAGE }
    }

    /// Reads in smaller pages, so that a story can have many of them.
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Self {
        self.page = entries.clamp(1, PAGE);
        self
    }

    /// Every channel of a pool.
    ///
    /// The API copies its state once per refresh, and a refresh may fall between two requests of one pass: a
    /// snapshot is of one moment only when two passes in a row agree.
    ///
    /// # Errors
    /// When the API does not answer as expected, or names one channel twice.
    pub async fn pool(&self) -> Result<PoolSnapshot> {
        let mut snapshot = PoolSnapshot::default();
        for client in self.clients().await? {
            for channel in self.client_channels(client.client_id).await? {
                let key = (client.client_id, channel.channel_id);
                ensure!(snapshot.channels.insert(key, channel).is_none(), "channel {key:?} is listed twice");
            }
        }
        Ok(snapshot)
    }

    /// Every upstream channel and every SV1 miner of a translator.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn translator(&self) -> Result<TranslatorSnapshot> {
        let channels = self.upstream_channels().await?;
        let miners = self.sv1_clients().await?;
        Ok(TranslatorSnapshot {
            channels: channels.into_iter().map(|channel| (channel.channel_id, channel)).collect(),
            miners: miners.into_iter().map(|miner| (miner.client_id, miner)).collect(),
        })
    }

    /// The pool's `/clients`, all pages.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn clients(&self) -> Result<Vec<Client>> {
        let mut all = Vec::new();
        loop {
            let page: ClientsPage = self.page_of("/api/v1/clients", all.len()).await?;
            let empty = page.items.is_empty();
            all.extend(page.items);
            if empty || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// The channels of one client of the pool, standard and extended, all pages. A client that has left since it
    /// was listed has none.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn client_channels(&self, client_id: u64) -> Result<Vec<PoolChannel>> {
        let path = format!("/api/v1/clients/{client_id}/channels");
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let (status, _) = http::get(self.address, &format!("/api/v1/clients/{client_id}")).await?;
            if status == hyper::StatusCode::NOT_FOUND {
                return Ok(all);
            }
            let page: ClientChannels = self.page_of(&path, offset).await?;
            // Both lists are cut by the same offset and limit.
            offset += self.page;
            all.extend(page.extended_channels);
            all.extend(page.standard_channels);
            if offset >= page.total_extended.max(page.total_standard) {
                return Ok(all);
            }
        }
    }

    /// The translator's `/server/channels`, all pages.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn upstream_channels(&self) -> Result<Vec<UpstreamChannel>> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let page: UpstreamChannels = self.page_of("/api/v1/server/channels", offset).await?;
            offset += self.page;
            all.extend(page.extended_channels);
            all.extend(page.standard_channels);
            if offset >= page.total_extended.max(page.total_standard) {
                return Ok(all);
            }
        }
    }

    /// The translator's `/sv1/clients`, all pages.
    ///
    /// # Errors
    /// When the API does not answer as expected.
    pub async fn sv1_clients(&self) -> Result<Vec<Sv1Client>> {
        let mut all = Vec::new();
        loop {
            let page: Sv1ClientsPage = self.page_of("/api/v1/sv1/clients", all.len()).await?;
            let empty = page.items.is_empty();
            all.extend(page.items);
            if empty || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// The application's `/metrics`, read.
    ///
    /// # Errors
    /// When the endpoint does not answer or a line is not a sample.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&http::get_text(self.address, "/metrics").await?)
    }

    async fn page_of<T: serde::de::DeserializeOwned>(&self, path: &str, offset: usize) -> Result<T> {
        http::get_json(self.address, &format!("{path}?offset={offset}&limit={}", self.page)).await
    }
}

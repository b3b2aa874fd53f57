//! The JSON of the monitoring API, as far as the stories look at it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One page of the pool's `/clients`.
#[derive(Debug, Deserialize)]
pub struct ClientsPage {
    /// Entries on all pages.
    pub total: usize,
    /// Entries of this page, in no stable order.
    pub items: Vec<Client>,
}

/// A downstream of the pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Client {
    /// Counted from 1 in each run of the pool.
    pub client_id: u64,
    /// `translator_proxy`, `miner` or `unknown`, guessed from SetupConnection.
    pub client_kind: String,
    /// Extended channels that are open.
    pub extended_channels_count: usize,
    /// Standard channels that are open.
    pub standard_channels_count: usize,
    /// Sum of the claimed hashrates, H/s.
    pub total_hashrate: f32,
}

/// One page of the pool's `/clients/{id}/channels`.
#[derive(Debug, Deserialize)]
pub struct ClientChannels {
    /// Extended channels on all pages.
    pub total_extended: usize,
    /// Standard channels on all pages.
    pub total_standard: usize,
    /// Extended channels of this page.
    pub extended_channels: Vec<PoolChannel>,
    /// Standard channels of this page.
    pub standard_channels: Vec<PoolChannel>,
}

/// A channel of the pool, standard or extended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PoolChannel {
    /// Unique within its client only.
    pub channel_id: u32,
    /// As the client gave it; not unique.
    pub user_identity: String,
    /// Claimed or guessed by vardiff, H/s.
    pub nominal_hashrate: f32,
    /// The channel's present target, most significant byte first.
    pub target_hex: String,
    /// Since the channel was opened.
    pub shares_accepted: u32,
    /// Since the channel was opened, all reasons.
    pub shares_rejected: u32,
    /// The same by error code.
    pub shares_rejected_by_reason: BTreeMap<String, u32>,
    /// Sum over accepted shares of the difficulty of the job's target.
    pub share_work_sum: f64,
    /// Sequence number of the last accepted share.
    pub last_share_sequence_number: u32,
    /// Highest difficulty of an accepted share that was not a block.
    pub best_diff: f64,
    /// Since the channel was opened.
    pub blocks_found: u32,
}

/// One page of the translator's `/server/channels`.
#[derive(Debug, Deserialize)]
pub struct UpstreamChannels {
    /// Extended channels on all pages.
    pub total_extended: usize,
    /// Standard channels on all pages.
    pub total_standard: usize,
    /// Extended channels of this page.
    pub extended_channels: Vec<UpstreamChannel>,
    /// Standard channels of this page; a translator has none.
    pub standard_channels: Vec<UpstreamChannel>,
}

/// A channel of the translator with its pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UpstreamChannel {
    /// The pool's channel id.
    pub channel_id: u32,
    /// The translator's identity and a counter.
    pub user_identity: String,
    /// Claimed, H/s; absent when vardiff is off.
    pub nominal_hashrate: Option<f32>,
    /// The channel's present target, most significant byte first.
    pub target_hex: String,
    /// Accepted by the pool.
    pub shares_acknowledged: u32,
    /// Found valid here and sent to the pool.
    pub shares_submitted: u32,
    /// Rejected by the pool.
    pub shares_rejected: u32,
    /// The same by error code.
    pub shares_rejected_by_reason: BTreeMap<String, u32>,
    /// Sum of the difficulties of the shares sent.
    pub validated_work_sum: f64,
    /// Blocks found.
    pub blocks_found: u32,
}

/// One page of the translator's `/sv1/clients`.
#[derive(Debug, Deserialize)]
pub struct Sv1ClientsPage {
    /// Entries on all pages.
    pub total: usize,
    /// Entries of this page, in no stable order.
    pub items: Vec<Sv1Client>,
}

/// An SV1 miner of the translator.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sv1Client {
    /// The translator's own numbering.
    pub client_id: u64,
    /// The channel that carries its shares; a local id in aggregated mode.
    pub channel_id: Option<u32>,
    /// From `mining.authorize`.
    pub sv1_username: String,
    /// The part of the username behind the dot.
    pub sv1_worker_name: String,
    /// The miner's present target, most significant byte first.
    pub target_hex: String,
    /// Claimed or guessed by vardiff, H/s.
    pub hashrate: Option<f32>,
}

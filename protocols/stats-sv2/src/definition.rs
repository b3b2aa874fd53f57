//! The messages as the SV2 reference codec (`binary_sv2`) defines them: the same fields, in the same order, with SV2's
//! own data types. The property tests hold the fast path in [`crate::codec`] against these.
#![allow(missing_docs, reason = "the meaning of each field is documented on the structs of `event` and `session`")]

use binary_sv2::{Deserialize, Serialize, Str0255, Sv2Option, U256};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStatsSession<'decoder> {
    pub min_version: u16,
    pub max_version: u16,
    pub flags: u32,
    pub role: u8,
    pub publisher: Str0255<'decoder>,
    pub session_id: u64,
    pub first_sequence: u64,
    pub vendor: Str0255<'decoder>,
    pub token: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStatsSessionSuccess {
    pub version: u16,
    pub flags: u32,
    pub committed_sequence: u64,
    pub max_unacked: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStatsSessionError<'decoder> {
    pub flags: u32,
    pub error_code: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsAck {
    pub committed_sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseStatsSession<'decoder> {
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareSubmitted {
    pub downstream_id: u32,
    pub timestamp: u64,
    pub channel_id: u32,
    pub sequence_number: u32,
    pub target: u32,
    pub share: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRejected<'decoder> {
    pub downstream_id: u32,
    pub timestamp: u64,
    pub channel_id: u32,
    pub sequence_number: u32,
    pub error_code: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteCreated<'decoder> {
    pub downstream_id: u32,
    pub amount: u64,
    pub timestamp: u64,
    pub channel_id: u32,
    pub share_hash: U256<'decoder>,
    pub sequence_number: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteSent<'decoder> {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub sequence_number: u32,
    pub amount: u64,
    pub timestamp: u64,
    pub share_hash: U256<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteAnswered<'decoder> {
    pub share_hash: U256<'decoder>,
    pub quote_id: Str0255<'decoder>,
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteFailed<'decoder> {
    pub share_hash: Sv2Option<'decoder, U256<'decoder>>,
    pub error_code: Str0255<'decoder>,
    pub error_message: Str0255<'decoder>,
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharesCounted<'decoder> {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub timestamp: u64,
    pub since: u64,
    pub accepted: u32,
    pub rejected: u32,
    pub work: U256<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotePaid<'decoder> {
    pub quote_id: Str0255<'decoder>,
    pub amount: u64,
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOpened<'decoder> {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub timestamp: u64,
    pub kind: u8,
    pub user_identity: Str0255<'decoder>,
    pub nominal_hashrate: u64,
    pub target: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelClosed<'decoder> {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub timestamp: u64,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTargetChanged {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub timestamp: u64,
    pub target: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamConnected<'decoder> {
    pub downstream_id: u32,
    pub flags: u32,
    pub timestamp: u64,
    pub address: Str0255<'decoder>,
    pub vendor: Str0255<'decoder>,
    pub hardware_version: Str0255<'decoder>,
    pub firmware: Str0255<'decoder>,
    pub device_id: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamDisconnected<'decoder> {
    pub downstream_id: u32,
    pub timestamp: u64,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFound<'decoder> {
    pub downstream_id: u32,
    pub channel_id: u32,
    pub timestamp: u64,
    pub height: u32,
    pub block_hash: U256<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainTipChanged {
    pub timestamp: u64,
    pub height: u32,
    pub target: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerConnected<'decoder> {
    pub miner_id: u32,
    pub name: Str0255<'decoder>,
    pub timestamp: u64,
    pub address: Str0255<'decoder>,
    pub user_agent: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerDisconnected<'decoder> {
    pub miner_id: u32,
    pub timestamp: u64,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerShareSubmitted {
    pub miner_id: u32,
    pub timestamp: u64,
    pub target: u32,
    pub share: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerShareRejected<'decoder> {
    pub miner_id: u32,
    pub timestamp: u64,
    pub error_code: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerHashrateUpdate {
    pub miner_id: u32,
    pub hashrate: u64,
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamConnected<'decoder> {
    pub timestamp: u64,
    pub address: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamDisconnected<'decoder> {
    pub timestamp: u64,
    pub address: Str0255<'decoder>,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo<'decoder> {
    pub timestamp: u64,
    pub name: Str0255<'decoder>,
    pub value: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsDropped<'decoder> {
    pub count: u64,
    pub first_timestamp: u64,
    pub last_timestamp: u64,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub timestamp: u64,
    pub flags: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceBegin {
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceEnd {
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStarted<'decoder> {
    pub session_id: u64,
    pub role: u8,
    pub timestamp: u64,
    pub first_sequence: u64,
    pub flags: u32,
    pub vendor: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded<'decoder> {
    pub session_id: u64,
    pub timestamp: u64,
    pub outcome: u8,
    pub reason: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub session_id: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub since: u64,
    pub timestamp: u64,
    pub kind: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFired<'decoder> {
    pub timestamp: u64,
    pub alert: Str0255<'decoder>,
    pub subject: Str0255<'decoder>,
    pub message: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertResolved<'decoder> {
    pub timestamp: u64,
    pub alert: Str0255<'decoder>,
    pub subject: Str0255<'decoder>,
    pub message: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test<'decoder> {
    pub timestamp: u64,
    pub message: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed<'decoder> {
    pub msg_type: u8,
    pub length: u32,
    pub reason: Str0255<'decoder>,
}

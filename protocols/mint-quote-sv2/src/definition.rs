//! The layout of the messages, as SV2's reference codec (`binary_sv2`) derives it: these fields, in this order. The
//! codec's owned forms (`…Owned`) come with them. The checked structs of [`crate::message`] and [`crate::setup`] are what
//! callers use; a value here may break the limits.
#![allow(missing_docs, reason = "the meaning of each field is documented on the structs of `message` and `setup`")]

use binary_sv2::{B0255, Deserialize, Serialize, Str0255, Sv2Option, U256};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteRequest<'decoder> {
    pub amount: u64,
    pub unit: Str0255<'decoder>,
    pub header_hash: U256<'decoder>,
    pub description: Sv2Option<'decoder, Str0255<'decoder>>,
    pub locking_key: B0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteResponse<'decoder> {
    pub quote_id: Str0255<'decoder>,
    pub header_hash: U256<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteError<'decoder> {
    pub error_code: u32,
    pub error_message: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteNotification<'decoder> {
    pub channel_id: u32,
    pub quote_id: Str0255<'decoder>,
    pub amount: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteFailure<'decoder> {
    pub channel_id: u32,
    pub quote_id: Str0255<'decoder>,
    pub error_code: u32,
    pub error_message: Str0255<'decoder>,
}

/// SV2's own message. Not taken from `common_messages_sv2`, whose list of protocols ends before this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupConnection<'decoder> {
    pub protocol: u8,
    pub min_version: u16,
    pub max_version: u16,
    pub flags: u32,
    pub endpoint_host: Str0255<'decoder>,
    pub endpoint_port: u16,
    pub vendor: Str0255<'decoder>,
    pub hardware_version: Str0255<'decoder>,
    pub firmware: Str0255<'decoder>,
    pub device_id: Str0255<'decoder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupConnectionSuccess {
    pub used_version: u16,
    pub flags: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupConnectionError<'decoder> {
    pub flags: u32,
    pub error_code: Str0255<'decoder>,
}

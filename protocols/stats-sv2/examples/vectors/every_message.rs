//! The list of all messages with their fields in wire order, for code that treats each by its type. A field that is missing
//! here does not compile where the list is used; that no message is missing is a test of its own.

/// Calls the macro `$apply` with every message.
macro_rules! every_message {
    ($apply:ident) => {
        $apply! {
            session::OpenStatsSession {
                min_version, max_version, flags, role, publisher, session_id, first_sequence, vendor, token
            }
            session::OpenStatsSessionSuccess { version, flags, committed_sequence, max_unacked }
            session::OpenStatsSessionError { flags, error_code }
            session::StatsAck { committed_sequence }
            session::CloseStatsSession { reason }
            event::ShareSubmitted { downstream_id, timestamp, channel_id, sequence_number, target, share }
            event::ShareRejected { downstream_id, timestamp, channel_id, sequence_number, error_code }
            event::QuoteCreated { downstream_id, amount, timestamp, channel_id, share_hash, sequence_number }
            event::QuoteSent { downstream_id, channel_id, sequence_number, amount, timestamp, share_hash }
            event::QuoteAnswered { share_hash, quote_id, timestamp }
            event::QuoteFailed { share_hash, error_code, error_message, timestamp }
            event::SharesCounted { downstream_id, channel_id, timestamp, since, accepted, rejected, work }
            event::QuotePaid { quote_id, amount, timestamp }
            event::ChannelOpened { downstream_id, channel_id, timestamp, kind, user_identity, nominal_hashrate, target }
            event::ChannelClosed { downstream_id, channel_id, timestamp, reason }
            event::ChannelTargetChanged { downstream_id, channel_id, timestamp, target }
            event::DownstreamConnected {
                downstream_id, flags, timestamp, address, vendor, hardware_version, firmware, device_id
            }
            event::DownstreamDisconnected { downstream_id, timestamp, reason }
            event::BlockFound { downstream_id, channel_id, timestamp, height, block_hash }
            event::ChainTipChanged { timestamp, height, target }
            event::MinerConnected { miner_id, name, timestamp, address, user_agent }
            event::MinerDisconnected { miner_id, timestamp, reason }
            event::MinerShareSubmitted { miner_id, timestamp, target, share }
            event::MinerShareRejected { miner_id, timestamp, error_code }
            event::MinerHashrateUpdate { miner_id, hashrate, timestamp }
            event::UpstreamConnected { timestamp, address }
            event::UpstreamDisconnected { timestamp, address, reason }
            event::SourceInfo { timestamp, name, value }
            event::EventsDropped { count, first_timestamp, last_timestamp, reason }
            event::Heartbeat { timestamp, flags }
            event::AnnounceBegin { timestamp }
            event::AnnounceEnd { timestamp }
            event::SessionStarted { session_id, role, timestamp, first_sequence, flags, vendor }
            event::SessionEnded { session_id, timestamp, outcome, reason }
            event::Gap { session_id, first_sequence, last_sequence, since, timestamp, kind }
            event::AlertFired { timestamp, alert, subject, message }
            event::AlertResolved { timestamp, alert, subject, message }
            event::Test { timestamp, message }
            event::Malformed { msg_type, length, reason }
        }
    };
}
pub(crate) use every_message;

//! The answers of the monitoring API as JSON, of which only the fields in use are named; others are ignored. Written after
//! `stratum-apps` 0.8 (`src/monitoring`) and the recorded answers in `fixtures/`.

use mining_stats::{Sv1Difficulty, Target, Work};
use ruint::aliases::U256;
use serde::Deserialize;
use serde::de::IgnoredAny;
use stats_sv2::event::{CHANNEL_EXTENDED, CHANNEL_STANDARD};
use stats_sv2::{CompactTarget, Text};

use crate::view::ChannelView;

/// `/api/v1/health`
#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    /// Seconds since the epoch, by the program's clock.
    pub(crate) timestamp: u64,
}

/// `/api/v1/global`: which halves there are, and how long the API has been there.
#[derive(Debug, Deserialize)]
pub(crate) struct Global {
    pub(crate) server: Option<IgnoredAny>,
    pub(crate) sv2_clients: Option<IgnoredAny>,
    pub(crate) sv1_clients: Option<IgnoredAny>,
    /// Now minus the start by the wall clock, as an unsigned difference: after a clock that was set back it wraps.
    pub(crate) uptime_secs: u64,
}

/// `/api/v1/clients` and `/api/v1/sv1/clients`
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) total: usize,
    pub(crate) items: Vec<T>,
}

/// An entry of `/api/v1/clients`.
#[derive(Debug, Deserialize)]
pub(crate) struct Client {
    pub(crate) client_id: u32,
    #[serde(default)]
    pub(crate) client_kind: String,
}

/// `/api/v1/clients/{id}/channels` and `/api/v1/server/channels`: one offset and limit cut both lists.
#[derive(Debug, Deserialize)]
pub(crate) struct Channels<T> {
    pub(crate) total_extended: usize,
    pub(crate) total_standard: usize,
    pub(crate) extended_channels: Vec<T>,
    pub(crate) standard_channels: Vec<T>,
}

/// A channel of a pool's client.
#[derive(Debug, Deserialize)]
pub(crate) struct ClientChannel {
    channel_id: u32,
    user_identity: String,
    nominal_hashrate: Option<f64>,
    target_hex: String,
    shares_accepted: u32,
    shares_rejected: u32,
    share_work_sum: f64,
    best_diff: Option<f64>,
    blocks_found: u32,
}

/// A channel of a translator to its upstream.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerChannel {
    channel_id: u32,
    user_identity: String,
    nominal_hashrate: Option<f64>,
    target_hex: String,
    shares_acknowledged: u32,
    shares_rejected: u32,
    validated_work_sum: f64,
    best_diff: Option<f64>,
    blocks_found: u32,
}

/// An entry of `/api/v1/sv1/clients`.
#[derive(Debug, Deserialize)]
pub(crate) struct Sv1Client {
    pub(crate) client_id: u32,
    pub(crate) connection_ip: String,
    pub(crate) sv1_username: String,
    pub(crate) hashrate: Option<f64>,
}

/// A value that no SRI program gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// `target_hex` is not 64 hexadecimal digits.
    #[error("target_hex of channel {channel_id} is no 256-bit number: \"{text}\"")]
    Target {
        /// The channel.
        channel_id: u32,
        /// The text.
        text: String,
    },
    /// A work sum is negative, or more than 256 bits of hashes.
    #[error("the work sum of channel {channel_id} is out of range")]
    Work {
        /// The channel.
        channel_id: u32,
    },
}

/// A channel of either program.
pub(crate) trait ApiChannel {
    fn view(self, standard: bool) -> Result<(u32, ChannelView), ValueError>;
}

impl ApiChannel for ClientChannel {
    fn view(self, standard: bool) -> Result<(u32, ChannelView), ValueError> {
        let view = ChannelView {
            kind: if standard { CHANNEL_STANDARD } else { CHANNEL_EXTENDED },
            nominal_hashrate: hashes_per_second(self.nominal_hashrate),
            target: target(self.channel_id, &self.target_hex)?,
            user_identity: bounded(&self.user_identity),
            accepted: self.shares_accepted,
            rejected: self.shares_rejected,
            work: work(self.channel_id, self.share_work_sum)?,
            best_difficulty: self.best_diff.unwrap_or(0.0),
            blocks: self.blocks_found,
        };
        Ok((self.channel_id, view))
    }
}

impl ApiChannel for ServerChannel {
    fn view(self, standard: bool) -> Result<(u32, ChannelView), ValueError> {
        let view = ChannelView {
            kind: if standard { CHANNEL_STANDARD } else { CHANNEL_EXTENDED },
            nominal_hashrate: hashes_per_second(self.nominal_hashrate),
            target: target(self.channel_id, &self.target_hex)?,
            user_identity: bounded(&self.user_identity),
            accepted: self.shares_acknowledged,
            rejected: self.shares_rejected,
            work: work(self.channel_id, self.validated_work_sum)?,
            best_difficulty: self.best_diff.unwrap_or(0.0),
            blocks: self.blocks_found,
        };
        Ok((self.channel_id, view))
    }
}

/// A name from the network, as long as the wire can carry it.
pub(crate) fn bounded(text: &str) -> String {
    Text::cut(text).as_str().to_owned()
}

/// A declared hashrate in H/s; 0 where none is declared or the number means nothing.
pub(crate) fn hashes_per_second(declared: Option<f64>) -> u64 {
    // The cast saturates, and sends a NaN to 0; the upper bound is what the wire can carry.
    declared.map_or(0, |rate| (rate as u64).min(stats_sv2::limits::U64_LIMIT - 1))
}

/// Most significant digit first.
fn target(channel_id: u32, text: &str) -> Result<CompactTarget, ValueError> {
    let digits = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = if digits { U256::from_str_radix(text, 16).ok() } else { None };
    let number = number.ok_or_else(|| ValueError::Target { channel_id, text: text.to_owned() })?;
    Ok(Target::from_number(number).to_compact())
}

/// A sum of SV1 difficulties as expected hashes, rounded to whole ones. The total is converted, never a difference: so
/// the differences of converted totals add up to the last total (delivery rule 31).
fn work(channel_id: u32, sum_of_difficulties: f64) -> Result<Work, ValueError> {
    if sum_of_difficulties == 0.0 {
        return Ok(Work::ZERO);
    }
    let hashes = Sv1Difficulty::from_sv1_number(sum_of_difficulties).map(Sv1Difficulty::expected_hashes);
    hashes
        .and_then(|hashes| U256::try_from(hashes.round()).ok())
        .map(Work::from_hashes)
        .ok_or(ValueError::Work { channel_id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_channels() {
        let text = include_str!("../fixtures/pool-client-channels.json");
        let page: Channels<ClientChannel> = serde_json::from_str(text).unwrap();
        for channel in page.extended_channels {
            let accepted = channel.shares_accepted;
            let (_, view) = channel.view(false).unwrap();
            // At the target ff..ff, far below difficulty 1, each share takes one hash.
            assert_eq!(view.work, Work::from_hashes(U256::from(accepted)));
            assert_eq!(view.target, Target::MAX.to_compact());
        }
        let text = include_str!("../fixtures/translator-server-channels.json");
        let page: Channels<ServerChannel> = serde_json::from_str(text).unwrap();
        for channel in page.extended_channels {
            let acknowledged = channel.shares_acknowledged;
            let (_, view) = channel.view(false).unwrap();
            assert_eq!((view.work, view.accepted), (Work::from_hashes(U256::from(acknowledged)), acknowledged));
        }
    }

    #[test]
    fn values_that_mean_nothing() {
        assert!(target(1, &"f".repeat(63)).is_err());
        assert!(target(1, &format!("+{}", "f".repeat(63))).is_err());
        assert_eq!(target(1, &format!("00000000ffff{}", "0".repeat(52))).unwrap(), CompactTarget(0x1d00_ffff));
        assert!(work(1, -1.0).is_err() && work(1, f64::INFINITY).is_err() && work(1, 1e80).is_err());
        assert_eq!(work(1, -0.0).unwrap(), Work::ZERO);
        assert_eq!(work(1, 1.0).unwrap(), Work::from_hashes(U256::from(4_295_032_833_u64)));
        assert_eq!(hashes_per_second(Some(f64::INFINITY)), stats_sv2::limits::U64_LIMIT - 1);
        assert_eq!([None, Some(f64::NAN), Some(-3.0)].map(hashes_per_second), [0; 3]);
    }

    proptest! {
        /// A larger sum never becomes less work.
        #[test]
        fn work_rises_with_the_sum(a in 0.0..1e60_f64, b in 0.0..1e60_f64) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(work(1, less).unwrap() <= work(1, more).unwrap());
        }
    }
}

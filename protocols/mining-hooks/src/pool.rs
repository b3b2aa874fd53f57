//! The hooks of a pool: its connections, channels, shares, blocks and tips become events, and accepted shares quotes.

mod channel;
#[cfg(test)]
mod fake_mint;
pub(crate) mod process;
mod tip;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ehash::ShareHash;
use quote_dispatcher::{AcceptedShare, QuoteDispatcher, QuotesConfig};
use rustc_hash::FxHashMap;
use stats_publisher::event::{
    BlockFound, CHANNEL_EXTENDED, CHANNEL_STANDARD, ChainTipChanged, ChannelClosed, ChannelOpened,
    ChannelTargetChanged, DownstreamConnected, DownstreamDisconnected, ShareRejected, ShareSubmitted,
};
use stats_publisher::{
    ChannelId, CompactTarget, DownstreamId, PublisherQuoteCallbacks, Role, StatsPublisher, Text, UnixMillis,
};

use crate::start::{self, CLOSE_DEADLINE, StartError};
use crate::target;
use channel::Channel;
use tip::Tip;

/// [`DownstreamDisconnected::reason`], since a pool does not say why.
const DISCONNECTED: &str = "disconnected";

/// The channel of a rejected share whose own is not open. Pools count channels from 1.
pub const NO_OPEN_CHANNEL: ChannelId = ChannelId(0);

/// What a pool tells. Clones are handles of the same hooks.
///
/// Numbers of downstreams and channels are the pool's own; a channel's number need be unique only within its downstream.
/// Targets and hashes are 32 bytes, the least significant first, as SV2 sends them and SHA-256 gives them.
#[derive(Debug, Clone)]
pub struct PoolHooks {
    stats: StatsPublisher,
    quotes: QuoteDispatcher,
    open: Arc<Mutex<Open>>,
}

/// What is open at the pool, which bounds it: the pool itself remembers more of each.
#[derive(Debug, Default)]
struct Open {
    downstreams: FxHashMap<DownstreamId, Downstream>,
    tip: Tip,
}

#[derive(Debug, Default)]
struct Downstream {
    address: Option<SocketAddr>,
    /// Whether its connection was told.
    connected: bool,
    channels: FxHashMap<ChannelId, Channel>,
}

impl PoolHooks {
    /// Hooks that do nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::new(StatsPublisher::disabled(), QuoteDispatcher::off())
    }

    /// Hooks that publish here and dispatch there, for a host that starts both itself.
    #[must_use]
    pub fn new(stats: StatsPublisher, quotes: QuoteDispatcher) -> Self {
        Self { stats, quotes, open: Arc::default() }
    }

    /// Starts what the tables in the text of a host's configuration file describe. `version` is the host's.
    ///
    /// # Errors
    /// When a table cannot be used.
    pub fn from_toml_str(text: &str, version: &str) -> Result<Self, StartError> {
        let table = QuotesConfig::from_toml_str(text).map_err(StartError::Quotes)?;
        let stats = start::start_stats(text, Role::Pool, version)?;
        let callbacks = Arc::new(PublisherQuoteCallbacks::new(stats.clone()));
        let quotes = table.start(callbacks, &start::vendor(version)).map_err(StartError::Quotes)?;
        if let Some(mint) = table.config().and_then(|config| config.mint_address.as_deref()) {
            start::tell(&stats, "service.mint", mint);
        }
        Ok(Self::new(stats, quotes))
    }

    /// The publisher, for what these hooks do not cover.
    #[must_use]
    pub fn stats(&self) -> &StatsPublisher {
        &self.stats
    }

    /// The dispatcher of quotes, for its counters.
    #[must_use]
    pub fn quotes(&self) -> &QuoteDispatcher {
        &self.quotes
    }

    /// Waits for the mint's answers and delivers what was told, each at most for [`CLOSE_DEADLINE`], and ends. For the host's own
    /// end, since it blocks the thread. What a mint or sidecar that is away would have got is given up at once, or kept in
    /// the spool.
    pub fn close(&self) {
        let mint = if self.quotes.counters().connected { CLOSE_DEADLINE } else { std::time::Duration::ZERO };
        self.quotes.close(mint);
        let sidecar = if self.stats.counters().connected { CLOSE_DEADLINE } else { std::time::Duration::ZERO };
        self.stats.close(sidecar);
    }

    /// Where a downstream's connection comes from, known before it says who it is.
    pub fn address_of(&self, downstream_id: usize, address: SocketAddr) {
        self.open().downstreams.entry(downstream(downstream_id)).or_default().address = Some(address);
    }

    /// A downstream set up its connection. `vendor` and the fields `hardware_version`, `firmware` and `device_id` of its
    /// device are those of SV2's `SetupConnection`, as they came.
    pub fn downstream_connected(
        &self,
        downstream_id: usize,
        flags: u32,
        vendor: impl AsRef<[u8]>,
        device: [impl AsRef<[u8]>; 3],
    ) {
        let downstream_id = downstream(downstream_id);
        let mut open = self.open();
        let downstream = open.downstreams.entry(downstream_id).or_default();
        downstream.connected = true;
        let [hardware_version, firmware, device_id] = &device;
        self.stats.publish(DownstreamConnected {
            downstream_id,
            flags,
            timestamp: UnixMillis::now(),
            address: Text::cut(downstream.address.map(|address| address.to_string()).unwrap_or_default()),
            vendor: Text::lossy(vendor.as_ref()),
            hardware_version: Text::lossy(hardware_version.as_ref()),
            firmware: Text::lossy(firmware.as_ref()),
            device_id: Text::lossy(device_id.as_ref()),
        });
    }

    /// A downstream is gone, and its channels with it. May be told more than once, and of one that never set up.
    pub fn downstream_disconnected(&self, downstream_id: usize) {
        let downstream_id = downstream(downstream_id);
        let mut open = self.open();
        if open.downstreams.remove(&downstream_id).is_some_and(|downstream| downstream.connected) {
            self.stats.publish(DownstreamDisconnected {
                downstream_id,
                timestamp: UnixMillis::now(),
                reason: Text::cut(DISCONNECTED),
            });
        }
    }

    /// A channel that is about to open, with the hashrate that the miner declares, in H/s; [`ChannelHook`] tells the rest.
    ///
    /// Must come before the channel's first share: it brings the user identity, which may hold the key that the miner's ehash
    /// is locked to.
    #[must_use = "nothing is told before it is opened"]
    pub fn channel(&self, downstream_id: usize, channel_id: u32, nominal_hashrate: f32) -> ChannelHook<'_> {
        let (downstream_id, channel_id) = (downstream(downstream_id), ChannelId(channel_id));
        ChannelHook { hooks: self, downstream_id, channel_id, nominal_hashrate }
    }

    /// A channel was closed. The reason is a code of the downstream's, as it came.
    pub fn channel_closed(&self, downstream_id: usize, channel_id: u32, reason: impl AsRef<[u8]>) {
        let (downstream_id, channel_id) = (downstream(downstream_id), ChannelId(channel_id));
        let mut open = self.open();
        let known = open.downstreams.get_mut(&downstream_id).and_then(|known| known.channels.remove(&channel_id));
        if known.is_some() {
            self.stats.publish(ChannelClosed {
                downstream_id,
                channel_id,
                timestamp: UnixMillis::now(),
                reason: Text::lossy(reason.as_ref()),
            });
        }
    }

    /// A channel has this target, given as SV2's `SetTarget` has it. One that it had already is no change.
    pub fn target_changed(&self, downstream_id: usize, channel_id: u32, target: impl AsRef<[u8]>) {
        let (downstream_id, channel_id) = (downstream(downstream_id), ChannelId(channel_id));
        let Ok(target) = target.as_ref().try_into() else { return };
        let mut open = self.open();
        let channel = open.channel(downstream_id, channel_id);
        if let Some(target) = channel.and_then(|channel| channel.change_target(target)) {
            let timestamp = UnixMillis::now();
            self.stats.publish(ChannelTargetChanged { downstream_id, channel_id, timestamp, target });
        }
    }

    /// A share that is about to be validated; [`ShareHook::verdict`] tells the rest.
    #[must_use = "nothing is told before `verdict`"]
    pub fn share(&self, downstream_id: usize, channel_id: u32, sequence_number: u32) -> ShareHook<'_> {
        let (downstream_id, channel_id) = (downstream(downstream_id), ChannelId(channel_id));
        ShareHook { hooks: self, downstream_id, channel_id, sequence_number }
    }

    /// A share was refused with this error code of SV2's `SubmitShares.Error`.
    ///
    /// A miner may name any channel, so a share for one that is not open is told under [`NO_OPEN_CHANNEL`]. Of a downstream
    /// that is not there, or no longer, nothing is told.
    pub fn rejected(&self, downstream_id: usize, channel_id: u32, sequence_number: u32, code: impl AsRef<[u8]>) {
        let (downstream_id, named) = (downstream(downstream_id), ChannelId(channel_id));
        let error_code = Text::lossy(code.as_ref());
        let open = self.open();
        let Some(known) = open.downstreams.get(&downstream_id) else { return };
        let channel_id = if known.channels.contains_key(&named) { named } else { NO_OPEN_CHANNEL };
        let timestamp = UnixMillis::now();
        self.stats.publish(ShareRejected { downstream_id, timestamp, channel_id, sequence_number, error_code });
    }

    /// A template of the template provider, with the beginning of its coinbase script, which tells the height.
    pub fn template(&self, template_id: u64, coinbase_prefix: impl AsRef<[u8]>) {
        self.open().tip.template(template_id, coinbase_prefix.as_ref());
    }

    /// The network has a new tip, on which this template is mined; `n_bits` is the target of the next block.
    pub fn tip_changed(&self, template_id: u64, n_bits: u32) {
        let mut open = self.open();
        let (timestamp, height) = (UnixMillis::now(), open.tip.change(template_id));
        self.stats.publish(ChainTipChanged { timestamp, height, target: CompactTarget(n_bits) });
    }

    /// Held for less than a microsecond, over nothing that waits. State is published under it, so that the stream has the order
    /// of the state.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn channel(&mut self, downstream_id: DownstreamId, channel_id: ChannelId) -> Option<&mut Channel> {
        self.downstreams.get_mut(&downstream_id)?.channels.get_mut(&channel_id)
    }
}

/// A channel that is about to open.
#[derive(Debug, Clone, Copy)]
pub struct ChannelHook<'a> {
    hooks: &'a PoolHooks,
    downstream_id: DownstreamId,
    channel_id: ChannelId,
    nominal_hashrate: f32,
}

impl ChannelHook<'_> {
    /// It opened as a standard channel, with this target.
    pub fn opened_standard(self, user_identity: &str, target: [u8; 32]) {
        self.opened(CHANNEL_STANDARD, user_identity, target);
    }

    /// It opened as an extended channel, with this target.
    pub fn opened_extended(self, user_identity: &str, target: [u8; 32]) {
        self.opened(CHANNEL_EXTENDED, user_identity, target);
    }

    fn opened(self, kind: u8, user_identity: &str, target: [u8; 32]) {
        let Self { hooks, downstream_id, channel_id, nominal_hashrate } = self;
        let mut open = hooks.open();
        let channel = Channel::new(user_identity, target);
        open.downstreams.entry(downstream_id).or_default().channels.insert(channel_id, channel);
        hooks.stats.publish(ChannelOpened {
            downstream_id,
            channel_id,
            timestamp: UnixMillis::now(),
            kind,
            user_identity: Text::cut(user_identity),
            // What is no rate becomes 0; what the wire does not carry, the most that it does.
            nominal_hashrate: (nominal_hashrate as u64).min(u64::MAX >> 1),
            target: target::compact(&target),
        });
    }
}

/// A share that is about to be validated.
#[derive(Debug, Clone, Copy)]
pub struct ShareHook<'a> {
    hooks: &'a PoolHooks,
    downstream_id: DownstreamId,
    channel_id: ChannelId,
    sequence_number: u32,
}

impl ShareHook<'_> {
    /// Looks at the verdict. An accepted share becomes an event and is submitted for a quote; `hash_of` gives the share's hash and
    /// whether it solves a block. A rejected one has [`PoolHooks::rejected`], at the place where the answer is sent.
    ///
    /// An error that the pool answers by closing the channel or the connection, instead of by `SubmitShares.Error`, is no event:
    /// the miner is told neither that the share counts nor that it does not. In SRI's pool these are
    /// `SeenSharesBudgetExhausted` and every validation error without a code. The disconnect itself is told.
    ///
    /// `credited` is the channel's sum of difficulties with this share in it: it tells the target of the share's job.
    pub fn verdict<A, E>(self, verdict: &Result<A, E>, hash_of: impl FnOnce(&A) -> (&[u8; 32], bool), credited: f64) {
        if let Ok(accepted) = verdict {
            let (hash, solves_block) = hash_of(accepted);
            self.accepted(hash, credited);
            if solves_block {
                self.block_found(hash);
            }
        }
    }

    /// The share is accepted.
    ///
    /// If its channel was not told by [`PoolHooks::channel`], it is published with target 0, which sinks count among the shares
    /// of invalid target, and it gets no quote: the default key might give one miner's ehash to another.
    pub fn accepted(self, hash: &[u8; 32], credited: f64) {
        let Self { hooks, downstream_id, channel_id, sequence_number } = self;
        let told = {
            let mut open = hooks.open();
            let channel = open.channel(downstream_id, channel_id);
            channel.map(|channel| (channel.credit(credited), channel.user_identity.clone()))
        };
        // The sum would tell the target of an untold channel's first share only.
        let (target, user_identity) = told.map_or((CompactTarget(0), None), |(target, name)| (target, Some(name)));
        hooks.stats.publish(ShareSubmitted {
            downstream_id,
            timestamp: UnixMillis::now(),
            channel_id,
            sequence_number,
            target,
            share: target::compact(hash),
        });
        if let Some(user_identity) = user_identity {
            hooks.quotes.submit_quote(&AcceptedShare {
                downstream_id,
                channel_id,
                sequence_number,
                share_hash: ShareHash::from_digest_bytes(*hash),
                user_identity: &user_identity,
            });
        }
    }

    /// The share solves a block, whose hash is its own.
    pub fn block_found(self, hash: &[u8; 32]) {
        let Self { hooks, downstream_id, channel_id, .. } = self;
        let height = hooks.open().tip.next_height();
        hooks.stats.publish(BlockFound {
            downstream_id,
            channel_id,
            timestamp: UnixMillis::now(),
            height,
            block_hash: ShareHash::from_digest_bytes(*hash).to_wire(),
        });
    }
}

/// The protocol's numbers have 32 bits; a pool counts from 1 in each run.
fn downstream(id: usize) -> DownstreamId {
    DownstreamId(u32::try_from(id).unwrap_or(u32::MAX))
}

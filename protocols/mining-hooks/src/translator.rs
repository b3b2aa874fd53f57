//! The hooks of a translator from SV1 miners to an SV2 pool: its miners, their shares and its upstream become events. Puts
//! together what arrives in pieces (address, user agent, name), and numbers the miners itself: a translator's own numbers
//! begin again with every upstream.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use stats_publisher::event::{
    MinerConnected, MinerDisconnected, MinerHashrateUpdate, MinerShareRejected, MinerShareSubmitted, UpstreamConnected,
    UpstreamDisconnected,
};
use stats_publisher::{MinerId, Role, StatsPublisher, Text, UnixMillis};

use crate::start::{self, CLOSE_DEADLINE, StartError};
use crate::target::compact;

/// [`MinerDisconnected::reason`], since a translator does not say why.
const DISCONNECTED: &str = "disconnected";

/// [`MinerDisconnected::reason`] of a miner whose connection is another miner's now.
const ANOTHER_MINER: &str = "another miner on the same connection";

/// [`UpstreamDisconnected::reason`] of an upstream whose end was not told before the next one was reached.
const REPLACED: &str = "replaced";

static STARTED: OnceLock<TranslatorHooks> = OnceLock::new();
static OFF: LazyLock<TranslatorHooks> = LazyLock::new(TranslatorHooks::off);

/// The hooks of this process; they do nothing before [`start_translator`].
#[must_use]
pub fn translator() -> &'static TranslatorHooks {
    STARTED.get().unwrap_or_else(|| &OFF)
}

/// Starts the hooks of this process from the host's configuration file. `version` is the host's,
/// `env!("CARGO_PKG_VERSION")`.
///
/// # Errors
/// When the table cannot be used, or the hooks run already; the words say where and why.
pub fn start_translator(config: &Path, version: &str) -> io::Result<()> {
    let hooks = start::read(config).and_then(|text| TranslatorHooks::from_toml_str(&text, version));
    let started = hooks.and_then(|hooks| STARTED.set(hooks).map_err(|_| StartError::AlreadyStarted));
    started.map_err(|error| error.into_io(config))
}

/// What a translator tells. Clones are handles of the same hooks.
///
/// A `connection` is the translator's own number of a miner's connection. It may come again once
/// [`disconnected`](Self::disconnected) was called for it.
#[derive(Debug, Clone)]
pub struct TranslatorHooks {
    stats: StatsPublisher,
    /// Held for less than a microsecond, over nothing that waits. What is told of a miner is published under it, so that
    /// the stream has the order of the state.
    known: Arc<Mutex<Known>>,
}

/// What is open at the translator, which bounds it: the translator itself remembers more of each.
#[derive(Debug, Default)]
struct Known {
    miners: FxHashMap<usize, Miner>,
    last_id: u32,
    upstream: Option<Text<'static>>,
}

/// An open connection.
#[derive(Debug)]
struct Miner {
    id: MinerId,
    address: Text<'static>,
    user_agent: Option<Text<'static>>,
    name: Option<Text<'static>>,
    /// An event named this id, so its end is an event too. Connections that never subscribe are no miners.
    told: bool,
}

impl TranslatorHooks {
    /// Hooks that do nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::new(StatsPublisher::disabled())
    }

    /// Hooks that publish here, for a host that starts the publisher itself.
    #[must_use]
    pub fn new(stats: StatsPublisher) -> Self {
        Self { stats, known: Arc::default() }
    }

    /// Starts what the table in the text of a host's configuration file describes. `version` is the host's.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn from_toml_str(text: &str, version: &str) -> Result<Self, StartError> {
        let stats = start::start_stats(text, Role::Proxy, version)?;
        // SRI's name for where miners connect.
        if let Ok(HostFile { downstream_address: Some(host), downstream_port: Some(port) }) = toml::from_str(text) {
            start::tell(&stats, "listen_address", &address_of(&host, port));
        }
        Ok(Self::new(stats))
    }

    /// The publisher, for what these hooks do not cover.
    #[must_use]
    pub fn stats(&self) -> &StatsPublisher {
        &self.stats
    }

    /// Delivers what was told, at most for [`CLOSE_DEADLINE`], and ends. For the host's own end, since it blocks the thread.
    /// What a sidecar that is away would have got is given up at once, or kept in the spool.
    pub fn close(&self) {
        self.stats.close(if self.stats.counters().connected { CLOSE_DEADLINE } else { Duration::ZERO });
    }

    /// The upstream has accepted the translator.
    pub fn upstream_connected(&self, host: &str, port: u16) {
        self.with(|publisher, known| {
            let (timestamp, address) = (UnixMillis::now(), Text::cut(address_of(host, port)));
            if let Some(address) = known.upstream.replace(address.clone()) {
                publisher.publish(UpstreamDisconnected { timestamp, address, reason: Text::cut(REPLACED) });
            }
            publisher.publish(UpstreamConnected { timestamp, address });
        });
    }

    /// The upstream of the last [`upstream_connected`](Self::upstream_connected) is gone; `reason` is for people.
    pub fn upstream_disconnected(&self, reason: &str) {
        self.with(|publisher, known| {
            let Some(address) = known.upstream.take() else { return };
            let timestamp = UnixMillis::now();
            publisher.publish(UpstreamDisconnected { timestamp, address, reason: Text::cut(reason) });
        });
    }

    /// A connection was accepted.
    pub fn connected(&self, connection: usize, address: impl fmt::Display) {
        self.with(|publisher, known| {
            known.last_id = known.last_id.wrapping_add(1);
            let miner = Miner {
                id: MinerId(known.last_id),
                address: Text::cut(address.to_string()),
                user_agent: None,
                name: None,
                told: false,
            };
            if let Some(before) = known.miners.insert(connection, miner) {
                before.close(publisher, ANOTHER_MINER);
            }
        });
    }

    /// `mining.subscribe`, with the program that the miner says it is; may be empty.
    pub fn subscribed(&self, connection: usize, user_agent: &str) {
        self.learn(connection, |miner| &mut miner.user_agent, user_agent);
    }

    /// `mining.authorize`, with the name that the miner goes by.
    ///
    /// A miner is told about once it has both subscribed and authorized, in whichever order. What subscribes or
    /// authorizes differently later is another miner from then on.
    pub fn authorized(&self, connection: usize, name: &str) {
        self.learn(connection, |miner| &mut miner.name, name);
    }

    /// A share was accepted: the target of its job and its hash, both as numbers with the least significant byte
    /// first, which is the order of `Target::to_le_bytes` and of a digest.
    pub fn accepted(&self, connection: usize, target: [u8; 32], hash: &[u8; 32]) {
        self.with_miner(connection, |publisher, miner| {
            miner.told = true;
            publisher.publish(MinerShareSubmitted {
                miner_id: miner.id,
                timestamp: UnixMillis::now(),
                target: compact(&target),
                share: compact(hash),
            });
        });
    }

    /// A share was refused with this code of an SV1 error.
    pub fn rejected(&self, connection: usize, sv1_error: i32) {
        self.with_miner(connection, |publisher, miner| {
            miner.told = true;
            let error_code = Text::cut(error_code(sv1_error));
            publisher.publish(MinerShareRejected { miner_id: miner.id, timestamp: UnixMillis::now(), error_code });
        });
    }

    /// Vardiff has another estimate of the miner's hashrate, in hashes per second.
    pub fn hashrate(&self, connection: usize, hashes_per_second: impl Into<f64>) {
        let declared: f64 = hashes_per_second.into();
        // The cast saturates and makes 0 of what is no number; the protocol ends below 2^63.
        let hashrate = (declared as u64).min(i64::MAX as u64);
        self.with_miner(connection, |publisher, miner| {
            miner.told = true;
            publisher.publish(MinerHashrateUpdate { miner_id: miner.id, hashrate, timestamp: UnixMillis::now() });
        });
    }

    /// The connection has ended. Calling this again, or for a connection that never was, does nothing.
    pub fn disconnected(&self, connection: usize) {
        self.with(|publisher, known| {
            if let Some(miner) = known.miners.remove(&connection) {
                miner.close(publisher, DISCONNECTED);
            }
        });
    }

    fn learn(&self, connection: usize, field: fn(&mut Miner) -> &mut Option<Text<'static>>, text: &str) {
        self.with(|publisher, known| {
            let Some(miner) = known.miners.get_mut(&connection) else { return };
            let complete = miner.is_complete();
            let text = Text::cut(text).into_owned();
            if field(miner).as_ref() == Some(&text) {
                return;
            }
            if complete {
                known.last_id = known.last_id.wrapping_add(1);
                miner.close(publisher, ANOTHER_MINER);
                miner.id = MinerId(known.last_id);
            }
            *field(miner) = Some(text);
            miner.open(publisher);
        });
    }

    fn with_miner(&self, connection: usize, tell: impl FnOnce(&StatsPublisher, &mut Miner)) {
        self.with(|publisher, known| {
            if let Some(miner) = known.miners.get_mut(&connection) {
                tell(publisher, miner);
            }
        });
    }

    fn with(&self, tell: impl FnOnce(&StatsPublisher, &mut Known)) {
        if self.stats.is_enabled() {
            // A panic of ours would be a fault; it must not become one of the host's.
            tell(&self.stats, &mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Miner {
    fn is_complete(&self) -> bool {
        self.user_agent.is_some() && self.name.is_some()
    }

    fn open(&mut self, publisher: &StatsPublisher) {
        let (Some(user_agent), Some(name)) = (&self.user_agent, &self.name) else { return };
        self.told = true;
        publisher.publish(MinerConnected {
            miner_id: self.id,
            name: name.clone(),
            timestamp: UnixMillis::now(),
            address: self.address.clone(),
            user_agent: user_agent.clone(),
        });
    }

    fn close(&self, publisher: &StatsPublisher, reason: &str) {
        if self.told {
            let timestamp = UnixMillis::now();
            publisher.publish(MinerDisconnected { miner_id: self.id, timestamp, reason: Text::cut(reason) });
        }
    }
}

/// The code of Stratum V2 that says the same as an SV1 error, or a name for those that V2 has none for.
fn error_code(sv1_error: i32) -> &'static str {
    match sv1_error {
        20 => "invalid-share",
        21 => "invalid-job-id",
        22 => "duplicate-share",
        23 => "difficulty-too-low",
        24 => "unauthorized-worker",
        25 => "not-subscribed",
        _ => "unknown",
    }
}

fn address_of(host: &str, port: u16) -> String {
    // Only addresses of IPv6 have colons of their own.
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What is read of the host's own keys.
#[derive(Deserialize)]
struct HostFile {
    downstream_address: Option<String>,
    downstream_port: Option<u16>,
}

#[cfg(test)]
mod tests;

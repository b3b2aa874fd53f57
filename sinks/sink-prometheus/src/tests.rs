//! The sink at its borders: what a scrape shows of what was delivered.

mod contract;
mod counting;
mod http;
mod properties;
mod settings;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sidecar_core::{Batch, Durability, JournalId, ManualClock, Record, SinkContext};
use sidecar_http::classic_metrics;
use sink_contract::{SyntheticJournal, SyntheticSession};
use stats_sv2::event::{ChannelOpened, MinerConnected, MinerShareSubmitted, ShareSubmitted};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, Event, MinerId, Role, Text, UnixMillis};

use crate::config::PrometheusSettings;
use crate::encoder;
use crate::numbers::{Limits, Numbers};

/// The present of the tests.
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
/// Difficulty 1.
const TARGET: CompactTarget = CompactTarget(0x1d00_ffff);
/// A hash below it.
const HASH: CompactTarget = CompactTarget(0x1c7f_ffff);
/// Expected hashes of a share with this target.
const WORK: f64 = mining_stats::HASHES_PER_DIFFICULTY;

/// Samples by series, as written.
type Samples = BTreeMap<String, f64>;

/// Reads the classic text format, and that each series stands in it once, after its type.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} is described twice");
            families.push(name);
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let name = series.split('{').next().unwrap();
        let family = families.last().expect("a sample stands after its type");
        assert!(name.starts_with(family), "{name} stands under {family}");
        let value = value.parse().unwrap_or_else(|_| panic!("no value: {line:?}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} stands twice");
    }
    samples
}

fn settings(toml: &str) -> Result<PrometheusSettings, toml::de::Error> {
    toml::from_str(toml)
}

fn limits(workers: u32) -> Limits {
    let sources = std::num::NonZeroU32::new(3).unwrap();
    Limits { sources, workers, expire_after_ms: 24 * 3_600_000 }
}

/// Numbers with a journal that feeds them and a clock that stands.
struct Counted {
    numbers: Arc<Mutex<Numbers>>,
    journal: SyntheticJournal,
    now: UnixMillis,
}

impl Counted {
    fn new(workers: u32) -> Self {
        Self {
            numbers: Arc::new(Mutex::new(Numbers::new(limits(workers)))),
            journal: SyntheticJournal::new(JournalId(1), NOW),
            now: NOW,
        }
    }

    fn set_now(&mut self, now: UnixMillis) {
        self.now = now;
        self.journal.set_now(now);
    }

    fn pass(&mut self, millis: u64) {
        self.set_now(UnixMillis(self.now.0 + millis));
    }

    fn publish(&mut self, session: &mut SyntheticSession, events: &[Event<'_>]) -> Arc<Record> {
        let record = self.journal.append(session, events);
        self.deliver(&[Arc::clone(&record)]);
        record
    }

    fn derive(&mut self, session: &mut SyntheticSession, events: &[Event<'_>]) {
        let record = self.journal.append_derived(session, events);
        self.deliver(&[record]);
    }

    fn deliver(&mut self, records: &[Arc<Record>]) {
        self.apply(&self.journal.batch(records));
    }

    fn apply(&self, batch: &Batch) {
        self.numbers.lock().unwrap().apply(batch);
    }

    fn maintain(&self) {
        self.numbers.lock().unwrap().maintain(self.now);
    }

    fn open_metrics(&self) -> String {
        encoder::encode(&self.numbers, self.now, NOW)
    }

    fn text(&self) -> String {
        classic_metrics(&self.open_metrics())
    }

    fn samples(&self) -> Samples {
        parse(&self.text())
    }

    /// The sample of a series; `None` if there is none.
    fn sample(&self, series: &str) -> Option<f64> {
        self.samples().get(series).copied()
    }
}

fn pool() -> SyntheticSession {
    SyntheticSession::new("pool-a", Role::Pool, 7)
}

fn channel_opened(channel: u32, name: &str) -> Event<'static> {
    Event::ChannelOpened(ChannelOpened {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(channel),
        timestamp: NOW,
        kind: stats_sv2::event::CHANNEL_STANDARD,
        user_identity: Text::cut(name.to_owned()),
        nominal_hashrate: 1,
        target: TARGET,
    })
}

fn share(channel: u32, timestamp: UnixMillis) -> Event<'static> {
    Event::ShareSubmitted(ShareSubmitted {
        downstream_id: DownstreamId(1),
        timestamp,
        channel_id: ChannelId(channel),
        sequence_number: 1,
        target: TARGET,
        share: HASH,
    })
}

fn miner_connected(miner: u32, name: &str) -> Event<'static> {
    Event::MinerConnected(MinerConnected {
        miner_id: MinerId(miner),
        name: Text::cut(name.to_owned()),
        timestamp: NOW,
        address: Text::cut("192.0.2.1"),
        user_agent: Text::cut("test"),
    })
}

fn miner_share(miner: u32, timestamp: UnixMillis) -> Event<'static> {
    Event::MinerShareSubmitted(MinerShareSubmitted { miner_id: MinerId(miner), timestamp, target: TARGET, share: HASH })
}

fn context(clock: Arc<ManualClock>) -> SinkContext {
    SinkContext { name: "metrics".into(), durability: Durability::Process, clock, neighbours: Arc::default() }
}

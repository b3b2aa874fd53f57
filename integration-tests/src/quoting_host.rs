//! A host as a pool is one: a real publisher and a real quote dispatcher, fed with made-up accepted shares.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use ehash::{LockingKey, ShareHash};
use quote_dispatcher::{
    AcceptedShare, CloseReport, QuoteCounters, QuoteDispatcher, QuoteDispatcherBuilder, SubmitOutcome, Timing,
};
use stats_publisher::{PublishOutcome, PublisherQuoteCallbacks, StatsPublisher};
use stats_sv2::{ChannelId, CompactTarget, DownstreamId, UnixMillis, event::ShareSubmitted};

use crate::{
    share_stream::{TARGET, open_channels, publisher},
    wait::{Look, wait_for},
};

/// The least difficulty in bits that earns ehash in the stories.
pub const MINIMUM_DIFFICULTY: u32 = 32;
/// Channels that the shares are spread over.
pub const CHANNELS: u32 = 5;

const CLOSE_WITHIN: Duration = Duration::from_secs(30);
/// The generator of secp256k1: a key that everybody can check, and whose secret half is 1.
const LOCKING_KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// A publisher and a dispatcher that live and end together, as in a pool.
#[derive(Debug)]
pub struct QuotingHost {
    publisher: StatsPublisher,
    quotes: QuoteDispatcher,
    next_share: u32,
}

/// A dispatcher towards this mint, with short times, to be completed and given to [`QuotingHost::start`].
pub fn quotes_at(mint: SocketAddr) -> QuoteDispatcherBuilder {
    QuoteDispatcher::builder(mint.to_string()).minimum_difficulty(MINIMUM_DIFFICULTY).locking_key(locking_key()).timing(
        Timing {
            drain_every: Duration::from_millis(1),
            drain_idle: Duration::from_millis(2),
            backoff_first: Duration::from_millis(1),
            backoff_longest: Duration::from_millis(20),
            ..Timing::default()
        },
    )
}

/// The key of every quote in the stories.
#[must_use]
pub fn locking_key() -> LockingKey {
    LOCKING_KEY.parse().expect("the generator is a point")
}

/// The hash of the share with this number: 32 to 43 leading zero bits, and different for each number.
#[must_use]
pub fn share_hash(number: u32) -> ShareHash {
    share_with_zeros(number, MINIMUM_DIFFICULTY + number % 12)
}

fn share_with_zeros(number: u32, zeros: u32) -> ShareHash {
    let mut display = [0; 32];
    display[zeros as usize / 8] = 0x80 >> (zeros % 8);
    display[28..].copy_from_slice(&number.to_be_bytes());
    ShareHash::from_display_bytes(display)
}

impl QuotingHost {
    /// Connects to the sidecar as `name`, opens [`CHANNELS`] channels and starts asking for quotes. Shares are numbered
    /// from `first_share` on.
    ///
    /// # Errors
    /// When a setting is refused.
    pub fn start(name: &str, sidecar: SocketAddr, quotes: QuoteDispatcherBuilder, first_share: u32) -> Result<Self> {
        let publisher = publisher(name, sidecar).start()?;
        open_channels(&publisher, CHANNELS);
        let quotes = quotes.start(Arc::new(PublisherQuoteCallbacks::new(publisher.clone())))?;
        Ok(Self { publisher, quotes, next_share: first_share })
    }

    /// Accepts so many shares that earn ehash, as a pool does: published first, then submitted.
    ///
    /// # Errors
    /// When one gets no quote.
    pub fn mine(&mut self, count: u32) -> Result<Vec<ShareHash>> {
        (0..count)
            .map(|_| {
                let hash = share_hash(self.next_share);
                let outcome = self.accept(hash)?;
                ensure!(outcome == SubmitOutcome::Queued, "share {hash} was {outcome:?}");
                Ok(hash)
            })
            .collect()
    }

    /// Accepts so many shares that earn nothing.
    ///
    /// # Errors
    /// When one gets a quote.
    pub fn mine_below_minimum(&mut self, count: u32) -> Result<()> {
        (0..count).try_for_each(|_| {
            let outcome = self.accept(share_with_zeros(self.next_share, MINIMUM_DIFFICULTY - 1))?;
            ensure!(outcome == SubmitOutcome::BelowMinimum, "a share below the minimum was {outcome:?}");
            Ok(())
        })
    }

    /// Accepts a share with this hash.
    ///
    /// # Errors
    /// When the publisher has no room for the share.
    pub fn accept(&mut self, share_hash: ShareHash) -> Result<SubmitOutcome> {
        let number = self.next_share;
        self.next_share += 1;
        let (downstream_id, channel_id) = (DownstreamId(1), ChannelId(1 + number % CHANNELS));
        let share = ShareSubmitted {
            downstream_id,
            timestamp: UnixMillis::now(),
            channel_id,
            sequence_number: number,
            target: TARGET,
            share: CompactTarget(0x1c7f_ffff),
        };
        let outcome = self.publisher.publish(share);
        ensure!(outcome == PublishOutcome::Queued, "share {number} was {outcome:?}");
        Ok(self.quotes.submit_quote(&AcceptedShare {
            downstream_id,
            channel_id,
            sequence_number: number,
            share_hash,
            user_identity: "alice.rig1",
        }))
    }

    /// The dispatcher's numbers.
    #[must_use]
    pub fn counters(&self) -> QuoteCounters {
        self.quotes.counters()
    }

    /// Waits until the dispatcher's numbers are as asked.
    ///
    /// # Errors
    /// At the deadline, with the numbers.
    pub async fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&QuoteCounters) -> bool,
    ) -> Result<QuoteCounters> {
        wait_for(what, deadline, || async {
            let counters = self.counters();
            Ok(Look::when(holds(&counters), counters))
        })
        .await
    }

    /// Waits until no quote is pending.
    ///
    /// # Errors
    /// At the deadline, with the dispatcher's numbers.
    pub async fn wait_until_ended(&self, deadline: Duration) -> Result<QuoteCounters> {
        self.wait_until("every quote to end", deadline, |counters| counters.pending == 0).await
    }

    /// Closes the dispatcher, which may wait `patience` for the mint, then the publisher, which must get everything
    /// acknowledged. Returns the dispatcher's last numbers.
    ///
    /// # Errors
    /// When the sidecar does not acknowledge all, or the publisher lost something on the way.
    pub async fn close(self, patience: Duration) -> Result<(CloseReport, QuoteCounters)> {
        let Self { publisher, quotes, .. } = self;
        tokio::task::spawn_blocking(move || {
            let left = quotes.close(patience);
            let counters = quotes.counters();
            let report = publisher.close(CLOSE_WITHIN);
            ensure!(report.complete, "not everything was acknowledged: {report:?}");
            ensure!(publisher.counters().dropped == 0, "the publisher dropped: {:?}", publisher.counters());
            Ok((left, counters))
        })
        .await
        .context("closing panicked")?
    }
}

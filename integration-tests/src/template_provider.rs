//! A mock template provider: a Noise responder that speaks SV2 template distribution to an unmodified pool, gives
//! it templates over a private chain, and checks the proof of work of the solutions that come back.
//!
//! It stands in for a Bitcoin node where a story needs blocks on demand: how hard a block is, is the chain's
//! `network_bits`, and [`TemplateProvider::new_block`] moves the tip as if another miner had found one.

mod chain;
mod connection;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub use chain::{Rejection, SolvedBlock};

use crate::wait::{Look, wait_for};
use chain::{Chain, Template};

/// No CPU finds a block: difficulty 1, 2^32 hashes.
pub const NO_BLOCKS: u32 = 0x1d00_ffff;
/// One block per about 2^20 hashes.
pub const SOME_BLOCKS: u32 = 0x1e10_0000;
/// Every second hash is a block.
pub const EASIEST_BLOCKS: u32 = 0x207f_ffff;

/// What a template provider is started with.
#[derive(Debug)]
pub struct TemplateProviderBuilder {
    network_bits: u32,
    stay_on_tip: bool,
}

/// A running template provider. Dropping it closes its connections.
#[derive(Debug)]
pub struct TemplateProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the connections share: the chain, and a signal that its tip has moved.
#[derive(Debug)]
struct Shared {
    chain: Mutex<Chain>,
    tip: watch::Sender<Arc<Template>>,
    stay_on_tip: bool,
}

impl TemplateProvider {
    /// A template provider for a chain without blocks, unless told otherwise.
    #[must_use]
    pub fn builder() -> TemplateProviderBuilder {
        TemplateProviderBuilder { network_bits: NO_BLOCKS, stay_on_tip: false }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Moves the tip: connected pools get a template on a new previous hash. Returns the height that is now mined.
    pub fn new_block(&self) -> u32 {
        let template = self.shared.chain().extend_by_stranger();
        let height = template.height();
        self.shared.publish(template);
        height
    }

    /// Blocks whose solution was submitted and holds, oldest first.
    #[must_use]
    pub fn blocks(&self) -> Vec<SolvedBlock> {
        self.shared.chain().blocks().to_vec()
    }

    /// Solutions that were submitted and do not hold, oldest first.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        self.shared.chain().rejections().to_vec()
    }

    /// Waits until at least `count` blocks have been solved.
    ///
    /// # Errors
    /// At the deadline, with the number seen.
    pub async fn wait_for_blocks(&self, count: usize, deadline: Duration) -> Result<Vec<SolvedBlock>> {
        wait_for(&format!("{count} solved blocks"), deadline, || async {
            let blocks = self.blocks();
            Ok(if blocks.len() >= count {
                Look::Done(blocks)
            } else {
                Look::NotYet(format!("{} blocks", blocks.len()))
            })
        })
        .await
    }
}

impl Drop for TemplateProvider {
    fn drop(&mut self) {
        // The connections belong to a JoinSet inside the accepting task and end with it.
        self.accepting.abort();
    }
}

impl TemplateProviderBuilder {
    /// The chain's nBits, such as [`NO_BLOCKS`], [`SOME_BLOCKS`] or [`EASIEST_BLOCKS`].
    #[must_use]
    pub fn network_bits(mut self, bits: u32) -> Self {
        self.network_bits = bits;
        self
    }

    /// Keeps the tip where it is when a block is solved, so that the shares behind it do not go stale.
    #[must_use]
    pub fn stay_on_tip(mut self) -> Self {
        self.stay_on_tip = true;
        self
    }

    /// Starts listening on a free port of loopback.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(self) -> Result<TemplateProvider> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the template provider cannot listen")?;
        let address = listener.local_addr().context("the template provider has no address")?;
        let chain = Chain::new(self.network_bits);
        let (tip, _) = watch::channel(chain.template());
        let shared = Arc::new(Shared { chain: Mutex::new(chain), tip, stay_on_tip: self.stay_on_tip });
        let accepting = tokio::spawn(connection::accept(listener, Arc::clone(&shared)));
        Ok(TemplateProvider { address, shared, accepting })
    }
}

impl Shared {
    fn chain(&self) -> MutexGuard<'_, Chain> {
        // A panic inside the chain has failed its test already; the others may go on reading.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, template: Arc<Template>) {
        self.tip.send_replace(template);
    }
}

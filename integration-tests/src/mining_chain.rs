//! A whole mining chain: template provider, pool, translator, two SV1 miners. With the unmodified applications it is the
//! ground on which the bridge stands, with the integrated ones the way that the publisher is fed.

use std::{cell::Cell, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    Pool, PoolSnapshot, Sv1Miner, TemplateProvider, TestFolder, Translator,
    wait::{Look, wait_for},
};

/// For everything that takes a moment on a free machine; a loaded one may take its time.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The monitoring APIs copy their state once a second.
const TWO_REFRESHES: Duration = Duration::from_secs(2);

/// Template provider, pool, translator with one channel per miner, and the miners alice and bob.
#[derive(Debug)]
pub struct MiningChain {
    /// Where the templates come from and the blocks go.
    pub template_provider: TemplateProvider,
    /// The pool.
    pub pool: Pool,
    /// The translator.
    pub translator: Translator,
    /// `alice.rig`, 20 shares a second.
    pub alice: Sv1Miner,
    /// `bob.rig`, 10 shares a second.
    pub bob: Sv1Miner,
}

impl MiningChain {
    /// Starts everything in `folder`, pool and translator unmodified, and waits until both miners are authorized.
    ///
    /// # Errors
    /// Names what did not start.
    pub async fn start(folder: &TestFolder, template_provider: TemplateProvider) -> Result<Self> {
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        let translator = Translator::builder(folder, &pool).start().await?;
        Self::of(template_provider, pool, translator).await
    }

    /// Starts both miners at a translator that runs, in front of a pool that runs, and waits until they are authorized.
    ///
    /// # Errors
    /// When a miner is not served.
    pub async fn of(template_provider: TemplateProvider, pool: Pool, translator: Translator) -> Result<Self> {
        let alice = Sv1Miner::builder(translator.address()).user("alice.rig").shares_per_second(20.0).start().await?;
        let bob = Sv1Miner::builder(translator.address()).user("bob.rig").shares_per_second(10.0).start().await?;
        Ok(Self { template_provider, pool, translator, alice, bob })
    }

    /// Waits until each of the two miners has this many more accepted shares than now.
    ///
    /// # Errors
    /// At the deadline, with the counts so far.
    pub async fn mine(&self, shares: u64, deadline: Duration) -> Result<()> {
        let (alice, bob) = (self.alice.counts().accepted, self.bob.counts().accepted);
        self.alice.wait_for_accepted(alice + shares, deadline).await?;
        self.bob.wait_for_accepted(bob + shares, deadline).await?;
        Ok(())
    }

    /// Lets both miners pause, and waits until the pool's log, the pool's API and the translator agree on what was
    /// accepted, and go on agreeing for longer than their snapshots live: the snapshots are out of phase, and a last
    /// share may still be under way between them. The counts stay what they are until [`Self::resume`].
    ///
    /// # Errors
    /// At the deadline, with what each of them said last.
    pub async fn settle(&self) -> Result<PoolSnapshot> {
        let alice = self.alice.pause().await?;
        let bob = self.bob.pause().await?;
        let agreed: Cell<Option<(u64, Instant)>> = Cell::new(None);
        let snapshot = wait_for("pool log, pool API and translator to agree", SETTLED_WITHIN, || async {
            let log = self.pool.accepted_in_log()?;
            let pool = self.pool.counts().await?;
            let translator = self.translator.counts().await?;
            let seen = format!(
                "{log} in the log, {} in the pool's API, {} of {} acknowledged to the translator",
                pool.accepted(),
                translator.acknowledged(),
                translator.submitted()
            );
            if log != pool.accepted() || log != translator.acknowledged() {
                agreed.set(None);
                return Ok(Look::NotYet(seen));
            }
            let (count, since) = agreed.get().filter(|(count, _)| *count == log).unwrap_or((log, Instant::now()));
            agreed.set(Some((count, since)));
            Ok(if since.elapsed() > TWO_REFRESHES { Look::Done(pool) } else { Look::NotYet(seen) })
        })
        .await?;
        // A share that the pool counts and no miner submitted would be an invention of somebody.
        ensure!(
            alice.submitted + bob.submitted >= snapshot.accepted(),
            "the pool accepted {} shares, the miners submitted fewer: {alice:?} {bob:?}",
            snapshot.accepted()
        );
        Ok(snapshot)
    }

    /// Lets both miners submit again.
    ///
    /// # Errors
    /// When a miner's task has ended.
    pub async fn resume(&self) -> Result<()> {
        self.alice.resume().await?;
        self.bob.resume().await
    }
}

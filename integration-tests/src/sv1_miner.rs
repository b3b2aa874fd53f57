//! A small SV1 miner: subscribes, authorizes, mines the translator's jobs with real double SHA-256, and keeps its
//! own count of what it submitted and what became of it. With the easiest target it needs no CPU.
//!
//! It reconnects when the connection breaks, as hardware does, and its counts go on across connections.

mod session;
mod work;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::wait::{Look, wait_for};

/// Commands waiting for the miner's task; each is handled at once.
const COMMANDS: usize = 16;
/// How long a share's verdict, or the last verdicts before a stop, may take.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);

/// What a miner has seen so far. Every submitted share is in exactly one of accepted, rejected, unanswered, or is
/// still awaited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MinerCounts {
    /// Shares sent.
    pub submitted: u64,
    /// Shares that the server accepted.
    pub accepted: u64,
    /// Shares that the server rejected, by its message.
    pub rejected: BTreeMap<String, u64>,
    /// Shares whose verdict was lost with the connection.
    pub unanswered: u64,
    /// Sessions that reached `mining.authorize`'s success.
    pub sessions: u64,
    /// `mining.set_difficulty` messages received.
    pub difficulty_changes: u64,
    /// Jobs received that made all before them stale, the first of each session aside.
    pub new_tips: u64,
    /// Hashes tried while mining; those tried to make bad shares aside.
    pub hashes: u64,
}

impl MinerCounts {
    /// Rejected shares, whatever the reason.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Shares sent whose verdict is still to come.
    #[must_use]
    pub fn awaited(&self) -> u64 {
        self.submitted - self.accepted - self.rejections() - self.unanswered
    }
}

/// A share that is wrong in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadShare {
    /// The last accepted share again.
    Duplicate,
    /// A job id that the server never gave.
    UnknownJob,
    /// A job of before the last new tip.
    StaleJob,
    /// A hash that misses the target; there is none while the target lets every hash pass.
    LowDifficulty,
    /// A time three hours ahead of the job's: SV1 servers seldom look at it, the pool does.
    FutureTime,
    /// A second extranonce that is one byte too long.
    LongExtranonce,
}

/// What the server answered to one share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The share counts.
    Accepted,
    /// It does not, with the server's message.
    Rejected(String),
    /// The connection broke before the answer.
    Unanswered,
}

/// What a miner is started with.
#[derive(Debug, Clone)]
pub struct Sv1MinerBuilder {
    server: SocketAddr,
    user: String,
    user_agent: String,
    shares_per_second: f64,
    paused: bool,
}

/// A running miner. Dropping it breaks its connection.
#[derive(Debug)]
pub struct Sv1Miner {
    user: String,
    commands: mpsc::Sender<Command>,
    counts: watch::Receiver<MinerCounts>,
    task: JoinHandle<()>,
}

/// What the handle asks of the task.
#[derive(Debug)]
enum Command {
    /// Answered once no further share will be submitted.
    Pause(oneshot::Sender<()>),
    Resume,
    Bad(BadShare, oneshot::Sender<Result<Verdict, String>>),
    Stop,
}

impl Sv1Miner {
    /// A miner for the SV1 server at `server`, ten shares a second unless told otherwise.
    #[must_use]
    pub fn builder(server: SocketAddr) -> Sv1MinerBuilder {
        Sv1MinerBuilder {
            server,
            user: "account.worker".to_owned(),
            user_agent: "hashpool-test-miner/1".to_owned(),
            shares_per_second: 10.0,
            paused: false,
        }
    }

    /// The name given to `mining.authorize`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> MinerCounts {
        self.counts.borrow().clone()
    }

    /// Waits until at least `accepted` shares have been accepted.
    ///
    /// # Errors
    /// At the deadline, with the counts so far.
    pub async fn wait_for_accepted(&self, accepted: u64, deadline: Duration) -> Result<MinerCounts> {
        let what = format!("{accepted} accepted shares of {}", self.user);
        self.wait_for_counts(&what, deadline, |counts| counts.accepted >= accepted).await
    }

    /// Waits until the counts satisfy `enough`.
    ///
    /// # Errors
    /// At the deadline, with the counts so far.
    pub async fn wait_for_counts(
        &self,
        what: &str,
        deadline: Duration,
        enough: impl Fn(&MinerCounts) -> bool,
    ) -> Result<MinerCounts> {
        wait_for(what, deadline, || async {
            let counts = self.counts();
            Ok(Look::when(enough(&counts), counts))
        })
        .await
    }

    /// Stops submitting, stays connected, and returns once no verdict is awaited any more.
    ///
    /// # Errors
    /// When a verdict does not come, or the task has ended.
    pub async fn pause(&self) -> Result<MinerCounts> {
        let (paused, answer) = oneshot::channel();
        self.tell(Command::Pause(paused)).await?;
        answer.await.with_context(|| format!("the miner {} has ended", self.user))?;
        self.wait_for_counts("the last verdicts", VERDICT_WITHIN, |counts| counts.awaited() == 0).await
    }

    /// Submits again after [`Self::pause`].
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn resume(&self) -> Result<()> {
        self.tell(Command::Resume).await
    }

    /// Submits one share that is wrong in this way and returns what the server says to it.
    ///
    /// # Errors
    /// When such a share cannot be made now, such as a duplicate before the first accepted share.
    pub async fn submit_bad(&self, kind: BadShare) -> Result<Verdict> {
        let (verdict, answer) = oneshot::channel();
        self.tell(Command::Bad(kind, verdict)).await?;
        tokio::time::timeout(VERDICT_WITHIN, answer)
            .await
            .with_context(|| format!("no verdict on a {kind:?} share"))?
            .context("the miner has ended")?
            .map_err(|reason| anyhow!("cannot make a {kind:?} share: {reason}"))
    }

    /// Stops submitting, waits for the verdicts still awaited, disconnects, and returns the final counts.
    ///
    /// # Errors
    /// When a verdict does not come, or the task has failed.
    pub async fn stop(mut self) -> Result<MinerCounts> {
        self.pause().await?;
        self.tell(Command::Stop).await?;
        (&mut self.task).await.context("the miner's task failed")?;
        Ok(self.counts())
    }

    async fn tell(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| anyhow!("the miner {} has ended", self.user))
    }
}

impl Drop for Sv1Miner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sv1MinerBuilder {
    /// The name for `mining.authorize`, usually `account.worker`.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// The user agent for `mining.subscribe`.
    #[must_use]
    pub fn user_agent(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.user_agent);
        self
    }

    /// The pace; finding a share may take longer when the target is hard.
    #[must_use]
    pub fn shares_per_second(mut self, rate: f64) -> Self {
        self.shares_per_second = rate;
        self
    }

    /// Submits nothing until [`Sv1Miner::resume`].
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Starts the miner and waits until its first session is authorized.
    ///
    /// # Errors
    /// When the server does not answer in time.
    pub async fn start(self) -> Result<Sv1Miner> {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (counter, counts) = watch::channel(MinerCounts::default());
        let user = self.user.clone();
        let task = tokio::spawn(session::run(self, orders, counter));
        let miner = Sv1Miner { user, commands, counts, task };
        let what = format!("{} to be authorized", miner.user);
        miner.wait_for_counts(&what, Duration::from_secs(30), |counts| counts.sessions > 0).await?;
        Ok(miner)
    }
}

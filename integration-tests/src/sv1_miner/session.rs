//! The miner's task: one connection after the other, JSON lines in and out.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stratum_core::bitcoin::hex::{DisplayHex, FromHex};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    time::{Interval, MissedTickBehavior},
};

use super::{
    BadShare, Command, MinerCounts, Sv1MinerBuilder, Verdict,
    work::{Job, Share, reached_difficulty},
};

/// Pause between connection attempts.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);
/// Hashes tried before the task looks at its connection again.
const HASHES_PER_TURN: u32 = 256;
/// Hashes tried for a share that is bad in one way and good in the others.
const HASHES_PER_BAD_SHARE: u32 = 1 << 16;
const SUBSCRIBE: u64 = 1;
const AUTHORIZE: u64 = 2;
const FIRST_SUBMIT: u64 = 3;
/// Above the two hours that the pool allows.
const TOO_FAR_AHEAD_SECONDS: u32 = 3 * 60 * 60;

type Answer = oneshot::Sender<Result<Verdict, String>>;

/// Runs until told to stop, reconnecting whenever the connection breaks.
pub(super) async fn run(
    config: Sv1MinerBuilder,
    mut commands: mpsc::Receiver<Command>,
    counts: watch::Sender<MinerCounts>,
) {
    let mut mining = !config.paused;
    loop {
        if let Ok(mut session) = Session::open(&config, &counts).await {
            let ended = session.mine(&mut commands, &mut mining).await;
            session.give_up_awaited();
            if matches!(ended, Ok(Stopped)) {
                return;
            }
        }
        // While there is no connection, commands are still answered.
        let pause = tokio::time::sleep(RECONNECT_AFTER);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                command = commands.recv() => match command {
                    Some(Command::Pause(paused)) => {
                        mining = false;
                        paused.send(()).ok();
                    }
                    Some(Command::Resume) => mining = true,
                    Some(Command::Bad(_, answer)) => drop(answer.send(Err("there is no connection".to_owned()))),
                    Some(Command::Stop) | None => return,
                },
            }
        }
    }
}

/// The session ended because it was told to.
struct Stopped;

struct Session<'a> {
    config: &'a Sv1MinerBuilder,
    counts: &'a watch::Sender<MinerCounts>,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    pace: Interval,
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
    difficulty: Option<f64>,
    job: Option<Job>,
    /// The job before the last one with `clean_jobs`.
    stale_job: Option<Job>,
    /// Where the search goes on: the second extranonce, and the next nonce.
    extranonce2: u64,
    nonce: u32,
    next_id: u64,
    awaited: HashMap<u64, Awaited>,
    last_accepted: Option<Share>,
}

/// A submitted share whose verdict is to come, and who wants to know it.
struct Awaited {
    share: Share,
    answer: Option<Answer>,
}

impl<'a> Session<'a> {
    async fn open(config: &'a Sv1MinerBuilder, counts: &'a watch::Sender<MinerCounts>) -> Result<Self> {
        let stream = TcpStream::connect(config.server).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / config.shares_per_second));
        // A share that took long to find does not make the next ones come faster.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut session = Self {
            config,
            counts,
            lines: BufReader::new(reader).lines(),
            writer,
            pace,
            extranonce1: Vec::new(),
            extranonce2_size: 0,
            difficulty: None,
            job: None,
            stale_job: None,
            extranonce2: 0,
            nonce: 0,
            next_id: FIRST_SUBMIT,
            awaited: HashMap::new(),
            last_accepted: None,
        };
        session.request(SUBSCRIBE, "mining.subscribe", json!([config.user_agent])).await?;
        session.request(AUTHORIZE, "mining.authorize", json!([config.user, "x"])).await?;
        Ok(session)
    }

    async fn mine(&mut self, commands: &mut mpsc::Receiver<Command>, mining: &mut bool) -> Result<Stopped> {
        let mut searching = false;
        loop {
            let ready = *mining && self.job.is_some() && self.difficulty.is_some() && self.extranonce2_size > 0;
            searching &= ready;
            tokio::select! {
                line = self.lines.next_line() => {
                    let line = line?.context("the server closed the connection")?;
                    self.receive(&line)?;
                }
                command = commands.recv() => match command {
                    Some(Command::Pause(paused)) => {
                        (*mining, searching) = (false, false);
                        paused.send(()).ok();
                    }
                    Some(Command::Resume) => *mining = true,
                    Some(Command::Bad(kind, answer)) => match self.bad_share(kind) {
                        Ok(share) => self.submit(share, Some(answer)).await?,
                        Err(reason) => drop(answer.send(Err(reason))),
                    },
                    Some(Command::Stop) | None => return Ok(Stopped),
                },
                _ = self.pace.tick(), if ready && !searching => searching = true,
                () = tokio::task::yield_now(), if searching => {
                    if let Some(share) = self.search() {
                        searching = false;
                        self.submit(share, None).await?;
                    }
                }
            }
        }
    }

    fn receive(&mut self, line: &str) -> Result<()> {
        let message: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        if let Some(method) = message["method"].as_str() {
            let params = message["params"].as_array().context("a notification without parameters")?;
            return self.notified(method, params);
        }
        let id = message["id"].as_u64().context("an answer without id")?;
        match id {
            SUBSCRIBE => self.subscribed(&message["result"]),
            AUTHORIZE => {
                if message["result"] != true {
                    bail!("not authorized: {line}");
                }
                self.count(|counts| counts.sessions += 1);
                Ok(())
            }
            _ => {
                self.judged(id, &message);
                Ok(())
            }
        }
    }

    fn notified(&mut self, method: &str, params: &[Value]) -> Result<()> {
        match method {
            "mining.set_difficulty" => {
                self.difficulty = Some(params.first().and_then(Value::as_f64).context("no difficulty")?);
                self.count(|counts| counts.difficulty_changes += 1);
            }
            "mining.notify" => {
                let job = Job::from_notify(params)?;
                let before = self.job.replace(job);
                if params[8] == true && before.is_some() {
                    self.stale_job = before;
                    self.count(|counts| counts.new_tips += 1);
                }
            }
            "mining.set_extranonce" => {
                self.set_extranonce(params.first(), params.get(1))?;
            }
            // Servers may send more, such as client.show_message.
            _ => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, result: &Value) -> Result<()> {
        self.set_extranonce(result.get(1), result.get(2))
    }

    fn set_extranonce(&mut self, extranonce1: Option<&Value>, size: Option<&Value>) -> Result<()> {
        let extranonce1 = extranonce1.and_then(Value::as_str).context("no first extranonce")?;
        self.extranonce1 = Vec::from_hex(extranonce1).context("the first extranonce is no hex")?;
        let size = size.and_then(Value::as_u64).context("no size of the second extranonce")?;
        self.extranonce2_size = usize::try_from(size)?.min(8);
        Ok(())
    }

    fn judged(&mut self, id: u64, message: &Value) {
        let Some(Awaited { share, answer }) = self.awaited.remove(&id) else { return };
        let verdict = if message["error"].is_null() && message["result"] == true {
            self.count(|counts| counts.accepted += 1);
            self.last_accepted = Some(share);
            Verdict::Accepted
        } else {
            // An error is [code, message, data] in most servers and an object in some.
            let error = &message["error"];
            let reason = error.get(1).or_else(|| error.get("message")).and_then(Value::as_str);
            let reason = reason.unwrap_or("no reason given").to_owned();
            self.count(|counts| *counts.rejected.entry(reason.clone()).or_default() += 1);
            Verdict::Rejected(reason)
        };
        if let Some(answer) = answer {
            // Who asked may have stopped waiting.
            drop(answer.send(Ok(verdict)));
        }
    }

    /// Tries some hashes; the next share found.
    fn search(&mut self) -> Option<Share> {
        let (job, difficulty) = (self.job.as_ref()?, self.difficulty?);
        let mut share = self.share_at(job);
        let mut header = job.header(&self.extranonce1, &share);
        for nonce in self.nonce..self.nonce.saturating_add(HASHES_PER_TURN) {
            header.nonce = nonce;
            if reached_difficulty(&header) >= difficulty {
                share.nonce = nonce;
                let hashes = u64::from(nonce - self.nonce) + 1;
                self.count(|counts| counts.hashes += hashes);
                self.next_extranonce();
                return Some(share);
            }
        }
        self.count(|counts| counts.hashes += u64::from(HASHES_PER_TURN));
        match self.nonce.checked_add(HASHES_PER_TURN) {
            Some(nonce) => self.nonce = nonce,
            None => self.next_extranonce(),
        }
        None
    }

    fn next_extranonce(&mut self) {
        self.extranonce2 = self.extranonce2.wrapping_add(1);
        self.nonce = 0;
    }

    /// The share that the search stands at.
    fn share_at(&self, job: &Job) -> Share {
        let extranonce2 = self.extranonce2.to_le_bytes()[..self.extranonce2_size].to_vec();
        Share { job_id: job.id.clone(), extranonce2, time: job.time, nonce: self.nonce }
    }

    fn bad_share(&mut self, kind: BadShare) -> Result<Share, String> {
        self.next_extranonce();
        let job = self.job.as_ref().ok_or("there is no job")?;
        let difficulty = self.difficulty.ok_or("there is no difficulty")?;
        let mut share = self.share_at(job);
        match kind {
            BadShare::Duplicate => share = self.last_accepted.clone().ok_or("no share was accepted yet")?,
            BadShare::UnknownJob => share.job_id = "4294967295".to_owned(),
            BadShare::StaleJob => {
                let stale = self.stale_job.as_ref().ok_or("no job has become stale yet")?;
                share = self.share_at(stale);
            }
            BadShare::LowDifficulty => {
                share.nonce = self.nonce_that(job, &share, |reached| reached < difficulty)?;
            }
            BadShare::FutureTime => {
                share.time = share.time.saturating_add(TOO_FAR_AHEAD_SECONDS);
                share.nonce = self.nonce_that(job, &share, |reached| reached >= difficulty)?;
            }
            BadShare::LongExtranonce => share.extranonce2.push(0),
        }
        Ok(share)
    }

    /// The first nonce whose hash reaches a difficulty that suits.
    fn nonce_that(&self, job: &Job, share: &Share, suits: impl Fn(f64) -> bool) -> Result<u32, String> {
        let mut header = job.header(&self.extranonce1, share);
        (0..HASHES_PER_BAD_SHARE)
            .find(|&nonce| {
                header.nonce = nonce;
                suits(reached_difficulty(&header))
            })
            .ok_or_else(|| format!("none of {HASHES_PER_BAD_SHARE} hashes suits the target"))
    }

    async fn submit(&mut self, share: Share, answer: Option<Answer>) -> Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let params = json!([
            self.config.user,
            share.job_id,
            share.extranonce2.to_lower_hex_string(),
            format!("{:08x}", share.time),
            format!("{:08x}", share.nonce),
        ]);
        self.awaited.insert(id, Awaited { share, answer });
        self.count(|counts| counts.submitted += 1);
        self.request(id, "mining.submit", params).await
    }

    async fn request(&mut self, id: u64, method: &str, params: Value) -> Result<()> {
        let mut line = json!({ "id": id, "method": method, "params": params }).to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).await.context("cannot write to the server")
    }

    /// The connection is gone, and with it the verdicts still awaited.
    fn give_up_awaited(&mut self) {
        let lost = std::mem::take(&mut self.awaited);
        self.count(|counts| counts.unanswered += lost.len() as u64);
        for answer in lost.into_values().filter_map(|awaited| awaited.answer) {
            drop(answer.send(Ok(Verdict::Unanswered)));
        }
    }

    fn count(&self, change: impl FnOnce(&mut MinerCounts)) {
        self.counts.send_modify(change);
    }
}

//! Who was connected when: sessions of the pool, connections of downstreams with four workers each, and what each worker is.

use mining_stats::Sv1Difficulty;
use stats_sv2::CompactTarget;

use super::{HOUR_MS, MINUTE_MS, YearDatabase};

/// Workers behind one downstream connection, as behind a translator.
pub(super) const WORKERS_OF_A_DOWNSTREAM: usize = 4;
/// Minutes between two restarts of the pool, and what a restart takes.
const SESSION: u32 = 7 * 24 * 60;
const RESTART: u32 = 2;
/// Mean minutes that a downstream stays connected, and the longest that it stays away.
const MEAN_CONNECTED: f64 = 2.0 * 24.0 * 60.0;
const LONGEST_AWAY: u64 = 10;
/// Shares a minute that vardiff wants of each worker.
pub(super) const SHARES_PER_MINUTE: f64 = 6.0;
/// The smallest and the largest hashrate in H/s, evenly spread between them on a logarithmic scale.
const HASHRATES: (f64, f64) = (20e12, 600e12);

/// Minutes are counted from the start of the history, which is a whole hour.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) start_ms: u64,
    /// Minutes of the history.
    pub(super) minutes: u32,
    pub(super) quotes: u32,
    /// Each ends where the next begins, less the time of the restart.
    pub(super) sessions: Vec<Span>,
    pub(super) downstreams: Vec<Downstream>,
}

/// Minutes from `from` on and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// What connects again and again with the same workers.
#[derive(Debug)]
pub(super) struct Downstream {
    pub(super) workers: Vec<Worker>,
    /// By time, without overlap.
    pub(super) connections: Vec<Connection>,
}

/// One connection; its channels are numbered from 1, in the order of the workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) span: Span,
    /// Place in [`Plan::sessions`].
    pub(super) session: usize,
    /// The pool's number for it, unique in the session.
    pub(super) id: u32,
}

/// A user identity.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) hashrate: f64,
    pub(super) target: CompactTarget,
    /// Expected hashes of a share.
    pub(super) share_work: f64,
}

impl Plan {
    pub(super) fn new(asked: &YearDatabase) -> Self {
        let end_ms = asked.end.0 - asked.end.0 % MINUTE_MS;
        let start_ms = end_ms.saturating_sub(u64::from(asked.days) * 24 * HOUR_MS);
        let start_ms = start_ms - start_ms % HOUR_MS;
        // Fits: ten thousand years have fewer minutes than 2^33, and nobody asks for more than some.
        let minutes = ((end_ms - start_ms) / MINUTE_MS) as u32;
        let sessions = (0..minutes.div_ceil(SESSION)).map(|index| {
            let from = index * SESSION;
            let to = from + SESSION;
            Span { from, to: if to >= minutes { minutes } else { to - RESTART } }
        });
        let workers: Vec<Worker> = (1..=asked.workers).map(Worker::new).collect();
        let mut downstreams: Vec<Downstream> = Vec::new();
        for worker in workers {
            match downstreams.last_mut() {
                Some(last) if last.workers.len() < WORKERS_OF_A_DOWNSTREAM => last.workers.push(worker),
                _ => downstreams.push(Downstream { workers: vec![worker], connections: Vec::new() }),
            }
        }
        let mut plan = Self { start_ms, minutes, quotes: asked.quotes, sessions: sessions.collect(), downstreams };
        for session in 0..plan.sessions.len() {
            plan.connect(session);
        }
        plan
    }

    /// Connections of all downstreams in a session, numbered as they come.
    fn connect(&mut self, session: usize) {
        let Span { from, to } = self.sessions[session];
        let mut made: Vec<(u32, usize, u32)> = Vec::new();
        for index in 0..self.downstreams.len() {
            let mut chance = mixed(self.downstreams[index].workers[0].seed ^ (session as u64) << 32);
            let mut at = from;
            while at < to {
                chance = mixed(chance);
                let stays = (-MEAN_CONNECTED * unit(chance).ln()).clamp(5.0, 1e6) as u32;
                let end = at.saturating_add(stays).min(to);
                made.push((at, index, end));
                chance = mixed(chance);
                at = end + 1 + (chance % LONGEST_AWAY) as u32;
            }
        }
        made.sort_unstable();
        for (number, (from, index, to)) in made.into_iter().enumerate() {
            let connection = Connection { span: Span { from, to }, session, id: number as u32 + 1 };
            self.downstreams[index].connections.push(connection);
        }
    }

    /// Unix milliseconds of the start of a minute.
    pub(super) fn ms(&self, minute: u32) -> u64 {
        self.start_ms + u64::from(minute) * MINUTE_MS
    }
}

impl Downstream {
    /// The connection that is open in a minute.
    pub(super) fn connected_at(&self, minute: u32) -> Option<&Connection> {
        let next = self.connections.partition_point(|connection| connection.span.from <= minute);
        self.connections.get(next.checked_sub(1)?).filter(|connection| minute < connection.span.to)
    }
}

impl Worker {
    fn new(number: u32) -> Self {
        let seed = mixed(u64::from(number));
        let (least, most) = HASHRATES;
        let hashrate = least * (most / least).powf(unit(seed));
        let share_work = hashrate * 60.0 / SHARES_PER_MINUTE;
        // Rounded to what a target can say, so that the work of a share is that of its target.
        let difficulty = Sv1Difficulty::from_expected_hashes(share_work).expect("the work is finite and positive");
        let target = difficulty.to_target().to_compact();
        let share_work = mining_stats::Target::from_compact(target).map_or(share_work, |t| t.expected_hashes());
        Self { name: format!("sim.rig-{number:04}"), seed, hashrate, target, share_work }
    }
}

/// Looks random, and is the same every time (the finalizer of SplitMix64).
pub(super) const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Evenly spread, above 0 and at most 1.
pub(super) fn unit(random: u64) -> f64 {
    ((random >> 32) + 1) as f64 / (1_u64 << 32) as f64
}

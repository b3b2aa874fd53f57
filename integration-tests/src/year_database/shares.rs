//! The shares of a worker in a minute, and their sums.

use super::plan::{SHARES_PER_MINUTE, Worker, mixed, unit};

/// Reasons that occur here, by their number in the history: stale, difficulty too low, duplicate.
pub(super) const REASONS: [u8; 3] = [3, 5, 6];
/// Minutes in 1,024 with a rejected share: one share in a thousand.
const REJECTED: u64 = 6;

/// Sums of accepted and rejected shares.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) accepted: u32,
    /// In the order of [`REASONS`].
    pub(super) rejected: [u32; REASONS.len()],
    pub(super) work: f64,
    pub(super) work_squared: f64,
    pub(super) best: f64,
}

impl Shares {
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        for (sum, count) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += count;
        }
        self.work += other.work;
        self.work_squared += other.work_squared;
        self.best = self.best.max(other.best);
    }

    pub(super) fn rejected(&self) -> u32 {
        self.rejected.iter().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.accepted == 0 && self.rejected() == 0
    }
}

/// Counts of a Poisson distribution, by chance.
pub(super) struct Counts([u8; 256]);

impl Counts {
    pub(super) fn new() -> Self {
        let (mut counts, mut count, mut probability) = ([0; 256], 0_u8, (-SHARES_PER_MINUTE).exp());
        let mut below = probability;
        for (place, entry) in counts.iter_mut().enumerate() {
            while (place as f64 + 0.5) / 256.0 > below {
                count += 1;
                probability *= SHARES_PER_MINUTE / f64::from(count);
                below += probability;
            }
            *entry = count;
        }
        Self(counts)
    }

    /// Everything of a minute.
    #[inline]
    pub(super) fn of_minute(&self, worker: &Worker, minute: u32) -> Shares {
        let chance = mixed(worker.seed.wrapping_add(u64::from(minute)));
        let accepted = u32::from(self.0[(chance & 0xff) as usize]);
        let mut shares = Shares { accepted, ..Shares::default() };
        if (chance >> 8) & 0x3ff < REJECTED {
            shares.rejected[((chance >> 18) % REASONS.len() as u64) as usize] = 1;
        }
        if accepted > 0 {
            shares.work = worker.share_work * f64::from(accepted);
            shares.work_squared = worker.share_work * shares.work;
            // The best of n even chances is about n times as good as one.
            shares.best = shares.work / unit(chance);
        }
        shares
    }

    /// The part of a minute that belongs to one of its six ten-second buckets; together they are the minute.
    pub(super) fn of_ten_seconds(&self, worker: &Worker, minute: u32, sixth: u32) -> Shares {
        let whole = self.of_minute(worker, minute);
        let up_to = |sixth: u32| whole.accepted * sixth / 6;
        let accepted = up_to(sixth + 1) - up_to(sixth);
        let mut part = Shares { accepted, ..Shares::default() };
        if accepted > 0 {
            part.work = worker.share_work * f64::from(accepted);
            part.work_squared = worker.share_work * part.work;
            part.best = worker.share_work;
        }
        // The last sixth has a share whenever the minute has one.
        if sixth == 5 {
            part.rejected = whole.rejected;
            part.best = whole.best;
        }
        part
    }
}

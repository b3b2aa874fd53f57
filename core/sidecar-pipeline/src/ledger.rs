//! The account of one sink since start (delivery rule 27): appended = delivered + filtered + dead-lettered +
//! expired{reason} + pending. What was appended and what is pending come from the journal's cumulative counts, the rest
//! is counted by the driver, so the two sides check each other.

use serde::Serialize;

/// Why events went past a sink undelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// The journal's retention took them before the sink did.
    BehindRetention,
    /// The sink's retry budget was used up.
    RetryBudget,
    /// The journal's record of them is damaged (delivery rule 19).
    Damaged,
}

impl Expiry {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::BehindRetention, Self::RetryBudget, Self::Damaged];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BehindRetention => "behind-retention",
            Self::RetryBudget => "retry-budget",
            Self::Damaged => "damaged",
        }
    }
}

/// What became of the events of one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    pub(crate) dead_lettered: u64,
    /// Given up because the retry budget was used up.
    pub(crate) given_up: u64,
    /// Missing between the batch's records.
    pub(crate) damaged: u64,
}

/// The running account. All places are cumulative event counts of the journal.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Where the sink stood at start.
    base: u64,
    /// Where it stands.
    position: u64,
    /// Events that the sink's own store forgot and takes again: they count as appended once more.
    taken_again: u64,
    settled: Settled,
    behind_retention: u64,
}

impl Ledger {
    /// Begins a new account at this place.
    pub(crate) fn begin(&mut self, position: u64) {
        *self = Self { base: position, position, ..Self::default() };
    }

    /// Whether nothing was booked yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.position == self.base && self.settled == Settled::default() && self.taken_again == 0
    }

    /// The place.
    #[cfg(test)]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Books a batch that ends at `position`.
    pub(crate) fn settle(&mut self, batch: Settled, position: u64) {
        self.settled.delivered += batch.delivered;
        self.settled.filtered += batch.filtered;
        self.settled.dead_lettered += batch.dead_lettered;
        self.settled.given_up += batch.given_up;
        self.settled.damaged += batch.damaged;
        self.position = position;
    }

    /// Books as expired what lies between here and `position`, where the journal begins now.
    pub(crate) fn expire_to(&mut self, position: u64) -> u64 {
        let expired = position.saturating_sub(self.position);
        self.behind_retention += expired;
        self.position += expired;
        expired
    }

    /// The sink started again and its own store stands at `position`: what lies behind us it takes again, what lies
    /// before us it has (a delivery that was given up as too slow had succeeded).
    pub(crate) fn resume_at(&mut self, position: u64) {
        self.taken_again += self.position.saturating_sub(position);
        self.settled.delivered += position.saturating_sub(self.position);
        self.position = position;
    }

    /// The account against the journal's head.
    pub(crate) fn snapshot(&self, head: u64) -> LedgerSnapshot {
        LedgerSnapshot {
            appended: head.saturating_sub(self.base) + self.taken_again,
            delivered: self.settled.delivered,
            filtered: self.settled.filtered,
            dead_lettered: self.settled.dead_lettered,
            expired: Expired {
                behind_retention: self.behind_retention,
                retry_budget: self.settled.given_up,
                damaged: self.settled.damaged,
            },
            pending: head.saturating_sub(self.position),
        }
    }
}

/// Expired events by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expired {
    /// See [`Expiry::BehindRetention`].
    pub behind_retention: u64,
    /// See [`Expiry::RetryBudget`].
    pub retry_budget: u64,
    /// See [`Expiry::Damaged`].
    pub damaged: u64,
}

impl Expired {
    /// The count for one reason.
    #[must_use]
    pub const fn count(&self, reason: Expiry) -> u64 {
        match reason {
            Expiry::BehindRetention => self.behind_retention,
            Expiry::RetryBudget => self.retry_budget,
            Expiry::Damaged => self.damaged,
        }
    }
}

/// A sink's account at one moment, in events since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerSnapshot {
    /// Came into the journal for this sink.
    pub appended: u64,
    /// Are durable at the sink.
    pub delivered: u64,
    /// Are left out by the sink's route.
    pub filtered: u64,
    /// Can never succeed and are kept as dead letters.
    pub dead_lettered: u64,
    /// Went past the sink.
    pub expired: Expired,
    /// Are still to come.
    pub pending: u64,
}

impl LedgerSnapshot {
    /// What the account leaves unexplained; anything but 0 is a bug.
    #[must_use]
    pub const fn difference(&self) -> i128 {
        let explained = self.delivered as i128
            + self.filtered as i128
            + self.dead_lettered as i128
            + self.expired.behind_retention as i128
            + self.expired.retry_budget as i128
            + self.expired.damaged as i128
            + self.pending as i128;
        self.appended as i128 - explained
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(u16),
        /// Thousandths of the pending events, and how they divide.
        Settle(u16, u16, u16, u16),
        Expire(u16),
        Resume(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u16>().prop_map(Step::Append),
            (0_u16..=1000, 0_u16..=1000, 0_u16..=1000, 0_u16..=1000)
                .prop_map(|(part, a, b, c)| Step::Settle(part, a, b, c)),
            (0_u16..=1000).prop_map(Step::Expire),
            any::<u32>().prop_map(Step::Resume),
        ]
    }

    fn part(of: u64, thousandths: u16) -> u64 {
        of * u64::from(thousandths) / 1000
    }

    proptest! {
        #[test]
        fn nothing_is_unexplained(base in 0_u64..1 << 40, steps in proptest::collection::vec(step(), 0..60)) {
            let (mut ledger, mut head) = (Ledger::default(), base);
            ledger.begin(base);
            for step in steps {
                let pending = head - ledger.position();
                match step {
                    Step::Append(count) => head += u64::from(count),
                    Step::Settle(taken, filtered, dead, given_up) => {
                        let total = part(pending, taken);
                        let filtered = part(total, filtered);
                        let dead_lettered = part(total - filtered, dead);
                        let given_up = part(total - filtered - dead_lettered, given_up);
                        let delivered = total - filtered - dead_lettered - given_up;
                        let position = ledger.position() + total;
                        ledger.settle(Settled { delivered, filtered, dead_lettered, given_up, damaged: 0 }, position);
                    }
                    Step::Expire(taken) => {
                        let expected = part(pending, taken);
                        let expired = ledger.expire_to(ledger.position() + expected);
                        prop_assert_eq!(expired, expected);
                    }
                    Step::Resume(place) => ledger.resume_at(u64::from(place) % (head + 1)),
                }
                let snapshot = ledger.snapshot(head);
                prop_assert_eq!(snapshot.difference(), 0, "{:?}", snapshot);
                prop_assert_eq!(snapshot.pending, head - ledger.position());
            }
        }
    }

    #[test]
    fn a_miscounted_batch_shows() {
        let mut ledger = Ledger::default();
        ledger.begin(10);
        ledger.settle(Settled { delivered: 4, ..Settled::default() }, 15);
        assert_eq!(ledger.snapshot(15).difference(), 1);
    }
}

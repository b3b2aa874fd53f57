//! Which share hashes are known: those with a quote on its way and those whose quote has ended, so that no share gets two
//! quotes and no answer counts twice (delivery rule 32).
//!
//! Written by the host's threads and the hub's. Divided into shards, each behind its own lock, which is held for one look
//! into a map; a lock in the way is then rare, and so is a map that must be arranged anew.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ehash::ShareHash;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Ended hashes that are remembered.
pub(crate) const ENDED_LIMIT: usize = 65_536;

/// How long an ended hash is remembered.
pub(crate) const ENDED_FOR: Duration = Duration::from_secs(60 * 60);

/// A power of two, so that one byte of the hash chooses evenly.
const SHARDS: usize = 16;

/// How a quote ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With this id, by its fingerprint.
    Answered(u64),
    /// The mint said an error.
    Refused,
    /// No answer came in time.
    TimedOut,
    /// It was never sent, or given up on closing.
    Rejected,
}

/// What is known of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its quote is in the queue, not yet with the hub.
    Queued,
    /// The hub has it under this number.
    Pending(u64),
    /// Its quote has ended.
    Ended(Ending),
}

#[derive(Debug)]
struct Shard {
    known: FxHashMap<ShareHash, Known>,
    /// Ended hashes, oldest first.
    ended: VecDeque<(ShareHash, Instant)>,
}

#[derive(Debug)]
pub(crate) struct QuoteBook {
    shards: Box<[Mutex<Shard>]>,
    ended_limit: usize,
}

impl QuoteBook {
    /// Room for so many quotes that have not ended. The memory is asked for at once and touched as it is used, so that
    /// `begin` does not allocate.
    pub(crate) fn new(open: usize) -> Self {
        Self::with_ended_limit(open, ENDED_LIMIT)
    }

    fn with_ended_limit(open: usize, ended: usize) -> Self {
        let ended_limit = ended.div_ceil(SHARDS);
        let shard = || {
            // A quarter more than the mean: hashes do not spread evenly.
            let known = (open / SHARDS + ended_limit) / 4 * 5 + 8;
            Mutex::new(Shard {
                known: FxHashMap::with_capacity_and_hasher(known, Default::default()),
                ended: VecDeque::with_capacity(ended_limit + 1),
            })
        };
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), ended_limit }
    }

    /// Notes a new quote; `false` if the hash is known already.
    pub(crate) fn begin(&self, hash: ShareHash) -> bool {
        match self.shard(&hash).known.entry(hash) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Known::Queued);
                true
            }
        }
    }

    /// The hub has the quote now.
    pub(crate) fn place(&self, hash: ShareHash, number: u64) {
        self.shard(&hash).known.insert(hash, Known::Pending(number));
    }

    pub(crate) fn look_up(&self, hash: ShareHash) -> Option<Known> {
        self.shard(&hash).known.get(&hash).copied()
    }

    /// Notes the end of a quote that began, and forgets ended ones above the limit.
    pub(crate) fn end(&self, hash: ShareHash, ending: Ending, now: Instant) {
        let mut shard = self.shard(&hash);
        let was = shard.known.insert(hash, Known::Ended(ending));
        debug_assert!(matches!(was, Some(Known::Queued | Known::Pending(_))), "a quote ends once: {was:?}");
        shard.ended.push_back((hash, now));
        if shard.ended.len() > self.ended_limit {
            forget_oldest(&mut shard);
        }
    }

    /// Forgets ended hashes that are too old. Called now and then by the hub.
    pub(crate) fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            while shard.ended.front().is_some_and(|(_, at)| now.duration_since(*at) >= ENDED_FOR) {
                forget_oldest(&mut shard);
            }
        }
    }

    fn shard(&self, hash: &ShareHash) -> MutexGuard<'_, Shard> {
        // The first byte in digest order is the least significant one: evenly spread, also for shares with many zeros.
        lock(&self.shards[usize::from(hash.to_digest_bytes()[0]) % SHARDS])
    }
}

/// Tells two ids apart, without keeping them: 64 bits, so that of two ids that differ one in 10^19 passes for the same.
pub(crate) fn fingerprint(quote_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    quote_id.hash(&mut hasher);
    hasher.finish()
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // No code under this lock can leave a shard half changed.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget_oldest(shard: &mut Shard) {
    if let Some((hash, _)) = shard.ended.pop_front() {
        shard.known.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u16) -> ShareHash {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        ShareHash::from_digest_bytes(bytes)
    }

    #[test]
    fn a_hash_begins_once_until_it_is_forgotten() {
        let book = QuoteBook::with_ended_limit(16, SHARDS);
        let now = Instant::now();
        assert!(book.begin(hash(1)));
        assert!(!book.begin(hash(1)));
        book.place(hash(1), 7);
        assert_eq!(book.look_up(hash(1)), Some(Known::Pending(7)));
        assert!(!book.begin(hash(1)));
        book.end(hash(1), Ending::TimedOut, now);
        assert_eq!(book.look_up(hash(1)), Some(Known::Ended(Ending::TimedOut)));
        assert!(!book.begin(hash(1)));
        book.expire(now + ENDED_FOR - Duration::from_secs(1));
        assert!(!book.begin(hash(1)), "remembered for an hour");
        book.expire(now + ENDED_FOR);
        assert_eq!(book.look_up(hash(1)), None);
        assert!(book.begin(hash(1)));
    }

    #[test]
    fn only_ended_hashes_are_forgotten_oldest_first() {
        let limit = SHARDS * 4;
        let book = QuoteBook::with_ended_limit(16, limit);
        let now = Instant::now();
        assert!(book.begin(hash(0xffff)));
        for number in 0..1000 {
            assert!(book.begin(hash(number)));
            book.end(hash(number), Ending::Refused, now);
        }
        let remembered: Vec<u16> = (0..1000).filter(|number| book.look_up(hash(*number)).is_some()).collect();
        assert_eq!(remembered, (1000 - limit as u16..1000).collect::<Vec<_>>());
        assert_eq!(book.look_up(hash(0xffff)), Some(Known::Queued));
    }

    #[test]
    fn ids_have_fingerprints() {
        assert_eq!(fingerprint("a"), fingerprint("a"));
        assert_ne!(fingerprint("a"), fingerprint("b"));
    }
}

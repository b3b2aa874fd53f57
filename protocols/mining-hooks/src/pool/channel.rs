//! What the hooks remember of a channel: whose it is, which targets it was given, and how much work was credited to it.

use std::collections::VecDeque;
use std::sync::Arc;

use stats_publisher::CompactTarget;

use crate::target;

/// Targets remembered of a channel. Pools keep about ten jobs of a channel, and each has one target.
const KEPT_TARGETS: usize = 32;
/// How far the difficulty that was credited may lie from a target's own, besides the rounding of sums.
const SAME_DIFFICULTY: f64 = 1e-6;

/// A target that a channel was given.
#[derive(Debug, Clone, Copy)]
struct Given {
    target: [u8; 32],
    compact: CompactTarget,
    difficulty: f64,
}

impl Given {
    fn new(target: [u8; 32]) -> Self {
        Self { target, compact: target::compact(&target), difficulty: target::difficulty(&target) }
    }
}

/// An open channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) user_identity: Arc<str>,
    /// Never empty, the latest last.
    given: VecDeque<Given>,
    /// The pool's own sum of difficulties after the latest accepted share.
    credited: f64,
}

impl Channel {
    pub(super) fn new(user_identity: &str, target: [u8; 32]) -> Self {
        Self { user_identity: user_identity.into(), given: VecDeque::from([Given::new(target)]), credited: 0.0 }
    }

    /// The compact form of a target that the channel did not have before; `None` if it is the latest anyway.
    pub(super) fn change_target(&mut self, target: [u8; 32]) -> Option<CompactTarget> {
        if self.given.back().is_some_and(|latest| latest.target == target) {
            return None;
        }
        if self.given.len() == KEPT_TARGETS {
            self.given.pop_front();
        }
        let given = Given::new(target);
        self.given.push_back(given);
        Some(given.compact)
    }

    /// The target of the job that a share was for, told by the difficulty that the pool credited: a job keeps the target
    /// with which it was given out, so after a change the channel's latest is the wrong one for a while.
    pub(super) fn credit(&mut self, sum: f64) -> CompactTarget {
        let credited = sum - self.credited;
        self.credited = sum;
        let latest = self.given.back().map_or(CompactTarget(0), |given| given.compact);
        if !(credited > 0.0 && credited.is_finite()) {
            return latest;
        }
        let distance = |given: &Given| (given.difficulty / credited - 1.0).abs();
        // The sum was rounded twice, each time by half of its last place.
        let tolerance = SAME_DIFFICULTY + 2.0 * f64::EPSILON * sum / credited;
        let nearest = self.given.iter().rev().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        match nearest {
            Some(given) if distance(given) <= tolerance => given.compact,
            // Older than what is remembered: good to a millionth, which is better than another target.
            _ => target::compact(&target::from_difficulty(credited)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A target between those of a terahash and of an exahash a second, at some shares a minute.
    fn any_target() -> impl Strategy<Value = [u8; 32]> {
        (10.0..35.0_f64).prop_map(|bits| target::from_difficulty(bits.exp2()))
    }

    proptest! {
        /// Against the pool's own way: each job keeps its target, and the difficulties are added up.
        #[test]
        fn each_share_gets_the_target_of_its_job(
            first in any_target(),
            before in 0.0..1e6_f64,
            steps in prop::collection::vec((any_target(), 0..KEPT_TARGETS, 1..20_u32), 1..60),
        ) {
            let mut channel = Channel::new("alice", first);
            let mut sum = before * target::difficulty(&first);
            channel.credit(sum);
            let mut targets = vec![first];
            for (next, back, shares) in steps {
                let changed = channel.change_target(next);
                prop_assert_eq!(changed, (targets.last() != Some(&next)).then(|| target::compact(&next)));
                if changed.is_some() {
                    targets.push(next);
                }
                let job = targets[targets.len() - 1 - back.min(targets.len() - 1)];
                for _ in 0..shares {
                    let added = target::difficulty(&job);
                    // Below this the sum does not tell one share from another target's.
                    if added < sum * 1e-9 {
                        break;
                    }
                    sum += added;
                    let found = channel.credit(sum);
                    // Two targets so near that the tolerance holds both are as good as one.
                    let twin = targets.iter().any(|t| target::compact(t) == found && (target::difficulty(t) / added - 1.0).abs() < 1e-5);
                    prop_assert!(found == target::compact(&job) || twin, "{found:?}");
                }
            }
        }
    }

    #[test]
    fn a_forgotten_target_is_told_by_its_difficulty() {
        let target_of = |difficulty| target::from_difficulty(difficulty);
        let mut channel = Channel::new("alice", target_of(1000.0));
        for change in 1..=KEPT_TARGETS {
            assert!(channel.change_target(target_of(change as f64)).is_some());
        }
        assert_eq!(channel.credit(1000.0), target::compact(&target_of(1000.0)));
        assert_eq!(channel.credit(1003.0), target::compact(&target_of(3.0)));
    }

    #[test]
    fn a_sum_that_does_not_grow_tells_nothing() {
        let mut channel = Channel::new("alice", [0xff; 32]);
        for sum in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(channel.credit(sum), target::compact(&[0xff; 32]), "{sum}");
        }
    }
}

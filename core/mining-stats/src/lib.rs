//! Mining arithmetic without I/O and without a clock: targets and work, hashrate with its interval, the live average,
//! additive buckets and their tiers, spans of observed time, luck, and how the numbers are written for people.
//!
//! Three quantities are easily confused and therefore have types of their own: a [`Target`] (256-bit threshold), the
//! [`Work`] to reach it (expected hashes, what Stratum V2 programs call difficulty), and an [`Sv1Difficulty`]
//! (`T1 / target`, what SV1 calls difficulty). They differ by factors of 2^32; conversions are named.
#![forbid(unsafe_code)]

pub mod difficulty;
pub mod hashrate;
pub mod live;
pub mod luck;
pub mod poisson;
pub mod reading;
pub mod reject;
pub mod spans;
pub mod sums;
pub mod target;
pub mod text;
pub mod tier;
pub mod work;

pub use difficulty::{HASHES_PER_DIFFICULTY, Sv1Difficulty};
pub use hashrate::{Estimate, Hashrate, Sample};
pub use live::LiveRate;
pub use reading::Reading;
pub use reject::RejectReason;
pub use spans::Spans;
pub use sums::Sums;
pub use target::{ShareCredit, Target, TargetBounds, TargetError};
pub use tier::{Step, Tier};
pub use work::Work;

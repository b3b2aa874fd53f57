//! Reject reasons, folded into the known SV2 codes: names from the network never become categories of their own.

use serde::Serialize;

/// Why a share was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum RejectReason {
    /// Any other code.
    Unknown = 0,
    /// The channel does not exist.
    InvalidChannelId = 1,
    /// The share is wrong in a way that has no code of its own.
    InvalidShare = 2,
    /// The job was replaced before the share came.
    StaleShare = 3,
    /// The job does not exist.
    InvalidJobId = 4,
    /// The hash misses the target.
    DifficultyTooLow = 5,
    /// The share came before.
    DuplicateShare = 6,
    /// The extranonce has the wrong length.
    BadExtranonceSize = 7,
    /// Version rolling was not agreed on.
    VersionRollingNotAllowed = 8,
    /// A version bit was set that may not be rolled.
    InvalidNonRollableVersionBit = 9,
}

impl RejectReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Unknown,
        Self::InvalidChannelId,
        Self::InvalidShare,
        Self::StaleShare,
        Self::InvalidJobId,
        Self::DifficultyTooLow,
        Self::DuplicateShare,
        Self::BadExtranonceSize,
        Self::VersionRollingNotAllowed,
        Self::InvalidNonRollableVersionBit,
    ];

    /// Folds an SV2 error code of `SubmitShares.Error`.
    #[must_use]
    pub fn fold(error_code: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.code() == error_code).unwrap_or(Self::Unknown)
    }

    /// The SV2 error code, or `unknown`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InvalidChannelId => "invalid-channel-id",
            Self::InvalidShare => "invalid-share",
            Self::StaleShare => "stale-share",
            Self::InvalidJobId => "invalid-job-id",
            Self::DifficultyTooLow => "difficulty-too-low",
            Self::DuplicateShare => "duplicate-share",
            Self::BadExtranonceSize => "bad-extranonce-size",
            Self::VersionRollingNotAllowed => "version-rolling-not-allowed",
            Self::InvalidNonRollableVersionBit => "invalid-non-rollable-version-bit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_fold_to_themselves_and_all_else_to_unknown() {
        for (number, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(RejectReason::fold(reason.code()), reason);
            assert_eq!(reason as usize, number);
        }
        for other in ["", "STALE-SHARE", "stale-share ", "<b>stale-share</b>"] {
            assert_eq!(RejectReason::fold(other), RejectReason::Unknown, "{other}");
        }
    }
}

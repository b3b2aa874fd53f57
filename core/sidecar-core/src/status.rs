//! The states of a component and which may follow which.

use std::fmt;

/// Where a component stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not yet ready.
    Starting,
    /// Working.
    Healthy,
    /// The last attempt failed; another follows.
    Retrying,
    /// It cannot work until somebody changes something.
    Failed,
    /// Asked to stop, finishing.
    Stopping,
    /// Stopped.
    Stopped,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Healthy, Self::Retrying, Self::Failed, Self::Stopping, Self::Stopped];

    /// The name in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a component may go from here to `next`: once stopping it only stops, and stopped only starts.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Starting | Self::Healthy | Self::Retrying | Self::Failed => true,
            Self::Stopping => matches!(next, Self::Stopping | Self::Stopped),
            Self::Stopped => matches!(next, Self::Stopped | Self::Starting),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an acknowledgement or a delivery promises to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Loss of power: every commit is synced to the disk.
    #[default]
    Power,
    /// Death of the process: what the operating system holds is kept, loss of power may take the last seconds.
    Process,
}

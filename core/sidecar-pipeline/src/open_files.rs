//! Raises the process's limit of open files (delivery rule 38): each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit as far as the hard limit allows, towards `needed`. Returns the limit in force; `None` means
/// without limit. A limit that is already high enough is left alone.
pub fn raise_open_files(needed: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    if current >= needed {
        return Some(current);
    }
    let raised = limit.maximum.map_or(needed, |hard| needed.min(hard));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => {
            tracing::debug!(from = current, to = raised, "raised the limit of open files");
            Some(raised)
        }
        Err(error) => {
            tracing::warn!(%error, current, needed, "the limit of open files cannot be raised");
            Some(current)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_follows_up_to_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let (Some(soft), hard) = (before.current, before.maximum) else { return };
        let wanted = hard.map_or(soft + 1, |hard| hard.min(soft + 1));
        assert_eq!(raise_open_files(soft + 1), Some(wanted));
        assert_eq!(getrlimit(Resource::Nofile).current, Some(wanted));
        assert_eq!(raise_open_files(1), Some(wanted), "it is never lowered");
    }
}

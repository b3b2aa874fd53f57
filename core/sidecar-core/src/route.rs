//! Which events a sink wants: kinds by glob, sources by glob.

use std::fmt;

use stats_sv2::EventKind;

/// A set of event kinds, unknown ones included: one bit for each message type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KindSet([u64; 4]);

impl KindSet {
    /// Every kind, known or not, other than those that only stand in for something (Malformed).
    pub const ALL: Self = Self([u64::MAX; 4]).without(EventKind::Malformed);

    /// No kind.
    pub const NONE: Self = Self([0; 4]);

    /// Whether events of this message type are wanted.
    #[inline]
    #[must_use]
    pub const fn contains(&self, msg_type: u8) -> bool {
        self.0[(msg_type >> 6) as usize] & (1 << (msg_type & 63)) != 0
    }

    /// The set and one more kind.
    #[must_use]
    pub const fn with(mut self, kind: EventKind) -> Self {
        let msg_type = kind.msg_type();
        self.0[(msg_type >> 6) as usize] |= 1 << (msg_type & 63);
        self
    }

    /// The set and one kind less.
    #[must_use]
    pub const fn without(mut self, kind: EventKind) -> Self {
        let msg_type = kind.msg_type();
        self.0[(msg_type >> 6) as usize] &= !(1 << (msg_type & 63));
        self
    }

    /// The known kinds whose names match one of the globs, such as `block_found` or `alert_*`; `*` takes unknown kinds
    /// too. The error is the first glob that matches no kind.
    pub fn from_globs<'g>(globs: impl IntoIterator<Item = &'g str>) -> Result<Self, &'g str> {
        let mut set = Self::NONE;
        for glob in globs {
            if glob == "*" {
                set = Self([u64::MAX; 4]).without(EventKind::Malformed);
                continue;
            }
            let before = set;
            let mut matched = false;
            for kind in EventKind::ALL {
                if glob_matches(glob, kind.name()) {
                    set = set.with(*kind);
                    matched = true;
                }
            }
            if !matched {
                debug_assert!(before == set);
                return Err(glob);
            }
        }
        Ok(set)
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(EventKind::ALL.iter().filter(|kind| self.contains(kind.msg_type())).map(|kind| kind.name()))
            .finish()
    }
}

/// Which events reach a sink. What does not is counted as filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The wanted kinds.
    pub kinds: KindSet,
    /// Globs over publisher names; empty means all.
    pub sources: Vec<String>,
}

impl Route {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { kinds: KindSet::ALL, sources: Vec::new() }
    }

    /// Whether events of this publisher are wanted at all.
    #[must_use]
    pub fn wants_source(&self, publisher: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|glob| glob_matches(glob, publisher))
    }
}

/// Whether `text` matches `glob`, in which `*` stands for any run of characters and `?` for one.
#[must_use]
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // Where to resume after the last star: the text position grows by one each time the rest does not match.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == '*' {
            resume = Some((g + 1, t));
            g += 1;
        } else if g < glob.len() && (glob[g] == '?' || glob[g] == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after_star, from)) = resume {
            g = after_star;
            t = from + 1;
            resume = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("pool-*", "pool-eu-1", true),
            ("pool-*", "proxy-1", false),
            ("*share*", "miner_share_rejected", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?b", "ab", true),
            ("?b", "b", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} on {text}");
        }
    }

    #[test]
    fn kinds_by_glob() {
        let set = KindSet::from_globs(["quote_*", "block_found"]).unwrap();
        assert!(set.contains(EventKind::QuotePaid.msg_type()) && set.contains(EventKind::BlockFound.msg_type()));
        assert!(!set.contains(EventKind::ShareSubmitted.msg_type()));
        assert_eq!(KindSet::from_globs(["qoute_*"]), Err("qoute_*"));
        assert!(KindSet::from_globs(["*"]).unwrap().contains(0xf0), "unknown kinds are part of everything");
        assert!(!KindSet::ALL.contains(EventKind::Malformed.msg_type()));
    }
}

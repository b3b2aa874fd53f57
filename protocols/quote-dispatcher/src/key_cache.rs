//! The locking keys of user identities. Whether bytes are a point of the curve takes microseconds to find out, too long to
//! do for every share.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use ehash::{LockingKey, LockingKeyError};

/// Identities that are remembered. When there are more, all are forgotten and learned anew: simple, and no miner can make
/// it happen faster than by one accepted share for each identity.
const LIMIT: usize = 16_384;

#[derive(Debug)]
pub(crate) struct KeyCache {
    default: Option<LockingKey>,
    /// With the standard library's seeded hasher: miners choose these strings, and could choose some that collide under
    /// a hasher that they know.
    keys: RwLock<HashMap<Box<str>, Result<LockingKey, LockingKeyError>>>,
}

impl KeyCache {
    pub(crate) fn new(default: Option<LockingKey>) -> Self {
        Self { default, keys: RwLock::default() }
    }

    /// What [`LockingKey::for_channel`] says; allocates for an identity's first share only.
    pub(crate) fn get(&self, user_identity: &str) -> Result<LockingKey, LockingKeyError> {
        if let Some(key) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(user_identity) {
            return key.clone();
        }
        let key = LockingKey::for_channel(user_identity, self.default);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= LIMIT {
            keys.clear();
        }
        keys.insert(user_identity.into(), key.clone());
        key
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn nobody_outside_knows_which_identities_collide() {
        let hash = || KeyCache::new(None).keys.read().unwrap().hasher().hash_one("alice.rig1");
        assert_ne!(hash(), hash());
    }

    #[test]
    fn answers_are_the_same_from_memory_and_memory_is_bounded() {
        let key: LockingKey = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
        let cache = KeyCache::new(None);
        for _ in 0..2 {
            assert_eq!(cache.get(&format!("{key}.a")), Ok(key));
            assert_eq!(cache.get("a"), Err(LockingKeyError::Missing));
        }
        for number in 0..2 * LIMIT {
            assert_eq!(cache.get(&number.to_string()), Err(LockingKeyError::Missing));
        }
        assert!(cache.keys.read().unwrap().len() <= LIMIT);
        assert_eq!(cache.get(&format!("{key}.a")), Ok(key));
    }
}

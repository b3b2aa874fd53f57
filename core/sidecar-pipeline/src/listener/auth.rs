//! Tokens, each bound to the publisher names that it is good for.

use std::fmt;

use sidecar_core::route::glob_matches;
use subtle::{Choice, ConstantTimeEq};

/// A shared secret. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the secret text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One token and what it is good for.
#[derive(Debug, Clone)]
pub struct TokenRule {
    /// The token.
    pub secret: Secret,
    /// Globs over publisher names; empty means every name.
    pub publishers: Vec<String>,
}

/// Who may publish under which name. Without tokens everybody may.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// The tokens.
    pub tokens: Vec<TokenRule>,
}

impl Auth {
    /// Whether the holder of this token may publish under this name. Takes the same time whichever token is right, and
    /// wherever a wrong one differs.
    #[must_use]
    pub fn allows(&self, token: &str, publisher: &str) -> bool {
        if self.tokens.is_empty() {
            return true;
        }
        let allowed = self.tokens.iter().fold(Choice::from(0), |allowed, rule| {
            let named = rule.publishers.is_empty() || rule.publishers.iter().any(|glob| glob_matches(glob, publisher));
            allowed | (rule.secret.0.ct_eq(token.as_bytes()) & Choice::from(u8::from(named)))
        });
        allowed.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bound_to_names() {
        let auth = Auth {
            tokens: vec![
                TokenRule { secret: Secret::new("eu"), publishers: vec!["pool-eu-*".to_owned(), "mint".to_owned()] },
                TokenRule { secret: Secret::new("any"), publishers: Vec::new() },
            ],
        };
        for (token, publisher, expected) in [
            ("eu", "pool-eu-1", true),
            ("eu", "mint", true),
            ("eu", "pool-us-1", false),
            ("any", "pool-us-1", true),
            ("an", "pool-eu-1", false),
            ("", "pool-eu-1", false),
            ("EU", "pool-eu-1", false),
        ] {
            assert_eq!(auth.allows(token, publisher), expected, "{token} for {publisher}");
        }
        assert!(Auth::default().allows("", "anybody"));
        assert!(!format!("{auth:?}").contains("any\""));
    }
}

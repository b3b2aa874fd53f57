//! Who may look, how often, and what the answer lets a browser do with it.

pub(crate) mod auth;

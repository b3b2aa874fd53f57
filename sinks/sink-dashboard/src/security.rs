//! Who may look, how often, and what the answer lets a browser do with it.

pub(crate) mod guard;
pub(crate) mod headers;
pub(crate) mod rate;
pub(crate) mod redact;

//! The ways in which a mint can treat a request.

use std::time::Duration;

/// What the mint does with one request. In all of them the quote is created first, except for [`Refuse`](Self::Refuse),
/// so that a repeated request finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manner {
    /// Answers at once.
    #[default]
    Answer,
    /// Answers after a while, and nothing else meanwhile.
    Slow(Duration),
    /// Keeps the answer until [`release`](super::Mint::release).
    Hold,
    /// Never answers.
    Ignore,
    /// Answers twice.
    Twice,
    /// Answers, and then again with another id.
    Differently,
    /// Answers for a hash that nobody asked about, and then as it should.
    UnknownHash,
    /// Answers after the next answer.
    AfterTheNext,
    /// Refuses with an error.
    Refuse,
    /// Sends bytes that are no frame.
    Garbage,
    /// Sends an answer whose payload breaks the layout.
    Malformed,
    /// Sends half of the answer and closes.
    CloseInTheMiddle,
}

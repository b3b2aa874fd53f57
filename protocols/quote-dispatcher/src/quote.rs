//! One quote on its way: the request, the share behind it, and when it began.

use std::time::Duration;

use ehash::{ParsedMintQuoteRequest, QuoteContext, ShareHash};
use stats_sv2::{ChannelId, DownstreamId};
use tokio::time::Instant;

/// Small, since there may be many: the amount of the context is that of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quote {
    pub(crate) request: ParsedMintQuoteRequest,
    pub(crate) downstream_id: DownstreamId,
    pub(crate) channel_id: ChannelId,
    pub(crate) sequence_number: u32,
    pub(crate) submitted: SinceStart,
}

/// A time in half the bytes of an [`Instant`]: nanoseconds since the dispatcher's start, which last 584 years.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SinceStart(u64);

impl SinceStart {
    pub(crate) fn new(start: Instant, now: Instant) -> Self {
        Self(u64::try_from(now.duration_since(start).as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn to_instant(self, start: Instant) -> Instant {
        start + Duration::from_nanos(self.0)
    }
}

impl Quote {
    pub(crate) fn share_hash(&self) -> ShareHash {
        self.request.share_hash()
    }

    pub(crate) fn context(&self) -> QuoteContext {
        QuoteContext {
            downstream_id: self.downstream_id,
            channel_id: self.channel_id,
            sequence_number: self.sequence_number,
            amount: self.request.amount(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_takes_104_bytes() {
        assert!(size_of::<Quote>() <= 104, "{}", size_of::<Quote>());
    }
}

//! The quotes that the hub has and that have not ended: in the order in which they are sent, with what has been sent on
//! the present connection. Decides what an answer means (delivery rules 32 and 33); no I/O, no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ehash::ShareHash;
use tokio::time::Instant;

use crate::book::{Ending, Known, QuoteBook, fingerprint};
use crate::quote::Quote;

/// Ended quotes may keep their place among others that have not ended, up to as many as these and this number.
const SPARE_PLACES: usize = 1024;

#[derive(Debug)]
struct Place {
    number: u64,
    quote: Quote,
    /// Sent on some connection.
    sent: bool,
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct PendingQuotes {
    book: Arc<QuoteBook>,
    limit: usize,
    timeout: Duration,
    start: Instant,
    /// By number, and so nearly by age: numbers are given in the order of the queue. The first one has not ended.
    places: VecDeque<Place>,
    /// Places that have not ended.
    live: usize,
    next_number: u64,
    /// Lower numbers were sent on this connection.
    next_to_send: u64,
    /// The mint's answers on this connection came in order, and each is awaited still or has come.
    in_order: bool,
}

/// What is next on this connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// To be sent.
    Send {
        quote: Quote,
        /// On no connection before.
        first_time: bool,
    },
    /// Its time was over before it could be sent here; it has ended.
    TimedOut(Quote),
}

/// What an answer means.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The first one: the quote has ended with it.
    Answered(Quote),
    /// The same again.
    Duplicate,
    /// Another id than before, or an id after an error.
    Conflict,
    /// After the timeout.
    Late,
    /// No quote has this hash.
    Unknown,
}

impl PendingQuotes {
    pub(crate) fn new(book: Arc<QuoteBook>, limit: usize, timeout: Duration, start: Instant) -> Self {
        Self {
            book,
            limit,
            timeout,
            start,
            places: VecDeque::new(),
            live: 0,
            next_number: 0,
            next_to_send: 0,
            in_order: true,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.live < self.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Takes a quote from the queue.
    pub(crate) fn push(&mut self, quote: Quote) {
        let number = self.next_number;
        self.next_number += 1;
        self.book.place(quote.share_hash(), number);
        self.places.push_back(Place { number, quote, sent: false, ended: false });
        self.live += 1;
    }

    /// The next quote that was not sent on this connection. One that grew too old in the queue, or while there was no
    /// connection, ends here instead: the mint should not make a quote that nobody waits for.
    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<Next> {
        let from = self.places.partition_point(|place| place.number < self.next_to_send);
        let at = from + self.places.range(from..).position(|place| !place.ended)?;
        let is_over = self.is_over(&self.places[at].quote, now);
        let place = &mut self.places[at];
        self.next_to_send = place.number + 1;
        if is_over {
            // Errors can be told apart still: nothing was asked here.
            return Some(Next::TimedOut(self.end(at, Ending::TimedOut, now)));
        }
        let first_time = !std::mem::replace(&mut place.sent, true);
        Some(Next::Send { quote: place.quote, first_time })
    }

    /// Some quote was sent on this connection and has not ended.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.places.front().is_some_and(|place| place.number < self.next_to_send)
    }

    /// A new connection: everything is to be sent again, and its order is not broken yet.
    pub(crate) fn reconnected(&mut self) {
        self.next_to_send = self.places.front().map_or(self.next_number, |place| place.number);
        self.in_order = true;
    }

    /// The mint has a quote for this hash.
    pub(crate) fn answer(&mut self, hash: ShareHash, quote_id: &str, now: Instant) -> Answer {
        let id = fingerprint(quote_id);
        match self.book.look_up(hash) {
            Some(Known::Pending(number)) => {
                let Ok(at) = self.places.binary_search_by_key(&number, |place| place.number) else {
                    debug_assert!(false, "the book names places that are there");
                    return Answer::Unknown;
                };
                // The first place is the oldest that has no answer.
                self.in_order &= at == 0 && self.is_awaiting();
                Answer::Answered(self.end(at, Ending::Answered(id), now))
            }
            Some(Known::Ended(Ending::Answered(first))) if first == id => Answer::Duplicate,
            Some(Known::Ended(Ending::Answered(_) | Ending::Refused)) => Answer::Conflict,
            Some(Known::Ended(Ending::TimedOut)) => Answer::Late,
            Some(Known::Ended(Ending::Rejected) | Known::Queued) | None => Answer::Unknown,
        }
    }

    /// The mint refuses a request: the quote that ends by it, `None` if that cannot be told.
    pub(crate) fn refuse(&mut self, now: Instant) -> Option<Quote> {
        (self.in_order && self.is_awaiting()).then(|| self.end(0, Ending::Refused, now))
    }

    /// Ends the oldest quote if its time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Quote> {
        if !self.is_over(&self.places.front()?.quote, now) {
            return None;
        }
        // The answer to one that was sent may still come, as an error without a hash: from now on errors cannot be told
        // apart.
        self.in_order &= !self.is_awaiting();
        Some(self.end(0, Ending::TimedOut, now))
    }

    /// Ends the oldest quote, answered or not: the hub closes.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<Quote> {
        (!self.places.is_empty()).then(|| self.end(0, Ending::Rejected, now))
    }

    fn is_over(&self, quote: &Quote, now: Instant) -> bool {
        now.duration_since(quote.submitted.to_instant(self.start)) >= self.timeout
    }

    fn end(&mut self, at: usize, ending: Ending, now: Instant) -> Quote {
        let place = &mut self.places[at];
        place.ended = true;
        let quote = place.quote;
        self.book.end(quote.share_hash(), ending, now);
        self.live -= 1;
        while self.places.front().is_some_and(|place| place.ended) {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.live + SPARE_PLACES {
            self.places.retain(|place| !place.ended);
        }
        quote
    }
}

#[cfg(test)]
mod tests;

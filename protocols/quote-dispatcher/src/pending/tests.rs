use ehash::{LockingKey, build_parsed_quote_request};
use proptest::prelude::*;
use stats_sv2::Amount;

use super::*;
use crate::quote::SinceStart;

const TIMEOUT: Duration = Duration::from_millis(100);

fn hash(number: usize) -> ShareHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    ShareHash::from_digest_bytes(bytes)
}

fn quote(number: usize, submitted: SinceStart) -> Quote {
    let key: LockingKey = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    Quote {
        request: build_parsed_quote_request(hash(number), Amount(1), key).unwrap(),
        downstream_id: 1.into(),
        channel_id: 1.into(),
        sequence_number: number as u32,
        submitted,
    }
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Push,
    Send,
    /// An answer to the quote with this number, or to one that there never was, with one of two ids.
    Answer(usize, bool),
    Refuse,
    /// With the hub's look at what is too old, or before it.
    Wait(u64, bool),
    Reconnect,
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Push),
        4 => Just(Action::Send),
        4 => (0..24_usize, any::<bool>()).prop_map(|(number, id)| Action::Answer(number, id)),
        2 => Just(Action::Refuse),
        2 => (0..60_u64, any::<bool>()).prop_map(|(millis, looks)| Action::Wait(millis, looks)),
        1 => Just(Action::Reconnect),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Pending,
    Answered(bool),
    Refused,
    TimedOut,
}

/// The rules in their simplest form: a list of all quotes that ever were.
#[derive(Debug)]
struct Model {
    quotes: Vec<ModelQuote>,
    in_order: bool,
    now: u64,
}

#[derive(Debug)]
struct ModelQuote {
    state: State,
    at: u64,
    ever_sent: bool,
    sent_here: bool,
}

impl Model {
    fn oldest(&self) -> Option<usize> {
        self.quotes.iter().position(|quote| quote.state == State::Pending)
    }

    /// The next one, and whether it is sent for the first time: `None` for one that times out instead.
    fn send(&mut self) -> Option<(usize, Option<bool>)> {
        let next = self.quotes.iter().position(|quote| quote.state == State::Pending && !quote.sent_here)?;
        let quote = &mut self.quotes[next];
        if self.now - quote.at >= TIMEOUT.as_millis() as u64 {
            quote.state = State::TimedOut;
            return Some((next, None));
        }
        quote.sent_here = true;
        Some((next, Some(!std::mem::replace(&mut quote.ever_sent, true))))
    }

    fn answer(&mut self, number: usize, id: bool) -> &'static str {
        let oldest = self.oldest();
        let Some(quote) = self.quotes.get_mut(number) else { return "unknown" };
        match quote.state {
            State::Pending => {
                self.in_order &= oldest == Some(number) && quote.sent_here;
                quote.state = State::Answered(id);
                "answered"
            }
            State::Answered(first) if first == id => "duplicate",
            State::Answered(_) | State::Refused => "conflict",
            State::TimedOut => "late",
        }
    }

    fn refuse(&mut self) -> Option<usize> {
        let oldest = self.oldest()?;
        let is_told = self.in_order && self.quotes[oldest].sent_here;
        is_told.then(|| {
            self.quotes[oldest].state = State::Refused;
            oldest
        })
    }

    fn expire(&mut self) -> Option<usize> {
        let oldest = self.oldest()?;
        let quote = &mut self.quotes[oldest];
        if self.now - quote.at < TIMEOUT.as_millis() as u64 {
            return None;
        }
        quote.state = State::TimedOut;
        self.in_order &= !quote.sent_here;
        Some(oldest)
    }
}

proptest! {
    #[test]
    fn it_does_what_the_rules_say_and_every_quote_ends_once(actions in proptest::collection::vec(any_action(), 0..120)) {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let book = Arc::new(QuoteBook::new(128));
        let mut pending = PendingQuotes::new(book.clone(), 1000, TIMEOUT, at(0));
        let mut model = Model { quotes: Vec::new(), in_order: true, now: 0 };
        let mut ended = 0;
        for action in actions {
            let now = at(model.now);
            match action {
                Action::Push => {
                    let number = model.quotes.len();
                    prop_assert!(book.begin(hash(number)));
                    pending.push(quote(number, SinceStart::new(at(0), now)));
                    model.quotes.push(ModelQuote { state: State::Pending, at: model.now, ever_sent: false, sent_here: false });
                }
                Action::Send => {
                    let sent = pending.next_to_send(now).map(|next| match next {
                        Next::Send { quote, first_time } => (quote.sequence_number as usize, Some(first_time)),
                        Next::TimedOut(quote) => (quote.sequence_number as usize, None),
                    });
                    prop_assert_eq!(sent, model.send());
                    ended += usize::from(matches!(sent, Some((_, None))));
                }
                Action::Answer(number, id) => {
                    let answer = match pending.answer(hash(number), if id { "a" } else { "b" }, now) {
                        Answer::Answered(quote) => {
                            prop_assert_eq!(quote.sequence_number as usize, number);
                            ended += 1;
                            "answered"
                        }
                        Answer::Duplicate => "duplicate",
                        Answer::Conflict => "conflict",
                        Answer::Late => "late",
                        Answer::Unknown => "unknown",
                    };
                    prop_assert_eq!(answer, model.answer(number, id));
                }
                Action::Refuse => {
                    let refused = pending.refuse(now).map(|quote| quote.sequence_number as usize);
                    prop_assert_eq!(refused, model.refuse());
                    ended += usize::from(refused.is_some());
                }
                Action::Wait(millis, looks) => {
                    model.now += millis;
                    if looks {
                        loop {
                            let expired = pending.expire(at(model.now));
                            let expired = expired.map(|quote| quote.sequence_number as usize);
                            prop_assert_eq!(expired, model.expire());
                            if expired.is_none() { break }
                            ended += 1;
                        }
                    }
                }
                Action::Reconnect => {
                    pending.reconnected();
                    model.in_order = true;
                    model.quotes.iter_mut().for_each(|quote| quote.sent_here = false);
                }
            }
            prop_assert_eq!(pending.is_empty(), model.oldest().is_none());
            prop_assert_eq!(pending.is_awaiting(), model.oldest().is_some_and(|oldest| model.quotes[oldest].sent_here));
        }
        while let Some(quote) = pending.give_up(at(model.now)) {
            prop_assert_eq!(Some(quote.sequence_number as usize), model.oldest());
            model.quotes[quote.sequence_number as usize].state = State::TimedOut;
            ended += 1;
        }
        prop_assert_eq!(ended, model.quotes.len());
        for number in 0..model.quotes.len() {
            prop_assert!(!book.begin(hash(number)), "ended hashes stay known");
        }
    }
}

#[test]
fn one_that_is_never_answered_holds_no_place_for_the_others() {
    let now = Instant::now();
    let book = Arc::new(QuoteBook::new(16));
    let mut pending = PendingQuotes::new(book.clone(), 2, TIMEOUT, now);
    assert!(book.begin(hash(0)));
    pending.push(quote(0, SinceStart::new(now, now)));
    for number in 1..20_000 {
        assert!(pending.has_room());
        assert!(book.begin(hash(number)));
        pending.push(quote(number, SinceStart::new(now, now)));
        assert!(!pending.has_room());
        pending.next_to_send(now);
        assert!(matches!(pending.answer(hash(number), "q", now), Answer::Answered(_)));
        assert!(pending.places.len() <= 2 + 2 + SPARE_PLACES);
    }
    assert!(matches!(pending.answer(hash(0), "q", now), Answer::Answered(_)));
    assert!(pending.is_empty() && pending.places.is_empty());
}

#[test]
fn a_pending_quote_takes_less_than_300_bytes() {
    // The list of places at its most wasteful, just doubled, and an entry of the book at the load that `begin` finds.
    let place = size_of::<Place>();
    let entry = (size_of::<(ShareHash, Known)>() + 1) * 16 / 7;
    assert!(place + entry < 300 && place <= 136, "{place} + {entry}");
}

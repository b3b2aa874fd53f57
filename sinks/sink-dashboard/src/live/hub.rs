//! Messages and their clients: each message is written once, kept in a ring for those who come back, and its bytes are shared
//! by all clients. Who falls behind the ring is let go.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sidecar_http::{Place, Places};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::message::Message;

/// Messages kept for clients that reconnect.
const MAX_MESSAGES: usize = 1_024;
/// Bytes of the kept messages: half a minute of the busiest pool. A browser is back within seconds.
const MAX_BYTES: usize = 1 << 20;

/// A message without its number.
#[derive(Debug)]
pub(crate) struct Outgoing {
    event: &'static str,
    data: String,
}

impl From<&Message> for Outgoing {
    fn from(message: &Message) -> Self {
        // The messages are plain structs with string keys; what cannot fail is not handled twice.
        let data = serde_json::to_string(message).expect("a message has string keys and no failing parts");
        Self { event: message.event(), data }
    }
}

/// A message as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) event: &'static str,
    /// The whole server-sent event.
    pub(crate) frame: Bytes,
    /// Where `data:` has its JSON in `frame`.
    data: (usize, usize),
}

impl Sent {
    /// The JSON alone.
    pub(crate) fn data(&self) -> Bytes {
        self.frame.slice(self.data.0..self.data.1)
    }
}

/// What clients wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) last: u64,
    pub(crate) is_open: bool,
}

#[derive(Debug, Default)]
struct Ring {
    messages: VecDeque<Sent>,
    bytes: usize,
    last: u64,
}

/// What a client gets for what it asks.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) messages: Vec<Sent>,
    /// Messages after the asked one are lost to it.
    pub(crate) reset: bool,
    /// Where it stands now.
    pub(crate) last: u64,
}

/// The ring and the places of its clients.
#[derive(Debug)]
pub(crate) struct Hub {
    run: String,
    ring: Mutex<Ring>,
    head: watch::Sender<Head>,
    places: Arc<Semaphore>,
    max_clients: usize,
    of_clients: Places,
    polled: std::sync::atomic::AtomicU64,
}

/// A listening client's place.
#[derive(Debug)]
pub(crate) struct Seat {
    _among_all: OwnedSemaphorePermit,
    _of_client: Place,
}

/// There are as many clients as the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyClientsError {
    /// In all.
    #[error("{max} clients listen already")]
    All {
        /// So many.
        max: usize,
    },
    /// With this client's address.
    #[error("{max} clients with this address listen already")]
    Address {
        /// So many.
        max: usize,
    },
}

impl Hub {
    pub(crate) fn new(max_clients: usize, max_per_address: usize) -> Self {
        let (head, _) = watch::channel(Head { last: 0, is_open: true });
        Self {
            run: format!("{:x}", stats_sv2::UnixMillis::now().0),
            ring: Mutex::default(),
            head,
            places: Arc::new(Semaphore::new(max_clients)),
            max_clients,
            of_clients: Places::new(max_per_address),
            polled: std::sync::atomic::AtomicU64::new(0),
        }
    }

    pub(crate) fn publish(&self, messages: Vec<Outgoing>) {
        if messages.is_empty() {
            return;
        }
        let last = {
            let mut ring = self.ring();
            for Outgoing { event, data } in messages {
                ring.last += 1;
                let number = ring.last;
                let head = format!("id: {}-{number}\nevent: {event}\ndata: ", self.run);
                let span = (head.len(), head.len() + data.len());
                let frame = Bytes::from(format!("{head}{data}\n\n"));
                ring.bytes += frame.len();
                ring.messages.push_back(Sent { number, event, frame, data: span });
                while ring.messages.len() > MAX_MESSAGES || ring.bytes > MAX_BYTES {
                    let Some(oldest) = ring.messages.pop_front() else { break };
                    ring.bytes -= oldest.frame.len();
                }
            }
            ring.last
        };
        self.head.send_modify(|head| head.last = last);
    }

    /// Messages after `number`, as far as the ring still has them.
    pub(crate) fn after(&self, number: u64) -> Caught {
        let ring = self.ring();
        let oldest = ring.messages.front().map_or(ring.last + 1, |message| message.number);
        let reset = number + 1 < oldest || number > ring.last;
        let messages = if reset {
            Vec::new()
        } else {
            let skip = usize::try_from(number + 1 - oldest).unwrap_or(usize::MAX);
            ring.messages.iter().skip(skip).cloned().collect()
        };
        Caught { messages, reset, last: ring.last }
    }

    /// Whether the text is an id of any run.
    pub(crate) fn is_id(text: &str) -> bool {
        text.split_once('-')
            .is_some_and(|(run, number)| u64::from_str_radix(run, 16).is_ok() && number.parse::<u64>().is_ok())
    }

    /// The number in an id of this run; `None` for another run's, or for no id at all.
    pub(crate) fn number_of(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()
    }

    /// The id of a message, or of anything else that is numbered anew in each run.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    pub(crate) fn last(&self) -> u64 {
        self.ring().last
    }

    /// A place for a client with this address.
    pub(crate) fn enter(&self, client: IpAddr) -> Result<Seat, TooManyClientsError> {
        let all = Arc::clone(&self.places).try_acquire_owned();
        let among_all = all.map_err(|_| TooManyClientsError::All { max: self.max_clients })?;
        let of_client = self.of_clients.take(client);
        let of_client = of_client.ok_or_else(|| TooManyClientsError::Address { max: self.of_clients.each() })?;
        Ok(Seat { _among_all: among_all, _of_client: of_client })
    }

    /// How many clients listen now.
    pub(crate) fn clients(&self) -> usize {
        self.max_clients - self.places.available_permits()
    }

    /// Somebody polls; they count as listening for a while.
    pub(crate) fn note_poll(&self, now_ms: u64) {
        self.polled.store(now_ms, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether anybody wants updates.
    pub(crate) fn is_wanted(&self, now_ms: u64) -> bool {
        /// Who polled within this time polls again.
        const POLL_MEMORY_MS: u64 = 15_000;
        let polled = self.polled.load(std::sync::atomic::Ordering::Relaxed);
        self.clients() > 0 || now_ms.saturating_sub(polled) < POLL_MEMORY_MS
    }

    /// Ends the streams of all clients, or lets new ones in again.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.head.send_modify(|head| head.is_open = is_open);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::BlockMessage;
    use super::*;

    fn block(name: &str) -> Message {
        let name = Some(name.to_owned());
        Message::Block(BlockMessage { publisher: "pool".to_owned(), at_ms: 1, height: 2, block_hash: None, name })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whoever asks gets every message after the last one seen, in order, or is told to begin anew: never a hole.
        #[test]
        fn no_hole_without_a_reset(sizes in prop::collection::vec(0_usize..40_000, 0..60), seen in 0_u64..80) {
            let hub = Hub::new(1, 1);
            for size in &sizes {
                hub.publish(vec![Outgoing::from(&block(&"x".repeat(*size)))]);
            }
            let last = sizes.len() as u64;
            let caught = hub.after(seen);
            prop_assert_eq!(caught.last, last);
            if caught.reset {
                prop_assert!(seen > last || sizes[seen as usize..].iter().map(|size| size + 150).sum::<usize>() > MAX_BYTES / 2);
            } else {
                let numbers: Vec<u64> = caught.messages.iter().map(|message| message.number).collect();
                prop_assert_eq!(numbers, (seen + 1..=last).collect::<Vec<_>>());
            }
            prop_assert!(hub.ring().bytes <= MAX_BYTES);
        }
    }

    #[test]
    fn a_message_is_a_server_sent_event_with_an_id_of_this_run() {
        let hub = Hub::new(1, 1);
        hub.publish(vec![Outgoing::from(&block("a\nb"))]);
        let caught = hub.after(0);
        let frame = String::from_utf8(caught.messages[0].frame.to_vec()).unwrap();
        let data = r#"{"publisher":"pool","at_ms":1,"height":2,"block_hash":null,"name":"a\nb"}"#;
        assert_eq!(frame, format!("id: {}\nevent: block\ndata: {data}\n\n", hub.id(1)));
        assert_eq!(&*caught.messages[0].data(), data.as_bytes());
        assert_eq!(hub.number_of(&hub.id(1)), Some(1));
        assert_eq!(hub.number_of("17a-1"), None);
        assert!(Hub::is_id("17a-1") && Hub::is_id(&hub.id(1)));
        for text in ["", "-", "1", "other-1", "17a-", "17a-x", "17a-1-1"] {
            assert!(!Hub::is_id(text) && hub.number_of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn places_are_counted() {
        let hub = Hub::new(2, 1);
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
        assert!(!hub.is_wanted(1_000_000));
        let of_a = hub.enter(a).unwrap();
        assert_eq!(hub.enter(a).unwrap_err(), TooManyClientsError::Address { max: 1 });
        let of_b = hub.enter(b).unwrap();
        assert_eq!(hub.enter(c).unwrap_err(), TooManyClientsError::All { max: 2 });
        assert!(hub.is_wanted(1_000_000));
        drop((of_a, of_b));
        assert!(!hub.is_wanted(1_000_000));
        hub.note_poll(999_000);
        assert!(hub.is_wanted(1_000_000));
        assert!(hub.enter(a).is_ok());
    }
}

//! `GET /api/v1/live`: the messages as server-sent events, and `GET /api/v1/live/poll` for clients that cannot hold a stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;

use super::Live;
use super::hub::{Head, Seat, Sent};

/// A stream without a message for so long carries a comment, so that proxies and clients see that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// What a browser waits before it connects again.
const RETRY: &str = "retry: 2000\n\n";

/// One client.
struct Client {
    live: Arc<Live>,
    head: watch::Receiver<Head>,
    /// The last message that it got.
    seen: u64,
    waiting: VecDeque<Bytes>,
    _seat: Seat,
}

/// The stream of a client that saw `last_id` last, or is new.
pub(crate) fn stream(
    live: Arc<Live>,
    seat: Seat,
    last_id: Option<&str>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let hub = live.hub();
    let mut waiting = VecDeque::from([Bytes::from_static(RETRY.as_bytes())]);
    let seen = match last_id {
        // A new client has read its page a moment ago and wants what comes.
        None => hub.last(),
        Some(id) => hub.number_of(id).filter(|number| !hub.after(*number).reset).unwrap_or_else(|| {
            let last = hub.last();
            waiting.push_back(Bytes::from(format!("id: {}\nevent: reset\ndata: {{}}\n\n", hub.id(last))));
            last
        }),
    };
    let head = hub.watch();
    unfold(Client { live, head, seen, waiting, _seat: seat }, next)
}

async fn next(mut client: Client) -> Option<(Result<Bytes, Infallible>, Client)> {
    loop {
        if let Some(frame) = client.waiting.pop_front() {
            return Some((Ok(frame), client));
        }
        if !client.head.borrow_and_update().is_open {
            return None;
        }
        let caught = client.live.hub().after(client.seen);
        if caught.reset {
            // Too slow for the ring: it is let go, comes back with its last id and is told to begin anew.
            return None;
        }
        if caught.messages.is_empty() {
            match tokio::time::timeout(KEEP_ALIVE, client.head.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => client.waiting.push_back(Bytes::from_static(b": still here\n\n")),
            }
            continue;
        }
        client.seen = caught.last;
        client.waiting.extend(caught.messages.into_iter().map(|Sent { frame, .. }| frame));
    }
}

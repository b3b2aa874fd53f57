//! Any mint at all: whatever it does, every quote ends exactly once, and the counters say how.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ehash::ShareHash;
use proptest::prelude::*;

use crate::fake_mint::{FakeMint, MintSession, quote_id};
use crate::recorder::Recorder;
use crate::{hash, submit};

/// What the mint does with one request.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Answer,
    Twice,
    Differently,
    Refuse,
    Ignore,
    /// Answers it after the next one.
    Later,
    Unknown,
    Garbage,
    Hang,
    Close,
}

fn any_manner() -> impl Strategy<Value = Manner> {
    use Manner::*;
    prop_oneof![
        6 => Just(Answer), 1 => Just(Twice), 1 => Just(Differently), 2 => Just(Refuse), 1 => Just(Ignore),
        1 => Just(Later), 1 => Just(Unknown), 1 => Just(Garbage), 1 => Just(Hang), 1 => Just(Close),
    ]
}

/// Serves connections until told to stop; each request takes the next manner of the script, over and over.
fn serve(mint: &FakeMint, script: &[Manner], stop: &AtomicBool) {
    let mut manners = script.iter().cycle();
    while !stop.load(Ordering::SeqCst) {
        let Some(stream) = mint.try_accept_stream() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let Some(mut session) = MintSession::open(stream) else { continue };
        let mut later: Option<ShareHash> = None;
        while !stop.load(Ordering::SeqCst) {
            let Some(request) = session.poll_request() else { continue };
            let Ok(request) = request else { break };
            let hash = ShareHash::from_wire(request.header_hash());
            let owed = later.take();
            match manners.next().unwrap() {
                Manner::Answer => session.answer(hash),
                Manner::Twice => [hash, hash].into_iter().for_each(|hash| session.answer(hash)),
                Manner::Differently => {
                    [quote_id(hash), "other".to_owned()].iter().for_each(|id| session.answer_with(hash, id))
                }
                Manner::Refuse => session.refuse(1),
                Manner::Ignore | Manner::Hang => {}
                Manner::Later => later = Some(hash),
                Manner::Unknown => session.answer(crate::hash(1_000_000)),
                Manner::Garbage => session.send_bytes(b"GET / HTTP/1.1\r\n\r\n"),
                Manner::Close => break,
            }
            if let Some(owed) = owed {
                session.answer(owed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn every_quote_ends_once(
        script in proptest::collection::vec(any_manner(), 1..12),
        bursts in proptest::collection::vec(1..30_u32, 1..4),
        max_pending in 1..40_usize,
    ) {
        let mint = FakeMint::listen();
        let host = Recorder::new();
        let timeout = Duration::from_millis(60);
        let quotes = mint.dispatcher().timeout(timeout).max_pending(max_pending).start(host.clone()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let server = std::thread::spawn(move || serve(&mint, &script, &stopped));
        let mut submitted = 0;
        for burst in bursts {
            submit(&quotes, submitted..submitted + burst);
            submitted += burst;
            host.await_endings(submitted as usize / 2);
        }
        let endings = host.await_endings(submitted as usize);
        stop.store(true, Ordering::SeqCst);
        server.join().unwrap();
        let report = quotes.close(Duration::ZERO);
        prop_assert!(report.complete && report.left == 0);

        prop_assert_eq!(host.endings(), endings, "nothing ends again");
        let number = |code: &str| host.endings().values().filter(|ending| *ending == code).count() as u64;
        let counters = quotes.counters();
        prop_assert_eq!(counters.created, u64::from(submitted));
        prop_assert_eq!(counters.timed_out, number("timeout"));
        prop_assert_eq!(counters.failed, number("mint-error"));
        prop_assert_eq!(counters.answered, u64::from(submitted) - number("timeout") - number("mint-error"));
        prop_assert_eq!((counters.rejected, counters.pending, counters.callbacks_dropped), (0, 0, 0));
        for index in 0..submitted {
            let ending = &host.endings()[&hash(index)];
            // A mint that answers in two ways may be heard again on a new connection: the first answer stands.
            prop_assert!(["timeout", "mint-error", "other", &*quote_id(hash(index))].contains(&&**ending), "{}", ending);
        }
    }
}

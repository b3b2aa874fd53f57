//! Cuts received bytes into runs of whole event frames, without copying where every payload is good.

use bytes::Bytes;
use sidecar_journal::{MAX_RUN_BYTES, carries_state};
use stats_sv2::codec::{DecodeError, Message};
use stats_sv2::event::{Malformed, validate};
use stats_sv2::{Event, FrameError, FrameView, Text, UnixMillis, read_frame};

/// A run with malformed payloads is copied, so it is kept small: this much, whatever the ingest budget, is what one
/// session may take beyond it.
const MIXED_RUN_BYTES: usize = 16 << 10;

/// Received bytes, from which pieces are taken one after the other. What is left is the beginning of a frame.
#[derive(Debug)]
pub(crate) struct Scanner {
    rest: Bytes,
}

/// What stands next in the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Event frames.
    Run(FrameRun),
    /// A frame that manages the session.
    Control(Bytes),
    /// Nothing more can be read.
    Bad(FrameError),
}

/// Consecutive event frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameRun {
    pub(crate) count: u32,
    /// Bytes as received; `frames` differs where payloads were malformed.
    pub(crate) received: usize,
    pub(crate) frames: Bytes,
    pub(crate) has_state: bool,
    /// Timestamp of the last event, where it has one.
    pub(crate) last_event_at: Option<UnixMillis>,
    pub(crate) malformed: Vec<MalformedPayload>,
}

/// A frame whose payload was replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedPayload {
    /// Its place in the run.
    pub(crate) index: u32,
    /// Header and payload as received.
    pub(crate) frame: Bytes,
    pub(crate) reason: DecodeError,
}

impl Scanner {
    pub(crate) fn new(received: Bytes) -> Self {
        Self { rest: received }
    }

    /// The unfinished frame at the end.
    pub(crate) fn into_rest(self) -> Bytes {
        self.rest
    }

    /// The next piece; `None` when more bytes are needed. After [`Piece::Bad`] it stays at that.
    pub(crate) fn next_piece(&mut self) -> Option<Piece> {
        let good = good_prefix(&self.rest);
        if good.count > 0 {
            let frames = self.rest.split_to(good.bytes);
            let last_event_at = event_time(&frames[good.last..]);
            return Some(Piece::Run(FrameRun {
                count: good.count,
                received: good.bytes,
                frames,
                has_state: good.has_state,
                last_event_at,
                malformed: Vec::new(),
            }));
        }
        match read_frame(&self.rest) {
            Ok(None) => None,
            Ok(Some(frame)) if frame.is_event() => Some(Piece::Run(self.mixed_run())),
            Ok(Some(frame)) => {
                let length = frame.bytes.len();
                Some(Piece::Control(self.rest.split_to(length)))
            }
            Err(error) => Some(Piece::Bad(error)),
        }
    }

    /// A run that begins with a malformed payload: good frames between malformed ones are taken along.
    fn mixed_run(&mut self) -> FrameRun {
        let mut frames = Vec::new();
        let mut run = FrameRun {
            count: 0,
            received: 0,
            frames: Bytes::new(),
            has_state: false,
            last_event_at: None,
            malformed: Vec::new(),
        };
        let mut last = 0;
        // One frame goes beyond the bound at most, by its own size.
        while frames.len() < MIXED_RUN_BYTES
            && let Ok(Some(frame)) = read_frame(&self.rest[run.received..])
            && frame.is_event()
        {
            last = frames.len();
            match validate(frame) {
                Ok(()) => {
                    run.has_state |= carries_state(frame.msg_type);
                    frames.extend_from_slice(frame.bytes);
                }
                Err(reason) => {
                    stand_in(frame, &reason).encode(&mut frames);
                    let frame = self.rest.slice_ref(frame.bytes);
                    run.malformed.push(MalformedPayload { index: run.count, frame, reason });
                }
            }
            run.received += frame.bytes.len();
            run.count += 1;
        }
        self.rest = self.rest.split_off(run.received);
        run.last_event_at = event_time(&frames[last..]);
        run.frames = frames.into();
        run
    }
}

/// What takes the malformed frame's place under its number.
fn stand_in(frame: FrameView<'_>, reason: &DecodeError) -> Malformed<'static> {
    Malformed {
        msg_type: frame.msg_type,
        // A frame's payload is at most 4 KiB.
        length: frame.payload().len() as u32,
        reason: Text::cut(reason.to_string()),
    }
}

struct GoodPrefix {
    bytes: usize,
    count: u32,
    has_state: bool,
    /// Where the last frame begins.
    last: usize,
}

/// Event frames with good payloads at the start of the buffer, up to the bytes of one run.
fn good_prefix(buffer: &[u8]) -> GoodPrefix {
    let mut good = GoodPrefix { bytes: 0, count: 0, has_state: false, last: 0 };
    while let Ok(Some(frame)) = read_frame(&buffer[good.bytes..]) {
        let bytes = good.bytes + frame.bytes.len();
        if bytes > MAX_RUN_BYTES || !frame.is_event() || validate(frame).is_err() {
            break;
        }
        good.has_state |= carries_state(frame.msg_type);
        good.last = good.bytes;
        good.bytes = bytes;
        good.count += 1;
    }
    good
}

fn event_time(frame: &[u8]) -> Option<UnixMillis> {
    Event::decode(read_frame(frame).ok()??).ok()?.timestamp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stats_sv2::event::{ChannelClosed, Heartbeat, ShareSubmitted};
    use stats_sv2::session::CloseStatsSession;
    use stats_sv2::{ChannelId, CompactTarget, DownstreamId};

    use super::*;

    fn share(timestamp: u64) -> Vec<u8> {
        let mut out = Vec::new();
        ShareSubmitted {
            downstream_id: DownstreamId(1),
            timestamp: UnixMillis(timestamp),
            channel_id: ChannelId(2),
            sequence_number: 3,
            target: CompactTarget(0x1d00_ffff),
            share: CompactTarget(0x1c00_ffff),
        }
        .encode(&mut out);
        out
    }

    fn raw(msg_type: u8, payload: &[u8]) -> Vec<u8> {
        [&stats_sv2::codec::header(msg_type, payload.len())[..], payload].concat()
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => any::<u32>().prop_map(|at| share(u64::from(at))),
            1 => Just(share(u64::MAX)),
            1 => any::<u32>().prop_map(|at| {
                let mut out = Vec::new();
                Heartbeat { timestamp: UnixMillis(u64::from(at)), flags: 0 }.encode(&mut out);
                out
            }),
            1 => (0_u8..=255, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(t, p)| raw(t, &p)),
            1 => Just({
                let mut out = Vec::new();
                CloseStatsSession { reason: Text::cut("bye") }.encode(&mut out);
                out
            }),
        ]
    }

    /// Everything that the pieces say, independent of where runs were cut.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        count: u64,
        frames: Vec<u8>,
        received: usize,
        malformed: Vec<(u64, Vec<u8>)>,
        /// Each control frame with the number of events before it.
        control: Vec<(u64, Vec<u8>)>,
        bad: Option<FrameError>,
    }

    impl Seen {
        /// Takes what is there; returns the rest.
        fn feed(&mut self, received: Vec<u8>) -> Vec<u8> {
            let mut scanner = Scanner::new(received.into());
            while let Some(piece) = scanner.next_piece() {
                match piece {
                    Piece::Run(run) => {
                        assert!(run.frames.len() <= MAX_RUN_BYTES && run.count > 0);
                        assert_eq!(stats_sv2::Frames::new(&run.frames).count(), run.count as usize);
                        assert_eq!(
                            run.has_state,
                            stats_sv2::Frames::new(&run.frames).any(|frame| carries_state(frame.msg_type))
                        );
                        for bad in run.malformed {
                            self.malformed.push((self.count + u64::from(bad.index), bad.frame.to_vec()));
                        }
                        self.count += u64::from(run.count);
                        self.received += run.received;
                        self.frames.extend_from_slice(&run.frames);
                    }
                    Piece::Control(frame) => {
                        self.received += frame.len();
                        self.control.push((self.count, frame.to_vec()));
                    }
                    Piece::Bad(error) => {
                        self.bad = Some(error);
                        break;
                    }
                }
            }
            scanner.into_rest().to_vec()
        }
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same(
            messages in proptest::collection::vec(message(), 0..60),
            tail in proptest::collection::vec(any::<u8>(), 0..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut stream = messages.concat();
            stream.extend_from_slice(&tail);

            let mut whole = Seen::default();
            let rest = whole.feed(stream.clone());
            prop_assert_eq!(whole.received + rest.len(), stream.len());

            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let (mut split, mut carry, mut from) = (Seen::default(), Vec::new(), 0);
            for cut in cuts {
                carry.extend_from_slice(&stream[from..cut]);
                from = cut;
                if split.bad.is_none() {
                    carry = split.feed(carry);
                }
            }
            prop_assert_eq!(split, whole);
        }

        #[test]
        fn malformed_payloads_are_replaced_under_their_number(
            messages in proptest::collection::vec(message(), 0..60),
        ) {
            let mut seen = Seen::default();
            let rest = seen.feed(messages.concat());
            prop_assert!(rest.is_empty());
            let events: Vec<&Vec<u8>> = messages.iter().filter(|m| m[2] >= stats_sv2::FIRST_EVENT_TYPE).collect();
            prop_assert_eq!(seen.count, events.len() as u64);
            let mut malformed = seen.malformed.into_iter().peekable();
            for (number, (stored, sent)) in stats_sv2::Frames::new(&seen.frames).zip(events).enumerate() {
                match malformed.next_if(|(at, _)| *at == number as u64) {
                    None => prop_assert_eq!(stored.bytes, &sent[..]),
                    Some((_, original)) => {
                        prop_assert_eq!(&original, sent);
                        let Ok(Event::Malformed(stand_in)) = Event::decode(stored) else {
                            return Err(TestCaseError::fail("no stand-in"));
                        };
                        prop_assert_eq!(stand_in.msg_type, sent[2]);
                    }
                }
            }
            prop_assert!(malformed.next().is_none());
        }
    }

    #[test]
    fn a_long_stream_is_cut_into_runs_of_whole_frames() {
        let stream: Vec<u8> = (0..20_000).flat_map(share).collect();
        let mut scanner = Scanner::new(stream.into());
        let mut counts = Vec::new();
        while let Some(Piece::Run(run)) = scanner.next_piece() {
            assert!(!run.has_state && run.malformed.is_empty());
            counts.push(run.count as usize);
        }
        assert_eq!(counts, [7710, 7710, 4580]);
    }

    #[test]
    fn runs_that_are_copied_stay_small() {
        let stream = raw(0x10, &[]).repeat(40_000);
        let mut scanner = Scanner::new(stream.into());
        let mut count = 0;
        while let Some(Piece::Run(run)) = scanner.next_piece() {
            assert!(run.frames.len() < MIXED_RUN_BYTES + 4_200);
            count += run.count;
        }
        assert_eq!(count, 40_000);
    }

    #[test]
    fn types_of_the_sidecar_itself_are_malformed_from_a_publisher() {
        let mut scanner = Scanner::new(raw(0x41, &[0; 20]).into());
        let Some(Piece::Run(run)) = scanner.next_piece() else { panic!("no run") };
        assert_eq!(run.malformed[0].reason, DecodeError::Reserved { msg_type: 0x41 });
    }

    #[test]
    fn state_and_the_last_time_of_a_run_are_told() {
        let mut stream = share(5);
        ChannelClosed {
            downstream_id: DownstreamId(1),
            channel_id: ChannelId(2),
            timestamp: UnixMillis(77),
            reason: Text::default(),
        }
        .encode(&mut stream);
        let Some(Piece::Run(run)) = Scanner::new(stream.into()).next_piece() else { panic!("no run") };
        assert!(run.has_state);
        assert_eq!(run.last_event_at, Some(UnixMillis(77)));
    }
}

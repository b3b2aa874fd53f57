//! The sidecar's vocabulary and contracts: what a journal record is, what a sink must do, which states a component has.
//! No I/O beyond the thread that [`OnThread`] gives a blocking sink.
#![forbid(unsafe_code)]

pub mod batch;
pub mod clock;
pub mod error_chain;
pub mod event_json;
pub mod neighbours;
pub mod record;
pub mod registry;
pub mod route;
pub mod sink;
pub mod status;
pub mod thread_sink;
pub mod units;

pub use batch::Batch;
pub use clock::{Clock, ManualClock, SystemClock};
pub use error_chain::ErrorChain;
pub use neighbours::{Neighbours, NotReady, PipelineView};
pub use record::{Cursor, Envelope, JournalId, Record, RecordKind, StableId};
pub use registry::{Claim, Reference, SettingProblem, SinkContext, SinkRegistry, SinkSettings};
pub use route::{KindSet, Route};
pub use sink::{BoxError, BoxFuture, RejectedEvent, Sink, SinkError, SinkStart};
pub use stats_sv2::{Event, EventKind};
pub use status::{Durability, Status};
pub use thread_sink::{BlockingSink, OnThread};
pub use units::{ByteSize, Period};

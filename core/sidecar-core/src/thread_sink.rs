//! A thread of its own for a sink whose calls block, such as a database or a file.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use stats_sv2::UnixMillis;
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::sink::{BoxFuture, Sink, SinkError, SinkStart};

/// A [`Sink`] in blocking form; the methods mean the same.
pub trait BlockingSink: Send + 'static {
    /// See [`Sink::start`].
    fn start(&mut self) -> Result<SinkStart, SinkError>;
    /// See [`Sink::deliver`].
    fn deliver(&mut self, batch: &Batch) -> Result<(), SinkError>;
    /// See [`Sink::maintain`].
    fn maintain(&mut self, now: UnixMillis) -> Result<(), SinkError> {
        let _ = now;
        Ok(())
    }
    /// See [`Sink::reopen`].
    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    /// See [`Sink::close`].
    fn close(&mut self) -> Result<(), SinkError>;
}

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Runs a [`BlockingSink`] on one named thread. A call that its caller gave up is finished nevertheless, before the next
/// one begins: a delivery that timed out is waited for, never overlapped (delivery rule 25).
pub struct OnThread<S> {
    jobs: Option<SyncSender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

impl<S> fmt::Debug for OnThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnThread").finish_non_exhaustive()
    }
}

impl<S: BlockingSink> OnThread<S> {
    /// Starts the thread. It ends when the value is dropped and the call under way, if any, has returned.
    pub fn new(thread_name: &str, mut sink: S) -> std::io::Result<Self> {
        // Two places: one call under way, and one for a caller that gave up the last.
        let (jobs, queue) = sync_channel::<Job<S>>(2);
        let thread = std::thread::Builder::new().name(thread_name.to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                job(&mut sink);
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut S) -> Result<T, SinkError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, SinkError>> {
        Box::pin(async move {
            let gone = || SinkError::Fatal {
                what: "the sink's thread has ended after a panic; restart the sidecar".to_owned(),
                source: None,
            };
            let (answer, answered) = oneshot::channel();
            let job: Job<S> = Box::new(move |sink| {
                // Nobody listens if the caller gave up; its next call sees the sink after this one.
                drop(answer.send(work(sink)));
            });
            let jobs = self.jobs.as_ref().ok_or_else(gone)?;
            jobs.try_send(job).map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full(_) => SinkError::Transient {
                    what: "an earlier call that timed out is still under way".to_owned(),
                    source: None,
                },
                std::sync::mpsc::TrySendError::Disconnected(_) => gone(),
            })?;
            answered.await.map_err(|_| gone())?
        })
    }
}

impl<S: BlockingSink> Sink for OnThread<S> {
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>> {
        self.call(S::start)
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        self.call(move |sink| sink.deliver(&batch))
    }

    fn maintain(&mut self, now: UnixMillis) -> BoxFuture<'_, Result<(), SinkError>> {
        self.call(move |sink| sink.maintain(now))
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.call(S::reopen)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.call(S::close)
    }
}

impl<S> Drop for OnThread<S> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was already told to whoever called.
            drop(thread.join());
        }
    }
}

//! Reading the history: a bounded number of read-only connections on blocking threads, each question with a time limit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sink_sqlite::History;
use sink_sqlite::query::QueryError;
use tokio::sync::Semaphore;

/// Questions that may wait for a connection; further ones are refused at once.
pub(crate) const MAX_WAITING: usize = 256;

/// Why a question was not answered. It is told as an error, never as zeros.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    /// There is no file yet: the sink that writes it has not started.
    #[error("there is no history at {} yet", path.display())]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Too many questions at once.
    #[error("the history is busy: {MAX_WAITING} questions are waiting")]
    Busy,
    /// The answer took longer than allowed.
    #[error("the history did not answer within {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The question has no answer.
    #[error("the history could not answer")]
    Query(#[source] QueryError),
    /// The server is stopping, or the reader panicked.
    #[error("the reader of the history ended")]
    Ended,
}

/// Read-only connections to one history; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HistoryPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limit: Duration,
    /// As many as there may be connections.
    places: Arc<Semaphore>,
    /// As many as may wait or read.
    queue: Arc<Semaphore>,
    idle: Mutex<Vec<Reader>>,
}

/// A connection, and which file it has open.
#[derive(Debug)]
struct Reader {
    history: History,
    file: FileId,
}

impl HistoryPool {
    /// For the history at `path`, of which nothing is opened yet.
    pub(crate) fn new(path: PathBuf, connections: usize, limit: Duration) -> Self {
        let inner = Inner {
            path,
            limit,
            places: Arc::new(Semaphore::new(connections)),
            queue: Arc::new(Semaphore::new(connections + MAX_WAITING)),
            idle: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Asks the history on a blocking thread. A question that takes too long is interrupted, also between its statements.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&History) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let queued = Arc::clone(&self.inner.queue).try_acquire_owned().map_err(|_| ReadError::Busy)?;
        let place = Arc::clone(&self.inner.places).acquire_owned().await.map_err(|_| ReadError::Ended)?;
        let inner = Arc::clone(&self.inner);
        let answer = tokio::task::spawn_blocking(move || {
            // Taken until the reading is over, also where whoever asked has gone meanwhile.
            let _taken = (queued, place);
            inner.ask(ask)
        })
        .await;
        answer.unwrap_or_else(|error| {
            tracing::error!(%error, "a question to the history panicked");
            Err(ReadError::Ended)
        })
    }
}

impl Inner {
    fn ask<T>(&self, ask: impl FnOnce(&History) -> Result<T, QueryError>) -> Result<T, ReadError> {
        let mut reader = self.reader()?;
        let end = Instant::now() + self.limit;
        reader.history.interrupt_at(Some(end)).map_err(ReadError::Query)?;
        let answer = ask(&reader.history);
        match answer {
            Ok(answer) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
                Ok(answer)
            }
            Err(_) if Instant::now() >= end => Err(ReadError::TooSlow { limit: self.limit }),
            // The connection is not used again where reading failed: the file may have been replaced under it.
            Err(error @ (QueryError::Open(_) | QueryError::Read(_))) => Err(ReadError::Query(error)),
            Err(error) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
                Err(ReadError::Query(error))
            }
        }
    }

    /// An idle connection to the file that is at the path now, or a new one.
    fn reader(&self) -> Result<Reader, ReadError> {
        let file = FileId::of(&self.path).ok_or_else(|| ReadError::NotThere { path: self.path.clone() })?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(reader) if reader.file == file => Ok(reader),
            // A damaged history is set aside and a new one begun in its place.
            Some(_) | None => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|reader| reader.file == file);
                let history = History::open(&self.path).map_err(ReadError::Query)?;
                Ok(Reader { history, file })
            }
        }
    }
}

/// Which file a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

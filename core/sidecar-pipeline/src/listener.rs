//! Accepts publishers over TCP, plain or encrypted, and serves each in a task of its own, within limits.

mod auth;
mod config;
mod counters;
mod handshake;
mod names;
mod scan;
mod session;
mod transport;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sidecar_core::{Clock, ErrorChain};
use sidecar_journal::Journal;
use stats_sv2::noise::Responder;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use auth::{Auth, Secret, TokenRule};
pub use config::{ListenerConfig, ListenerLimits, MAX_HANDSHAKES, MAX_SESSIONS, NoiseConfig};
pub use counters::{ConnectionEnd, ListenerSnapshot};

use counters::{ListenerCounters, Peer};
use names::Names;
use transport::READ_BYTES;

/// Connections that the kernel holds until they are accepted: all publishers may come back together.
const BACKLOG: u32 = 4_096;

/// The kernel's send buffer of a connection. All that is ever sent are acknowledgements, so a peer that does not read them
/// is noticed soon and holds little memory.
const SEND_BUFFER: u32 = 4 << 10;

/// Pause after a failure to accept. The commonest, too many open files, ends only when a connection does.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    journal: Journal,
    clock: Arc<dyn Clock>,
    limits: ListenerLimits,
    auth: Auth,
    /// Publisher names of the bridges: no connection gets them.
    of_bridges: HashSet<String>,
    responder: Option<Responder>,
    names: Arc<Names>,
    sessions: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    /// Bytes that one read takes from the budget.
    read_bytes: usize,
    counters: ListenerCounters,
    open_connections: AtomicU64,
    /// Say goodbye and end.
    stop: CancellationToken,
    /// End without a word.
    cut: CancellationToken,
}

/// A listener that holds its address and does not accept yet.
#[derive(Debug)]
pub(crate) struct BoundListener {
    socket: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A listener that accepts.
#[derive(Debug)]
pub(crate) struct RunningListener {
    address: SocketAddr,
    shared: Arc<Shared>,
    connections: TaskTracker,
}

impl BoundListener {
    /// Takes the address.
    pub(crate) fn bind(
        config: ListenerConfig,
        of_bridges: HashSet<String>,
        journal: Journal,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let socket = match config.listen {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of the former process that linger in TIME_WAIT must not keep its successor out.
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(config.listen)?;
        let socket = socket.listen(BACKLOG)?;
        let address = socket.local_addr()?;
        let budget = journal.ingest_budget();
        let shared = Shared {
            names: Arc::new(Names::new(config.limits.name_held_for)),
            sessions: Arc::new(Semaphore::new(config.limits.sessions)),
            // A read that asked for more than the whole budget would wait for ever.
            read_bytes: READ_BYTES.min(budget.available_permits()).max(1),
            budget,
            counters: ListenerCounters::default(),
            open_connections: AtomicU64::new(0),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            responder: config.noise.map(|noise| Responder::new(noise.authority)),
            auth: config.auth,
            of_bridges,
            limits: config.limits,
            journal,
            clock,
        };
        Ok(Self { socket, address, shared: Arc::new(shared) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept.
    pub(crate) fn run(self) -> RunningListener {
        let Self { socket, address, shared } = self;
        let connections = TaskTracker::new();
        connections.spawn(accept(Arc::clone(&shared), socket, connections.clone()));
        RunningListener { address, shared, connections }
    }
}

impl RunningListener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the status shows.
    pub(crate) fn view(&self) -> ListenerView {
        ListenerView { address: self.address, shared: Arc::clone(&self.shared) }
    }

    /// Stops accepting, asks every session to acknowledge, say goodbye and end, and waits for that. What is open at the
    /// deadline is cut; returns how many connections that were.
    pub(crate) async fn stop(&self, deadline: Instant) -> u64 {
        self.shared.stop.cancel();
        self.connections.close();
        if timeout_at(deadline, self.connections.wait()).await.is_ok() {
            return 0;
        }
        let open = self.shared.open_connections.load(Ordering::Relaxed);
        self.shared.cut.cancel();
        self.connections.wait().await;
        open
    }
}

/// A look at a listener from outside.
#[derive(Debug, Clone)]
pub(crate) struct ListenerView {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ListenerView {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn snapshot(&self) -> ListenerSnapshot {
        let free = self.shared.sessions.available_permits();
        let open_sessions = self.shared.limits.sessions.saturating_sub(free) as u64;
        self.shared.counters.snapshot(self.shared.open_connections.load(Ordering::Relaxed), open_sessions)
    }
}

async fn accept(shared: Arc<Shared>, socket: TcpListener, connections: TaskTracker) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counters.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        shared.counters.accepted();
        let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
            let limit = shared.limits.handshakes;
            let peer = Peer { address, publisher: "" };
            shared.counters.ended(ConnectionEnd::TooManyHandshakes, peer, &format_args!("{limit} are open"));
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _open = OpenConnections::count(&shared);
            tokio::select! {
                biased;
                () = serve(&shared, stream, address, handshake) => {}
                () = shared.cut.cancelled() => {}
            }
        });
    }
}

/// One connection from its first byte to its last.
async fn serve(shared: &Shared, stream: TcpStream, address: SocketAddr, handshake: OwnedSemaphorePermit) {
    // Acknowledgements are small and must not wait for each other in the kernel.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, peer = %address, "cannot set TCP_NODELAY");
    }
    let opened = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        opened = handshake::open(shared, stream) => opened,
    };
    match opened {
        Ok(connection) => {
            drop(handshake);
            session::serve(shared, address, connection).await;
        }
        Err(refused) => {
            let peer = Peer { address, publisher: "" };
            shared.counters.ended(refused.why.end(), peer, &ErrorChain(&refused.why));
            refused.tell().await;
        }
    }
}

/// Counts a connection for as long as it lives.
struct OpenConnections<'a>(&'a AtomicU64);

impl<'a> OpenConnections<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.open_connections.fetch_add(1, Ordering::Relaxed);
        Self(&shared.open_connections)
    }
}

impl Drop for OpenConnections<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

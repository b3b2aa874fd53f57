//! A small mint that keeps its quotes in memory and distrusts the pool: it speaks the real mint-quote protocol, checks
//! every request against the protocol's text, and misbehaves on command.
//!
//! `book` remembers, `session` talks, `transport` moves frames, `manner` names the ways to misbehave.

mod book;
pub mod cdk;
mod manner;
mod session;
mod transport;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ehash::ShareHash;
use mint_quote_sv2::noise::AuthoritySecretKey;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::JoinSet,
};

pub use book::{MintSnapshot, MintedQuote, QuoteState};
pub use manner::Manner;

use crate::ports::PortLease;
use book::Book;

/// What a restarted mint remembers of its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Everything, as with a database.
    Kept,
    /// Nothing: it gives new ids to what it is asked for again.
    Lost,
}

/// A mint on loopback, for any number of pools; of payments it tells one of those that are connected. Dropping it closes
/// its connections and joins its thread.
#[derive(Debug)]
pub struct Mint {
    port: PortLease,
    authority: Option<AuthoritySecretKey>,
    shared: Arc<Shared>,
    /// `None` while stopped.
    running: Option<Running>,
}

/// What the sessions and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    book: Mutex<Book>,
    /// Something may be sent that no request asked for: payments, answers that were held back.
    news: Notify,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Mint {
    /// Starts a mint that pays from `minimum_difficulty` bits on, over plain TCP.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub fn start(minimum_difficulty: u32) -> Result<Self> {
        Self::launch(minimum_difficulty, None)
    }

    /// Starts a mint that speaks Noise only, as the holder of this key.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_encrypted(minimum_difficulty: u32, authority: AuthoritySecretKey) -> Result<Self> {
        Self::launch(minimum_difficulty, Some(authority))
    }

    fn launch(minimum_difficulty: u32, authority: Option<AuthoritySecretKey>) -> Result<Self> {
        let shared = Shared { book: Mutex::new(Book::new(minimum_difficulty)), news: Notify::new() };
        let mut mint = Self { port: PortLease::new()?, authority, shared: Arc::new(shared), running: None };
        mint.run()?;
        Ok(mint)
    }

    /// Where pools connect; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How each request is treated from now on that no [`script`](Self::script) covers.
    pub fn behave(&self, manner: Manner) {
        self.book().behave(manner);
    }

    /// How the next requests are treated, one after the other, before the mint behaves as told again.
    pub fn script(&self, manners: impl IntoIterator<Item = Manner>) {
        self.book().script(manners);
    }

    /// Sends what [`Manner::Hold`] held back, on whichever connection is open.
    pub fn release(&self) {
        self.book().release();
        self.shared.news.notify_waiters();
    }

    /// Pays these quotes and tells the pool, now or when it connects. A quote that is paid already is told again.
    ///
    /// # Errors
    /// When the mint has no quote for one of the hashes.
    pub fn pay(&self, shares: impl IntoIterator<Item = ShareHash>) -> Result<()> {
        shares.into_iter().try_for_each(|share| self.book().pay(share))?;
        self.shared.news.notify_waiters();
        Ok(())
    }

    /// Tells the pool that these quotes will not be paid.
    ///
    /// # Errors
    /// As [`pay`](Self::pay).
    pub fn fail_payment(&self, shares: impl IntoIterator<Item = ShareHash>) -> Result<()> {
        shares.into_iter().try_for_each(|share| self.book().fail_payment(share))?;
        self.shared.news.notify_waiters();
        Ok(())
    }

    /// What the mint has, and what it thinks of the pool.
    #[must_use]
    pub fn snapshot(&self) -> MintSnapshot {
        self.book().snapshot()
    }

    /// Fails with the list, if the pool broke the protocol's rules.
    ///
    /// # Errors
    /// One that holds all violations.
    pub fn expect_no_violations(&self) -> Result<()> {
        let violations = self.snapshot().violations;
        ensure!(violations.is_empty(), "the pool broke the protocol: {violations:#?}");
        Ok(())
    }

    /// Cuts all connections in the middle of what they do, and returns when nobody listens any more.
    ///
    /// # Errors
    /// When the mint is stopped already, or panicked.
    pub fn stop(&mut self) -> Result<()> {
        match self.running.take() {
            Some(running) => running.stop(),
            None => bail!("the mint is stopped already"),
        }
    }

    /// Stops the mint if it runs, and starts it on the same port.
    ///
    /// # Errors
    /// When the port is taken meanwhile, or the mint panicked.
    pub fn restart(&mut self, memory: Memory) -> Result<()> {
        self.running.take().map_or(Ok(()), Running::stop)?;
        if memory == Memory::Lost {
            self.book().forget();
        }
        self.run()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }

    fn run(&mut self) -> Result<()> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, self.port.address().port()))
            .context("the mint's port is taken")?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (shared, authority) = (self.shared.clone(), self.authority.clone());
        let thread = std::thread::Builder::new().name("mint".to_owned()).spawn(move || {
            // Leaving `block_on` drops the listener and, with the runtime, every session.
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, &shared, authority) => {}
                    // The handle was dropped or told to stop.
                    _ = stopped => {}
                }
            });
        })?;
        self.running = Some(Running { thread, stop });
        Ok(())
    }
}

impl Drop for Mint {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A panic of the mint was printed when it happened; a second one here would hide it.
            running.stop().ok();
        }
    }
}

impl Running {
    fn stop(self) -> Result<()> {
        // The mint may have ended by itself, which `join` tells.
        self.stop.send(()).ok();
        self.thread.join().map_err(|_| anyhow!("the mint panicked"))
    }
}

impl Shared {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, shared: &Arc<Shared>, authority: Option<AuthoritySecretKey>) {
    let listener = TcpListener::from_std(listener).expect("the listener does not block, and a runtime is here");
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    sessions.spawn(session::run(stream, authority.clone(), shared.clone()));
                }
            }
            Some(ended) = sessions.join_next() => ended.expect("a session does not panic"),
        }
    }
}

#[cfg(test)]
mod tests;

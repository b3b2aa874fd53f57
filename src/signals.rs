//! Signals: the first Ctrl-C or SIGTERM asks to stop, the second ends the process at once; SIGHUP asks to open files again.

use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::exit::{Exit, Failure, INTERRUPTED};

/// Signals of this process, received by a thread of their own until the value is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    stop: watch::Receiver<bool>,
    reopen: watch::Receiver<u64>,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen; from here on Ctrl-C no longer ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot listen to signals: {error}"));
        let (stop_sender, stop) = watch::channel(false);
        let (reopen_sender, reopen) = watch::channel(0);
        let (close, mut closed) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(cannot)?;
        // The handlers are set here, so that a signal right after this call is not missed.
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt()).map_err(cannot)?,
                signal(SignalKind::terminate()).map_err(cannot)?,
                signal(SignalKind::hangup()).map_err(cannot)?,
            )
        };
        let serve = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => stop_or_end(&stop_sender),
                    _ = terminate.recv() => stop_or_end(&stop_sender),
                    _ = hang_up.recv() => reopen_sender.send_modify(|count| *count += 1),
                    _ = &mut closed => return,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(serve))
            .map_err(cannot)?;
        Ok(Self { stop, reopen, close: Some(close), thread: Some(thread) })
    }

    /// Becomes true when somebody asks to stop.
    pub(crate) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// Counts the requests to open files again.
    pub(crate) fn reopen(&self) -> watch::Receiver<u64> {
        self.reopen.clone()
    }
}

#[expect(clippy::print_stderr, reason = "the process ends here, log or no log")]
fn stop_or_end(stop: &watch::Sender<bool>) {
    if stop.send_replace(true) {
        eprintln!("second signal: ending at once; what was acknowledged is safe in the journal");
        std::process::exit(INTERRUPTED);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.close.take();
        if let Some(thread) = self.thread.take() {
            // It only forwards signals; a panic in it would have been printed.
            drop(thread.join());
        }
    }
}

//! The sink: batches into the numbers, the listener beside them.

use std::sync::{Arc, Mutex, PoisonError};

use sidecar_core::{Batch, BoxFuture, Sink, SinkContext, SinkError, SinkStart};
use sidecar_http::HttpServer;
use stats_sv2::UnixMillis;

use crate::config::PrometheusSettings;
use crate::encoder;
use crate::numbers::{Limits, Numbers};
use crate::server::{self, Render};

/// Counts events and answers `/metrics`.
#[derive(Debug)]
pub struct PrometheusSink {
    settings: PrometheusSettings,
    context: SinkContext,
    /// Shared with the listener, which reads them at every scrape. Kept when the sink is closed and started again.
    numbers: Arc<Mutex<Numbers>>,
    started: UnixMillis,
    server: Option<HttpServer>,
}

impl PrometheusSink {
    /// A sink that listens nowhere yet. Its counters begin at 0 now.
    #[must_use]
    pub fn new(settings: PrometheusSettings, context: SinkContext) -> Self {
        let limits = Limits {
            sources: settings.max_sources,
            workers: settings.max_workers,
            expire_after_ms: u64::try_from(settings.expire_after.0.as_millis()).unwrap_or(u64::MAX),
        };
        Self::over(Arc::new(Mutex::new(Numbers::new(limits))), settings, context)
    }

    pub(crate) fn over(numbers: Arc<Mutex<Numbers>>, settings: PrometheusSettings, context: SinkContext) -> Self {
        let started = context.clock.now();
        Self { settings, context, numbers, started, server: None }
    }

    /// Where it listens, while it does.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(HttpServer::address)
    }

    fn render(&self) -> Render {
        let (numbers, clock, started) = (Arc::clone(&self.numbers), Arc::clone(&self.context.clock), self.started);
        Arc::new(move || encoder::encode(&numbers, clock.now(), started))
    }
}

impl Sink for PrometheusSink {
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>> {
        Box::pin(async move {
            if let Some(server) = self.server.take() {
                server.stop().await;
            }
            let server = server::start(&self.settings, self.render())?;
            tracing::info!(sink = %self.context.name, address = %server.address(), "metrics listener");
            self.server = Some(server);
            let wants_announcement = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            Ok(SinkStart { wants_announcement, ..SinkStart::default() })
        })
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        // A panic while counting leaves the counts as they are; they are still better than none.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).apply(&batch);
        Box::pin(async { Ok(()) })
    }

    fn maintain(&mut self, now: UnixMillis) -> BoxFuture<'_, Result<(), SinkError>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).maintain(now);
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            if let Some(server) = self.server.take() {
                server.stop().await;
            }
            Ok(())
        })
    }
}

//! The sink: hands what it is given to the live state, and owns the server.

use std::sync::Arc;

use sidecar_core::{Batch, BoxFuture, Sink, SinkContext, SinkError, SinkStart};
use sidecar_http::{HttpError, HttpLimits, HttpServer, Token, bind};

use crate::config::{DashboardSettings, count};
use crate::history::HistoryPool;
use crate::live::updater;
use crate::router::router;
use crate::state::AppState;

/// A dashboard.
#[derive(Debug)]
pub struct DashboardSink {
    state: AppState,
    name: Arc<str>,
    token: Option<Token>,
    server: Option<HttpServer>,
}

impl DashboardSink {
    /// Opens nothing yet. Fails where the history it names does not exist or the token cannot be read.
    pub fn new(settings: DashboardSettings, context: SinkContext) -> Result<Self, SinkError> {
        let Some(path) = context.neighbours.history_path(&settings.history) else {
            let what = format!(
                "there is no sink `{}` with a history; `history` must name one of type `sqlite`",
                settings.history
            );
            return Err(SinkError::Fatal { what, source: None });
        };
        let token = match &settings.auth {
            None => None,
            Some(auth) => auth.load().map_err(|error| SinkError::fatal("the dashboard has no token", error))?,
        };
        let readers = count(settings.readers.get());
        let history = HistoryPool::new(path.to_owned(), readers, settings.query_timeout.0);
        let SinkContext { name, clock, neighbours, .. } = context;
        let state = AppState::new(settings, history, neighbours, clock);
        Ok(Self { state, name, token, server: None })
    }

    fn serve(&self) -> Result<HttpServer, HttpError> {
        let settings = &self.state.settings;
        let listener = bind(settings.listen)?;
        let limits = HttpLimits {
            max_connections: count(settings.max_connections.get()),
            max_connections_per_address: settings.of_one_address().0,
            trusted_proxies: settings.trusted_proxies.clone(),
            // One more: whoever reads the journal makes no question to the history wait.
            max_blocking_threads: count(settings.readers.get()).saturating_add(1),
            ..HttpLimits::default()
        };
        self.state.live.hub().set_open(true);
        let router = router(self.state.clone(), self.token.clone());
        let server = HttpServer::start("dashboard", listener, limits, router)?;
        server.spawn(updater::run(self.state.clone()));
        tracing::info!(address = %server.address(), "dashboard: http://{}/", server.address());
        Ok(server)
    }
}

impl Sink for DashboardSink {
    fn start(&mut self) -> BoxFuture<'_, Result<SinkStart, SinkError>> {
        Box::pin(async {
            if self.server.is_none() {
                let server = self.serve()?;
                self.state.neighbours.listens(&self.name, server.address());
                self.server = Some(server);
            }
            // The names of workers are in the events that open channels: what is open already is announced.
            // A second's update is made of what came before it: fewer and larger deliveries lose nothing and cost less.
            Ok(SinkStart { wants_announcement: true, joins_batches: true, ..SinkStart::default() })
        })
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            self.state.live.apply(&batch);
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async {
            // A stream has no end of its own.
            self.state.live.hub().set_open(false);
            if let Some(server) = self.server.take() {
                server.stop().await;
            }
            Ok(())
        })
    }
}

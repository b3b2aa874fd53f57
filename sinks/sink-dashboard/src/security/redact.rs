//! What public pages leave out: network addresses, and names of workers, for which pseudonyms stand that are good until the
//! next start; and with either of them words that publishers choose freely, which may hold both. Applied to every answer, page and message before it is written.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use sidecar_core::EventKind;
use sink_sqlite::query::{
    BlockView, ConnectionView, DownstreamView, EhashView, LossView, Overview, PastConnection, QuoteView, WorkerDetail,
    WorkerView,
};

use crate::config::{DashboardSettings, Redacted};

/// What stands where an address was, or free words.
pub(crate) const HIDDEN: &str = "(hidden)";

/// What is left out.
#[derive(Debug)]
pub(crate) struct Redaction {
    addresses: bool,
    /// The secret that pseudonyms are made with; `None` shows names.
    names: Option<RandomState>,
}

impl Redaction {
    pub(crate) fn of(settings: &DashboardSettings) -> Self {
        Self {
            addresses: settings.redacts(Redacted::Addresses),
            names: settings.redacts(Redacted::Names).then(RandomState::new),
        }
    }

    /// Whether anything is left out.
    pub(crate) fn is_on(&self) -> bool {
        self.addresses || self.names.is_some()
    }

    /// The name as it is shown.
    pub(crate) fn shown_name(&self, publisher: &str, name: &str) -> String {
        match &self.names {
            None => name.to_owned(),
            Some(secret) => {
                format!("worker-{:012x}", secret.hash_one((publisher, name)) & 0xffff_ffff_ffff)
            }
        }
    }

    /// The name that is shown as `shown`, among those that the publisher has.
    pub(crate) fn real_name(
        &self,
        publisher: &str,
        shown: &str,
        names: impl IntoIterator<Item = String>,
    ) -> Option<String> {
        names.into_iter().find(|name| self.shown_name(publisher, name) == shown)
    }

    /// Whether a name in an address may be taken as it is.
    pub(crate) fn shows_names(&self) -> bool {
        self.names.is_none()
    }

    /// The address as it is shown.
    pub(crate) fn address(&self, address: &mut String) {
        if self.addresses && !address.is_empty() {
            *address = HIDDEN.to_owned();
        }
    }

    /// Words that whoever sent them chose freely: they may tell an address or a name.
    fn words(&self, words: &mut String) {
        if self.is_on() && !words.is_empty() {
            *words = HIDDEN.to_owned();
        }
    }

    fn optional_words(&self, words: &mut Option<String>) {
        if let Some(words) = words {
            self.words(words);
        }
    }

    fn name(&self, publisher: &str, name: &mut String) {
        if self.names.is_some() {
            *name = self.shown_name(publisher, name);
        }
    }

    fn optional_name(&self, publisher: &str, name: &mut Option<String>) {
        if let Some(name) = name {
            self.name(publisher, name);
        }
    }

    pub(crate) fn overview(&self, overview: &mut Overview) {
        if !self.is_on() {
            return;
        }
        for source in &mut overview.sources {
            source.upstreams.iter_mut().for_each(|address| self.address(address));
            for (key, value) in &mut source.info {
                if key.contains("address") || key.starts_with("service") || key.starts_with("upstream") {
                    self.address(value);
                }
            }
            source.sessions.iter_mut().for_each(|session| self.optional_words(&mut session.reason));
            self.losses(&mut source.losses);
            let publisher = source.publisher.clone();
            self.blocks(&publisher, &mut source.blocks);
        }
    }

    pub(crate) fn workers(&self, publisher: &str, workers: &mut [WorkerView]) {
        for worker in workers {
            self.name(publisher, &mut worker.name);
        }
    }

    pub(crate) fn worker(&self, publisher: &str, worker: &mut WorkerDetail) {
        self.name(publisher, &mut worker.name);
        self.past_connections(&mut worker.connections);
    }

    pub(crate) fn past_connections(&self, connections: &mut [PastConnection]) {
        for connection in connections {
            self.address(&mut connection.address);
            self.optional_words(&mut connection.reason);
        }
    }

    pub(crate) fn losses<'a>(&self, losses: impl IntoIterator<Item = &'a mut LossView>) {
        losses.into_iter().for_each(|loss| self.words(&mut loss.reason));
    }

    pub(crate) fn connections(&self, publisher: &str, connections: &mut [ConnectionView]) {
        for connection in connections {
            self.name(publisher, &mut connection.name);
            self.address(&mut connection.address);
        }
    }

    pub(crate) fn downstreams(&self, downstreams: &mut [DownstreamView]) {
        for downstream in downstreams {
            self.address(&mut downstream.address);
            // A device's own id tells who it is as well as its address does.
            self.address(&mut downstream.device_id);
        }
    }

    pub(crate) fn blocks(&self, publisher: &str, blocks: &mut [BlockView]) {
        for block in blocks {
            self.optional_name(publisher, &mut block.identity);
        }
    }

    pub(crate) fn quotes(&self, publisher: &str, quotes: &mut [QuoteView]) {
        for quote in quotes {
            self.optional_name(publisher, &mut quote.identity);
            self.optional_words(&mut quote.error_message);
        }
    }

    pub(crate) fn ehash(&self, publisher: &str, rows: &mut [EhashView]) {
        for row in rows {
            self.optional_name(publisher, &mut row.identity);
        }
    }

    /// An event in JSON, as it may be shown; `None` if it is no JSON.
    pub(crate) fn event(&self, json: Vec<u8>, publisher: &str, kind: EventKind) -> Option<Arc<RawValue>> {
        let text = String::from_utf8(json).ok()?;
        if !self.is_on() {
            return RawValue::from_string(text).ok().map(Arc::from);
        }
        let mut event: Value = serde_json::from_str(&text).ok()?;
        let fields = event.as_object_mut()?;
        for (key, value) in fields.iter_mut() {
            let Value::String(text) = value else { continue };
            match (key.as_str(), kind) {
                ("address" | "device_id", _) => self.address(text),
                // What a source says about itself is mostly where it is.
                ("value", EventKind::SourceInfo) => self.address(text),
                // The payload of an event that is not known may hold anything too.
                ("reason" | "error_message" | "payload", _) => self.words(text),
                ("user_identity", _) | ("name", EventKind::MinerConnected) => self.name(publisher, text),
                _ => {}
            }
        }
        serde_json::value::to_raw_value(&event).ok().map(Arc::from)
    }
}

impl Redaction {
    /// The state of the pipeline: listener and bridges have addresses, the rest has none.
    pub(crate) fn pipeline(&self, value: &mut Value) {
        if !self.addresses {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    match value {
                        Value::String(text) if key == "address" || key == "url" => self.address(text),
                        value => self.pipeline(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.pipeline(value)),
            _ => {}
        }
    }
}

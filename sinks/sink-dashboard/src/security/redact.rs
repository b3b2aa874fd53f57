//! What public pages leave out: network addresses, and names of workers, for which pseudonyms stand that are good until the
//! next start; and with either of them words that publishers choose freely, which may hold both. Applied to every answer, page
//! and message before it is written.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use sidecar_core::{EventKind, NotReady};
use sink_sqlite::query::{
    BlockView, ConnectionView, DownstreamView, EhashView, LossView, Overview, PastConnection, QuoteView, WorkerDetail,
    WorkerView,
};

use crate::config::{DashboardSettings, Redacted};

/// What stands where an address was, or free words.
pub(crate) const HIDDEN: &str = "(hidden)";

/// What a source says about itself that tells nobody where anything is. Everything else is hidden with the addresses, however
/// it is called: whoever writes a publisher chooses the names.
const SAFE_INFO: [&str; 4] = ["authority_public_key", "blockchain_network", "network", "process.started_at"];

/// Fields of the pipeline's snapshot whose words come from anywhere.
const FREE_TEXT: [&str; 5] = ["contents", "last_error", "reason", "what", "why"];

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

    /// What a source says about itself.
    fn source_info(&self, name: &str, value: &mut String) {
        if !SAFE_INFO.contains(&name) {
            self.address(value);
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
            source.info.iter_mut().for_each(|(name, value)| self.source_info(name, value));
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
        let info_name = fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (key, value) in fields.iter_mut() {
            let Value::String(text) = value else { continue };
            match (key.as_str(), kind) {
                ("address" | "device_id", _) => self.address(text),
                ("value", EventKind::SourceInfo) => self.source_info(&info_name, text),
                // The payload of an event that is not known may hold anything too.
                ("reason" | "error_message" | "message" | "subject" | "payload", _) => self.words(text),
                ("user_identity", _) | ("name", EventKind::MinerConnected) => self.name(publisher, text),
                _ => {}
            }
        }
        serde_json::value::to_raw_value(&event).ok().map(Arc::from)
    }

    /// The state of the pipeline: listener and bridges have addresses, and errors and refused events may tell anything.
    pub(crate) fn pipeline(&self, value: &mut Value) {
        if !self.is_on() {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    match value {
                        Value::String(text) if matches!(key.as_str(), "address" | "url") => self.address(text),
                        Value::String(text) if FREE_TEXT.contains(&key.as_str()) => self.words(text),
                        value => self.pipeline(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.pipeline(value)),
            _ => {}
        }
    }

    /// Why a part of the sidecar is not ready.
    pub(crate) fn not_ready(&self, parts: &mut [NotReady]) {
        parts.iter_mut().for_each(|part| self.words(&mut part.why));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn redaction(redact: &[Redacted]) -> Redaction {
        Redaction::of(&DashboardSettings { redact: redact.to_vec(), ..DashboardSettings::new("history") })
    }

    fn event(redaction: &Redaction, kind: EventKind, event: &Value) -> Value {
        let shown = redaction.event(event.to_string().into_bytes(), "pool", kind).unwrap();
        serde_json::from_str(shown.get()).unwrap()
    }

    #[test]
    fn of_what_a_source_says_only_what_is_known_to_be_harmless_is_shown() {
        let addresses = redaction(&[Redacted::Addresses]);
        let said = [
            ("monitoring_api", "http://10.0.0.5:9090"),
            ("listen_address", "192.0.2.7:3333"),
            ("service.mint", "192.0.2.8:3338"),
            ("tomorrows_fact", "192.0.2.9"),
            ("network", "testnet4"),
            ("blockchain_network", "testnet4"),
            ("authority_public_key", "9auqWEzQ"),
            ("process.started_at", "1800000000000"),
        ];
        let mut shown = BTreeSet::new();
        for (name, value) in said {
            let mut told = value.to_owned();
            addresses.source_info(name, &mut told);
            let event = event(&addresses, EventKind::SourceInfo, &json!({ "name": name, "value": value }));
            assert_eq!((event["name"].as_str(), event["value"].as_str()), (Some(name), Some(told.as_str())));
            if told != HIDDEN {
                assert_eq!(told, value);
                shown.insert(name);
            }
        }
        assert_eq!(shown, BTreeSet::from(SAFE_INFO));
        let mut told = "http://10.0.0.5:9090".to_owned();
        redaction(&[]).source_info("monitoring_api", &mut told);
        assert_eq!(told, "http://10.0.0.5:9090", "nothing is left out unless somebody wants it");
    }

    #[test]
    fn the_words_of_alerts_are_hidden_whatever_is_left_out() {
        let alert =
            json!({ "alert": "worker-silent", "subject": "bc1qsecret.rig", "message": "bc1qsecret.rig at 192.0.2.7" });
        for kind in [EventKind::AlertFired, EventKind::AlertResolved] {
            for redacted in [Redacted::Addresses, Redacted::Names] {
                let shown = event(&redaction(&[redacted]), kind, &alert);
                assert_eq!(shown, json!({ "alert": "worker-silent", "subject": HIDDEN, "message": HIDDEN }));
            }
            assert_eq!(event(&redaction(&[]), kind, &alert), alert);
        }
    }

    #[test]
    fn of_the_pipeline_addresses_and_free_words_are_hidden() {
        let told = json!({
            "listener": { "address": "192.0.2.7:4000", "accepted": 3 },
            "sinks": { "mqtt": { "status": "retrying", "last_error": "cannot connect to 192.0.2.7:1883" } },
            "dead_letters": [{ "sink": "mqtt", "event": "channel_opened", "reason": "bad rig.7", "contents": "rig.7" }],
            "journal": { "health": "failing", "what": "no space left on /var/lib/rig.7" },
            "not_ready": [{ "component": "journal", "why": "no space left on /var/lib/rig.7" }],
        });
        let shown = |redact: &[Redacted]| {
            let mut value = told.clone();
            redaction(redact).pipeline(&mut value);
            value
        };
        for redacted in [Redacted::Addresses, Redacted::Names] {
            let shown = shown(&[redacted]);
            let text = shown.to_string();
            assert!(!text.contains(":1883") && !text.contains("rig.7"), "{text}");
            assert!(text.contains("retrying") && text.contains("channel_opened") && text.contains("failing"), "{text}");
            assert_eq!(shown["listener"]["address"] == HIDDEN, redacted == Redacted::Addresses);
        }
        assert_eq!(shown(&[]), told);
    }
}

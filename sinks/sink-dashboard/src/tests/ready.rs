//! A sidecar that takes nothing in says so: its numbers stand still, and no source is at fault.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use serde_json::{Value, json};
use sidecar_core::{NotReady, PipelineView};
use stats_sv2::Role;

use super::{Bench, SECOND};
use crate::config::Redacted;

/// A pool whose sidecar has a full disk while this is true.
fn bench(redact: Vec<Redacted>) -> (Bench, Arc<AtomicBool>, Arc<AtomicU64>) {
    let mut bench = Bench::with(Role::Pool, |settings| settings.redact = redact);
    bench.open(1, "rig");
    bench.observe(5 * SECOND);
    let is_full = Arc::new(AtomicBool::new(false));
    let (full, reports) = (Arc::clone(&is_full), Arc::new(AtomicU64::new(0)));
    bench.neighbours.pipeline_is(Pipeline { is_full: full, reports: Arc::clone(&reports) });
    (bench, is_full, reports)
}

/// A pipeline that counts who has the journal read.
struct Pipeline {
    is_full: Arc<AtomicBool>,
    reports: Arc<AtomicU64>,
}

impl PipelineView for Pipeline {
    fn not_ready(&self) -> Option<Vec<NotReady>> {
        let why = "no space left <on> /var/lib/secret".to_owned();
        let journal = NotReady { component: "journal".to_owned(), why };
        Some(if self.is_full.load(Relaxed) { vec![journal] } else { Vec::new() })
    }

    fn report(&self) -> Option<Value> {
        self.reports.fetch_add(1, Relaxed);
        let not_ready = self.not_ready()?;
        Some(json!({ "ready": not_ready.is_empty(), "not_ready": not_ready }))
    }
}

#[cfg(feature = "pages")]
#[test]
fn every_page_says_why_the_sidecar_is_not_ready() {
    let (mut bench, is_full, reports) = bench(Vec::new());
    let paths = [
        "/",
        "/workers",
        "/worker?name=rig&kind=identity",
        "/connections",
        "/quotes",
        "/blocks",
        "/pipeline",
        "/connect",
        "/worker?name=nobody",
    ];
    for path in paths {
        let body = bench.get(path).body;
        // The place is there before anything comes into it: what comes is read out then.
        assert!(body.contains("data-key=\"not-ready\" role=\"status\"></div>"), "{path}: {body}");
    }
    is_full.store(true, Relaxed);
    bench.pass(2 * SECOND);
    for path in paths {
        let body = bench.get(path).body;
        assert!(body.contains("The sidecar is not ready"), "{path}: {body}");
        assert!(body.contains("journal: no space left &lt;on&gt; /var/lib/secret"), "{path}: {body}");
        assert_eq!(body.contains("\">See the pipeline"), path != "/pipeline", "{path}: {body}");
    }
    is_full.store(false, Relaxed);
    bench.pass(2 * SECOND);
    assert!(!bench.get("/").body.contains("not ready"), "it goes again");
    assert_eq!(reports.load(Relaxed), 2, "only the page that lists dead letters has the journal read");
}

#[cfg(feature = "pages")]
#[test]
fn the_reason_is_left_out_where_anything_is() {
    let (mut bench, is_full, _) = bench(vec![Redacted::Addresses]);
    is_full.store(true, Relaxed);
    bench.pass(2 * SECOND);
    for path in ["/", "/pipeline"] {
        let body = bench.get(path).body;
        assert!(body.contains("The sidecar is not ready") && body.contains("<p>journal</p>"), "{path}: {body}");
        assert!(!body.contains("secret"), "{path}: {body}");
    }
}

#[test]
fn a_sidecar_that_is_not_ready_is_not_healthy() {
    let (mut bench, is_full, reports) = bench(Vec::new());
    for path in ["/health", "/api/v1/health"] {
        assert_eq!(bench.json(path)["healthy"], true, "{path}");
    }
    is_full.store(true, Relaxed);
    bench.pass(2 * SECOND);
    for path in ["/health", "/api/v1/health"] {
        let reply = bench.get(path);
        assert_eq!(reply.status, 503, "{path}");
        let health = reply.json();
        assert_eq!((&health["healthy"], &health["stale"]), (&false.into(), &false.into()), "the source is heard");
    }
    assert_eq!(reports.load(Relaxed), 0, "a probe does not have the journal read");
    assert_eq!(bench.json("/api/v1/pipeline")["not_ready"][0]["component"], "journal");
    assert_eq!(reports.load(Relaxed), 1);
}

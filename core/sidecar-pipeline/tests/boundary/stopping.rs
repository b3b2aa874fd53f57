//! Stopping under a deadline, and what runs beside the sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sidecar_core::{BoxError, BoxFuture, Status, SystemClock};
use sidecar_journal::LocalRun;
use sidecar_pipeline::{Bridge, BridgeContext, PipelineBuilder};
use stats_sv2::Role;

use crate::client::{Client, Said, open_message, share, shares};
use crate::fake_sink::{Act, FakeSink};
use crate::sidecar::{Sidecar, eventually, journal_config, listener, open_journal, spec};

#[tokio::test]
async fn stopping_acknowledges_says_goodbye_and_lets_the_sinks_finish() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 5_000)).await;
    eventually("it is received", || sidecar.snapshot().listener.unwrap().counters.events == 5_000).await;
    let address = sidecar.address();
    let words = tokio::spawn(async move { client.last_words().await });
    let (_folder, report) = sidecar.stop().await;
    assert!(report.is_complete(), "{report:?}");
    let words = words.await.unwrap();
    assert_eq!(words[words.len() - 2..], [Said::Ack(5_000), Said::Close("shutdown".to_owned())]);
    assert_eq!(sink.sequences().len(), 5_000, "what was acknowledged has reached the sink");
    assert_eq!(sink.with(|memory| memory.closed), 1);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_failing_sink_does_not_hold_up_the_stop_and_its_events_are_named() {
    let sink = FakeSink::acting(vec![Act::Transient; 1_000_000]);
    let mut patient = spec("away", &sink);
    patient.retry.initial_backoff = Duration::from_secs(3600);
    patient.retry.max_backoff = Duration::from_secs(3600);
    let sidecar = Sidecar::with(listener(), [patient]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 10)).await;
    client.acknowledged(10).await;
    drop(client);
    eventually("it has failed once", || sink.with(|memory| memory.attempts) == 1).await;
    let (folder, report) = sidecar.stop().await;
    assert!(!report.is_complete());
    assert_eq!((report.sinks[0].ledger.pending, &report.sinks[0].not_closed), (11, &None));
    assert!(report.took < Duration::from_secs(4), "{:?}", report.took);

    let healed = FakeSink::default();
    let _sidecar = Sidecar::again(folder, [spec("away", &healed)]).await;
    eventually("the next start delivers them", || healed.sequences().len() == 10).await;
}

#[tokio::test]
async fn a_hanging_sink_is_cut_off_at_the_deadline() {
    let (hanging, good) = (FakeSink::acting([Act::Hang]), FakeSink::default());
    let sidecar = Sidecar::with(listener(), [spec("hanging", &hanging), spec("good", &good)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 1).await;
    client.send(&shares(1, 10)).await;
    client.acknowledged(10).await;
    drop(client);
    let report = sidecar.running.shutdown(Duration::from_millis(500)).await;
    let left: Vec<u64> = report.sinks.iter().map(|sink| sink.ledger.pending).collect();
    assert_eq!(left, [11, 0], "{report:?}");
    assert_eq!(report.journal_not_closed, None);
    assert_eq!(good.sequences().len(), 10);
}

#[tokio::test]
async fn two_listeners_cannot_share_an_address_and_two_sinks_no_name() {
    let first = Sidecar::listening(listener()).await;
    let mut config = listener();
    config.listen = first.address();
    let folder = tempfile::TempDir::new().unwrap();
    let journal = open_journal(journal_config(&folder));
    let second = Sidecar::try_over(folder, journal.clone(), config, []).await;
    assert!(second.map(drop).unwrap_err().to_string().contains("cannot listen"));

    let sink = FakeSink::default();
    let builder = PipelineBuilder::new(journal, Arc::new(SystemClock));
    let started = builder.sink(spec("twice", &sink)).sink(spec("twice", &sink)).build().start().await;
    assert!(started.map(drop).unwrap_err().to_string().contains("twice"));
    assert_eq!(sink.with(|memory| memory.started), 0);
}

/// Fails, panics, then gives one event and waits.
struct MovedBridge(Arc<AtomicU32>);

impl Bridge for MovedBridge {
    fn publisher(&self) -> Option<&str> {
        Some("bridged")
    }

    fn run(&mut self, context: BridgeContext) -> BoxFuture<'_, Result<(), BoxError>> {
        let round = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match round {
                0 => return Err("the pool is away".into()),
                1 => panic!("a bridge panics as asked"),
                _ => {}
            }
            let frames = share(1).into();
            let run = LocalRun {
                name: context.name,
                publisher: "bridged".into(),
                role: Role::Bridge,
                session_id: 5,
                vendor: "test".to_owned(),
                frames,
                count: 1,
                state: vec![1],
            };
            context.journal.append_local(run).await?;
            context.health.set(Status::Healthy);
            context.drain.requested().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_bridge_is_started_again_until_it_works_and_stops_when_asked() {
    let folder = tempfile::TempDir::new().unwrap();
    let journal = open_journal(journal_config(&folder));
    let (sink, rounds) = (FakeSink::default(), Arc::new(AtomicU32::new(0)));
    let running = PipelineBuilder::new(journal, Arc::new(SystemClock))
        .sink(spec("history", &sink))
        .bridge("sri", Box::new(MovedBridge(Arc::clone(&rounds))))
        .build()
        .start()
        .await
        .unwrap();
    eventually("its event arrives", || sink.sequences() == [1]).await;
    let health = &running.status().snapshot().bridges["sri"];
    assert_eq!((health.errors, health.status.name()), (2, "healthy"));
    let report = running.shutdown(Duration::from_secs(5)).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(rounds.load(Ordering::SeqCst), 3);
}

/// Has nothing to tell.
struct IdleBridge;

impl Bridge for IdleBridge {
    fn run(&mut self, context: BridgeContext) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            context.drain.requested().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn names_of_bridges_are_refused_to_connections() {
    let folder = tempfile::TempDir::new().unwrap();
    let journal = open_journal(journal_config(&folder));
    let running = PipelineBuilder::new(journal, Arc::new(SystemClock))
        .listener(listener())
        .bridge("sri", Box::new(MovedBridge(Arc::new(AtomicU32::new(2)))))
        .bridge("idle", Box::new(IdleBridge))
        .build()
        .start()
        .await
        .unwrap();
    let address = running.address().unwrap();
    for taken in ["bridged", "idle"] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.open(&open_message(taken, 9)).await, Said::Error("unauthorized".to_owned()));
    }
    // A bridge with a publisher name of its own does not take its key as well.
    let (_client, committed) = Client::opened(address, "sri", 9).await;
    assert_eq!(committed, 0);
    assert!(running.shutdown(Duration::from_secs(5)).await.is_complete());
}

#[tokio::test]
async fn the_status_is_json() {
    let sink = FakeSink::default();
    let sidecar = Sidecar::with(listener(), [spec("history", &sink)]).await;
    let (mut client, _) = Client::opened(sidecar.address(), "pool", 0xab).await;
    client.send(&shares(1, 3)).await;
    client.acknowledged(3).await;
    eventually("delivered", || sidecar.ledger("history").delivered == 4).await;
    let json = serde_json::to_value(sidecar.snapshot()).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["sources"][0]["session"], "00000000000000ab");
    assert_eq!(json["sources"][0]["committed_sequence"], 3);
    assert_eq!(json["sinks"]["history"]["status"], "healthy");
    assert_eq!(json["sinks"]["history"]["ledger"]["delivered"], 4);
    assert_eq!(json["sinks"]["history"]["ledger"]["expired"]["retry-budget"], 0);
    assert_eq!(json["listener"]["ended"]["publisher-in-use"], 0);
    assert_eq!(json["journal"]["health"], "healthy");
}

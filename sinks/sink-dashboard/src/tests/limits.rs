//! What is too much or takes too long is said to be so, and leaves nothing behind.

use std::time::Duration;

use axum::http::header;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use sidecar_core::Period;
use sink_sqlite::query::QueryError;
use stats_sv2::Role;

use super::{Bench, SECOND, START};
use crate::api::problem::Problem;
use crate::history::{HistoryPool, MAX_WAITING, ReadError};

#[test]
fn a_question_that_takes_too_long_is_a_problem_and_never_zeros() {
    let mut bench = Bench::with(Role::Pool, |settings| {
        // Whoever looks at the clock while a question is answered finds it over; small questions end before that.
        settings.query_timeout = Period(Duration::from_nanos(1));
        settings.requests_per_second = 1_000.try_into().unwrap();
    });
    bench.open_many(3_000);
    for path in ["/api/v1/workers", "/api/miners", "/api/v1/workers?format=csv"] {
        let reply = bench.get(path);
        let detail = reply.problem(504)["detail"].to_string();
        assert!(detail.contains("did not answer within"), "{path}: {detail}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    // More of them than there are connections: none is lost by it.
    for again in 0..20 {
        bench.get(&format!("/api/v1/workers?again={again}")).problem(504);
    }
    assert_eq!(bench.json("/api/v1/blocks")["total"], bench.json("/api/v1/blocks?again=1")["total"]);
}

#[test]
fn a_connection_that_was_interrupted_is_used_again() {
    let bench = Bench::new();
    let pool = HistoryPool::new(bench.history.path.clone(), 1, Duration::from_millis(20));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..3 {
        let endless = pool.read(|history| -> Result<(), QueryError> {
            loop {
                history.overview(START)?;
            }
        });
        assert!(matches!(runtime.block_on(endless), Err(ReadError::TooSlow { .. })));
        let overview = runtime.block_on(pool.read(|history| history.overview(START))).unwrap();
        assert_eq!(overview.sources[0].publisher, "pool-a");
    }
}

#[test]
fn too_many_questions_are_refused_until_some_are_answered() {
    let bench = Bench::new();
    let pool = HistoryPool::new(bench.history.path.clone(), 1, Duration::from_secs(20));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (go_on, wait) = std::sync::mpsc::sync_channel(1);
        let mut first = Box::pin(pool.read(move |history| {
            wait.recv().expect("the test sends once");
            history.overview(START)
        }));
        assert!((&mut first).now_or_never().is_none());
        let mut others: Vec<_> =
            (0..MAX_WAITING).map(|_| Box::pin(pool.read(|history| history.overview(START)))).collect();
        for other in &mut others {
            assert!(other.now_or_never().is_none(), "it waits");
        }
        let Err(refused) = pool.read(|history| history.overview(START)).await else { panic!("there is no room") };
        assert!(matches!(refused, ReadError::Busy), "{refused}");
        let response = Problem::from(refused).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        go_on.send(()).unwrap();
        first.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        pool.read(|history| history.overview(START)).await.unwrap();
    });
}

#[test]
fn a_live_update_says_that_the_history_cannot_be_read() {
    let mut bench = Bench::new();
    let mut client = bench.listen("");
    std::fs::remove_file(&bench.history.path).unwrap();
    bench.pass(2 * SECOND);
    let update = loop {
        let update = client.next("update").data;
        if !update["history_error"].is_null() {
            break update;
        }
    };
    assert!(update["sources"].as_array().unwrap().is_empty(), "no zeros: {update}");
    assert!(update["history_error"].as_str().unwrap().contains("no history"), "{update}");
}

//! The dashboard over a year of a thousand workers: how soon it answers fifty clients while events come in, what it costs in
//! memory and in ingest rate, and how soon two hundred browsers see an update.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::decode::median;
use crate::live_stream;
use crate::sidecar_process::{Sidecar, appended, caught_up, simulate};
use crate::table::{Limit, Table};
use crate::year::{Pool, WORKERS, Year, rate_during};

/// Events a second that come in meanwhile.
const RATE: u64 = 50_000;
const CLIENTS: u64 = 50;
const OVERVIEW_MS: f64 = 50.0;
const ANSWER_MS: f64 = 100.0;
const MEMORY_MIB: f64 = 50.0;
/// The least part of the ingest rate that is left beside a dashboard.
const LEAST_RATE: f64 = 0.9;
const RANGES: [&str; 6] = ["1h", "6h", "24h", "7d", "30d", "1y"];

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let year = Year::make(table, if quick { 20 } else { 365 })?;
    let seconds = Duration::from_secs(if quick { 3 } else { 10 });
    let (alone_rate, alone_mib) = without(&year, seconds)?;
    with(table, &year, seconds, alone_rate, alone_mib)?;
    ingest(table, &year, quick)
}

/// The same load without a dashboard: events a second that are taken, and the highest resident memory.
fn without(year: &Year, seconds: Duration) -> Result<(f64, f64)> {
    let (sidecar, _) = year.sidecar(false)?;
    let _pool = Pool::start(&sidecar, RATE)?;
    let (rate, ()) = rate_during(&sidecar, || {
        std::thread::sleep(3 * seconds);
        Ok(())
    })?;
    Ok((rate, sidecar.memory_mib()?.1))
}

fn with(table: &mut Table, year: &Year, seconds: Duration, alone_rate: f64, alone_mib: f64) -> Result<()> {
    let (sidecar, address) = year.sidecar(true)?;
    let address = address.context("this sidecar has a dashboard")?;
    let _pool = Pool::start(&sidecar, RATE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask_for = |time, path: &dyn Fn(u64) -> String| runtime.block_on(ask(&address, time, path));
    let ask_first = |path: &dyn Fn(u64) -> String| ask_for(None, path);
    let ask = |path: &dyn Fn(u64) -> String| ask_for(Some(seconds), path);
    let what = format!("{CLIENTS} clients, {RATE} events/s");
    let worker = |number: u64| format!("sim.rig-{:04}", number % u64::from(WORKERS) + 1);
    let (rate, ()) = rate_during(&sidecar, || {
        for (name, limit, path) in [
            ("overview (API)", OVERVIEW_MS, &(|_| "/api/v1/summary".to_owned()) as &dyn Fn(u64) -> String),
            ("overview (page)", OVERVIEW_MS, &|_| "/".to_owned()),
            ("worker list (API)", ANSWER_MS, &|n| format!("/api/v1/workers?sort=hashrate&limit={}", 100 - n % 10)),
            ("worker list (page)", ANSWER_MS, &|_| "/workers".to_owned()),
        ] {
            ask_first(path)?;
            answered(table, &format!("{name}, {what}"), ask(path)?, limit);
        }
        for range in RANGES {
            let times = ask(&|_| format!("/api/v1/series?range={range}"))?;
            answered(table, &format!("series of the pool, {range}, {what}"), times, ANSWER_MS);
            let of_worker = |n| format!("/api/v1/series?range={range}&subject=identity&name={}", worker(n));
            // The pages of a file that nobody read for a while are on the disk; the first question to each worker fetches
            // them. How long that takes is the disk's affair and told beside the figure that is held to the limit.
            let first = ask_first(&of_worker)?;
            let what = format!("series of each worker in turn, {range}, {what}");
            table.add(format!("{what}, the first question to each: p99"), p99(first), "ms", Limit::None);
            answered(table, &what, ask(&of_worker)?, ANSWER_MS);
        }
        let of_connection = |n| format!("/api/v1/series?range=24h&subject=downstream&id={}", n % 250 + 1);
        ask_first(&of_connection)?;
        answered(table, &format!("series of each connection in turn, 24h, {what}"), ask(&of_connection)?, ANSWER_MS);
        Ok(())
    })?;
    let lost = 100.0 * (1.0 - rate / alone_rate);
    table.add(format!("events taken without a dashboard, of {RATE}/s"), alone_rate, "/s", Limit::None);
    table.add(format!("events taken beside {CLIENTS} clients, of {RATE}/s"), rate, "/s", Limit::None);
    let most = 100.0 * (1.0 - LEAST_RATE);
    table.add(format!("ingest rate lost to {CLIENTS} clients"), lost, "%", Limit::AtMost(most));
    live_stream::measure(table, &sidecar, &address, 3 * seconds)?;
    let (_, peak) = sidecar.memory_mib()?;
    table.add("resident memory without a dashboard, peak", alone_mib, "MiB", Limit::None);
    table.add("resident memory with a dashboard, peak", peak, "MiB", Limit::None);
    table.add("memory of the dashboard", peak - alone_mib, "MiB", Limit::AtMost(MEMORY_MIB));
    Ok(())
}

/// Adds the 99th percentile; a median beside it tells what is usual.
fn answered(table: &mut Table, what: &str, times: Vec<f64>, limit: f64) {
    table.add(format!("{what}: p50"), median(times.clone()), "ms", Limit::None);
    table.add(format!("{what}: p99"), p99(times), "ms", Limit::AtMost(limit));
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get((times.len().saturating_sub(1)) * 99 / 100).copied().unwrap_or(f64::NAN)
}

/// Each client has a connection and asks five times a second for some time. Answers are kept for a second: clients that
/// asked without a pause would be given the same ones over and over, and their percentiles would hide how long a fresh one
/// takes. Without a time each client asks each of its questions once. Returns milliseconds.
async fn ask(address: &str, time: Option<Duration>, path: &dyn Fn(u64) -> String) -> Result<Vec<f64>> {
    const EVERY: Duration = Duration::from_millis(200);
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (paths, address) = (questions_of(client, path), address.to_owned());
        clients.spawn(async move {
            let mut sender = connect(&address).await?;
            let mut times = Vec::new();
            // Spread over the period, as people are.
            let first = begin + EVERY.mul_f64(client as f64 / CLIENTS as f64);
            let mut timer = tokio::time::interval_at(first.into(), EVERY);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            let questions = if time.is_some() { usize::MAX } else { paths.len() };
            for path in paths.iter().cycle().take(questions) {
                if let Some(time) = time {
                    timer.tick().await;
                    if begin.elapsed() >= time {
                        break;
                    }
                }
                let asked = Instant::now();
                get(&mut sender, &address, path).await?;
                times.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client.context("a client panicked")??);
    }
    Ok(times)
}

/// The different questions of one client.
fn questions_of(client: u64, path: &dyn Fn(u64) -> String) -> Vec<String> {
    const QUESTIONS: u64 = 40;
    (0..QUESTIONS).map(|question| path(client * QUESTIONS + question)).collect()
}

/// A connection that is kept.
pub(crate) async fn connect(address: &str) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

pub(crate) fn request(address: &str, path: &str) -> Result<Request<Empty<Bytes>>> {
    Ok(Request::get(path).header("host", address).header("accept-encoding", "gzip, br").body(Empty::new())?)
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>, address: &str, path: &str) -> Result<()> {
    sender.ready().await?;
    let response = sender.send_request(request(address, path)?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// As fast as it goes, with and without a dashboard in turn; nobody looks at it, or fifty browsers follow it live.
fn ingest(table: &mut Table, year: &Year, quick: bool) -> Result<()> {
    let (rounds, events) = if quick { (3, 1_000_000) } else { (5, 3_000_000) };
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        rates[0].push(at_full_speed(year, events, None)?);
        rates[1].push(at_full_speed(year, events, Some(0))?);
        rates[2].push(at_full_speed(year, events, Some(CLIENTS))?);
    }
    let [alone, beside, watched] = rates.map(median);
    table.add("ingest without a dashboard", alone, "events/s", Limit::None);
    table.add("ingest beside a dashboard", beside, "events/s", Limit::None);
    table.add("ingest rate lost to the dashboard", 100.0 * (1.0 - beside / alone), "%", Limit::AtMost(10.0));
    table.add(
        format!("ingest rate lost to it and {CLIENTS} live views"),
        100.0 * (1.0 - watched / alone),
        "%",
        Limit::None,
    );
    Ok(())
}

fn at_full_speed(year: &Year, events: u64, viewers: Option<u64>) -> Result<f64> {
    let (sidecar, address) = year.sidecar(viewers.is_some())?;
    let _viewers = match (&address, viewers) {
        (Some(address), Some(viewers)) => Some(live_stream::Viewers::start(address, viewers)?),
        _ => None,
    };
    publish_all(&sidecar, events)
}

fn publish_all(sidecar: &Sidecar, events: u64) -> Result<f64> {
    let before = appended(&sidecar.pipeline()?).context("/pipeline does not say how much was appended")?;
    let begin = Instant::now();
    let miners = WORKERS.to_string();
    let report =
        simulate(sidecar, &["--miners", &miners, "--rate", "max", "--events", &events.to_string(), "--seed", "7"])?;
    let took =
        sidecar.wait_for(begin, |now| appended(now).is_some_and(|count| count >= before + events) && caught_up(now))?;
    ensure!(report["dropped"] == 0, "simulate dropped events: {report}");
    Ok(events as f64 / took.as_secs_f64())
}

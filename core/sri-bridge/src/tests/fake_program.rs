//! A program that answers as SRI's monitoring API does, with channels in the very shape of the recorded ones, and a store
//! in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use sidecar_core::{BoxError, BoxFuture};
use stats_sv2::{Event, Frames};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::replay::Replay;
use crate::{BridgeRun, BridgeStore, SavedState, SriRole};

/// A condition that takes longer will never hold.
const DEADLINE: Duration = Duration::from_secs(10);

const HALVES: [&str; 3] = ["clients", "server", "sv1"];

/// What a request gets instead of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ServerError,
    Garbage,
    TooLong,
    Hang,
}

type Hook = Box<dyn FnMut(&mut Program, &str) + Send>;

/// The program's state, which a test changes at will.
pub(crate) struct Program {
    pub(crate) role: SriRole,
    /// Seconds, by the program's own clock.
    pub(crate) clock: u64,
    pub(crate) started: u64,
    pub(crate) clients: BTreeMap<u32, BTreeMap<u32, Value>>,
    pub(crate) upstream: BTreeMap<u32, Value>,
    pub(crate) miners: BTreeMap<u32, Value>,
    /// Every answer has another order, as if the program's snapshot had been made anew in between.
    pub(crate) shuffled: bool,
    /// Answers given as they are, by path without query, status and body.
    pub(crate) recorded: BTreeMap<String, (u16, String)>,
    pub(crate) fault: Option<(&'static str, Fault)>,
    /// Called before each request is answered.
    pub(crate) before_each: Option<Hook>,
    pub(crate) requests: Vec<String>,
    random: SmallRng,
}

fn template(text: &str, list: &str) -> Value {
    let page: Value = serde_json::from_str(text).unwrap();
    page[list][0].clone()
}

/// A channel of a pool's client with this many shares of difficulty `each`.
pub(crate) fn client_channel(id: u32, name: &str, accepted: u32, each: f64) -> Value {
    let mut channel = template(include_str!("../../fixtures/pool-client-channels.json"), "extended_channels");
    channel["channel_id"] = json!(id);
    channel["user_identity"] = json!(name);
    channel["shares_accepted"] = json!(accepted);
    channel["share_work_sum"] = json!(f64::from(accepted) * each);
    channel["best_diff"] = json!(f64::from(accepted) * each);
    channel
}

/// A channel of a translator to its upstream.
pub(crate) fn server_channel(id: u32, name: &str, acknowledged: u32) -> Value {
    let mut channel = template(include_str!("../../fixtures/translator-server-channels.json"), "extended_channels");
    channel["channel_id"] = json!(id);
    channel["user_identity"] = json!(name);
    channel["shares_acknowledged"] = json!(acknowledged);
    channel["validated_work_sum"] = json!(f64::from(acknowledged));
    channel["best_diff"] = json!(f64::from(acknowledged));
    channel
}

/// An SV1 miner.
pub(crate) fn sv1_miner(id: u32, name: &str) -> Value {
    let mut miner = template(include_str!("../../fixtures/translator-sv1-clients.json"), "items");
    miner["client_id"] = json!(id);
    miner["sv1_username"] = json!(name);
    miner
}

impl Program {
    pub(crate) fn new(role: SriRole) -> Self {
        Self {
            role,
            clock: 1_800_000_000,
            started: 1_800_000_000 - 10,
            clients: BTreeMap::new(),
            upstream: BTreeMap::new(),
            miners: BTreeMap::new(),
            shuffled: false,
            recorded: BTreeMap::new(),
            fault: None,
            before_each: None,
            requests: Vec::new(),
            random: SmallRng::seed_from_u64(1),
        }
    }

    /// Ends and starts again, with nothing.
    pub(crate) fn restart(&mut self) {
        self.clock += 20;
        self.started = self.clock;
        self.clients.clear();
        self.upstream.clear();
        self.miners.clear();
    }

    pub(crate) fn add_shares(&mut self, client: u32, channel: u32, accepted: u32, each: f64) {
        let channel = self.clients.get_mut(&client).unwrap().get_mut(&channel).unwrap();
        let (before, work) =
            (channel["shares_accepted"].as_u64().unwrap(), channel["share_work_sum"].as_f64().unwrap());
        channel["shares_accepted"] = json!(before + u64::from(accepted));
        channel["share_work_sum"] = json!(work + f64::from(accepted) * each);
        channel["best_diff"] = json!(work + each);
    }

    fn answer(&mut self, path_and_query: &str) -> (u16, String) {
        self.requests.push(path_and_query.to_owned());
        if let Some(mut hook) = self.before_each.take() {
            hook(self, path_and_query);
            self.before_each.get_or_insert(hook);
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        if let Some(recorded) = self.recorded.get(path) {
            return recorded.clone();
        }
        let number = |key: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            found.map(|digits| digits.parse::<usize>().unwrap())
        };
        let (offset, limit) = (number("offset").unwrap_or(0), number("limit").unwrap_or(25).min(100));
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        let half = match self.role {
            SriRole::Pool => ["clients"].as_slice(),
            SriRole::Proxy => ["server", "sv1"].as_slice(),
        };
        if HALVES.contains(&parts[0]) && !half.contains(&parts[0]) {
            return (404, json!({"error": "monitoring not available"}).to_string());
        }
        let found = match parts.as_slice() {
            ["health"] => Some(json!({"status": "ok", "timestamp": self.clock})),
            ["global"] => {
                let there = |role| (self.role == role).then(|| json!({"total_hashrate": -0.0}));
                Some(json!({
                    "server": there(SriRole::Proxy),
                    "sv2_clients": there(SriRole::Pool),
                    "sv1_clients": there(SriRole::Proxy),
                    "uptime_secs": self.clock.wrapping_sub(self.started),
                }))
            }
            ["clients"] => {
                let clients = self.clients.keys();
                let all = clients.map(|id| json!({"client_id": id, "client_kind": "unknown"})).collect();
                Some(self.page("items", "total", all, offset, limit))
            }
            ["clients", id, "channels"] => {
                let channels =
                    self.clients.get(&id.parse().unwrap()).map(|channels| channels.values().cloned().collect());
                channels.map(|all| self.channels(all, offset, limit))
            }
            ["server", "channels"] => {
                let all = self.upstream.values().cloned().collect();
                Some(self.channels(all, offset, limit))
            }
            ["sv1", "clients"] => {
                let all = self.miners.values().cloned().collect();
                Some(self.page("items", "total", all, offset, limit))
            }
            _ => None,
        };
        match found {
            Some(found) => (200, found.to_string()),
            None => (404, json!({"error": "not found"}).to_string()),
        }
    }

    fn channels(&mut self, all: Vec<Value>, offset: usize, limit: usize) -> Value {
        let mut page = self.page("extended_channels", "total_extended", all, offset, limit);
        page["standard_channels"] = json!([]);
        page["total_standard"] = json!(0);
        page
    }

    fn page(&mut self, list: &str, total: &str, mut all: Vec<Value>, offset: usize, limit: usize) -> Value {
        if self.shuffled {
            all.shuffle(&mut self.random);
        }
        let items: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
        json!({"offset": offset, "limit": limit, total: all.len(), list: items})
    }
}

/// The program behind a port, as long as this value lives.
pub(crate) struct FakeProgram {
    pub(crate) url: String,
    program: Arc<Mutex<Program>>,
    server: JoinSet<()>,
}

impl FakeProgram {
    pub(crate) async fn start(program: Program) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let program = Arc::new(Mutex::new(program));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&program)));
        Self { url, program, server }
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Program) -> T) -> T {
        change(&mut self.program.lock().unwrap())
    }

    /// Leaves the port; the state stays.
    pub(crate) async fn leave(&mut self) {
        self.server.shutdown().await;
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.url.trim_start_matches("http://")).await.unwrap();
        self.server.spawn(serve(listener, Arc::clone(&self.program)));
    }
}

async fn serve(listener: TcpListener, program: Arc<Mutex<Program>>) {
    // Dropped, and with it every connection, when the server's task is.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let program = Arc::clone(&program);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            let (fault, answer) = {
                let mut program = program.lock().unwrap();
                let answer = program.answer(&path);
                (program.fault.filter(|(part, _)| path.contains(part)).map(|(_, fault)| fault), answer)
            };
            async move {
                let (status, body) = match fault {
                    None => answer,
                    Some(Fault::ServerError) => (500, "{}".to_owned()),
                    Some(Fault::Garbage) => (200, "<html>".to_owned()),
                    Some(Fault::TooLong) => (200, " ".repeat(crate::client::MAX_ANSWER + 1)),
                    Some(Fault::Hang) => std::future::pending().await,
                };
                let response = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        connections.spawn(async move {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// When the store fails the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreFault {
    BeforeCommit,
    AfterCommit,
}

/// A journal in memory.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    pub(crate) runs: watch::Sender<Vec<BridgeRun>>,
    pub(crate) fault: Mutex<Option<StoreFault>>,
    pub(crate) initial: Option<SavedState>,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self { runs: watch::Sender::new(Vec::new()), fault: Mutex::new(None), initial: None }
    }

    pub(crate) fn runs(&self) -> Vec<BridgeRun> {
        self.runs.borrow().clone()
    }

    /// What a reader of everything stored so far would believe.
    pub(crate) fn replay(&self) -> Replay {
        let mut replay = Replay::default();
        for run in self.runs.borrow().iter() {
            let events: Vec<Event<'_>> = Frames::new(&run.frames).map(|frame| Event::decode(frame).unwrap()).collect();
            assert_eq!(events.len(), run.count as usize);
            replay.apply(&events);
        }
        replay
    }

    /// Waits until what is stored shows it.
    pub(crate) async fn until(&self, shows: impl Fn(&Replay) -> bool) -> Replay {
        let mut runs = self.runs.subscribe();
        let watching = async {
            loop {
                runs.borrow_and_update();
                let replay = self.replay();
                if shows(&replay) {
                    return replay;
                }
                runs.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, watching).await {
            Ok(replay) => replay,
            Err(_) => panic!("what is awaited never shows: {:?}", self.replay().totals),
        }
    }

    /// Waits for this many more polls, so that what happened before the call is surely seen.
    pub(crate) async fn polls(&self, count: usize) {
        let mut runs = self.runs.subscribe();
        let enough = runs.borrow().len() + count;
        tokio::time::timeout(DEADLINE, runs.wait_for(|runs| runs.len() >= enough)).await.unwrap().unwrap();
    }
}

impl BridgeStore for MemoryStore {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<SavedState>, BoxError>> {
        let runs = self.runs.borrow();
        let last = runs.iter().rev().find(|run| run.name == name);
        let saved = last.map(|run| SavedState { session_id: run.session_id, state: run.state.clone() });
        let saved = saved.or_else(|| self.initial.clone());
        Box::pin(async move { Ok(saved) })
    }

    fn append(&self, run: BridgeRun) -> BoxFuture<'_, Result<(), BoxError>> {
        let fault = self.fault.lock().unwrap().take();
        if fault != Some(StoreFault::BeforeCommit) {
            self.runs.send_modify(|runs| runs.push(run));
        }
        Box::pin(async move { if fault.is_some() { Err("the disk is full".into()) } else { Ok(()) } })
    }
}

//! The kit that every sink passes. What this sink stores lives in memory, so the kit's folder stands for a process: sinks
//! made over the same folder share their numbers, and the count is read from the text of a scrape.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sidecar_core::ManualClock;
use sidecar_http::classic_metrics;
use sink_contract::{Contract, Guarantee, Stored};

use super::{NOW, context, limits, parse, settings};
use crate::encoder;
use crate::numbers::Numbers;
use crate::sink::PrometheusSink;

type Processes = Arc<Mutex<HashMap<PathBuf, Arc<Mutex<Numbers>>>>>;

#[test]
fn it_passes_the_contract_of_sinks_and_counts_every_event_once() {
    let processes = Processes::default();
    let of = |processes: &Processes, folder: &Path| -> Arc<Mutex<Numbers>> {
        let new = || Arc::new(Mutex::new(Numbers::new(limits(4))));
        Arc::clone(processes.lock().unwrap().entry(folder.to_owned()).or_insert_with(new))
    };
    let makes = Arc::clone(&processes);
    Contract::new(
        Guarantee::ExactlyOnce,
        move |folder| {
            let settings = settings("listen = \"127.0.0.1:0\"").unwrap();
            let context = context(Arc::new(ManualClock::at(NOW)));
            Box::new(PrometheusSink::over(of(&makes, folder), settings, context))
        },
        move |folder| {
            let samples = parse(&classic_metrics(&encoder::encode(&of(&processes, folder), NOW, NOW)));
            let events = samples.iter().filter(|(series, _)| series.starts_with("mining_events_total{"));
            Stored::Count(events.map(|(_, count)| *count as u64).sum())
        },
    )
    .at(NOW)
    .check();
}

//! The kit that every sink passes. The dashboard stores nothing, so what the kit can see is its life: start, deliveries of
//! everything, close, start again.

use std::path::Path;
use std::sync::Arc;

use sidecar_core::{Durability, ManualClock, Neighbours, SinkContext, SinkSettings};
use sink_contract::{Contract, Guarantee, Stored};
use stats_sv2::UnixMillis;

use super::START;
use crate::DashboardSettings;

#[test]
fn the_contract_of_a_sink_holds() {
    Contract::new(
        Guarantee::AtLeastOnce,
        |folder: &Path| {
            let settings =
                DashboardSettings { listen: ([127, 0, 0, 1], 0).into(), ..DashboardSettings::new("history") };
            let context = SinkContext {
                name: Arc::from("dashboard"),
                durability: Durability::Process,
                clock: Arc::new(ManualClock::at(UnixMillis(START))),
                neighbours: Arc::new(Neighbours::new([("history".to_owned(), folder.join("stats.db"))])),
            };
            settings.build(context).unwrap()
        },
        |_: &Path| Stored::Count(0),
    )
    .counting(|_| false)
    .at(UnixMillis(START))
    .cases(4)
    .check();
}

#[test]
fn a_dashboard_without_its_history_is_not_built() {
    let context = SinkContext {
        name: Arc::from("dashboard"),
        durability: Durability::Process,
        clock: Arc::new(ManualClock::at(UnixMillis(START))),
        neighbours: Arc::new(Neighbours::new([])),
    };
    let error = DashboardSettings::new("history").build(context).err().unwrap();
    assert!(matches!(error, sidecar_core::SinkError::Fatal { .. }), "{error:?}");
}

//! The kit that every sink passes. The count is that of shares in the totals of channels, or of miners where the kit sends
//! events of every kind: counters add to those of channels too. Announcements that a random history opens or cuts off have
//! a model of their own in `exactly_once`.

use std::path::Path;

use sidecar_core::{Durability, EventKind, OnThread};
use sink_contract::{Contract, Guarantee, Stored};

use super::one;
use crate::{SqliteSettings, SqliteSink};

/// The contract, by the shares in the totals of a kind of series.
fn contract(series_kind: u8, counts: EventKind) -> Contract {
    Contract::new(
        Guarantee::ExactlyOnce,
        |folder: &Path| {
            let settings = SqliteSettings::new(folder.join("stats.db"));
            let sink = SqliteSink::new(settings, Durability::Process).unwrap();
            Box::new(OnThread::new("sink-under-test", sink).unwrap())
        },
        move |folder: &Path| {
            let sql = "SELECT coalesce(sum(t.accepted), 0) FROM rollup_total t JOIN series s ON s.id = t.series
                       WHERE s.kind = ?1";
            Stored::Count(one(&folder.join("stats.db"), sql, [series_kind]))
        },
    )
    .counting(move |envelope| envelope.kind() == counts)
}

#[test]
fn passes_the_contract_by_shares() {
    let contract = contract(0, EventKind::ShareSubmitted);
    contract.closes_without_start();
    contract.starts_again_after_close();
    contract.takes_a_batch_again();
    contract.takes_the_same_events_from_another_journal();
    contract.starts_after_what_a_partial_attempt_delivered();
    contract.keeps_what_was_delivered_through_a_crash();
    contract.maintains_and_reopens_between_batches();
    contract.takes_joined_batches();
}

#[test]
fn passes_the_contract_by_events_of_every_kind() {
    let contract = contract(3, EventKind::MinerShareSubmitted);
    contract.stores_every_kind();
    contract.stores_hostile_text();
    contract.takes_derived_events_and_announcements();
    contract.takes_what_its_route_wants();
    contract.keeps_any_history();
}

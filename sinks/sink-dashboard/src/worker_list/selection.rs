//! Which workers of a list are wanted, and in which order: the one meaning that the page, the API and its files have.

use std::cmp::Ordering;

use mining_stats::Reading;
use serde::{Deserialize, Serialize};
use sink_sqlite::query::{Presence, WorkerView};

/// A search longer than any name finds nothing.
pub(crate) const MAX_SEARCH: usize = 255;

/// Columns to sort by. Workers without a value stand below those with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Column {
    /// The name, in any case.
    Name,
    /// The measured hashrate over the window; the last one that was measured while the source is silent.
    #[default]
    Hashrate,
    /// The hashrate that it declares.
    Declared,
    /// Accepted shares since the history began.
    Accepted,
    /// The part of its shares that was rejected since the history began.
    Rejected,
    /// The best share.
    BestShare,
    /// The last accepted share.
    LastShare,
    /// When it first appeared.
    FirstSeen,
}

impl Column {
    /// As it stands in an address.
    #[cfg(feature = "pages")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Hashrate => "hashrate",
            Self::Declared => "declared",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::BestShare => "best_share",
            Self::LastShare => "last_share",
            Self::FirstSeen => "first_seen",
        }
    }

    /// The order where none is asked for: names from A, numbers from the top.
    pub(crate) const fn first_order(self) -> Order {
        match self {
            Self::Name => Order::Asc,
            _ => Order::Desc,
        }
    }
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The least first.
    Asc,
    /// The greatest first.
    Desc,
}

impl Order {
    /// As it stands in an address.
    #[cfg(feature = "pages")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }

    /// The other end first.
    #[cfg(feature = "pages")]
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Asc => Self::Desc,
            Self::Desc => Self::Asc,
        }
    }
}

/// Who is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hidden {
    /// Whoever is not online: connected without a share lately, or not connected.
    Silent,
}

impl Hidden {
    /// As it stands in an address.
    #[cfg(feature = "pages")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
        }
    }
}

/// What is wanted of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) sort: Column,
    pub(crate) order: Order,
    /// Text that the name holds, in any case. Names are those that are shown: a search must not tell one that is hidden.
    pub(crate) search: String,
    pub(crate) hide: Option<Hidden>,
}

/// What a column is compared by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Key {
    Text(String),
    /// The bits of a number; decimal digits may come back as its neighbour.
    Number(u64),
}

impl Key {
    fn number(number: f64) -> Self {
        Self::Number(number.to_bits())
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => f64::from_bits(*a).total_cmp(&f64::from_bits(*b)),
            // One selection has keys of one kind.
            (Self::Text(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Text(_)) => Ordering::Greater,
        }
    }
}

/// A row's place in a sorted list: its value, and its name, which no other has. Whoever's value stays what it was has the same
/// place in every list made later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    sort: Column,
    order: Order,
    key: Key,
    name: String,
    is_miner: bool,
}

impl Selection {
    pub(crate) fn new(sort: Option<Column>, order: Option<Order>, search: Option<&str>, hide: Option<Hidden>) -> Self {
        let sort = sort.unwrap_or_default();
        let search = search.unwrap_or_default().trim().chars().take(MAX_SEARCH).collect();
        Self { sort, order: order.unwrap_or(sort.first_order()), search, hide }
    }

    /// Where in the list the wanted rows stand, in their order.
    pub(crate) fn of(&self, workers: &[WorkerView]) -> Vec<usize> {
        let wanted = self.search.to_lowercase();
        let rows = workers.iter().enumerate().filter(|(_, worker)| {
            (wanted.is_empty() || worker.name.to_lowercase().contains(&wanted)) && !self.is_hidden(worker)
        });
        let mut rows: Vec<(Key, &WorkerView, usize)> =
            rows.map(|(index, worker)| (self.key(worker), worker, index)).collect();
        // Names break ties, so that rows never swap between two looks.
        rows.sort_by(|(a, of_a, _), (b, of_b, _)| {
            self.compare((a, &of_a.name, of_a.is_miner), (b, &of_b.name, of_b.is_miner))
        });
        rows.into_iter().map(|(_, _, index)| index).collect()
    }

    /// The place of a worker.
    pub(crate) fn place(&self, worker: &WorkerView) -> Place {
        Place {
            sort: self.sort,
            order: self.order,
            key: self.key(worker),
            name: worker.name.clone(),
            is_miner: worker.is_miner,
        }
    }

    /// Whether a place is one of this order.
    pub(crate) fn has(&self, place: &Place) -> bool {
        (place.sort, place.order) == (self.sort, self.order)
    }

    /// Whether a worker stands behind a place.
    pub(crate) fn is_behind(&self, worker: &WorkerView, place: &Place) -> bool {
        let (key, other) = (self.key(worker), (&place.key, &*place.name, place.is_miner));
        self.compare((&key, &worker.name, worker.is_miner), other) == Ordering::Greater
    }

    fn compare(&self, a: (&Key, &str, bool), b: (&Key, &str, bool)) -> Ordering {
        let by_column = a.0.compare(b.0);
        let by_column = if self.order == Order::Desc { by_column.reverse() } else { by_column };
        by_column.then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    }

    fn key(&self, worker: &WorkerView) -> Key {
        let totals = &worker.totals;
        let time = |ms: Option<u64>| ms.map(|ms| ms as f64);
        // Counts and times are below 2^53, where each has a number of its own.
        let number = match self.sort {
            Column::Name => return Key::Text(worker.name.to_lowercase()),
            Column::Hashrate => rate_of(&worker.window.reading),
            Column::Declared => worker.declared_hashrate.map(|rate| rate as f64),
            Column::Accepted => Some(totals.accepted as f64),
            Column::Rejected => {
                let submitted = totals.accepted.saturating_add(totals.rejected);
                (submitted > 0).then(|| totals.rejected as f64 / submitted as f64)
            }
            Column::BestShare => totals.best_share_difficulty,
            Column::LastShare => time(worker.last_share_ms),
            Column::FirstSeen => time(Some(worker.first_seen_ms)),
        };
        Key::number(number.unwrap_or(-1.0))
    }

    fn is_hidden(&self, worker: &WorkerView) -> bool {
        self.hide == Some(Hidden::Silent) && worker.presence != Presence::Online
    }
}

/// What a reading counts for when it is sorted: a stale one by its last value, one without a value as none.
fn rate_of(reading: &Reading) -> Option<f64> {
    match reading {
        Reading::Measured(estimate) | Reading::Stale { last: Some(estimate), .. } => {
            Some(estimate.rate.hashes_per_second())
        }
        Reading::ObservedZero { .. } => Some(0.0),
        _ => None,
    }
}

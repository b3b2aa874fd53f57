//! Facts about the source: from its own SourceInfo events first, else from `[sinks.NAME.source]`, else unknown.

use std::collections::BTreeMap;

use serde::Serialize;
use sink_sqlite::query::{Overview, SourceView};

use crate::api::range::{Claim, usual};
use crate::config::SourceFacts;

/// The publisher that the pool's side of the pages is about: the named one, else the usual one of those that `fits`.
pub(super) fn choose<'o>(
    overview: &'o Overview,
    asked: Option<&str>,
    fits: impl Fn(&SourceView) -> bool,
) -> Option<&'o SourceView> {
    match asked {
        Some(name) => overview.sources.iter().find(|source| source.publisher == name),
        None => usual(&overview.sources, |source| Claim { fits: fits(source), ..Claim::of(source) }),
    }
}

/// A service beside the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Service {
    /// `Pool`, `Mint` or `JobDeclarator`.
    #[schema(value_type = String)]
    service_type: &'static str,
    /// Its address, such as `192.0.2.1:34254`.
    address: String,
}

/// What is known of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) info: Option<&'a BTreeMap<String, String>>,
    pub(super) configured: &'a SourceFacts,
}

impl<'a> Facts<'a> {
    pub(super) fn of(source: Option<&'a SourceView>, configured: &'a SourceFacts) -> Self {
        Self { info: source.map(|source| &source.info), configured }
    }

    fn told(&self, names: &[&str]) -> Option<String> {
        let info = self.info?;
        names.iter().find_map(|name| info.get(*name)).filter(|value| !value.is_empty()).cloned()
    }

    pub(super) fn listen_address(&self) -> Option<String> {
        self.told(&["listen_address"]).or_else(|| self.configured.listen_address.clone())
    }

    pub(super) fn network(&self) -> Option<String> {
        self.told(&["network", "blockchain_network"]).or_else(|| self.configured.network.clone())
    }

    pub(super) fn services(&self) -> Vec<Service> {
        let pool = self.told(&["service.pool"]).or_else(|| self.listen_address());
        let mint = self.told(&["service.mint"]).or_else(|| self.configured.mint_address.clone());
        let declarator = self
            .told(&["service.job_declarator", "service.jds"])
            .or_else(|| self.configured.job_declarator_address.clone());
        [("Pool", pool), ("Mint", mint), ("JobDeclarator", declarator)]
            .into_iter()
            .filter_map(|(service_type, address)| Some(Service { service_type, address: address? }))
            .collect()
    }
}

impl Service {
    pub(super) fn address_mut(&mut self) -> &mut String {
        &mut self.address
    }
}

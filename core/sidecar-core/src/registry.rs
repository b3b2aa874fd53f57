//! From a sink's `type` in the configuration to the sink: built-in and loaded sinks go through the same registry.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::neighbours::Neighbours;
use crate::sink::{Sink, SinkError};
use crate::status::Durability;

/// Something of which only one component may make use; `check` refuses a configuration that gives it to two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// A file that the component writes.
    File(PathBuf),
    /// An address that it listens on.
    Listen(SocketAddr),
}

/// What every sink is built with.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The sink's name: its key in `[sinks.NAME]`.
    pub name: Arc<str>,
    /// What a delivery promises to survive.
    pub durability: Durability,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The rest of the sidecar.
    pub neighbours: Arc<Neighbours>,
}

/// A setting that names another sink, whose history is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The key, such as `history`.
    pub key: &'static str,
    /// The name that stands there.
    pub sink: String,
}

/// What is wrong with settings that can be read one by one: a combination, or a file that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The key that is shown as wrong.
    pub key: &'static str,
    /// What is wrong, for people.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// The checked settings of one sink: its table in the configuration without the keys that belong to the driver.
pub trait SinkSettings: fmt::Debug + Send + Sync {
    /// What the sink will claim for itself.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// What is wrong with the settings taken together. Secret files are read: a missing one is an error of the
    /// configuration.
    fn problems(&self) -> Vec<SettingProblem> {
        Vec::new()
    }

    /// Sinks of the same configuration whose history this one reads.
    fn reads_histories_of(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// The file in which the sink keeps a history that others may read.
    fn history(&self) -> Option<&Path> {
        None
    }

    /// Whether the sink shows the present: being new, it begins with the next event, unless its table says otherwise.
    fn starts_at_latest(&self) -> bool {
        false
    }

    /// Whether the sink could start now, without starting it: `check --online`.
    fn probe(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Makes the sink. It opens nothing yet.
    fn build(&self, context: SinkContext) -> Result<Box<dyn Sink>, SinkError>;
}

type Parse = fn(toml::de::ValueDeserializer<'_>) -> Result<Box<dyn SinkSettings>, toml::de::Error>;

/// The known sink types.
#[derive(Clone, Default)]
pub struct SinkRegistry {
    types: BTreeMap<&'static str, Parse>,
}

impl fmt::Debug for SinkRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.types.keys()).finish()
    }
}

/// Two sinks have one type name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("sink type {type_name} is registered twice")]
pub struct DuplicateSinkTypeError {
    /// The name.
    pub type_name: &'static str,
}

impl SinkRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sink type. Its settings say `#[serde(deny_unknown_fields)]`, so that typing errors are told.
    pub fn register<S>(&mut self, type_name: &'static str) -> Result<(), DuplicateSinkTypeError>
    where
        S: SinkSettings + DeserializeOwned + 'static,
    {
        let parse: Parse = |table| {
            let settings = S::deserialize(table)?;
            Ok(Box::new(settings))
        };
        match self.types.insert(type_name, parse) {
            None => Ok(()),
            Some(_) => Err(DuplicateSinkTypeError { type_name }),
        }
    }

    /// The known type names, sorted.
    pub fn type_names(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied()
    }

    /// Reads the settings of a sink of this type; `None` if the type is unknown.
    pub fn parse(
        &self,
        type_name: &str,
        table: toml::de::ValueDeserializer<'_>,
    ) -> Option<Result<Box<dyn SinkSettings>, toml::de::Error>> {
        self.types.get(type_name).map(|parse| parse(table))
    }
}

//! The configuration: one TOML file, read into checked values, with every error of the file told at once.
//!
//! Relative paths are relative to the working directory, as in the pool's and the translator's own configurations.
//! [`Config::load`] reads files and environment variables, and starts nothing.

mod admin;
mod bridges;
#[cfg(test)]
mod example_tests;
mod journal;
mod listen;
mod log;
mod problem;
mod relations;
mod secret;
mod server;
mod short_form;
mod sinks;
mod substitute;
mod suggest;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use sidecar_core::SinkRegistry;
use sidecar_journal::JournalConfig;
use sidecar_pipeline::ListenerConfig;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::admin::AdminConfig;
pub(crate) use self::bridges::BridgeConfig;
pub(crate) use self::log::LogConfig;
pub(crate) use self::problem::{ConfigError, Findings, Severity};
pub(crate) use self::secret::from_file as secret_from_file;
pub(crate) use self::sinks::SinkConfig;

use self::problem::{Problem, Problems, SourceFile};
use self::substitute::Lookup;
use self::table::Section;

/// The tables of the file.
const TABLES: [&str; 6] = ["server", "journal", "admin", "sinks", "bridges", "log"];

/// A configuration that may be used: every value checked, and the values against each other.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) server: ListenerConfig,
    pub(crate) journal: JournalConfig,
    pub(crate) admin: AdminConfig,
    pub(crate) sinks: Vec<SinkConfig>,
    pub(crate) bridges: Vec<BridgeConfig>,
    pub(crate) log: LogConfig,
}

/// A good configuration, and what its reader should be told nevertheless.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// Warnings only.
    pub(crate) findings: Findings,
}

impl Config {
    /// Reads and checks a file, with the process's environment.
    pub(crate) fn load(path: &Path, registry: &SinkRegistry) -> Result<Loaded, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, error))?;
        let file = SourceFile { path: path.to_owned(), text };
        Self::parse(file, registry, &|name| std::env::var(name).ok())
    }

    /// Checks a file's text. Secret files are read, for a missing one is an error of the configuration.
    pub(crate) fn parse(file: SourceFile, registry: &SinkRegistry, lookup: Lookup<'_>) -> Result<Loaded, ConfigError> {
        let mut problems = Problems::default();
        let config = checked(&file, registry, lookup, &mut problems);
        let failed = problems.has_errors();
        let findings = Findings { file, problems: problems.into_sorted() };
        match config {
            Some(config) if !failed => Ok(Loaded { config, findings }),
            _ => Err(ConfigError::Invalid { findings: Box::new(findings) }),
        }
    }
}

/// Everything in order: syntax, environment, each table by itself, then the tables against each other.
fn checked(file: &SourceFile, registry: &SinkRegistry, lookup: Lookup<'_>, problems: &mut Problems) -> Option<Config> {
    let (document, syntax) = DeTable::parse_recoverable(&file.text);
    if !syntax.is_empty() {
        // What was recovered around a syntax error may mean anything; judging it would tell errors that are none.
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            problems.push(Problem::error(span, error.message().to_owned()));
        }
        return None;
    }
    let mut document = document.into_inner();
    substitute::substitute(&mut document, &file.text, lookup, problems);
    let mut tables = Tables::new(document, problems);

    let server = tables.take("server", problems);
    let short = short_form::ShortForm::read(&server, problems);
    let journal = tables.take("journal", problems);
    let admin = tables.take("admin", problems);
    let log = tables.take("log", problems);

    let parts = relations::Parts {
        server: server::read(&server, short.as_ref(), lookup, problems),
        journal: journal::read(&journal, short.as_ref(), problems),
        admin: admin::read(&admin, short.as_ref(), problems),
        sinks: sinks::read(tables.named("sinks", problems), short.as_ref(), registry, problems),
        bridges: bridges::read(tables.named("bridges", problems), problems),
    };
    let log = log::read(&log, problems);
    relations::check(&parts, &relations::Places { server: &server, journal: &journal, admin: &admin }, problems);

    Some(Config {
        server: parts.server?,
        journal: parts.journal?,
        admin: parts.admin?,
        sinks: parts.sinks.into_iter().map(|sink| sink.config).collect(),
        bridges: parts.bridges.into_iter().map(|bridge| bridge.config).collect(),
        log: log?,
    })
}

/// The top of the file.
struct Tables<'i> {
    entries: DeTable<'i>,
}

impl<'i> Tables<'i> {
    fn new(entries: DeTable<'i>, problems: &mut Problems) -> Self {
        for key in entries.keys().filter(|key| !TABLES.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            problems.push(
                Problem::error(key.span(), format!("unknown table `{name}`"))
                    .help(suggest::help(name, "tables", TABLES)),
            );
        }
        Self { entries }
    }

    /// One table; all its defaults if the file has none.
    fn take(&mut self, name: &str, problems: &mut Problems) -> Section<'i> {
        self.entries
            .remove_entry(name)
            .and_then(|(key, value)| Section::new(name, key.span(), value, problems))
            .unwrap_or_else(|| Section::absent(name))
    }

    /// The tables `[kind.NAME]`.
    fn named(&mut self, kind: &str, problems: &mut Problems) -> Vec<(String, Section<'i>)> {
        let entries = self.take(kind, problems).entries;
        entries
            .into_iter()
            .filter_map(|(key, value): (Spanned<_>, Spanned<DeValue<'i>>)| {
                let name = key.get_ref().to_string();
                if !is_component_name(&name) {
                    problems.push(
                        Problem::error(key.span(), format!("`{name}` is no name for a component"))
                            .help("1 to 64 letters, digits, `-` and `_`"),
                    );
                }
                Section::new(format!("{kind}.{name}"), key.span(), value, problems).map(|section| (name, section))
            })
            .collect()
    }
}

/// Names of sinks and bridges become metric labels, thread names and keys of the journal.
fn is_component_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

//! `[sinks.NAME]`: where events go. Keys that belong to the driver, the same for every type, are read here; the rest is the
//! sink's own and goes through the registry.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use sidecar_core::route::KindSet;
use sidecar_core::{Period, Route, SettingProblem, SinkRegistry, SinkSettings};
use sidecar_pipeline::{DEFAULT_TIMEOUT, RetryPolicy, StartAt};
use stats_sv2::EventKind;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::short_form::{DASHBOARD, HISTORY, ShortForm};
use super::suggest;
use super::table::Section;

/// Keys that belong to the driver.
const DRIVER_KEYS: [&str; 7] = ["events", "sources", "start", "retry", "timeout", "rate_limit", "required"];

/// One sink.
pub(crate) struct SinkConfig {
    pub(crate) name: String,
    pub(crate) type_name: &'static str,
    pub(crate) settings: Box<dyn SinkSettings>,
    pub(crate) driver: DriverConfig,
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sink's own settings may hold secrets.
        f.debug_struct("SinkConfig")
            .field("name", &self.name)
            .field("type_name", &self.type_name)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// How its driver treats it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DriverConfig {
    pub(crate) route: Route,
    pub(crate) start: StartAt,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Duration,
    /// Events a second at most.
    pub(crate) rate_limit: Option<NonZeroU32>,
    /// Whether the sidecar ends when the sink cannot start at all.
    pub(crate) required: bool,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            route: Route::all(),
            start: StartAt::default(),
            retry: RetryPolicy::default(),
            timeout: DEFAULT_TIMEOUT,
            rate_limit: None,
            required: false,
        }
    }
}

/// `retry` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryTable {
    initial_backoff: Option<Period>,
    max_backoff: Option<Period>,
    max_age: Option<Period>,
    max_attempts: Option<NonZeroU32>,
}

impl From<RetryTable> for RetryPolicy {
    fn from(table: RetryTable) -> Self {
        let default = Self::default();
        Self {
            initial_backoff: table.initial_backoff.map_or(default.initial_backoff, |period| period.0),
            max_backoff: table.max_backoff.map_or(default.max_backoff, |period| period.0),
            max_age: table.max_age.map(|period| period.0),
            max_attempts: table.max_attempts,
        }
    }
}

/// The driver's keys as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DriverTable {
    events: Option<Vec<String>>,
    sources: Vec<String>,
    start: Option<StartAt>,
    retry: RetryTable,
    timeout: Option<Period>,
    rate_limit: Option<NonZeroU32>,
    required: bool,
}

/// A sink with its place in the file.
#[derive(Debug)]
pub(crate) struct PlacedSink<'i> {
    pub(crate) config: SinkConfig,
    pub(crate) section: Section<'i>,
}

pub(crate) fn read<'i>(
    mut sections: Vec<(String, Section<'i>)>,
    short: Option<&ShortForm>,
    registry: &SinkRegistry,
    problems: &mut Problems,
) -> Vec<PlacedSink<'i>> {
    if let Some(path) = short.and_then(ShortForm::database) {
        if let Some((_, other)) = sections.iter().find(|(name, _)| name == HISTORY) {
            problems.push(
                Problem::error(other.key_span.clone(), "`db_path` of [server] already means the sink `history`")
                    .help("remove `db_path`, or name this sink otherwise"),
            );
        } else {
            let keys = [("type", "sqlite"), ("path", &*path.to_string_lossy())];
            sections.push((HISTORY.to_owned(), meant("sinks.history", keys)));
        }
    }
    if let Some(address) = short.and_then(ShortForm::dashboard) {
        if let Some((_, other)) = sections.iter().find(|(name, _)| name == DASHBOARD) {
            problems.push(
                Problem::error(other.key_span.clone(), "`http_port` of [server] already means the sink `dashboard`")
                    .help("remove `http_port`, or name this sink otherwise"),
            );
        } else if short.and_then(ShortForm::database).is_some() {
            let keys = [("type", sink_dashboard::TYPE), ("listen", &address.to_string()), ("history", HISTORY)];
            sections.push((DASHBOARD.to_owned(), meant("sinks.dashboard", keys)));
        }
    }
    // After an error it is not known what the file means to have.
    if sections.is_empty() && !problems.has_errors() {
        problems.push(
            Problem::warning(0..0, "no sink is configured: events will be kept in the journal and go nowhere")
                .help("add [sinks.history] with type = \"sqlite\" and a path"),
        );
    }
    let histories = histories(&sections);
    sections.into_iter().filter_map(|(name, section)| one(name, section, &histories, registry, problems)).collect()
}

/// The names of the sinks that keep a history, as far as their type can be read.
fn histories(sections: &[(String, Section<'_>)]) -> Vec<String> {
    let keeps_one = |section: &Section<'_>| {
        let type_name = section.entries.get("type").and_then(|value| value.get_ref().as_str());
        type_name == Some(sink_sqlite::config::TYPE_NAME)
    };
    sections.iter().filter(|(_, section)| keeps_one(section)).map(|(name, _)| name.clone()).collect()
}

/// A sink that the short form means.
fn meant<'i, const N: usize>(name: &str, keys: [(&'static str, &str); N]) -> Section<'i> {
    let mut section = Section::absent(name);
    for (key, value) in keys {
        let value = DeValue::String(value.to_owned().into());
        section.entries.insert(Spanned::new(0..0, key.into()), Spanned::new(0..0, value));
    }
    section
}

fn one<'i>(
    name: String,
    section: Section<'i>,
    histories: &[String],
    registry: &SinkRegistry,
    problems: &mut Problems,
) -> Option<PlacedSink<'i>> {
    let mut own = section.clone();
    let type_name = type_of(&mut own, registry.type_names(), problems);
    let driver_section = own.split_off(&DRIVER_KEYS);
    let (mut driver, start) = driver(&driver_section, problems);
    let type_name = type_name?;
    if type_name == sink_dashboard::TYPE && !own.entries.contains_key("history") {
        // Told again below with an advice that knows no names; of equal problems the first is shown.
        let lines: Vec<String> = histories.iter().map(|name| format!("`history = \"{name}\"`")).collect();
        let help = match lines.is_empty() {
            true => {
                "add [sinks.history] with type = \"sqlite\" and a path, and here `history = \"history\"`".to_owned()
            }
            false => format!("add a line {}", lines.join(" or ")),
        };
        problems
            .push(Problem::error(section.key_span.clone(), format!("[{}] lacks `history`", section.name)).help(help));
    }
    let settings = own.read_with(&[&["type"], &DRIVER_KEYS[..]].concat(), problems, |table| {
        // The type was found in the registry above.
        registry.parse(type_name, table).expect("the type is registered")
    })?;
    for SettingProblem { key, what, help } in settings.problems() {
        problems.push(Problem::error(section.value_span(key), what).help(help));
    }
    let usual = if settings.starts_at_latest() { StartAt::Latest } else { StartAt::Earliest };
    driver.start = start.unwrap_or(usual);
    Some(PlacedSink { config: SinkConfig { name, type_name, settings, driver }, section })
}

/// Takes `type` out of a component's table and finds it among the known ones.
pub(super) fn type_of(
    section: &mut Section<'_>,
    known: impl Iterator<Item = &'static str>,
    problems: &mut Problems,
) -> Option<&'static str> {
    let known: Vec<&'static str> = known.collect();
    let Some((_, value)) = section.remove("type") else {
        problems.push(
            Problem::error(section.key_span.clone(), format!("[{}] lacks `type`", section.name))
                .help(format!("known types: {}", known.join(", "))),
        );
        return None;
    };
    let DeValue::String(given) = value.get_ref() else {
        problems.push(Problem::error(value.span(), "`type` must be a string").help("write it in quotes"));
        return None;
    };
    let found = known.iter().copied().find(|name| name == given);
    if found.is_none() {
        problems.push(Problem::error(value.span(), format!("there is no type `{given}`")).help(suggest::help(
            given,
            "types",
            known.iter().copied(),
        )));
    }
    found
}

/// What the driver's keys say, and the place to start where it is said; a value without meaning is told and replaced by its
/// default.
fn driver(section: &Section<'_>, problems: &mut Problems) -> (DriverConfig, Option<StartAt>) {
    let default = DriverConfig::default();
    let Some(table) = section.read::<DriverTable>(problems) else { return (default, None) };
    let kinds = table.events.as_ref().map_or(KindSet::ALL, |globs| kinds(globs, section, problems));
    let mut retry = RetryPolicy::from(table.retry);
    if retry.initial_backoff.is_zero() || retry.max_backoff < retry.initial_backoff {
        let (initial, max) = (Period(retry.initial_backoff), Period(retry.max_backoff));
        problems.push(Problem::error(
            section.value_span("retry"),
            format!(
                "`retry.initial_backoff` ({initial}) must be above zero, and `retry.max_backoff` ({max}) not below it"
            ),
        ));
        retry = default.retry;
    }
    let mut timeout = table.timeout.map_or(default.timeout, |period| period.0);
    if timeout.is_zero() {
        problems.push(Problem::error(section.value_span("timeout"), "`timeout` is zero: nothing could be delivered"));
        timeout = default.timeout;
    }
    let driver = DriverConfig {
        route: Route { kinds, sources: table.sources },
        start: default.start,
        retry,
        timeout,
        rate_limit: table.rate_limit,
        required: table.required,
    };
    (driver, table.start)
}

/// The kinds that the globs name; every glob must name one.
fn kinds(globs: &[String], section: &Section<'_>, problems: &mut Problems) -> KindSet {
    if globs.is_empty() {
        problems.push(
            Problem::error(section.value_span("events"), "`events = []` wants nothing")
                .help("leave the key out for all events, or remove the sink"),
        );
    }
    // What may be meant: a name, or all names that begin with the same word.
    let families =
        EventKind::ALL.iter().filter_map(|kind| kind.name().split_once('_')).map(|(word, _)| format!("{word}_*"));
    let known: Vec<String> = families.chain(EventKind::ALL.iter().map(|kind| kind.name().to_owned())).collect();
    let (good, bad): (Vec<&str>, Vec<&str>) =
        globs.iter().map(String::as_str).partition(|glob| KindSet::from_globs([*glob]).is_ok());
    for glob in bad {
        problems.push(
            Problem::error(element_span(&section.entries, "events", glob), format!("no event is named `{glob}`"))
                .help(suggest::help(glob, "events", known.iter().map(String::as_str))),
        );
    }
    KindSet::from_globs(good).unwrap_or(KindSet::ALL)
}

/// Where one string of a list stands.
fn element_span(table: &DeTable<'_>, key: &str, element: &str) -> std::ops::Range<usize> {
    let Some(value) = table.get(key) else { return 0..0 };
    let found = value.get_ref().as_array().and_then(|array| {
        array.iter().find(|value| matches!(value.get_ref(), DeValue::String(string) if string == element))
    });
    found.unwrap_or(value).span()
}

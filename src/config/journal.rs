//! `[journal]`: the durable log. What its keys mean is the journal's own definition.

use sidecar_core::ErrorChain;
use sidecar_journal::config::JournalConfigError;
use sidecar_journal::{JournalConfig, JournalSettings};
use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Problem, Problems};
use super::short_form::ShortForm;
use super::table::Section;

pub(crate) fn read(section: &Section<'_>, short: Option<&ShortForm>, problems: &mut Problems) -> Option<JournalConfig> {
    let mut section = section.clone();
    if !section.entries.contains_key("path") {
        match short {
            Some(short) => {
                // Beside the database; without one the short form has an error of its own.
                let path = short.journal()?.to_string_lossy().into_owned();
                let at = section.key_span.clone();
                section
                    .entries
                    .insert(Spanned::new(at.clone(), "path".into()), Spanned::new(at, DeValue::String(path.into())));
            }
            None => {
                problems.push(
                    Problem::error(section.key_span.clone(), "[journal] lacks `path`")
                        .help("say where the durable log belongs: [journal] path = \"state/journal.db\""),
                );
                return None;
            }
        }
    }
    let settings: JournalSettings = section.read(problems)?;
    let path = settings.path.clone();
    Some(JournalConfig::try_from(settings).unwrap_or_else(|error| {
        let key = match &error {
            JournalConfigError::MaxBytesTooSmall { .. } => "max_bytes",
            JournalConfigError::MaxDelayOutOfRange { .. } => "max_delay",
            JournalConfigError::KeepTakenAboveMaxAge { .. } => "keep_taken",
            _ => "path",
        };
        problems.push(Problem::error(section.value_span(key), ErrorChain(&error).to_string()));
        JournalConfig::new(path)
    }))
}

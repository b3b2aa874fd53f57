//! The tables against each other: one port and one file belong to one component (delivery rule 28).

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use sidecar_core::Claim;
use sidecar_journal::JournalConfig;
use sidecar_pipeline::ListenerConfig;

use super::admin::AdminConfig;
use super::bridges::PlacedBridge;
use super::listen::collide;
use super::problem::{Problem, Problems};
use super::sinks::PlacedSink;
use super::suggest;
use super::table::Section;

/// What was read so far; `None` where a table had errors of its own.
#[derive(Debug)]
pub(crate) struct Parts<'i> {
    pub(crate) server: Option<ListenerConfig>,
    pub(crate) journal: Option<JournalConfig>,
    pub(crate) admin: Option<AdminConfig>,
    pub(crate) sinks: Vec<PlacedSink<'i>>,
    pub(crate) bridges: Vec<PlacedBridge<'i>>,
}

/// Where the tables stand.
#[derive(Debug)]
pub(crate) struct Places<'p, 'i> {
    pub(crate) server: &'p Section<'i>,
    pub(crate) journal: &'p Section<'i>,
    pub(crate) admin: &'p Section<'i>,
}

/// A claim, who makes it, and where.
struct Owned {
    owner: String,
    span: Range<usize>,
    claim: Claim,
}

pub(crate) fn check(parts: &Parts<'_>, places: &Places<'_, '_>, problems: &mut Problems) {
    claims(parts, places, problems);
    histories(&parts.sinks, problems);
}

/// A setting that names another sink names one that keeps a history.
fn histories(sinks: &[PlacedSink<'_>], problems: &mut Problems) {
    let known: Vec<&str> = sinks
        .iter()
        .filter(|sink| sink.config.settings.history().is_some())
        .map(|sink| sink.config.name.as_str())
        .collect();
    for sink in sinks {
        for reference in sink.config.settings.reads_histories_of() {
            let (key, name) = (reference.key, reference.sink.as_str());
            if known.contains(&name) {
                continue;
            }
            let span = sink.section.value_span(key);
            let mut problem = match sinks.iter().find(|other| other.config.name == name) {
                Some(other) => Problem::error(
                    span,
                    format!(
                        "`{key}` of [{}] names `{name}`, a sink of type `{}`, which keeps no history",
                        sink.section.name, other.config.type_name
                    ),
                )
                .related(other.section.key_span.clone(), "this sink"),
                None => Problem::error(
                    span,
                    format!("`{key}` of [{}] names `{name}`, and there is no such sink", sink.section.name),
                ),
            };
            problem = problem.help(if known.is_empty() {
                "add [sinks.history] with type = \"sqlite\" and a path".to_owned()
            } else {
                suggest::help(name, "sinks with a history", known.iter().copied())
            });
            problems.push(problem);
        }
    }
}

fn claims(parts: &Parts<'_>, places: &Places<'_, '_>, problems: &mut Problems) {
    let mut claims: Vec<Owned> = Vec::new();
    if let Some(server) = &parts.server {
        let key = if places.server.entries.contains_key("tcp_port") { "tcp_port" } else { "listen" };
        let (span, claim) = (places.server.value_span(key), Claim::Listen(server.listen));
        claims.push(Owned { owner: "[server]".to_owned(), span, claim });
    }
    if let Some(admin) = &parts.admin {
        let (span, claim) = (places.admin.value_span("listen"), Claim::Listen(admin.listen));
        claims.push(Owned { owner: "[admin]".to_owned(), span, claim });
    }
    if let Some(journal) = &parts.journal {
        let (span, claim) = (places.journal.value_span("path"), Claim::File(journal.path.clone()));
        claims.push(Owned { owner: "[journal]".to_owned(), span, claim });
    }
    for sink in &parts.sinks {
        for claim in sink.config.settings.claims() {
            let span = sink.section.find_string(|value| is_written(&claim, value));
            let span = span.unwrap_or_else(|| sink.section.key_span.clone());
            claims.push(Owned { owner: format!("[{}]", sink.section.name), span, claim });
        }
    }
    for (index, second) in claims.iter().enumerate() {
        let Some(first) = claims[..index].iter().find(|first| contradict(&first.claim, &second.claim)) else {
            continue;
        };
        let (what, help) = match &second.claim {
            Claim::File(path) => (format!("the file {}", path.display()), "give each a file of its own"),
            Claim::Listen(address) => (format!("the address {address}"), "give each a port of its own"),
        };
        // Of two places the later one is shown as wrong, unless it is one that nobody wrote.
        let (here, there) = if second.span.is_empty() { (first, second) } else { (second, first) };
        let mut problem =
            Problem::error(here.span.clone(), format!("{} and {} both use {what}", first.owner, second.owner))
                .help(help);
        if !there.span.is_empty() {
            problem = problem.related(there.span.clone(), "the other one");
        }
        problems.push(problem);
    }
}

fn contradict(a: &Claim, b: &Claim) -> bool {
    match (a, b) {
        (Claim::File(a), Claim::File(b)) => plain(a) == plain(b),
        (Claim::Listen(a), Claim::Listen(b)) => collide(*a, *b),
        _ => false,
    }
}

/// Whether this string of the file is what the claim was made from.
fn is_written(claim: &Claim, value: &str) -> bool {
    match claim {
        Claim::File(path) => plain(path) == plain(Path::new(value)),
        Claim::Listen(address) => value.parse::<SocketAddr>().is_ok_and(|value| value == *address),
    }
}

/// The path without `.` and `..`, from the root: two spellings of one file are one file. Links are not followed, for the
/// file need not exist yet; the journal's and the sinks' own locks catch what is left.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

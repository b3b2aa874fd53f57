//! `[server]`: where publishers connect, and who may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use sidecar_core::{ErrorChain, Period};
use sidecar_pipeline::{Auth, ListenerConfig, ListenerLimits, NoiseConfig, Secret, TokenRule};
use stats_sv2::limits::HEARTBEAT_EVERY;
use toml::Spanned;
use toml::de::DeValue;

use super::listen::Listen;
use super::problem::{Problem, Problems};
use super::secret;
use super::short_form::{self, ShortForm};
use super::substitute::Lookup;
use super::table::Section;

/// Where publishers connect unless the file says otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);

/// Keys of `[server]` that are read apart from the plain ones.
const TOKENS: &str = "tokens";
const NOISE: &str = "noise";

/// `[server.limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    max_sessions: Option<NonZeroU32>,
    max_handshakes: Option<NonZeroU32>,
    handshake_timeout: Option<Period>,
    silent_after: Option<Period>,
    name_held_for: Option<Period>,
    write_timeout: Option<Period>,
}

/// The plain keys of `[server]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerTable {
    listen: Option<Listen>,
    limits: LimitsTable,
}

/// One entry of `[[server.tokens]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    publishers: Vec<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
}

/// `[server.noise]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoiseTable {
    authority_key_file: Option<PathBuf>,
    authority_key_env: Option<String>,
}

pub(crate) fn read(
    section: &Section<'_>,
    short: Option<&ShortForm>,
    lookup: Lookup<'_>,
    problems: &mut Problems,
) -> Option<ListenerConfig> {
    let mut plain = section.clone();
    plain.split_off(&short_form::KEYS);
    let tokens = plain.remove(TOKENS).map(|(_, value)| tokens(value, lookup, problems));
    let noise = plain.remove(NOISE).map(|(key, value)| {
        let section = Section::new("server.noise", key, value, problems)?;
        noise(&section, lookup, problems)
    });
    let also_known = [TOKENS, NOISE, short_form::KEYS[0], short_form::KEYS[1], short_form::KEYS[2]];
    let table: ServerTable = plain.read_with(&also_known, problems, ServerTable::deserialize)?;
    if plain.lost("listen", &table.listen) || short.is_some_and(|short| section.lost("tcp_port", &short.listen())) {
        return None;
    }
    let listen = table.listen.map(|Listen(address)| address).or_else(|| short?.listen()).unwrap_or(DEFAULT_LISTEN);
    let limits = limits(&table.limits, section, problems);
    if !listen.ip().is_loopback() && tokens.is_none() {
        problems.push(
            Problem::warning(
                section.value_span("listen"),
                format!("whoever reaches {listen} can publish under any name"),
            )
            .help("add [[server.tokens]], and [server.noise] so that nobody reads them on the way"),
        );
    }
    // A noise table with an error has told it; the error alone stops the file.
    Some(ListenerConfig { listen, limits, auth: Auth { tokens: tokens.unwrap_or_default() }, noise: noise.flatten() })
}

fn limits(table: &LimitsTable, section: &Section<'_>, problems: &mut Problems) -> ListenerLimits {
    let mut limits = ListenerLimits::default();
    if let Some(sessions) = table.max_sessions {
        limits.sessions = sessions.get() as usize;
        // All sessions may come back together after a restart.
        limits.handshakes = limits.handshakes.max(limits.sessions);
    }
    if let Some(handshakes) = table.max_handshakes {
        limits.handshakes = handshakes.get() as usize;
    }
    if let Some(Period(timeout)) = table.handshake_timeout {
        limits.handshake = timeout;
    }
    if let Some(Period(held)) = table.name_held_for {
        limits.name_held_for = held;
    }
    if let Some(Period(timeout)) = table.write_timeout {
        limits.write_stall = timeout;
    }
    if let Some(Period(silent)) = table.silent_after {
        limits.silent_session = silent;
    }
    if limits.handshake.is_zero() {
        problems.push(Problem::error(
            section.value_span("limits"),
            "`server.limits.handshake_timeout` is zero: nobody could connect",
        ));
    }
    if limits.write_stall.is_zero() {
        problems.push(Problem::error(
            section.value_span("limits"),
            "`server.limits.write_timeout` is zero: no acknowledgement could be written",
        ));
    }
    for (key, period, help) in [
        ("silent_after", limits.silent_session, "with 15s or more a late heartbeat does not end a connection"),
        ("name_held_for", limits.name_held_for, "with 15s or more a late heartbeat does not give a name away"),
    ] {
        if period <= HEARTBEAT_EVERY {
            problems.push(
                Problem::error(
                    section.value_span("limits"),
                    format!(
                        "`server.limits.{key}` is not above the publishers' heartbeat of {}",
                        Period(HEARTBEAT_EVERY)
                    ),
                )
                .help(help),
            );
        }
    }
    limits
}

fn tokens(value: Spanned<DeValue<'_>>, lookup: Lookup<'_>, problems: &mut Problems) -> Vec<TokenRule> {
    let span = value.span();
    let DeValue::Array(entries) = value.into_inner() else {
        problems.push(
            Problem::error(span, "`server.tokens` must be a list of tables")
                .help("begin each with [[server.tokens]], and give it `publishers` and `token_file`"),
        );
        return Vec::new();
    };
    let mut tokens: Vec<Named> = Vec::new();
    for entry in entries {
        let span = entry.span();
        let Some(section) = Section::new("server.tokens", span.clone(), entry, problems) else { continue };
        let Some((secret, publishers)) = token(&section, lookup, problems) else { continue };
        if let Some(other) = tokens.iter().find(|other| other.secret == secret) {
            problems.push(
                Problem::error(span.clone(), "two entries of [[server.tokens]] have the same token")
                    .related(other.span.clone(), "the other one")
                    .help("name all its publishers in one entry, or make a second token with `hashpool-sidecar keygen token`"),
            );
        }
        tokens.push(Named { span, secret, publishers });
    }
    let rule = |token: Named| TokenRule { secret: Secret::new(token.secret.expose()), publishers: token.publishers };
    tokens.into_iter().map(rule).collect()
}

/// A token with its place.
struct Named {
    span: Range<usize>,
    secret: secret::Secret,
    publishers: Vec<String>,
}

fn token(section: &Section<'_>, lookup: Lookup<'_>, problems: &mut Problems) -> Option<(secret::Secret, Vec<String>)> {
    let table: TokenTable = section.read_whole(problems)?;
    if table.publishers.is_empty() {
        problems.push(
            Problem::error(section.value_span("publishers"), "a token without publishers opens nothing")
                .help("name them, as [\"pool-*\"]; \"*\" stands for all"),
        );
    }
    let keys = ("token_file", "token_env");
    let secret = the_secret(section, table.token_file, table.token_env, keys, lookup, problems)?;
    Some((secret, table.publishers))
}

fn noise(section: &Section<'_>, lookup: Lookup<'_>, problems: &mut Problems) -> Option<NoiseConfig> {
    let table: NoiseTable = section.read_whole(problems)?;
    let keys = ("authority_key_file", "authority_key_env");
    let secret = the_secret(section, table.authority_key_file, table.authority_key_env, keys, lookup, problems)?;
    let authority = match secret.expose().parse() {
        Ok(key) => key,
        Err(error) => {
            let key = if section.entries.contains_key(keys.0) { keys.0 } else { keys.1 };
            problems.push(
                Problem::error(section.value_span(key), format!("no authority key: {error}"))
                    .help("make a pair with `hashpool-sidecar keygen noise`; the secret half belongs here"),
            );
            return None;
        }
    };
    Some(NoiseConfig { authority })
}

/// Reads a secret that is named by exactly one of two keys.
fn the_secret(
    section: &Section<'_>,
    file: Option<PathBuf>,
    variable: Option<String>,
    (file_key, variable_key): (&str, &str),
    lookup: Lookup<'_>,
    problems: &mut Problems,
) -> Option<secret::Secret> {
    let (key, read) = match (file, variable) {
        (Some(path), None) => (file_key, secret::from_file(&path)),
        (None, Some(name)) => (variable_key, secret::from_variable(&name, lookup)),
        (Some(_), Some(_)) => {
            problems.push(
                Problem::error(
                    section.key_span(variable_key),
                    format!("`{file_key}` and `{variable_key}` both name the secret"),
                )
                .related(section.key_span(file_key), "the other one")
                .help("keep one of them"),
            );
            return None;
        }
        (None, None) => {
            problems.push(
                Problem::error(section.key_span.clone(), format!("[{}] names no secret", section.name)).help(format!(
                    "add `{file_key} = \"…\"` or `{variable_key} = \"…\"`; the secret itself does not belong in this file"
                )),
            );
            return None;
        }
    };
    read.map_err(|error| problems.push(Problem::error(section.value_span(key), ErrorChain(&error).to_string()))).ok()
}

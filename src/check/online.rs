//! Whether a good configuration could start here and now: ports, folders, disk space, open files, sinks, bridges. Leaves
//! nothing behind.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use sidecar_core::{ByteSize, Claim, ErrorChain};

use crate::config::Config;
use crate::exit::{Failure, listen_advice};
use crate::run::runtime;

/// Open files beside the listener's connections: databases, logs, HTTP.
const OTHER_OPEN_FILES: u64 = 1_024;
/// How long a bridged program may take to answer.
const BRIDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How bad an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// It would start.
    Warning,
    /// It would not start, or not work.
    Error,
}

impl Level {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What one component answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    pub(crate) level: Level,
    /// As the configuration names it.
    pub(crate) component: String,
    pub(crate) message: String,
}

impl Answer {
    fn new(level: Level, component: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, component: component.into(), message: message.into() }
    }
}

pub(crate) fn ask(config: &Config) -> Result<Vec<Answer>, Failure> {
    let mut answers =
        vec![port("server", config.server.listen), port("admin", config.admin.listen), open_files(config)];
    answers.push(folder("journal", &config.journal.path));
    answers.push(disk_space(config));
    for sink in &config.sinks {
        let name = format!("sinks.{}", sink.name);
        let claims: Vec<Answer> = sink.settings.claims().iter().map(|claim| claimed(&name, claim)).collect();
        // What is in the way is said already; the sink would say it again.
        let is_in_the_way = claims.iter().any(|answer| answer.level == Level::Error);
        answers.extend(claims);
        // A file sink says "no such folder" before `run` has made it; the folder's own answer is the better one.
        let folder_missing = sink.settings.claims().iter().any(
            |claim| matches!(claim, Claim::File(path) if path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.exists())),
        );
        if !folder_missing && !is_in_the_way {
            answers.push(match sink.settings.probe() {
                Ok(()) => Answer::new(Level::Ok, name, format!("{} would start", sink.type_name)),
                Err(error) => Answer::new(Level::Error, name, ErrorChain(&error).to_string()),
            });
        }
    }
    if !config.bridges.is_empty() {
        let runtime = runtime()?;
        for bridge in &config.bridges {
            answers.push(runtime.block_on(program(&bridge.name, &bridge.settings)));
        }
    }
    Ok(answers)
}

fn claimed(component: &str, claim: &Claim) -> Answer {
    match claim {
        Claim::Listen(address) => port(component, *address),
        Claim::File(path) => folder(component, path),
    }
}

fn port(component: &str, address: SocketAddr) -> Answer {
    match TcpListener::bind(address) {
        Ok(_) => Answer::new(Level::Ok, component, format!("{address} is free")),
        Err(error) => {
            let what = format!("cannot listen on {address}: {error}; {}", listen_advice(&error));
            Answer::new(Level::Error, component, what)
        }
    }
}

fn open_files(config: &Config) -> Answer {
    let limits = &config.server.limits;
    let needed = (limits.sessions + limits.handshakes) as u64 + OTHER_OPEN_FILES;
    // The soft limit is raised at start as far as the hard one allows.
    match getrlimit(Resource::Nofile).maximum {
        Some(hard) if hard < needed => Answer::new(
            Level::Warning,
            "open files",
            format!(
                "{needed} may be needed and {hard} are allowed: raise the limit (ulimit -Hn, LimitNOFILE=) or lower server.limits.max_sessions"
            ),
        ),
        _ => Answer::new(Level::Ok, "open files", format!("{needed} may be needed and are allowed")),
    }
}

/// The folder of a file, or the nearest one above it that exists.
fn nearest_folder(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn folder(component: &str, file: &Path) -> Answer {
    let folder = nearest_folder(file);
    let answer = |level, message: String| Answer::new(level, component, message);
    if file.is_dir() {
        return answer(Level::Error, format!("{} is a folder, not a file", file.display()));
    }
    if let Err(error) = rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK) {
        return answer(Level::Error, format!("cannot write in {}: {error}", folder.display()));
    }
    if file.exists()
        && let Err(error) = rustix::fs::access(file, Access::READ_OK | Access::WRITE_OK)
    {
        return answer(Level::Error, format!("cannot write {}: {error}", file.display()));
    }
    answer(Level::Ok, format!("can write {}", file.display()))
}

fn disk_space(config: &Config) -> Answer {
    let folder = nearest_folder(&config.journal.path);
    let needed = config.journal.max_bytes + config.journal.ballast_bytes;
    match rustix::fs::statvfs(&folder) {
        Err(error) => Answer::new(Level::Warning, "disk space", format!("unknown on {}: {error}", folder.display())),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let have = ByteSize(free);
            if free < needed {
                let message = format!(
                    "the journal may grow to {} and {have} are free on its disk: lower journal.max_bytes or make room",
                    ByteSize(needed)
                );
                Answer::new(Level::Warning, "disk space", message)
            } else {
                Answer::new(Level::Ok, "disk space", format!("{have} free, {} for the journal", ByteSize(needed)))
            }
        }
    }
}

async fn program(name: &str, settings: &sri_bridge::SriBridgeSettings) -> Answer {
    let name = format!("bridges.{name}");
    let reading = sri_bridge::read_view(&settings.url, settings.role, std::iter::empty());
    match tokio::time::timeout(BRIDGE_TIMEOUT, reading).await {
        Ok(Ok(view)) => {
            let channels: usize = view.downstreams.values().map(|downstream| downstream.channels.len()).sum();
            Answer::new(Level::Ok, name, format!("{} answers with {channels} channels", settings.url))
        }
        Ok(Err(error)) => Answer::new(Level::Warning, name, ErrorChain(&error).to_string()),
        Err(_) => Answer::new(Level::Warning, name, format!("{} does not answer", settings.url)),
    }
}

//! `check`: what is wrong with a configuration, and with `--online` whether it could start here and now.

mod online;

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use sidecar_core::ErrorChain;

use crate::cli::CheckArgs;
use crate::config::{Config, ConfigError, Findings, Severity};
use crate::exit::{Exit, Failure, output};
use crate::{registry, run};

pub(crate) use self::online::Level;

pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let (config, findings) = match Config::load(&args.config, &registry::built_in()) {
        Ok(loaded) => (Some(loaded.config), loaded.findings),
        Err(ConfigError::Invalid { findings }) => (None, *findings),
        Err(error) if args.json => {
            let page = json!({ "ok": false, "problems": [unreadable(&args.config, &error)], "online": [] });
            output(writeln!(io::stdout().lock(), "{page}"))?;
            return Err(Failure::silent(Exit::Config));
        }
        Err(error) => return Err(Failure::from_config(&error)),
    };
    let answers = match &config {
        Some(config) if args.online => online::ask(config)?,
        _ => Vec::new(),
    };
    let mut out = io::stdout().lock();
    if args.json {
        let page = json!({ "ok": config.is_some(), "problems": findings.to_json(), "online": answers });
        output(writeln!(out, "{page}"))?;
    } else {
        run::show(&findings);
        output(write_answers(&mut out, &answers))?;
    }
    match config {
        None if args.json => Err(Failure::silent(Exit::Config)),
        None => Err(Failure::new(Exit::Config, summary(&findings))),
        Some(_) if answers.iter().any(|answer| answer.level == Level::Error) => {
            if args.json {
                return Err(Failure::silent(Exit::NotNow));
            }
            Err(Failure::new(Exit::NotNow, "the configuration is good, but it could not start here and now"))
        }
        Some(_) if args.json => Ok(()),
        Some(_) => output(writeln!(out, "{}: {}", args.config.display(), good(&findings))),
    }
}

/// A problem of the file as a whole, in the form of those in it: it has no place.
fn unreadable(file: &Path, error: &ConfigError) -> Value {
    json!({
        "severity": "error",
        "file": file,
        "line": null,
        "column": null,
        "text": null,
        "message": ErrorChain(error).to_string(),
        "help": error.advice(),
        "related": null,
    })
}

fn write_answers(out: &mut impl Write, answers: &[online::Answer]) -> io::Result<()> {
    answers
        .iter()
        .try_for_each(|answer| writeln!(out, "{:<8} {:<20} {}", answer.level.name(), answer.component, answer.message))
}

fn summary(findings: &Findings) -> String {
    let errors = findings.count(Severity::Error);
    format!("{} has {errors} error{}", findings.file.path.display(), if errors == 1 { "" } else { "s" })
}

fn good(findings: &Findings) -> String {
    match findings.count(Severity::Warning) {
        0 => "good".to_owned(),
        1 => "good, with one warning".to_owned(),
        warnings => format!("good, with {warnings} warnings"),
    }
}

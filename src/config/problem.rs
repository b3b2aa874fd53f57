//! What is wrong with a configuration file, where, and what to do: collected, then shown all at once.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

/// Columns that a shown problem may take.
const WIDTH: usize = 110;

/// Whether a problem stops the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but somebody should look.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// Bytes of the file that it is about.
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// Another place that has to do with it, and how.
    pub(crate) related: Option<(Range<usize>, String)>,
}

impl Problem {
    pub(crate) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), help: None, related: None }
    }

    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    /// Values of environment variables and what is shown in their place: an error must not print a secret.
    hidden: Vec<(String, String)>,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Shows `shown` wherever a message holds `value`.
    pub(crate) fn hide(&mut self, value: String, shown: String) {
        self.hidden.push((value, shown));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    pub(crate) fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// All problems in the order of the file, each once.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        for problem in &mut self.list {
            for (value, shown) in &self.hidden {
                problem.message = problem.message.replace(value, shown);
                problem.help = problem.help.take().map(|help| help.replace(value, shown));
            }
        }
        self.list.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        self.list.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        self.list
    }
}

/// A configuration file as it was read.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl SourceFile {
    /// Line and column of a byte, both from 1, the column in characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Bytes inside the file, on character boundaries.
    fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.boundary(span.start);
        start..self.boundary(span.end.max(start))
    }

    /// The character boundary at or before this byte.
    fn boundary(&self, offset: usize) -> usize {
        (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// A file with its problems, for people and as JSON.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) file: SourceFile,
    pub(crate) problems: Vec<Problem>,
}

impl Findings {
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }

    /// Every problem with its place in the file drawn, in colour or not.
    pub(crate) fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1).with_links(false);
        let mut out = String::new();
        let name = self.file.path.display().to_string();
        for problem in &self.problems {
            let shown = Shown {
                problem,
                source: NamedSource::new(&name, self.file.text.clone()),
                span: self.file.clamp(&problem.span),
                related: problem.related.as_ref().map(|(span, label)| (self.file.clamp(span), label.clone())),
            };
            if handler.render_report(&mut out, &shown).is_err() {
                // Only a writer can fail here, and a String does not.
                out.push_str(&problem.message);
            }
            out.push('\n');
        }
        out
    }

    /// The problems for programs, in the order of the file.
    pub(crate) fn to_json(&self) -> Vec<Value> {
        let place = |span: &Range<usize>| {
            let span = self.file.clamp(span);
            let (line, column) = self.file.position(span.start);
            (line, column, self.file.text[span].to_owned())
        };
        let one = |problem: &Problem| {
            let (line, column, text) = place(&problem.span);
            json!({
                "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "file": self.file.path,
                "line": line,
                "column": column,
                "text": text,
                "message": problem.message,
                "help": problem.help,
                "related": problem.related.as_ref().map(|(span, label)| {
                    let (line, column, text) = place(span);
                    json!({ "line": line, "column": column, "text": text, "message": label })
                }),
            })
        };
        self.problems.iter().map(one).collect()
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file itself.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What it says.
    #[error("{}", summary(findings))]
    Invalid { findings: Box<Findings> },
}

impl ConfigError {
    pub(crate) fn unreadable(path: &Path, source: std::io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    /// What to do, where the findings have not said it already.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let Self::Unreadable { source, .. } = self else { return None };
        Some(match source.kind() {
            ErrorKind::NotFound => {
                "is the path right? configs/minimal.toml is a file to begin with, and hashpool-sidecar demo needs none"
            }
            ErrorKind::IsADirectory => "name the file in it",
            ErrorKind::PermissionDenied => "let the user who runs the sidecar read it: look at its owner and mode",
            ErrorKind::InvalidData => "a configuration is TOML in UTF-8; is this the right file?",
            _ => return None,
        })
    }
}

fn summary(findings: &Findings) -> String {
    let errors = findings.count(Severity::Error);
    let plural = if errors == 1 { "" } else { "s" };
    format!("the configuration {} has {errors} error{plural}", findings.file.path.display())
}

/// One problem in the form that miette draws.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
    span: Range<usize>,
    related: Option<(Range<usize>, String)>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'h>(&'h self) -> Option<Box<dyn fmt::Display + 'h>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let here = LabeledSpan::new_primary_with_span(Some("here".to_owned()), self.span.clone());
        let there =
            self.related.as_ref().map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(std::iter::once(here).chain(there)))
    }
}

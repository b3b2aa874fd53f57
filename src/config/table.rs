//! One table of the file, read into a serde struct with every error told: serde stops at the first, so the entry it
//! stumbled over is noted, cut out, and the table read again.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::{Problem, Problems};
use super::suggest;

/// Errors told for one table; more help nobody.
const MAX_ERRORS: usize = 50;

/// A table with its name and places.
#[derive(Debug, Clone)]
pub(crate) struct Section<'i> {
    /// As written between brackets, such as `sinks.history`.
    pub(crate) name: String,
    /// The key that names it.
    pub(crate) key_span: Range<usize>,
    /// The whole of it.
    pub(crate) span: Range<usize>,
    pub(crate) entries: DeTable<'i>,
}

impl<'i> Section<'i> {
    /// Takes a value that must be a table.
    pub(crate) fn new(
        name: impl Into<String>,
        key_span: Range<usize>,
        value: Spanned<DeValue<'i>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let (name, span) = (name.into(), value.span());
        match value.into_inner() {
            DeValue::Table(entries) => Some(Self { name, key_span, span, entries }),
            other => {
                problems.push(
                    Problem::error(span, format!("`{name}` must be a table, not {}", kind(&other)))
                        .help(format!("begin it with [{name}]")),
                );
                None
            }
        }
    }

    /// An absent table: everything in it has its default.
    pub(crate) fn absent(name: &str) -> Self {
        Self { name: name.to_owned(), key_span: 0..0, span: 0..0, entries: DeTable::new() }
    }

    /// Where the value of a key stands, or else the table's name.
    pub(crate) fn value_span(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or_else(|| self.key_span.clone(), Spanned::span)
    }

    /// Where a key stands, or else the table's name.
    pub(crate) fn key_span(&self, key: &str) -> Range<usize> {
        self.entries.get_key_value(key).map_or_else(|| self.key_span.clone(), |(key, _)| key.span())
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<(Range<usize>, Spanned<DeValue<'i>>)> {
        self.entries.remove_entry(key).map(|(key, value)| (key.span(), value))
    }

    /// Takes the entries of these keys out, as a table of the same name and place.
    pub(crate) fn split_off(&mut self, keys: &[&str]) -> Self {
        let mut taken = Self { entries: DeTable::new(), ..self.clone() };
        for key in keys {
            if let Some((key, value)) = self.entries.remove_entry(*key) {
                taken.entries.insert(key, value);
            }
        }
        taken
    }

    /// Whether a key has a value that could not be read, given what was read of it.
    pub(crate) fn lost<T>(&self, key: &str, read: &Option<T>) -> bool {
        read.is_none() && self.entries.contains_key(key)
    }

    /// Where the first string value stands (in the order of the keys) for which `wanted` holds.
    pub(crate) fn find_string(&self, wanted: impl Fn(&str) -> bool) -> Option<Range<usize>> {
        self.entries.values().find_map(|value| match value.get_ref() {
            DeValue::String(string) if wanted(string) => Some(value.span()),
            _ => None,
        })
    }

    /// Reads the table into `T`, whose serde form denies unknown fields. After an error the value is what the table says
    /// without its bad entries.
    pub(crate) fn read<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        self.read_with(&[], problems, |table| T::deserialize(table))
    }

    /// [`read`](Self::read) for what is of no use when a part of it is missing: `None` after any error.
    pub(crate) fn read_whole<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        let before = problems.errors();
        self.read(problems).filter(|_| problems.errors() == before)
    }

    /// Reads the table by `parse`. `also_known` are keys that others took out: they are offered to who mistyped one.
    pub(crate) fn read_with<T>(
        &self,
        also_known: &[&str],
        problems: &mut Problems,
        parse: impl Fn(ValueDeserializer<'i>) -> Result<T, toml::de::Error>,
    ) -> Option<T> {
        let mut left = self.entries.clone();
        let mut cut: Vec<String> = Vec::new();
        for _ in 0..MAX_ERRORS {
            let value = Spanned::new(self.span.clone(), DeValue::Table(left.clone()));
            let error = match parse(ValueDeserializer::from(value)) {
                // Without its bad entries the value serves only to find further errors: those told keep it from use.
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let removed = error.span().and_then(|span| cut_out(&mut left, &span));
            let message = Message::new(error.message());
            if let Message::MissingKey(key) = message
                && cut.iter().any(|cut| cut == key)
            {
                return None;
            }
            problems.push(self.problem(&error, &message, removed.as_ref(), also_known));
            match removed {
                Some(removed) => cut.push(removed.key),
                None => return None,
            }
        }
        None
    }

    fn problem(
        &self,
        error: &toml::de::Error,
        message: &Message<'_>,
        removed: Option<&Removed>,
        also_known: &[&str],
    ) -> Problem {
        let span = match (removed, error.span()) {
            (Some(_), Some(span)) => span,
            _ => self.key_span.clone(),
        };
        let name = &self.name;
        match message {
            Message::UnknownKey { key, known } => {
                let nested = removed.is_some_and(|removed| removed.depth > 0);
                let others = if nested { &[][..] } else { also_known };
                Problem::error(span, format!("unknown key `{key}` in [{name}]")).help(suggest::help(
                    key,
                    "keys",
                    known.iter().chain(others).copied(),
                ))
            }
            Message::UnknownName { given, known } => Problem::error(span, format!("`{given}` is not possible here"))
                .help(suggest::help(given, "values", known.iter().copied())),
            Message::MissingKey(key) => {
                Problem::error(span, format!("[{name}] lacks `{key}`")).help(format!("add a line `{key} = …`"))
            }
            Message::WrongType { text, wants_text: true } => Problem::error(span, (*text).to_owned())
                .help("write it in quotes; durations and sizes carry their unit, as \"10s\" and \"64 MiB\""),
            Message::WrongType { text, wants_text: false } | Message::Other(text) => {
                let problem = Problem::error(span, (*text).to_owned());
                match whole_number_range(text) {
                    Some((from, to)) => {
                        problem.help(format!("write a whole number from {from} to {to}, without quotes"))
                    }
                    None => problem,
                }
            }
        }
    }
}

/// What serde's messages say; their wording is part of `serde::de::Error`'s documented defaults.
enum Message<'m> {
    UnknownKey { key: &'m str, known: Vec<&'m str> },
    UnknownName { given: &'m str, known: Vec<&'m str> },
    MissingKey(&'m str),
    WrongType { text: &'m str, wants_text: bool },
    Other(&'m str),
}

impl<'m> Message<'m> {
    fn new(message: &'m str) -> Self {
        // `unknown field `a`, expected one of `b`, `c``: every second piece between backticks is a name.
        let mut names = message.split('`').skip(1).step_by(2);
        let mut first = || names.next().unwrap_or_default();
        if message.starts_with("unknown field `") {
            Self::UnknownKey { key: first(), known: names.collect() }
        } else if message.starts_with("unknown variant `") {
            Self::UnknownName { given: first(), known: names.collect() }
        } else if message.starts_with("missing field `") {
            Self::MissingKey(first())
        } else if message.starts_with("invalid type: ") {
            Self::WrongType { text: message, wants_text: message.ends_with("expected a string") }
        } else {
            Self::Other(message)
        }
    }
}

/// The range of the type that serde expected, if it was that of a number.
fn whole_number_range(message: &str) -> Option<(u64, u64)> {
    let (_, expected) = message.rsplit_once("expected ")?;
    let (from, expected) = expected.strip_prefix("a nonzero ").map_or((0, expected), |expected| (1, expected));
    let to = match expected {
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        // What TOML itself can hold.
        "u64" | "usize" => i64::MAX as u64,
        _ => return None,
    };
    Some((from, to))
}

/// An entry that was cut out.
struct Removed {
    key: String,
    /// 0 for an entry of the table itself.
    depth: usize,
}

/// Cuts out the innermost entry whose key or value the span lies in.
fn cut_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Removed> {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let key = table
        .iter()
        .find(|(key, value)| covers(key.span()) || covers(value.span()))
        .or_else(|| {
            // The span of a table that was opened by its own header does not cover its dotted parts: look inside.
            table.iter().find(|(_, value)| matches!(value.get_ref(), DeValue::Table(inner) if holds(inner, span)))
        })
        .map(|(key, _)| key.get_ref().to_string())?;
    if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut)
        && let Some(removed) = cut_out(inner, span)
    {
        return Some(Removed { depth: removed.depth + 1, ..removed });
    }
    table.remove(key.as_str());
    Some(Removed { key, depth: 0 })
}

fn holds(table: &DeTable<'_>, span: &Range<usize>) -> bool {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    table.iter().any(|(key, value)| {
        covers(key.span())
            || covers(value.span())
            || matches!(value.get_ref(), DeValue::Table(inner) if holds(inner, span))
    })
}

/// What a value is, for people.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

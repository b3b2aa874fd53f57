//! Tables as CSV (RFC 4180). Names come from the network and the file goes into a spreadsheet: what a spreadsheet would take
//! for a formula gets an apostrophe in front. Spreadsheets of other places begin a new cell at semicolons or tabs too, and at
//! a line break within a text whose quotation mark does not stand where their cells begin: a formula may begin there as well.

use axum::http::{HeaderMap, StatusCode, header};
use mining_stats::{Estimate, Hashrate};
use sink_sqlite::query::WindowReading;

use super::problem::Problem;

/// Something with rows.
pub(crate) trait Table {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];

    /// Adds the rows.
    fn rows(&self, rows: &mut Rows);

    /// The cursor of the rows behind these; `None` where there are none.
    fn next_cursor(&self) -> Option<String> {
        None
    }
}

/// Rows on their way into a file.
#[derive(Debug)]
pub(crate) struct Rows {
    writer: csv::Writer<Vec<u8>>,
    failure: Option<csv::Error>,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    /// Untrusted text.
    Text(&'a str),
    Number(u64),
    /// Not finite numbers have no digits and are left empty.
    Float(f64),
    Flag(bool),
    /// Unknown: an empty field, never 0.
    Empty,
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Cell<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

impl Rows {
    /// Adds one row, which has as many fields as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell<'_>; N]) {
        let written = self.writer.write_record(cells.iter().map(field));
        self.failure = self.failure.take().or(written.err());
    }
}

/// A hashrate over a window: its name, the observed time, the hashrate with the ends of its interval, and the shares.
pub(crate) fn window(window: Option<&WindowReading>) -> [Cell<'_>; 7] {
    let Some(window) = window else { return [Cell::Empty; 7] };
    let estimate = window.reading.measured();
    let rate = |rate: fn(&Estimate) -> Hashrate| estimate.map(|estimate| rate(estimate).hashes_per_second());
    [
        (&window.window).into(),
        window.observed_ms.into(),
        rate(|estimate| estimate.rate).into(),
        rate(|estimate| estimate.low).into(),
        rate(|estimate| estimate.high).into(),
        window.accepted.into(),
        window.rejected.into(),
    ]
}

/// A field as it is written.
fn field(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => harmless(text),
        Cell::Number(number) => number.to_string(),
        Cell::Float(number) if number.is_finite() => number.to_string(),
        Cell::Float(_) | Cell::Empty => String::new(),
        Cell::Flag(flag) => flag.to_string(),
    }
}

/// What begins a formula, in the wide forms of East Asia too.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠'];
/// Where a new cell begins in some spreadsheet.
const CELL: [char; 4] = [';', '\t', '\r', '\n'];
/// What may stand before a formula and is not seen.
const SKIPPED: [char; 4] = [' ', '"', '\u{a0}', '\u{feff}'];

/// The text with an apostrophe before every formula that a spreadsheet would run. Ordinary names are left as they are.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len() + 1);
    // Some spreadsheets drop what stands in front of this and run the rest.
    if text.starts_with(['\t', '\r', '\n']) {
        harmless.push('\'');
    }
    let mut begins = true;
    for char in text.chars() {
        if begins && FORMULA.contains(&char) {
            harmless.push('\'');
        }
        begins = CELL.contains(&char) || (begins && SKIPPED.contains(&char));
        harmless.push(char);
    }
    harmless
}

/// The whole file.
pub(crate) fn write<T: Table>(table: &T) -> Result<Vec<u8>, csv::Error> {
    let mut rows = Rows { writer: csv::Writer::from_writer(Vec::new()), failure: None };
    rows.writer.write_record(T::COLUMNS)?;
    table.rows(&mut rows);
    if let Some(error) = rows.failure {
        return Err(error);
    }
    rows.writer.into_inner().map_err(|error| error.into_error().into())
}

/// What a client wants to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Json,
    Csv,
}

impl Format {
    /// By `?format=`, or else by `Accept`.
    pub(crate) fn asked(format: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        match format {
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some(other) => Err(Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                format!("there is no format `{other}`; there are `json` and `csv`"),
            )),
            None => Ok(Self::accepted(headers)),
        }
    }

    /// By `Accept` alone.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let mut kinds = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        match kinds.find(|kind| matches!(*kind, "text/csv" | "application/json" | "*/*")) {
            Some("text/csv") => Self::Csv,
            _ => Self::Json,
        }
    }

    /// What `Accept` says of somebody who wants it.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Names(Vec<String>);

    impl Table for Names {
        const COLUMNS: &'static [&'static str] = &["name", "rate"];

        fn rows(&self, rows: &mut Rows) {
            for name in &self.0 {
                rows.row([name.into(), None::<f64>.into()]);
            }
        }
    }

    proptest! {
        /// Whatever a name holds, it is one field of one row, comes back whole but for apostrophes, and no spreadsheet runs
        /// it, wherever its cells begin.
        #[test]
        fn hostile_names_stay_in_their_field(names in prop::collection::vec(prop_oneof![any::<String>(), "[=+@\\-|%\t ＝]{0,3}([a-z\",\n\r; \t]{0,4}[=+@\\-%']{0,2}){0,5}"], 0..8)) {
            let file = write(&Names(names.clone())).unwrap();
            let mut reader = csv::Reader::from_reader(&file[..]);
            let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(rows.len(), names.len());
            for (row, name) in rows.iter().zip(&names) {
                prop_assert_eq!(row.len(), 2);
                let cell = &row[0];
                prop_assert_eq!(cell.replace('\'', ""), name.replace('\'', ""));
                prop_assert_eq!(&row[1], "");
                for cell in cell.split(CELL) {
                    prop_assert!(!cell.trim_start_matches(SKIPPED).starts_with(FORMULA), "{cell:?}");
                }
            }
            // Read by somebody for whom a quotation mark in the midst of a cell is nothing but a character.
            for cell in std::str::from_utf8(&file).unwrap().split(CELL) {
                prop_assert!(!cell.trim_start_matches(SKIPPED).starts_with(FORMULA), "{cell:?}");
            }
        }

        /// Names as people choose them are not changed.
        #[test]
        fn ordinary_names_stay_as_they_are(name in "[a-z0-9А-я]{1,8}([._\\-+@ =:/%|][a-z0-9]{1,8}){0,3}") {
            prop_assert_eq!(harmless(&name), name);
        }
    }

    #[test]
    fn a_formula_in_the_midst_of_a_text_is_none() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            (" \u{feff}-1", " \u{feff}'-1"),
            ("rig;=1+1", "rig;'=1+1"),
            ("rig; \"=1+1", "rig; \"'=1+1"),
            ("rig\t@x", "rig\t'@x"),
            ("rig\r\n+x", "rig\r\n'+x"),
            ("\trig", "'\trig"),
            ("＝1", "'＝1"),
            ("rig-1;rig+2", "rig-1;rig+2"),
            ("'=1", "'=1"),
        ] {
            assert_eq!(harmless(text), written, "{text:?}");
        }
    }

    #[test]
    fn the_format_is_asked_for_by_name_or_by_type() {
        let asked = |format: Option<&str>, accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            Format::asked(format, &headers)
        };
        assert_eq!(asked(None, "text/csv").unwrap(), Format::Csv);
        assert_eq!(asked(None, "text/html, text/csv;q=0.9, */*").unwrap(), Format::Csv);
        assert_eq!(asked(None, "application/json, text/csv").unwrap(), Format::Json);
        assert_eq!(asked(None, "*/*").unwrap(), Format::Json);
        assert_eq!(asked(Some("csv"), "application/json").unwrap(), Format::Csv);
        assert!(asked(Some("xml"), "*/*").is_err());
    }
}

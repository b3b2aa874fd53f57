//! Tables as CSV (RFC 4180). Names come from the network and the file goes into a spreadsheet: text that a spreadsheet would
//! take for a formula gets an apostrophe in front.

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
        Cell::Text(text) if is_formula(text) => format!("'{text}"),
        Cell::Text(text) => (*text).to_owned(),
        Cell::Number(number) => number.to_string(),
        Cell::Float(number) if number.is_finite() => number.to_string(),
        Cell::Float(_) | Cell::Empty => String::new(),
        Cell::Flag(flag) => flag.to_string(),
    }
}

/// Whether a spreadsheet would run it.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches([' ', '\u{feff}']).starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%'])
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            None => {
                let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                let first = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
                let wanted = first.into_iter().find(|kind| matches!(*kind, "text/csv" | "application/json" | "*/*"));
                Ok(if wanted == Some("text/csv") { Self::Csv } else { Self::Json })
            }
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
        /// Whatever a name holds, it is one field of one row, comes back whole, and no spreadsheet runs it.
        #[test]
        fn hostile_names_stay_in_their_field(names in prop::collection::vec(prop_oneof![any::<String>(), "[=+@\\-|%\t ]{0,3}[a-z\",\n\r;]{0,20}"], 0..8)) {
            let file = write(&Names(names.clone())).unwrap();
            let mut reader = csv::Reader::from_reader(&file[..]);
            let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(rows.len(), names.len());
            for (row, name) in rows.iter().zip(&names) {
                prop_assert_eq!(row.len(), 2);
                let cell = &row[0];
                prop_assert!(!is_formula(cell), "{cell:?}");
                prop_assert_eq!(cell.strip_prefix('\'').filter(|_| is_formula(name)).unwrap_or(cell), name);
                prop_assert_eq!(&row[1], "");
            }
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

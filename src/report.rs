//! Numbers of the history as tables for a terminal, for `stats` and `demo`.

use comfy_table::{CellAlignment, Table, presets};
use mining_stats::{Hashrate, Reading, text};

/// A table without lines, whose columns from `first_number` on are numbers.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, numbers: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in numbers {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    text.join("\n")
}

/// The 95 % interval of a reading, such as `96 to 124 TH/s`; empty where nothing was measured.
pub(crate) fn interval(reading: &Reading) -> String {
    let Some(estimate) = reading.measured() else { return String::new() };
    // Enough digits to tell the two ends apart.
    let digits = match estimate.relative_error() {
        error if error > 0.05 => 2,
        error if error > 0.005 => 3,
        _ => 4,
    };
    let show = |rate: Hashrate| text::hashrate(rate, digits);
    let (low, high) = (show(estimate.low), show(estimate.high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, low_unit)), Some((_, high_unit))) if low_unit == high_unit => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// Text from the network, fit for a terminal: nothing in it moves the cursor or turns the line around.
pub(crate) fn untrusted(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mining_stats::Sample;

    #[test]
    fn the_ends_of_an_interval_differ() {
        for shares in [1_u64, 5, 30, 300, 3_000, 300_000] {
            let work = shares as f64 * 1e15;
            let sample = Sample { shares, work, work_squared: work * 1e15, observed_ms: 60_000, ..Sample::default() };
            let shown = interval(&Reading::Measured(sample.estimate().unwrap()));
            let (low, high) = shown.split_once(" to ").unwrap();
            assert_ne!(low, high.split(' ').next().unwrap(), "{shares} shares: {shown}");
        }
    }

    #[test]
    fn text_from_the_network_cannot_drive_the_terminal() {
        assert_eq!(untrusted("a\x1b[2Jb\u{202e}c\r\né"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}é");
    }
}

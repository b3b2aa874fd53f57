//! Turning the pages of a list by links, so that it works without scripts.

use maud::{Markup, html};
use sink_sqlite::query::Part;

/// Which page of a list is shown, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// From 1; never behind the last.
    pub(super) page: usize,
    pages: usize,
    page_rows: usize,
}

impl Turn {
    /// The page that is asked for, or the last one where there are fewer; an empty list has one page.
    pub(super) fn new(asked: Option<usize>, rows: usize, page_rows: usize) -> Self {
        let pages = rows.div_ceil(page_rows).max(1);
        Self { page: asked.unwrap_or(1).clamp(1, pages), pages, page_rows }
    }

    /// Rows on the pages before.
    const fn skipped(&self) -> usize {
        (self.page - 1) * self.page_rows
    }

    /// The part of a list that is on this page.
    pub(super) fn rows<T>(&self, rows: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        rows.into_iter().skip(self.skipped()).take(self.page_rows)
    }

    /// The same of a list in the history.
    pub(super) const fn part<P>(&self) -> Part<P> {
        Part { after: None, skip: self.skipped() as u64, limit: self.page_rows as u32 }
    }

    /// Links to the pages around, if there are any. `what` names the list, `to` gives the address of a page.
    pub(super) fn markup(&self, what: &str, to: impl Fn(usize) -> String) -> Markup {
        html! {
            @if self.pages > 1 {
                nav.turn aria-label=(format!("Pages of the {what}")) data-key=(format!("turn {what}")) {
                    span { @if self.page > 1 { a href=(to(self.page - 1)) data-turn="" rel="prev" { "Previous" } } }
                    span data-place="" { "page " (self.page) " of " (self.pages) }
                    span { @if self.page < self.pages { a href=(to(self.page + 1)) data-turn="" rel="next" { "Next" } } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_on_one_page_and_no_page_is_empty() {
        for rows in [0, 1, 49, 50, 51, 1_008] {
            let all: Vec<usize> = (0..rows).collect();
            let pages = Turn::new(Some(usize::MAX), rows, 50).page;
            let turned: Vec<usize> = (1..=pages)
                .flat_map(|page| Turn::new(Some(page), rows, 50).rows(all.clone()).collect::<Vec<_>>())
                .collect();
            assert_eq!(turned, all, "{rows} rows on {pages} pages");
            assert!(rows == 0 || Turn::new(Some(pages), rows, 50).rows(all).next().is_some());
        }
        assert_eq!(Turn::new(Some(0), 10, 50).page, 1);
        assert!(Turn::new(None, 50, 50).markup("list", |_| String::new()).into_string().is_empty());
    }
}

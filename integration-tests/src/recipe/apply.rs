//! Finds the place of an insert in a file's text, and puts the lines there.
//!
//! Runs of white space count as one space, so that an anchor survives another line break; everything else must match.

use std::ops::Range;

use thiserror::Error;

use super::Insert;

/// Columns of one level of indentation.
const LEVEL: usize = 4;

/// Why lines have no place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The block is not there.
    #[error("{purpose:?}: no line has `{text}`")]
    NoBlock {
        /// Which insert.
        purpose: String,
        /// What was looked for.
        text: String,
    },
    /// The block is there more than once.
    #[error("{purpose:?}: `{text}` begins a block in lines {}", list(lines))]
    ManyBlocks {
        /// Which insert.
        purpose: String,
        /// What was looked for.
        text: String,
        /// Where it was found, counted from 1.
        lines: Vec<usize>,
    },
    /// The anchor is not there.
    #[error("{purpose:?}: no `{text}` in lines {} to {}", within.0, within.1)]
    NoAnchor {
        /// Which insert.
        purpose: String,
        /// What was looked for.
        text: String,
        /// First and last line that were searched.
        within: (usize, usize),
    },
    /// The anchor is there more than once.
    #[error("{purpose:?}: `{text}` is in lines {}", list(lines))]
    ManyAnchors {
        /// Which insert.
        purpose: String,
        /// What was looked for.
        text: String,
        /// Where it was found, counted from 1.
        lines: Vec<usize>,
    },
}

impl Insert {
    /// The text with the lines in it.
    ///
    /// # Errors
    /// When the anchor does not match exactly one place.
    pub fn apply(&self, text: &str, hooks: &str) -> Result<String, ApplyError> {
        let lines: Vec<&str> = text.lines().collect();
        let block = self.block(&lines)?;
        let anchor = self.after.as_ref().or(self.before.as_ref()).or(self.replace.as_ref());
        let anchor = anchor.map(String::as_str).unwrap_or_default();
        let found = find(&lines[block.clone()], anchor);
        let [at] = found.as_slice() else {
            let (purpose, text) = (self.purpose.clone(), anchor.to_owned());
            return Err(match found.as_slice() {
                [] => ApplyError::NoAnchor { purpose, text, within: (block.start + 1, block.end) },
                many => {
                    let lines = many.iter().map(|at| block.start + at.start + 1).collect();
                    ApplyError::ManyAnchors { purpose, text, lines }
                }
            });
        };
        let at = block.start + at.start..block.start + at.end;
        let replaced = match (&self.after, &self.before) {
            (Some(_), _) => at.end..at.end,
            (_, Some(_)) => at.start..at.start,
            _ => at.clone(),
        };
        let indentation = if self.after.is_some() {
            let last = lines[at.end - 1];
            // The line that begins the statement, where the anchor is its end, has the indentation.
            let first = (block.start..at.end).rev().find(|&line| !continues(lines[line])).unwrap_or(at.start);
            if last.ends_with('{') { indentation(last) + LEVEL } else { indentation(lines[first]) }
        } else {
            indentation(lines[at.start])
        };
        let mut result = String::with_capacity(text.len() + self.lines.len() + 256);
        let mut push = |line: &str| {
            result.push_str(line);
            result.push('\n');
        };
        lines[..replaced.start].iter().for_each(|line| push(line));
        for line in self.lines.trim_matches('\n').lines() {
            let line = line.replace("{hooks}", hooks);
            push(format!("{:indentation$}{line}", "").trim_end());
        }
        lines[replaced.end..].iter().for_each(|line| push(line));
        Ok(result)
    }

    /// The lines in which the anchor is looked for: from the line that begins the block to the brace that closes it, which
    /// rustfmt puts alone into the column in which the block begins.
    fn block(&self, lines: &[&str]) -> Result<Range<usize>, ApplyError> {
        let Some(within) = &self.within else { return Ok(0..lines.len()) };
        let found = find(lines, within);
        let [begin] = found.as_slice() else {
            let (purpose, text) = (self.purpose.clone(), within.clone());
            return Err(match found.as_slice() {
                [] => ApplyError::NoBlock { purpose, text },
                many => ApplyError::ManyBlocks { purpose, text, lines: many.iter().map(|at| at.start + 1).collect() },
            });
        };
        let column = indentation(lines[begin.start]);
        let closes = |line: &&str| indentation(line) == column && line.trim_start().starts_with('}');
        let length = lines[begin.end..].iter().position(closes).map_or(lines.len() - begin.end, |at| at + 1);
        Ok(begin.start..begin.end + length)
    }
}

/// Whether a line goes on with the statement of the line before, as rustfmt writes chains.
fn continues(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('.') || line.starts_with('?') || line.starts_with(')')
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The ranges of lines in which the text is, in order.
fn find(lines: &[&str], text: &str) -> Vec<Range<usize>> {
    let wanted: Vec<&str> = text.split_whitespace().collect();
    let wanted = wanted.join(" ");
    let mut all = String::new();
    // Where each line begins in `all`.
    let mut begins = Vec::with_capacity(lines.len());
    for line in lines {
        begins.push(all.len());
        for word in line.split_whitespace() {
            all.push_str(word);
            all.push(' ');
        }
    }
    let line_at = |offset: usize| begins.partition_point(|begin| *begin <= offset) - 1;
    let ends = |at: usize| line_at(at + wanted.len().saturating_sub(1)) + 1;
    all.match_indices(&wanted).map(|(at, _)| line_at(at)..ends(at)).collect()
}

fn list(lines: &[usize]) -> String {
    lines.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

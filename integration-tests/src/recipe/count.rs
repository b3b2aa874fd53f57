//! Counts the lines that a recipe adds or changes, and shows them.

use std::fs;
use std::path::PathBuf;

use similar::{ChangeTag, DiffOp, TextDiff};

use super::patched::{PatchError, Patched};
use super::{MAX_WIDTH, Recipe};

/// Lines of context in a shown diff.
const CONTEXT: usize = 3;

/// Lines that a recipe adds or changes, by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The files with such lines.
    pub files: Vec<FileCount>,
}

/// Lines that a recipe adds or changes in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCount {
    /// The file, from the package's folder.
    pub file: PathBuf,
    /// Added or changed lines; a line that goes away without one in its place counts too.
    pub lines: usize,
}

impl Count {
    /// Over all files.
    #[must_use]
    pub fn total(&self) -> usize {
        self.files.iter().map(|file| file.lines).sum()
    }
}

impl Patched {
    /// Counts the lines of the recipe after formatting.
    ///
    /// # Errors
    /// When a line of ours is wider than [`MAX_WIDTH`], or a file cannot be read.
    pub fn count(&self, recipe: &Recipe) -> Result<Count, PatchError> {
        let mut files = Vec::new();
        for file in recipe.files() {
            let (before, after) = self.texts(file)?;
            let lines = changed_lines(&before, &after);
            if let Some((line, width)) = too_wide(&before, &after)
                && file.extension().is_some_and(|extension| extension == "rs")
            {
                return Err(PatchError::TooWide { file: file.to_owned(), line, width });
            }
            files.push(FileCount { file: file.to_owned(), lines });
        }
        Ok(Count { files })
    }

    /// What the recipe does, as a unified diff.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn diff(&self, recipe: &Recipe) -> Result<String, PatchError> {
        let mut shown = String::new();
        for file in recipe.files() {
            let (before, after) = self.texts(file)?;
            let (a, b) = (format!("a/{}", file.display()), format!("b/{}", file.display()));
            let diff = TextDiff::from_lines(&before, &after);
            shown.push_str(&diff.unified_diff().context_radius(CONTEXT).header(&a, &b).to_string());
        }
        Ok(shown)
    }

    fn texts(&self, file: &std::path::Path) -> Result<(String, String), PatchError> {
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| PatchError::File { path, source });
        Ok((read(self.before().join(file))?, read(self.after().join(file))?))
    }
}

/// A line in the place of another counts once.
pub(super) fn changed_lines(before: &str, after: &str) -> usize {
    let lines = |op: &DiffOp| match op.tag() {
        similar::DiffTag::Equal => 0,
        _ => op.old_range().len().max(op.new_range().len()),
    };
    TextDiff::from_lines(before, after).ops().iter().map(lines).sum()
}

/// The first added or changed line that is too wide, and its columns.
fn too_wide(before: &str, after: &str) -> Option<(usize, usize)> {
    let diff = TextDiff::from_lines(before, after);
    diff.iter_all_changes().filter(|change| change.tag() == ChangeTag::Insert).find_map(|change| {
        let width = change.value().trim_end().chars().count();
        (width > MAX_WIDTH).then(|| (change.new_index().map_or(0, |index| index + 1), width))
    })
}

//! Integration recipes: which lines of ours go where in a published application of SRI's, so that the real pool and the
//! real translator carry our hooks without a copy of their sources in this repository.
//!
//! A recipe is a small TOML file in `recipes/`. Its lines are inserted into the sources that the package registry has, at
//! anchors that must match exactly one place each; the result is built from the Cargo.lock that the package ships, and kept
//! until the recipe, our linked crates or the compiler change. How many lines that takes is counted, not claimed.

mod apply;
mod binary;
mod count;
mod fingerprint;
mod format;
mod patched;
mod source;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

pub use apply::ApplyError;
pub use binary::{BinaryError, Integrated, build_all};
pub use count::{Count, FileCount};
pub use patched::{PatchError, Patched};
pub use source::{FetchError, PublishedSource};

/// Columns that rustfmt keeps to. Where it leaves code alone, because of a longer text in it, our lines must keep to them
/// themselves, or the count would depend on it.
pub const MAX_WIDTH: usize = 100;

/// What goes where in one package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the package in the registry.
    pub package: String,
    /// The version that the recipe is written for.
    pub version: String,
    /// Versions published before, on which the anchors are tried.
    #[serde(default)]
    pub older: Vec<String>,
    /// The most lines that the recipe may add or change.
    pub limit: usize,
    /// What goes where.
    #[serde(rename = "insert")]
    pub inserts: Vec<Insert>,
}

/// Lines for one place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    /// What the lines are for.
    pub purpose: String,
    /// The file, from the package's folder.
    pub file: PathBuf,
    /// The line that begins the block to which the anchor belongs; without it the whole file is searched.
    pub within: Option<String>,
    /// Insert after the line of this anchor.
    pub after: Option<String>,
    /// Insert before the line of this anchor.
    pub before: Option<String>,
    /// Put the lines in the place of the anchor's lines.
    pub replace: Option<String>,
    /// Our lines; `{hooks}` stands for the folder of the crate `mining-hooks`.
    pub lines: String,
}

/// Why a recipe cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no recipe.
    #[error("{} is no recipe", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// An insert has no anchor, or more than one.
    #[error("{}: {purpose:?} needs exactly one of `after`, `before` and `replace`", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// Which insert.
        purpose: String,
    },
}

impl Recipe {
    /// The recipe for SRI's pool.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn pool() -> Result<Self, RecipeError> {
        Self::read(&folder().join("pool_sv2.toml"))
    }

    /// The recipe for SRI's translator.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn translator() -> Result<Self, RecipeError> {
        Self::read(&folder().join("translator_sv2.toml"))
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)
            .map_err(|source| RecipeError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        for insert in &recipe.inserts {
            let anchors = [&insert.after, &insert.before, &insert.replace];
            if anchors.iter().filter(|anchor| anchor.is_some()).count() != 1 {
                return Err(RecipeError::Anchors { path: path.to_owned(), purpose: insert.purpose.clone() });
            }
        }
        Ok(recipe)
    }

    /// The files that it touches, each once.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let mut files: Vec<&Path> = self.inserts.iter().map(|insert| insert.file.as_path()).collect();
        files.sort_unstable();
        files.dedup();
        files.into_iter()
    }
}

/// Where the recipes lie.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

#[cfg(test)]
mod tests;

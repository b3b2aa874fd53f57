//! A package before and after a recipe, in two folders: formatted both, so that only what the recipe does differs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use super::apply::ApplyError;
use super::format::format;
use super::source::{FetchError, PublishedSource};
use super::{MAX_WIDTH, Recipe};

/// A package before and after its recipe. The folders go with it.
#[derive(Debug)]
pub struct Patched {
    before: TempDir,
    after: TempDir,
}

/// Why a package cannot be patched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The sources are not there.
    #[error("no sources to patch")]
    Fetch(#[from] FetchError),
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The package's manifest cannot be read.
    #[error("{} is no manifest", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// rustfmt is not there, or refuses the sources.
    #[error("cannot format the sources")]
    Rustfmt(#[source] io::Error),
    /// Lines have no place.
    #[error("{} of {} places of {package} {version} do not match", errors.len(), places)]
    Anchors {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Places that the recipe has.
        places: usize,
        /// The file and what is wrong, for each place that does not match.
        errors: Vec<(PathBuf, ApplyError)>,
    },
    /// A line of ours is wider than rustfmt would leave it.
    #[error("{}, line {line}: {width} columns, at most {MAX_WIDTH} are counted as one line", file.display())]
    TooWide {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Its columns.
        width: usize,
    },
}

impl Patched {
    /// Patches the version that the recipe is written for.
    ///
    /// # Errors
    /// See [`PatchError`]; all places that do not match are named at once.
    pub fn new(recipe: &Recipe) -> Result<Self, PatchError> {
        Self::of_version(recipe, &recipe.version)
    }

    /// Patches some version.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_version(recipe: &Recipe, version: &str) -> Result<Self, PatchError> {
        let published = PublishedSource::fetch(&recipe.package, version)?;
        let new_folder = || tempfile::tempdir().map_err(|source| PatchError::File { path: "/tmp".into(), source });
        let (before, after) = (new_folder()?, new_folder()?);
        copy(published.folder(), before.path())?;
        format(before.path())?;
        copy(before.path(), after.path())?;
        let patched = Self { before, after };
        patched.apply(recipe, version)?;
        format(patched.after())?;
        Ok(patched)
    }

    /// The package as it is published, formatted.
    #[must_use]
    pub fn before(&self) -> &Path {
        self.before.path()
    }

    /// The package with our lines.
    #[must_use]
    pub fn after(&self) -> &Path {
        self.after.path()
    }

    fn apply(&self, recipe: &Recipe, version: &str) -> Result<(), PatchError> {
        let hooks = hooks_folder();
        let mut errors = Vec::new();
        for insert in &recipe.inserts {
            let path = self.after().join(&insert.file);
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // As good as a file in which nothing is found.
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(source) => return Err(PatchError::File { path, source }),
            };
            match insert.apply(&text, &hooks.to_string_lossy()) {
                Ok(text) => fs::write(&path, text).map_err(|source| PatchError::File { path, source })?,
                Err(error) => errors.push((insert.file.clone(), error)),
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        let (package, places) = (recipe.package.clone(), recipe.inserts.len());
        Err(PatchError::Anchors { package, version: version.to_owned(), places, errors })
    }
}

/// Where the crate lies that the applications link.
pub(super) fn hooks_folder() -> PathBuf {
    workspace().join("protocols/mining-hooks")
}

/// The folder of our workspace.
pub(super) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(env!("CARGO_MANIFEST_DIR")))
}

/// Copies files and folders. Cargo's own mark is left out.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), PatchError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PatchError::File { path, source }
    };
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, name) = (entry.path(), entry.file_name());
        if name == ".cargo-ok" {
            continue;
        }
        let target = to.join(name);
        if entry.file_type().map_err(failed(&source))?.is_dir() {
            copy(&source, &target)?;
        } else {
            // Not `fs::copy`, which would take over that the registry's files are read-only.
            let bytes = fs::read(&source).map_err(failed(&source))?;
            fs::write(&target, bytes).map_err(failed(&target))?;
        }
    }
    Ok(())
}

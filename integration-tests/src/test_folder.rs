//! The temporary folder of one story. It is removed when the story passes and kept, with its path shown, when it
//! fails, so that the logs of the processes can be read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Runs `body` in a folder of its own; when it fails, the folder is kept and the error names it.
///
/// # Errors
/// What `body` returns.
pub async fn story(name: &str, body: impl AsyncFnOnce(&TestFolder) -> Result<()>) -> Result<()> {
    let mut folder = TestFolder::new(name)?;
    match body(&folder).await {
        Ok(()) => Ok(()),
        Err(error) => {
            Err(error.context(format!("the story failed; its files are kept in {}", folder.keep().display())))
        }
    }
}

/// A temporary folder that survives a failed test.
#[derive(Debug)]
pub struct TestFolder {
    /// `None` once kept.
    folder: Option<TempDir>,
    path: PathBuf,
}

impl TestFolder {
    /// Makes a folder whose name starts with the story's name.
    ///
    /// # Errors
    /// When the system's temporary folder cannot be written.
    pub fn new(story: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("hashpool-{story}-"))
            .tempdir()
            .context("cannot make a temporary folder for the story")?;
        let path = folder.path().to_owned();
        Ok(Self { folder: Some(folder), path })
    }

    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn keep(&mut self) -> PathBuf {
        self.folder.take().map_or_else(|| self.path.clone(), TempDir::keep)
    }

    /// Writes a text file into the folder and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for TestFolder {
    // A failing test must say where its logs are, and stderr is where the test runner shows it.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the story failed; its files are kept in {}", self.keep().display());
        }
    }
}

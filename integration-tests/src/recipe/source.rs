//! The sources of a published package, as the registry has them.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

/// The folder of a package's sources in cargo's own cache, which must not be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedSource {
    folder: PathBuf,
}

/// Why sources are not there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Cargo could not be run.
    #[error("cannot run cargo to download {package} {version}")]
    Cargo {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo ran and failed.
    #[error("cargo cannot download {package} {version}: {said}")]
    Download {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Cargo's words.
        said: String,
    },
    /// Cargo downloaded the package and its sources are not where cargo keeps them.
    #[error("{package} {version} is downloaded and not in {}", registry.display())]
    NotFound {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Where it was looked for.
        registry: PathBuf,
    },
    /// Neither `CARGO_HOME` nor `HOME` says where cargo keeps sources.
    #[error("no folder of cargo's: set CARGO_HOME or HOME")]
    NoCargoHome,
}

impl PublishedSource {
    /// The sources of a package, downloaded first if cargo does not have them.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(package: &str, version: &str) -> Result<Self, FetchError> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let registry = home.ok_or(FetchError::NoCargoHome)?.join("registry/src");
        let name = format!("{package}-{version}");
        if let Some(folder) = find(&registry, &name) {
            return Ok(Self { folder });
        }
        let (package, version) = (package.to_owned(), version.to_owned());
        // Shows what a package is, for which it downloads and unpacks that package and no other.
        let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["info", "--quiet", "--registry", "crates-io"])
            .arg(format!("{package}@{version}"))
            // Inside a workspace cargo would prefer the version that is locked there.
            .current_dir(env::temp_dir())
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Ok(output) => output,
            Err(source) => return Err(FetchError::Cargo { package, version, source }),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(FetchError::Download { package, version, said });
        }
        match find(&registry, &name) {
            Some(folder) => Ok(Self { folder }),
            None => Err(FetchError::NotFound { package, version, registry }),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Cargo has one folder for each registry, named by a hash of its address.
fn find(registry: &Path, name: &str) -> Option<PathBuf> {
    let registries = fs::read_dir(registry).ok()?.filter_map(Result::ok);
    // The mark is written last, so sources with it are whole.
    registries.map(|entry| entry.path().join(name)).find(|folder| folder.join(".cargo-ok").exists())
}

//! Gets the SRI applications from the package registry with `cargo install`, once per version, into a cache folder
//! of the user. Two test processes that need the same binary build it once: the second waits at a file lock.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use thiserror::Error;

/// Overrides the cache folder.
const CACHE_VARIABLE: &str = "HASHPOOL_TEST_CACHE";

/// An application of the registry at one exact version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counterpart {
    package: &'static str,
    version: &'static str,
    /// The one binary of the package that is built.
    program: &'static str,
}

/// Why a counterpart is not there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Neither `HASHPOOL_TEST_CACHE` nor `HOME` says where to keep binaries.
    #[error("no cache folder: set HASHPOOL_TEST_CACHE or HOME")]
    NoCacheFolder,
    /// A system package that the build needs is missing.
    #[error("building {package} needs {missing}; run: apt-get install -y capnproto libcapnp-dev")]
    MissingSystemPackage {
        /// What was to be built.
        package: &'static str,
        /// The file or command that is missing.
        missing: &'static str,
    },
    /// A folder or file of the cache cannot be used.
    #[error("cannot use {}", path.display())]
    Cache {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo could not be run.
    #[error("cannot run cargo to build {package}")]
    Cargo {
        /// What was to be built.
        package: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo ran and failed; its own messages are on standard error above.
    #[error("cargo install {package} {version} failed; its messages are above")]
    Build {
        /// What was to be built.
        package: &'static str,
        /// Which version.
        version: &'static str,
    },
}

impl Counterpart {
    /// SRI's pool.
    pub const POOL: Self = Self { package: "pool_sv2", version: "0.7.0", program: "pool_sv2" };
    /// SRI's translator from SV1 miners to an SV2 pool.
    pub const TRANSLATOR: Self = Self { package: "translator_sv2", version: "0.6.0", program: "translator_sv2" };
    /// SRI's own SV2 miner on the CPU, for the heavy tier.
    pub const MINING_DEVICE: Self =
        Self { package: "integration_tests_sv2", version: "0.6.0", program: "mining_device" };

    /// The path of the binary, built first if this machine has none yet.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn binary(self) -> Result<PathBuf, InstallError> {
        let cache = cache_folder()?;
        let root = cache.join(format!("{}-{}", self.package, self.version));
        let binary = root.join("bin").join(self.program);
        // Cargo moves the finished binary into place, so one that exists is whole.
        if binary.exists() {
            return Ok(binary);
        }
        create_folder(&root)?;
        let _lock = lock(&cache)?;
        if !binary.exists() {
            self.build(&cache, &root)?;
        }
        Ok(binary)
    }

    // Minutes of compiling without a word would look like a hang; cargo's own progress goes through as well.
    #[allow(clippy::print_stderr)]
    fn build(self, cache: &Path, root: &Path) -> Result<(), InstallError> {
        let Self { package, version, program } = self;
        self.check_system_packages()?;
        eprintln!("building {package} {version} once, into {} (a few CPU-minutes)", root.display());
        let target = build_folder(cache);
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["install", "--locked", "--debug", package, "--version", version, "--bin", program, "--root"])
            .arg(root)
            .arg("--target-dir")
            .arg(&target)
            // Debug information would make each binary hundreds of megabytes.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // The compiler wrapper and flags of the test run are not meant for foreign code.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            // A workspace's own configuration does not apply outside of it.
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .status()
            .map_err(|source| InstallError::Cargo { package, source })?;
        if status.success() { Ok(()) } else { Err(InstallError::Build { package, version }) }
    }

    /// The pool speaks Cap'n Proto to Bitcoin Core and compiles its schemas while building.
    pub(crate) fn check_system_packages(self) -> Result<(), InstallError> {
        if self != Self::POOL {
            return Ok(());
        }
        let package = self.package;
        let compiler = Command::new("capnp").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if compiler.is_err() {
            return Err(InstallError::MissingSystemPackage { package, missing: "the command capnp" });
        }
        let schemas = ["/usr/include/capnp/c++.capnp", "/usr/local/include/capnp/c++.capnp"];
        if !schemas.iter().any(|path| Path::new(path).exists()) {
            return Err(InstallError::MissingSystemPackage { package, missing: "the file capnp/c++.capnp" });
        }
        Ok(())
    }
}

/// Builds every counterpart of the default stories that this machine does not have yet, one after the other.
///
/// # Errors
/// The first that cannot be built.
pub fn fetch_all() -> Result<Vec<PathBuf>, InstallError> {
    [Counterpart::POOL, Counterpart::TRANSLATOR].into_iter().map(Counterpart::binary).collect()
}

/// One target folder for all of SRI's applications, unmodified and integrated: they share most of their dependencies. It is
/// kept, since the integrated ones are built anew whenever our own crates change.
pub(crate) fn build_folder(cache: &Path) -> PathBuf {
    cache.join("integrated").join("target")
}

pub(crate) fn cache_folder() -> Result<PathBuf, InstallError> {
    let folder = match std::env::var_os(CACHE_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = std::env::var_os("HOME").ok_or(InstallError::NoCacheFolder)?;
            PathBuf::from(home).join(".cache/hashpool-sidecar")
        }
    };
    let folder = folder.join("counterparts");
    create_folder(&folder)?;
    Ok(folder)
}

/// Waits for its turn to build. One lock for all counterparts: two builds at once would only be slower.
pub(crate) fn lock(cache: &Path) -> Result<File, InstallError> {
    let path = cache.join("lock");
    File::create(&path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| InstallError::Cache { path, source })
}

pub(crate) fn create_folder(path: &Path) -> Result<(), InstallError> {
    fs::create_dir_all(path).map_err(|source| InstallError::Cache { path: path.to_owned(), source })
}

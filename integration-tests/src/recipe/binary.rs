//! Builds the integrated applications, once for each recipe, state of our crates and compiler, and keeps them in the user's
//! cache. Two test processes that need the same binary build it once: the second waits at a file lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use thiserror::Error;

use super::fingerprint::fingerprint;
use super::patched::{PatchError, Patched, copy};
use super::{Recipe, RecipeError};
use crate::sri::{self, Counterpart, InstallError};

/// Builds of one application that are kept: the present one and the one before, which another checkout may use.
const KEPT_BUILDS: usize = 2;

/// What this process has found or built: it does not change under its feet.
static FOUND: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];

/// An application of SRI's with our hooks in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrated {
    application: Application,
    /// SRI's own monitoring API, which needs HTTP in the process.
    monitoring: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Application {
    Pool,
    Translator,
}

/// Why an integrated application is not there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// The recipe cannot be read.
    #[error("no recipe")]
    Recipe(#[from] RecipeError),
    /// The sources cannot be patched.
    #[error("the recipe does not fit")]
    Patch(#[from] PatchError),
    /// The cache or the system lacks something.
    #[error("cannot prepare the build")]
    Prepare(#[from] InstallError),
    /// A folder or file of the cache cannot be used.
    #[error("cannot use {}", path.display())]
    Cache {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo could not be run.
    #[error("cannot run cargo")]
    Cargo(#[source] io::Error),
    /// Cargo ran and failed; its own messages are on standard error above.
    #[error("the integrated {package} does not build; cargo's messages are above")]
    Build {
        /// What was to be built.
        package: String,
    },
}

impl Integrated {
    /// SRI's pool with our hooks.
    pub const POOL: Self = Self { application: Application::Pool, monitoring: true };
    /// SRI's pool with our hooks, built without SRI's own monitoring: there is no HTTP left in it.
    pub const POOL_WITHOUT_MONITORING: Self = Self { application: Application::Pool, monitoring: false };
    /// SRI's translator with our hooks.
    pub const TRANSLATOR: Self = Self { application: Application::Translator, monitoring: true };

    /// The path of the binary, built first if this machine has none for the recipe, our crates and the compiler as they are.
    ///
    /// # Errors
    /// See [`BinaryError`].
    pub fn binary(self) -> Result<PathBuf, BinaryError> {
        let found = match (self.application, self.monitoring) {
            (Application::Pool, true) => &FOUND[0],
            (Application::Pool, false) => &FOUND[1],
            (Application::Translator, _) => &FOUND[2],
        };
        if let Some(binary) = found.get() {
            return Ok(binary.clone());
        }
        let binary = self.find_or_build()?;
        Ok(found.get_or_init(|| binary).clone())
    }

    fn find_or_build(self) -> Result<PathBuf, BinaryError> {
        let recipe = self.recipe()?;
        let patched = Patched::new(&recipe)?;
        let cache = sri::cache_folder()?.join("integrated");
        let build = cache.join(format!("{}-{}-{:016x}", recipe.package, recipe.version, fingerprint(&patched)?));
        let suffix = if self.monitoring { "" } else { "-without-monitoring" };
        let binary = build.join(format!("{}{suffix}", recipe.package));
        // The finished binary is renamed into place, so one that exists is whole.
        if binary.exists() {
            return Ok(binary);
        }
        sri::create_folder(&cache)?;
        let _lock = sri::lock(&cache)?;
        if !binary.exists() {
            sri::create_folder(&build)?;
            self.build(&recipe, &patched, &cache, &binary)?;
            forget_old_builds(&cache, &recipe.package);
        }
        Ok(binary)
    }

    fn recipe(self) -> Result<Recipe, RecipeError> {
        match self.application {
            Application::Pool => Recipe::pool(),
            Application::Translator => Recipe::translator(),
        }
    }

    // Minutes of compiling without a word would look like a hang; cargo's own progress goes through as well.
    #[allow(clippy::print_stderr)]
    fn build(self, recipe: &Recipe, patched: &Patched, cache: &Path, binary: &Path) -> Result<(), BinaryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BinaryError::Cache { path, source }
        };
        if self.application == Application::Pool {
            Counterpart::POOL.check_system_packages()?;
        }
        let Recipe { package, version, .. } = recipe;
        let features = if self.monitoring { "" } else { " without monitoring" };
        eprintln!("building {package} {version} with hooks{features} once, for {}", binary.display());
        // In the same place each time, so that cargo builds anew only what changed.
        let source = cache.join("source").join(package);
        if source.exists() {
            fs::remove_dir_all(&source).map_err(failed(&source))?;
        }
        copy(patched.after(), &source)?;
        // The cache may lie below some other workspace; the package is one of its own. Not a line of the recipe.
        let manifest = source.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).map_err(failed(&manifest))?;
        fs::write(&manifest, format!("{text}\n[workspace]\n")).map_err(failed(&manifest))?;
        let target = sri::build_folder(&sri::cache_folder()?);
        // Not `--locked`: the lock file that the package ships pins all that it had, and our crates are added to it.
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--bin", package, "--target-dir"])
            .arg(&target)
            .args(if self.monitoring { &[][..] } else { &["--no-default-features"][..] })
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .current_dir(&source)
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .status()
            .map_err(BinaryError::Cargo)?;
        if !status.success() {
            return Err(BinaryError::Build { package: package.clone() });
        }
        let unfinished = binary.with_extension("unfinished");
        fs::copy(target.join("debug").join(package), &unfinished).map_err(failed(&unfinished))?;
        fs::rename(&unfinished, binary).map_err(failed(binary))
    }
}

/// Builds every integrated application that this machine does not have yet, one after the other.
///
/// # Errors
/// The first that cannot be built.
pub fn build_all() -> Result<Vec<PathBuf>, BinaryError> {
    // The translator's own features are left on: its API is asked by the stories.
    [Integrated::POOL, Integrated::POOL_WITHOUT_MONITORING, Integrated::TRANSLATOR]
        .into_iter()
        .map(Integrated::binary)
        .collect()
}

/// Removes all but the latest builds of a package. A binary that runs meanwhile goes on.
fn forget_old_builds(cache: &Path, package: &str) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    let mut builds: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{package}-")))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    builds.sort_unstable();
    let old = builds.len().saturating_sub(KEPT_BUILDS);
    for (_, folder) in builds.drain(..old) {
        // What cannot be removed costs space and nothing else.
        fs::remove_dir_all(folder).ok();
    }
}

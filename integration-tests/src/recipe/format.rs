//! Formats the sources of a package as its authors would: with rustfmt, the package's edition and, where it ships one, its
//! own configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::patched::PatchError;

/// What is read of a manifest, in the form in which cargo publishes it.
#[derive(Deserialize)]
struct Manifest {
    package: Package,
    lib: Option<Target>,
    #[serde(default)]
    bin: Vec<Target>,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default = "first_edition")]
    edition: String,
}

#[derive(Deserialize)]
struct Target {
    path: Option<PathBuf>,
}

fn first_edition() -> String {
    "2015".to_owned()
}

/// Formats every module of the package in the folder.
pub(super) fn format(folder: &Path) -> Result<(), PatchError> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| PatchError::File { path: path.clone(), source })?;
    let manifest: Manifest =
        toml::from_str(&text).map_err(|source| PatchError::Manifest { path, source: Box::new(source) })?;
    let named = manifest.lib.into_iter().chain(manifest.bin).filter_map(|target| target.path);
    let mut roots: Vec<PathBuf> = named.chain(["src/lib.rs".into(), "src/main.rs".into()]).collect();
    roots.retain(|root| folder.join(root).exists());
    let output = Command::new("rustfmt")
        .args(["--edition", &manifest.package.edition])
        .args(roots)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(PatchError::Rustfmt)?;
    if !output.status.success() {
        return Err(PatchError::Rustfmt(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())));
    }
    Ok(())
}

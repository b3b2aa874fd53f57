//! What a built application depends on, as one number: the recipe, our linked crates with their settings, the compiler.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::patched::{PatchError, Patched, hooks_folder, workspace};

/// The number for a patched package. It holds for one compiler, which is part of it.
pub(super) fn fingerprint(patched: &Patched) -> Result<u64, PatchError> {
    let mut hasher = DefaultHasher::new();
    compiler().hash(&mut hasher);
    hash_folder(patched.after(), Path::new(""), &mut hasher)?;
    let mut crates = BTreeSet::new();
    let root = manifest(&workspace().join("Cargo.toml"))?;
    let dependencies = table(&root, &["workspace", "dependencies"]);
    collect(&hooks_folder(), &dependencies, &mut crates, &mut hasher)?;
    for folder in &crates {
        folder.hash(&mut hasher);
        hash_folder(&folder.join("src"), Path::new(""), &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn compiler() -> Vec<u8> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc).arg("-vV").output().map(|output| output.stdout).unwrap_or_default()
}

/// The crate in the folder and those of our workspace that it depends on; what they take from the workspace is hashed.
fn collect(
    folder: &Path,
    dependencies: &toml::Table,
    crates: &mut BTreeSet<PathBuf>,
    hasher: &mut DefaultHasher,
) -> Result<(), PatchError> {
    if !crates.insert(folder.to_owned()) {
        return Ok(());
    }
    let manifest = manifest(&folder.join("Cargo.toml"))?;
    for part in ["features", "dependencies"] {
        format!("{:?}", table(&manifest, &[part])).hash(hasher);
    }
    for name in table(&manifest, &["dependencies"]).keys() {
        let Some(dependency) = dependencies.get(name) else { continue };
        format!("{dependency:?}").hash(hasher);
        if let Some(path) = dependency.get("path").and_then(toml::Value::as_str) {
            collect(&workspace().join(path), dependencies, crates, hasher)?;
        }
    }
    Ok(())
}

fn manifest(path: &Path) -> Result<toml::Table, PatchError> {
    let text = fs::read_to_string(path).map_err(|source| PatchError::File { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| PatchError::Manifest { path: path.to_owned(), source: Box::new(source) })
}

fn table(of: &toml::Table, names: &[&str]) -> toml::Table {
    names.iter().try_fold(of.clone(), |table, name| table.get(*name)?.as_table().cloned()).unwrap_or_default()
}

fn hash_folder(folder: &Path, below: &Path, hasher: &mut DefaultHasher) -> Result<(), PatchError> {
    let path = folder.join(below);
    let failed = |source: io::Error| PatchError::File { path: path.clone(), source };
    let entries = fs::read_dir(&path).map_err(failed)?;
    let mut names =
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    names.sort_unstable();
    for name in names {
        let below = below.join(name);
        let path = folder.join(&below);
        if path.is_dir() {
            hash_folder(folder, &below, hasher)?;
        } else {
            below.hash(hasher);
            fs::read(&path).map_err(|source| PatchError::File { path, source })?.hash(hasher);
        }
    }
    Ok(())
}

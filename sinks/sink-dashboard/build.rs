//! Bundles the pages' styles and scripts (`web/`) with esbuild and writes them, compressed, as a Rust table. Without the
//! feature `pages` nothing happens and no Node is needed.
#![allow(clippy::print_stdout, reason = "cargo reads a build script's standard output")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The oldest Node that runs the bundler.
const OLDEST_NODE: u32 = 20;
/// What the bundle is made from, beside the folders of sources.
const PROJECT: [&str; 3] = ["package.json", "package-lock.json", "build.mjs"];
const SOURCES: [&str; 3] = ["src", "styles", "images"];
const LEAVE_OUT: &str = "To build without the pages (the API stays): cargo build --no-default-features";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PAGES").is_none() {
        return ExitCode::SUCCESS;
    }
    for name in PROJECT.iter().chain(&SOURCES) {
        println!("cargo::rerun-if-changed=web/{name}");
    }
    match bundle() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each line of its own: cargo shows them as errors of this crate.
            for line in error.to_string().lines().filter(|line| !line.trim().is_empty()) {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn bundle() -> Result<(), Box<dyn Error>> {
    check_node()?;
    let web = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("web");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // npm writes beside package.json, and the source folder is not ours to write to.
    let work = out.join("web");
    for name in SOURCES {
        let target = work.join(name);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        copy_folder(&web.join(name), &target)?;
    }
    let lock_changed =
        fs::read(web.join("package-lock.json"))? != fs::read(work.join("installed-lock.json")).unwrap_or_default();
    for name in PROJECT {
        fs::copy(web.join(name), work.join(name))?;
    }
    if lock_changed {
        install(&work)?;
        fs::copy(web.join("package-lock.json"), work.join("installed-lock.json"))?;
    }
    run(Command::new("node").arg("build.mjs").arg("dist").current_dir(&work), "the bundler failed")?;
    write_table(&work.join("dist"), &out.join("assets.rs"))
}

fn check_node() -> Result<(), Box<dyn Error>> {
    let advice = format!(
        "The dashboard's pages are bundled with Node {OLDEST_NODE} or newer and npm.\n\
         Install them: sudo apt-get install nodejs npm (Debian 13 or newer), or from https://nodejs.org\n{LEAVE_OUT}"
    );
    let output = Command::new("node").arg("--version").output();
    let version = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => return Err(format!("node --version ended with {}.\n{advice}", output.status).into()),
        Err(error) => return Err(format!("node cannot be run: {error}.\n{advice}").into()),
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        return Err(format!("node is {version}, which is too old.\n{advice}").into());
    }
    Ok(())
}

/// Exactly the locked packages, from npm's cache where it has them; no package runs a script of its own.
fn install(work: &Path) -> Result<(), Box<dyn Error>> {
    let flags =
        ["ci", "--omit=dev", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(flags).current_dir(work), "npm could not install the bundler").map_err(|error| {
        format!("{error}\nThe packages come from the npm registry, or from npm's cache without a network.\n{LEAVE_OUT}")
            .into()
    })
}

fn run(command: &mut Command, what: &str) -> Result<(), Box<dyn Error>> {
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{what} ({}):\n{complained}{said}", output.status).into())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// `assets.txt` names each file; the table includes its three forms.
fn write_table(dist: &Path, table: &Path) -> Result<(), Box<dyn Error>> {
    let list = fs::read_to_string(dist.join("assets.txt"))?;
    let files: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut text = format!("static ASSETS: [Asset; {}] = [\n", files.len());
    for (logical, file) in files {
        // By the variable, not by the path: a target folder that is moved keeps this file.
        let form = |ending: &str| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/web/dist/{file}{ending}\"))");
        writeln!(
            text,
            "    Asset {{ logical: {logical:?}, file: {file:?}, plain: {}, gzip: {}, brotli: {} }},",
            form(""),
            form(".gz"),
            form(".br")
        )?;
    }
    text.push_str("];\n");
    // Unchanged content keeps its time, so that nothing is compiled again for nothing.
    if fs::read_to_string(table).unwrap_or_default() != text {
        fs::write(table, text)?;
    }
    Ok(())
}

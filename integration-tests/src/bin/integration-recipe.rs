//! Says what the integration costs, and builds it: the lines that SRI's pool and translator need, and the versions on which
//! the same places are found.
#![forbid(unsafe_code)]
// The figures and the diff are this program's result.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail};
use integration_tests::recipe::{PatchError, Patched, Recipe, build_all};

const USAGE: &str = "usage: integration-recipe count | build | show [pool_sv2|translator_sv2]";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => count(),
        ["build"] => {
            for binary in build_all()? {
                println!("{}", binary.display());
            }
            Ok(())
        }
        ["show"] => recipes()?.iter().try_for_each(show),
        ["show", package] => {
            let recipes = recipes()?;
            show(recipes.iter().find(|recipe| recipe.package == package).context(USAGE)?)
        }
        _ => bail!(USAGE),
    }
}

fn recipes() -> Result<[Recipe; 2]> {
    Ok([Recipe::pool()?, Recipe::translator()?])
}

fn show(recipe: &Recipe) -> Result<()> {
    print!("{}", Patched::new(recipe)?.diff(recipe)?);
    Ok(())
}

fn count() -> Result<()> {
    let mut too_long = Vec::new();
    let recipes = recipes()?;
    for recipe in &recipes {
        let Recipe { package, version, limit, inserts, .. } = recipe;
        let count = Patched::new(recipe)?.count(recipe)?;
        let total = count.total();
        println!("{package} {version}: {total} lines added or changed, at most {limit}, in {} places", inserts.len());
        for file in &count.files {
            println!("  {:>3}  {}", file.lines, file.file.display());
        }
        if total > *limit {
            too_long.push(package);
        }
        for older in &recipe.older {
            match Patched::of_version(recipe, older) {
                Ok(_) => println!("  on {older}: all {} places are found", inserts.len()),
                Err(PatchError::Anchors { errors, places, .. }) => {
                    println!("  on {older}: {} of {places} places are found; not", places - errors.len());
                    for (file, error) in errors {
                        println!("       {}: {error}", file.display());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !too_long.is_empty() {
        bail!("more lines than allowed: {too_long:?}");
    }
    Ok(())
}

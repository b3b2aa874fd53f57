//! Builds the SRI applications that the stories run against, so that the tests themselves start at once.
#![forbid(unsafe_code)]
// The paths of the binaries are this program's result.
#![allow(clippy::print_stdout)]

use anyhow::Result;

fn main() -> Result<()> {
    for binary in integration_tests::sri::fetch_all()? {
        println!("{}", binary.display());
    }
    Ok(())
}

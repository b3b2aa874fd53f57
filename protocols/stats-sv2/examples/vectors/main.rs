//! Writes `vectors.json` anew from the code: `cargo run -p stats-sv2 --example vectors`. A test of the crate compares the
//! file with what this writes, so a change on the wire shows as a difference in the file.

mod document;
mod every_message;
mod json;
mod sessions;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.json");
    std::fs::write(path, document::text())
}

//! Prints `vectors.json`: `cargo run -p mint-quote-sv2 --example mint-quote-vectors > protocols/mint-quote-sv2/vectors.json`.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

#[path = "../tests/wire/document.rs"]
mod document;

fn main() {
    print!("{}", document::text());
}

//! Fills the corpora with the frames of `vectors.json`, so that every run begins where the protocol is. The corpora are not
//! kept in the repository.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=../vectors.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string("../vectors.json")?)?;
    let mut frames = Vec::new();
    collect(&vectors, &mut frames);
    assert!(frames.len() > 100, "vectors.json has no frames");

    let mut conversations = Vec::new();
    for session in vectors["sessions"].as_array().into_iter().flatten() {
        let mut conversation = Vec::new();
        collect(&session["steps"], &mut conversation);
        conversations.push(conversation.concat());
    }

    for (n, frame) in frames.iter().enumerate() {
        seed("frames", n, frame)?;
        // The type, then the payload.
        if let Some(payload) = frame.get(6..) {
            seed("messages", n, &[&frame[2..3], payload].concat())?;
        }
        // How to cut what is received, whether to send as a message, then its parts by length.
        let parts: Vec<u8> = [&frame[..frame.len().min(6)], frame.get(6..).unwrap_or_default()]
            .into_iter()
            .filter(|part| part.len() < 256)
            .flat_map(|part| [&[part.len() as u8], part].concat())
            .collect();
        seed("noise", n, &[&[7, 1], parts.as_slice()].concat())?;
        seed("open_objects", n, frame)?;
    }
    for (n, conversation) in conversations.iter().enumerate() {
        seed("frames", frames.len() + n, conversation)?;
        seed("open_objects", frames.len() + n, conversation)?;
    }
    // All state events after each other.
    seed("open_objects", frames.len() + conversations.len(), &frames.concat())
}

/// Every value under the keys `frame` and `bytes`.
fn collect(value: &Value, frames: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, frames)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "frame" || key == "bytes" => frames.push(unhex(text)),
                    value => collect(value, frames),
                }
            }
        }
        _ => {}
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("vectors.json holds hexadecimal"))
        .collect()
}

fn seed(target: &str, number: usize, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("vector-{number:03}")), bytes)
}

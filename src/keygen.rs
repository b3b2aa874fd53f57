//! `keygen`: tokens and authority keys, from the operating system's randomness.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use rand::TryRngCore;
use rand::rngs::OsRng;
use stats_sv2::noise::AuthoritySecretKey;

use crate::cli::{KeyOut, KeygenCommand};
use crate::exit::{Exit, Failure, output};

/// Random bytes of a token: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

pub(crate) fn keygen(command: &KeygenCommand) -> Result<(), Failure> {
    match command {
        KeygenCommand::Token(out) => {
            let mut bytes = [0; TOKEN_BYTES];
            OsRng.try_fill_bytes(&mut bytes).map_err(|error| {
                Failure::new(Exit::Failure, format!("the operating system gives no randomness: {error}"))
            })?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_secret(&token, out)
        }
        KeygenCommand::Noise(out) => {
            let secret = AuthoritySecretKey::generate();
            write_secret(&secret.expose_text(), out)?;
            let public = secret.public_key();
            output(if out.out.is_some() {
                writeln!(io::stdout(), "{public}")
            } else {
                writeln!(
                    io::stdout(),
                    "# the line above is the secret half: [server.noise] authority_key_file names a file with it\n# the public half, for the publishers:\n{public}"
                )
            })
        }
    }
}

fn write_secret(text: &str, out: &KeyOut) -> Result<(), Failure> {
    let Some(path) = &out.out else {
        return output(writeln!(io::stdout(), "{text}"));
    };
    let cannot = |error: io::Error| {
        let failure = Failure::new(Exit::Failure, format!("cannot write {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                failure.advice("a key is never overwritten: name another file, or remove this one")
            }
            io::ErrorKind::NotFound => failure.advice("make its folder first"),
            _ => failure,
        }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(cannot)
}

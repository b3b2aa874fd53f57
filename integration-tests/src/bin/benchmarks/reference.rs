//! What this machine can do at best: pre-made share frames over loopback TCP into SQLite rows of 1 MiB with a sync per
//! commit, and nothing else. The ingest figures are told as shares of it, since disks differ more than programs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

const SHARE_FRAME: usize = 34;
const ROW: usize = 1 << 20;
const WRITE: usize = 256 << 10;

/// Events a second of the bare path.
pub(crate) fn bare_path(events: u64) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let bytes = events as usize * SHARE_FRAME;
    let begin = Instant::now();
    let sender = std::thread::spawn(move || -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let chunk = vec![0x54_u8; WRITE];
        let mut left = bytes;
        while left > 0 {
            let size = left.min(WRITE);
            stream.write_all(&chunk[..size])?;
            left -= size;
        }
        Ok(())
    });
    let database = rusqlite::Connection::open(folder.path().join("bare.db"))?;
    database.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = full; CREATE TABLE rows(id INTEGER PRIMARY KEY, frames BLOB)",
    )?;
    let (mut stream, _) = listener.accept()?;
    let (mut row, mut filled, mut taken) = (vec![0_u8; ROW], 0, 0);
    let mut insert = database.prepare("INSERT INTO rows(frames) VALUES (?1)")?;
    while taken < bytes {
        let read = stream.read(&mut row[filled..])?;
        filled += read;
        taken += read;
        if filled == ROW || taken == bytes {
            insert.execute([&row[..filled]])?;
            filled = 0;
        }
    }
    let elapsed = begin.elapsed();
    sender.join().map_err(|_| anyhow!("the sender panicked")).and_then(|sent| sent.context("cannot send"))?;
    Ok(events as f64 / elapsed.as_secs_f64())
}

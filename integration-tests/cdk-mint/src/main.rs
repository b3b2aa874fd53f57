//! A mint on the real `cdk` library, reached over the mint-quote protocol: each request becomes a Cashu quote of the unit
//! `HASH`, whose id is the answer.
//!
//! `cdk-mint LISTEN DATABASE MINIMUM_DIFFICULTY LOCKING_SECRET`
//!
//! Says `listening on ADDRESS` when it is ready. SIGUSR1 pays every unpaid quote and tells the pool. SIGUSR2 mints every
//! paid quote as its owner, who holds LOCKING_SECRET. SIGINT stops it; what it knows is in DATABASE.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the story reads what it says")]

mod ehash_payment;
mod owner;
mod quotes;
mod session;
// The frames of the small mint of the integration tests, compiled here too: that crate's SQLite must not be linked.
#[path = "../../src/mint/transport.rs"]
mod transport;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use cdk::nuts::SecretKey;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::quotes::EhashMint;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("which {what}?"));
    let listen: SocketAddr = next("address to listen on")?.parse()?;
    let database = next("database")?;
    let minimum_difficulty = next("minimum difficulty")?.parse()?;
    let secret = SecretKey::from_hex(next("locking secret")?)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(serve(
        listen,
        &database,
        minimum_difficulty,
        &secret,
    ))
}

async fn serve(listen: SocketAddr, database: &str, minimum_difficulty: u32, secret: &SecretKey) -> Result<()> {
    let mint = Arc::new(EhashMint::open(database, minimum_difficulty).await?);
    let (mut pay, mut redeem) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", listener.local_addr()?);
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                sessions.spawn(session::run(accepted?.0, mint.clone()));
            }
            Some(ended) = sessions.join_next() => match ended.context("a session panicked")? {
                Ok(()) => println!("a connection ended"),
                Err(error) => println!("a connection failed: {error:#}"),
            },
            _ = pay.recv() => {
                let (count, amount) = mint.pay_all().await?;
                println!("paid {count} quotes of {amount} HASH");
            }
            _ = redeem.recv() => {
                let (count, amount) = owner::mint_all(&mint, secret).await?;
                println!("minted {count} quotes of {amount} HASH, each refused to another key first");
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    sessions.shutdown().await;
    mint.close().await?;
    println!("stopped");
    Ok(())
}

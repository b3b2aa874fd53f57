//! Records real answers of the SRI monitoring API as JSON files: `record-sri-fixtures FOLDER`. What changes from run
//! to run (ports, extranonces, work sums) is kept as it came; the bridge's tests look at the shape and the traps.
#![forbid(unsafe_code)]
// The names of the files are this program's result.
#![allow(clippy::print_stdout)]

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use integration_tests::{
    BadShare, MiningChain, Pool, Sv2Client, TemplateProvider, http, story,
    wait::{Look, wait_for},
};

const SOON: Duration = Duration::from_secs(60);

const POOL: &[(&str, &str)] = &[
    ("health", "/api/v1/health"),
    ("global", "/api/v1/global"),
    ("clients", "/api/v1/clients?offset=0&limit=100"),
    ("client-channels", "/api/v1/clients/1/channels?offset=0&limit=100"),
    ("client-channels-second-page", "/api/v1/clients/1/channels?offset=1&limit=1"),
    ("client-unknown", "/api/v1/clients/99/channels?offset=0&limit=100"),
    ("server", "/api/v1/server"),
    ("metrics", "/metrics"),
];
const TRANSLATOR: &[(&str, &str)] = &[
    ("global", "/api/v1/global"),
    ("server", "/api/v1/server"),
    ("server-channels", "/api/v1/server/channels?offset=0&limit=100"),
    ("sv1-clients", "/api/v1/sv1/clients?offset=0&limit=100"),
    ("clients", "/api/v1/clients?offset=0&limit=100"),
    ("metrics", "/metrics"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: record-sri-fixtures FOLDER")?);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    story("record", async |files| {
        let template_provider = TemplateProvider::builder().start().await?;
        let mut chain = MiningChain::start(files, template_provider).await?;
        chain.mine(20, SOON).await?;
        chain.settle().await?;
        chain.bob.submit_bad(BadShare::Duplicate).await?;
        record(&folder, "pool", chain.pool.monitoring_address(), POOL).await?;
        record(&folder, "translator", chain.translator.monitoring_address(), TRANSLATOR).await?;

        chain.pool.kill().await?;
        chain.pool.start_again().await?;
        chain.resume().await?;
        chain.mine(5, SOON).await?;
        chain.settle().await?;
        record(&folder, "pool-restarted", chain.pool.monitoring_address(), &POOL[1..4]).await?;
        record(&folder, "translator-reconnected", chain.translator.monitoring_address(), &TRANSLATOR[..4]).await?;

        let MiningChain { pool, translator, alice, .. } = chain;
        alice.stop().await?;
        wait_for("one channel to be closed", SOON, || async {
            let channels = pool.counts().await?.channels.len();
            Ok(Look::when(channels == 1, channels))
        })
        .await?;
        record(&folder, "pool-channel-closed", pool.monitoring_address(), &POOL[1..4]).await?;
        record(&folder, "translator-miner-left", translator.monitoring_address(), &TRANSLATOR[..4]).await
    })
    .await?;
    story("record-standard", async |files| {
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(files, template_provider.address()).start().await?;
        let mut clients = [Sv2Client::connect(pool.address()).await?, Sv2Client::connect(pool.address()).await?];
        for client in &mut clients {
            let channel_id = client.open_channel("same.identity").await?;
            client.submit(channel_id).await?;
            client.submit_duplicate(channel_id).await?;
            client.submit_for_unknown_job(channel_id).await?;
        }
        wait_for("the rejections to be counted", SOON, || async {
            let rejected = pool.counts().await?.rejected();
            Ok(Look::when(rejected == 4, rejected))
        })
        .await?;
        record(&folder, "pool-standard", pool.monitoring_address(), &POOL[1..4]).await
    })
    .await
}

async fn record(folder: &std::path::Path, prefix: &str, address: SocketAddr, what: &[(&str, &str)]) -> Result<()> {
    for (name, path) in what {
        let (status, body) = http::get(address, path).await?;
        let text = String::from_utf8(body.into()).with_context(|| format!("{path} is no UTF-8"))?;
        let (extension, text) = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => ("json", format!("{json:#}\n")),
            Err(_) => ("txt", text),
        };
        let missing = if status.is_success() { String::new() } else { format!(".{}", status.as_u16()) };
        let file = folder.join(format!("{prefix}-{name}{missing}.{extension}"));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

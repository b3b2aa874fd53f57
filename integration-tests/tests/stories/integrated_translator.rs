//! SRI's translator with our lines in, in front of the unmodified pool: what the SV1 miners count for themselves, with names,
//! programs and reasons, is what the sidecar's history and log say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::history::{History, MinerRow};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{BadShare, MinerCounts, Pool, Sidecar, Sv1Miner, TemplateProvider, Translator, Verdict, story};
use serde_json::Value;

/// For everything that takes a moment on a free machine; a loaded one may take its time.
const SOON: Duration = Duration::from_secs(90);
/// The publisher's name unless the table gives one: its role.
const PROXY: &str = "proxy";
/// 1,000 H/s at 240 shares a minute: 250 hashes a share, so that a hash can miss the target.
const CLAIMED_HASHRATE: f32 = 1_000.0;
/// Shares of each good miner.
const SHARES: u64 = 30;

#[tokio::test]
async fn the_history_has_what_each_miner_counts_for_itself() -> Result<()> {
    story("translator-hooks", async |folder| {
        let log = folder.path().join("events.jsonl");
        let section = format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string());
        let mut sidecar = Sidecar::builder(folder)?.section(&section).start().await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        let translator = Translator::builder(folder, &pool)
            .min_miner_hashrate(CLAIMED_HASHRATE)
            .stats(sidecar.address())
            .start()
            .await?;
        let miner = |name: &str, agent: &str| Sv1Miner::builder(translator.address()).user(name).user_agent(agent);
        let alice = miner("alice.rig", "antminer/21").shares_per_second(20.0).start().await?;
        let bob = miner("bob.rig", "bosminer <b>2</b>").shares_per_second(10.0).start().await?;
        alice.wait_for_accepted(SHARES, SOON).await?;
        bob.wait_for_accepted(SHARES, SOON).await?;

        for (kind, times) in [
            (BadShare::Duplicate, 3),
            (BadShare::UnknownJob, 2),
            (BadShare::LowDifficulty, 4),
            (BadShare::LongExtranonce, 1),
        ] {
            for _ in 0..times {
                let verdict = alice.submit_bad(kind).await?;
                ensure!(matches!(verdict, Verdict::Rejected(_)), "a {kind:?} share was {verdict:?}");
            }
        }
        let (alice_counts, bob_counts) = (alice.pause().await?, bob.pause().await?);
        let rows =
            history_with(&sidecar, alice_counts.accepted + bob_counts.accepted, alice_counts.rejections()).await?;
        let [of_alice, of_bob] = rows.as_slice() else { anyhow::bail!("two miners, not {rows:?}") };
        expect(of_alice, "alice.rig", "antminer/21", &alice_counts)?;
        expect(of_bob, "bob.rig", "bosminer <b>2</b>", &bob_counts)?;
        ensure!(of_alice.miner_id != of_bob.miner_id, "each has a number: {rows:?}");

        // Reason by reason, in the words of Stratum V2.
        let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
        for event in events(&log, "miner_share_rejected")? {
            let code = event["error_code"].as_str().with_context(|| format!("no code in {event}"))?;
            *rejected.entry(code.to_owned()).or_default() += 1;
        }
        let by_reason =
            [("duplicate-share", 3), ("invalid-job-id", 2), ("difficulty-too-low", 4), ("invalid-share", 1)];
        let by_reason = by_reason.map(|(code, count)| (code.to_owned(), count)).into();
        ensure!(rejected == by_reason, "rejected {rejected:?}, expected {by_reason:?}");

        // Each accepted share came with the target in force and a hash that meets it: about 250 hashes a share.
        let history = History::open(sidecar.history())?;
        for row in &rows {
            let work_per_share = row.work as f64 / row.accepted as f64;
            ensure!((200.0..300.0).contains(&work_per_share), "{work_per_share} hashes a share: {row:?}");
        }
        let upstream = pool.address().to_string();
        let upstreams = history.upstreams(PROXY)?;
        ensure!(matches!(&upstreams[..], [row] if row.address == upstream && row.closed.is_none()), "{upstreams:?}");
        let listen = history.facts(PROXY)?.remove("listen_address");
        ensure!(listen.as_deref() == Some(&*translator.address().to_string()), "listens at {listen:?}");

        // Who leaves is closed, who stays is not, and who comes back is somebody new.
        alice.stop().await?;
        let rows = miners_until(&sidecar, "alice to be gone", |rows| !rows[0].open).await?;
        ensure!(rows[1].open, "bob is still there: {rows:?}");
        let again = miner("alice.rig", "antminer/22").paused().start().await?;
        let rows = miners_until(&sidecar, "alice to be back", |rows| rows.len() == 3).await?;
        ensure!(rows[2].name == "alice.rig" && rows[2].user_agent == "antminer/22" && rows[2].open, "{rows:?}");
        ensure!(rows[2].miner_id != rows[0].miner_id, "another connection, another number: {rows:?}");

        // A sidecar that was away hears what is open, and what happened meanwhile.
        sidecar.kill().await?;
        bob.resume().await?;
        bob.wait_for_accepted(bob_counts.accepted + SHARES, SOON).await?;
        let bob_counts = bob.pause().await?;
        sidecar.start_again().await?;
        let accepted = alice_counts.accepted + bob_counts.accepted;
        let rows = history_with(&sidecar, accepted, alice_counts.rejections()).await?;
        ensure!(rows.len() == 3, "nobody is there twice: {rows:?}");
        expect(&rows[1], "bob.rig", "bosminer <b>2</b>", &bob_counts)?;
        ensure!(rows[1].open && rows[2].open, "both are still connected: {rows:?}");
        drop(again);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lost_upstream_and_a_clean_end_are_told() -> Result<()> {
    story("translator-hooks-upstream", async |folder| {
        let sidecar = Sidecar::builder(folder)?.start().await?;
        let template_provider = TemplateProvider::builder().start().await?;
        let mut pool = Pool::builder(folder, template_provider.address()).start().await?;
        let mut translator = Translator::builder(folder, &pool).stats(sidecar.address()).start().await?;
        let alice = Sv1Miner::builder(translator.address()).user("alice.rig").start().await?;
        alice.wait_for_accepted(SHARES, SOON).await?;

        pool.kill().await?;
        miners_until(&sidecar, "the miner to be dropped with the upstream", |rows| !rows[0].open).await?;
        let upstreams = History::open(sidecar.history())?.upstreams(PROXY)?;
        let lost = Some("connection lost or given up");
        ensure!(matches!(&upstreams[..], [row] if row.closed.as_deref() == lost), "{upstreams:?}");

        // The translator's own numbers begin again with the new upstream, in the same session of the publisher.
        pool.start_again().await?;
        let rows = miners_until(&sidecar, "the miner to be back", |rows| rows.len() >= 2 && rows[1].open).await?;
        ensure!(rows[1].miner_id != rows[0].miner_id, "a number never comes again: {rows:?}");
        alice.wait_for_accepted(alice.counts().accepted + SHARES, SOON).await?;
        let counts = alice.pause().await?;
        let rows = history_with(&sidecar, counts.accepted, 0).await?;
        let accepted: u64 = rows.iter().map(|row| row.accepted).sum();
        // What was accepted while the connection broke may never have been answered.
        ensure!(
            (counts.accepted..=counts.accepted + counts.unanswered).contains(&accepted),
            "{accepted} in the history, {counts:?}"
        );
        let upstreams = History::open(sidecar.history())?.upstreams(PROXY)?;
        ensure!(upstreams.len() == 2 && upstreams[1].closed.is_none(), "{upstreams:?}");

        translator.stop().await?;
        let rows = miners_until(&sidecar, "everybody to be gone", |rows| rows.iter().all(|row| !row.open)).await?;
        ensure!(rows.len() == 2, "{rows:?}");
        // The upstream is closed by the end of the session, which a clean end of the translator tells.
        wait_for("the session to be ended", SOON, || async {
            let upstreams = History::open(sidecar.history())?.upstreams(PROXY)?;
            Ok(Look::when(upstreams.iter().all(|row| row.closed.is_some()), upstreams))
        })
        .await?;
        drop(alice);
        Ok(())
    })
    .await
}

fn expect(row: &MinerRow, name: &str, agent: &str, counts: &MinerCounts) -> Result<()> {
    ensure!(row.name == name && row.user_agent == agent, "{name} with {agent}, not {row:?}");
    ensure!(row.address.starts_with("127.0.0.1:"), "connected from this host: {row:?}");
    ensure!(row.accepted == counts.accepted, "{row:?}, the miner itself {counts:?}");
    ensure!(row.rejected == counts.rejections(), "{row:?}, the miner itself {counts:?}");
    Ok(())
}

/// The miners in the history, once it has this many accepted and rejected shares.
async fn history_with(sidecar: &Sidecar, accepted: u64, rejected: u64) -> Result<Vec<MinerRow>> {
    let what = format!("{accepted} accepted and {rejected} rejected shares in the history");
    miners_until(sidecar, &what, |rows| {
        rows.iter().map(|row| row.accepted).sum::<u64>() >= accepted
            && rows.iter().map(|row| row.rejected).sum::<u64>() >= rejected
    })
    .await
}

/// The miners in the history, once they satisfy `enough`.
async fn miners_until(sidecar: &Sidecar, what: &str, enough: impl Fn(&[MinerRow]) -> bool) -> Result<Vec<MinerRow>> {
    wait_for(what, SOON, || async {
        let rows = History::open(sidecar.history())?.miners(PROXY)?;
        Ok(Look::when(!rows.is_empty() && enough(&rows), rows))
    })
    .await
}

/// The events of a kind in a log file.
fn events(log: &Path, kind: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(events.into_iter().filter(|event| event["kind"] == kind).collect())
}

//! What a mint can do to a host that asks for quotes: the dispatcher, the publisher, a sidecar with its history, and the
//! mint must agree in the end, whatever happened on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ehash::ShareHash;
use integration_tests::history::{History, quote_lives};
use integration_tests::mint::{Manner, Memory, Mint, MintSnapshot, QuoteState};
use integration_tests::process::ProcessSpec;
use integration_tests::quoting_host::{MINIMUM_DIFFICULTY, QuotingHost, quotes_at};
use integration_tests::wait::{Look, wait_for};
use integration_tests::{Sidecar, TestFolder, story};
use mint_quote_sv2::noise::AuthoritySecretKey;
use quote_dispatcher::{QuoteCounters, SubmitOutcome};

const SOON: Duration = Duration::from_secs(60);
const HOST: &str = "pool-1";
/// A timeout for quotes that are not meant to be answered in time; long enough for the others on a loaded machine.
const IMPATIENT: Duration = Duration::from_secs(1);

/// A sidecar with a history and a log of every event.
struct Scene {
    sidecar: Sidecar,
    log: PathBuf,
}

impl Scene {
    async fn begin(folder: &TestFolder) -> Result<Self> {
        let log = folder.path().join("events.jsonl");
        let section = format!("[sinks.log]\ntype = \"log-file\"\npath = {:?}", log.display().to_string());
        Ok(Self { sidecar: Sidecar::builder(folder)?.section(&section).start().await?, log })
    }

    async fn history(&self) -> Result<History> {
        self.sidecar.wait_until_delivered(SOON).await?;
        History::open(self.sidecar.history())
    }

    /// Every quote ended exactly once, and the history tells of them what the dispatchers and the mint tell.
    async fn expect_agreement(&self, hosts: &[QuoteCounters], mint: &[MintSnapshot], shares: u64) -> Result<()> {
        let history = self.history().await?;
        for (hash, life) in quote_lives(&self.log)? {
            let endings = life.answers.len() + life.failures.len();
            ensure!(life.created == 1 && life.sent <= 1 && endings == 1, "the quote of {hash} lived so: {life:?}");
        }
        let quotes = history.quotes(HOST)?;
        let sum = |count: fn(&QuoteCounters) -> u64| hosts.iter().map(count).sum::<u64>();
        ensure!(sum(|host| host.pending) == 0, "quotes are pending: {hosts:?}");
        let created = sum(|host| host.created);
        ensure!(quotes.len() as u64 == created, "{} quotes of {created} are in the history", quotes.len());
        ensure!(quote_lives(&self.log)?.len() as u64 == created, "the log tells of other quotes");

        let answered = sum(|host| host.answered);
        let failed = sum(|host| host.failed + host.timed_out + host.rejected);
        let counts = history.quote_counts(HOST)?;
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        ensure!(count("answered") + count("paid") == answered, "{counts:?}, but the dispatcher had {answered} answers");
        ensure!(count("failed") == failed, "{counts:?}, but the dispatcher had {failed} failures");
        ensure!(answered + failed == created && counts.values().sum::<u64>() == created, "{counts:?} of {created}");

        for (share, row) in &quotes {
            let Some(quote_id) = &row.quote_id else { continue };
            let known = mint.iter().filter_map(|mint| mint.quotes.get(share));
            let same = known.into_iter().any(|quote| {
                quote.quote_id == *quote_id
                    && u128::from(quote.amount) == row.amount
                    && (quote.state == QuoteState::Paid) == (row.state == "paid")
            });
            ensure!(same, "the mint knows the quote of {share} otherwise than the history: {row:?}");
        }
        let ehash: u128 = quotes.values().map(|quote| quote.amount).sum();
        ensure!(history.ehash(HOST)? == (created, ehash), "the sums are {:?}, not {:?}", history.ehash(HOST)?, ehash);
        ensure!(history.accepted(HOST)? == shares, "{} shares, not {shares}", history.accepted(HOST)?);
        ensure!(history.accepted_in_total(HOST)? == shares, "the totals have {}", history.accepted_in_total(HOST)?);
        self.sidecar.expect_balanced_ledgers().await
    }

    async fn wait_for_states(&self, states: &[(&str, u64)]) -> Result<()> {
        let expected: BTreeMap<String, u64> =
            states.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect();
        wait_for("the states of quotes", SOON, || async {
            let counts = History::open(self.sidecar.history())?.quote_counts(HOST)?;
            Ok(Look::when(counts == expected, counts))
        })
        .await?;
        Ok(())
    }
}

async fn wait_until_held(mint: &Mint, count: usize) -> Result<()> {
    wait_for("requests that the mint holds", SOON, || async {
        let held = mint.snapshot().held;
        Ok(Look::when(held == count, held))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_mint_killed_and_restarted_gives_each_share_one_quote_and_tells_each_payment() -> Result<()> {
    story("mint-killed", async |folder| {
        let scene = Scene::begin(folder).await?;
        let mut mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let mut host = QuotingHost::start(HOST, scene.sidecar.address(), quotes_at(mint.address()), 0)?;
        host.mine_below_minimum(7)?;
        let mut shares = host.mine(20)?;
        host.wait_until_ended(SOON).await?;
        // These have their quotes when the mint dies, but no answer; the next ones find nobody.
        mint.behave(Manner::Hold);
        shares.extend(host.mine(20)?);
        wait_until_held(&mint, 20).await?;
        mint.stop()?;
        shares.extend(host.mine(20)?);
        host.wait_until("the loss to be seen", SOON, |counters| !counters.connected && counters.failures > 0).await?;
        mint.behave(Manner::Answer);
        mint.restart(Memory::Kept)?;
        let counters = host.wait_until_ended(SOON).await?;
        ensure!((counters.answered, counters.sent, counters.resent) == (60, 60, 20), "{counters:?}");
        let snapshot = mint.snapshot();
        ensure!((snapshot.quotes.len(), snapshot.requests, snapshot.repeated) == (60, 80, 20), "{snapshot:?}");
        mint.release();
        host.wait_until("the old answers", SOON, |counters| counters.duplicate_answers == 20).await?;

        // Half of the payments come while the host is there, half while the mint is away; ten come twice.
        mint.pay(shares[..30].iter().copied())?;
        host.wait_until("payments", SOON, |counters| counters.payments == 30).await?;
        mint.stop()?;
        mint.pay(shares[30..].iter().copied())?;
        mint.restart(Memory::Kept)?;
        host.wait_until("later payments", SOON, |counters| counters.payments == 60).await?;
        mint.pay(shares[..10].iter().copied())?;
        host.wait_until("payments told again", SOON, |counters| counters.payments == 70).await?;
        let before = mint.snapshot();

        // A mint that lost its memory gives new ids; the host had no others for these shares.
        mint.behave(Manner::Hold);
        let unlucky = host.mine(10)?;
        wait_until_held(&mint, 10).await?;
        mint.behave(Manner::Answer);
        mint.restart(Memory::Lost)?;
        let counters = host.wait_until_ended(SOON).await?;
        ensure!((counters.answered, counters.conflicts, counters.resent) == (70, 0, 30), "{counters:?}");
        mint.fail_payment(unlucky[..3].iter().copied())?;
        host.wait_until("failed payments", SOON, |counters| counters.payment_failures == 3).await?;

        let after = mint.snapshot();
        let (report, counters) = host.close(SOON).await?;
        ensure!(report.complete && counters.below_minimum == 7, "{report:?} {counters:?}");
        scene.expect_agreement(&[counters], &[before, after], 77).await?;
        scene.wait_for_states(&[("answered", 10), ("paid", 60)]).await?;
        let unattributed = scene.history().await?.unattributed_quotes(HOST)?;
        ensure!(unattributed == ["payment-failed"; 3], "{unattributed:?}");
        mint.expect_no_violations()
    })
    .await
}

#[tokio::test]
async fn a_slow_mint_costs_its_quotes_and_nothing_else() -> Result<()> {
    story("mint-slow", async |folder| {
        let scene = Scene::begin(folder).await?;
        let mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let quotes = quotes_at(mint.address()).timeout(IMPATIENT);
        let mut host = QuotingHost::start(HOST, scene.sidecar.address(), quotes, 0)?;
        mint.behave(Manner::Hold);
        let late = host.mine(10)?;
        let counters = host.wait_until_ended(SOON).await?;
        ensure!((counters.timed_out, counters.answered) == (10, 0), "{counters:?}");
        // The answers come after all, and change nothing.
        mint.release();
        host.wait_until("late answers", SOON, |counters| counters.late_answers == 10).await?;
        mint.behave(Manner::Slow(Duration::from_millis(5)));
        host.mine(10)?;
        let counters = host.wait_until_ended(SOON).await?;
        ensure!((counters.timed_out, counters.answered) == (10, 10), "{counters:?}");

        let (_, counters) = host.close(SOON).await?;
        scene.expect_agreement(&[counters], &[mint.snapshot()], 20).await?;
        let quotes = scene.history().await?.quotes(HOST)?;
        let timed_out = |share: &ShareHash| quotes[share].error_code.as_deref() == Some("timeout");
        ensure!(late.iter().all(timed_out), "the late quotes failed otherwise: {quotes:?}");
        mint.expect_no_violations()
    })
    .await
}

#[tokio::test]
async fn a_mint_that_misbehaves_in_every_way_ends_every_quote_once() -> Result<()> {
    story("mint-misbehaves", async |folder| {
        let scene = Scene::begin(folder).await?;
        let mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let mut host = QuotingHost::start(HOST, scene.sidecar.address(), quotes_at(mint.address()), 0)?;
        host.wait_until("the connection", SOON, |counters| counters.connected).await?;

        mint.behave(Manner::Twice);
        host.mine(10)?;
        let seen = host.wait_until("duplicates", SOON, |seen| seen.duplicate_answers == 10).await?;
        ensure!((seen.answered, seen.conflicts) == (10, 0), "{seen:?}");

        // The first id stands: the mint's own, with which the history is compared below.
        mint.behave(Manner::Differently);
        host.mine(10)?;
        let seen = host.wait_until("conflicts", SOON, |seen| seen.conflicts == 10).await?;
        ensure!(seen.answered == 20, "{seen:?}");

        mint.behave(Manner::UnknownHash);
        host.mine(10)?;
        let seen = host.wait_until_ended(SOON).await?;
        ensure!((seen.answered, seen.unknown_answers) == (30, 10), "{seen:?}");

        mint.behave(Manner::Refuse);
        let refused = host.mine(10)?;
        let seen = host.wait_until_ended(SOON).await?;
        ensure!((seen.answered, seen.failed, seen.unattributed_errors) == (30, 10, 0), "{seen:?}");

        mint.behave(Manner::Answer);
        for (broken, manner) in [Manner::Garbage, Manner::Malformed, Manner::CloseInTheMiddle].into_iter().enumerate() {
            mint.script([manner.clone()]);
            host.mine(10)?;
            let seen = host.wait_until_ended(SOON).await?;
            let broken = broken as u64 + 1;
            let expected = (30 + 10 * broken, 10, broken, broken + 1);
            let found = (seen.answered, seen.failed, seen.failures, seen.connections);
            ensure!(found == expected, "{manner:?} led to {found:?} instead of {expected:?}: {seen:?}");
        }

        mint.script([Manner::AfterTheNext]);
        host.mine(2)?;
        let seen = host.wait_until_ended(SOON).await?;
        ensure!((seen.answered, seen.unknown_answers) == (62, 10), "{seen:?}");
        let (_, patient) = host.close(SOON).await?;

        // Out of order once more; now nobody can tell whom the error concerns, so that quote ends by its time, as does the
        // one that is never answered.
        let quotes = quotes_at(mint.address()).timeout(IMPATIENT);
        let mut host = QuotingHost::start(HOST, scene.sidecar.address(), quotes, 72)?;
        mint.script([Manner::AfterTheNext]);
        host.mine(2)?;
        host.wait_until_ended(SOON).await?;
        mint.script([Manner::Refuse, Manner::Ignore]);
        host.mine(4)?;
        let seen = host.wait_until_ended(SOON).await?;
        ensure!((seen.answered, seen.failed, seen.unattributed_errors, seen.timed_out) == (4, 0, 1, 2), "{seen:?}");

        let (_, impatient) = host.close(SOON).await?;
        scene.expect_agreement(&[patient, impatient], &[mint.snapshot()], 78).await?;
        let history = scene.history().await?;
        let quotes = history.quotes(HOST)?;
        let is_refused = |share: &ShareHash| quotes[share].error_code.as_deref() == Some("mint-error");
        ensure!(refused.iter().all(is_refused), "the refused quotes failed otherwise: {quotes:?}");
        ensure!(history.unattributed_quotes(HOST)? == ["unattributed"], "{:?}", history.unattributed_quotes(HOST)?);
        mint.expect_no_violations()
    })
    .await
}

#[tokio::test]
async fn a_host_closed_with_quotes_pending_ends_them_and_starts_again_without_counting_twice() -> Result<()> {
    story("host-closed", async |folder| {
        let scene = Scene::begin(folder).await?;
        let mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let start = |first| QuotingHost::start(HOST, scene.sidecar.address(), quotes_at(mint.address()), first);
        let mut first = start(0)?;
        let shares = first.mine(5)?;
        first.wait_until_ended(SOON).await?;
        mint.behave(Manner::Hold);
        first.mine(15)?;
        wait_until_held(&mint, 15).await?;
        let (report, first) = first.close(Duration::ZERO).await?;
        ensure!((report.left, first.rejected) == (15, 15), "{report:?} {first:?}");

        // What the first one asked for is answered to the second one, which knows nothing of it.
        let mut second = start(20)?;
        mint.behave(Manner::Answer);
        mint.release();
        second.wait_until("answers to the first", SOON, |counters| counters.unknown_answers == 15).await?;
        second.mine(20)?;
        let counters = second.wait_until_ended(SOON).await?;
        scene.wait_for_states(&[("answered", 25), ("failed", 15)]).await?;
        scene.expect_agreement(&[first, counters], &[mint.snapshot()], 40).await?;

        // A share that the first one had already is a share once more, and the same quote.
        let before = scene.history().await?.ehash(HOST)?;
        for share in shares {
            ensure!(second.accept(share)? == SubmitOutcome::Queued);
        }
        second.wait_until_ended(SOON).await?;
        second.close(SOON).await?;
        let history = scene.history().await?;
        ensure!(history.ehash(HOST)? == before, "ehash is counted twice: {before:?}, {:?}", history.ehash(HOST)?);
        ensure!(history.accepted(HOST)? == 45, "{} shares", history.accepted(HOST)?);
        ensure!(mint.snapshot().quotes.len() == 40, "the mint has {} quotes", mint.snapshot().quotes.len());
        mint.expect_no_violations()
    })
    .await
}

#[tokio::test]
async fn a_host_killed_with_quotes_pending_leaves_them_abandoned() -> Result<()> {
    story("host-killed", async |folder| {
        let scene = Scene::begin(folder).await?;
        let mint = Mint::start(MINIMUM_DIFFICULTY)?;
        let spawn = |first: &str, shares: &str| {
            ProcessSpec::new("quoting-host", env!("CARGO_BIN_EXE_quoting-host"), folder.path())
                .arg(HOST)
                .arg(scene.sidecar.address().to_string())
                .arg(mint.address().to_string())
                .arg(first)
                .arg(shares)
                .start()
        };
        mint.script(std::iter::repeat_n(Manner::Answer, 10));
        mint.behave(Manner::Hold);
        let mut first = spawn("0", "20")?;
        scene.wait_for_states(&[("answered", 10), ("sent", 10)]).await?;
        first.kill().await?;
        mint.behave(Manner::Answer);
        mint.release();
        let mut second = spawn("20", "5")?;
        scene.wait_for_states(&[("abandoned", 10), ("answered", 15)]).await?;
        second.kill().await?;
        let history = scene.history().await?;
        let ehash = mint.snapshot().ehash();
        ensure!(history.ehash(HOST)? == (25, ehash), "{:?}, the mint has {ehash}", history.ehash(HOST)?);
        ensure!(history.accepted(HOST)? == 25, "{} shares", history.accepted(HOST)?);
        mint.expect_no_violations()
    })
    .await
}

#[tokio::test]
async fn an_encrypted_mint_is_trusted_by_its_key_only() -> Result<()> {
    story("mint-noise", async |folder| {
        let scene = Scene::begin(folder).await?;
        let key = AuthoritySecretKey::generate();
        let mint = Mint::start_encrypted(MINIMUM_DIFFICULTY, key.clone())?;
        let quotes = |known: &AuthoritySecretKey| quotes_at(mint.address()).authority_public_key(known.public_key());
        let start = |quotes, first| QuotingHost::start(HOST, scene.sidecar.address(), quotes, first);
        let mut right = start(quotes(&key), 0)?;
        right.mine(20)?;
        right.wait_until_ended(SOON).await?;
        let (_, right) = right.close(SOON).await?;
        ensure!(right.answered == 20, "{right:?}");

        let other = AuthoritySecretKey::generate();
        let mut wrong = start(quotes(&other).timeout(IMPATIENT), 20)?;
        wrong.mine(5)?;
        let counters = wrong.wait_until_ended(SOON).await?;
        ensure!((counters.connections, counters.sent, counters.timed_out) == (0, 0, 5), "{counters:?}");
        let error = counters.last_error.context("a reason")?;
        let expected = other.public_key().to_string();
        ensure!(error.contains("authority") && error.contains(&expected), "the reason is not told: {error}");
        let (_, wrong) = wrong.close(SOON).await?;
        scene.expect_agreement(&[right, wrong], &[mint.snapshot()], 25).await?;
        ensure!(mint.snapshot().requests == 20, "the mint got requests of a host that does not trust it");
        mint.expect_no_violations()
    })
    .await
}

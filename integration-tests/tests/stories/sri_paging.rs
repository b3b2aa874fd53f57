//! More channels than fit on a page of the monitoring API, standard channels, and shares that the pool rejects.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    Answer, Pool, Sv2Client, TemplateProvider, story,
    wait::{Look, wait_for},
};

const SOON: Duration = Duration::from_secs(60);
/// More than the API's largest page of 100 entries.
const CHANNELS: usize = 130;

#[tokio::test]
async fn a_client_with_more_channels_than_a_page_is_counted_whole() -> Result<()> {
    story("paging", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        let mut client = Sv2Client::connect(pool.address()).await?;
        let mut expected = BTreeMap::new();
        for number in 0..CHANNELS {
            let channel_id = client.open_channel("same.identity").await?;
            // A different count for each channel of a small group, so that a mix-up shows.
            let shares = number as u64 % 3;
            for _ in 0..shares {
                let answer = client.submit(channel_id).await?;
                ensure!(answer == Answer::Accepted, "{answer:?}");
            }
            expected.insert(channel_id, shares);
        }
        ensure!(expected.len() == CHANNELS, "the channel ids of one client differ");
        let counts = wait_for("all channels to be counted", SOON, || async {
            let counts = pool.counts().await?;
            let counted: BTreeMap<u32, u64> =
                counts.accepted_by_channel().into_iter().map(|((_, channel), shares)| (channel, shares)).collect();
            Ok(if counted == expected {
                Look::Done(counts)
            } else {
                Look::NotYet(format!("{} channels", counted.len()))
            })
        })
        .await?;
        ensure!(counts.channels.values().all(|channel| channel.user_identity == "same.identity"), "one identity");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_pool_counts_what_it_rejects_by_reason() -> Result<()> {
    story("rejections", async |folder| {
        let template_provider = TemplateProvider::builder().start().await?;
        let pool = Pool::builder(folder, template_provider.address()).start().await?;
        let mut client = Sv2Client::connect(pool.address()).await?;
        let channel_id = client.open_channel("dave").await?;
        ensure!(client.submit(channel_id).await? == Answer::Accepted, "a good share is accepted");
        for (answer, code) in [
            (client.submit_duplicate(channel_id).await?, "duplicate-share"),
            (client.submit_duplicate(channel_id).await?, "duplicate-share"),
            (client.submit_for_unknown_job(channel_id).await?, "invalid-job-id"),
        ] {
            ensure!(answer == Answer::Rejected(code.to_owned()), "{answer:?} instead of {code}");
        }
        let counts = wait_for("the rejections to be counted", SOON, || async {
            let counts = pool.counts().await?;
            Ok(Look::when(counts.rejected() == 3, counts))
        })
        .await?;
        let (key, channel) = counts.channels.first_key_value().context("a channel")?;
        ensure!(channel.shares_accepted == 1, "{channel:?}");
        let by_reason = BTreeMap::from([("duplicate-share".to_owned(), 2), ("invalid-job-id".to_owned(), 1)]);
        ensure!(channel.shares_rejected_by_reason == by_reason, "{channel:?}");
        let metrics = pool.api().metrics().await?;
        let labels = [("error_code", "duplicate-share"), ("client_id", &key.0.to_string())];
        ensure!(metrics.sum("sv2_client_shares_rejected_total", &labels) == Some(2.0), "{metrics:?}");

        client.close_channel(channel_id).await?;
        wait_for("the closed channel to be gone", SOON, || async {
            let channels = pool.counts().await?.channels.len();
            Ok(Look::when(channels == 0, channels))
        })
        .await?;
        Ok(())
    })
    .await
}

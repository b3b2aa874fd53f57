//! Lighthouse on the overview of a pool with a thousand workers, as a phone and as a desktop.

use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::lighthouse::{Form, Judgement, Lighthouse};

use crate::decode::median;
use crate::table::{Limit, Table};
use crate::year::{Pool, Year};

const CATEGORIES: [(&str, f64); 3] = [("performance", 95.0), ("accessibility", 100.0), ("best-practices", 100.0)];
/// Events a second of the thousand workers: six shares a minute each.
const RATE: u64 = 100;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let lighthouse = Lighthouse::prepare()?;
    let year = Year::make(table, 3)?;
    let (sidecar, address) = year.sidecar(true)?;
    let address = format!("http://{}/", address.context("this sidecar has a dashboard")?);
    let _pool = Pool::start(&sidecar, RATE)?;
    let (rounds, warm_up) = if quick { (1, 5) } else { (3, 60) };
    // Until the page has live numbers to show.
    std::thread::sleep(Duration::from_secs(warm_up));
    for (name, form) in [("phone", Form::Phone), ("desktop", Form::Desktop)] {
        let judgements: Vec<Judgement> =
            (0..rounds).map(|_| lighthouse.judge(&address, form)).collect::<Result<_>>()?;
        for (category, least) in CATEGORIES {
            let scores = judgements.iter().map(|judgement| judgement.score(category));
            let score = median(scores.collect::<Option<_>>().context("a category has no score")?);
            table.add(format!("Lighthouse, {name}: {category}"), score, "", Limit::AtLeast(least));
        }
        for complaint in judgements.first().map(Judgement::complaints).unwrap_or_default() {
            eprintln!("    {complaint}");
        }
    }
    Ok(())
}

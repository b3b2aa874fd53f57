//! Waiting for a condition with a deadline, the only kind of waiting that the stories do.

use std::{fmt::Debug, future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at. Short enough that a story loses no visible time, long enough that polling
/// an HTTP endpoint does not compete with the processes under test for two cores.
const POLL_EVERY: Duration = Duration::from_millis(25);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds, with what it yields.
    Done(T),
    /// Not yet; the text says what was seen, for the error at the deadline.
    NotYet(String),
}

impl<T> Look<T> {
    /// `Done` when `holds`, otherwise `NotYet` with the debug form of what was `seen`.
    pub fn when(holds: bool, seen: T) -> Self
    where
        T: Debug,
    {
        if holds { Self::Done(seen) } else { Self::NotYet(format!("{seen:?}")) }
    }
}

/// Looks again and again until `look` answers [`Look::Done`].
///
/// # Errors
/// An error of `look` counts as "not yet", since a process that is starting refuses connections; at the deadline
/// the error names `what` was awaited and what the last look saw.
pub async fn wait_for<T, F, Fut>(what: &str, deadline: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Look<T>>>,
{
    let end = Instant::now() + deadline;
    loop {
        let seen = match look().await {
            Ok(Look::Done(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= end {
            bail!("waited {deadline:?} for {what}; last seen: {seen}");
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_error_says_what_was_seen_last() {
        let error = wait_for("three", Duration::ZERO, || async { Ok(Look::when(false, 2)) })
            .await
            .expect_err("two is not three");
        let text = error.to_string();
        assert!(text.contains("three") && text.contains("last seen: 2"), "{text}");
    }

    #[tokio::test]
    async fn errors_on_the_way_are_not_fatal() {
        let mut looks = 0;
        let value = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            let look = looks;
            async move { if look < 3 { Err(anyhow::anyhow!("refused")) } else { Ok(Look::Done(look)) } }
        })
        .await
        .expect("the third look succeeds");
        assert_eq!(value, 3);
    }
}

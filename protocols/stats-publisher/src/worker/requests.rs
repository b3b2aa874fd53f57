//! Flush and close: what the host asks of the worker, and when it is answered.

use tokio::time::Instant;

use super::Worker;
use super::link::{CloseStage, Link};
use crate::drain::Now;
use crate::publisher::{DeliveryReport, Reply};

/// Requests of the host's threads.
#[derive(Debug)]
pub(crate) enum Command {
    Flush(Instant, Reply),
    Close(Instant, Reply),
}

/// What is said when the thread ends, after everything it held is gone.
#[derive(Debug)]
pub(crate) struct LastWords {
    replies: Vec<Reply>,
    report: DeliveryReport,
}

impl LastWords {
    pub(crate) fn send(self) {
        for reply in self.replies {
            reply.send(self.report);
        }
    }
}

pub(super) struct PendingFlush {
    mark: u64,
    /// The number that must be acknowledged, once it is known.
    target: Option<u64>,
    pub(super) deadline: Instant,
    reply: Reply,
}

pub(super) struct Closing {
    mark: u64,
    pub(super) deadline: Instant,
    replies: Vec<Reply>,
}

impl Worker {
    pub(super) fn accept(&mut self, command: Command) {
        self.next_drain = Instant::now();
        match command {
            Command::Flush(deadline, reply) => {
                let mark = self.drain.force();
                self.flushes.push(PendingFlush { mark, target: None, deadline, reply });
            }
            Command::Close(deadline, reply) => {
                self.intake.close();
                // The span up to the end was observed.
                self.drain.make_heartbeat_due(Now::read());
                let mark = self.drain.force();
                let closing = self.closing.get_or_insert_with(|| Closing { mark, deadline, replies: Vec::new() });
                closing.deadline = closing.deadline.min(deadline);
                closing.replies.push(reply);
            }
        }
    }

    /// Answers what can be answered. Returns when the thread is to end.
    pub(super) fn answer(&mut self, now: Now) -> Option<LastWords> {
        if !self.flushes.is_empty() {
            self.answer_flushes(now);
        }
        let closing = self.closing.as_ref()?;
        if now.mono >= closing.deadline {
            return Some(self.last_words(false));
        }
        let all_encoded =
            self.own.ended || self.drain.has_settled(closing.mark) && self.stuck.is_none() && self.intake.queued() == 0;
        if !all_encoded || self.finishing.is_some() || !self.own.is_delivered() {
            return None;
        }
        self.send_close("shutdown", now);
        match &self.link {
            Link::Up(up) if up.close == CloseStage::Acknowledged => Some(self.last_words(true)),
            _ => None,
        }
    }

    fn answer_flushes(&mut self, now: Now) {
        for mut flush in std::mem::take(&mut self.flushes) {
            if flush.target.is_none() && self.stuck.is_none() && self.drain.has_settled(flush.mark) {
                flush.target = Some(self.own.last);
            }
            let complete = flush.target.is_some_and(|target| self.own.window.committed() >= target);
            if complete || now.mono >= flush.deadline {
                self.gauges.note_latency(&self.accounts);
                flush.reply.send(self.report(complete));
            } else {
                self.flushes.push(flush);
            }
        }
    }

    fn report(&self, complete: bool) -> DeliveryReport {
        let unacknowledged = self.accounts.unacknowledged();
        let waiting = (self.intake.queued() + self.intake.overflowed()) as u64;
        DeliveryReport {
            complete,
            acknowledged: self.accounts.acknowledged(),
            left: unacknowledged + waiting,
            spooled: if self.spool.is_some() { unacknowledged } else { 0 },
        }
    }

    pub(super) fn last_words(&mut self, complete: bool) -> LastWords {
        let report = self.report(complete);
        self.gauges.note_latency(&self.accounts);
        self.gauges.note_accounts(&self.accounts);
        self.gauges.note_report(report);
        if report.left > 0 {
            tracing::warn!(
                left = report.left,
                spooled = report.spooled,
                "publisher closed before all was acknowledged"
            );
        }
        for flush in self.flushes.drain(..) {
            flush.reply.send(DeliveryReport { complete: false, ..report });
        }
        LastWords { replies: self.closing.take().map(|closing| closing.replies).unwrap_or_default(), report }
    }
}

//! One pool's connection to the small mint: opening, then requests, answers and notices, each in the manner told.

use std::sync::Arc;

use ehash::ShareHash;
use mint_quote_sv2::{
    AnyMessage, Message, MintQuoteError, MintQuoteRequest, MintQuoteResponse, PROTOCOL, PROTOCOL_VERSION,
    SetupConnection, SetupConnectionError, SetupConnectionSuccess, limits::HANDSHAKE_TIMEOUT,
    noise::AuthoritySecretKey, setup::error_code,
};
use stats_sv2::Text;
use tokio::net::TcpStream;

use super::{
    Shared,
    book::{Notice, Progress, Verdict},
    manner::Manner,
    transport::{Failure, Transport},
};

/// The error code of every refusal.
const REFUSED: u32 = 42;

/// Serves one connection until it ends. What the pool did wrong goes to the book.
pub(super) async fn run(stream: TcpStream, authority: Option<AuthoritySecretKey>, shared: Arc<Shared>) {
    let Ok(opened) = tokio::time::timeout(HANDSHAKE_TIMEOUT, open(stream, authority.as_ref(), &shared)).await else {
        shared.book().violation(format!("a connection was not opened within {HANDSHAKE_TIMEOUT:?}"));
        return;
    };
    let served = match opened {
        Ok(Some(transport)) => Session::new(transport, &shared).serve().await,
        Ok(None) => return,
        Err(error) => Err(error),
    };
    match served {
        // A connection may break at any time. A pool that expects another key, or none, ends in a failed handshake.
        Ok(()) | Err(Failure::Io(_) | Failure::Handshake(_)) => {}
        Err(error) => shared.book().violation(format!("{error}: {:?}", std::error::Error::source(&error))),
    }
}

/// `None` when the pool is gone or was refused.
async fn open(
    stream: TcpStream,
    authority: Option<&AuthoritySecretKey>,
    shared: &Shared,
) -> Result<Option<Transport>, Failure> {
    let mut transport = Transport::accept(stream, authority).await?;
    let Some(message) = transport.read().await? else { return Ok(None) };
    let AnyMessage::SetupConnection(setup) = message else {
        shared.book().violation(format!("{message:?} instead of SetupConnection"));
        return Ok(None);
    };
    if let Some(error_code) = refusal(&setup) {
        shared.book().violation(format!("SetupConnection is no good ({error_code}): {setup:?}"));
        let error_code = Text::cut(error_code);
        transport.send(&SetupConnectionError { flags: setup.flags, error_code }).await?;
        return Ok(None);
    }
    // What the pool has sent before it could see the answer came too early.
    transport.send(&SetupConnectionSuccess { used_version: PROTOCOL_VERSION, flags: 0 }).await?;
    shared.book().opened();
    Ok(Some(transport))
}

fn refusal(setup: &SetupConnection) -> Option<&'static str> {
    if setup.protocol != PROTOCOL {
        Some(error_code::UNSUPPORTED_PROTOCOL)
    } else if !(setup.min_version..=setup.max_version).contains(&PROTOCOL_VERSION) {
        Some(error_code::PROTOCOL_VERSION_MISMATCH)
    } else if setup.flags != 0 {
        Some(error_code::UNSUPPORTED_FEATURE_FLAGS)
    } else {
        None
    }
}

/// Whether the connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Close,
}

struct Session<'a> {
    transport: Transport,
    shared: &'a Shared,
    progress: Progress,
    /// An answer that waits for the next one.
    overtaken: Option<MintQuoteResponse>,
}

impl<'a> Session<'a> {
    fn new(transport: Transport, shared: &'a Shared) -> Self {
        Self { transport, shared, progress: Progress::default(), overtaken: None }
    }

    async fn serve(mut self) -> Result<(), Failure> {
        let shared = self.shared;
        loop {
            // Registered before the book is looked at, so that what comes in between is not missed.
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            self.tell().await?;
            tokio::select! {
                message = self.transport.read() => match message? {
                    None => return Ok(()),
                    Some(AnyMessage::MintQuoteRequest(request)) => {
                        if self.treat(&request).await? == Next::Close {
                            return Ok(());
                        }
                    }
                    Some(message) => {
                        shared.book().violation(format!("{message:?} is not the pool's to send"));
                        return Ok(());
                    }
                },
                () = news => {}
            }
        }
    }

    /// Sends what no request asked for.
    async fn tell(&mut self) -> Result<(), Failure> {
        loop {
            let released = self.shared.book().next_released();
            let Some((share, quote_id)) = released else { break };
            self.answer(share, quote_id).await?;
        }
        loop {
            let notice = self.shared.book().next_notice();
            let Some(notice) = notice else { return Ok(()) };
            let sent = match &notice {
                Notice::Paid(message) => self.transport.send(message).await,
                Notice::Failed(message) => self.transport.send(message).await,
            };
            if let Err(error) = sent {
                self.shared.book().give_back(notice);
                return Err(error);
            }
        }
    }

    async fn treat(&mut self, request: &MintQuoteRequest) -> Result<Next, Failure> {
        let share = ShareHash::from_wire(request.header_hash());
        let verdict = self.shared.book().take(request, &mut self.progress);
        let (manner, quote_id) = match verdict {
            Verdict::Refuse(words) => {
                let error = MintQuoteError { error_code: REFUSED, error_message: Text::cut(words) };
                self.transport.send(&error).await?;
                return Ok(Next::GoOn);
            }
            Verdict::Treat { manner, quote_id } => (manner, quote_id),
        };
        match manner {
            Manner::Answer | Manner::Refuse => self.answer(share, quote_id).await?,
            Manner::Slow(time) => {
                tokio::time::sleep(time).await;
                self.answer(share, quote_id).await?;
            }
            Manner::Hold => self.shared.book().hold(share, quote_id),
            Manner::Ignore => {}
            Manner::Twice => {
                self.answer(share, quote_id.clone()).await?;
                self.answer(share, quote_id).await?;
            }
            Manner::Differently => {
                self.answer(share, quote_id.clone()).await?;
                self.answer(share, format!("{quote_id}-or-another")).await?;
            }
            Manner::UnknownHash => {
                let mut other = share.to_digest_bytes();
                other[0] ^= 0xff;
                other[15] ^= 0xff;
                self.answer(ShareHash::from_digest_bytes(other), "quote-of-nobody".to_owned()).await?;
                self.answer(share, quote_id).await?;
            }
            Manner::AfterTheNext => {
                let earlier = self.overtaken.replace(response(share, quote_id));
                if let Some(earlier) = earlier {
                    self.transport.send(&earlier).await?;
                }
            }
            Manner::Garbage => self.transport.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?,
            Manner::Malformed => {
                // A response of three bytes, in a header that is good.
                self.transport.send_raw(&[0, 0, MintQuoteResponse::TYPE, 3, 0, 0, 9, 9, 9]).await?;
            }
            Manner::CloseInTheMiddle => {
                let mut frame = Vec::new();
                response(share, quote_id).encode(&mut frame);
                self.transport.send_raw(&frame[..frame.len() / 2]).await?;
                return Ok(Next::Close);
            }
        }
        Ok(Next::GoOn)
    }

    async fn answer(&mut self, share: ShareHash, quote_id: String) -> Result<(), Failure> {
        self.transport.send(&response(share, quote_id)).await?;
        self.shared.book().answered(share);
        match self.overtaken.take() {
            Some(earlier) => self.transport.send(&earlier).await,
            None => Ok(()),
        }
    }
}

fn response(share: ShareHash, quote_id: String) -> MintQuoteResponse {
    MintQuoteResponse::new(Text::cut(quote_id), share.to_wire()).expect("the mint's ids are not empty")
}

//! One pool's connection: requests answered in their order, payments told as they are booked.

use std::sync::Arc;

use anyhow::{Result, bail};
use ehash::ParsedMintQuoteRequest;
use mint_quote_sv2::{
    AnyMessage, MintQuoteError, MintQuoteRequest, MintQuoteResponse, PROTOCOL, PROTOCOL_VERSION, SetupConnectionError,
    SetupConnectionSuccess, limits::HANDSHAKE_TIMEOUT, setup::error_code,
};
use stats_sv2::Text;
use tokio::net::TcpStream;

use crate::{quotes::EhashMint, transport::Transport};

/// The error code of every refusal; the message says why.
const REFUSED: u32 = 1;

/// Serves one connection until it ends.
pub(crate) async fn run(stream: TcpStream, mint: Arc<EhashMint>) -> Result<()> {
    let mut transport = tokio::time::timeout(HANDSHAKE_TIMEOUT, open(stream)).await??;
    let mut told = 0;
    loop {
        // Registered before the list is looked at, so that what comes in between is not missed.
        let news = mint.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        while let Some(payment) = mint.payment(told) {
            transport.send(&payment).await?;
            told += 1;
        }
        tokio::select! {
            message = transport.read() => match message? {
                None => return Ok(()),
                Some(AnyMessage::MintQuoteRequest(request)) => match answer(&mint, &request).await {
                    Ok(response) => transport.send(&response).await?,
                    Err(error) => {
                        let error_message = Text::cut(format!("{error:#}"));
                        transport.send(&MintQuoteError { error_code: REFUSED, error_message }).await?;
                    }
                },
                Some(message) => bail!("{message:?} is not the pool's to send"),
            },
            () = news => {}
        }
    }
}

async fn open(stream: TcpStream) -> Result<Transport> {
    let mut transport = Transport::accept(stream, None).await?;
    let Some(AnyMessage::SetupConnection(setup)) = transport.read().await? else { bail!("no SetupConnection came") };
    let is_served = (setup.min_version..=setup.max_version).contains(&PROTOCOL_VERSION);
    if setup.protocol != PROTOCOL || !is_served || setup.flags != 0 {
        let error_code = Text::cut(error_code::UNSUPPORTED_PROTOCOL);
        transport.send(&SetupConnectionError { flags: setup.flags, error_code }).await?;
        bail!("refused {setup:?}");
    }
    transport.send(&SetupConnectionSuccess { used_version: PROTOCOL_VERSION, flags: 0 }).await?;
    Ok(transport)
}

async fn answer(mint: &EhashMint, request: &MintQuoteRequest) -> Result<MintQuoteResponse> {
    let parsed = ParsedMintQuoteRequest::from_message(request)?;
    let id = mint.quote(&parsed).await?;
    Ok(MintQuoteResponse::new(Text::cut(id.to_string()), request.header_hash())?)
}

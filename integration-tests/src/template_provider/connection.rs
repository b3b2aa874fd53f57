//! One pool's connection: set-up, then templates out and solutions in.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use stratum_core::{
    codec_sv2::MessageFrame,
    common_messages_sv2::{MESSAGE_TYPE_SETUP_CONNECTION, Protocol, SetupConnectionSuccess},
    framing_sv2::header::Header,
    parsers_sv2::{CommonMessages, CommonMessagesOwned, TemplateDistribution, TemplateDistributionOwned},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{Shared, Template};
use crate::noise::{NoiseReader, NoiseWriter, respond};

/// The only version of template distribution.
const VERSION: u16 = 2;
/// Frames read ahead of their handling; a pool sends one solution at a time.
const FRAMES_AHEAD: usize = 16;

type Frame = (Header, Vec<u8>);

/// Accepts connections until aborted; the connections end with it.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
        }
    }
}

// A pool that hangs up is everyday; anything else belongs in the output of the failing test.
#[allow(clippy::print_stderr)]
fn report(ended: Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("template provider: a connection ended: {error:#}"),
        Err(error) => eprintln!("template provider: a connection failed: {error}"),
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let (mut reader, mut writer) = respond(stream).await?;
    set_up(&mut reader, &mut writer).await?;
    let (frames, mut incoming) = mpsc::channel::<Frame>(FRAMES_AHEAD);
    // Reading is not cancellation safe, so it has a loop of its own beside the one that selects.
    let reading = async move {
        while let Some(frame) = reader.read().await? {
            if frames.send(frame).await.is_err() {
                break;
            }
        }
        Ok::<(), anyhow::Error>(())
    };
    let serving = async move {
        let mut tips = shared.tip.subscribe();
        // Templates flow only after the pool has said how much room its outputs need.
        let mut constrained = false;
        loop {
            tokio::select! {
                frame = incoming.recv() => {
                    let Some((header, mut payload)) = frame else { return Ok(()) };
                    let message = TemplateDistribution::try_from((header.msg_type(), payload.as_mut_slice()))
                        .map_err(|error| anyhow!("an unreadable message: {error:?}"))?
                        .into_owned();
                    match message {
                        TemplateDistributionOwned::CoinbaseOutputConstraints(_) => {
                            constrained = true;
                            let tip = Arc::clone(&tips.borrow_and_update());
                            send_tip(&mut writer, &tip).await?;
                        }
                        TemplateDistributionOwned::RequestTransactionData(request) => {
                            let answer = match shared.chain().transactions(request.template_id) {
                                Ok(data) => TemplateDistributionOwned::RequestTransactionDataSuccess(data),
                                Err(error) => TemplateDistributionOwned::RequestTransactionDataError(error),
                            };
                            send(&mut writer, answer).await?;
                        }
                        TemplateDistributionOwned::SubmitSolution(solution) => {
                            let moved = shared.chain().submit(&solution, shared.stay_on_tip);
                            if let Some(template) = moved {
                                shared.publish(template);
                            }
                        }
                        other => bail!("a message that only a template provider sends: {other}"),
                    }
                }
                changed = tips.changed(), if constrained => {
                    changed.context("the template provider has stopped")?;
                    let tip = Arc::clone(&tips.borrow_and_update());
                    send_tip(&mut writer, &tip).await?;
                }
            }
        }
    };
    tokio::pin!(reading, serving);
    tokio::select! {
        served = &mut serving => served,
        // What was read is still handled; the serving loop ends on the closed channel.
        read = &mut reading => serving.await.and(read),
    }
}

async fn set_up(reader: &mut NoiseReader, writer: &mut NoiseWriter) -> Result<()> {
    let (header, mut payload) = reader.read().await?.context("the pool left before SetupConnection")?;
    if header.ext_type() != 0 || header.msg_type() != MESSAGE_TYPE_SETUP_CONNECTION {
        bail!("expected SetupConnection, got message 0x{:02x}", header.msg_type());
    }
    let message = CommonMessages::try_from((header.msg_type(), payload.as_mut_slice()))
        .map_err(|error| anyhow!("an unreadable SetupConnection: {error:?}"))?;
    let CommonMessages::SetupConnection(setup) = message else { bail!("expected SetupConnection") };
    if setup.protocol != Protocol::TemplateDistributionProtocol || setup.get_version(VERSION, VERSION).is_none() {
        bail!("not template distribution version {VERSION}: {setup}");
    }
    let success =
        CommonMessagesOwned::SetupConnectionSuccess(SetupConnectionSuccess { used_version: VERSION, flags: 0 });
    let frame = MessageFrame::try_from(success).map_err(|error| anyhow!("{error:?}"))?;
    writer.write(frame).await
}

async fn send_tip(writer: &mut NoiseWriter, template: &Template) -> Result<()> {
    send(writer, TemplateDistributionOwned::NewTemplate(template.new_template())).await?;
    send(writer, TemplateDistributionOwned::SetNewPrevHash(template.set_new_prev_hash())).await
}

async fn send(writer: &mut NoiseWriter, message: TemplateDistributionOwned) -> Result<()> {
    let frame = MessageFrame::try_from(message).map_err(|error| anyhow!("{error:?}"))?;
    writer.write(frame).await
}

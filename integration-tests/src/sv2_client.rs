//! A small SV2 mining client with standard channels, for what the SV1 road cannot show: many channels of one client,
//! shares that the pool itself rejects, and standard channels at all. It asks and waits for the answer; with the
//! easiest target it needs no CPU.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use stratum_core::{
    codec_sv2::MessageFrame,
    common_messages_sv2::{MESSAGE_TYPE_SETUP_CONNECTION_SUCCESS, Protocol, SetupConnectionOwned},
    mining_sv2::{CloseChannelOwned, OpenStandardMiningChannelOwned, SubmitSharesStandard, UpdateChannelOwned},
    parsers_sv2::{CommonMessagesOwned, Mining, MiningOwned},
};
use tokio::net::TcpStream;

use crate::noise::{NoiseReader, NoiseWriter, initiate};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Jobs for header-only mining, one per channel.
const REQUIRES_STANDARD_JOBS: u32 = 1;
/// A claim of 1 H/s makes the pool's easy target: every hash is a share.
const NO_WORK_HASHRATE: f32 = 1.0;

/// The pool's answer to a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// SubmitShares.Success.
    Accepted,
    /// SubmitShares.Error with its code.
    Rejected(String),
}

/// A connection with standard channels. Dropping it closes the connection, and with it the channels.
pub struct Sv2Client {
    reader: NoiseReader,
    writer: NoiseWriter,
    channels: HashMap<u32, Channel>,
    requests: u32,
}

/// What is needed to submit on one channel.
#[derive(Debug, Default)]
struct Channel {
    /// By job id: the version of its header.
    jobs: HashMap<u32, u32>,
    /// The active job and the time from which its shares are valid.
    active: Option<(u32, u32)>,
    sequence: u32,
    nonce: u32,
}

impl std::fmt::Debug for Sv2Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sv2Client").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Sv2Client {
    /// Connects to a pool as a mining device.
    ///
    /// # Errors
    /// When the pool refuses the connection.
    pub async fn connect(pool: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(pool).await.with_context(|| format!("cannot connect to {pool}"))?;
        let (reader, writer) = initiate(stream).await?;
        let mut client = Self { reader, writer, channels: HashMap::new(), requests: 0 };
        let setup = SetupConnectionOwned {
            protocol: Protocol::MiningProtocol,
            min_version: 2,
            max_version: 2,
            flags: REQUIRES_STANDARD_JOBS,
            endpoint_host: short(&pool.ip().to_string())?,
            endpoint_port: pool.port(),
            vendor: short("hashpool")?,
            hardware_version: short("test client")?,
            firmware: short("")?,
            device_id: short("")?,
        };
        let frame = MessageFrame::try_from(CommonMessagesOwned::SetupConnection(setup));
        client.writer.write(frame.map_err(|error| anyhow!("{error:?}"))?).await?;
        let (header, _) = client.frame().await?;
        if header != (0, MESSAGE_TYPE_SETUP_CONNECTION_SUCCESS) {
            bail!("the pool answered SetupConnection with message {header:?}");
        }
        Ok(client)
    }

    /// Opens a standard channel and returns its id; the channel is ready for shares.
    ///
    /// # Errors
    /// When the pool refuses, or no job comes.
    pub async fn open_channel(&mut self, user_identity: &str) -> Result<u32> {
        self.requests += 1;
        let request_id = self.requests;
        self.send(MiningOwned::OpenStandardMiningChannel(OpenStandardMiningChannelOwned {
            request_id,
            user_identity: short(user_identity)?,
            nominal_hash_rate: NO_WORK_HASHRATE,
            max_target: [0xff; 32].into(),
        }))
        .await?;
        let channel_id = loop {
            match self.message().await? {
                MiningOwned::OpenStandardMiningChannelSuccess(success) if success.request_id == request_id => {
                    break success.channel_id;
                }
                MiningOwned::OpenMiningChannelError(error) => bail!("the pool refused a channel: {error}"),
                _ => {}
            }
        };
        self.channels.entry(channel_id).or_default();
        while self.channels.get(&channel_id).is_some_and(|channel| channel.active.is_none()) {
            self.message().await?;
        }
        Ok(channel_id)
    }

    /// Submits a good share.
    ///
    /// # Errors
    /// When there is no such channel or no answer.
    pub async fn submit(&mut self, channel_id: u32) -> Result<Answer> {
        self.share(channel_id, |channel| channel.nonce += 1).await
    }

    /// Submits the share before once more: `duplicate-share`.
    ///
    /// # Errors
    /// When there is no such channel or no answer.
    pub async fn submit_duplicate(&mut self, channel_id: u32) -> Result<Answer> {
        self.share(channel_id, |_| {}).await
    }

    /// Submits a share for a job that the pool never gave: `invalid-job-id`.
    ///
    /// # Errors
    /// When there is no such channel or no answer.
    pub async fn submit_for_unknown_job(&mut self, channel_id: u32) -> Result<Answer> {
        let channel = self.channel(channel_id)?;
        let active = channel.active;
        channel.jobs.insert(u32::MAX, 0x2000_0000);
        channel.active = active.map(|(_, time)| (u32::MAX, time));
        let answer = self.share(channel_id, |_| {}).await;
        self.channel(channel_id)?.active = active;
        answer
    }

    /// Submits a share as for this channel, to one that was never open: `invalid-channel-id`.
    ///
    /// # Errors
    /// When there is no such channel or no answer.
    pub async fn submit_to_unknown_channel(&mut self, channel_id: u32) -> Result<Answer> {
        let Channel { jobs, active, sequence, nonce } = self.channel(channel_id)?;
        let twin = Channel { jobs: jobs.clone(), active: *active, sequence: *sequence, nonce: *nonce };
        self.channels.insert(u32::MAX, twin);
        let answer = self.share(u32::MAX, |_| {}).await;
        self.channels.remove(&u32::MAX);
        answer
    }

    /// Declares another hashrate for a channel, in H/s, and waits for the target that the pool sets for it. The jobs that the
    /// channel has keep the target that they came with.
    ///
    /// # Errors
    /// When the pool refuses or does not answer.
    pub async fn declare_hashrate(&mut self, channel_id: u32, nominal_hash_rate: f32) -> Result<()> {
        let maximum_target = [0xff; 32].into();
        self.send(MiningOwned::UpdateChannel(UpdateChannelOwned { channel_id, nominal_hash_rate, maximum_target }))
            .await?;
        loop {
            match self.message().await? {
                MiningOwned::SetTarget(target) if target.channel_id == channel_id => return Ok(()),
                MiningOwned::UpdateChannelError(error) => bail!("the pool refused a hashrate: {error}"),
                _ => {}
            }
        }
    }

    /// Waits until the channel has a job for another tip.
    ///
    /// # Errors
    /// When there is no such channel or no job comes.
    pub async fn wait_for_new_job(&mut self, channel_id: u32) -> Result<()> {
        let before = self.channel(channel_id)?.active;
        while self.channel(channel_id)?.active == before {
            self.message().await?;
        }
        Ok(())
    }

    /// Closes a channel.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn close_channel(&mut self, channel_id: u32) -> Result<()> {
        self.channels.remove(&channel_id);
        self.send(MiningOwned::CloseChannel(CloseChannelOwned { channel_id, reason_code: short("done")? })).await
    }

    async fn share(&mut self, channel_id: u32, prepare: impl FnOnce(&mut Channel)) -> Result<Answer> {
        let channel = self.channel(channel_id)?;
        prepare(channel);
        channel.sequence += 1;
        let (job_id, ntime) = channel.active.context("the channel has no job")?;
        let version = *channel.jobs.get(&job_id).context("the active job is unknown")?;
        let (sequence_number, nonce) = (channel.sequence, channel.nonce);
        self.send(MiningOwned::SubmitSharesStandard(SubmitSharesStandard {
            channel_id,
            sequence_number,
            job_id,
            nonce,
            ntime,
            version,
        }))
        .await?;
        loop {
            match self.message().await? {
                MiningOwned::SubmitSharesSuccess(success) if success.channel_id == channel_id => {
                    return Ok(Answer::Accepted);
                }
                MiningOwned::SubmitSharesError(error) if error.channel_id == channel_id => {
                    let code = String::from_utf8_lossy(error.error_code.as_bytes()).into_owned();
                    return Ok(Answer::Rejected(code));
                }
                _ => {}
            }
        }
    }

    fn channel(&mut self, channel_id: u32) -> Result<&mut Channel> {
        self.channels.get_mut(&channel_id).with_context(|| format!("channel {channel_id} is not open"))
    }

    /// The next message, with jobs and tips noted on the way.
    async fn message(&mut self) -> Result<MiningOwned> {
        let ((_, message_type), mut payload) = self.frame().await?;
        let message = Mining::try_from((message_type, payload.as_mut_slice()))
            .map_err(|error| anyhow!("an unreadable message: {error:?}"))?
            .into_owned();
        match &message {
            MiningOwned::NewMiningJob(job) => {
                let channel = self.channels.entry(job.channel_id).or_default();
                channel.jobs.insert(job.job_id, job.version);
                if let (Some(time), Some(active)) = (job.min_ntime.clone().into_inner(), &mut channel.active) {
                    *active = (job.job_id, time);
                }
            }
            MiningOwned::SetNewPrevHash(tip) => {
                let channel = self.channels.entry(tip.channel_id).or_default();
                channel.active = Some((tip.job_id, tip.min_ntime));
                channel.jobs.retain(|id, _| *id >= tip.job_id);
            }
            _ => {}
        }
        Ok(message)
    }

    /// Extension, type and payload of the next frame.
    async fn frame(&mut self) -> Result<((u16, u8), Vec<u8>)> {
        let (header, payload) = tokio::time::timeout(ANSWER_WITHIN, self.reader.read())
            .await
            .context("the pool does not answer")??
            .context("the pool closed the connection")?;
        Ok(((header.ext_type_without_channel_msg(), header.msg_type()), payload))
    }

    async fn send(&mut self, message: MiningOwned) -> Result<()> {
        self.writer.write(MessageFrame::try_from(message).map_err(|error| anyhow!("{error:?}"))?).await
    }
}

fn short<T: TryFrom<String>>(text: &str) -> Result<T> {
    T::try_from(text.to_owned()).map_err(|_| anyhow!("{text} is longer than 255 bytes"))
}

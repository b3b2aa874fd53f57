//! Real counterparts and the harness around them: the unmodified SRI pool and translator as processes, a mock
//! template provider, a small SV1 miner, an SV2 mining client, and readers of what the counterparts say about themselves.
//!
//! Nothing here is part of the product. The stories in `tests/stories` read like sentences over these builders;
//! every wait is for a condition with a deadline, every process dies with the handle that owns it.
#![forbid(unsafe_code)]

pub mod browser;
pub mod history;
pub mod http;
pub mod lighthouse;
pub mod mining_chain;
pub mod mint;
mod noise;
pub mod ports;
pub mod process;
pub mod quoting_host;
pub mod recipe;
pub mod share_stream;
pub mod sidecar;
pub mod sri;
pub mod sri_api;
pub mod sv1_miner;
pub mod sv2_client;
pub mod template_provider;
pub mod test_folder;
pub mod wait;
pub mod year_database;

pub use mining_chain::MiningChain;
pub use mint::Mint;
pub use process::Process;
pub use quoting_host::QuotingHost;
pub use sidecar::Sidecar;
pub use sri::{Pool, Translator};
pub use sri_api::{MonitoringApi, PoolSnapshot, TranslatorSnapshot};
pub use sv1_miner::{BadShare, MinerCounts, Sv1Miner, Verdict};
pub use sv2_client::{Answer, Sv2Client};
pub use template_provider::TemplateProvider;
pub use test_folder::{TestFolder, story};
pub use wait::wait_for;
pub use year_database::YearDatabase;

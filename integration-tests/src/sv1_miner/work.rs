//! SV1 jobs: from `mining.notify` to a block header and its hash.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stratum_core::bitcoin::{
    BlockHash, CompactTarget, Target, TxMerkleNode,
    block::{Header, Version},
    hashes::{Hash, sha256d},
    hex::FromHex,
};

/// A job of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) time: u32,
    prev_hash: BlockHash,
    coinbase_prefix: Vec<u8>,
    coinbase_suffix: Vec<u8>,
    merkle_branch: Vec<[u8; 32]>,
    version: u32,
    bits: u32,
}

/// A share, as the parameters of `mining.submit` behind the user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) job_id: String,
    pub(super) extranonce2: Vec<u8>,
    pub(super) time: u32,
    pub(super) nonce: u32,
}

impl Job {
    /// Reads the parameters of `mining.notify`; the last one, `clean_jobs`, is left to the caller.
    pub(super) fn from_notify(params: &[Value]) -> Result<Self> {
        ensure!(params.len() >= 9, "mining.notify has {} parameters instead of 9", params.len());
        let branch = params[4].as_array().context("the merkle branch is no list")?;
        Ok(Self {
            id: text(&params[0])?.to_owned(),
            prev_hash: prev_hash(text(&params[1])?)?,
            coinbase_prefix: Vec::from_hex(text(&params[2])?).context("the coinbase's first part is no hex")?,
            coinbase_suffix: Vec::from_hex(text(&params[3])?).context("the coinbase's second part is no hex")?,
            merkle_branch: branch
                .iter()
                .map(|node| <[u8; 32]>::from_hex(text(node)?).context("a merkle node is no hash"))
                .collect::<Result<_>>()?,
            version: number(&params[5])?,
            bits: number(&params[6])?,
            time: number(&params[7])?,
        })
    }

    /// The header that the share stands for.
    pub(super) fn header(&self, extranonce1: &[u8], share: &Share) -> Header {
        let coinbase = [&self.coinbase_prefix, extranonce1, &share.extranonce2, &self.coinbase_suffix].concat();
        let mut node = sha256d::Hash::hash(&coinbase).to_byte_array();
        for sibling in &self.merkle_branch {
            node = sha256d::Hash::hash(&[node, *sibling].concat()).to_byte_array();
        }
        Header {
            version: Version::from_consensus(self.version.cast_signed()),
            prev_blockhash: self.prev_hash,
            merkle_root: TxMerkleNode::from_byte_array(node),
            time: share.time,
            bits: CompactTarget::from_consensus(self.bits),
            nonce: share.nonce,
        }
    }
}

/// The difficulty that a header's hash reaches.
pub(super) fn reached_difficulty(header: &Header) -> f64 {
    Target::from_le_bytes(header.block_hash().to_byte_array()).difficulty_float()
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no string"))
}

fn number(value: &Value) -> Result<u32> {
    let digits = text(value)?;
    u32::from_str_radix(digits, 16).with_context(|| format!("{digits} is no 32-bit hex number"))
}

/// SV1 writes the previous hash as eight 32-bit words, each with its bytes reversed.
fn prev_hash(hex: &str) -> Result<BlockHash> {
    let mut bytes = <[u8; 32]>::from_hex(hex).context("the previous hash is no hash")?;
    for word in bytes.chunks_exact_mut(4) {
        word.reverse();
    }
    Ok(BlockHash::from_byte_array(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Block 100,000 of the main chain as a job, its coinbase cut around the extra nonce, so that the miner's whole
    /// path from notify to hash is held against a real block.
    #[test]
    fn a_real_block_comes_out_of_its_job() {
        // prev hash 000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250, word by word.
        let prev = "19011250".to_owned()
            + "04612a17"
            + "01c3a621"
            + "d930d31d"
            + "36b607df"
            + "1fccc216"
            + "0002d01c"
            + "00000000";
        let notify = json!([
            "7",
            prev,
            "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff08044c86041b02",
            "ffffffff0100f2052a010000004341041b0e8c2567c12536aa13357b79a073dc4444acb83c4ec7a0e2f99dd7457516c5817242da796924ca4e99947d087fedf9ce467cb9f7c6287078f801df276fdf84ac00000000",
            [
                "c40297f730dd7b5a99567eb8d27b78758f607507c52292d02d4031895b52f2ff",
                "49aef42d78e3e9999c9e6ec9e1dddd6cb880bf3b076a03be1318ca789089308e",
            ],
            "00000001",
            "1b04864c",
            "4d1b2237",
            true,
        ]);
        let job = Job::from_notify(notify.as_array().expect("a list")).expect("a job");
        let share = Share { job_id: "7".to_owned(), extranonce2: vec![0x02], time: job.time, nonce: 0x1057_2b0f };
        let header = job.header(&[0x06], &share);
        assert_eq!(header.block_hash().to_string(), "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506");
        assert!(reached_difficulty(&header) > 14_484.0);
    }

    #[test]
    fn a_short_notify_is_an_error() {
        assert!(Job::from_notify(&[json!("1")]).is_err());
    }
}

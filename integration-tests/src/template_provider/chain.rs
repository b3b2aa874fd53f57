//! The private chain behind the templates: tip, templates, and the verdict on submitted solutions.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use stratum_core::bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxMerkleNode, TxOut,
    Txid, Witness,
    absolute::LockTime,
    block::{Header, Version as BlockVersion},
    consensus::{deserialize, serialize},
    hashes::{Hash, sha256d},
    transaction::Version,
};
use stratum_core::template_distribution_sv2::{
    NewTemplateOwned, RequestTransactionDataErrorOwned, RequestTransactionDataSuccessOwned, SetNewPrevHashOwned,
    SubmitSolutionOwned,
};

/// Height of the first template; above 16, so that BIP34's push has its usual form.
const FIRST_HEIGHT: u32 = 101;
const BLOCK_VERSION: u32 = 0x2000_0000;
/// The subsidy, in satoshis; no halving happens within a test.
const SUBSIDY: u64 = 50 * 100_000_000;
/// Bits of the version that a miner may roll (BIP 323).
const ROLLABLE_VERSION_BITS: u32 = 0x1fff_ffe0;
/// A block's time may run ahead of its template by this many seconds, as the consensus rule allows.
const MAX_SECONDS_AHEAD: u32 = 2 * 60 * 60;
/// Templates that are remembered for late solutions.
const TEMPLATES_KEPT: u64 = 64;

/// A block that was solved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolvedBlock {
    /// Height of the block.
    pub height: u32,
    /// Hash in display order.
    pub hash: String,
    /// The template that it was mined on.
    pub template_id: u64,
    /// Whether it extended the tip, or came after another block of its height.
    pub extended_tip: bool,
}

/// A submitted solution that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The template that it named.
    pub template_id: u64,
    /// Why it does not hold.
    pub reason: &'static str,
}

/// One template, with what is needed to check a solution to it.
#[derive(Debug)]
pub(super) struct Template {
    id: u64,
    height: u32,
    prev_hash: BlockHash,
    bits: u32,
    time: u32,
    /// The one other transaction of the block: gives the merkle path a step.
    payment: Transaction,
}

/// Tip, templates and verdicts.
#[derive(Debug)]
pub(super) struct Chain {
    bits: u32,
    tip: Arc<Template>,
    templates: HashMap<u64, Arc<Template>>,
    blocks: Vec<SolvedBlock>,
    rejections: Vec<Rejection>,
}

impl Chain {
    pub(super) fn new(bits: u32) -> Self {
        let genesis = BlockHash::hash(b"the chain before the first template");
        let tip = Arc::new(Template::new(1, FIRST_HEIGHT, genesis, bits));
        Self {
            bits,
            templates: HashMap::from([(tip.id, Arc::clone(&tip))]),
            tip,
            blocks: Vec::new(),
            rejections: Vec::new(),
        }
    }

    pub(super) fn template(&self) -> Arc<Template> {
        Arc::clone(&self.tip)
    }

    pub(super) fn blocks(&self) -> &[SolvedBlock] {
        &self.blocks
    }

    pub(super) fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Another miner's block becomes the tip.
    pub(super) fn extend_by_stranger(&mut self) -> Arc<Template> {
        let hash = BlockHash::hash(format!("a stranger's block at height {}", self.tip.height).as_bytes());
        self.extend(hash)
    }

    /// Records the verdict on a solution. A new tip comes back when the solution holds, extends the present tip,
    /// and the tip is to move.
    pub(super) fn submit(&mut self, solution: &SubmitSolutionOwned, stay_on_tip: bool) -> Option<Arc<Template>> {
        let template_id = solution.template_id;
        let verdict = match self.templates.get(&template_id) {
            Some(template) => template.check(solution).map(|hash| (hash, template.height, template.prev_hash)),
            None => Err("the template is unknown"),
        };
        match verdict {
            Ok((hash, height, prev_hash)) => {
                let extended_tip = prev_hash == self.tip.prev_hash;
                self.blocks.push(SolvedBlock { height, hash: hash.to_string(), template_id, extended_tip });
                (extended_tip && !stay_on_tip).then(|| self.extend(hash))
            }
            Err(reason) => {
                self.rejections.push(Rejection { template_id, reason });
                None
            }
        }
    }

    /// The answer to RequestTransactionData.
    pub(super) fn transactions(
        &self,
        template_id: u64,
    ) -> Result<RequestTransactionDataSuccessOwned, RequestTransactionDataErrorOwned> {
        let data = self.templates.get(&template_id).and_then(|template| template.transaction_data());
        data.ok_or_else(|| RequestTransactionDataErrorOwned {
            template_id,
            error_code: "template-id-not-found".to_owned().try_into().expect("the text is shorter than 255 bytes"),
        })
    }

    fn extend(&mut self, tip: BlockHash) -> Arc<Template> {
        let template = Arc::new(Template::new(self.tip.id + 1, self.tip.height + 1, tip, self.bits));
        self.templates.insert(template.id, Arc::clone(&template));
        self.templates.retain(|id, _| id + TEMPLATES_KEPT > template.id);
        self.tip = Arc::clone(&template);
        template
    }
}

impl Template {
    fn new(id: u64, height: u32, prev_hash: BlockHash, bits: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // A payment that differs from block to block, so that merkle paths do too.
        let payment = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::hash(&height.to_le_bytes()), 0),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: Amount::from_sat(1_000), script_pubkey: ScriptBuf::new() }],
        };
        let time = u32::try_from(now).unwrap_or(u32::MAX);
        Self { id, height, prev_hash, bits, time, payment }
    }

    pub(super) fn height(&self) -> u32 {
        self.height
    }

    /// The template as a future template, to be activated by [`Self::set_new_prev_hash`].
    pub(super) fn new_template(&self) -> NewTemplateOwned {
        let height = self.height.to_le_bytes();
        // BIP34: the push of the height, here always in three bytes.
        let coinbase_prefix = vec![3, height[0], height[1], height[2]];
        let path = vec![self.payment.compute_txid().to_byte_array().into()];
        NewTemplateOwned {
            template_id: self.id,
            future_template: true,
            version: BLOCK_VERSION,
            coinbase_tx_version: 2,
            coinbase_prefix: coinbase_prefix.try_into().expect("four bytes fit"),
            coinbase_tx_input_sequence: u32::MAX,
            coinbase_tx_value_remaining: SUBSIDY,
            coinbase_tx_outputs_count: 0,
            coinbase_tx_outputs: Vec::new().try_into().expect("nothing fits"),
            coinbase_tx_locktime: 0,
            merkle_path: path.try_into().expect("one hash fits"),
        }
    }

    pub(super) fn set_new_prev_hash(&self) -> SetNewPrevHashOwned {
        SetNewPrevHashOwned {
            template_id: self.id,
            prev_hash: self.prev_hash.to_byte_array().into(),
            header_timestamp: self.time,
            n_bits: self.bits,
            target: self.target().to_le_bytes().into(),
        }
    }

    fn target(&self) -> Target {
        Target::from_compact(CompactTarget::from_consensus(self.bits))
    }

    fn transaction_data(&self) -> Option<RequestTransactionDataSuccessOwned> {
        let transaction = serialize(&self.payment).try_into().ok()?;
        Some(RequestTransactionDataSuccessOwned {
            template_id: self.id,
            excess_data: Vec::new().try_into().ok()?,
            transaction_list: vec![transaction].try_into().ok()?,
        })
    }

    /// The hash of the solved block, or what is wrong with the solution.
    fn check(&self, solution: &SubmitSolutionOwned) -> Result<BlockHash, &'static str> {
        if (solution.version ^ BLOCK_VERSION) & !ROLLABLE_VERSION_BITS != 0 {
            return Err("a version bit was changed that may not be");
        }
        if !(self.time..=self.time.saturating_add(MAX_SECONDS_AHEAD)).contains(&solution.header_timestamp) {
            return Err("the time is out of bounds");
        }
        let coinbase: Transaction =
            deserialize(solution.coinbase_tx.as_bytes()).map_err(|_| "the coinbase is no transaction")?;
        if !coinbase.is_coinbase() {
            return Err("the coinbase spends an output");
        }
        let paid: u64 = coinbase.output.iter().map(|output| output.value.to_sat()).sum();
        if paid > SUBSIDY {
            return Err("the coinbase pays too much");
        }
        let header = Header {
            version: BlockVersion::from_consensus(solution.version.cast_signed()),
            prev_blockhash: self.prev_hash,
            merkle_root: self.merkle_root(coinbase.compute_txid()),
            time: solution.header_timestamp,
            bits: CompactTarget::from_consensus(self.bits),
            nonce: solution.header_nonce,
        };
        header.validate_pow(self.target()).map_err(|_| "the hash does not meet the target")
    }

    fn merkle_root(&self, coinbase: Txid) -> TxMerkleNode {
        let mut pair = Vec::with_capacity(64);
        pair.extend_from_slice(coinbase.as_byte_array());
        pair.extend_from_slice(self.payment.compute_txid().as_byte_array());
        TxMerkleNode::from_raw_hash(sha256d::Hash::hash(&pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template_provider::{EASIEST_BLOCKS, NO_BLOCKS};

    fn solution(template: &Template, nonce: u32) -> SubmitSolutionOwned {
        let coinbase = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: OutPoint::null(), ..TxIn::default() }],
            output: vec![TxOut { value: Amount::from_sat(SUBSIDY), script_pubkey: ScriptBuf::new() }],
        };
        SubmitSolutionOwned {
            template_id: template.id,
            version: BLOCK_VERSION,
            header_timestamp: template.time,
            header_nonce: nonce,
            coinbase_tx: serialize(&coinbase).try_into().expect("short"),
        }
    }

    #[test]
    fn only_enough_work_makes_a_block() {
        let mut easy = Chain::new(EASIEST_BLOCKS);
        let template = easy.template();
        // Each nonce misses with a chance of one half; one of 64 hits except once in 2^64.
        let next = (0..64).find_map(|nonce| easy.submit(&solution(&template, nonce), false));
        let next = next.expect("a block is found");
        let block = easy.blocks().last().expect("it is recorded").clone();
        assert_eq!((block.height, block.extended_tip), (FIRST_HEIGHT, true));
        assert_eq!(next.prev_hash.to_string(), block.hash);

        let mut hard = Chain::new(NO_BLOCKS);
        let template = hard.template();
        assert!(hard.submit(&solution(&template, 0), false).is_none());
        assert_eq!(hard.rejections()[0].reason, "the hash does not meet the target");
    }

    #[test]
    fn solutions_to_other_work_are_refused() {
        let mut chain = Chain::new(EASIEST_BLOCKS);
        let template = chain.template();
        let good = solution(&template, 0);
        let wrong = [
            SubmitSolutionOwned { template_id: 99, ..good.clone() },
            SubmitSolutionOwned { version: 1, ..good.clone() },
            SubmitSolutionOwned { header_timestamp: template.time - 1, ..good.clone() },
            SubmitSolutionOwned { coinbase_tx: vec![1, 2, 3].try_into().expect("short"), ..good },
        ];
        for solution in &wrong {
            assert!(chain.submit(solution, false).is_none());
        }
        let reasons: Vec<_> = chain.rejections().iter().map(|rejection| rejection.reason).collect();
        assert_eq!(
            reasons,
            [
                "the template is unknown",
                "a version bit was changed that may not be",
                "the time is out of bounds",
                "the coinbase is no transaction"
            ]
        );
        assert!(chain.blocks().is_empty());
    }
}

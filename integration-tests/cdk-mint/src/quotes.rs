//! The mint itself: quotes for shares, idempotent by (header hash, locking key), and their payment.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use cdk::{
    Amount, Mint, MintQuoteRequest,
    mint::{MintBuilder, MintMeltLimits, UnitConfig},
    nuts::{CurrencyUnit, MintQuoteState, PaymentMethod, PublicKey, nut04::MintQuoteCustomRequest},
};
use cdk_common::{mint::MintQuote, payment::WaitPaymentResponse, quote_id::QuoteId};
use cdk_sqlite::MintSqliteDatabase;
use ehash::{ParsedMintQuoteRequest, calculate_ehash_amount};
use mint_quote_sv2::{MintQuoteNotification, UNIT};
use stats_sv2::{Amount as Ehash, ChannelId, Text};
use tokio::sync::Notify;

use crate::ehash_payment::{EhashPayment, METHOD};

/// The keys of a test mint need no secrecy; the same seed gives the same keys after a restart.
const SEED: [u8; 32] = [21; 32];
/// How long the mint may take to book a payment.
const BOOKED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(crate) struct EhashMint {
    mint: Mint,
    payment: Arc<EhashPayment>,
    minimum_difficulty: u32,
    /// Payments in the order in which they were booked. Each connection is told all of them.
    payments: Mutex<Vec<MintQuoteNotification>>,
    /// There are more payments than before.
    pub(crate) news: Notify,
}

impl EhashMint {
    /// Opens the database, which may hold quotes already, and starts the mint.
    pub(crate) async fn open(database: &str, minimum_difficulty: u32) -> Result<Self> {
        let store = Arc::new(MintSqliteDatabase::new(database).await.context("cannot open the database")?);
        let payment = Arc::new(EhashPayment::new());
        let mut builder = MintBuilder::new(store.clone()).with_name("ehash".to_owned());
        let amounts = (0..64).map(|bit| 1 << bit).collect();
        builder.configure_unit(unit(), UnitConfig { amounts, input_fee_ppk: 0 })?;
        let limits = MintMeltLimits::new(1, mint_quote_sv2::limits::MAX_AMOUNT);
        builder.add_payment_processor(unit(), method(), limits, payment.clone()).await?;
        let mint = builder.build_with_seed(store, &SEED).await?;
        mint.start().await?;
        Ok(Self { mint, payment, minimum_difficulty, payments: Mutex::default(), news: Notify::new() })
    }

    pub(crate) fn inner(&self) -> &Mint {
        &self.mint
    }

    /// The id of the quote for a request: the same for the same share and key, a new quote otherwise.
    pub(crate) async fn quote(&self, request: &ParsedMintQuoteRequest) -> Result<QuoteId> {
        let share = request.share_hash();
        let expected = calculate_ehash_amount(&share, self.minimum_difficulty);
        ensure!(request.amount() == expected, "{share} is worth {expected:?}, not {:?}", request.amount());
        let header_hash = share.to_string();
        let pubkey = PublicKey::from_slice(&request.locking_key().to_bytes())?;
        let known = EhashPayment::identifier(&header_hash, &pubkey.to_hex());
        if let Some(quote) = self.mint.localstore().get_mint_quote_by_request_lookup_id(&known).await? {
            return Ok(quote.id);
        }
        let request = MintQuoteCustomRequest {
            amount: Some(Amount::from(request.amount().0)),
            unit: unit(),
            description: None,
            pubkey: Some(pubkey),
            extra: serde_json::json!({ "header_hash": header_hash }),
        };
        self.mint.get_mint_quote(MintQuoteRequest::Custom { method: method(), request }).await?;
        let quote = self.mint.localstore().get_mint_quote_by_request_lookup_id(&known).await?;
        Ok(quote.context("the mint has lost the quote that it made")?.id)
    }

    /// All quotes in this state.
    pub(crate) async fn quotes_in(&self, state: MintQuoteState) -> Result<Vec<MintQuote>> {
        let quotes = self.mint.localstore().get_mint_quotes().await?;
        Ok(quotes.into_iter().filter(|quote| quote.state() == state).collect())
    }

    /// Pays every quote that is not paid, through the payment backend; returns when the mint has booked each. How many
    /// quotes, and their sum.
    pub(crate) async fn pay_all(&self) -> Result<(usize, u64)> {
        let quotes = self.quotes_in(MintQuoteState::Unpaid).await?;
        let mut sum = 0;
        for quote in &quotes {
            let amount = quote.amount.clone().context("an ehash quote has an amount")?;
            let value = amount.value();
            let payment = WaitPaymentResponse {
                payment_identifier: quote.request_lookup_id.clone(),
                payment_amount: amount,
                payment_id: quote.request.clone(),
            };
            self.payment.pay(payment).await?;
            tokio::time::timeout(BOOKED_WITHIN, self.until_paid(&quote.id))
                .await
                .context("a payment is not booked")??;
            let id = Text::cut(quote.id.to_string());
            self.payments().push(MintQuoteNotification::new(ChannelId(0), id, Ehash(value))?);
            self.news.notify_waiters();
            sum += value;
        }
        Ok((quotes.len(), sum))
    }

    /// The payment with this place in the order, if there are so many.
    pub(crate) fn payment(&self, place: usize) -> Option<MintQuoteNotification> {
        self.payments().get(place).cloned()
    }

    pub(crate) async fn close(&self) -> Result<()> {
        Ok(self.mint.stop().await?)
    }

    async fn until_paid(&self, id: &QuoteId) -> Result<()> {
        loop {
            let quote = self.mint.localstore().get_mint_quote(id).await?.context("a quote is gone")?;
            if quote.state() == MintQuoteState::Paid {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn payments(&self) -> MutexGuard<'_, Vec<MintQuoteNotification>> {
        self.payments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `cdk` keeps the names of custom units in lower case.
pub(crate) fn unit() -> CurrencyUnit {
    CurrencyUnit::custom(UNIT)
}

fn method() -> PaymentMethod {
    PaymentMethod::Custom(METHOD.to_owned())
}

//! The payment backend behind the custom method: a quote is paid with a share, when this process says so.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use cdk_common::{
    nuts::CurrencyUnit,
    payment::{
        CreateIncomingPaymentResponse, Error, Event, IncomingPaymentOptions, MakePaymentResponse, MintPayment,
        OutgoingPaymentOptions, PaymentIdentifier, PaymentQuoteResponse, SettingsResponse, WaitPaymentResponse,
    },
};
use futures_util::{Stream, stream};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// The custom payment method.
pub(crate) const METHOD: &str = "ehash";

/// Payments that wait for the mint to take them.
const PAYMENTS_WAITING: usize = 1024;

#[derive(Debug)]
pub(crate) struct EhashPayment {
    sender: mpsc::Sender<Event>,
    receiver: Arc<AsyncMutex<mpsc::Receiver<Event>>>,
    paid: Mutex<HashMap<String, WaitPaymentResponse>>,
    listening: Arc<AtomicBool>,
}

impl EhashPayment {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(PAYMENTS_WAITING);
        let receiver = Arc::new(AsyncMutex::new(receiver));
        Self { sender, receiver, paid: Mutex::default(), listening: Arc::default() }
    }

    /// What names the payment of a share: its hash and the key of its quote, as the header hash names both on the wire.
    pub(crate) fn identifier(header_hash: &str, locking_key: &str) -> PaymentIdentifier {
        PaymentIdentifier::CustomId(format!("{header_hash}:{locking_key}"))
    }

    /// Tells the mint of a payment; the mint books it when it gets to it.
    pub(crate) async fn pay(&self, payment: WaitPaymentResponse) -> Result<(), Error> {
        self.paid().insert(payment.payment_identifier.to_string(), payment.clone());
        let sent = self.sender.send(Event::PaymentReceived(payment)).await;
        sent.map_err(|_| Error::Custom("the mint does not listen for payments".to_owned()))
    }

    fn paid(&self) -> MutexGuard<'_, HashMap<String, WaitPaymentResponse>> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MintPayment for EhashPayment {
    type Err = Error;

    async fn get_settings(&self) -> Result<SettingsResponse, Error> {
        Ok(SettingsResponse {
            unit: mint_quote_sv2::UNIT.to_owned(),
            bolt11: None,
            bolt12: None,
            onchain: None,
            custom: HashMap::from([(METHOD.to_owned(), "{}".to_owned())]),
        })
    }

    async fn create_incoming_payment_request(
        &self,
        options: IncomingPaymentOptions,
    ) -> Result<CreateIncomingPaymentResponse, Error> {
        let IncomingPaymentOptions::Custom(options) = options else { return Err(Error::UnsupportedPaymentOption) };
        let extra: serde_json::Value = serde_json::from_str(options.extra_json.as_deref().unwrap_or("null"))?;
        let header_hash =
            extra["header_hash"].as_str().ok_or_else(|| Error::Custom("a quote without header_hash".to_owned()))?;
        let locking_key = options.pubkey.ok_or_else(|| Error::Custom("a quote without locking key".to_owned()))?;
        Ok(CreateIncomingPaymentResponse {
            request_lookup_id: Self::identifier(header_hash, &locking_key.to_hex()),
            request: header_hash.to_owned(),
            expiry: options.unix_expiry,
            extra_json: Some(extra),
        })
    }

    async fn get_payment_quote(
        &self,
        _unit: &CurrencyUnit,
        _options: OutgoingPaymentOptions,
    ) -> Result<PaymentQuoteResponse, Error> {
        Err(Error::UnsupportedPaymentOption)
    }

    async fn make_payment(
        &self,
        _unit: &CurrencyUnit,
        _options: OutgoingPaymentOptions,
    ) -> Result<MakePaymentResponse, Error> {
        Err(Error::UnsupportedPaymentOption)
    }

    async fn wait_payment_event(&self) -> Result<Pin<Box<dyn Stream<Item = Event> + Send>>, Error> {
        self.listening.store(true, Ordering::SeqCst);
        Ok(Box::pin(stream::unfold(self.receiver.clone(), |receiver| async {
            let event = receiver.lock().await.recv().await?;
            Some((event, receiver))
        })))
    }

    fn is_payment_event_stream_active(&self) -> bool {
        self.listening.load(Ordering::SeqCst)
    }

    fn cancel_payment_event_stream(&self) {
        self.listening.store(false, Ordering::SeqCst);
    }

    async fn check_incoming_payment_status(
        &self,
        payment_identifier: &PaymentIdentifier,
    ) -> Result<Vec<WaitPaymentResponse>, Error> {
        Ok(self.paid().get(&payment_identifier.to_string()).cloned().into_iter().collect())
    }

    async fn check_outgoing_payment(&self, _identifier: &PaymentIdentifier) -> Result<MakePaymentResponse, Error> {
        Err(Error::UnsupportedPaymentOption)
    }
}

//! The five messages about quotes, as values that are within the limits: constructors and decoding check, so that what
//! exists can be sent.

use binary_sv2::{Encodable, GetSize, Str0255, Sv2Option};
use stats_sv2::{Amount, ChannelId, Text, U256};

use crate::definition;
use crate::frame::header;
use crate::limits::{HEADER_SIZE, LOCKING_KEY_SIZE, MAX_AMOUNT};

/// Why something is no message of this protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The fields do not fit the payload.
    #[error("the payload is no {message}: {reason:?}")]
    Layout {
        /// The message that the header names.
        message: &'static str,
        /// What the codec says.
        reason: binary_sv2::Error,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the last field of {message}")]
    TrailingBytes {
        /// The message that the header names.
        message: &'static str,
        /// How many.
        count: usize,
    },
    /// A string is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A string that identifies something is empty.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// The amount is 0 or above [`MAX_AMOUNT`].
    #[error("the amount {found} is not from 1 to 2^63")]
    Amount {
        /// The amount.
        found: u64,
    },
    /// The locking key has another length than [`LOCKING_KEY_SIZE`].
    #[error("the locking key has {found} bytes instead of {LOCKING_KEY_SIZE}")]
    LockingKeyLength {
        /// Its bytes.
        found: usize,
    },
}

/// A message with a fixed type number.
pub trait Message: Sized {
    /// Number in the frame header.
    const TYPE: u8;

    /// Reads and checks a payload. The reference codec asks for mutable bytes; it leaves them as they are.
    fn decode(payload: &mut [u8]) -> Result<Self, MessageError>;

    /// Appends header and payload.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A pool asks for a quote for the ehash of one share. The same hash and locking key again mean the same quote.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteRequest {
    amount: Amount,
    unit: Text<'static>,
    header_hash: U256,
    description: Option<Text<'static>>,
    locking_key: [u8; LOCKING_KEY_SIZE],
}

impl MintQuoteRequest {
    /// Checks the amount. That the key is a point of the curve is for those who use it.
    pub fn new(
        amount: Amount,
        unit: Text<'static>,
        header_hash: U256,
        description: Option<Text<'static>>,
        locking_key: [u8; LOCKING_KEY_SIZE],
    ) -> Result<Self, MessageError> {
        Ok(Self { amount: in_range(amount.0)?, unit, header_hash, description, locking_key })
    }

    /// What the quote is worth, in [`unit`](Self::unit); from 1 to 2^63.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// [`UNIT`](crate::UNIT), or whatever else a mint knows.
    #[must_use]
    pub fn unit(&self) -> &Text<'static> {
        &self.unit
    }

    /// Hash of the share's block header, as its SHA-256 digest gives it: the least significant byte first.
    #[must_use]
    pub fn header_hash(&self) -> U256 {
        self.header_hash
    }

    /// Text for the quote's owner; untrusted.
    #[must_use]
    pub fn description(&self) -> Option<&Text<'static>> {
        self.description.as_ref()
    }

    /// Compressed public key: who may mint the quote.
    #[must_use]
    pub fn locking_key(&self) -> &[u8; LOCKING_KEY_SIZE] {
        &self.locking_key
    }

    fn define(&self) -> definition::MintQuoteRequest<'_> {
        definition::MintQuoteRequest {
            amount: self.amount.0,
            unit: str0255(&self.unit),
            header_hash: (&self.header_hash.0).into(),
            description: Sv2Option::new(self.description.as_ref().map(str0255)),
            locking_key: str0255_bytes(&self.locking_key),
        }
    }

    fn check(read: &definition::MintQuoteRequest<'_>) -> Result<Self, MessageError> {
        let key = read.locking_key.as_bytes();
        let locking_key = key.try_into().map_err(|_| MessageError::LockingKeyLength { found: key.len() })?;
        let description = read.description.as_option_bytes().map(|bytes| utf8(bytes, "description")).transpose()?;
        Self::new(
            Amount(read.amount),
            utf8(read.unit.as_bytes(), "unit")?,
            U256(*read.header_hash.as_array()),
            description,
            locking_key,
        )
    }
}

/// The mint has a quote for a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteResponse {
    quote_id: Text<'static>,
    header_hash: U256,
}

impl MintQuoteResponse {
    /// Checks that there is an id.
    pub fn new(quote_id: Text<'static>, header_hash: U256) -> Result<Self, MessageError> {
        Ok(Self { quote_id: named(quote_id)?, header_hash })
    }

    /// The mint's name of the quote; never empty.
    #[must_use]
    pub fn quote_id(&self) -> &Text<'static> {
        &self.quote_id
    }

    /// Of the request.
    #[must_use]
    pub fn header_hash(&self) -> U256 {
        self.header_hash
    }

    fn define(&self) -> definition::MintQuoteResponse<'_> {
        definition::MintQuoteResponse { quote_id: str0255(&self.quote_id), header_hash: (&self.header_hash.0).into() }
    }

    fn check(read: &definition::MintQuoteResponse<'_>) -> Result<Self, MessageError> {
        Self::new(utf8(read.quote_id.as_bytes(), "quote_id")?, U256(*read.header_hash.as_array()))
    }
}

/// The mint refuses a request: the oldest one of the connection that it has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteError {
    /// The mint's own number.
    pub error_code: u32,
    /// Text for people; untrusted.
    pub error_message: Text<'static>,
}

impl MintQuoteError {
    fn define(&self) -> definition::MintQuoteError<'_> {
        definition::MintQuoteError { error_code: self.error_code, error_message: str0255(&self.error_message) }
    }

    fn check(read: &definition::MintQuoteError<'_>) -> Result<Self, MessageError> {
        Ok(Self { error_code: read.error_code, error_message: utf8(read.error_message.as_bytes(), "error_message")? })
    }
}

/// A quote was paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteNotification {
    channel_id: ChannelId,
    quote_id: Text<'static>,
    amount: Amount,
}

impl MintQuoteNotification {
    /// Checks that there is an id, and the amount.
    pub fn new(channel_id: ChannelId, quote_id: Text<'static>, amount: Amount) -> Result<Self, MessageError> {
        Ok(Self { channel_id, quote_id: named(quote_id)?, amount: in_range(amount.0)? })
    }

    /// The mining channel, where the message travels to a miner; 0 between mint and pool.
    #[must_use]
    pub fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// The mint's name of the quote; never empty.
    #[must_use]
    pub fn quote_id(&self) -> &Text<'static> {
        &self.quote_id
    }

    /// What was paid, in the quote's unit; from 1 to 2^63.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    fn define(&self) -> definition::MintQuoteNotification<'_> {
        definition::MintQuoteNotification {
            channel_id: self.channel_id.0,
            quote_id: str0255(&self.quote_id),
            amount: self.amount.0,
        }
    }

    fn check(read: &definition::MintQuoteNotification<'_>) -> Result<Self, MessageError> {
        Self::new(ChannelId(read.channel_id), utf8(read.quote_id.as_bytes(), "quote_id")?, Amount(read.amount))
    }
}

/// A quote will not be paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintQuoteFailure {
    channel_id: ChannelId,
    quote_id: Text<'static>,
    error_code: u32,
    error_message: Text<'static>,
}

impl MintQuoteFailure {
    /// Checks that there is an id.
    pub fn new(
        channel_id: ChannelId,
        quote_id: Text<'static>,
        error_code: u32,
        error_message: Text<'static>,
    ) -> Result<Self, MessageError> {
        Ok(Self { channel_id, quote_id: named(quote_id)?, error_code, error_message })
    }

    /// The mining channel, where the message travels to a miner; 0 between mint and pool.
    #[must_use]
    pub fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// The mint's name of the quote; never empty.
    #[must_use]
    pub fn quote_id(&self) -> &Text<'static> {
        &self.quote_id
    }

    /// The mint's own number.
    #[must_use]
    pub fn error_code(&self) -> u32 {
        self.error_code
    }

    /// Text for people; untrusted.
    #[must_use]
    pub fn error_message(&self) -> &Text<'static> {
        &self.error_message
    }

    fn define(&self) -> definition::MintQuoteFailure<'_> {
        definition::MintQuoteFailure {
            channel_id: self.channel_id.0,
            quote_id: str0255(&self.quote_id),
            error_code: self.error_code,
            error_message: str0255(&self.error_message),
        }
    }

    fn check(read: &definition::MintQuoteFailure<'_>) -> Result<Self, MessageError> {
        Self::new(
            ChannelId(read.channel_id),
            utf8(read.quote_id.as_bytes(), "quote_id")?,
            read.error_code,
            utf8(read.error_message.as_bytes(), "error_message")?,
        )
    }
}

/// Joins a checked struct to its layout.
macro_rules! messages {
    ($($type:literal $name:ident)*) => {$(
        impl $crate::message::Message for $name {
            const TYPE: u8 = $type;

            fn decode(payload: &mut [u8]) -> Result<Self, $crate::message::MessageError> {
                use $crate::message::MessageError;
                let size = payload.len();
                let read: $crate::definition::$name = binary_sv2::from_bytes(payload)
                    .map_err(|reason| MessageError::Layout { message: stringify!($name), reason })?;
                match size - binary_sv2::GetSize::get_size(&read) {
                    0 => Self::check(&read),
                    count => Err(MessageError::TrailingBytes { message: stringify!($name), count }),
                }
            }

            fn encode(&self, out: &mut Vec<u8>) {
                $crate::message::append(Self::TYPE, self.define(), out);
            }
        }
    )*};
}
pub(crate) use messages;

messages! {
    0x80 MintQuoteRequest
    0x81 MintQuoteResponse
    0x82 MintQuoteError
    0xc0 MintQuoteNotification
    0xc1 MintQuoteFailure
}

/// Appends header and payload of a message that is within the limits.
pub(crate) fn append(msg_type: u8, message: impl Encodable + GetSize, out: &mut Vec<u8>) {
    let size = message.get_size();
    let start = out.len();
    out.resize(start + HEADER_SIZE + size, 0);
    let (head, payload) = out[start..].split_at_mut(HEADER_SIZE);
    head.copy_from_slice(&header(msg_type, size));
    binary_sv2::to_writer(message, payload).expect("the space is what the message asked for");
}

/// A text as the codec's type.
pub(crate) fn str0255<'a>(text: &'a Text<'_>) -> Str0255<'a> {
    str0255_bytes(text.as_str().as_bytes())
}

fn str0255_bytes(bytes: &[u8]) -> Str0255<'_> {
    bytes.try_into().expect("a Text has at most 255 bytes, and a key 33")
}

/// Bytes of the codec's string type as text.
pub(crate) fn utf8(bytes: &[u8], field: &'static str) -> Result<Text<'static>, MessageError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MessageError::NotUtf8 { field })?;
    // The codec's type holds at most 255 bytes, so nothing is cut.
    Ok(Text::cut(text.to_owned()))
}

fn in_range(found: u64) -> Result<Amount, MessageError> {
    if (1..=MAX_AMOUNT).contains(&found) { Ok(Amount(found)) } else { Err(MessageError::Amount { found }) }
}

fn named(quote_id: Text<'static>) -> Result<Text<'static>, MessageError> {
    if quote_id.as_str().is_empty() { Err(MessageError::Empty { field: "quote_id" }) } else { Ok(quote_id) }
}

//! Encoding and decoding of message payloads, field by field, without allocating: the fast path. That it agrees with
//! the SV2 reference codec is shown by the property tests against [`crate::definition`].

use crate::EXTENSION_TYPE;
#[cfg(doc)]
use crate::limits::MAX_PAYLOAD;
use crate::limits::{HEADER_SIZE, U64_LIMIT};
use crate::value::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

/// Why a payload is not the message that its header names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload ends inside a field.
    #[error("payload ends inside field {field}")]
    Truncated {
        /// The field that is cut.
        field: &'static str,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the last field")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A number is outside the range of its field.
    #[error("field {field} is out of range: {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number that was read.
        value: u64,
    },
    /// A string that identifies something is empty.
    #[error("field {field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A string is not UTF-8.
    #[error("field {field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// An `OPTION` has a count other than 0 or 1.
    #[error("option {field} has count {count}")]
    BadOption {
        /// The field.
        field: &'static str,
        /// The count that was read.
        count: u8,
    },
    /// The message type belongs to the sidecar itself and is not accepted from a publisher.
    #[error("message type {msg_type:#04x} is reserved for the sidecar")]
    Reserved {
        /// The type.
        msg_type: u8,
    },
}

/// A message with a fixed type number.
pub trait Message<'a>: Sized {
    /// Number in the frame header.
    const TYPE: u8;

    /// Reads the payload. Trailing bytes are an error: version 1 has no optional tail.
    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError>;

    /// Bytes of the payload.
    fn payload_size(&self) -> usize;

    /// Appends the payload alone.
    fn encode_payload(&self, out: &mut Vec<u8>);

    /// Appends header and payload.
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&header(Self::TYPE, self.payload_size()));
        self.encode_payload(out);
    }
}

/// The frame header of a payload of this size. Every reader refuses a payload above [`MAX_PAYLOAD`]; no known message can
/// reach it, since all strings are bounded.
#[inline]
#[must_use]
pub const fn header(msg_type: u8, payload_size: usize) -> [u8; HEADER_SIZE] {
    let extension = EXTENSION_TYPE.to_le_bytes();
    // A length beyond the U24 must not wrap into one that looks right.
    let length = if payload_size < MAX_U24 { payload_size } else { MAX_U24 }.to_le_bytes();
    [extension[0], extension[1], msg_type, length[0], length[1], length[2]]
}

/// The largest length that a header can name.
const MAX_U24: usize = 0xff_ffff;

/// A place in a payload.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }

    fn take_slice(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }
}

/// A value that knows its bytes.
pub(crate) trait Field<'a>: Sized {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError>;
    fn size(&self) -> usize;
    fn write(&self, out: &mut Vec<u8>);
    /// What a reader of fields sees.
    fn value(&self) -> FieldValue<'_>;
}

/// One field of a message, for code that treats all messages alike (JSON lines, `tap`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue<'a> {
    /// A count, an id or an amount.
    Number(u64),
    /// Unix milliseconds.
    Time(UnixMillis),
    /// A compact target.
    Target(CompactTarget),
    /// Untrusted text.
    Text(&'a str),
    /// 32 bytes.
    U256(&'a U256),
    /// An absent `OPTION`.
    Absent,
}

macro_rules! number_field {
    ($($ty:ty),*) => {$(
        impl<'a> Field<'a> for $ty {
            #[inline]
            fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
                reader.take(field).map(|bytes| <$ty>::from_le_bytes(*bytes))
            }
            #[inline]
            fn size(&self) -> usize {
                size_of::<$ty>()
            }
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn value(&self) -> FieldValue<'_> {
                FieldValue::Number(u64::from(*self))
            }
        }
    )*};
}
number_field!(u8, u16, u32);

macro_rules! u32_newtype_field {
    ($($ty:ident => $value:expr),*) => {$(
        impl<'a> Field<'a> for $ty {
            #[inline]
            fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
                u32::read(reader, field).map(Self)
            }
            #[inline]
            fn size(&self) -> usize {
                size_of::<u32>()
            }
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn value(&self) -> FieldValue<'_> {
                let show: fn(&Self) -> FieldValue<'_> = $value;
                show(self)
            }
        }
    )*};
}
u32_newtype_field!(
    DownstreamId => |id| FieldValue::Number(u64::from(id.0)),
    ChannelId => |id| FieldValue::Number(u64::from(id.0)),
    MinerId => |id| FieldValue::Number(u64::from(id.0)),
    CompactTarget => |target| FieldValue::Target(*target)
);

fn read_u64(reader: &mut Reader<'_>, field: &'static str, max: u64) -> Result<u64, DecodeError> {
    let value = u64::from_le_bytes(*reader.take(field)?);
    if value > max {
        return Err(DecodeError::OutOfRange { field, value });
    }
    Ok(value)
}

macro_rules! u64_field {
    ($($ty:ty, $max:expr, $make:expr, $raw:expr, $value:expr;)*) => {$(
        impl<'a> Field<'a> for $ty {
            #[inline]
            fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
                read_u64(reader, field, $max).map($make)
            }
            #[inline]
            fn size(&self) -> usize {
                size_of::<u64>()
            }
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                let raw: fn(&Self) -> u64 = $raw;
                // What the encoder writes must decode: a number that is out of range, such as a hashrate converted from
                // an infinite float, is the largest that there is.
                out.extend_from_slice(&raw(self).min($max).to_le_bytes());
            }
            fn value(&self) -> FieldValue<'_> {
                let show: fn(&Self) -> FieldValue<'_> = $value;
                show(self)
            }
        }
    )*};
}
u64_field!(
    u64, U64_LIMIT - 1, |raw| raw, |n| *n, |n| FieldValue::Number(*n);
    UnixMillis, U64_LIMIT - 1, UnixMillis, |t| t.0, |t| FieldValue::Time(*t);
    Amount, U64_LIMIT, Amount, |a| a.0, |a| FieldValue::Number(a.0);
);

impl<'a> Field<'a> for Role {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let raw = u8::read(reader, field)?;
        Self::from_wire(raw).ok_or(DecodeError::OutOfRange { field, value: u64::from(raw) })
    }
    fn size(&self) -> usize {
        1
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Text(self.name())
    }
}

impl<'a> Field<'a> for U256 {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        reader.take(field).map(|bytes| Self(*bytes))
    }
    fn size(&self) -> usize {
        32
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn value(&self) -> FieldValue<'_> {
        FieldValue::U256(self)
    }
}

/// SV2 `OPTION[U256]`: a sequence of at most one.
impl<'a> Field<'a> for Option<U256> {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        match u8::read(reader, field)? {
            0 => Ok(None),
            1 => U256::read(reader, field).map(Some),
            count => Err(DecodeError::BadOption { field, count }),
        }
    }
    fn size(&self) -> usize {
        1 + self.as_ref().map_or(0, |_| 32)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn value(&self) -> FieldValue<'_> {
        self.as_ref().map_or(FieldValue::Absent, FieldValue::U256)
    }
}

impl<'a> Field<'a> for Text<'a> {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let length = u8::read(reader, field)?;
        let bytes = reader.take_slice(usize::from(length), field)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })?;
        Ok(Self::cut(text))
    }
    fn size(&self) -> usize {
        1 + self.as_str().len()
    }
    fn write(&self, out: &mut Vec<u8>) {
        // `Text` holds at most 255 bytes, so the length fits its byte.
        out.push(self.as_str().len() as u8);
        out.extend_from_slice(self.as_str().as_bytes());
    }
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Text(self.as_str())
    }
}

/// Makes a value independent of the buffer that it was read from.
pub(crate) trait IntoOwned {
    type Owned;
    fn into_owned(self) -> Self::Owned;
}

macro_rules! already_owned {
    ($($ty:ty),*) => {$(
        impl IntoOwned for $ty {
            type Owned = Self;
            fn into_owned(self) -> Self {
                self
            }
        }
    )*};
}
already_owned!(
    u8,
    u16,
    u32,
    u64,
    DownstreamId,
    ChannelId,
    MinerId,
    CompactTarget,
    UnixMillis,
    Amount,
    U256,
    Option<U256>,
    Role
);

impl IntoOwned for Text<'_> {
    type Owned = Text<'static>;
    fn into_owned(self) -> Text<'static> {
        Text::into_owned(self)
    }
}

/// `Name` or, where the message borrows, `Name<'static>`.
macro_rules! owned_type {
    ($name:ident) => { $name };
    ($name:ident $lt:lifetime) => { $name<'static> };
}
pub(crate) use owned_type;

/// Declares message structs with their type number and codec, and for some a check of the whole after decoding.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $type:literal $name:ident $(<$lt:lifetime>)? {
            $( $(#[$field_doc:meta])* $field:ident : $ty:ty ),* $(,)?
        } $(check $check:path)?
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name $(<$lt>)? {
            $( $(#[$field_doc])* pub $field: $ty, )*
        }

        impl $(<$lt>)? $name $(<$lt>)? {
            /// Number of this message in the frame header.
            pub const TYPE: u8 = $type;

            /// The same message, independent of the buffer that it was read from.
            #[must_use]
            pub fn into_owned(self) -> $crate::codec::owned_type!($name $($lt)?) {
                $name { $( $field: $crate::codec::IntoOwned::into_owned(self.$field), )* }
            }

            /// Calls `visit` with each field's name and value, in wire order.
            pub fn for_each_field(&self, visit: &mut dyn FnMut(&'static str, $crate::codec::FieldValue<'_>)) {
                $( visit(stringify!($field), $crate::codec::Field::value(&self.$field)); )*
            }
        }

        $crate::codec::message_impl!($name $($lt)? ; $type ; $($field : $ty),* ; $($check)?);
    )*};
}
pub(crate) use messages;

/// The [`Message`] of a struct, with the frame's lifetime bound to the struct's own where it borrows.
macro_rules! message_impl {
    ($name:ident ; $($rest:tt)*) => {
        $crate::codec::message_impl!(@body ['a] $name ; $($rest)*);
    };
    ($name:ident $lt:lifetime ; $($rest:tt)*) => {
        $crate::codec::message_impl!(@body [$lt] $name<$lt> ; $($rest)*);
    };
    (@body [$lt:lifetime] $self:ty ; $type:literal ; $($field:ident : $ty:ty),* ; $($check:path)?) => {
        impl<$lt> $crate::codec::Message<$lt> for $self {
            const TYPE: u8 = $type;

            #[inline]
            fn decode(payload: &$lt [u8]) -> Result<Self, $crate::codec::DecodeError> {
                let mut reader = $crate::codec::Reader::new(payload);
                let message = Self {
                    $( $field: <$ty as $crate::codec::Field<$lt>>::read(&mut reader, stringify!($field))?, )*
                };
                reader.finish()?;
                $( $check(&message)?; )?
                Ok(message)
            }

            #[inline]
            fn payload_size(&self) -> usize {
                0 $( + $crate::codec::Field::size(&self.$field) )*
            }

            #[inline]
            fn encode_payload(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Field::write(&self.$field, out); )*
            }
        }
    };
}
pub(crate) use message_impl;

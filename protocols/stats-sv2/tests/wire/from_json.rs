//! Fields of messages from the JSON of `vectors.json`.

use serde_json::Value;
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

/// A field that can be read from JSON; `None` where the value is not of its type.
pub(crate) trait FromJson: Sized {
    fn from_json(value: &Value) -> Option<Self>;
}

macro_rules! from_json {
    ($($ty:ty : |$value:ident| $make:expr;)*) => {$(
        impl FromJson for $ty {
            fn from_json($value: &Value) -> Option<Self> {
                $make
            }
        }
    )*};
}

from_json!(
    u8: |value| value.as_u64()?.try_into().ok();
    u16: |value| value.as_u64()?.try_into().ok();
    u32: |value| value.as_u64()?.try_into().ok();
    u64: |value| value.as_str()?.parse().ok();
    DownstreamId: |value| u32::from_json(value).map(Self);
    ChannelId: |value| u32::from_json(value).map(Self);
    MinerId: |value| u32::from_json(value).map(Self);
    CompactTarget: |value| u32::from_json(value).map(Self);
    UnixMillis: |value| u64::from_json(value).map(Self);
    Amount: |value| u64::from_json(value).map(Self);
    Role: |value| u8::from_json(value).and_then(Self::from_wire);
    U256: |value| unhex(value.as_str()?)?.try_into().ok().map(Self);
    Option<U256>: |value| if value.is_null() { Some(None) } else { U256::from_json(value).map(Some) };
    Text<'static>: |value| Self::new(value.as_str()?.to_owned()).ok();
);

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|value| value.try_into().ok())).collect();
    digits?.chunks(2).map(|pair| Some(pair[0] << 4 | pair.get(1)?)).collect()
}

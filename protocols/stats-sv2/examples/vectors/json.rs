//! Fields of messages as JSON: numbers of up to 32 bits as JSON numbers, 64-bit numbers as decimal
//! strings, U256 as 64 hexadecimal digits in wire order, an absent option as null.

use serde_json::Value;
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

/// One field of a message.
pub(crate) trait Json: Sized {
    /// Name of the SV2 data type.
    const TYPE: &'static str;
    fn to_json(&self) -> Value;
    /// A usual value for a field of this name.
    fn typical(field: &str) -> Self;
    /// The smallest value that a field of this name may have.
    fn least(field: &str) -> Self;
    /// The greatest value, or the longest.
    fn greatest() -> Self;
}

macro_rules! small_number {
    ($($ty:ty = $name:literal;)*) => {$(
        impl Json for $ty {
            const TYPE: &'static str = $name;
            fn to_json(&self) -> Value {
                (*self).into()
            }
            fn typical(field: &str) -> Self {
                match field {
                    "height" => 901_422_u32.try_into().unwrap_or(<$ty>::MAX),
                    "sequence_number" => 4711_u16.try_into().unwrap_or(<$ty>::MAX),
                    "max_unacked" => 65_536_u32.try_into().unwrap_or(<$ty>::MAX),
                    "accepted" => 30,
                    "rejected" => 2,
                    "msg_type" => 0x18,
                    "length" => 12,
                    "flags" => 0,
                    _ => 1,
                }
            }
            fn least(_: &str) -> Self {
                0
            }
            fn greatest() -> Self {
                <$ty>::MAX
            }
        }
    )*};
}
small_number!(u8 = "U8"; u16 = "U16"; u32 = "U32";);

macro_rules! wrapped_u32 {
    ($($ty:ident = $typical:literal;)*) => {$(
        impl Json for $ty {
            const TYPE: &'static str = "U32";
            fn to_json(&self) -> Value {
                self.0.to_json()
            }
            fn typical(_: &str) -> Self {
                Self($typical)
            }
            fn least(_: &str) -> Self {
                Self(0)
            }
            fn greatest() -> Self {
                Self(u32::MAX)
            }
        }
    )*};
}
wrapped_u32!(DownstreamId = 7; ChannelId = 2; MinerId = 3;);

impl Json for CompactTarget {
    const TYPE: &'static str = "U32";
    fn to_json(&self) -> Value {
        self.0.to_json()
    }
    fn typical(field: &str) -> Self {
        // Difficulty 65,536, and a share of about ten times that.
        Self(if field == "share" { 0x1a18_72b0 } else { 0x1b00_ffff })
    }
    /// Also the compact form of a share hash of 0.
    fn least(_: &str) -> Self {
        Self(0)
    }
    /// The compact form of the target ff..ff; larger numbers are on the wire too, but are no valid targets.
    fn greatest() -> Self {
        Self(0x2100_ffff)
    }
}

macro_rules! large_number {
    ($($ty:ty, $max:expr, $make:expr, $raw:expr;)*) => {$(
        impl Json for $ty {
            const TYPE: &'static str = "U64";
            fn to_json(&self) -> Value {
                let raw: fn(&Self) -> u64 = $raw;
                raw(self).to_string().into()
            }
            fn typical(field: &str) -> Self {
                let number = match field {
                    "session_id" => 0x5d3a_9f2e_8c41_7b06,
                    "timestamp" | "last_timestamp" => 1_750_000_123_456,
                    "since" | "first_timestamp" => 1_750_000_118_456,
                    "nominal_hashrate" | "hashrate" => 1_200_000_000_000,
                    "amount" => 65_536,
                    "first_sequence" => 1,
                    "last_sequence" => 40,
                    _ => 1_000,
                };
                $make(number)
            }
            fn least(field: &str) -> Self {
                $make(u64::from(matches!(field, "session_id" | "first_sequence")))
            }
            fn greatest() -> Self {
                $make($max)
            }
        }
    )*};
}
large_number!(
    u64, i64::MAX as u64, |raw: u64| raw, |number| *number;
    UnixMillis, i64::MAX as u64, UnixMillis, |time| time.0;
    Amount, 1 << 63, Amount, |amount| amount.0;
);

impl Json for Role {
    const TYPE: &'static str = "U8";
    fn to_json(&self) -> Value {
        (*self as u8).into()
    }
    fn typical(_: &str) -> Self {
        Self::Proxy
    }
    fn least(_: &str) -> Self {
        Self::Pool
    }
    fn greatest() -> Self {
        Self::Bridge
    }
}

impl Json for U256 {
    const TYPE: &'static str = "U256";
    fn to_json(&self) -> Value {
        hex(&self.0).into()
    }
    fn typical(field: &str) -> Self {
        let mut bytes = [0; 32];
        if field == "work" {
            // 30 shares of difficulty 65,536.
            bytes[..8].copy_from_slice(&(30 * (1_u64 << 48)).to_le_bytes());
        } else {
            // A hash: its last bytes on the wire are the leading zeros of its display.
            (0..26).for_each(|n| bytes[n] = (0x9b + 37 * n % 101) as u8);
        }
        Self(bytes)
    }
    fn least(_: &str) -> Self {
        Self([0; 32])
    }
    fn greatest() -> Self {
        Self([0xff; 32])
    }
}

impl Json for Option<U256> {
    const TYPE: &'static str = "OPTION[U256]";
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::to_json)
    }
    fn typical(field: &str) -> Self {
        Some(U256::typical(field))
    }
    fn least(_: &str) -> Self {
        None
    }
    fn greatest() -> Self {
        Some(U256::greatest())
    }
}

impl Json for Text<'static> {
    const TYPE: &'static str = "STR0_255";
    fn to_json(&self) -> Value {
        self.as_str().into()
    }
    fn typical(field: &str) -> Self {
        Self::cut(match field {
            "publisher" => "pool-eu-1",
            "vendor" => "example-pool/1.4.2",
            "token" => "correct horse battery staple",
            "error_code" => "stale-share",
            "error_message" => "the mint did not answer within 10 s",
            "quote_id" => "019767a2-3c5e-7b19-a5d4-6a0e5f0c9d11",
            "user_identity" => "bc1qexample.rig-04",
            "address" => "192.0.2.7:34255",
            "user_agent" => "cgminer/4.12.1",
            "hardware_version" => "BM1370",
            "firmware" => "2.8.1",
            "device_id" => "f0:9e:9e:00:00:01",
            // Two, three and four bytes a character.
            "name" => "söl–miner⛏.🦀",
            "value" => "signet",
            "alert" => "worker_silent",
            "subject" => "pool-eu-1/bc1qexample.rig-04",
            "message" => "no share for 14 minutes",
            _ => "shutdown",
        })
    }
    fn least(field: &str) -> Self {
        Self::cut(if field == "publisher" { "p" } else { "" })
    }
    fn greatest() -> Self {
        // 255 bytes that do not end at a place where shorter characters would.
        Self::cut("€".repeat(85))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

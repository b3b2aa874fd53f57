//! Random values of the wire's types from a string of random bytes, so that a failing case shrinks like bytes do; and the
//! same values in the types of the reference codec.

use binary_sv2::{Str0255, Sv2Option};
use stats_sv2::limits::U64_LIMIT;
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, MinerId, Role, Text, U256, UnixMillis};

/// A supply of random bytes that ends in zeros.
pub(crate) struct Entropy<'a>(pub(crate) &'a [u8]);

impl Entropy<'_> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.0.len().min(N);
        let (now, later) = self.0.split_at(taken);
        self.0 = later;
        let mut bytes = [0; N];
        bytes[..taken].copy_from_slice(now);
        bytes
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// A number up to `max`, often one of the ends.
    fn number(&mut self, max: u64) -> u64 {
        match self.byte() {
            0 => 0,
            1..=31 => max,
            32..=63 => max - 1,
            _ => u64::from_le_bytes(self.bytes()) % max,
        }
    }
}

/// Makes a value, whatever the bytes.
pub(crate) trait Sample {
    fn sample(entropy: &mut Entropy<'_>) -> Self;
}

macro_rules! sample {
    ($($ty:ty : |$entropy:ident| $make:expr;)*) => {$(
        impl Sample for $ty {
            fn sample($entropy: &mut Entropy<'_>) -> Self {
                $make
            }
        }
    )*};
}

sample!(
    u8: |e| e.byte();
    u16: |e| u16::from_le_bytes(e.bytes());
    u32: |e| e.number(u64::from(u32::MAX)) as u32;
    u64: |e| e.number(U64_LIMIT - 1);
    Amount: |e| Self(e.number(U64_LIMIT));
    UnixMillis: |e| Self(e.number(U64_LIMIT - 1));
    DownstreamId: |e| Self(u32::sample(e));
    ChannelId: |e| Self(u32::sample(e));
    MinerId: |e| Self(u32::sample(e));
    CompactTarget: |e| Self(u32::sample(e));
    U256: |e| match e.byte() {
        0 => Self([0; 32]),
        1 => Self([0xff; 32]),
        _ => Self(e.bytes()),
    };
    Option<U256>: |e| (e.byte() & 1 == 1).then(|| U256::sample(e));
    Role: |e| Role::ALL[usize::from(e.byte()) % Role::ALL.len()];
    Text<'static>: |e| {
        let length = match e.byte() {
            0 => 0,
            1..=31 => 255,
            short => usize::from(short) % 12,
        };
        let mut text = String::new();
        while text.len() < length {
            // Characters of one to four bytes.
            let range = [0x20..0x7f_u32, 0xa0..0x7ff, 0x2000..0x2fff, 0x1_0000..0x1_ffff];
            let range = &range[usize::from(e.byte() & 3)];
            let offset = u32::from(u16::from_le_bytes(e.bytes())) % range.len() as u32;
            text.push(char::from_u32(range.start + offset).unwrap());
        }
        Text::cut(text)
    };
);

/// The same value in the type that the reference codec has for it.
pub(crate) trait Define<'a, D> {
    fn define(&'a self) -> D;
}

macro_rules! define {
    ($($from:ty => $to:ty : |$value:ident| $make:expr;)*) => {$(
        impl<'a> Define<'a, $to> for $from {
            fn define(&'a self) -> $to {
                let $value = self;
                $make
            }
        }
    )*};
}

define!(
    u8 => u8: |value| *value;
    u16 => u16: |value| *value;
    u32 => u32: |value| *value;
    u64 => u64: |value| *value;
    Amount => u64: |value| value.0;
    UnixMillis => u64: |value| value.0;
    DownstreamId => u32: |value| value.0;
    ChannelId => u32: |value| value.0;
    MinerId => u32: |value| value.0;
    CompactTarget => u32: |value| value.0;
    Role => u8: |value| *value as u8;
    U256 => binary_sv2::U256<'a>: |value| binary_sv2::U256::try_from(&value.0[..]).unwrap();
    Option<U256> => Sv2Option<'a, binary_sv2::U256<'a>>: |value| {
        Sv2Option::new(value.as_ref().map(Define::define))
    };
);

impl<'a> Define<'a, Str0255<'a>> for Text<'_> {
    fn define(&'a self) -> Str0255<'a> {
        Str0255::try_from(self.as_str().as_bytes()).unwrap()
    }
}

//! The value types of the wire, as newtypes: what a raw number means is said once, here.

use std::borrow::Cow;
use std::fmt;

use crate::limits::MAX_TEXT;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u32);

        impl From<u32> for $name {
            fn from(raw: u32) -> Self {
                Self(raw)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A connection to the pool, numbered by the pool. Reused after a restart: meaningful only inside one session.
    DownstreamId
);
id!(
    /// A mining channel. Unique only together with its downstream: SRI's pool numbers channels from 1 for each one.
    ChannelId
);
id!(
    /// An SV1 miner of a translator, numbered by the translator. Meaningful only inside one session.
    MinerId
);
id!(
    /// A 256-bit number in the compact form of a block header (nBits): exponent in the top byte, 23-bit mantissa.
    /// Valid values and the conversion to work are in the crate `mining-stats`.
    CompactTarget
);

/// Wall-clock time in milliseconds since the Unix epoch, below 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The system's wall clock now; the epoch itself when the clock stands before it.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX >> 1))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

/// An ehash amount in units of `HASH`, at most 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub u64);

/// 32 bytes as they stand on the wire: a number with the least significant byte first (SV2 `U256`), or a hash in the
/// byte order of its digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct U256(pub [u8; 32]);

impl fmt::Debug for U256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U256({self})")
    }
}

/// As hexadecimal with the most significant byte first, as block explorers print hashes.
impl fmt::Display for U256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What kind of program a publisher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// An SV2 pool.
    Pool = 0,
    /// An SV1 to SV2 translator.
    Proxy = 1,
    /// A job declarator client.
    JdClient = 2,
    /// A job declarator server.
    JdServer = 3,
    /// A Cashu mint.
    Mint = 4,
    /// A program that passes on the events of others.
    Relay = 5,
    /// A bridge that makes events from the counters of an unmodified program.
    Bridge = 6,
}

impl Role {
    /// Every role, in the order of its number.
    pub const ALL: [Self; 7] =
        [Self::Pool, Self::Proxy, Self::JdClient, Self::JdServer, Self::Mint, Self::Relay, Self::Bridge];

    /// The role with this number on the wire.
    #[must_use]
    pub fn from_wire(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw)).copied()
    }

    /// The name used in configuration files, JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Proxy => "proxy",
            Self::JdClient => "jd-client",
            Self::JdServer => "jd-server",
            Self::Mint => "mint",
            Self::Relay => "relay",
            Self::Bridge => "bridge",
        }
    }

    /// The role with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A string of at most 255 bytes of UTF-8 (SV2 `STR0_255`), borrowed from a frame or owned.
///
/// Text from miners is hostile: it may hold markup, control characters or right-to-left marks. Whoever shows it escapes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(Cow<'a, str>);

/// Why a string is no [`Text`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("text of {length} bytes is longer than {MAX_TEXT}")]
pub struct TextError {
    /// Bytes of the refused string.
    pub length: usize,
}

impl<'a> Text<'a> {
    /// Takes a string that must fit.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > MAX_TEXT {
            return Err(TextError { length: text.len() });
        }
        Ok(Self(text))
    }

    /// Takes any string and cuts it at the last character boundary that fits: right for names from the network, which
    /// must never make an event fail.
    #[must_use]
    pub fn cut(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end == text.len() {
            return Self(text);
        }
        Self(match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        })
    }

    /// Takes any bytes, replaces what is not UTF-8 with U+FFFD, and cuts as [`cut`](Self::cut) does.
    #[must_use]
    pub fn lossy(bytes: &'a [u8]) -> Self {
        Self::cut(String::from_utf8_lossy(bytes))
    }

    /// The string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, independent of the buffer that it was read from.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

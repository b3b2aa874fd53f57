//! SV2's own opening of a connection, as this protocol uses it.

use stats_sv2::Text;

use crate::definition;
use crate::message::{MessageError, messages, str0255, utf8};

/// The error codes of [`SetupConnectionError`] that SV2 defines.
pub mod error_code {
    /// No version between the offered bounds is known.
    pub const PROTOCOL_VERSION_MISMATCH: &str = "protocol-version-mismatch";
    /// The protocol is not served here.
    pub const UNSUPPORTED_PROTOCOL: &str = "unsupported-protocol";
    /// A feature that a flag asks for is not served here.
    pub const UNSUPPORTED_FEATURE_FLAGS: &str = "unsupported-feature-flags";
}

/// The pool's first message on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SetupConnection {
    /// [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u8,
    /// Lowest protocol version that the pool speaks.
    pub min_version: u16,
    /// Highest protocol version that the pool speaks.
    pub max_version: u16,
    /// No bit is defined.
    pub flags: u32,
    /// Host that the pool connected to.
    pub endpoint_host: Text<'static>,
    /// Port that the pool connected to.
    pub endpoint_port: u16,
    /// Name of the pool program.
    pub vendor: Text<'static>,
    /// Its hardware; mostly empty.
    pub hardware_version: Text<'static>,
    /// Its version.
    pub firmware: Text<'static>,
    /// Which installation it is; may be empty.
    pub device_id: Text<'static>,
}

impl SetupConnection {
    fn define(&self) -> definition::SetupConnection<'_> {
        definition::SetupConnection {
            protocol: self.protocol,
            min_version: self.min_version,
            max_version: self.max_version,
            flags: self.flags,
            endpoint_host: str0255(&self.endpoint_host),
            endpoint_port: self.endpoint_port,
            vendor: str0255(&self.vendor),
            hardware_version: str0255(&self.hardware_version),
            firmware: str0255(&self.firmware),
            device_id: str0255(&self.device_id),
        }
    }

    fn check(read: &definition::SetupConnection<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            protocol: read.protocol,
            min_version: read.min_version,
            max_version: read.max_version,
            flags: read.flags,
            endpoint_host: utf8(read.endpoint_host.as_bytes(), "endpoint_host")?,
            endpoint_port: read.endpoint_port,
            vendor: utf8(read.vendor.as_bytes(), "vendor")?,
            hardware_version: utf8(read.hardware_version.as_bytes(), "hardware_version")?,
            firmware: utf8(read.firmware.as_bytes(), "firmware")?,
            device_id: utf8(read.device_id.as_bytes(), "device_id")?,
        })
    }
}

/// The mint serves the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetupConnectionSuccess {
    /// The version that both speak.
    pub used_version: u16,
    /// No bit is defined.
    pub flags: u32,
}

impl SetupConnectionSuccess {
    fn define(self) -> definition::SetupConnectionSuccess {
        definition::SetupConnectionSuccess { used_version: self.used_version, flags: self.flags }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the other messages can fail here")]
    fn check(read: &definition::SetupConnectionSuccess) -> Result<Self, MessageError> {
        Ok(Self { used_version: read.used_version, flags: read.flags })
    }
}

/// The mint refuses the connection, and closes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SetupConnectionError {
    /// The flags that are not served.
    pub flags: u32,
    /// One of [`error_code`].
    pub error_code: Text<'static>,
}

impl SetupConnectionError {
    fn define(&self) -> definition::SetupConnectionError<'_> {
        definition::SetupConnectionError { flags: self.flags, error_code: str0255(&self.error_code) }
    }

    fn check(read: &definition::SetupConnectionError<'_>) -> Result<Self, MessageError> {
        Ok(Self { flags: read.flags, error_code: utf8(read.error_code.as_bytes(), "error_code")? })
    }
}

messages! {
    0x00 SetupConnection
    0x01 SetupConnectionSuccess
    0x02 SetupConnectionError
}

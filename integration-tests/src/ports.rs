//! Free TCP ports for processes that must be told their port before they start.
//!
//! Binding port 0 and releasing it again leaves two races: the kernel may give the same number to an outgoing
//! connection before the process binds it, and two test processes may pick the same one. Both are closed here: the
//! ports lie below the kernel's ephemeral range, and each is held by a lock file while its lease lives, so that a
//! process can be killed and started again on the same port.

use std::{
    fs::{File, OpenOptions, TryLockError},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result, bail};

/// First port handed out; above the ports of the design's own examples (4000 to 8081) and of most services.
const FIRST_PORT: u16 = 20_000;
/// One past the last; Linux gives outgoing connections ports from 32,768 on.
const END_PORT: u16 = 32_000;

/// A port that nobody else who asks here will get while the lease lives.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// Holds the lock; released by the system even when the test process is killed.
    _lock: File,
}

impl PortLease {
    /// Leases a port that is free on loopback now.
    ///
    /// # Errors
    /// When the lock folder cannot be written or all ports of the range are taken.
    pub fn new() -> Result<Self> {
        // Starting at a number that differs between processes keeps them from walking over each other's locks.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let range = END_PORT - FIRST_PORT;
        let start = u16::try_from(std::process::id() % u32::from(range)).expect("the remainder is below the range");
        let folder = std::env::temp_dir().join("hashpool-sidecar-test-ports");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for _ in 0..range {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % range;
            let port = FIRST_PORT + (start + step) % range;
            let path = folder.join(port.to_string());
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // Somebody who does not ask here may still sit on the port.
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { port, _lock: lock });
            }
        }
        bail!("no free port from {FIRST_PORT} to {END_PORT}")
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on the loopback address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn leases_that_live_at_once_differ_and_a_taken_port_is_skipped() {
        let first = PortLease::new().expect("a port is free");
        let _squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, first.port() + 1));
        let leases: Vec<_> = (0..20).map(|_| PortLease::new().expect("a port is free")).collect();
        let mut ports: BTreeSet<u16> = leases.iter().map(PortLease::port).collect();
        ports.insert(first.port());
        assert_eq!(ports.len(), 21);
        for lease in &leases {
            assert!(TcpListener::bind(lease.address()).is_ok(), "port {} is free to bind", lease.port());
        }
    }
}

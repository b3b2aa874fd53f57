//! How one component fares: its status, its last error, and the latch that it releases when it has started once.

use std::sync::{Arc, Mutex, PoisonError};

use sidecar_core::{Clock, Status};
use stats_sv2::UnixMillis;

/// The state of a component, shared between the component and whoever shows it.
#[derive(Debug, Clone)]
pub struct ComponentHealth {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<HealthSnapshot>>,
}

/// A component's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HealthSnapshot {
    /// Where it stands.
    #[serde(serialize_with = "status_name")]
    pub status: Status,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
    /// Whether it has been healthy at least once since the process began.
    pub started_once: bool,
    /// Errors since start.
    pub errors: u64,
    /// The last error with its causes.
    pub last_error: Option<String>,
    /// When it happened, in Unix milliseconds.
    pub last_error_at_ms: Option<u64>,
}

fn status_name<S: serde::Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
}

impl ComponentHealth {
    /// A component that is starting.
    #[must_use]
    pub fn starting(name: impl Into<Arc<str>>, clock: Arc<dyn Clock>) -> Self {
        let UnixMillis(since_ms) = clock.now();
        let state = HealthSnapshot {
            status: Status::Starting,
            since_ms,
            started_once: false,
            errors: 0,
            last_error: None,
            last_error_at_ms: None,
        };
        Self { name: name.into(), clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Goes to another status; a transition that [`Status::may_become`] forbids changes nothing.
    pub fn set(&self, status: Status) {
        self.change(|state, now| {
            if state.status != status && state.status.may_become(status) {
                state.status = status;
                state.since_ms = now;
            }
            state.started_once |= state.status == Status::Healthy;
        });
    }

    /// Goes to another status because of an error.
    pub fn fail(&self, status: Status, error: impl Into<String>) {
        let error = error.into();
        self.change(|state, now| {
            state.errors += 1;
            state.last_error = Some(error);
            state.last_error_at_ms = Some(now);
        });
        self.set(status);
    }

    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).status
    }

    fn change(&self, change: impl FnOnce(&mut HealthSnapshot, u64)) {
        let now = self.clock.now().0;
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), now);
    }
}

#[cfg(test)]
mod tests {
    use sidecar_core::SystemClock;

    use super::*;

    #[test]
    fn a_stopping_component_does_not_become_healthy_again() {
        let health = ComponentHealth::starting("history", Arc::new(SystemClock));
        assert!(!health.snapshot().started_once);
        health.set(Status::Stopping);
        health.set(Status::Healthy);
        assert_eq!(health.status(), Status::Stopping);
        assert!(!health.snapshot().started_once);
        health.set(Status::Stopped);
        health.set(Status::Starting);
        health.set(Status::Healthy);
        assert!(health.snapshot().started_once);
    }
}

//! Faults that tests inject into commits.

use std::sync::{Arc, Mutex};

use rusqlite::ffi;

/// Where a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before anything was written.
    Before,
    /// With everything written, before the commit.
    Within,
    /// After the commit, which is there nevertheless.
    After,
}

/// The next faults, shared with a running writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: Option<(Place, i32, u32)>,
    hit: u32,
}

impl Faults {
    /// The next `times` commits fail at `place` with an SQLite code.
    pub(crate) fn set(&self, place: Place, code: i32, times: u32) {
        self.0.lock().unwrap().next = Some((place, code, times));
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().next = None;
    }

    /// How many faults there have been.
    pub(crate) fn hit(&self) -> u32 {
        self.0.lock().unwrap().hit
    }

    fn at(&self, place: Place) -> rusqlite::Result<()> {
        let mut inner = self.0.lock().unwrap();
        match &mut inner.next {
            Some((at, code, times)) if *at == place && *times > 0 => {
                *times -= 1;
                let error = rusqlite::Error::SqliteFailure(ffi::Error::new(*code), Some("injected".to_owned()));
                inner.hit += 1;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn before_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::Before)
    }

    pub(crate) fn in_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::Within)
    }

    pub(crate) fn after_commit(&self) -> rusqlite::Result<()> {
        self.at(Place::After)
    }
}

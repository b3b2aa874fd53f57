//! The stories: real counterparts in real processes, told over the builders of the harness. One binary, so that the
//! counterparts and the sidecar are built once and the stories share their code.
#![forbid(unsafe_code)]

mod bridge;
mod crashes;
mod disks;
mod integrated_chain;
mod integrated_pool;
mod integrated_translator;
mod mints;
mod open_files;
mod short_form;
mod sri_chain;
mod sri_paging;
mod strangers;

//! How the sidecar serves HTTP, for every component that does: a listener with limits on a thread of its own, the `auth`
//! setting, and the text that Prometheus reads. What is answered belongs to the components.
#![forbid(unsafe_code)]

mod auth;
mod listen;
mod metrics;
mod network;
mod places;
mod server;

pub use auth::{AuthError, AuthSetting, Token, access_problem};
pub use listen::{HttpError, bind, listen_address};
pub use metrics::{classic_metrics, metrics_response};
pub use network::{Network, NetworkError, client_address};
pub use places::{Place, Places, per_address};
pub use server::{HttpLimits, HttpServer, Peer};

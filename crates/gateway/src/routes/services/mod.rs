//! `ANY /services/{projectKey}/{service}/…`: the stable address of a service,
//! whatever its port is now.
//!
//! ```text
//!  request ─▶ address ─▶ resolve (cached for a moment) ─▶ forward ─▶ http://127.0.0.1:3107/…
//!                              ▲                             │
//!                              └── again, when nobody is ────┘
//!                                  there and nothing was sent
//! ```

mod address;
mod body;
mod forward;
mod headers;
mod resolve;
mod upgrade;

pub use forward::service;
pub use resolve::Endpoints;

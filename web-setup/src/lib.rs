//! The wizard and the dashboard of the appliance: the only thing that listens on TCP, unprivileged, server-rendered.
//!
//! Pure state: [`setup::machine`], [`session`], [`attempts`], [`form`]. The world: [`provisioner`], [`updater`] and [`system`]. Between
//! them: [`routes`]. What people read: [`strings`].

pub mod app;
pub mod attempts;
pub mod bus;
pub mod clock;
pub mod config;
pub mod cookies;
pub mod error;
pub mod form;
pub mod guard;
pub mod lock;
pub mod pages;
pub mod password;
pub mod prose;
pub mod provisioner;
pub mod request;
pub mod routes;
pub mod run;
pub mod secret;
pub mod server;
pub mod session;
pub mod setup;
pub mod strings;
pub mod system;
pub mod updater;
pub mod updates;

#[cfg(test)]
mod http_tests;

//! The updater on a private bus with a fake engine and a fake systemd, through its public doors, over restarts that the
//! real boot state decides.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod appliance;
mod channel;
mod engine;
mod own;
mod rauc;

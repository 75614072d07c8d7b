//! The appliance as a person meets it: from its disk image, through its boot chain, in a browser.
//!
//! One program, run by `cargo xtask test`. Every test makes its own machine from a copy of the image.

mod bus_policy;
mod early_boot;
mod hawkbit;
mod pc;
mod power_cuts;
mod raspberry_pi;
mod rauc;
mod rauc_bundles;
mod rauc_service;
mod slots;
mod update_cuts;
mod update_page;
mod updates;
mod wizard;

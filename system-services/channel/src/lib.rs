//! Update channels: a signed index on any static web server says what there is; the box decides alone.
//!
//! Pure: no sockets, no clock, no randomness. Who asks the server does this, in this order:
//!
//! 1. [`schedule::what_now`] says when to ask, to download, to install, to restart.
//! 2. [`open`] turns the bytes of `<channel>.hearth-channel` into an [`Index`], or refuses them.
//! 3. [`decide`] says what the index has for this box. Unless it refused the whole index
//!    ([`Refusal::is_about_the_index`]), the caller keeps [`Index::serial`] and [`Index::crls`] where they survive a
//!    restart: the one against replayed indexes, the others for [`Trust::with_crls`] from then on.
//! 4. [`Location::resolve`] has the address of the bundle; it is installed with [`Release::manifest_hash`] required, so
//!    that nobody can put another one there.
//!
//! The format is described in `docs/update-channels.md`.

mod date;
mod decide;
#[cfg(feature = "write")]
pub mod edit;
mod index;
mod name;
mod open;
pub mod schedule;

pub use bundle::cms::UnixTime;
pub use date::date;
pub use decide::{Decision, Device, DeviceId, Refusal, SHARES, WaveInfo, decide};
pub use index::{
    Compatible, FORMAT, Index, IndexError, Location, LocationError, MAX_CONTENT, MAX_FILE, Release, Wave,
    parse,
};
pub use name::{ChannelName, ChannelNameError, FILE_ENDING};
pub use open::{OpenError, Opened, Trust, open};

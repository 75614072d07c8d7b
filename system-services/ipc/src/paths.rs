//! Where things are on the running appliance.

/// Mount point of the `data` partition.
pub const DATA: &str = "/data";
/// The folder on `data` that is bind-mounted on `/var/lib`.
pub const STATE: &str = "/data/state";
/// Facts of this boot, written once by early-boot.
pub const BOOT_FACTS: &str = "/run/hearth/boot.json";
/// Public settings, written by the provisioner alone.
pub const SETTINGS: &str = "/var/lib/hearth-provisioner/settings.toml";
/// The same file as early-boot sees it below its mount of `data`.
pub const SETTINGS_ON_DATA: &str = "state/hearth-provisioner/settings.toml";
/// The provisioner's secrets, 0700.
pub const SECRETS: &str = "/var/lib/hearth-provisioner/secrets";
/// Marker, relative to the root of `data`: empty `data` at the next boot.
pub const FACTORY_RESET_MARKER: &str = "factory-reset";
/// Certificates of the roots whose updates this appliance takes (PEM).
pub const UPDATE_KEYRING: &str = "/usr/share/hearth/update-keyring.pem";
/// Revocation lists that came with the image (PEM); may be empty.
pub const UPDATE_CRLS: &str = "/usr/share/hearth/update-crl.pem";

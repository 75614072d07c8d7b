//! A file system in two cores.
mod entry;
mod path;
pub use entry::{EntryError, EntryValue, MAX_ENTRY_BYTES, Metadata};
pub use path::{FilePath, FolderPath, PathError, path_of_key, resolve};

//! Both listings, side by side.

use std::cmp::Ordering;
use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::disk_path::{DiskPath, link_on_disk};
use super::folder::Folder;
use super::plan::{Item, Kind, next};
use super::walk::Walk;
use super::{Ignore, LeftOut, MirrorError, is_at_or_below};
use crate::drive::{Drive, DriveError, Entries, Entry};

/// Items that are listed ahead.
const AHEAD: usize = 256;

/// Something that is listed, with what the drive notes of it if it is in one.
pub(super) struct Listed {
    pub(super) item: Item,
    pub(super) entry: Option<Entry>,
}

type Found = Result<Listed, LeftOut>;

/// The files and links of one side, in the order of their names.
pub(super) enum Listing {
    Folder(mpsc::Receiver<Result<Found, MirrorError>>),
    Drive(Box<Entries>, Ignore),
}

impl Listing {
    /// `tidy`: leftovers of files that were not finished are removed on the way.
    pub(super) fn of_folder(folder: &Folder, ignore: &Ignore, tidy: bool) -> Self {
        let (found, listing) = mpsc::channel(AHEAD);
        let (folder, ignore) = (folder.clone(), ignore.clone());
        tokio::task::spawn_blocking(move || {
            let ignored = |path: &str| ignore.ignores(path);
            let walk = match Walk::new(&folder, &ignored, tidy) {
                Ok(walk) => walk,
                Err(error) => {
                    let _ = found.blocking_send(Err(MirrorError::folder(&folder, "read")(error)));
                    return;
                }
            };
            for item in walk {
                let item = item.map(|item| Listed { item, entry: None });
                if found.blocking_send(Ok(item)).is_err() {
                    return;
                }
            }
        });
        Self::Folder(listing)
    }

    pub(super) fn of_drive(drive: &Drive, ignore: &Ignore) -> Result<Self, MirrorError> {
        Ok(Self::Drive(Box::new(drive.list("/")?), ignore.clone()))
    }

    async fn next(&mut self) -> Result<Option<Found>, MirrorError> {
        match self {
            Self::Folder(listing) => listing.recv().await.transpose(),
            Self::Drive(entries, ignore) => loop {
                let found = match entries.next().await {
                    Ok(None) => return Ok(None),
                    Ok(Some(entry)) if ignore.ignores(&entry.path) => continue,
                    Ok(Some(entry)) => list_entry(entry),
                    // What is noted of one file is wrong; those after it may be right.
                    Err(DriveError::Entry { path, source, .. }) => Err(LeftOut::because(path, &source)),
                    Err(error) => return Err(error.into()),
                };
                return Ok(Some(found));
            },
        }
    }
}

fn list_entry(entry: Entry) -> Found {
    let path = entry.path.clone();
    let disk_path = match DiskPath::new(&path) {
        // The mark of bytes that are not UTF-8: the name is not the one that the drive has.
        Ok(_) if path.contains(char::REPLACEMENT_CHARACTER) => {
            return Err(LeftOut::new(path, super::BadName::NotUtf8));
        }
        Ok(disk_path) => disk_path,
        Err(why) => return Err(LeftOut::new(path, why)),
    };
    let kind = match (&entry.value.linkname, &entry.value.blob) {
        (Some(linkname), _) => match link_on_disk(&disk_path, linkname) {
            Ok(target) => Kind::Link {
                target,
                linkname: linkname.clone(),
            },
            Err(why) => return Err(LeftOut::new(path, why)),
        },
        (None, blob) => Kind::File {
            bytes: match blob {
                Some(id) if id.block_map => None,
                Some(id) => Some(id.byte_length),
                // As the peers have it: an empty file.
                None => Some(0),
            },
            executable: entry.value.executable,
        },
    };
    Ok(Listed {
        item: Item { path, kind },
        entry: Some(entry),
    })
}

/// What is at one path.
pub(super) enum Pair {
    /// Of the source, and of the target if that has it.
    Source(Listed, Option<Listed>),
    /// Only of the target.
    Target(Listed),
    /// Of the source, but not to be copied.
    LeftOut(LeftOut),
}

/// Two listings, path by path.
pub(super) struct Pairs {
    source: Side,
    target: Side,
    /// What was left out last: what the target has there, or below, is not for want of it in the source.
    kept: Option<String>,
}

struct Side {
    listing: Listing,
    ahead: VecDeque<Found>,
}

impl Side {
    fn new(listing: Listing) -> Self {
        Self {
            listing,
            ahead: VecDeque::new(),
        }
    }

    async fn peek(&mut self) -> Result<Option<&str>, MirrorError> {
        if self.ahead.is_empty() {
            self.ahead.extend(self.listing.next().await?);
        }
        Ok(self.ahead.front().map(|found| match found {
            Ok(listed) => listed.item.path.as_str(),
            Err(left_out) => left_out.path.as_str(),
        }))
    }

    /// Takes what comes next if its name is not the one that is there: it has no place in the order of names, and the other side cannot have it.
    async fn take_nameless(&mut self) -> Result<Option<LeftOut>, MirrorError> {
        self.peek().await?;
        let nameless =
            |found: &mut Found| matches!(found, Err(what) if what.path.contains(char::REPLACEMENT_CHARACTER));
        Ok(self.ahead.pop_front_if(nameless).and_then(Result::err))
    }

    fn take(&mut self) -> Option<Found> {
        self.ahead.pop_front()
    }
}

impl Pairs {
    pub(super) fn new(source: Listing, target: Listing) -> Self {
        Self {
            source: Side::new(source),
            target: Side::new(target),
            kept: None,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Pair>, MirrorError> {
        loop {
            if let Some(left_out) = self.source.take_nameless().await? {
                return Ok(Some(Pair::LeftOut(left_out)));
            }
            if self.target.take_nameless().await?.is_some() {
                continue;
            }
            let (source, target) = (self.source.peek().await?, self.target.peek().await?);
            let Some(order) = next(source, target) else {
                return Ok(None);
            };
            let source = if order == Ordering::Greater {
                None
            } else {
                self.source.take()
            };
            let target = if order == Ordering::Less {
                None
            } else {
                self.target.take()
            };
            match (source, target) {
                (Some(Err(left_out)), _) => {
                    self.kept = Some(left_out.path.clone());
                    return Ok(Some(Pair::LeftOut(left_out)));
                }
                // A target that cannot be copied to is written over, if that can be.
                (Some(Ok(source)), target) => {
                    return Ok(Some(Pair::Source(source, target.and_then(Result::ok))));
                }
                (None, Some(Ok(target))) => {
                    let kept = self.kept.as_deref();
                    if !kept.is_some_and(|kept| is_at_or_below(&target.item.path, kept)) {
                        return Ok(Some(Pair::Target(target)));
                    }
                }
                (None, Some(Err(_)) | None) => {}
            }
        }
    }
}

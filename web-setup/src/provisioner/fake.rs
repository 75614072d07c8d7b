//! A provisioner in memory, with the rules of the real one and, when asked, its worst days.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc::provisioner::{Growth, MAX_ATTEMPTS_PER_MINUTE, StorageStatus, WireError};
use ipc::settings::{AccountName, Settings, SetupRequest, UpdatePolicy};

use super::{Answer, CallError, Provisioner};
use crate::system::Root;

const CARD_BYTES: u64 = 31_914_983_424;
const IMAGE_DATA_BYTES: u64 = 268_435_456;

/// What the fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// Nothing.
    #[default]
    Well,
    /// It does not answer any call.
    Absent,
    /// It does what it is asked and the answer is lost.
    LosesAnswers,
    /// Every change fails.
    StorageFull,
}

#[derive(Debug, Default)]
struct Inner {
    mood: Mood,
    administrator: Option<(String, String)>,
    wrong: Vec<Instant>,
    growing_since: Option<Instant>,
    calls: Vec<&'static str>,
}

/// The fake. It writes the settings file below its [`Root`], as the real one does.
#[derive(Debug)]
pub struct Fake {
    root: Root,
    /// How long growing takes.
    growth_time: Duration,
    inner: Mutex<Inner>,
}

impl Fake {
    /// A provisioner without an administrator.
    pub fn new(root: Root, growth_time: Duration) -> Self {
        Self {
            root,
            growth_time,
            inner: Mutex::default(),
        }
    }

    /// Chooses what goes wrong from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// The methods that were called, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.lock().calls.clone()
    }

    /// An administrator that another program set.
    pub fn put_administrator(&self, name: &str, password: &str) {
        self.lock().administrator = Some((name.into(), password.into()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn provisioned(&self) -> bool {
        let file = self.root.join(ipc::paths::SETTINGS);
        std::fs::read_to_string(file).is_ok_and(|text| Settings::parse(&text).is_ok_and(|s| s.provisioned))
    }

    fn answer<T: Send + 'static>(
        &self,
        name: &'static str,
        changes: bool,
        work: impl FnOnce(&Self, &mut Inner) -> Result<T, CallError>,
    ) -> Answer<'_, T> {
        let mut inner = self.lock();
        inner.calls.push(name);
        let absent = || CallError::Unreachable("org.freedesktop.DBus.Error.ServiceUnknown".into());
        let result = match inner.mood {
            Mood::Absent => Err(absent()),
            Mood::StorageFull if changes => Err(refused(
                WireError::StorageUnavailable,
                "The card is full. Remove data, then try again.",
            )),
            Mood::LosesAnswers => work(self, &mut inner).and(Err(absent())),
            Mood::Well | Mood::StorageFull => work(self, &mut inner),
        };
        Box::pin(std::future::ready(result))
    }
}

fn refused(kind: WireError, message: &str) -> CallError {
    CallError::Refused {
        kind,
        message: message.into(),
    }
}

fn io(error: std::io::Error) -> CallError {
    refused(WireError::Failed, &error.to_string())
}

impl Provisioner for Fake {
    fn set_administrator<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, ()> {
        self.answer("SetAdministrator", true, |me, inner| {
            if me.provisioned() {
                return Err(refused(
                    WireError::AlreadyProvisioned,
                    "Setup was finished already.",
                ));
            }
            AccountName::parse(name).map_err(|e| refused(WireError::InvalidArgument, &e))?;
            inner.administrator = Some((name.into(), password.into()));
            Ok(())
        })
    }

    fn verify_password<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, bool> {
        self.answer("VerifyPassword", false, |_, inner| {
            let Some((known_name, known_password)) = inner.administrator.clone() else {
                return Err(refused(
                    WireError::NoAdministrator,
                    "No administrator was chosen yet.",
                ));
            };
            inner.wrong.retain(|at| at.elapsed() < Duration::from_secs(60));
            if inner.wrong.len() >= MAX_ATTEMPTS_PER_MINUTE as usize {
                return Err(refused(WireError::TooManyAttempts, "Wait 60 seconds."));
            }
            let right = known_name == name && known_password == password;
            if !right {
                inner.wrong.push(Instant::now());
            }
            Ok(right)
        })
    }

    fn has_administrator(&self) -> Answer<'_, bool> {
        self.answer("HasAdministrator", false, |_, inner| {
            Ok(inner.administrator.is_some())
        })
    }

    fn complete_setup<'a>(&'a self, request: &'a str) -> Answer<'a, ()> {
        self.answer("CompleteSetup", true, |me, inner| {
            if me.provisioned() {
                return Err(refused(
                    WireError::AlreadyProvisioned,
                    "Setup was finished already.",
                ));
            }
            let Some((name, _)) = &inner.administrator else {
                return Err(refused(
                    WireError::NoAdministrator,
                    "No administrator was chosen yet.",
                ));
            };
            let request = SetupRequest::parse(request)
                .map_err(|e| refused(WireError::InvalidArgument, &e.to_string()))?;
            let settings = Settings {
                provisioned: true,
                administrator: AccountName::parse(name).ok(),
                host_name: request.host_name,
                time_zone: request.time_zone,
                language: request.language,
                update_policy: request.update_policy,
            };
            let text = settings
                .to_toml()
                .map_err(|e| refused(WireError::Failed, &e.to_string()))?;
            let file = me.root.join(ipc::paths::SETTINGS);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).map_err(io)?;
            }
            std::fs::write(file, text).map_err(io)
        })
    }

    fn set_update_policy(&self, policy: UpdatePolicy) -> Answer<'_, ()> {
        self.answer("SetUpdatePolicy", true, |me, _| {
            let file = me.root.join(ipc::paths::SETTINGS);
            let text = std::fs::read_to_string(&file).map_err(io)?;
            let mut settings =
                Settings::parse(&text).map_err(|e| refused(WireError::Failed, &e.to_string()))?;
            settings.update_policy = policy;
            let text = settings
                .to_toml()
                .map_err(|e| refused(WireError::Failed, &e.to_string()))?;
            std::fs::write(&file, text).map_err(io)
        })
    }

    fn grow_data(&self) -> Answer<'_, ()> {
        self.answer("GrowData", true, |_, inner| {
            inner.growing_since.get_or_insert_with(Instant::now);
            Ok(())
        })
    }

    fn storage_status(&self) -> Answer<'_, StorageStatus> {
        self.answer("StorageStatus", false, |me, inner| {
            let total = CARD_BYTES - 1_073_741_824;
            let part = inner.growing_since.map(|since| {
                (since.elapsed().as_secs_f64() / me.growth_time.as_secs_f64().max(0.001)).min(1.0)
            });
            let (data_bytes, growth) = match part {
                None => (IMAGE_DATA_BYTES, Growth::Possible),
                Some(part) if part < 1.0 => {
                    let done = IMAGE_DATA_BYTES + ((total - IMAGE_DATA_BYTES) as f64 * part) as u64;
                    (
                        done,
                        Growth::Growing {
                            done_bytes: done,
                            total_bytes: total,
                        },
                    )
                }
                Some(_) => (total, Growth::Complete),
            };
            Ok(StorageStatus {
                disk: "/dev/mmcblk0".into(),
                disk_bytes: CARD_BYTES,
                data_bytes,
                data_free_bytes: data_bytes - data_bytes / 7,
                growth,
            })
        })
    }

    fn diagnosis(&self) -> Answer<'_, File> {
        self.answer("Diagnosis", false, |me, _| {
            let path = me.root.join("/run/hearth/diagnosis.tar.gz");
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)
                .map_err(io)?;
            file.write_all(b"\x1f\x8b a made-up bundle").map_err(io)?;
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            Ok(file)
        })
    }

    fn power_off(&self) -> Answer<'_, ()> {
        self.answer("PowerOff", true, |_, _| Ok(()))
    }

    fn reboot(&self) -> Answer<'_, ()> {
        self.answer("Reboot", true, |_, _| Ok(()))
    }

    fn factory_reset<'a>(&'a self, host_name: &'a str) -> Answer<'a, ()> {
        self.answer("FactoryReset", true, |me, inner| {
            let file = me.root.join(ipc::paths::SETTINGS);
            let known = std::fs::read_to_string(&file)
                .ok()
                .and_then(|text| Settings::parse(&text).ok());
            if known.is_none_or(|s| s.host_name.as_str() != host_name) {
                return Err(refused(
                    WireError::InvalidArgument,
                    "This is not the name of the box.",
                ));
            }
            std::fs::remove_file(&file).map_err(io)?;
            inner.administrator = None;
            inner.growing_since = None;
            Ok(())
        })
    }
}

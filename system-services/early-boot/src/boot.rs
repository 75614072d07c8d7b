//! The order of things: from the initramfs to systemd.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use disk_layout::Guid;
use ipc::boot_facts::{BootFacts, DataState, Slot};
use ipc::paths;
use os_io::root::Root;
use os_io::{host, random, reboot};

use crate::cmdline::{self, CommandLine};
use crate::disks::{self, Disk, Wanted};
use crate::identity::Identity;
use crate::modules::{self, Missing};
use crate::report::{Report, chain};
use crate::root::Expected;
use crate::seed::{self, Seeded};
use crate::watch::Watch;
use crate::{bootstate, data, reset, system};

/// Where the root is mounted until it becomes `/`.
const NEW_ROOT: &str = "/sysroot";
/// How long a failure stays readable before the restart.
const PAUSE: Duration = Duration::from_secs(if cfg!(feature = "test-hooks") { 1 } else { 5 });

/// Why this boot ends here, in lines for the console.
#[derive(Debug)]
pub struct Failure {
    what: String,
}

impl Failure {
    /// A failure in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// An error with its causes.
    pub fn of(error: &dyn std::error::Error) -> Self {
        Self::new(chain(error))
    }
}

/// What a boot carries with it.
pub struct Boot {
    report: Report,
    root: Root,
    watch: Watch,
    missing_modules: Vec<Missing>,
}

impl Boot {
    /// With the console; the kernel file systems are mounted.
    pub fn new(report: Report) -> Self {
        Self {
            report,
            root: Root::system(),
            watch: Watch::default(),
            missing_modules: Vec::new(),
        }
    }

    /// Boots. Returns only with what stopped it.
    pub fn run(&mut self) -> Failure {
        match self.boot() {
            Err(failure) => failure,
            Ok(never) => match never {},
        }
    }

    /// Tells a person why, waits, restarts: the slot has one try less.
    pub fn fail(&self, failure: &Failure) -> ! {
        self.report.error(&format!("BOOT FAILED\n{}", failure.what));
        for Missing { module, reason } in &self.missing_modules {
            self.report
                .error(&format!("the kernel module {module} is missing: {reason}"));
        }
        self.report.error(&format!("restarting in {} s", PAUSE.as_secs()));
        std::thread::sleep(PAUSE);
        let refused = reboot::restart();
        self.report.error(&chain(&refused));
        // The watchdog, if there is one, does the rest: pid 1 must not end.
        loop {
            std::thread::park();
        }
    }

    fn boot(&mut self) -> Result<std::convert::Infallible, Failure> {
        let line = self.command_line()?;
        #[cfg(feature = "test-hooks")]
        crate::test_hooks::after_command_line(&self.report, &line)?;
        self.load_modules();
        self.watch.keep(&self.report);
        let disk = self.find_disk(&line)?;
        let expected = self.mount_root(&line, &disk)?;
        #[cfg(feature = "test-hooks")]
        crate::test_hooks::after_root(&self.report, &line)?;

        let new_root = Path::new(NEW_ROOT);
        let failed = |error: os_io::Error| Failure::of(&error);
        system::follow(new_root).map_err(failed)?;
        let data_device = self.node(&line, &disk, "data")?;
        let data = self.open_data(&data_device);
        system::mount_etc(new_root).map_err(failed)?;
        system::mount_memory(new_root).map_err(failed)?;
        self.apply_identity();
        let bootstate_device = self.node(&line, &disk, bootstate::PARTITION)?;
        self.publish_facts(&line, &disk, data_device, bootstate_device, data)?;
        expected.restart_on_corruption().map_err(failed)?;
        #[cfg(feature = "test-hooks")]
        crate::test_hooks::before_hand_over(&self.report, &line, new_root)?;
        self.watch.keep(&self.report);
        // Closed, not stopped: systemd opens it next.
        self.watch = Watch::default();
        Err(Failure::of(&system::hand_over(new_root)))
    }

    fn command_line(&self) -> Result<CommandLine, Failure> {
        let text = fs::read_to_string("/proc/cmdline").map_err(|error| Failure::of(&error))?;
        let line = cmdline::parse(&text).map_err(|error| Failure::of(&error))?;
        for key in &line.unknown {
            self.report
                .warning(&format!("{key} on the command line is not known to this version"));
        }
        if line.test.is_some() && !cfg!(feature = "test-hooks") {
            self.report
                .warning("hearth.test is ignored: this program has no test hooks");
        }
        if let Some(built) = line.built_unix_s {
            match host::raise_clock(built) {
                Ok(true) => self
                    .report
                    .notice("the clock was before this image was built; it starts there"),
                Ok(false) => {}
                Err(error) => self.report.warning(&chain(&error)),
            }
        }
        Ok(line)
    }

    fn load_modules(&mut self) {
        let text = match fs::read_to_string(self.root.path(modules::LIST)) {
            Ok(text) => text,
            Err(error) => return self.report.warning(&format!("{}: {error}", modules::LIST)),
        };
        match modules::parse(&text) {
            Ok(list) => self.missing_modules = modules::load_all(&self.root, &list),
            Err(error) => self.report.warning(&chain(&error)),
        }
        for Missing { module, reason } in &self.missing_modules {
            self.report
                .warning(&format!("the kernel module {module} is missing: {reason}"));
        }
    }

    fn find_disk(&mut self, line: &CommandLine) -> Result<Disk, Failure> {
        let guid = Guid::parse(&line.disk).ok_or_else(|| Failure::new("hearth.disk is no GUID"))?;
        let Self {
            report, root, watch, ..
        } = self;
        let wanted = Wanted {
            guid,
            state_seq: line.state_seq,
        };
        let disk =
            disks::find(root, &wanted, &mut || watch.keep(report)).map_err(|error| Failure::of(&error))?;
        if disk.state_seq != Some(line.state_seq) {
            report.warning(&format!(
                "/dev/{} has the right GUID, but its boot state has number {:?} instead of {}",
                disk.name, disk.state_seq, line.state_seq
            ));
        }
        if let Some(damage) = &disk.found.primary_damage {
            report.warning(&format!(
                "the primary partition table of /dev/{} is torn: {damage}",
                disk.name
            ));
            match disk.mend_table(root) {
                Ok(_) => report.notice("it was written anew from the backup"),
                Err(error) => report.warning(&format!("it could not be written anew: {error}")),
            }
        }
        Ok(disk)
    }

    fn node(&mut self, line: &CommandLine, disk: &Disk, label: &str) -> Result<std::path::PathBuf, Failure> {
        let Self {
            report, root, watch, ..
        } = self;
        disk.device_of(root, label, line.kernel_uses_backup_table, &mut || {
            watch.keep(report)
        })
        .map_err(|error| Failure::of(&error))
    }

    fn mount_root(&mut self, line: &CommandLine, disk: &Disk) -> Result<Expected, Failure> {
        let label = match line.slot {
            Slot::A => "root-a",
            Slot::B => "root-b",
        };
        let expected = Expected {
            label: label.into(),
            device: self.node(line, disk, label)?,
            blocks: line.root_blocks,
            root_hash: line.root_hash.clone(),
            salt: line.root_salt.clone(),
        };
        fs::create_dir_all(NEW_ROOT).map_err(|error| Failure::new(format!("make {NEW_ROOT}: {error}")))?;
        expected
            .mount(Path::new(NEW_ROOT))
            .map_err(|error| Failure::of(&error))?;
        Ok(expected)
    }

    /// Mounts `data`, uses its seed, and finishes a factory reset that was asked for.
    fn open_data(&mut self, device: &Path) -> DataState {
        let Self { report, watch, .. } = self;
        let mut keep = || watch.keep(report);
        let new_root = Path::new(NEW_ROOT);
        let target = system::below(new_root, paths::DATA);
        let state = data::open(report, new_root, device, &target, &mut keep);
        if matches!(state, DataState::Damaged { .. }) {
            return state;
        }
        Self::use_seed(report, &target);
        let done = reset::factory_reset(&target, &mut |_| {
            keep();
            Ok(())
        });
        match done {
            Ok(false) => state,
            Ok(true) => {
                report.notice("factory reset: data is empty now");
                let renewed = os_io::durable::create_folder(&target.join("state"), 0o755);
                if let Err(error) = renewed {
                    return data::refuse_half_reset(report, &target, chain(&error));
                }
                Self::use_seed(report, &target);
                state
            }
            Err(error) => data::refuse_half_reset(report, &target, unfinished(&error)),
        }
    }

    fn use_seed(report: &Report, data: &Path) {
        match seed::use_and_replace(data, &mut random::credit) {
            Ok(Seeded::Credited | Seeded::FirstSeed) => {}
            Err(error) => report.warning(&format!("no random seed: {}", chain(&error))),
        }
    }

    fn apply_identity(&self) {
        let new_root = Path::new(NEW_ROOT);
        let identity = Identity::read(&system::below(new_root, paths::DATA));
        let mut warnings = identity.warnings.clone();
        warnings.extend(identity.apply(&Root::at(new_root)));
        if let Err(error) = host::set_hostname(identity.host_name.as_str()) {
            warnings.push(chain(&error));
        }
        for warning in warnings {
            self.report.warning(&warning);
        }
    }

    fn publish_facts(
        &self,
        line: &CommandLine,
        disk: &Disk,
        data_device: std::path::PathBuf,
        bootstate_device: std::path::PathBuf,
        data: DataState,
    ) -> Result<(), Failure> {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let handed_over_ms = u64::try_from(host::uptime().as_millis()).unwrap_or(u64::MAX);
        let facts = BootFacts {
            slot: line.slot,
            healed: line.healed,
            version: line.version.clone(),
            rollback_index: line.rollback_index,
            profile: line.profile.clone(),
            board: line.board.clone(),
            development_keys: line.development_keys,
            disk: text(disk.device()),
            data_device: text(data_device),
            bootstate_device: text(bootstate_device),
            data,
            handed_over_ms,
        };
        let json = serde_json::to_vec(&facts).map_err(|error| Failure::of(&error))?;
        system::publish(Path::new(paths::BOOT_FACTS), &json).map_err(|error| Failure::of(&error))?;
        self.report.notice(&format!(
            "slot {} of {} {}: handing over after {handed_over_ms} ms",
            if facts.slot == Slot::A { 'a' } else { 'b' },
            facts.board,
            facts.version
        ));
        Ok(())
    }
}

fn unfinished(error: &io::Error) -> String {
    format!("the factory reset could not finish, the next start goes on with it: {error}")
}

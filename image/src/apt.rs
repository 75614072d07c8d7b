//! Debian packages by apt, as an ordinary user: a private state, signatures checked by apt itself.
//!
//! The mirror is the host's own (or what `HEARTH_DEBIAN_MIRROR` says); this project names none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use board_support::Architecture;

use crate::cache::{Cache, hash_file};
use crate::error::{BuildError, FileContext, Result};
use crate::lock::{LockedPackage, Role};
use crate::profile::PackageRequest;
use crate::program::run;
use crate::progress::Progress;

/// Debian's release.
pub const SUITE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt's list of sources: the suites that images are made from, each signed by Debian's archive key.
///
/// # Errors
/// When no mirror is known, or the key is not installed.
pub fn sources() -> Result<String> {
    let mirror = signed_mirror()?;
    let security = format!("{}-security", mirror.trim_end_matches('/'));
    let signed = format!("[signed-by={KEYRING}]");
    let parts = "main non-free-firmware";
    Ok(format!(
        "deb {signed} {mirror} {SUITE} {parts}\ndeb {signed} {mirror} {SUITE}-updates {parts}\n\
         deb {signed} {mirror} {SUITE}-backports {parts}\ndeb {signed} {security} {SUITE}-security {parts}\n"
    ))
}

/// The list of sources of one suite alone, `main` only.
///
/// An index past its date is taken, since a mirror that is a snapshot has no newer `sid`; its signature is checked all the same.
fn sources_of(suite: &str) -> Result<String> {
    Ok(format!(
        "deb [signed-by={KEYRING} check-valid-until=no] {} {suite} main\n",
        signed_mirror()?
    ))
}

/// The mirror, when the key that its content is checked with is there.
fn signed_mirror() -> Result<String> {
    if !Path::new(KEYRING).exists() {
        return Err(BuildError::Packages(format!(
            "{KEYRING} is missing: install the package debian-archive-keyring (`cargo xtask doctor`)"
        )));
    }
    mirror()
}

/// A private apt for one architecture.
#[derive(Debug)]
pub struct Apt {
    config: PathBuf,
    folder: PathBuf,
    architecture: Architecture,
    suite: Option<String>,
}

impl Apt {
    /// Lays out the private state. No network.
    pub fn open(cache: &Cache, architecture: Architecture) -> Result<Self> {
        Self::lay_out(cache, architecture, None)
    }

    /// The same for one suite that no image is made from, such as `sid`: its indices and state are kept apart.
    pub fn open_suite(cache: &Cache, architecture: Architecture, suite: &str) -> Result<Self> {
        Self::lay_out(cache, architecture, Some(suite))
    }

    fn lay_out(cache: &Cache, architecture: Architecture, suite: Option<&str>) -> Result<Self> {
        let name = architecture.debian();
        let folder = cache.folder(&match suite {
            Some(suite) => format!("apt/{name}-{suite}"),
            None => format!("apt/{name}"),
        })?;
        for sub in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/sources.list.d",
            "trusted.d",
        ] {
            let path = folder.join(sub);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let status = folder.join("status");
        fs::write(&status, "").at("write", &status)?;
        let config = folder.join("apt.conf");
        let at = folder.display();
        let arch = architecture.debian();
        let text = format!(
            "Dir::State \"{at}/state\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\nDir::Etc \"{at}/etc\";\n\
             Dir::Etc::TrustedParts \"{at}/trusted.d\";\nDir::Etc::Trusted \"/dev/null\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nAPT::Install-Recommends \"false\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\nAcquire::Retries \"2\";\nAcquire::http::Timeout \"30\";\n\
             quiet \"1\";\n"
        );
        fs::write(&config, text).at("write", &config)?;
        Ok(Self {
            config,
            folder,
            architecture,
            suite: suite.map(Into::into),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.folder);
        command
    }

    /// Fetches the package indices; apt refuses what is not signed by Debian's archive key.
    pub fn update(&self) -> Result<()> {
        let path = self.folder.join("etc/sources.list");
        let text = match &self.suite {
            Some(suite) => sources_of(suite)?,
            None => sources()?,
        };
        fs::write(&path, text).at("write", &path)?;
        run(self
            .command("apt-get")
            .args(["update", "-o", "APT::Update::Error-Mode=any"]))
        .map(drop)
        .map_err(|e| {
            BuildError::Packages(format!(
                "the package mirror cannot be used: check the network connection and run again ({e})"
            ))
        })
    }

    /// Finds the packages of today's archive for a request.
    pub fn resolve(&self, request: &PackageRequest) -> Result<Vec<LockedPackage>> {
        let mut roles: BTreeMap<(String, String), Role> = BTreeMap::new();
        let root = self.closure(&request.root)?;
        let with_dev: Vec<String> = request.root.iter().chain(&request.dev).cloned().collect();
        let excluded = |name: &str| request.exclude.iter().any(|e| e == name);
        for key in self
            .closure(&with_dev)?
            .into_iter()
            .filter(|(name, _)| !excluded(name))
        {
            roles.insert(key, Role::Dev);
        }
        for key in root.into_iter().filter(|(name, _)| !excluded(name)) {
            roles.insert(key, Role::Root);
        }
        for (meta, suite) in &request.kernels {
            for key in self.kernel(meta, suite)? {
                roles.insert(key, Role::Kernel);
            }
        }
        for spec in &request.extra {
            roles.entry(self.candidate(spec)?).or_insert(Role::Extra);
        }
        self.describe(&roles)
    }

    /// What `apt-get install` would fetch on an empty system.
    fn closure(&self, packages: &[String]) -> Result<BTreeSet<(String, String)>> {
        let out = run(self
            .command("apt-get")
            .args(["install", "-y", "--print-uris"])
            .args(packages))?;
        Ok(uris(&String::from_utf8_lossy(&out)).collect())
    }

    /// Name and version of one package, `name` or `name/suite` or `name=version`, without its dependencies.
    fn candidate(&self, spec: &str) -> Result<(String, String)> {
        let out = run(self.command("apt-get").args(["download", "--print-uris", spec]))?;
        uris(&String::from_utf8_lossy(&out))
            .next()
            .ok_or_else(|| BuildError::Packages(format!("the mirror has no package {spec}")))
    }

    /// From Debian's kernel metapackage to the packages that hold files.
    fn kernel(&self, meta: &str, suite: &str) -> Result<Vec<(String, String)>> {
        const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];
        let mut found: Vec<(String, String)> = Vec::new();
        let mut queue = vec![format!("{meta}/{suite}")];
        while let Some(spec) = queue.pop() {
            let (name, version) = self.candidate(&spec)?;
            if found.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let shown = run(self
                .command("apt-cache")
                .args(["show", &format!("{name}={version}")]))?;
            let shown = String::from_utf8_lossy(&shown).into_owned();
            let depends = shown
                .lines()
                .find_map(|l| l.strip_prefix("Depends: "))
                .unwrap_or_default();
            for part in depends.split(',').filter_map(|d| d.split('|').next()) {
                let part = part.split_whitespace().next().unwrap_or_default();
                let has_version = part.bytes().any(|b| b.is_ascii_digit() && !part.ends_with("64"))
                    || part.bytes().filter(u8::is_ascii_digit).count() > 2;
                if has_version && PARTS.iter().any(|p| part.starts_with(p)) {
                    queue.push(format!("{part}/{suite}"));
                }
            }
            found.push((name, version));
        }
        found.retain(|(name, _)| name != meta);
        Ok(found)
    }

    fn describe(&self, roles: &BTreeMap<(String, String), Role>) -> Result<Vec<LockedPackage>> {
        let specs: Vec<String> = roles
            .keys()
            .map(|(name, version)| format!("{name}={version}"))
            .collect();
        let shown = run(self.command("apt-cache").arg("show").args(&specs))?;
        let mut packages = Vec::new();
        for stanza in String::from_utf8_lossy(&shown).split("\n\n") {
            let field = |key: &str| {
                stanza
                    .lines()
                    .find_map(|l| l.strip_prefix(key))
                    .map(|v| v.trim().to_string())
                    .unwrap_or_default()
            };
            let key = (field("Package:"), field("Version:"));
            let Some(role) = roles.get(&key) else { continue };
            packages.push(LockedPackage {
                role: *role,
                name: key.0,
                version: key.1,
                architecture: field("Architecture:"),
                size_bytes: field("Size:").parse().unwrap_or_default(),
                sha256: field("SHA256:"),
            });
        }
        packages.sort();
        packages.dedup();
        for (name, version) in roles.keys() {
            if !packages
                .iter()
                .any(|p| p.name == *name && p.version == *version && p.sha256.len() == 64)
            {
                return Err(BuildError::Packages(format!(
                    "the package index does not describe {name} {version}"
                )));
            }
        }
        Ok(packages)
    }

    /// Fetches packages into the cache, each under its hash.
    ///
    /// # Errors
    /// Names the packages that the mirror has no more, or whose content is not what the lock says.
    pub fn download(
        &self,
        cache: &Cache,
        packages: &[&LockedPackage],
        progress: &dyn Progress,
    ) -> Result<()> {
        let incoming = self.folder.join("incoming");
        let _ = fs::remove_dir_all(&incoming);
        fs::create_dir_all(&incoming).at("create", &incoming)?;
        let specs: Vec<String> = packages
            .iter()
            .map(|p| format!("{}={}", p.name, p.version))
            .collect();
        let total: u64 = packages.iter().map(|p| p.size_bytes).sum();
        let bar = progress.bytes("Downloading packages", total);
        let mut command = self.command("apt-get");
        command.arg("download").args(&specs).current_dir(&incoming);
        let result = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&mut command));
            while !running.is_finished() {
                bar.set(folder_size(&incoming));
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            running.join()
        });
        bar.finish();
        match result {
            Ok(result) => result.map_err(|e| BuildError::Packages(e.to_string()))?,
            Err(_) => return Err(BuildError::Packages("downloading stopped unexpectedly".into())),
        };
        for entry in fs::read_dir(&incoming).at("read", &incoming)? {
            let path = entry.at("read", &incoming)?.path();
            if path.extension().is_some_and(|e| e == "deb") {
                let hash = hash_file(&path)?;
                let target = cache.by_hash("debs", &hash)?;
                fs::rename(&path, &target).at("rename", &target)?;
            }
        }
        let missing: Vec<&str> = packages
            .iter()
            .filter(|p| !cache.by_hash("debs", &p.sha256).is_ok_and(|path| path.exists()))
            .map(|p| p.name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(BuildError::Packages(format!(
            "the mirror's content of {} is not what the lock says; `cargo xtask lock` renews the lock",
            missing.join(", ")
        )))
    }

    /// The architecture that this apt is for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }
}

fn folder_size(folder: &Path) -> u64 {
    let of = |f: PathBuf| fs::metadata(f).map(|m| m.len()).unwrap_or_default();
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|e| of(e.path())).sum())
        .unwrap_or_default()
}

/// `'URI' name_version_arch.deb size hash` lines of `--print-uris`.
fn uris(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.lines().filter(|l| l.starts_with('\'')).filter_map(|line| {
        let file = line.split_whitespace().nth(1)?;
        let mut parts = file.strip_suffix(".deb")?.split('_');
        Some((parts.next()?.to_string(), unescape(parts.next()?)))
    })
}

/// `%3a` → `:` in file names of packages.
fn unescape(text: &str) -> String {
    text.replace("%3a", ":")
        .replace("%3A", ":")
        .replace("%7e", "~")
        .replace("%2b", "+")
}

/// The Debian mirror: the environment, else the host's apt sources, else debootstrap's own default (on Ubuntu).
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("HEARTH_DEBIAN_MIRROR") {
        if mirror.starts_with("http://") || mirror.starts_with("https://") {
            return Ok(mirror.trim_end_matches('/').into());
        }
        return Err(BuildError::invalid(
            "HEARTH_DEBIAN_MIRROR",
            "is not the address of a mirror (http:// or https://)",
        ));
    }
    let targets = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
            "Created-By: Packages",
        ])
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    if let Some(mirror) = mirror_of_host(&targets) {
        return Ok(mirror);
    }
    let scripts = [
        "/usr/share/debootstrap/scripts/debian-common",
        "/usr/share/debootstrap/scripts/sid",
    ];
    for script in scripts {
        if let Some(mirror) = fs::read_to_string(script)
            .ok()
            .as_deref()
            .and_then(mirror_of_debootstrap)
        {
            return Ok(mirror);
        }
    }
    Err(BuildError::Packages(
        "no Debian mirror is known on this machine: set HEARTH_DEBIAN_MIRROR to the address of one, or install debootstrap"
            .into(),
    ))
}

fn mirror_of_host(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut parts = line.split('|');
        let (origin, label, uri) = (parts.next()?, parts.next()?, parts.next()?);
        (origin == "Debian" && label == "Debian").then(|| uri.trim_end_matches('/').to_string())
    })
}

fn mirror_of_debootstrap(script: &str) -> Option<String> {
    script.lines().find_map(|line| {
        let address = line.trim().strip_prefix("default_mirror ")?.trim_matches('"');
        (address.starts_with("http") && address.ends_with("/debian")).then(|| address.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_epochs_are_read_from_print_uris() {
        let line = "'http://mirror.example/pool/z.deb' zlib1g_1%3a1.3_arm64.deb 85028 SHA256:aa\nReading\n";
        assert_eq!(
            uris(line).collect::<Vec<_>>(),
            [("zlib1g".to_string(), "1:1.3".to_string())]
        );
    }

    #[test]
    fn the_mirror_is_debians_and_not_the_security_archive_nor_ubuntu() {
        let targets = "Debian|Debian-Security|http://a.example/debian-security\nUbuntu|Ubuntu|http://u.example/\nDebian|Debian|http://a.example/debian/\n";
        assert_eq!(
            mirror_of_host(targets).as_deref(),
            Some("http://a.example/debian")
        );
        assert_eq!(mirror_of_host("Ubuntu|Ubuntu|http://u.example/"), None);
    }

    #[test]
    fn debootstrap_names_a_mirror_where_the_host_has_none() {
        let script = "case $ARCH in\n  sparc)\n  default_mirror http://ports.example/debian-ports\n *)\n    default_mirror http://d.example/debian\n";
        assert_eq!(
            mirror_of_debootstrap(script).as_deref(),
            Some("http://d.example/debian")
        );
    }
}

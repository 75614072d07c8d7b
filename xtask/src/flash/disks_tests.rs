use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

/// A machine made of files.
struct Fake {
    folder: TempDir,
    mounts: String,
    minor: u32,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["sys/block", "sys/class/block", "proc/self", "run/udev/data"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        Self {
            folder,
            mounts: String::new(),
            minor: 0,
        }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn device(&mut self, node: &str, sectors: u64) -> PathBuf {
        let path = self.root().join("sys/devices").join(node);
        fs::create_dir_all(path.join("holders")).unwrap();
        fs::write(path.join("size"), format!("{sectors}\n")).unwrap();
        fs::write(path.join("dev"), format!("8:{}\n", self.minor)).unwrap();
        self.minor += 1;
        symlink(
            &path,
            self.root()
                .join("sys/class/block")
                .join(path.file_name().unwrap()),
        )
        .unwrap();
        path
    }

    fn disk(&mut self, node: &str, bytes: u64) -> PathBuf {
        let path = self.device(node, bytes / 512);
        fs::create_dir_all(path.join("device")).unwrap();
        fs::create_dir_all(path.join("queue")).unwrap();
        fs::write(path.join("ro"), "0\n").unwrap();
        fs::write(path.join("removable"), "0\n").unwrap();
        fs::write(path.join("queue/logical_block_size"), "512\n").unwrap();
        symlink(
            &path,
            self.root().join("sys/block").join(path.file_name().unwrap()),
        )
        .unwrap();
        path
    }

    fn partition(&mut self, node: &str) -> PathBuf {
        let path = self.device(node, 2048);
        fs::write(path.join("partition"), "1\n").unwrap();
        path
    }

    /// A mapped device on top of `below`.
    fn mapper(&mut self, name: &str, title: &str, below: &[&Path]) -> PathBuf {
        let path = self.disk(&format!("virtual/block/{name}"), GIB);
        fs::create_dir_all(path.join("dm")).unwrap();
        fs::write(path.join("dm/name"), title).unwrap();
        for device in below {
            symlink(&path, device.join("holders").join(name)).unwrap();
        }
        path
    }

    fn mount(&mut self, number: &str, source: &str, at: &str) {
        self.mounts += &format!("36 35 {number} / {at} rw,noatime shared:1 - ext4 {source} rw\n");
    }

    fn scan(&self) -> Vec<Disk> {
        fs::write(self.root().join("proc/self/mountinfo"), &self.mounts).unwrap();
        scan(self.root()).unwrap()
    }

    fn get(&self, name: &str) -> Disk {
        find(self.root(), &self.scan(), name).unwrap().clone()
    }

    fn refusal(&self, name: &str) -> Option<String> {
        refusal(&self.get(name), Some(GIB), false)
    }
}

const STICK: &str = "pci0000:00/usb2/2-1/host6/block/sdb";
const INTERNAL: &str = "pci0000:00/ata1/host0/block/sda";

/// A USB stick with one partition, and where it is in sysfs.
fn stick() -> (Fake, PathBuf) {
    let mut fake = Fake::new();
    let path = fake.disk(STICK, 32 * GIB);
    fake.partition(&format!("{STICK}/sdb1"));
    (fake, path)
}

fn assert_says(refusal: Option<String>, words: &[&str]) {
    let refusal = refusal.expect("refused");
    assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
}

#[test]
fn an_idle_usb_stick_is_accepted_and_described() {
    let (fake, path) = stick();
    fs::write(path.join("device/vendor"), "SanDisk \n").unwrap();
    fs::write(path.join("device/model"), "Ultra\n").unwrap();
    fs::write(path.join("sdb1/uevent"), "DEVTYPE=partition\nPARTNAME=firmware\n").unwrap();
    fs::write(
        fake.root().join("run/udev/data/b8:1"),
        "E:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=PHOTOS\n",
    )
    .unwrap();
    let disk = fake.get("sdb");
    assert_eq!(fake.refusal("sdb"), None);
    assert_eq!(
        (disk.model.as_str(), disk.size_bytes, disk.connection),
        ("SanDisk Ultra", 32 * GIB, Connection::Usb)
    );
    let part = &disk.partitions[0];
    assert_eq!(
        (part.label.as_deref(), part.file_system.as_deref()),
        (Some("PHOTOS"), Some("vfat"))
    );
    assert_eq!(part.mounted_at, [""; 0]);
}

#[test]
fn a_partition_is_refused_with_the_name_of_its_disk() {
    let (fake, _) = stick();
    let error = find(fake.root(), &fake.scan(), "sdb1").unwrap_err().to_string();
    assert!(error.contains("--device /dev/sdb`"), "{error}");
    let error = find(fake.root(), &fake.scan(), "sdz").unwrap_err().to_string();
    assert!(error.contains("no disk sdz"), "{error}");
}

#[test]
fn a_mounted_disk_is_refused_by_device_number_and_by_path() {
    let (mut fake, _) = stick();
    fake.mount("8:1", "/dev/root", "/media/my\\040card");
    assert_says(
        fake.refusal("sdb"),
        &["sdb1 is mounted", "sudo umount '/media/my card'"],
    );
    assert_eq!(fake.get("sdb").partitions[0].mounted_at, ["/media/my card"]);
    let (mut fake, _) = stick();
    fake.mount("0:44", "/dev/sdb1", "/media/btrfs");
    assert_says(fake.refusal("sdb"), &["sudo umount /media/btrfs"]);
    let (mut fake, _) = stick();
    fake.mount("8:0", "/dev/sdb", "/media/whole");
    assert_says(fake.refusal("sdb"), &["sdb is mounted"]);
}

#[test]
fn the_mounts_of_another_disk_do_not_matter() {
    let (mut fake, _) = stick();
    fake.mount("8:77", "/dev/sdb11", "/");
    fake.mount("0:1", "proc", "/proc");
    assert_eq!(fake.refusal("sdb"), None);
}

#[test]
fn a_system_disk_is_refused_even_when_it_is_a_usb_disk() {
    for at in ["/", "/boot", "/home"] {
        let (mut fake, _) = stick();
        fake.mount("8:1", "/dev/sdb1", "/media/x");
        fake.mount("8:1", "/dev/sdb1", at);
        let refusal = refusal(&fake.get("sdb"), Some(GIB), true);
        assert_says(refusal, &["own system", "choose another"]);
    }
}

#[test]
fn a_system_disk_is_known_through_encryption_and_volumes() {
    let mut fake = Fake::new();
    fake.disk(INTERNAL, 32 * GIB);
    let part = fake.partition(&format!("{INTERNAL}/sda1"));
    let crypt = fake.mapper("dm-0", "cryptroot", &[&part]);
    fake.mapper("dm-1", "vg-root", &[&crypt]);
    fake.mount("0:33", "/dev/mapper/vg-root", "/");
    assert_says(
        refusal(&fake.get("sda"), None, true),
        &["own system", "dm-1 is mounted at /"],
    );
}

#[test]
fn holders_and_swap_are_refused_with_the_way_to_end_them() {
    let (mut fake, path) = stick();
    let part = path.join("sdb1");
    fake.mapper("dm-0", "backup disk", &[&part]);
    assert_says(
        fake.refusal("sdb"),
        &["sdb1 is part of backup disk", "sudo dmsetup remove 'backup disk'"],
    );
    let (mut fake, path) = stick();
    let raid = fake.disk("virtual/block/md127", GIB);
    symlink(raid, path.join("holders/md127")).unwrap();
    assert_says(fake.refusal("sdb"), &["mdadm --stop /dev/md127"]);
    let (fake, _) = stick();
    fs::write(
        fake.root().join("proc/swaps"),
        "Filename Type Size\n/dev/sdb1  partition 1 0 -2\n",
    )
    .unwrap();
    assert_says(fake.refusal("sdb"), &["sudo swapoff /dev/sdb1"]);
}

#[test]
fn holders_that_hold_each_other_come_to_an_end() {
    let (mut fake, path) = stick();
    let one = fake.mapper("dm-0", "one", &[&path]);
    let two = fake.mapper("dm-1", "two", &[&one]);
    symlink(&one, two.join("holders/dm-0")).unwrap();
    assert_says(fake.refusal("sdb"), &["sdb is in use"]);
}

#[test]
fn a_built_in_disk_needs_the_flag_and_soldered_flash_is_built_in() {
    let mut fake = Fake::new();
    fake.disk(INTERNAL, 32 * GIB);
    assert_says(fake.refusal("sda"), &["built in", "--even-if-not-removable"]);
    assert_eq!(refusal(&fake.get("sda"), Some(GIB), true), None);
    let card = fake.disk("platform/mmc0/mmc_host/mmc0/mmc0:0001/block/mmcblk0", 32 * GIB);
    fs::write(card.join("device/type"), "MMC\n").unwrap();
    assert_says(fake.refusal("mmcblk0"), &["built in"]);
    fs::write(card.join("device/type"), "SD\n").unwrap();
    assert_eq!(fake.refusal("mmcblk0"), None);
    fs::write(fake.root().join("sys/block/sda/removable"), "1\n").unwrap();
    assert_eq!(fake.refusal("sda"), None);
}

#[test]
fn a_disk_that_cannot_take_the_image_is_refused() {
    let (fake, path) = stick();
    fs::write(path.join("ro"), "1\n").unwrap();
    assert_says(fake.refusal("sdb"), &["write-protected", "switch"]);
    fs::write(path.join("ro"), "0\n").unwrap();
    fs::write(path.join("size"), (GIB / 512 - 1).to_string()).unwrap();
    assert_says(fake.refusal("sdb"), &["too small"]);
    fs::write(path.join("size"), (GIB / 512).to_string()).unwrap();
    assert_eq!(fake.refusal("sdb"), None);
    fs::write(path.join("queue/logical_block_size"), "4096\n").unwrap();
    assert_says(fake.refusal("sdb"), &["sectors of 4096"]);
    fs::write(path.join("size"), "0\n").unwrap();
    assert_says(fake.refusal("sdb"), &["no card"]);
}

#[test]
fn a_machine_that_does_not_tell_its_mounts_is_not_guessed_at() {
    let (fake, _) = stick();
    assert!(scan(fake.root()).unwrap_err().to_string().contains("mountinfo"));
}

#!/busybox sh
# pid 1 of the initramfs that starts the peer's second stage: our modules, then the peer's disk.
fail() { echo "second stage: $*"; /busybox sync; echo o >/proc/sysrq-trigger; /busybox sleep 60; }
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
exec </dev/console >/dev/console 2>&1
while read -r module; do
    /busybox insmod "/$module" || echo "second stage: $module was not loaded"
done </modules.load
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    /busybox sleep 1
done
/busybox mount -t ext4 /dev/vda /sysroot || fail "no disk"
# They were extracted by an ordinary user; dpkg gives those their owners that have one.
/busybox chown -R -h 0:0 /sysroot
/busybox umount /proc
exec /busybox switch_root /sysroot /bin/sh /second-stage

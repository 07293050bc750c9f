#!/busybox sh
# init: the guest's first process.  It makes the host's files the root: read-only by 9p, with
# what is written kept in memory above them; then stage2.sh goes on there.
b=/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r module; do $b insmod "$module"; done </order
files=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o ro,$files,cache=loose root /lower
$b mount -t tmpfs upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work new /new
for folder in dev proc sys; do $b mount --move /$folder /new/$folder; done
$b mount -t tmpfs -o mode=755 run /new/run
$b mkdir /new/run/job
$b mount -t 9p -o $files,cache=none job /new/run/job
$b cp /busybox /new/run/busybox
exec $b switch_root /new /run/busybox sh /run/job/stage2.sh

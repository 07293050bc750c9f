# stage2: process 1 on the host's files.  `settings` is what qemu.py tells.  It runs `command`,
# leaves its exit status in `status`, and ends the machine.
b=/run/busybox
job=/run/job
. $job/settings

$b stty -F /dev/console -onlcr
$b mount -t tmpfs -o mode=1777 shm /dev/shm 2>/dev/null ||
	{ $b mkdir /dev/shm && $b mount -t tmpfs -o mode=1777 shm /dev/shm; }
$b mkdir -p /dev/pts && $b mount -t devpts pts /dev/pts
$b ip link set lo up
$b hostname guest

# modprobe, for tests and for the kernel itself, is busybox's.
$b mkdir -p "/lib/modules/$($b uname -r)" /run/bin
$b mount --bind "$FOLDER" "/lib/modules/$($b uname -r)"
for tool in modprobe insmod rmmod lsmod; do $b ln -s $b /run/bin/$tool; done
echo /run/bin/modprobe >/proc/sys/kernel/modprobe
for module in $MODULES; do $b modprobe "$module" || echo "guest: no module $module"; done

# An ordinary user may enter the folders on the way to the interpreter and the repository.
for folder in $OPEN; do [ ! -d "$folder" ] || $b chmod a+rx "$folder"; done

cd "$REPOSITORY" || exit 1
export HOME=/run/home PATH="$VENV/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/bin" TMPDIR=/run/tmp
export LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$REPOSITORY" RUMPCI_GUEST="$SERIES"
export RUMPCI_GUEST_QUERY="$QUERY"
[ -z "$RUMP_LIB" ] || export RUMPCI_RUMP_LIB="$RUMP_LIB"
$b mkdir -m 777 /run/home && $b mkdir -m 1777 /run/tmp
for pair in $BIND; do "$PYTHON" -m tests.linux.binding "${pair%%=*}" "${pair#*=}" "$RUN_AS"; done
if [ "$RUN_AS" = 0 ]; then
	$b sh $job/command
else
	$b chown "$RUN_AS" /run/home
	"$PYTHON" -c 'import os, sys
user = int(sys.argv[1])
os.setgroups([]); os.setgid(user); os.setuid(user)
os.execv(sys.argv[2], sys.argv[2:])' "$RUN_AS" $b sh $job/command
fi
echo $? >$job/status
# isa-debug-exit at port 0xf4: QEMU ends with (byte << 1) | 1.
printf '\001' | $b dd of=/dev/port bs=1 seek=244 2>/dev/null
$b poweroff -f

# Clears up after a test process, however it ended: its standard input is a pipe that only that process holds.
# $1 is the scratch folder. Whatever still runs below it belongs to the tests and is killed; then it is removed.
trap '' HUP INT TERM
while read -r _; do :; done
cd /

ours() {
    find /proc/[0-9]*/cwd -maxdepth 0 -lname "$1*" 2> /dev/null | cut -d / -f 3
}

# The kernel has told them to end; PostgreSQL clears up its shared memory if it gets the time, and is not halted.
for process in $(ours "$1"); do kill -CONT "$process" 2> /dev/null; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$(ours "$1")" ] || break
    sleep 0.2
done
for _ in 1 2 3; do
    # Disks of the tests' own.
    for mounted in $(cut -d ' ' -f 2 /proc/mounts | grep "^$1/"); do umount "$mounted" 2> /dev/null; done
    for process in $(ours "$1"); do kill -KILL "$process" 2> /dev/null; done
    rm -rf "$1" && break
    sleep 0.2
done

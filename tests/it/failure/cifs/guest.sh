# Sourced in the guest before a script: a Samba server whose share is a file system in memory, mounted by the kernel's
# client at /mnt/box, and the program with a configuration of its own. A script prints DONE at its end; a step that fails
# prints why, and ends it.

SHARE=/srv/box
BOX=/mnt/box

fail() {
    echo "FAILED: $*"
    for file in /tmp/err /tmp/out; do
        [ ! -s $file ] || { echo "--- $file"; tail -n 30 $file; }
    done
    echo "--- the kernel"
    dmesg | tail -n 15
    exit 1
}

# wait_for WHAT SECONDS COMMAND…: until the command succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "waited in vain until $what"
        sleep 0.2
    done
}

# start_server [OPTION]: the share has so many MiB and further options of smb.conf.
start_server() {
    mkdir -p /run/samba /var/lib/samba/private /var/log/samba /var/cache/samba $SHARE
    mountpoint -q $SHARE || mount -t tmpfs -o size=350m tmpfs $SHARE
    chmod 777 $SHARE
    cat >/etc/samba/smb.conf <<END
[global]
    server role = standalone server
    interfaces = lo
    bind interfaces only = yes
    disable netbios = yes
    smb ports = 445
    load printers = no
[backup]
    path = $SHARE
    read only = ${1:-no}
    force user = root
    strict sync = yes
END
    printf 'password\npassword\n' | smbpasswd -s -a root >/dev/null 2>&1
    smbd -D
    wait_for "the server listens" 20 sh -c 'ss -ltn | grep -q :445'
}

# All of them: each connection has one of its own.
servers() { pidof smbd; }
kill_server() { kill -KILL $(servers); }

mount_box() {
    mkdir -p $BOX
    mount -t cifs //127.0.0.1/backup $BOX \
        -o "username=root,password=password,uid=0,gid=0,file_mode=0660,dir_mode=0770,vers=3.1.1,echo_interval=5" ||
        fail "the share cannot be mounted"
}

# configure [LINE…]: these lines are added to the table of the repository.
configure() {
    mkdir -p /tmp/data
    (umask 077; echo "a repository password" >/tmp/password)
    {
        printf '%s\n' 'state_dir = "/tmp/state"' '[repository]' "location = \"$BOX/repo\"" "mount = \"$BOX\"" \
            'password_file = "/tmp/password"' 'host = "guest"' 'min_free = "0B"' 'pack_size = "4MiB"' "$@"
        printf '%s\n' '[sources.files]' 'kind = "directory"' 'paths = ["/tmp/data"]'
    } >/tmp/config.toml
}

# new_data MIB: so much that no earlier backup has.
new_data() { head -c "${1}M" /dev/urandom >/tmp/data/file; }

program() { "$FOLDER/tik-backup" --config /tmp/config.toml "$@" >/tmp/out 2>/tmp/err; }

# expect CODE ARGUMENT…: the program must end with this code.
expect() {
    local expected=$1 code=0
    shift
    program "$@" || code=$?
    [ $code = "$expected" ] || fail "$1 ended with $code instead of $expected"
}

says() { grep -q -- "$1" /tmp/err || fail "it does not say: $1"; }

packs() { find $SHARE/repo/data -type f 2>/dev/null | wc -l; }
more_packs_than() { [ "$(packs)" -gt "$1" ]; }

# backup_until_busy: a backup in the background that has stored two packs and has more to store.
backup_until_busy() {
    local before
    before=$(packs)
    program backup &
    backup=$!
    wait_for "some packs are stored" 60 more_packs_than $((before + 1))
    kill -0 $backup 2>/dev/null || fail "the backup ended too early: too little data"
}

# backup_ends CODE
backup_ends() {
    local code=0
    wait $backup || code=$?
    [ $code = "$1" ] || fail "the backup ended with $code instead of $1"
}

sound() {
    expect 0 check --read-data
    [ -z "$(find $SHARE/repo -name '*-tmp-*')" ] || fail "temporary files are left behind"
}

step() { echo "at $SECONDS s: $*"; }

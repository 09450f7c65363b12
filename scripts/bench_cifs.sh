# Sourced in the guest after tests/it/failure/cifs/guest.sh: counts the requests of the program and of stock restic on a CIFS
# mount. Each line `COUNT REQUESTS TOOL STEP` is a result; the names of tools are those in $FOLDER/settings.

. "$FOLDER/settings"
FILES=8
export RESTIC_PASSWORD_FILE=/tmp/password

# repository NAME: what the tools use from now on.
repository() {
    REPO=$BOX/$1
    (umask 077; echo "a repository password" >/tmp/password)
    cat >/tmp/config.toml <<END
state_dir = "/tmp/state-$1"
[repository]
location = "$REPO"
mount = "$BOX"
password_file = "/tmp/password"
host = "guest"
min_free = "0B"
[sources.files]
kind = "directory"
paths = ["/tmp/data"]
END
}

# new_files NUMBER…: of 4 MiB each, that no earlier backup has.
new_files() {
    local number
    mkdir -p /tmp/data
    for number in "$@"; do
        head -c 4M /dev/urandom >"/tmp/data/$number" || fail "there is no data"
    done
}

# with TOOL COMMAND…
with() {
    local tool=$1
    shift
    if [ "$tool" = ours ]; then
        program "$@"
        return
    fi
    [ "$1" != backup ] || set -- backup /tmp/data
    RESTIC_CACHE_DIR=/tmp/cache-$tool "$FOLDER/$tool" -q -r "$REPO" "$@" >/tmp/out 2>/tmp/err
}

quietly_with() { with "$@" || fail "$1 could not $2"; }

# The share is mounted anew: what the client remembers from an earlier step would save requests.
counted() {
    local step=$1
    shift
    umount $BOX
    mount_box
    echo 0 >/proc/fs/cifs/Stats
    quietly_with "$@"
    awk -v tool="$1" -v step="$step" '/^[0-9]+\)/ { share = 1 }
        share && /SMBs: / { print "COUNT", $2, tool, step; exit }' /proc/fs/cifs/Stats
}

packs() { find "$SHARE/${REPO##*/}/data" -type f | wc -l; }

start_server
mount_box
tools="$RESTICS ours"

new_files $(seq $FILES)
for tool in $tools; do
    repository "of-$tool"
    quietly_with "$tool" init
    counted "first backup of $((FILES * 4)) MiB, once" "$tool" backup
done
for tool in $tools; do
    repository "of-$tool"
    # Both write packs of about the same size; the number of one of them stands for all.
    few=${few:-$(packs)}
    counted "unchanged run, $few packs" "$tool" backup
done
for tool in $tools; do
    repository "of-$tool"
    counted "\`check\`, $few packs" "$tool" check
done
new_files 1 5
for tool in $tools; do
    repository "of-$tool"
    quietly_with "$tool" backup
    with "${RESTICS%% *}" forget --keep-last 1 --group-by paths || fail "a snapshot cannot be forgotten"
    counted "\`prune\` of a quarter, once" "$tool" prune
done

# One repository for all of them, as its packs are of no tool.
repository many
quietly_with ours init
for tool in $tools; do
    quietly_with "$tool" backup
done
"$PYTHON" "$FOLDER/bench_packs.py" "$SHARE/many" "$FOLDER/${RESTICS%% *}" "$PACKS" >/tmp/out 2>/tmp/err ||
    fail "packs cannot be added"
many=$(packs)
for tool in $tools; do
    # The caches that the tools have are filled, as after the run of the day before.
    quietly_with "$tool" backup
done
for tool in $tools; do
    counted "unchanged run, $many packs" "$tool" backup
done
for tool in $tools; do
    counted "\`check\`, $many packs" "$tool" check
done
echo DONE

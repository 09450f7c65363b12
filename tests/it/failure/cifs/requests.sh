# Counts the requests of commands on a repository with few packs and on one with many, for which nothing is to be done.
# The test compares what is printed: KIND PACKS REQUESTS.
start_server

# Every command begins without cached attributes.
fresh() {
    mountpoint -q $BOX && umount $BOX
    mount_box
    echo 0 >/proc/fs/cifs/Stats
}

requests() { awk '/SMBs:/ { all += $2 } END { print all + 0 }' /proc/fs/cifs/Stats; }

# The program has a state directory of its own for each repository.
measure() {
    local packs=$1 command
    sed "s|^state_dir.*|state_dir = \"/tmp/state-$packs\"|" "$FOLDER/config.toml" >/tmp/config.toml
    rm -rf $SHARE/repo
    tar -C $SHARE -xf "$FOLDER/repo-$packs.tar" || fail "the repository with $packs packs cannot be unpacked"
    fresh
    expect 0 backup
    for command in backup check prune; do
        fresh
        expect 0 $command
        echo "COUNT $command $packs $(requests)"
    done
}

measure 300
measure 10000
echo DONE

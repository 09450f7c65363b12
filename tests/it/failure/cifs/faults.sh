# What takes long or ends with an error: a share that is taken away, full or read-only, and a server that stays away.
start_server
mount_box
configure
new_data 8
expect 0 init
expect 0 backup

step "the share is unmounted in the middle of a backup, and mounted again"
new_data 60
backup_until_busy
umount -l $BOX
sleep 20
mount_box
backup_ends 0
sound

step "it is unmounted and stays so"
configure 'retry_for = "10s"'
new_data 60
backup_until_busy
umount -l $BOX
backup_ends 4
says "nothing is mounted at"
[ -z "$(ls -A $BOX)" ] || fail "something was written underneath the mount point"
mount_box
expect 0 backup
sound

step "the server stays away longer than is waited for"
new_data 60
backup_until_busy
kill_server
backup_ends 4
says "the storage does not answer, trying again"
start_server
wait_for "the share answers" 60 ls $BOX/repo
expect 0 backup
# What was being written then could not even be removed.
expect 0 prune
sound

step "the share is full"
configure
expect 0 prune
new_data 400
expect 4 backup
says "the storage is full"
new_data 1
expect 0 prune
expect 0 backup
sound

step "the share can only be read"
umount $BOX
kill_server
start_server yes
mount_box
new_data 1
expect 4 backup
says "cannot write a lock file"
expect 0 snapshots
echo DONE

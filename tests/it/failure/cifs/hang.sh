# A server that hangs for longer than the client waits for an answer: the mount is a soft one.
start_server
mount_box
configure
new_data 8
expect 0 init
expect 0 backup
step "the server hangs for 200 s in the middle of a backup"
new_data 80
backup_until_busy
kill -STOP $(servers)
sleep 200
kill -CONT $(servers)
backup_ends 0
sound
echo DONE

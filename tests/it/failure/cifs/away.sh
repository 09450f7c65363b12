# The server is killed in the middle of a backup and comes back after half a minute.
start_server
mount_box
configure
step "a backup without faults"
new_data 8
expect 0 init
expect 0 backup
step "the server is killed in the middle of the next"
new_data 80
backup_until_busy
kill_server
sleep 30
step "and comes back"
start_server
backup_ends 0
says "the storage does not answer, trying again"
says "the storage answers again"
step "what is stored is sound"
sound
echo DONE

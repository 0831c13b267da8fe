#!/bin/sh
# The load that the captured containers were under, so that none of their counters is 0:
#   docker exec -i CONTAINER sh -s SHARED_MIB < tests/data/load.sh
# Two burners against the CPU quota, shared memory (on a host with swap: more than the memory limit), a child that the
# OOM killer takes, page cache, and at last more processes than the pids limit. The container lives on.
SHARED_MIB=${1:-16}

for _ in 1 2; do timeout 4 sh -c 'while :; do :; done' & done
wait
dd if=/dev/zero of=/dev/shm/shared bs=1M count="$SHARED_MIB" 2>/dev/null
sh -c 'echo 1000 > /proc/self/oom_score_adj; exec dd if=/dev/zero of=/dev/null bs=300M count=1'
echo "the child ended with $? (137: killed)"
dd if=/dev/zero of=/cache bs=1M count=6 2>/dev/null
exec sh -c 'for _ in $(seq 120); do sleep 2 & done; wait' 2>/dev/null

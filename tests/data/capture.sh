#!/bin/sh
# Copies what `spawner_limits.kernel` reads about one container into a tree of files, as they are:
#   tests/data/capture.sh PID OUT
# PID is the container's first process, seen from the host (docker inspect -f '{{.State.Pid}}').
set -eu
pid=$1 out=$2

FILES='cgroup.procs cgroup.controllers cgroup.events cgroup.stat cgroup.type
  cpuacct.usage cpu.stat cpu.cfs_quota_us cpu.cfs_period_us cpu.shares cpu.max cpu.max.burst cpu.weight
  cpuset.cpus cpuset.effective_cpus cpuset.cpus.effective
  memory.usage_in_bytes memory.max_usage_in_bytes memory.limit_in_bytes memory.soft_limit_in_bytes
  memory.memsw.usage_in_bytes memory.memsw.max_usage_in_bytes memory.memsw.limit_in_bytes memory.failcnt
  memory.swappiness memory.oom_control memory.stat
  memory.current memory.peak memory.max memory.high memory.low memory.min memory.events memory.events.local
  memory.swap.current memory.swap.peak memory.swap.max memory.swap.events memory.oom.group
  pids.current pids.peak pids.max pids.events
  cpu.pressure memory.pressure io.pressure'

mkdir -p "$out/proc/self" "$out/proc/$pid"
cat /proc/self/mountinfo > "$out/proc/self/mountinfo"
cat "/proc/$pid/cgroup" > "$out/proc/$pid/cgroup"

# controller and mount point of each hierarchy; the v2 one is called "-"
awk '{ for (i = 7; $i != "-"; i++); type = $(i + 1); options = $(i + 3); split(options, words, ",") }
     type == "cgroup2" { print "-", $5 }
     type == "cgroup" { for (i in words) if (words[i] ~ /^(cpu|cpuacct|cpuset|memory|pids)$/) print words[i], $5 }' \
  /proc/self/mountinfo |
  while read -r controller mount; do
    path=$(awk -F: -v c="$controller" '{ n = split($2, names, ","); for (i = 0; i <= n; i++)
      if (names[i] == c || (c == "-" && $2 == "")) { print $3; exit } }' "/proc/$pid/cgroup")
    mkdir -p "$out$mount$path"
    for file in $FILES; do
      if [ -r "$mount$path/$file" ]; then cat "$mount$path/$file" > "$out$mount$path/$file" 2>/dev/null || rm "$out$mount$path/$file"; fi
    done
  done

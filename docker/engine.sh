#!/usr/bin/env bash
# Leaves a Docker engine that answers: the one that is there, or one installed and started here.
# Exit codes: 0 an engine answers, 2 usage, 4 there is none and none could be started.
set -euo pipefail

readonly LOCK=/run/lock/spawner-limits-engine.lock
readonly LOG=/var/log/dockerd.log
readonly APT_LOG=/var/log/spawner-limits-engine.log
readonly PID_FILE=/var/run/docker.pid
readonly WAIT_SECONDS=${ENGINE_WAIT_SECONDS:-60}

# dockerd finds iptables and containerd by PATH, and a user's PATH may have no sbin.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"

say() { echo "engine: $*" >&2; }

give_up() {
    say "$*"
    exit 4
}

server_version() {
    command -v docker >/dev/null || return 1
    # `docker info` exits 0 without an engine in some client versions; an empty server version never lies.
    local version
    version=$(timeout 20 docker info --format '{{.ServerVersion}}' 2>/dev/null) || return 1
    [[ -n $version ]] && echo "$version"
}

# A Docker context counts as much as DOCKER_HOST: an engine started here would answer at neither.
endpoint() {
    local host=${DOCKER_HOST:-}
    if [[ -z $host ]] && command -v docker >/dev/null; then
        host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || host=
    fi
    echo "${host:-unix:///var/run/docker.sock}"
}

is_local() { [[ $1 == unix:///var/run/docker.sock || $1 == unix:///run/docker.sock ]]; }

is_debian_like() (
    [[ -r /etc/os-release ]] || return 1
    # shellcheck source=/dev/null
    . /etc/os-release
    [[ " ${ID:-} ${ID_LIKE:-} " =~ \ (debian|ubuntu)\  ]]
)

has_systemd() { [[ -d /run/systemd/system ]]; }

running_dockerd() {
    local pid
    [[ -r $PID_FILE ]] || return 1
    pid=$(<"$PID_FILE")
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/comm && $(<"/proc/$pid/comm") == dockerd ]]
}

install_engine() {
    if ! command -v apt-get >/dev/null || ! is_debian_like; then
        give_up "no Docker engine here, and this script can install one on Debian and Ubuntu only: install Docker Engine, then run this again"
    fi
    say "installing Debian's docker.io"
    local packages=(docker.io)
    export DEBIAN_FRONTEND=noninteractive
    # A third-party source that is down must not decide; the install below does.
    apt-get -qq update >"$APT_LOG" 2>&1 9>&- || say "apt-get update failed; going on with the package lists that are here"
    # Debian 13 moved the client into a package that docker.io only recommends.
    if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then
        packages+=(docker-cli)
    fi
    # With AppArmor in the kernel, no container starts without apparmor_parser.
    if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; then
        packages+=(apparmor)
    fi
    if ! apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}" \
        >>"$APT_LOG" 2>&1 9>&-; then
        tail -n 15 "$APT_LOG" >&2
        give_up "apt-get could not install ${packages[*]}: the lines above are the last of $APT_LOG; put that right, then run this again"
    fi
    hash -r
}

await() {
    local is_alive=$1 deadline=$((SECONDS + WAIT_SECONDS))
    while ((SECONDS < deadline)); do
        server_version >/dev/null && return 0
        "$is_alive" || return 1
        sleep 0.3
    done
    return 1
}

start_with_systemd() {
    say "starting docker with systemd"
    if ! systemctl start docker >&2 || ! await true; then
        journalctl --no-pager -u docker -n 15 >&2 || true
        give_up "docker.service does not answer: the lines above are its log's last; put that right, then run this again"
    fi
}

dockerd_pid=
launched_is_alive() { kill -0 "$dockerd_pid" 2>/dev/null; }

start_without_systemd() {
    if running_dockerd && await running_dockerd; then
        return 0
    fi
    # dockerd refuses to start when the number in a stale file belongs to some other process by now.
    running_dockerd || rm -f "$PID_FILE"
    say "starting dockerd, log in $LOG"
    # Descriptor 9 is the lock: a daemon that inherits it would hold it for ever.
    (cd / && exec setsid dockerd >>"$LOG" 2>&1 </dev/null 9>&-) &
    dockerd_pid=$!
    if ! await launched_is_alive; then
        tail -n 15 "$LOG" >&2 || true
        give_up "dockerd does not answer: the lines above are the last of $LOG; put that right, then run this again"
    fi
    disown "$dockerd_pid"
}

[[ $# -eq 0 ]] || { say "takes no arguments"; exit 2; }

at=$(endpoint)
if version=$(server_version); then
    say "Docker $version answers at $at"
    exit 0
fi
is_local "$at" ||
    give_up "nothing answers at $at: start that engine, or unset DOCKER_HOST (docker context use default) to use one on this machine"
if [[ $EUID -ne 0 ]]; then
    if [[ -S /var/run/docker.sock && ! -w /var/run/docker.sock ]]; then
        give_up "$(id -un) may not use /var/run/docker.sock: join the group docker and log in again, or run this as root"
    fi
    give_up "no Docker engine answers at $at, and installing or starting one takes root: run this as root once"
fi

mkdir -p "${LOCK%/*}"
exec 9>"$LOCK"
flock -w 600 9 || give_up "another $LOCK holder has been busy for 10 minutes: end it, then run this again"
if ! server_version >/dev/null; then
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        install_engine
    fi
    if has_systemd; then start_with_systemd; else start_without_systemd; fi
fi
say "Docker $(server_version) answers at $at"

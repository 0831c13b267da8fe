#!/usr/bin/env bash
# Builds the images for single-user servers, and only what is not built yet:  build.sh [minimal|tensorflow|all]
# `build.sh overhead` builds the one with the programs of the overhead experiment; it is no part of `all`.
# What the host lends to the build (CA certificates, pip and apt settings) goes into a temporary context,
# never into the checkout and never into an image. README.md beside this file has the settings.
# Exit codes: 0 the images stand, 1 a build failed, 2 usage, 4 no engine answers.
set -euo pipefail

# mmdebstrap and apt-get may lie outside a user's PATH.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly SINGLEUSER=spawner-limits/singleuser
readonly OVERHEAD=spawner-limits/overhead
readonly LABEL=spawner-limits.inputs
readonly DEFAULT_BASE=debian:bookworm-slim
readonly LOCAL_BASE=spawner-limits/debian:bookworm
readonly BASE_IMAGE=${BASE_IMAGE:-$DEFAULT_BASE}
readonly HOST_CA=/etc/ssl/certs/ca-certificates.crt
readonly PULL_SECONDS=120

say() { printf 'build: %3d s  %s\n' "$SECONDS" "$*" >&2; }

fail() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# ---- what has to be built ------------------------------------------------------------------------------------------

image_of() {
    case $1 in
        overhead) echo "$OVERHEAD" ;;
        *) echo "$SINGLEUSER:$1" ;;
    esac
}

source_of() {
    case $1 in
        overhead) echo "$here/overhead" ;;
        *) echo "$here/singleuser" ;;
    esac
}

files_of() {
    case $1 in
        overhead) echo Dockerfile ;;
        minimal) echo Dockerfile requirements-minimal.txt ;;
        *) echo Dockerfile requirements-minimal.txt "requirements-$1.txt" ;;
    esac
}

inputs_of() {
    local files
    read -ra files < <(files_of "$1")
    (cd "$(source_of "$1")" && sha256sum "${files[@]}" && echo "$BASE_IMAGE") | sha256sum | cut -d ' ' -f 1
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

is_up_to_date() {
    local built_from
    built_from=$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$(image_of "$1")" 2>/dev/null) ||
        return 1
    [[ $built_from == "$(inputs_of "$1")" ]]
}

# ---- children that end with this script ----------------------------------------------------------------------------

work=
child=

# In the background, because bash answers a signal only after a foreground child has ended by itself.
run() {
    "$@" &
    child=$!
    local code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

end_child() {
    [[ -n $child ]] || return 0
    kill -TERM "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
}

# The legacy builder leaves each build stage behind as an untagged image, and with it what the host lent.
# An image of ours that a newer one has replaced is untagged, too.
remove_leftovers() {
    local label
    for label in spawner-limits.stage=build "$LABEL"; do
        docker image prune --force --filter "label=$label" >/dev/null 2>&1 || true
    done
}

leave() {
    if [[ -n $child ]]; then
        end_child
        # The legacy builder's step outlives its client for some seconds and would keep its image from removal.
        docker ps -aq --filter label=spawner-limits.stage=build | xargs -r docker rm -f >/dev/null 2>&1 || true
    fi
    remove_leftovers
    [[ -z $work ]] || rm -rf "$work"
}

# ---- the Debian base -----------------------------------------------------------------------------------------------

is_bookworm_host() (
    [[ -r /etc/os-release ]] || return 1
    # shellcheck source=/dev/null
    . /etc/os-release
    [[ ${ID:-} == debian && ${VERSION_CODENAME:-} == bookworm ]]
)

# Prints the file made, nothing where the host has no mirror of bookworm to lend.
lend_apt_sources() {
    is_bookworm_host || return 0
    if [[ -r /etc/apt/sources.list.d/debian.sources ]]; then
        cp /etc/apt/sources.list.d/debian.sources "$work/context/host-debian.sources"
        echo "$work/context/host-debian.sources"
    elif grep -hE '^deb (\[[^]]*\] )?https?://[^ ]+ bookworm' /etc/apt/sources.list >"$work/found.list" 2>/dev/null; then
        mv "$work/found.list" "$work/context/host-debian.list"
        echo "$work/context/host-debian.list"
    fi
}

lend_apt_settings() {
    command -v apt-config >/dev/null || return 0
    apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::Proxy|Check-)' >"$work/context/host-apt.conf" ||
        rm -f "$work/context/host-apt.conf"
}

need_mmdebstrap() {
    command -v mmdebstrap >/dev/null && return 0
    if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
        fail 1 "no registry answers and mmdebstrap is not here: install mmdebstrap, or load $DEFAULT_BASE with docker load"
    fi
    say "installing mmdebstrap"
    local packages=(mmdebstrap debian-archive-keyring)
    {
        DEBIAN_FRONTEND=noninteractive apt-get -qq update || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
            install -y --no-install-recommends "${packages[@]}"
    } >"$work/apt.log" 2>&1 9>&- || {
        tail -n 10 "$work/apt.log" >&2
        fail 1 "apt-get could not install mmdebstrap: see above, put it right and run this again"
    }
}

make_base() {
    local sources=$1
    need_mmdebstrap
    say "making $LOCAL_BASE with mmdebstrap"
    # The same files are left out as in the slim image of the registry.
    local options=(--quiet --variant=minbase
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright'
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*'
        --dpkgopt='path-exclude=/usr/share/locale/*')
    if [[ -e $work/context/host-apt.conf ]]; then
        # mmdebstrap leaves the settings it is given in the system it makes; the host's proxy has no place there.
        # shellcheck disable=SC2016  # $1 is for mmdebstrap's hook
        options+=(--aptopt="$work/context/host-apt.conf"
            --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"')
    fi
    run mmdebstrap "${options[@]}" bookworm "$work/base.tar" ${sources:+"$sources"} >"$work/base.log" 2>&1 || {
        tail -n 15 "$work/base.log" >&2
        fail 1 "mmdebstrap failed: see above; it needs a Debian mirror that answers"
    }
    run docker import "$work/base.tar" "$LOCAL_BASE" >/dev/null || fail 1 "docker import of the Debian base failed: see above"
    rm -f "$work/base.tar"
}

base=
provide_base() {
    local sources=$1
    base=$BASE_IMAGE
    has_image "$base" && return 0
    if [[ $BASE_IMAGE == "$DEFAULT_BASE" ]] && has_image "$LOCAL_BASE"; then
        base=$LOCAL_BASE
        return 0
    fi
    say "pulling $BASE_IMAGE"
    run timeout "$PULL_SECONDS" docker pull --quiet "$BASE_IMAGE" >/dev/null 2>"$work/pull.log" && return 0
    local reason
    reason=$(tail -n 1 "$work/pull.log")
    [[ $BASE_IMAGE == "$DEFAULT_BASE" ]] || fail 1 "cannot pull $BASE_IMAGE: ${reason:-no answer in $PULL_SECONDS s}"
    say "no registry answers (${reason:-no answer in $PULL_SECONDS s})"
    base=$LOCAL_BASE
    make_base "$sources"
}

# ---- what the host lends -------------------------------------------------------------------------------------------

pip_settings() {
    # Without pip on the host its environment variables may still be there.
    python3 -m pip config list 2>/dev/null && return 0
    local name
    for name in INDEX_URL EXTRA_INDEX_URL TRUSTED_HOST TIMEOUT DEFAULT_TIMEOUT RETRIES PROXY CERT; do
        local variable=PIP_$name
        [[ -z ${!variable:-} ]] || echo ":env:.${name//_/-}='${!variable}'" | tr '[:upper:]_' '[:lower:]-'
    done
}

# A path or a loopback address of the host means something else, or nothing, inside a build.
usable_urls() {
    local url kept=()
    for url in $1; do
        [[ $url =~ ^https?://([^/@]*@)?(localhost|127\.|\[::1\]) || ! $url =~ ^https?:// ]] || kept+=("$url")
    done
    echo "${kept[*]-}"
}

declare -A pip_setting=()
read_pip_settings() {
    local all section line key value
    all=$(pip_settings)
    # pip's own order: a command's section beats the global one, the environment beats both.
    for section in global. install. :env:.; do
        while IFS= read -r line; do
            [[ $line == "$section"* ]] || continue
            key=${line#"$section"}
            value=${key#*=}
            key=${key%%=*}
            value=${value#[\'\"]}
            value=${value%[\'\"]}
            value=${value//\\n/ }
            case $key in
                index-url | extra-index-url | proxy) value=$(usable_urls "$value") ;;
                default-timeout) key=timeout ;;
                trusted-host | timeout | retries | cert) ;;
                *) continue ;;
            esac
            [[ -z $value ]] || pip_setting[$key]=$value
        done <<<"$all"
    done
}

lend_pip_settings() {
    local key
    {
        echo '[global]'
        for key in index-url extra-index-url proxy trusted-host timeout retries; do
            [[ -z ${pip_setting[$key]:-} ]] || echo "$key = ${pip_setting[$key]}"
        done
    } >"$work/context/host-pip.conf"
}

lend_certificates() {
    local file=${EXTRA_CA_CERTIFICATES-$HOST_CA} files=()
    [[ -n $file ]] || return 0
    if [[ -f $file && -r $file ]]; then
        files+=("$file")
    elif [[ -n ${EXTRA_CA_CERTIFICATES-} ]]; then
        fail 2 "EXTRA_CA_CERTIFICATES: $file: not a file that can be read"
    fi
    file=${pip_setting[cert]:-}
    [[ -z $file || ! -r $file || " ${files[*]-} " == *" $file "* ]] || files+=("$file")
    [[ ${#files[@]} -eq 0 ]] || cat "${files[@]}" >"$work/context/host-ca.crt"
}

# ---- the build -----------------------------------------------------------------------------------------------------

# BuildKit takes two thirds of the legacy builder's time (131 s against 201 s on 2 cores). Clients before 23 have it built in,
# later ones only with the buildx plugin; the first on PATH may be a later one without it.
client=docker
client_options=()
choose_client() {
    [[ -z ${DOCKER_BUILDKIT+set} ]] || return 0
    local candidate major
    while IFS= read -r candidate; do
        major=$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null | cut -d . -f 1) || continue
        [[ $major =~ ^[0-9]+$ ]] || continue
        if ((major >= 23)); then
            "$candidate" buildx version >/dev/null 2>&1 || continue
            # A builder in a container of its own keeps the image to itself unless told otherwise.
            client_options=(--load)
        fi
        client=$candidate
        export DOCKER_BUILDKIT=1
        return 0
    done < <(type -ap docker)
    export DOCKER_BUILDKIT=0
}

# The Dockerfile marks its slow steps; BuildKit puts a step's number and time in front of each line.
show_progress() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ ^(#[0-9]+\ [0-9.]+\ |$'\e[0m')?==\>\ (.*)$ ]]; then
            say "  ${BASH_REMATCH[2]}"
        fi
    done
}

build() {
    local target=$1 arguments=("${client_options[@]}") name image files
    image=$(image_of "$target")
    read -ra files < <(files_of "$target")
    (cd "$(source_of "$target")" && cp "${files[@]}" "$work/context/")
    for name in {HTTP,HTTPS,FTP,ALL,NO}_PROXY {http,https,ftp,all,no}_proxy; do
        # By name only: Docker takes the value from the environment, and keeps these few out of an image's history.
        [[ -z ${!name:-} ]] || arguments+=(--build-arg "$name")
    done
    say "building $image on $base"
    BUILDKIT_PROGRESS=plain run "$client" build --force-rm --target "$target" --tag "$image" \
        --label "$LABEL=$(inputs_of "$target")" --build-arg BASE="$base" "${arguments[@]}" \
        "$work/context" > >(tee "$work/$target.log" | show_progress) 2>&1 || {
        grep -vE '^(Step|#[0-9]+ \[| --->|Removing)' "$work/$target.log" | cut -c -300 | tail -n 20 >&2
        fail 1 "$image was not built: the lines above are the last of the build"
    }
    say "$image stands, $(docker image inspect --format '{{.Size}}' "$image" |
        awk '{printf "%.0f MB", $1 / 1e6}')"
}

case ${1:-all} in
    all) targets=(minimal tensorflow) ;;
    minimal | tensorflow | overhead) targets=("$1") ;;
    *) targets=() ;;
esac
if [[ $# -gt 1 || ${#targets[@]} -eq 0 ]]; then
    echo "usage: build.sh [minimal|tensorflow|all|overhead]" >&2
    exit 2
fi

command -v docker >/dev/null || fail 4 "docker is not here: run $here/engine.sh first"

missing() {
    local target
    for target in "${targets[@]}"; do
        if is_up_to_date "$target"; then
            say "$(image_of "$target") is up to date"
        else
            to_build+=("$target")
        fi
    done
}

to_build=()
missing
[[ ${#to_build[@]} -gt 0 ]] || exit 0
timeout 20 docker info >/dev/null 2>&1 || fail 4 "no Docker engine answers: run $here/engine.sh first"

lock_directory=/run/lock
[[ -w $lock_directory ]] || lock_directory=/tmp
exec 9>"$lock_directory/spawner-limits-build.$EUID.lock"
if ! flock -n 9; then
    say "waiting for another build to end"
    flock 9
    targets=("${to_build[@]}")
    to_build=()
    missing
    [[ ${#to_build[@]} -gt 0 ]] || exit 0
fi

trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/spawner-limits-build.XXXXXX")
mkdir "$work/context"
sources=$(lend_apt_sources)
lend_apt_settings
read_pip_settings
lend_pip_settings
lend_certificates
provide_base "$sources"
choose_client
for target in "${to_build[@]}"; do
    build "$target"
done

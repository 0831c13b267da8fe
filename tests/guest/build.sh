#!/usr/bin/env bash
# Builds a guest with a real cgroup v2 kernel and an engine of its own from Debian packages, and only what is not built yet:
#   build.sh [trixie|forky|bookworm] [systemd|v2|v2-root|v1 ...]
# Kernels, initrds, a root image and a snapshot of each variant, booted and with its engine ready, go into the cache; the
# checkout stays as it is. DEBIAN_MIRROR names the mirror, by default it is the one that the host's apt uses.
# Exit codes: 0 the guest stands, 1 a build failed, 2 usage.
set -euo pipefail

# mmdebstrap, mke2fs and depmod may lie outside a user's PATH.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly CACHE=${SPAWNER_LIMITS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spawner-limits}/guest
readonly PYTHON=${PYTHON:-python3}
# Linux since 6.11 may leave out what v1 needs, and Debian's newest does; this suite's has it.
readonly V1_KERNEL=bookworm
# Where one emulated CPU rewrites code, another may run it half written, and the guest's Linux kernel panics: with
# bookworm's QEMU 7.2 in six of six trials within 20 s, with 10.0 in one of two, after a minute. 10.0 is a fifth faster.
readonly QEMU_SUITE=trixie
readonly HOST_PACKAGES=(cpio debian-archive-keyring e2fsprogs kmod mmdebstrap qemu-utils xz-utils zstd)
# One root for all variants: systemd is only another first process.
readonly ROOT_PACKAGES=(busybox-static dbus docker.io iproute2 iptables kmod procps python3 systemd-sysv udev util-linux)
# libstdc++ is for what a single-user server imports
readonly PROBE_PACKAGES=(base-files busybox-static libstdc++6 python3)
# What a guest without a network, without terminals and with an hour to live has no use for.
readonly MASKED=(
    apt-daily.timer apt-daily-upgrade.timer console-getty.service dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer getty.target getty@tty1.service ldconfig.service serial-getty@ttyS0.service
    systemd-firstboot.service systemd-hwdb-update.service systemd-journal-catalog-update.service
    systemd-network-generator.service systemd-networkd.service systemd-networkd.socket
    systemd-networkd-wait-online.service systemd-remount-fs.service systemd-resolved.service
    systemd-timesyncd.service systemd-tmpfiles-clean.timer systemd-update-done.service
)

say() { printf 'guest: %3d s  %s\n' "$SECONDS" "$*" >&2; }

fail() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# ---- what has to be built ------------------------------------------------------------------------------------------

# What our package and a hub in the guest need of PyPI, with hashes.
requirements() { echo "$here/../../requirements/guest.txt"; }

inputs_of_image() {
    {
        (cd "$here" && sha256sum agent.py build.sh init systemd/*)
        cat "$(requirements)"
        echo "$suite"
    } | sha256sum | cut -d ' ' -f 1
}

# A snapshot can be restored only by the QEMU that made it, and with the same devices.
inputs_of_snapshot() {
    {
        inputs_of_image
        (cd "$here" && sha256sum machine.py)
        "$folder/qemu/run" --version
        echo "$1"
    } | sha256sum | cut -d ' ' -f 1
}

is_image_up_to_date() { [[ -e $folder/image.inputs && $(<"$folder/image.inputs") == "$(inputs_of_image)" ]]; }

is_snapshot_up_to_date() {
    [[ -e $folder/ready/$1.inputs && $(<"$folder/ready/$1.inputs") == "$(inputs_of_snapshot "$1")" ]]
}

is_up_to_date() {
    local variant
    is_image_up_to_date || return 1
    for variant in "${variants[@]}"; do
        is_snapshot_up_to_date "$variant" || return 1
    done
}

# ---- children that end with this script ----------------------------------------------------------------------------

work=
children=()

end_children() {
    local child
    for child in "${children[@]}"; do
        kill -TERM -- "-$child" 2>/dev/null || continue
        wait "$child" 2>/dev/null || true
    done
}

leave() {
    end_children
    [[ -z $work ]] || rm -rf --one-file-system "$work"
}

# In the background, because bash answers a signal only after a foreground child has ended by itself.
start() {
    local log=$1
    shift
    # A process group of its own, so that it can be ended with all that it has started.
    set -m
    "$@" >"$work/$log.log" 2>&1 </dev/null 9>&- &
    set +m
    children+=($!)
}

await() {
    local log=$1 child=$2
    wait "$child" && return 0
    tail -n 15 "$work/$log.log" >&2
    fail 1 "$log failed: the lines above are the last of what it said; the mirror is $mirror"
}

run() {
    start "$@"
    await "$1" "${children[-1]}"
}

# ---- what the host lends -------------------------------------------------------------------------------------------

install_host_packages() {
    local package missing=()
    for package in "${HOST_PACKAGES[@]}"; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    [[ $EUID -eq 0 ]] || fail 1 "these packages are not here: ${missing[*]}: install them, or run this as root once"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    run apt-update apt-get -qq update
    run apt-install apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
}

find_mirror() {
    # shellcheck disable=SC2016  # they are for apt
    # An archive's own suites have no slash and no hyphen in their names; updates and security have.
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 ~ /^(bookworm|trixie|forky|sid|stable|testing)$/ {print $1; exit}')}
    [[ -n $mirror ]] || fail 1 "this host's apt knows no Debian mirror: give one, DEBIAN_MIRROR=http://…/debian"
}

lend_apt_settings() {
    {
        apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::|Check-)' || true
        # A mirror's copy of a suite may be past its date; this system is thrown away.
        echo 'Acquire::Check-Valid-Until "false";'
        echo 'Acquire::Languages "none";'
    } >"$work/host-apt.conf"
}

# An apt of its own for a suite, which takes nothing from the host's and leaves nothing there.
apt_for() {
    local of=$1 keyring=$2 home=$work/apt/$1
    shift 2
    if [[ ! -e $home/etc/sources.list ]]; then
        mkdir -p "$home"/{etc/preferences.d,etc/apt.conf.d,state/lists/partial,cache/archives/partial}
        cp "$work/host-apt.conf" "$home/etc/apt.conf.d/host"
        echo "deb [signed-by=$keyring] $mirror $of main" >"$home/etc/sources.list"
        apt_for "$of" "$keyring" apt-get -qq update
    fi
    "$1" -o Dir::Etc="$home/etc" -o Dir::State="$home/state" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$home/cache" -o APT::Sandbox::User=root "${@:2}"
}

# Suites differ in where a file lies: the first that is there.
first() {
    local file
    for file in "$@"; do
        [[ ! -e $file ]] || { echo "$file" && return 0; }
    done
    echo "none of these is there: $*" >&2
    return 1
}

unpack() {
    local into=$1 file
    mkdir -p "$into"
    for file in "$into".debs/*.deb; do
        dpkg-deb -x "$file" "$into"
    done
}

download() {
    local of=$1 keyring=$2 into=$3
    shift 3
    mkdir -p "$into.debs"
    (cd "$into.debs" && apt_for "$of" "$keyring" apt-get -qq download "$@")
    unpack "$into"
}

# A suite is signed with keys that older keyrings don't have: each suite's keyring is fetched with the one before it.
keyring_for() {
    local of=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg next
    local chain=()
    case $of in
        trixie) chain=(trixie) ;;
        forky) chain=(trixie forky) ;;
    esac
    for next in "${chain[@]}"; do
        download "$next" "$keyring" "$work/keyring-$next" debian-archive-keyring
        keyring=$(first "$work/keyring-$next"/usr/share/keyrings/debian-archive-keyring.*pg)
        rm -f "$work/apt/$next/etc/sources.list"
    done
    echo "$keyring" >"$work/keyring-for-$of"
}

# ---- the guest's parts ---------------------------------------------------------------------------------------------

fetch_kernel() {
    local of=$1 keyring=$2 into=$3 image
    apt_for "$of" "$keyring" apt-get -qq update
    image=$(apt_for "$of" "$keyring" apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
    [[ -n $image ]]
    # Newer suites have the image and its modules in packages of their own.
    mapfile -t parts < <(apt_for "$of" "$keyring" apt-cache depends "$image" |
        awk '/Depends: linux-(base|binary|modules)-[0-9]/ {print $2}')
    download "$of" "$keyring" "$into" "$image" "${parts[@]}"
}

make_root() {
    local of=$1 key=$2 kind=$3 into=$4 packages
    shift 4
    packages=$(IFS=, && echo "$*")
    mmdebstrap --quiet --variant="$kind" --mode=root --keyring="$key" --aptopt="$work/host-apt.conf" \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --include="$packages" "$of" "$into" "deb [signed-by=$key] $mirror $of main"
    rm -f "$into/etc/apt/apt.conf.d/99mmdebstrap" "$into/etc/apt/sources.list"
}

make_probe() {
    # `extract` runs no package's scripts: a tenth of the size and time of a whole system.
    make_root "$suite" "$keyring" extract "$work/probe" "${PROBE_PACKAGES[@]}"
    rm -rf "$work/probe"/usr/share/{doc,man,locale,info} "$work/probe"/var/{lib/apt,lib/dpkg,cache}
    local applet bin=$work/probe/usr/bin
    mkdir -p "$bin"
    # Bookworm's packages still have files in /bin; a container finds both.
    [[ -e $bin/busybox ]] || ln -s ../../bin/busybox "$bin/busybox"
    for applet in $(busybox_of "$work/probe" --list); do
        [[ -e $bin/$applet ]] || ln -s busybox "$bin/$applet"
    done
    [[ -e $work/probe/bin/sh ]] || ln -s busybox "$work/probe/bin/sh"
    # what the image of a single-user server has: a user with a home, and the command; its packages are mounted there
    echo 'jovyan:x:1000:100::/home/jovyan:/bin/sh' >>"$work/probe/etc/passwd"
    install -d -o 1000 -g 100 "$work/probe/home/jovyan"
    mkdir -p "$work/probe/usr/local/bin"
    printf '%s\n' '#!/bin/sh' 'PYTHONPATH=/opt/packages exec python3 -m jupyterhub.singleuser "$@"' \
        >"$work/probe/usr/local/bin/jupyterhub-singleuser"
    chmod 755 "$work/probe/usr/local/bin/jupyterhub-singleuser"
    chroot "$work/probe" python3 -m compileall -q /usr/lib/python3* || true
}

# With its libraries and the C library of its own suite: it runs on any host.
make_qemu() {
    local into=$1
    keyring_for "$QEMU_SUITE"
    make_root "$QEMU_SUITE" "$(<"$work/keyring-for-$QEMU_SUITE")" extract "$into" qemu-system-x86
    rm -rf "${into:?}"/usr/share/{doc,man,locale,info} "${into:?}/var"
    cat >"$into/run" <<'EOF'
#!/bin/sh
here=${0%/*}
libraries=$here/usr/lib/x86_64-linux-gnu
exec "$here/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" \
    "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" "$@"
EOF
    chmod +x "$into/run"
}

busybox_of() {
    local root=$1
    shift
    "$(first "$root"/{usr/bin,bin}/busybox)" "$@"
}

add_python_packages() {
    local version
    version=$(chroot "$work/root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # --no-deps: the lock is complete. --no-compile: the host's python is not the guest's.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --no-deps \
        --target "$work/root/opt/packages" --python-version "$version" --implementation cp --only-binary :all: \
        --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 \
        --require-hashes -r "$(requirements)"
    rm -rf "$work/root/opt/packages/bin"
    chroot "$work/root" python3 -m compileall -q /opt/packages
}

make_initrd() {
    local kernel=$1 into=$2 version=$3 tree file name
    tree=$work/initrd-$version
    mkdir -p "$tree"/{bin,modules,proc,dev,new}
    cp "$(first "$work"/root/{usr/bin,bin}/busybox)" "$tree/bin/busybox"
    # In the order that they need each other.
    for file in virtio_pci virtio_blk ext4; do
        modprobe -S "$version" -d "$work/root" --show-depends "$file"
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >"$tree/files"
    while read -r file; do
        name=$(basename "$file" | sed 's/\.[xz]*z\(st\)\?$//')
        case $file in
            *.xz) xz -dc "$file" ;;
            *.zst) zstd -dcq "$file" ;;
            *) cat "$file" ;;
        esac >"$tree/modules/$name"
        echo "$name"
    done <"$tree/files" >"$tree/order"
    rm "$tree/files"
    cat >"$tree/init" <<'EOF'
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs dev /dev
while read -r module; do $busybox insmod "/modules/$module"; done </order
until [ -e /dev/vda ]; do $busybox sleep 0.1; done
$busybox mount -t ext4 /dev/vda /new
$busybox mount --move /dev /new/dev
for word in $($busybox cat /proc/cmdline); do
    case $word in init=*) init=${word#init=} ;; esac
done
$busybox umount /proc
exec $busybox switch_root /new "$init"
EOF
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio --quiet -oH newc | gzip -1) >"$work/$into.initrd"
    cp "$(first "$kernel"/boot/vmlinuz* "$kernel"/usr/lib/modules/*/vmlinuz)" "$work/$into.kernel"
}

add_kernel() {
    local kernel=$1 into=$2 modules version
    modules=$(first "$kernel"/lib/modules/* "$kernel"/usr/lib/modules/*)
    version=$(basename "$modules")
    mkdir -p "$work/root/usr/lib/modules"
    cp -r "$modules" "$work/root/usr/lib/modules/"
    rm -f "$work/root/usr/lib/modules/$version/vmlinuz"
    depmod -b "$work/root" "$version"
    make_initrd "$kernel" "$into" "$version"
    echo "$into: Linux $version" >>"$work/versions"
}

# Where systemd is the first process; /init takes no notice of them.
add_units() {
    local etc=$work/root/etc unit
    mkdir -p "$etc"/systemd/system/{sysinit,multi-user}.target.wants "$etc"/systemd/journald.conf.d
    install -m 644 "$here"/systemd/*.service "$etc/systemd/system/"
    ln -sf ../guest-quota.service "$etc/systemd/system/sysinit.target.wants/"
    ln -sf ../guest-swap.service ../guest-agent.service "$etc/systemd/system/multi-user.target.wants/"
    for unit in "${MASKED[@]}"; do
        ln -sf /dev/null "$etc/systemd/system/$unit"
    done
    printf '[Journal]\nStorage=volatile\n' >"$etc/systemd/journald.conf.d/guest.conf"
    printf '%s\n' overlay br_netfilter virtio_console >"$etc/modules-load.d/guest.conf"
    echo 'net.ipv4.ip_forward = 1' >"$etc/sysctl.d/guest.conf"
    # without one, systemd takes each boot for the first
    echo 0123456789abcdef0123456789abcdef >"$etc/machine-id"
    : >"$etc/fstab"
    echo guest >"$etc/hostname"
}

# A command of a Python package in the guest, whose environment says where packages are.
add_command() {
    local file=$work/root/usr/local/bin/$1
    mkdir -p "${file%/*}"
    printf '%s\n' '#!/bin/sh' "exec python3 -c 'from $2 import main; main()' \"\$@\"" >"$file"
    chmod 755 "$file"
}

write_image() {
    tar -C "$work/probe" --exclude ./dev -cf "$work/root/opt/probe.tar" .
    rm -rf "$work/root"/var/{cache/apt,lib/apt/lists} "$work/root/dev"
    mkdir -p "$work/root"/{dev,proc,sys,run,tmp}
    install -m 755 "$here/init" "$work/root/init"
    install -m 644 "$here/agent.py" "$work/root/opt/agent.py"
    add_units
    add_command spawner-limits spawner_limits.cli.main
    add_command configurable-http-proxy configurable_http_proxy.cli
    truncate -s 3G "$work/image.raw"
    mke2fs -q -F -t ext4 -O ^has_journal -d "$work/root" "$work/image.raw"
}

versions() {
    dpkg-query --admindir "$work/root/var/lib/dpkg" --show --showformat '${Package} ${Version}\n' \
        docker.io runc containerd python3
}

told_versions() { paste -sd , "$folder/versions" | sed 's/,/, /g'; }

build_image() {
    [[ $EUID -eq 0 ]] || fail 1 "making a Debian system takes root: run this as root once"
    say "building $suite from its Debian packages"
    # Now, not at the end: whoever edits these files meanwhile must have it built again.
    local inputs
    inputs=$(inputs_of_image)
    find_mirror
    lend_apt_settings
    local packages=("${ROOT_PACKAGES[@]}")
    # Bookworm's docker.io has the client in it.
    [[ $suite == bookworm ]] || packages+=(docker-cli)
    run keyring keyring_for "$suite"
    keyring=$(<"$work/keyring-for-$suite")
    start kernel fetch_kernel "$suite" "$keyring" "$work/kernel"
    local kernel_pid=${children[-1]}
    start probe make_probe
    local probe_pid=${children[-1]}
    start qemu make_qemu "$work/qemu"
    local qemu_pid=${children[-1]}
    run root make_root "$suite" "$keyring" minbase "$work/root" "${packages[@]}"
    say "the root stands; adding Python packages and kernels"
    run packages add_python_packages
    await kernel "$kernel_pid"
    local v1_kernel=$work/kernel
    if [[ $suite != "$V1_KERNEL" ]]; then
        v1_kernel=$work/kernel-v1
        run v1-kernel fetch_kernel "$V1_KERNEL" /usr/share/keyrings/debian-archive-keyring.gpg "$v1_kernel"
    fi
    await probe "$probe_pid"
    await qemu "$qemu_pid"
    run initrd add_kernel "$work/kernel" v2
    run v1-initrd add_kernel "$v1_kernel" v1
    run image write_image
    versions >>"$work/versions"
    # From here on the old snapshots, whose disk this replaces, are worth nothing.
    rm -rf "$folder/image.inputs" "$folder/ready" "$folder/qemu"
    mv "$work"/{v1,v2}.{kernel,initrd} "$work/image.raw" "$work/versions" "$work/qemu" "$folder/"
    echo "$inputs" >"$folder/image.inputs"
    say "the image stands, $(du -m "$folder/image.raw" | cut -f 1) MB: $(told_versions)"
}

save_snapshot() {
    local variant=$1 code=0 inputs
    inputs=$(inputs_of_snapshot "$variant")
    say "booting $suite $variant"
    set -m
    "$PYTHON" "$here/machine.py" "$folder" "$variant" </dev/null 9>&- &
    set +m
    children+=($!)
    wait "$!" || code=$?
    [[ $code -eq 0 ]] || fail 1 "the snapshot was not made: see above"
    echo "$inputs" >"$folder/ready/$variant.inputs"
    say "$suite $variant is ready, $(du -m "$folder/ready/$variant.qcow2" | cut -f 1) MB"
}

suite=${1:-trixie}
variants=("${@:2}")
[[ ${#variants[@]} -gt 0 ]] || variants=(v2)
for variant in "${variants[@]}"; do
    if [[ ! $suite =~ ^(forky|trixie|bookworm)$ || ! $variant =~ ^(systemd|v2|v2-root|v1)$ ]]; then
        echo "usage: build.sh [trixie|forky|bookworm] [systemd|v2|v2-root|v1 ...]" >&2
        exit 2
    fi
done
readonly suite variants
readonly folder=$CACHE/$suite
mirror=
keyring=

finish() {
    say "$suite ${variants[*]}: up to date in $folder: $(told_versions)"
    exit 0
}

! is_up_to_date || finish
mkdir -p "$folder"
exec 9>"$folder/build.lock"
if ! flock -n 9; then
    say "waiting for another build to end"
    flock 9
    ! is_up_to_date || finish
fi

trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# An earlier build that was killed could not clean up.
rm -rf --one-file-system "$folder"/build.??????
work=$(mktemp -d "$folder/build.XXXXXX")
install_host_packages
is_image_up_to_date || build_image
for variant in "${variants[@]}"; do
    is_snapshot_up_to_date "$variant" || save_snapshot "$variant"
done

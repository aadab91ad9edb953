# SPDX-License-Identifier: MIT
# Shared by the scripts. Sourced, never run: bash, with `set -euo pipefail` in force.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

needed_packages=(
    build-essential cmake ninja-build pkg-config git
    libpaho-mqtt-dev libssl-dev libsqlite3-dev libconfig-dev libsystemd-dev
    libcmocka-dev libmosquitto-dev libjansson-dev zlib1g-dev
    logrotate mosquitto mosquitto-clients python3 openssl
)

say() { printf '%s\n' "$*"; }
headline() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# A package may be there once for each architecture.
is_installed() {
    [[ " $(dpkg-query -W -f='${db:Status-Status} ' "$1" 2>/dev/null)" == *" installed "* ]]
}

# Runs a command as root, by sudo only if that is needed.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    else
        sudo "$@"
    fi
}

# The mosquitto package starts a broker on port 1883 when it is installed. Only its program is
# needed here, so services are prevented from starting meanwhile, and that one from being enabled.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made_policy=no status=0 log="$root/build/packages.log"

    mkdir -p "$root/build"
    if [[ " $* " == *" mosquitto "* && ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=yes
        say "mosquitto is installed as a program: no system broker is started or enabled."
    fi
    printf 'Installing '
    # One package source that cannot be reached now may not be needed.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >"$log" 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "$@" >>"$log" 2>&1 || status=$?
    if [[ $made_policy == yes ]]; then
        as_root rm -f "$policy"
        if command -v systemctl >/dev/null; then
            as_root systemctl disable mosquitto.service >/dev/null 2>&1 || true
        fi
    fi
    return "$status"
}

# need_packages NAME...: installs those that are missing; works offline when none is.
need_packages() {
    local missing=() name began=$SECONDS

    if ! command -v dpkg-query >/dev/null; then
        say "This is not Debian: please install the equivalents of these: $*"
        return 0
    fi
    for name in "$@"; do
        is_installed "$name" || missing+=("$name")
    done
    if [[ ${#missing[@]} == 0 ]]; then
        say "All Debian packages are installed."
        return 0
    fi
    say "Missing: ${missing[*]}"
    if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
        die "needs root for: apt-get install ${missing[*]}"
    fi
    if ! install_packages "${missing[@]}"; then
        say "FAILED:"
        tail -n 30 "$root/build/packages.log"
        die "could not install the packages. Please run: apt-get install ${missing[*]}"
    fi
    say "done in $((SECONDS - began)) s"
}

# build PRESET [TARGET...]: configures and builds, all or these targets; the output of the
# compiler is shown only if it failed.
build() {
    local preset=$1 log="$root/build/$1.log" began=$SECONDS
    shift

    mkdir -p "$root/build"
    printf 'Building %-8s ' "$preset"
    if ! (cd "$root" && cmake --preset "$preset" &&
        cmake --build --preset "$preset" ${1:+--target "$@"}) >"$log" 2>&1; then
        say "FAILED:"
        tail -n 60 "$log"
        return 1
    fi
    say "done in $((SECONDS - began)) s"
}

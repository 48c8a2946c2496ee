#!/usr/bin/env bash
# Install glancein as a service on Raspberry Pi OS (64 bit) or Debian, from this checkout or from a wheel:
#     sudo deploy/install-pi.sh [glancein-….whl]
# Running it again updates. Take it away with: sudo deploy/install-pi.sh --uninstall (people and punches stay).
set -eu
umask 022 # the service's account has to read the program, however private its administrator keeps files
here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/glancein
settings=/etc/glancein/kiosk.env
# The program as the service runs it: its account, groups and settings.
as_kiosk="sudo systemd-run --quiet --pipe --wait --uid=glancein --gid=glancein --property=\"SupplementaryGroups=video plugdev apex\" --property=EnvironmentFile=-$settings --setenv=GLANCEIN_DATA=/var/lib/glancein $prefix/bin/glancein"
copy=
trap '[ -z "$copy" ] || rm -rf "$copy"' EXIT

main() {
    [ "$(id -u)" = 0 ] || fail "this changes the system" "Run it as root: sudo $0"
    if [ "${1:-}" = --uninstall ]; then
        uninstall
        return
    fi
    local source=${1:-$here/..}
    [ -e "$source" ] || fail "there is no $source" "Name a wheel, or none to install this checkout."
    # Not uname: a 32-bit Raspberry Pi OS has a 64-bit kernel.
    case $(dpkg --print-architecture) in
        arm64 | amd64) ;;
        *) fail "no models' runtime for $(dpkg --print-architecture)" "Install the 64-bit Raspberry Pi OS." ;;
    esac
    packages
    account
    program "$source"
    service
    cat <<TEXT
Installed. Next:
  sudo nano $settings                       camera, broker, names of site and kiosk
  sudo install -o glancein -m 0600 badge.jpg /var/lib/glancein/new.jpg       (its account cannot look into yours)
  $as_kiosk enroll /var/lib/glancein/new.jpg --id E1024 --name "…"
  sudo rm /var/lib/glancein/new.jpg
  $as_kiosk doctor
  sudo systemctl restart glancein-kiosk && journalctl -fu glancein-kiosk
TEXT
}

fail() {
    printf 'glancein was not installed: %s\n  %s\n' "$1" "$2" >&2
    exit 1
}

packages() {
    local wanted="python3 python3-venv"
    # Only Raspberry Pi OS has the camera's library.
    if apt-cache show python3-picamera2 >/dev/null 2>&1; then wanted="$wanted python3-picamera2"; fi
    # shellcheck disable=SC2086  # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $wanted ||
        fail "apt could not install $wanted" "The lines above say why; try: sudo apt update"
}

account() {
    getent passwd glancein >/dev/null || adduser --system --group --home /var/lib/glancein --no-create-home glancein
    local group
    for group in video plugdev apex; do getent group "$group" >/dev/null || addgroup --system "$group"; done
    install -d -o glancein -g glancein -m 0700 /var/lib/glancein
    # HR's subscriber, where there is one, reads its own keys and nothing of the kiosk's.
    getent passwd glancein-feed >/dev/null || adduser --system --group --home /var/lib/glancein-feed --no-create-home glancein-feed
}

program() { # --system-site-packages: picamera2 comes from apt
    local constraints=() source=$1
    if [ -d "$source" ]; then
        # Building leaves root's files where it happens, and takes in modules of earlier builds: never in the checkout.
        copy=$(mktemp -d)
        tar -C "$source" --exclude=./.git --exclude=./.venv --exclude=./build --exclude='./*.egg-info' -cf - . |
            tar -C "$copy" --no-same-owner -xf - || fail "the checkout could not be copied" "The lines above say why."
        source=$copy
    fi
    # An environment whose making was interrupted has a python and no pip.
    "$prefix/bin/python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear --system-site-packages "$prefix" ||
        fail "python3 could not make an environment in $prefix" "The lines above say why."
    if "$prefix/bin/python" -c 'import picamera2' 2>/dev/null &&
        /usr/bin/python3 -c 'import numpy, sys; sys.exit(not numpy.__version__.startswith("1."))' 2>/dev/null; then
        constraints=(--constraint "$here/constraints-numpy1.txt")
    fi
    "$prefix/bin/python" -m pip install --quiet --upgrade "${constraints[@]}" "$source" ||
        fail "pip could not install glancein" "The lines above say why; the first installation needs the network."
    # A wheel of the version that is there already is left alone, whatever is in it.
    [ -n "$copy" ] || "$prefix/bin/python" -m pip install --quiet --force-reinstall --no-deps "$source" ||
        fail "pip could not install $source" "The lines above say why."
}

service() {
    install -d -m 0755 /etc/glancein
    if [ ! -e "$settings" ]; then
        install -m 0640 -g glancein "$here/kiosk.env.example" "$settings"
    fi
    install -m 0644 "$here/systemd/glancein-kiosk.service" "$here/systemd/glancein-feed.service" /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable glancein-kiosk.service
    # One that runs holds the former program, and would load parts of the new one as it comes to need them.
    systemctl restart glancein-kiosk.service
    systemctl try-restart glancein-feed.service
}

uninstall() {
    systemctl disable --now glancein-kiosk.service glancein-feed.service 2>/dev/null || true
    rm -rf "$prefix" /etc/systemd/system/glancein-kiosk.service /etc/systemd/system/glancein-feed.service
    systemctl daemon-reload
    echo "glancein is gone; what it kept in /var/lib/glancein (people, punches), /var/lib/glancein-feed and /etc/glancein stays: remove it by hand."
}

main "$@"

#!/usr/bin/env bash
# Make FOLDER a root in which an aarch64 Python with ai-edge-litert runs on an x86-64 Debian machine:
#
#     tests/arm/setup.sh FOLDER [REQUIREMENT ...]      # such as: tests/arm/setup.sh .arm ai-edge-litert==2.3.0
#     FOLDER/python tests/arm/interpret.py MODEL.tflite INPUTS.npz OUTPUTS.npz
#     QEMU_CPU=cortex-a53 FOLDER/python ...            # another processor than the emulator's newest
#
# On the machine itself only the emulator is installed, where it is missing; all else stays in FOLDER. A second run with
# the same requirements fetches nothing.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

[ $# -ge 1 ] || fail "no folder given; write: $0 FOLDER [REQUIREMENT ...]"
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
requirements=("${@:-ai-edge-litert}")

[ "$(uname -m)" = x86_64 ] || fail "this is a $(uname -m) machine; the emulated root is for x86-64"
for tool in apt-get dpkg-deb python3; do
  command -v "$tool" >/dev/null || fail "$tool is not here; a Debian machine with Python 3 is needed"
done
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip; install it: apt-get install python3-pip"

install_emulator() {
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "qemu-aarch64 is not here, nor sudo; as root: apt-get install qemu-user"
    as=(sudo)
  fi
  "${as[@]}" apt-get -qq update
  # Without what it recommends: that registers the emulator with the kernel for every aarch64 file of the machine.
  "${as[@]}" apt-get -qq install --yes --no-install-recommends qemu-user >/dev/null
}

emulator() { command -v qemu-aarch64 || command -v qemu-aarch64-static; }

# An apt of FOLDER's own: the machine's sources and keys, another architecture, and an empty list of what is installed.
configure_apt() {
  local sources=/etc/apt/sources.list.d/debian.sources
  [ -s "$sources" ] || sources=/etc/apt/sources.list
  [ -s "$sources" ] || fail "no Debian sources in /etc/apt; is this a Debian machine?"
  mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
  : >"$root/apt/status"
  cat >"$root/apt/apt.conf" <<CONF
APT::Architecture "arm64";
#clear APT::Architectures;
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Dir::Etc::sourcelist "$sources";
Dir::Etc::sourceparts "-";
Dir::State "$root/apt";
Dir::State::status "$root/apt/status";
Dir::Cache "$root/apt";
CONF
}

unpack_packages() {
  configure_apt
  apt-get -qq -c "$root/apt/apt.conf" update
  apt-get -qq -c "$root/apt/apt.conf" install --yes --download-only \
    libpython3-stdlib python3-minimal libstdc++6 >/dev/null
  # Packages put libraries in /lib or /usr/lib, depending on the release: one place for both.
  mkdir -p "$root/usr/lib"
  ln -sfn usr/lib "$root/lib"
  local package
  for package in "$root"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$root"
  done
  rm -r "$root/apt"
}

# TFLite reads the processor's make here, and crashes on the x86 text that qemu 7.2 would show it (10.0 writes its own).
# The make is a Cortex-A72's; what the processor can do, TFLite asks the emulator.
describe_processor() {
  mkdir -p "$root/proc"
  cat >"$root/proc/cpuinfo" <<'CPUINFO'
processor	: 0
BogoMIPS	: 100.00
Features	: fp asimd
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

CPUINFO
}

# `-L` is where the emulated loader finds its libraries; `-I` keeps the caller's PYTHONPATH and packages out.
# Without SME, which XNNPACK uses where it is: under qemu 7.2 the integers are then wrong, under 10.0 they are right.
write_python() {
  cat >"$root/python" <<WRAPPER
#!/bin/sh
QEMU_CPU="\${QEMU_CPU:-max,sme=off}" exec "$(emulator)" -L "$root" "$root/usr/bin/python3" -I "\$@"
WRAPPER
  chmod +x "$root/python"
}

# The machine's pip for another machine: wheels alone, of every manylinux up to the root's own glibc.
install_wheels() {
  local version glibc minor platforms=(--platform manylinux2014_aarch64)
  version=$("$root/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  glibc=$("$root/python" -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION").split(".")[1])')
  for ((minor = glibc; minor >= 17; minor--)); do
    platforms+=(--platform "manylinux_2_${minor}_aarch64")
  done
  rm -rf "$root/usr/local/lib/python$version"
  python3 -m pip --disable-pip-version-check install -qq --only-binary=:all: --python-version "$version" \
    "${platforms[@]}" --target "$root/usr/local/lib/python$version/dist-packages" "${requirements[@]}"
}

emulator >/dev/null || install_emulator
emulator >/dev/null || fail "qemu-user is installed, but there is no qemu-aarch64"
# Marks are written last, so that a step that was broken off is done again.
if [ ! -e "$root/.unpacked" ]; then
  unpack_packages
  touch "$root/.unpacked"
fi
describe_processor
write_python
if [ "$(cat "$root/.installed" 2>/dev/null)" != "${requirements[*]}" ]; then
  rm -f "$root/.installed"
  install_wheels
  echo "${requirements[*]}" >"$root/.installed"
fi

"$root/python" - <<'PYTHON' || fail "ai-edge-litert does not run in $root; remove that folder and run this again"
import platform
from importlib.metadata import version

import ai_edge_litert.interpreter

assert platform.machine() == "aarch64", platform.machine()
print(f"ai-edge-litert {version('ai-edge-litert')}, Python {platform.python_version()}, {platform.machine()}")
PYTHON

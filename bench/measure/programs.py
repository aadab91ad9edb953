# SPDX-License-Identifier: MIT
"""Builds what is measured, and finds the other programs."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
RELEASE = SOURCE / "build" / "release"
PROGRAMS = ("mqtt-spoold", "mqtt_load", "paho_load", "disk_load", "fault_io", "sink", "file_count")
ERROR_LINES = 30
INSTALL = "scripts/quickstart installs what is needed"


def run_cmake(*arguments):
    command = ["cmake", *map(str, arguments)]
    try:
        done = subprocess.run(command, cwd=SOURCE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
    except FileNotFoundError:
        raise SystemExit(f"bench: cmake is not installed; {INSTALL}")
    if done.returncode != 0:
        print(*done.stdout.splitlines()[-ERROR_LINES:], sep="\n", file=sys.stderr)
        raise SystemExit(f"bench: nothing was measured, because this failed: {shlex.join(command)}")


def build(folder):
    """Builds the programs from the present source, so that no older ones are measured."""
    print("building ...", file=sys.stderr, flush=True)
    if folder == RELEASE:
        run_cmake("--preset", "release")
    elif not (folder / "CMakeCache.txt").exists():
        make = ("cmake", "-S", str(SOURCE), "-B", str(folder))
        raise SystemExit(f"bench: {folder} is no build folder; make it one: {shlex.join(make)}")
    run_cmake("--build", folder, "--target", *PROGRAMS)


def find(name):
    """Path of a program of the system, or None."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def find_mosquitto():
    found = find("mosquitto")
    if not found:
        raise SystemExit(f"bench: mosquitto is not installed; {INSTALL}")
    return found


def default_window():
    """uplink.window, from the sample of the configuration, which has every key at its default."""
    text = (SOURCE / "etc" / "mqtt-spoold.conf").read_text()
    return int(re.search(r"^ *window = (\d+);", text, re.MULTILINE).group(1))


def version_of(*command):
    """The first version number that the command prints, or None."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout)
    return found.group() if found else None

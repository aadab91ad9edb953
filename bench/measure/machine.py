# SPDX-License-Identifier: MIT
"""The conditions of a measurement."""

import os
import platform
import subprocess

from measure import programs


def memory_gigabytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def file_system(folder):
    """Its type, by the device number of the folder."""
    number = os.stat(folder).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return "a file system that is not known"


def revision():
    done = subprocess.run(["git", "-C", str(programs.SOURCE), "describe", "--always", "--dirty"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "not known"


def sqlite_version():
    return programs.version_of("pkg-config", "--modversion", "sqlite3")


def describe(bench):
    """{what: text}"""
    if bench.no_device:
        wear = f"application bytes by file, not the device's ({bench.no_device})"
    else:
        wear = "sectors written to an ext4 of its own on a loop device, its journal included"
    return {
        "Source": revision(),
        "Machine": f"{os.cpu_count()} cores, {memory_gigabytes():.0f} GB, Linux "
                   f"{platform.release()}, {file_system(bench.folder)}",
        "Versions": f"SQLite {sqlite_version()}, mosquitto "
                    f"{programs.version_of(programs.find_mosquitto(), '-h')}, "
                    f"OpenSSL {programs.version_of('openssl', 'version')}",
        "Device bytes": wear,
        "Journal": bench.no_journald or "the default, beside a stand-in for journald",
    }

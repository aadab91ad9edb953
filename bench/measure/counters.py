# SPDX-License-Identifier: MIT
"""What the kernel counts for a process or a device: CPU time, memory, system calls, bytes."""

import collections
import ctypes
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

from measure import programs

SECTOR = 512
POLL_SECONDS = 0.005
# In the order of file_count.c.
FILE_KINDS = ("unknown", "none", "log", "database", "audit", "mark", "status", "other")
_libc = ctypes.CDLL(None, use_errno=True)


def wait_for(condition, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"bench: waited {seconds:.0f} s for {what}")


def cpu_ns(pid):
    """CPU time of each thread by its name, from the scheduler; threads of one name are added."""
    spent = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            spent[name] += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass  # it has just ended
    return spent


class CpuMeter:
    """CPU time of processes between its creation and per_message()."""

    def __init__(self, **pids):
        self._pids = pids
        self._before = {name: cpu_ns(pid) for name, pid in pids.items()}

    def per_message(self, count):
        """{"cpu_NAME": microseconds a message, "cpu_NAME/THREAD": of it in that thread}"""
        values = {}
        for name, pid in self._pids.items():
            spent = cpu_ns(pid)
            spent.subtract(self._before[name])
            values[f"cpu_{name}"] = sum(spent.values()) / 1e3 / count
            if len(spent) > 1:
                values.update({f"cpu_{name}/{thread}": ns / 1e3 / count
                               for thread, ns in spent.items()})
        return values


def memory_bytes(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


class SystemCalls:
    """Counts the system calls of a process with strace, which also makes it slower."""

    def __init__(self, pid, folder):
        self._report = folder / "strace"
        with open(folder / "strace.err", "w") as errors:
            self._child = subprocess.Popen(
                [programs.find("strace"), "-f", "-c", "-o", str(self._report), "-p", str(pid)],
                stdout=subprocess.DEVNULL, stderr=errors)
        wait_for(lambda: "attached" in (folder / "strace.err").read_text(), "strace")

    def stop(self):
        """{name: calls}"""
        self._child.send_signal(signal.SIGINT)
        self._child.wait(30)
        calls = {}
        for line in self._report.read_text().splitlines():
            fields = line.split()
            if len(fields) >= 5 and fields[0][0].isdigit() and fields[-1] != "total":
                calls[fields[-1]] = int(fields[3])
        return calls


class FileCounts:
    """What a daemon writes to its files, by a library that is preloaded into it."""

    def __init__(self, bench, folder):
        self._path = folder / "file_count"
        self.environment = {"LD_PRELOAD": str(bench.build / "bench" / "libfile_count.so"),
                            "FILE_COUNT": str(self._path)}

    def read(self):
        """{kind: (bytes, calls, syncs)}"""
        counts = struct.unpack(f"={3 * len(FILE_KINDS)}Q", self._path.read_bytes())
        return {kind: counts[3 * i:3 * i + 3] for i, kind in enumerate(FILE_KINDS) if i > 1}

    def since(self, before):
        return {kind: tuple(new - old for new, old in zip(counts, before[kind]))
                for kind, counts in self.read().items()}


class Device:
    """An ext4 of its own on a loop device: only the daemon writes to it, and the file system itself
    its journal and metadata.

    It is unmounted at the end; the kernel then gives the loop device back.
    """

    def __init__(self, folder, name, megabytes=1024):
        image = folder / f"{name}.img"
        self.path = folder / name
        self.path.mkdir()
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        # Without the lazy forms, or the kernel would write the tables while it is measured.
        self._call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        self._call("mount", "-o", "loop", image, self.path)
        number = os.stat(self.path).st_dev
        self._counters = pathlib.Path(
            f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")

    @staticmethod
    def _call(program, *arguments):
        done = subprocess.run([programs.find(program) or program, *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise OSError(f"{program}: {done.stdout.strip()}")

    def written_bytes(self):
        """Since it was mounted; what is still in memory is written first."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _libc.syncfs(descriptor)
        finally:
            os.close(descriptor)
        return int(self._counters.read_text().split()[6]) * SECTOR

    def close(self):
        self._call("umount", self.path)


def why_no_device(folder):
    """None, or why no file system can be made and mounted here."""
    if os.geteuid() != 0:
        return "needs root: a file system on a loop device"
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            Device(pathlib.Path(place), "probe", 64).close()
        except OSError as error:
            return str(error)
    return None

# SPDX-License-Identifier: MIT
"""tests/support/fault_io.c, preloaded into the daemon: what fails or takes longer, and its report."""

import errno
import functools
import os
import re
import struct

import processes
from tap import check


class Faults:
    """The preloaded library: its environment and its report."""

    def __init__(self, folder, under, calls, at, times=1, error=errno.EIO, delay_ms=0):
        self.path = os.path.join(folder, "faults")
        self.environment = {
            "LD_PRELOAD": " ".join(sanitizer() + [library()]), "FAULT_UNDER": under,
            "FAULT_CALLS": calls, "FAULT_AT": str(at), "FAULT_TIMES": str(times),
            "FAULT_ERRNO": str(error), "FAULT_DELAY_MS": str(delay_ms),
            "FAULT_REPORT": self.path}

    def report(self):
        """(calls, failed, when by the monotonic clock, acknowledgements after it, what)."""
        with open(self.path, "rb") as seen:
            calls, failed, when, acks, what = struct.unpack("4Q32s", seen.read(64))
        return calls, failed, when / 1e9, acks, what.rstrip(b"\0").decode()


def library():
    build = os.environ.get("SPOOLD_BUILD") or os.path.join(
        os.path.dirname(processes.daemon_path()), "..")
    path = os.path.abspath(os.path.join(build, "tests", "libfault_io.so"))
    check(os.path.exists(path), "libfault_io.so is not built", path)
    return path


@functools.cache
def sanitizer():
    """AddressSanitizer must come before whatever else is preloaded."""
    linked = processes.run(["ldd", processes.daemon_path()]).stdout.decode()
    return re.findall(r"(/\S*libasan\S*)", linked)

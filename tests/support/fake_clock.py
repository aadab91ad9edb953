# SPDX-License-Identifier: MIT
"""The clocks of one daemon, moved by the test while it runs (see fake_clock.c)."""

import os
import struct
import time

import processes
import tap

_FORM = "=qqq40s"


class FakeClock:
    """Starts as the true clocks, synchronized. Pass env() to Gateway.start()."""

    def __init__(self):
        build = os.environ.get("SPOOLD_BUILD")
        self.library = os.path.join(build or "", "tests", "libfake_clock.so")
        if not build or not os.path.exists(self.library):
            tap.skip("libfake_clock.so of the tests is not built (SPOOLD_BUILD names the build)")
        self.path = os.path.join(processes.folder(), "clock")
        self.wall_ms = self.boot_ms = 0
        self.synchronized = True
        self.boots = 1
        self._tell()

    def env(self):
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        return {"SPOOLD_FAKE_CLOCK": self.path, "LD_PRELOAD": self.library,
                "ASAN_OPTIONS": sanitizer + (":" if sanitizer else "")
                + "verify_asan_link_order=0"}

    def _tell(self):
        boot_id = b"%08x-0000-0000-0000-000000000000\n" % self.boots
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as out:
            out.write(struct.pack(_FORM, int(self.wall_ms), int(self.boot_ms),
                                  self.synchronized, boot_id))

    # What the daemon reads

    def wall(self):
        """Its wall clock, in seconds."""
        return time.time() + self.wall_ms / 1000

    def boot(self):
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.boot_ms / 1000

    # What happens to it

    def pass_time(self, seconds):
        """Suspended for this long: both clocks continue."""
        self.wall_ms += seconds * 1000
        self.boot_ms += seconds * 1000
        self._tell()

    def step(self, seconds):
        """NTP steps the wall clock; it stays synchronized."""
        self.wall_ms += seconds * 1000
        self._tell()

    def set_1970(self):
        self.wall_ms = (10 - time.time()) * 1000
        self.synchronized = False
        self._tell()

    def synchronize(self, wall):
        """NTP sets the wall clock to @wall, in seconds."""
        self.wall_ms = (wall - time.time()) * 1000
        self.synchronized = True
        self._tell()

    def reboot(self):
        """Another boot, 5 s old; the wall clock is unchanged. The daemon must not run."""
        self.boot_ms = (5 - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000
        self.boots += 1
        self._tell()

# SPDX-License-Identifier: MIT
"""A machine whose power can be cut: a kernel of its own, in user mode, with real ext4 disks.

The kernel is one process with its helpers, which needs no privileges. SIGKILL to all of them is the
cut: what the kernel held in its page cache is lost, what it had written to its disks is in their
images, and the next kernel that is booted on them replays the journal of the file system.

The machine's root is the root of the host, read-only, so it has the programs as they were built and
the libraries that they were built against. It has no network, and no folder for temporary files.
It runs uml_guest.py, which reports what happens; what was reported before the cut is here.
"""

import collections
import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import threading

import load
import power
import processes
import tap

KERNEL = "linux.uml"
MEMORY = "256M"
DISKS = (("spool.img", 64 << 20), ("log.img", 32 << 20))  # /dev/ubda and /dev/ubdb
BOOT_SECONDS, END_SECONDS = 120, 300


def why_not():
    """The reason why no machine can be booted here; None if it can."""
    if not os.environ.get("SPOOLD_UML"):
        return "boots a kernel and cuts its power: only with scripts/test --uml (SPOOLD_UML=1)"
    for program, package in ((KERNEL, "user-mode-linux"), ("mkfs.ext4", "e2fsprogs"),
                             ("ip", "iproute2"), ("insmod", "kmod"), ("dmsetup", "dmsetup")):
        if not processes.find(program):
            return "%s is not installed (Debian package %s)" % (program, package)
    if not glob.glob("/usr/lib/uml/modules/*/kernel/drivers/md/dm-mod.ko"):
        return "the modules of the kernel are not where Debian has them"
    return None


class Boot:
    """One life of the machine, and what it reported."""

    def __init__(self, number, job):
        self.number, self.job = number, job
        self.entries = []
        self.counts = collections.Counter()
        self.console = b""

    def all(self, kind):
        return [entry[1:] for entry in list(self.entries) if entry[0] == kind]

    def last(self, kind):
        return self.all(kind)[-1]

    def take(self, line):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            self.entries.append(entry)
            self.counts[entry[0]] += 1

    def last_words(self):
        said = [str(part) for kind in ("failed", "last", "log")
                for part, *_ in self.all(kind)[-1:]]
        return "boot %d, %s:\n%s\nconsole:\n%s" % (
            self.number, self.job["task"], "\n".join(said),
            self.console[-3000:].decode(errors="replace"))


class Machine:
    """boot(), then cut() or wait_end(), again and again; the disks stay."""

    def __init__(self):
        reason = why_not()
        if reason:
            tap.skip(reason)
        self.preloaded = power.built("uml_xstate.so")
        self.folder = processes.folder()
        self.out = os.path.join(self.folder, "out")
        os.mkdir(self.out)
        for name, size in DISKS:
            path = os.path.join(self.folder, name)
            with open(path, "wb") as image:
                image.truncate(size)
            made = processes.run([processes.find("mkfs.ext4"), "-q", "-F", path])
            tap.equal(made.returncode, 0, "mkfs.ext4: %r" % made.stderr)
        self.boots = []
        self.process = self.guard = None
        self.readers = []
        tap.cleanup(self.cut)
        tap.on_failure(lambda: self.boots[-1].last_words() if self.boots else "not booted")

    @property
    def now(self):
        return self.boots[-1]

    def boot(self, task, **job):
        """@task and what it needs: see uml_guest.py."""
        job = dict({"task": task, "broker": False, "environment": {}, "settings": {}}, **job,
                   out=self.out, daemon=processes.daemon_path(), tool=processes.tool_path())
        self.boots.append(Boot(len(self.boots), job))
        path = os.path.join(self.folder, "job.json")
        with open(path, "w") as out:
            json.dump(job, out)
        reading, writing = os.pipe()
        # Standard output must be a pipe: the kernel waits for it by epoll.
        self.process = processes.start(
            [processes.find(KERNEL)] + self._command_line(path, writing),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, LD_PRELOAD=self.preloaded), pass_fds=(writing,),
            start_new_session=True)
        os.close(writing)
        # Its helpers would outlive it, and hold the disks, if this test were killed.
        self.guard = subprocess.Popen(
            ["sh", "-c", "read _; kill -s KILL -- -%d" % self.process.pid],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        self.readers = [threading.Thread(target=self._read_console, daemon=True,
                                         args=(self.now, self.process.stdout)),
                        threading.Thread(target=self._read_entries, daemon=True,
                                         args=(self.now, os.fdopen(reading, "rb")))]
        for reader in self.readers:
            reader.start()
        return self.now

    def _command_line(self, job, console):
        disks = ["ubd%s=%s" % (letter, os.path.join(self.folder, name))
                 for letter, (name, _) in zip("ab", DISKS)]
        return ["mem=" + MEMORY, "uml_dir=%s/" % self.folder] + disks + [
            "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "loglevel=4",
            "selinux=0", "audit=0", "con=null", "con0=null,fd:1",
            "con1=null,fd:%d" % console, "init=" + os.path.realpath(sys.executable), "--", "-B",
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "uml_guest.py"), job]

    @staticmethod
    def _read_console(boot, stream):
        with stream:
            for line in stream:
                boot.console += line

    @staticmethod
    def _read_entries(boot, stream):
        with stream:
            for line in stream:
                if line.endswith(b"\n"):  # otherwise the cut came between
                    boot.take(line)

    def wait_count(self, kind, count, seconds=BOOT_SECONDS):
        """Until it has reported @count of this kind."""
        def reported():
            tap.check(not self.now.counts["failed"], "it failed")
            ended = self.process.poll() is not None
            enough = self.now.counts[kind] >= count
            tap.check(enough or not ended, "the kernel ended")
            return enough
        tap.wait_for(reported, seconds, lambda: "reported %d times of %r, but %d times"
                     % (count, kind, self.now.counts[kind]))

    def wait_told(self, kind, seconds=BOOT_SECONDS):
        """Until it has reported one of this kind; returns the last one."""
        self.wait_count(kind, 1, seconds)
        return self.now.last(kind)

    def cut(self):
        """Nothing of the kernel is left, and all that it reported is here. Also for one that has
        ended."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._forget()

    def _forget(self):
        """The pipes end with the last process that has them: then none holds a disk."""
        self.guard.kill()
        self.guard.wait()
        self.guard.stdin.close()
        self.process.wait()
        for reader in self.readers:
            reader.join(30)
            tap.check(not reader.is_alive(), "a process of the kernel lives on")
        self.process = None

    def wait_end(self, seconds=END_SECONDS):
        """It powers itself off in an orderly way."""
        self.wait_told("off", seconds)
        self.process.wait(30)
        self.cut()


def collect(history, boots):
    """Puts into @history what the producers and the remote brokers have reported in all these
    lives."""
    for boot in boots:
        for name, newest, size in boot.all("sent"):
            for number in range(newest, 0, -1):
                key, topic, payload = load.message(name, number, size)
                if key in history.sent:
                    break
                history.sent[key] = (topic, payload)
        history.acked.update(dict(boot.all("acked")))
        history.refused.update(dict(boot.all("refused")))
        # Each remote broker counts its connections from 1.
        first = max(history.connections, default=0)
        load.collect_far(history, [dict(entry, conn=first + entry["conn"])
                                   for entry, in boot.all("far")])
    history.unknown = set(history.sent) - set(history.acked) - set(history.refused)

# SPDX-License-Identifier: MIT
"""Starting programs so that none outlives the test: each dies with the test that started it."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import tap

PIPE = subprocess.PIPE
FAILPOINT = re.compile(rb"failpoint ([a-z_]+\.[a-z_]+)\0")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For preexec_fn: the kernel kills the child when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command, **options):
    return subprocess.Popen(command, preexec_fn=die_with_parent, **options)


def levels(process):
    """What a process holds, to be compared later: memory of its own, descriptors, threads."""
    folder = "/proc/%d/" % process.pid
    with open(folder + "status") as seen:
        fields = dict(line.split(":", 1) for line in seen.read().splitlines())
    return {"memory_kb": int(fields["RssAnon"].split()[0]),
            "descriptors": len(os.listdir(folder + "fd")), "threads": int(fields["Threads"])}


def peak_kb(process):
    """The peak resident memory since it started. The value of wait4() would include the time before
    exec, as this Python process."""
    with open("/proc/%d/status" % process.pid) as seen:
        return int(next(line for line in seen if line.startswith("VmHWM:")).split()[1])


def run(command, timeout=30, stdin=None, env=None):
    """Runs to the end; stdout and stderr as bytes."""
    return subprocess.run(command, input=b"" if stdin is None else stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          env=env, preexec_fn=die_with_parent)


def end(process, seconds=10):
    """TERM, then KILL; returns the exit code. Accepts None and ended processes."""
    if process is None:
        return None
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def find(program):
    """The path of a program, also in the folders that are not in a plain user's PATH."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(program, path=path)


def need(program, package=None):
    found = find(program)
    if not found:
        tap.skip("%s is not installed (Debian package %s)" % (program, package or program))
    return found


def cpu_seconds(process):
    """What a process has used of the processor so far."""
    with open("/proc/%d/stat" % process.pid) as seen:
        fields = seen.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def folder():
    """A temporary folder that goes with the case; short, for a socket's path has 107 bytes."""
    made = tempfile.mkdtemp(prefix="spoold-")
    tap.cleanup(shutil.rmtree, made, True)
    return made


def free_port():
    """A port of 127.0.0.1 that refuses connections until a process listens there. The kernel
    assigns it to no other process before the case ends; binding it by its number needs
    SO_REUSEADDR."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    tap.cleanup(sock.close)
    return sock.getsockname()[1]


def built(variable, name):
    """A program of this project: from the environment that ctest sets, otherwise where it was
    built."""
    path = os.environ.get(variable)
    if not path:
        root = os.path.join(os.path.dirname(__file__), "..", "..", "build")
        for preset in ("release", "dev"):
            candidate = os.path.join(root, preset, name)
            if os.path.exists(candidate):
                path = os.path.abspath(candidate)
                break
    if not path or not os.access(path, os.X_OK):
        raise AssertionError("%s is not built; set %s" % (name, variable))
    return path


def daemon_path():
    return built("SPOOLD_BIN", "daemon/mqtt-spoold")


def failpoints():
    """The names that the daemon holds, sorted; [] in a build without."""
    with open(daemon_path(), "rb") as program:
        return sorted({name.decode() for name in FAILPOINT.findall(program.read())})


def need_failpoint(point):
    if point not in failpoints():
        tap.skip("this build holds no failpoints (SPOOLD_FAILPOINTS)")


def tool_path():
    return built("SPOOL_BIN", "cli/mqtt-spool")

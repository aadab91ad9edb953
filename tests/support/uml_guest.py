# SPDX-License-Identifier: MIT
"""What runs in a machine of uml.py: its first process, and the remote broker beside it.

The machine sees the files of the host, read-only; the spool's folder and the audit file's are
separate disks. Its task is in the file that is named to it. It reports everything in lines of JSON
on its second console, which is a pipe of the host, and waits until each has arrived there: what was
reported is known, whatever happens to the machine then. So a producer reports what it is going to
send before it does, and the remote broker what it received before it acknowledges it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback
import tty

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fake_broker  # noqa: E402
import load  # noqa: E402
import processes  # noqa: E402
import tap  # noqa: E402
from gateway import Gateway  # noqa: E402

SPOOL, LOG, OUT = "/var/lib/mqtt-spoold", "/var/log/mqtt-spoold", "/run/out"
AUDIT = LOG + "/audit.jsonl"
CONSOLE = "/dev/tty1"
MODULES = "/usr/lib/uml/modules"
DRAIN_SECONDS, DEATH_SECONDS, CLOCK_SECONDS = 240, 60, 20
NAME = "spool"  # of the device between the spool's folder and its disk
_POWER_OFF = 0x4321FEDC
_ADJ_MAXERROR, _ADJ_STATUS = 0x4, 0x10
_libc = ctypes.CDLL(None, use_errno=True)
_console = -1


def report(*entry):
    """Returns when the host has received it."""
    os.write(_console, json.dumps(entry).encode() + b"\n")
    termios.tcdrain(_console)


def open_console():
    global _console
    _console = os.open(CONSOLE, os.O_WRONLY | os.O_NOCTTY)
    tty.setraw(_console)


def run(*command):
    done = processes.run(command)
    if done.returncode:
        raise AssertionError("%s: %s" % (" ".join(command), (done.stdout + done.stderr).decode()))
    return done.stdout.decode()


# The machine

def mount(kind, what, where, *options):
    os.makedirs(where, exist_ok=True)
    run("mount", "-t", kind, *options, what, where)


def set_up(job):
    mount("proc", "proc", "/proc")
    mount("sysfs", "sysfs", "/sys")
    if not os.path.exists("/dev/ubda"):
        mount("devtmpfs", "devtmpfs", "/dev")
    for path in ("/run", "/var"):
        mount("tmpfs", "tmpfs", path)
    open_console()
    tempfile.tempdir = "/run"
    run("ip", "link", "set", "lo", "up")
    if "clock" in job:
        time.clock_settime(time.CLOCK_REALTIME, job["clock"])
    report("mounting")
    mount("hostfs", "hostfs", OUT, "-o", job["out"])
    mount("ext4", spool_device(job), SPOOL)
    mount("ext4", "/dev/ubdb", LOG)
    report("replayed", run("dmesg").count("recovery complete"))


def spool_device(job):
    """The disk itself, or a layer over it that misbehaves, now or later."""
    if job["task"] == "error":
        module, form = "dm-flakey", SOUND
    elif "delay_ms" in job:
        module, form = "dm-delay", SLOW
    else:
        return "/dev/ubda"
    folder = os.path.join(MODULES, os.uname().release, "kernel/drivers/md")
    for name in ("dm-mod", module):
        run("insmod", os.path.join(folder, name + ".ko"))
    os.environ["DM_DISABLE_UDEV"] = "1"
    run("dmsetup", "create", NAME, "--table", table(form, job))
    return "/dev/dm-0"


SOUND = "linear {disk} 0"
SLOW = "delay {disk} 0 0 {disk} 0 {delay_ms}"  # reads at once, writes later
BROKEN = "flakey {disk} 0 0 3600 1 error_writes"


def table(form, job):
    with open("/sys/block/ubda/size") as seen:
        sectors = seen.read().strip()
    return "0 %s %s" % (sectors, form.format(disk="/dev/ubda", delay_ms=job.get("delay_ms")))


def break_disk(job):
    """From now on each write is an EIO."""
    run("dmsetup", "suspend", "--noflush", "--nolockfs", NAME)
    run("dmsetup", "load", NAME, "--table", table(BROKEN, job))
    run("dmsetup", "resume", NAME)


def set_clock_right(job):
    """To the host's time, as a time service does it: the kernel counts it as synchronized."""
    time.clock_settime(time.CLOCK_REALTIME, job["right"])
    state = ctypes.create_string_buffer(512)
    struct.pack_into("<I4xqqqqi", state, 0, _ADJ_MAXERROR | _ADJ_STATUS, 0, 0, 1000, 1000, 0)
    tap.check(_libc.adjtimex(state) >= 0, "adjtimex", os.strerror(ctypes.get_errno()))


def power_off():
    """In order."""
    os.sync()
    for path in (SPOOL, LOG):
        with contextlib.suppress(AssertionError):
            run("umount", path)
    report("off")
    _libc.reboot(_POWER_OFF)


# What is reported

class Producer(load.Producer):
    def before_sending(self, number):
        report("sent", self.producer, number, self.size)

    def after_answer(self, key):
        if key in self.acked:
            report("acked", key, self.acked[key])
        else:
            report("refused", key, self.refused[key])


class FarBroker(fake_broker.FakeBroker):
    def record(self, entry):
        if "payload" in entry:  # of a report: the console is slow
            records = [{"seq": record["seq"], "id": record["id"]}
                       for record in json.loads(entry["payload"])["records"]]
            entry = dict(entry, payload=json.dumps({"records": records}))
        report("far", entry)


def far_broker():
    open_console()
    broker = FarBroker(**load.REFUSES).start()
    print(broker.port, flush=True)
    sys.stdin.read()


def start_far_broker():
    process = processes.start([sys.executable, "-B", os.path.abspath(__file__), "far"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return "tcp://127.0.0.1:%d" % int(process.stdout.readline())


# Tasks

def start_daemon(job):
    settings = dict(job["settings"], spool={"directory": SPOOL, "disk_reserve": "4M"})
    settings["audit"] = {"file": AUDIT}
    gateway = Gateway(start_far_broker() if job["broker"] else "tcp://127.0.0.1:9", **settings)
    gateway.spool, gateway.audit = SPOOL, AUDIT
    if os.path.exists(os.path.join(SPOOL, "spool.db")):
        tell_of_tool(gateway, "check")  # first, of what the cut has left
    gateway.start(env=job["environment"])
    report("ready")
    report("log", gateway.log())
    return gateway


def tell_of_tool(gateway, verb):
    done = gateway.tool(verb)
    report("tool", verb, done.returncode, (done.stdout + done.stderr).decode(errors="replace"))


def start_producers(gateway, job):
    producers = [Producer(gateway.socket, "%s%d" % (job["prefix"], number), **job["producers"])
                 for number in range(job["count"])]
    for producer in producers:
        producer.start()
    report("load")
    return producers


def finish(producers):
    for producer in producers:
        producer.finish(60)


def wait_for_the_cut():
    report("waiting")
    while True:
        time.sleep(60)


def publish(gateway, job):
    start_producers(gateway, job)
    wait_for_the_cut()


def drain(gateway, job):
    """All is delivered; then the daemon ends, and its files are copied to the host."""
    if "right" in job:
        set_clock_right(job)
    gateway.wait_drained(DRAIN_SECONDS)
    gateway.stop()
    report("log", gateway.log())
    for verb in ("check", "audit"):
        tell_of_tool(gateway, verb)
    for name, path in (("spool", SPOOL), ("log", LOG)):
        copy = os.path.join(OUT, name)
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("lost+found"))
        for file in os.listdir(copy):
            with open(os.path.join(copy, file), "rb") as written:
                os.fsync(written.fileno())
    power_off()


def error(gateway, job):
    """The disk breaks under load; returns what happened to the daemon."""
    producers = start_producers(gateway, job)
    tap.wait_for(lambda: sum(len(producer.acked) for producer in producers) >= job["before"], 60)
    began = time.monotonic()
    break_disk(job)
    report("broken")
    code = gateway.process.wait(DEATH_SECONDS)
    report("ended", code, time.monotonic() - began)
    report("last", gateway.log())
    wait_for_the_cut()


def flushes(device):
    with open("/sys/block/%s/stat" % device) as seen:
        return int(seen.read().split()[15])


def slow(gateway, job):
    """The effect of a slow disk on the rate, and on the watchdog."""
    before = flushes("ubda")
    producers = start_producers(gateway, job)
    began = fed_at = time.monotonic()
    fed, longest = 0, 0.0
    while time.monotonic() < began + job["seconds"]:
        seen = sum("WATCHDOG=1" in text for text in gateway.read_notifications())
        if seen > fed:
            longest, fed, fed_at = max(longest, time.monotonic() - fed_at), seen, time.monotonic()
        time.sleep(0.01)
    longest = max(longest, time.monotonic() - fed_at)
    finish(producers)
    report("slow", {"acked": sum(len(producer.acked) for producer in producers),
                  "seconds": time.monotonic() - began, "flushes": flushes("ubda") - before,
                  "fed": fed, "longest": longest})
    drain(gateway, job)


def clock(gateway, job):
    """Messages accepted while the clock is wrong, then it is set right: which of them have
    ended."""
    producers = start_producers(gateway, job)
    tap.wait_for(lambda: sum(len(producer.acked) for producer in producers) >= job["before"], 60)
    set_clock_right(job)
    after = sum(len(producer.acked) for producer in producers) + job["before"]
    tap.wait_for(lambda: sum(len(producer.acked) for producer in producers) >= after, 60)
    finish(producers)
    # It may have asked between the two calls that set the clock, and asks again after a while.
    tap.wait_for(lambda: gateway.status()["clock"]["synchronized"], CLOCK_SECONDS,
                 "a clock that is known to be right")
    report("ledger", gateway.ledger())  # one that was written after this
    wait_for_the_cut()


TASKS = {"publish": publish, "drain": drain, "error": error, "slow": slow, "clock": clock}


def main(path):
    with open(path) as seen:
        job = json.load(seen)
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                      LC_ALL="C.UTF-8", SPOOLD_BIN=job["daemon"], SPOOL_BIN=job["tool"])
    gateway = None
    try:
        set_up(job)
        gateway = start_daemon(job)
        TASKS[job["task"]](gateway, job)
    except BaseException:
        with contextlib.suppress(OSError, termios.error):
            report("last", (gateway.log() if gateway else "") + run("dmesg")[-3000:])
            report("failed", traceback.format_exc())
        traceback.print_exc()
        _libc.reboot(_POWER_OFF)


if __name__ == "__main__":
    if sys.argv[1] == "far":
        far_broker()
    else:
        main(sys.argv[1])

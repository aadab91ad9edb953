# SPDX-License-Identifier: MIT
"""The tool without arguments, as producers call it, while the configuration of the default place
cannot be read: a daemon that runs is asked by the default socket.

Each case has an /etc and a /run of its own, in a mount namespace of this process.
"""

import ctypes
import json
import os
import shutil
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip  # noqa: E402

CONFIG = "/etc/mqtt-spoold/mqtt-spoold.conf"
SOCKET = "/run/mqtt-spoold/publish.sock"
BROKEN = "listen: { mode = \"0660\" };\nuplink { };\n"
OK, UNAVAILABLE, NOT_CONFIGURED = 0, 69, 78
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def own_folder(path, content=None):
    made = os.path.join(processes.folder(), "of-its-own")
    if content:
        shutil.copytree(content, made, symlinks=True, ignore_dangling_symlinks=True)
    else:
        os.mkdir(made)
    if libc.mount(made.encode(), path.encode(), None, MS_BIND, None):
        skip("needs root: a mount (%s)" % os.strerror(ctypes.get_errno()))
    cleanup(libc.umount2, path.encode(), MNT_DETACH)


def place(socket=SOCKET):
    """A gateway in the default place."""
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        skip("needs root: a mount namespace of its own (%s)" % os.strerror(ctypes.get_errno()))
    own_folder("/run")
    own_folder("/etc", "/etc")
    for path in (CONFIG, SOCKET):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    gateway = Gateway(listen={"socket": socket})
    gateway.config, gateway.socket = CONFIG, socket
    gateway.run_folder = os.path.dirname(socket)
    gateway.configure()
    return gateway


def break_config():
    with open(CONFIG, "w") as out:
        out.write(BROKEN)


def tool(*arguments, code=OK):
    done = processes.run([processes.tool_path(), *arguments], timeout=60)
    equal(done.returncode, code, "exit code of %r (it says: %s)" % (arguments, done.stderr))
    return done.stdout.decode(), done.stderr.decode()


def warns(err, *parts):
    for part in ("warning: ", CONFIG + ":2", "default socket " + SOCKET, *parts):
        check(part in err, "%r in what it says" % part, err)


@case
def a_configuration_that_was_broken_does_not_stop_the_verbs_that_need_the_socket():
    gateway = place().start()
    break_config()
    running = "process %d" % gateway.process.pid
    out, err = tool("publish", "-t", "plant/1", "-m", "x", "-v")
    check(out.startswith("accepted id="), "it is accepted", out)
    warns(err, "syntax error", running)
    out, err = tool("status", "--json")
    equal(json.loads(out)["spool"]["messages"], 1, "messages")
    warns(err, running)
    out, err = tool("list", "--json")
    equal(json.loads(out)["topic"], "plant/1", "the one that is listed")
    warns(err)
    metrics = os.path.join(gateway.folder, "metrics.prom")
    for arguments in (["metrics", "--output", metrics], ["flush"], ["hold"], ["release"],
                      ["log-level", "debug"], ["drop", "--id", "1", "--yes"]):
        warns(tool(*arguments)[1])
    with open(metrics) as seen:
        check("mqtt_spool_up 1" in seen.read(), "metrics of the daemon")
    gateway.stop()


@case
def a_configuration_that_is_gone_does_not_either():
    gateway = place().start()
    os.unlink(CONFIG)
    err = tool("publish", "-t", "plant/1", "-m", "x")[1]
    check("warning: cannot read the configuration %s: No such file" % CONFIG in err, "why", err)
    tool("-c", CONFIG, "status", "--json")
    gateway.stop()


@case
def the_doctor_asks_it_too_and_the_bundle_has_its_status():
    gateway = place().start()
    break_config()
    out = tool("doctor", "--json", code=1)[0]
    steps = {entry["step"]: entry for entry in reversed(json.loads(out)["steps"])}
    equal(steps["configuration"]["result"], "failed", "configuration")
    check("default socket" in steps["configuration"]["remedy"], "what is asked instead", out)
    equal(steps["daemon"]["result"], "ok", "daemon")
    check("its link is" in out, "what it reports", out)
    equal(steps["rights"]["result"], "skipped", "rights")
    path = os.path.join(gateway.folder, "bundle.tar.gz")
    tool("bundle", path)
    with tarfile.open(path) as bundle:
        check("status.json" in bundle.getnames(), "the status", bundle.getnames())
    gateway.stop()


@case
def where_no_daemon_runs_the_error_stays():
    gateway = place().start()
    gateway.kill()
    break_config()
    for verb in (["status"], ["metrics"], ["flush"], ["list"]):
        err = tool(*verb, code=NOT_CONFIGURED)[1]
        check("correct that" in err and "no daemon has its status beside" in err, "error", err)
    err = tool("publish", "-t", "plant/1", "-m", "x", code=UNAVAILABLE)[1]
    warns(err)
    os.unlink(SOCKET)
    err = tool("publish", "-t", "plant/1", "-m", "x", code=NOT_CONFIGURED)[1]
    check("give --socket PATH" in err, "remedy", err)


@case
def a_daemon_with_another_socket_or_file_is_not_guessed():
    gateway = place(os.path.join(processes.folder(), "other.sock")).start()
    break_config()
    tool("status", code=NOT_CONFIGURED)
    tool("publish", "-t", "plant/1", "-m", "x", code=NOT_CONFIGURED)
    gateway.stop()
    other = place().start()
    broken = os.path.join(other.folder, "other.conf")
    with open(broken, "w") as out:
        out.write(BROKEN)
    tool("-c", broken, "publish", "-t", "plant/1", "-m", "x", code=NOT_CONFIGURED)
    tool("-c", broken, "status", code=NOT_CONFIGURED)
    other.stop()


run_all()

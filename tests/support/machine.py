# SPDX-License-Identifier: MIT
"""A Debian machine that systemd has booted, in a container: what a unit file is tested in.

The system is made by debootstrap once and kept in the build folder. Each machine has an overlay
over it, so that nothing of a case is left for the next; a reboot and a crash keep what was written.
The overlay is mounted in a namespace of its own and goes with the container, whose network is its
own too. Commands run by nsenter, because there is no D-Bus of the host. All this needs root,
packages and, the first time, the network; so it is done only on request.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile

import processes
import tap

# The libraries whose packages are called otherwise in each release.
LIBRARIES = {"bookworm": ("libconfig9", "libssl3"), "trixie": ("libconfig11", "libssl3t64")}
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libsqlite3-0",
            "libjansson4", "libmosquitto1", "libpaho-mqtt1.3", "mosquitto", "mosquitto-clients", "logrotate",
            "ca-certificates", "procps")
# What a Debian starts by itself and these tests do not need.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "logrotate.timer",
          "e2scrub_all.timer", "fstrim.timer", "systemd-logind.service", "console-getty.service",
          "getty.target", "cron.service")
BOOT_SECONDS = 60
SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


_failed = {}


def suite():
    """The release to boot: SPOOLD_SUITE, or that of this system, on which the programs were built."""
    named = os.environ.get("SPOOLD_SUITE")
    with contextlib.suppress(OSError), open("/etc/os-release", encoding="utf-8") as release:
        own = [line.partition("=")[2].strip().strip('"') for line in release
               if line.startswith("VERSION_CODENAME=")]
        return named or (own or [None])[0]
    return named


def why_not():
    """The reason why no machine can be booted here; None if it can."""
    if _failed:
        return _failed["reason"]
    if not os.environ.get("SPOOLD_SYSTEMD"):
        return "boots a Debian as root: only with scripts/test --systemd (SPOOLD_SYSTEMD=1)"
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (("systemd-nspawn", "systemd-container"), ("debootstrap",) * 2,
                             ("nsenter", "util-linux"), ("unshare", "util-linux")):
        if not processes.find(program):
            return "%s is not installed (Debian package %s)" % (program, package)
    if suite() not in LIBRARIES:
        return ("%s is no release that is known here: SPOOLD_SUITE is one of %s"
                % (suite(), ", ".join(LIBRARIES)))
    return None


def install(stage):
    """cmake --install of the build that is tested, into the folder @stage; returns its output."""
    build = os.environ.get("SPOOLD_BUILD")
    if not build:
        tap.skip("SPOOLD_BUILD does not name a build folder")
    environment = dict(os.environ, DESTDIR=stage)
    result = subprocess.run(["cmake", "--install", build, "--prefix", "/usr"], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = result.stdout.decode(errors="replace")
    tap.equal(result.returncode, 0, "cmake --install: " + said)
    return said


# The system all machines start from

def base_system():
    """The folder of a Debian with our dependencies; created if it is missing or outdated."""
    cache = os.environ.get("SPOOLD_SYSTEMD_CACHE") or os.path.join(SOURCE, "build", "machine")
    tree, recipe = os.path.join(cache, "tree"), os.path.join(cache, "recipe.json")
    wanted = json.dumps([suite(), PACKAGES, MASKED])
    with contextlib.suppress(FileNotFoundError), open(recipe, encoding="utf-8") as seen:
        if seen.read() == wanted:
            return tree
    shutil.rmtree(cache, ignore_errors=True)
    os.makedirs(cache)
    if _debootstrap(tree, os.path.join(cache, "debootstrap.log")):
        _settle(tree)
        with open(recipe, "w", encoding="utf-8") as out:  # last: half a tree has none
            out.write(wanted)
    return tree


def prepare():
    """Makes the system ahead of the cases, whose time is limited; without it they are skipped."""
    if why_not() is None:
        base_system()


def _debootstrap(tree, log):
    """Whether it was made. In a mount namespace: an interrupted one would leave /proc mounted."""
    with open(log, "wb") as out:
        done = processes.start(
            [processes.find("unshare"), "--mount", "--propagation", "private",
             processes.find("debootstrap"), "--variant=minbase",
             "--include=" + ",".join(PACKAGES + LIBRARIES[suite()]), suite(), tree],
            stdout=out, stderr=out).wait()
    if done:
        with open(log, errors="replace") as seen:
            print("# " + "\n# ".join(seen.read().splitlines()[-10:]), flush=True)
        _failed["reason"] = "debootstrap cannot make a Debian; is there a way to its packages?"
    return done == 0


def _settle(tree):
    for unit in MASKED:
        os.symlink("/dev/null", os.path.join(tree, "etc/systemd/system", unit))
    open(os.path.join(tree, "etc/machine-id"), "w").close()  # each machine gets one of its own
    started = os.path.join(tree, "etc/systemd/system/multi-user.target.wants/mosquitto.service")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(started)  # the broker is there, and runs when a case wants one


class Machine:
    """boot(), then run() and its like; crash() and boot() again keep the disk."""

    def __init__(self):
        reason = why_not()
        if reason:
            tap.skip(reason)
        self.base = base_system()
        # Not processes.folder(): an overlay's folders want a file system that is none itself.
        self.folder = tempfile.mkdtemp(prefix="spoold-machine-")
        tap.cleanup(shutil.rmtree, self.folder, True)
        for part in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.folder, part), 0o755)
        self.container = None
        self.leader = None
        tap.cleanup(self.crash)
        tap.on_failure(self.last_words)

    # Life

    def boot(self):
        """Until systemd reports that the machine runs."""
        script = ("mount -t overlay overlay -o lowerdir=%s,upperdir=%s/upper,workdir=%s/work "
                  "%s/root && exec %s --quiet --directory=%s/root --machine=spoold-%d "
                  "--register=no --keep-unit --private-network --console=pipe --boot"
                  % (self.base, self.folder, self.folder, self.folder,
                     processes.find("systemd-nspawn"), self.folder, os.getpid()))
        with open(os.path.join(self.folder, "console"), "ab") as console:
            self.container = processes.start(
                [processes.find("unshare"), "--mount", "--propagation", "private", "sh", "-c",
                 script], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True)
        tap.wait_for(self._is_up, BOOT_SECONDS, "a booted machine")
        return self

    def _is_up(self):
        if self.container.poll() is not None:
            raise AssertionError("systemd-nspawn ended with %d" % self.container.returncode)
        self.leader = self._find_leader()
        if self.leader is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return state in ("running", "degraded")

    def _find_leader(self):
        """The only child of systemd-nspawn, once it is systemd."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            path = "/proc/%d/task/%d/children" % (self.container.pid, self.container.pid)
            with open(path) as seen:
                children = seen.read().split()
            for child in children:
                with open("/proc/%s/comm" % child) as seen:
                    if seen.read().strip() == "systemd":
                        return int(child)
        return None

    def crash(self):
        """Every process dies at once; the disk stays as it is."""
        if self.leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, 9)
        self._wait_for_end()

    def power_off(self):
        """In order, as an operator does it."""
        self.run("systemctl", "poweroff", check=False)
        self._wait_for_end()

    def _wait_for_end(self):
        self.leader = None
        if self.container is not None:
            try:
                self.container.wait(30)
            except subprocess.TimeoutExpired:
                self.container.kill()
                self.container.wait()
            self.container = None

    # Commands

    def command(self, *command, user=None):
        """What runs @command inside."""
        switch = ["runuser", "--user=" + user, "--"] if user else []
        return ([processes.find("nsenter"), "--target=%d" % self.leader, "--mount", "--uts",
                 "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "env", "-i",
                 "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=cat"]
                + switch + list(command))

    def done(self, *command, user=None, stdin=None, timeout=60):
        """Runs it to the end; returncode, and stdout and stderr as texts."""
        result = processes.run(self.command(*command, user=user), timeout, stdin)
        result.stdout = result.stdout.decode(errors="replace")
        result.stderr = result.stderr.decode(errors="replace")
        return result

    def run(self, *command, user=None, stdin=None, timeout=60, check=True):
        """Its output; with @check it must end with 0."""
        result = self.done(*command, user=user, stdin=stdin, timeout=timeout)
        if check and result.returncode:
            raise AssertionError("%s ends with %d: %s%s" % (" ".join(command), result.returncode,
                                                            result.stdout, result.stderr))
        return result.stdout

    def shell(self, script, **options):
        return self.run("sh", "-c", script, **options)

    def read(self, path):
        return self.run("cat", path)

    def write(self, path, text):
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path,
                 stdin=text.encode())

    def copy_in(self, stage):
        """Copies the folder @stage to /."""
        packed = processes.run(["tar", "-C", stage, "-c", "."]).stdout
        self.run("tar", "-C", "/", "-x", "-p", "--no-same-owner", "--no-overwrite-dir",
                 stdin=packed)

    def unit(self, name, *properties):
        """Properties of a unit as texts: one by itself, several as a dictionary."""
        said = self.run("systemctl", "show", name, "--property=" + ",".join(properties))
        seen = dict(line.split("=", 1) for line in said.splitlines())
        return seen.get(properties[0], "") if len(properties) == 1 else seen

    def journal(self, *filters):
        """Entries as dictionaries; what was written before this call is there."""
        self.run("journalctl", "--sync")
        said = self.run("journalctl", "--output=json", "--all", *filters)
        return [json.loads(line) for line in said.splitlines()]

    def last_words(self):
        said = "console:\n"
        with contextlib.suppress(OSError), open(os.path.join(self.folder, "console"), "rb") as seen:
            said += seen.read()[-1500:].decode(errors="replace")
        if self.leader is not None:
            said += "\njournal:\n" + self.run("journalctl", "--unit=mqtt-spoold*", "--lines=40",
                                              "--no-hostname", check=False)
        return said

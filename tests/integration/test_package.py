# SPDX-License-Identifier: MIT
"""The Debian package: what it has, what its scripts do, and its life in a booted Debian.

The quick cases read debian/ and the package in build/package, if scripts/package made one. The
others install it as README.md says, upgrade it under load and with a full spool, downgrade it, remove
and purge it; they need a machine (tests/support/machine.py).
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from gateway import check_balance  # noqa: E402
from machine import SOURCE, Machine, prepare, why_not  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

SERVICE, SOCKET = "mqtt-spoold.service", "mqtt-spoold.socket"
CONFIG = "/etc/mqtt-spoold/mqtt-spoold.conf"
SAMPLE = "/usr/share/mqtt-spoold/mqtt-spoold.conf"
METRICS = "mqtt-spool-metrics.timer"
PAGE = "/var/lib/prometheus/node-exporter/mqtt-spool.prom"
SPOOL, LOGS = "/var/lib/mqtt-spoold", "/var/log/mqtt-spoold"
PUBLISH = "/run/mqtt-spoold/publish.sock"
PLACE = os.path.join(SOURCE, "build", "package")
NEXT = "0.1.1~test"  # a later version, in all but its number the same
BAD_CONFIGURATION = 78
SCRIPTS = ("config", "postinst", "prerm", "postrm")
CASE_SECONDS = 400


def text_of(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as file:
        return file.read()


def version():
    return re.match(r"mqtt-spoold \((\S+)\) ", text_of("debian", "changelog")).group(1)


def architecture():
    return processes.run(["dpkg", "--print-architecture"]).stdout.decode().strip()


def package():
    """The package that scripts/package built."""
    if not processes.find("dpkg-deb"):
        skip("dpkg-deb is not installed")
    path = os.path.join(PLACE, "mqtt-spoold_%s_%s.deb" % (version(), architecture()))
    if not os.path.exists(path):
        skip("there is no package in build/package: scripts/package makes it")
    built = os.path.getmtime(path)
    for folder in ("debian", "systemd", "cmake", "etc", "man"):
        for name in os.listdir(os.path.join(SOURCE, folder)):
            if os.path.getmtime(os.path.join(SOURCE, folder, name)) > built:
                skip("the package in build/package is older than %s/%s" % (folder, name))
    return path


def run(*command, **options):
    """Its output; it must end with 0."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                            **options)
    said = result.stdout.decode(errors="replace")
    equal(result.returncode, 0, "%s: %s" % (" ".join(command), said))
    return said


# What is read

@case
def the_version_is_that_of_the_program():
    program = re.search(r"mqtt-spoold VERSION ([0-9.]+)", text_of("CMakeLists.txt")).group(1)
    equal(version(), program, "debian/changelog and CMakeLists.txt")


@case
def shellcheck_finds_nothing_in_the_scripts():
    if not processes.find("shellcheck"):
        skip("shellcheck is not installed")
    names = [os.path.join(SOURCE, "debian", "mqtt-spoold." + name) for name in SCRIPTS]
    # SC1091: debconf's functions are not followed, the machine that runs this may lack them.
    run("shellcheck", "--exclude=SC1091", "--shell=sh", *names)
    run("shellcheck", "--exclude=SC1091,SC2154", os.path.join(SOURCE, "scripts", "package"))


@case
def the_catalogue_of_translations_has_the_text_of_the_question():
    template = text_of("debian", "mqtt-spoold.templates")
    text = re.search(r"^_Description: (.*\n(?: .*\n)+)", template, re.MULTILINE).group(1)
    question, _, rest = text.partition("\n")
    known = re.sub(r'"\n"', "", text_of("debian", "po", "templates.pot"))
    for part in [question] + rest.split(" .\n"):
        part = " ".join(part.split())
        check('msgid "%s"' % part in known, part)


@case
def the_question_names_all_that_a_purge_deletes():
    template = text_of("debian", "mqtt-spoold.templates")
    for word in (SPOOL, LOGS, "configuration", "copy /etc/mqtt-spoold", "Default: false",
                 "Other files in /etc/mqtt-spoold"):
        check(word in template, word)


# What a purge would delete is in folders of its own.
PURGE = """
for folder in /etc /var /run /usr/share/debconf; do
    [ ! -d $folder ] || mount -t tmpfs none $folder || exit 99
done
mkdir -p /etc/mqtt-spoold/conf.d
cd /etc/mqtt-spoold
touch mqtt-spoold.conf conf.d/50-site.conf "$@"
sh "$0" purge 2>&1
cd /
find /etc -type f
"""


@case
def a_purge_says_that_passwords_and_keys_stay():
    wrap = [processes.need("unshare"), "--mount", "sh", "-c"]
    if os.geteuid() != 0 or processes.run(wrap + ["true"]).returncode:
        skip("needs root: a mount namespace")
    postrm = os.path.join(SOURCE, "debian", "mqtt-spoold.postrm")
    equal(run(*wrap, PURGE, postrm), "", "nothing else is there")
    said = run(*wrap, PURGE, postrm, "password")
    check("other files in /etc/mqtt-spoold are kept" in said, "what it says", said)
    equal(said.splitlines()[-1], "/etc/mqtt-spoold/password", "what is left")


@case
def the_units_start_when_there_is_the_file_that_the_package_does_not_bring():
    for name in (SERVICE, SOCKET):
        unit = text_of("systemd", name)
        equal(re.findall(r"^ConditionPathExists=(.*)$", unit, re.MULTILINE),
              ["|" + CONFIG, "|" + SPOOL], name)


@case
def the_package_has_each_file_in_its_place():
    rows = [line.split(None, 5) for line in run("dpkg-deb", "--contents", package()).splitlines()]
    files = {row[5].split(" -> ")[0]: row[0] for row in rows}
    for path in ("/usr/sbin/mqtt-spoold", "/usr/bin/mqtt-spool"):
        equal(files.get("." + path), "-rwxr-xr-x", path)
    for path in ("/usr/lib/sysusers.d/mqtt-spoold.conf",
                 "/usr/lib/systemd/catalog/mqtt-spoold.catalog", "/etc/logrotate.d/mqtt-spoold",
                 SAMPLE, "/usr/share/man/man1/mqtt-spool.1.gz",
                 "/usr/share/man/man5/mqtt-spoold.conf.5.gz",
                 "/usr/share/man/man8/mqtt-spoold.8.gz",
                 "/usr/share/doc/mqtt-spoold/README.md", "/usr/share/doc/mqtt-spoold/CHANGELOG.md",
                 "/usr/share/doc/mqtt-spoold/changelog.gz",
                 "/usr/share/doc/mqtt-spoold/docs/operation.md",
                 "/usr/share/doc/mqtt-spoold/docs/examples/python/paho2.py"):
        equal(files.get("." + path), "-rw-r--r--", path)
    units = {os.path.basename(path) for path in files if "/systemd/system/" in path}
    check({SERVICE, SOCKET, "mqtt-spoold-retry.timer"} <= units, "units", units)
    check("." + CONFIG not in files, "a configuration that would start it")


@case
def only_what_the_administrator_need_not_edit_is_a_conffile():
    equal(run("dpkg-deb", "--info", package(), "conffiles").split(), ["/etc/logrotate.d/mqtt-spoold"])


def script(name):
    stage = processes.folder()
    run("dpkg-deb", "--control", package(), stage)
    with open(os.path.join(stage, name), encoding="utf-8") as file:
        return file.read()


@case
def an_upgrade_stops_no_timer_and_a_removal_takes_the_page_that_it_wrote():
    for name in ("preinst", "prerm"):
        if name in run("dpkg-deb", "--info", package()).split():
            for part in re.split(r"^if ", script(name), flags=re.MULTILINE)[1:]:
                check(".timer" not in part or '"$1" = remove' in part.split("\n")[0],
                      name + " stops a timer at an upgrade", part)
    page = re.search(r"--output (\S+)$", text_of("systemd", "mqtt-spool-metrics.service"),
                     re.MULTILINE).group(1)
    check("rm -f %s\n" % page in text_of("debian", "mqtt-spoold.postrm"), page)


@case
def lintian_finds_no_error_and_no_warning():
    if not os.environ.get("SPOOLD_SYSTEMD") or not processes.find("lintian"):
        skip("lintian takes its time: only with scripts/test --systemd, and scripts/package --check")
    run("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0",
        package())


# What happens in a machine

def packages():
    """The package, and the same as a later version: [paths]."""
    reason = why_not()
    if reason:
        skip(reason)
    stage = processes.folder()
    run("dpkg-deb", "--raw-extract", package(), os.path.join(stage, "tree"))
    control = os.path.join(stage, "tree", "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = file.read()
    with open(control, "w", encoding="utf-8") as file:
        file.write(re.sub(r"^Version: .*$", "Version: " + NEXT, text, flags=re.MULTILINE))
    later = os.path.join(stage, "mqtt-spoold_%s.deb" % NEXT)
    run("dpkg-deb", "--root-owner-group", "--build", os.path.join(stage, "tree"), later)
    return package(), later


def machine():
    """Booted, with both packages in /root; alice may publish."""
    paths = packages()
    made = Machine().boot()
    stage = processes.folder()
    os.makedirs(os.path.join(stage, "root"))
    for path, name in zip(paths, ("now.deb", "later.deb")):
        shutil.copy(path, os.path.join(stage, "root", name))
    made.copy_in(stage)
    made.shell("groupadd --system mqtt-spoold && useradd --system --gid mqtt-spoold "
               "--home-dir %s --shell /usr/sbin/nologin mqtt-spoold; "
               "useradd --groups mqtt-spoold alice" % SPOOL)
    return made


def apt(made, *command, answer=None):
    """No question can be asked; returns the output."""
    done = made.done("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes",
                     *command, stdin=answer, timeout=200)
    said = done.stdout + done.stderr
    equal(done.returncode, 0, "apt-get %s: %s" % (" ".join(command), said))
    return said


def configure(made, *changes):
    """As README.md says, with the broker of the machine; it does not run yet."""
    text = made.read(SAMPLE)
    for old, new in (("ssl://broker.example:8883", "tcp://127.0.0.1:1883"),
                     ('min = "1s"', 'min = "100ms"'), ('max = "2m"', 'max = "300ms"')) + changes:
        check(old in text, "the sample has no %r" % old)
        text = text.replace(old, new, 1)
    made.write(CONFIG, text)


def started(*changes):
    """A machine on which the package is installed, configured and started."""
    made = machine()
    apt(made, "install", "/root/now.deb")
    configure(made, *changes)
    made.run("systemctl", "start", SOCKET, SERVICE)
    return made


def states(made):
    return [made.unit(name, "ActiveState") for name in (SOCKET, SERVICE)]


def publish(made, count):
    lines = "".join("%06d\n" % number for number in range(count))
    made.run("mosquitto_pub", "--unix", PUBLISH, "-V", "5", "-q", "1", "-t", "plant/t1", "-l",
             user="alice", stdin=lines.encode())


def ledger(made):
    """Of the spool itself: the daemon's file is some seconds old."""
    said = made.run("mqtt-spool", "status", "--json", "--directory", SPOOL, "--socket", "/none")
    return json.loads(said)["ledger"]


def expect_delivery(made, count):
    """The broker starts, and accepts everything."""
    made.run("systemctl", "start", "mosquitto.service")
    wait_for(lambda: ledger(made)["delivered"] == count, 60, lambda: "delivered: %r" % ledger(made))
    check_balance(ledger(made))
    made.run("mqtt-spool", "audit")
    made.run("mqtt-spool", "check")


@case(seconds=CASE_SECONDS)
def it_is_enabled_and_starts_only_when_it_is_configured():
    made = machine()
    said = apt(made, "install", "/root/now.deb")
    check("not started" in said and CONFIG in said and "systemctl start" in said, "what to do", said)
    for again in (False, True):
        equal([made.run("systemctl", "is-enabled", name).strip() for name in (SOCKET, SERVICE)],
              ["enabled"] * 2)
        equal(states(made), ["inactive"] * 2, "not configured")
        equal(made.run("systemctl", "list-units", "--failed", "--no-legend", "mqtt-spoold*"), "")
        equal(made.done("test", "-e", SPOOL).returncode, 1, "a spool: status")
        made.run("systemctl", "start", SOCKET, SERVICE)
        check("ConditionPathExists" in made.done("systemctl", "status", SERVICE).stdout,
              "systemctl status says why")
        if not again:
            made.power_off()
            made.boot()
    configure(made)
    made.run("runuser", "-u", "mqtt-spoold", "--", "mqtt-spoold", "--test-config")
    made.run("systemctl", "start", SOCKET, SERVICE)
    equal(states(made), ["active"] * 2)
    publish(made, 3)
    expect_delivery(made, 3)
    check("was delivered" in made.run("journalctl", "--catalog", "--dump-catalog"), "the catalog")
    made.crash()
    made.boot()
    equal(states(made), ["active"] * 2, "after a crash")

    made.run("mv", CONFIG, CONFIG + ".lost")
    check(made.done("systemctl", "restart", SERVICE).returncode != 0, "it started without the file")
    equal(made.unit(SERVICE, "ActiveState", "ExecMainStatus"),
          {"ActiveState": "failed", "ExecMainStatus": str(BAD_CONFIGURATION)}, "a lost file")


@case(seconds=CASE_SECONDS)
def a_machine_that_is_configured_before_starts_it_at_once():
    made = machine()
    stage = processes.folder()
    run("dpkg-deb", "--extract", package(), stage)
    with open(stage + SAMPLE, encoding="utf-8") as file:
        made.write(CONFIG, file.read())
    said = apt(made, "install", "/root/now.deb")
    check("not started" not in said, "asked to configure it", said)
    equal(states(made), ["active"] * 2)


LOOP = """\
n=0
while [ ! -e /tmp/enough ]; do
    until mosquitto_pub --unix %s -V 5 -q 1 -t plant/t1 -m "$n"; do echo again; done
    n=$((n + 1))
done
echo "published $n"
""" % PUBLISH


@case(seconds=CASE_SECONDS)
def an_upgrade_under_load_refuses_nobody_and_loses_nothing():
    made = started()
    made.run("systemctl", "start", "mosquitto.service")
    producers = [processes.start(made.command("sh", "-c", LOOP, user="alice"),
                                 stdout=processes.PIPE, stderr=subprocess.STDOUT)
                 for _ in range(3)]
    for producer in producers:
        cleanup(processes.end, producer)
    wait_for(lambda: ledger(made)["accepted"] > 20, 60, "load")
    listening, first = made.unit(SOCKET, "ActiveEnterTimestamp"), made.unit(SERVICE, "MainPID")
    for name in ("later.deb", "now.deb"):
        before = ledger(made)["accepted"]
        apt(made, "install", "--allow-downgrades", "/root/" + name)
        equal(states(made), ["active"] * 2, name)
        check(made.unit(SERVICE, "MainPID") != first, "the new program runs")
        first = made.unit(SERVICE, "MainPID")
        wait_for(lambda seen=before: ledger(made)["accepted"] > seen + 20, 60, "load continues")
    equal(made.unit(SOCKET, "ActiveEnterTimestamp"), listening, "the socket, never closed")
    made.shell("touch /tmp/enough")
    published = 0
    for producer in producers:
        said = producer.communicate()[0].decode()
        equal(producer.returncode, 0, said)
        for refusal in ("refused", "No such file"):
            check(refusal not in said, "a producer found the door closed", said)
        published += int(re.search(r"published (\d+)", said).group(1))
    # One that was cut off while it waited for its PUBACK publishes again.
    seen = ledger(made)["accepted"]
    check(seen >= published, "%d published, %d accepted" % (published, seen))
    expect_delivery(made, seen)


def set_schema(made, number):
    """The database, of a stopped daemon, says that a program of another version wrote it."""
    path = os.path.join(processes.folder(), "spool.db")
    there = made.run("ls", SPOOL).split()
    for suffix in ("", "-wal"):
        if "spool.db" + suffix in there:
            with open(path + suffix, "wb") as out:
                out.write(processes.run(made.command("cat", SPOOL + "/spool.db" + suffix)).stdout)
    database = sqlite3.connect(path)
    before = database.execute("PRAGMA user_version").fetchone()[0]
    database.execute("PRAGMA user_version = %d" % number)
    database.close()  # the last one: it checkpoints
    check(not os.path.exists(path + "-wal"), "a log beside the copy")
    with open(path, "rb") as file:
        made.run("sh", "-c", "rm -f {0}-wal {0}-shm && cat >{0}".format(SPOOL + "/spool.db"),
                 stdin=file.read())
    return before


@case(seconds=CASE_SECONDS)
def the_metrics_timer_runs_after_upgrade_downgrade_and_reinstallation_if_it_is_enabled():
    made = machine()
    made.run("mkdir", "-p", os.path.dirname(PAGE))
    apt(made, "install", "/root/now.deb")
    equal(made.unit(METRICS, "ActiveState"), "inactive", "not enabled by the installation")
    configure(made)
    made.run("systemctl", "start", SOCKET, SERVICE)
    made.run("systemctl", "enable", "--now", METRICS)
    made.run("systemctl", "start", METRICS.replace(".timer", ".service"))
    for name in ("later.deb", "now.deb"):
        apt(made, "install", "--allow-downgrades", "/root/" + name)
        equal(made.unit(METRICS, "ActiveState"), "active", name)
    made.run("test", "-s", PAGE)
    apt(made, "remove", "mqtt-spoold")
    equal(made.done("test", "-e", PAGE).returncode, 1, "the page, which is not written any more: status")
    apt(made, "install", "/root/now.deb")
    equal(made.unit(METRICS, "ActiveState"), "active", "installed again")
    made.run("systemctl", "disable", "--now", METRICS)
    apt(made, "install", "/root/later.deb")
    equal(made.unit(METRICS, "ActiveState"), "inactive", "disabled")


@case(seconds=CASE_SECONDS)
def a_full_spool_survives_upgrade_and_downgrade_and_a_newer_one_is_refused():
    made = started(("max_messages = 1000000", "max_messages = 400"),
                   ('when_full = "evict-oldest"', 'when_full = "refuse"'))
    publish(made, 400)
    refused = made.done("mqtt-spool", "publish", "-t", "plant/t1", "-m", "x", user="alice")
    equal(refused.returncode, 75, "the spool is full: " + refused.stderr)
    for name in ("later.deb", "now.deb", "later.deb"):
        apt(made, "install", "--allow-downgrades", "/root/" + name)
        equal(states(made), ["active"] * 2, name)
        equal((ledger(made)["spooled"], ledger(made)["evicted"]), (400, 0), name)

    made.run("systemctl", "stop", SOCKET, SERVICE)
    good = set_schema(made, 999)
    said = apt(made, "install", "--allow-downgrades", "/root/now.deb")
    seen = made.unit(SERVICE, "ActiveState", "ExecMainStatus")
    equal(seen, {"ActiveState": "failed", "ExecMainStatus": str(BAD_CONFIGURATION)}, "the service")
    check("newer version wrote this spool" in said, "apt shows the cause and the remedy", said)
    made.run("systemctl", "stop", SOCKET, SERVICE)
    equal(set_schema(made, good), 999, "the schema, not touched")
    made.run("systemctl", "start", SOCKET, SERVICE)
    equal(ledger(made)["spooled"], 400, "with the right version again")
    expect_delivery(made, 400)


@case(seconds=CASE_SECONDS)
def what_the_administrator_edited_stays_as_it_is():
    made = started()
    rotation = made.read("/etc/logrotate.d/mqtt-spoold").replace("rotate 30", "rotate 7")
    made.write("/etc/logrotate.d/mqtt-spoold", rotation)
    configured = made.read(CONFIG)
    apt(made, "install", "/root/later.deb")
    equal(made.read("/etc/logrotate.d/mqtt-spoold"), rotation, "the rotation")
    equal(made.read(CONFIG), configured, "the configuration")
    made.run("systemctl", "disable", "--now", SOCKET, SERVICE)
    apt(made, "install", "--allow-downgrades", "/root/now.deb")
    equal(states(made), ["inactive"] * 2, "what was disabled")


@case(seconds=CASE_SECONDS)
def removed_and_purged_it_keeps_what_was_not_delivered():
    made = started()
    made.write("/etc/mqtt-spoold/conf.d/50-site.conf", 'log_level = "debug";\n')
    publish(made, 7)
    said = apt(made, "remove", "mqtt-spoold")
    check("holds 7 messages that are not delivered" in said, "what stays", said)
    equal(made.done("test", "-e", "/run/mqtt-spoold").returncode, 1, "the socket's folder: status")
    equal(made.done("pgrep", "mqtt-spoold").returncode, 1, "the daemon: status")
    made.run("test", "-s", SPOOL + "/spool.db")
    made.run("test", "-s", CONFIG)
    said = apt(made, "purge", "mqtt-spoold")
    check(SPOOL in said and "7 messages" in said and "kept" in said, "what is kept, and where", said)
    check("/etc/mqtt-spoold is deleted" in said, "what is not kept", said)
    made.run("test", "-s", SPOOL + "/spool.db")
    equal(made.done("test", "-e", "/etc/mqtt-spoold").returncode, 1, "the configuration: status")

    said = apt(made, "install", "/root/now.deb")
    check("a spool of before" in said and "is not started" not in said, "why it failed", said)
    configure(made)
    made.run("systemctl", "restart", SOCKET, SERVICE)
    expect_delivery(made, 7)
    said = apt(made, "purge", "mqtt-spoold")  # at once, without a remove before
    for path in (SPOOL, LOGS, "/etc/mqtt-spoold", "/run/mqtt-spoold", "/etc/logrotate.d/mqtt-spoold"):
        equal(made.done("test", "-e", path).returncode, 1, "%s, nothing was left: %s" % (path, said))


@case(seconds=CASE_SECONDS)
def purged_with_the_answer_yes_it_deletes_the_messages():
    made = started()
    publish(made, 7)
    made.run("debconf-set-selections",
             stdin=b"mqtt-spoold mqtt-spoold/delete-messages boolean true\n")
    apt(made, "purge", "mqtt-spoold")
    for path in (SPOOL, LOGS, "/etc/mqtt-spoold"):
        equal(made.done("test", "-e", path).returncode, 1, path + ": status")
    apt(made, "install", "/root/now.deb")  # the answer was for that purge
    configure(made)
    made.run("systemctl", "start", SOCKET, SERVICE)
    publish(made, 3)
    said = apt(made, "purge", "mqtt-spoold")
    check("3 messages" in said, "asked again", said)
    made.run("test", "-s", SPOOL + "/spool.db")


if __name__ == "__main__":
    prepare()
    run_all()

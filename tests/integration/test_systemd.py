# SPDX-License-Identifier: MIT
"""The service under a systemd that was really booted: in a separate Debian, as it is installed.
What systemd-analyze cannot check: whether the daemon does all its work behind the sandbox, whether
systemd sees it start, hang and die, who may use its socket and its files, and whether its journal
entries arrive. The machine is described in tests/support/machine.py.
"""

import json
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from gateway import check_audit, check_balance  # noqa: E402
from machine import SOURCE, Machine, install, prepare  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

SERVICE, SOCKET = "mqtt-spoold.service", "mqtt-spoold.socket"
RETRY = "mqtt-spoold-retry.timer"
DOCS = os.path.join(SOURCE, "docs")
CONFIG = "/etc/mqtt-spoold/mqtt-spoold.conf"
SPOOL = "/var/lib/mqtt-spoold"
PUBLISH = "/run/mqtt-spoold/publish.sock"
AUDIT = "/var/log/mqtt-spoold/audit.jsonl"
ME = "mqtt-spoold"
NOT_ALLOWED = 77
BAD_CONFIGURATION = 78
REFUSALS = ("refused", "No such file")
STOP_SECONDS = 10  # docs/operation.md
EXPIRED = "a516e0f584134c03ac0aea1f5121867b"


def machine():
    """Booted, with the program installed as README.md says; alice may publish, bob may not."""
    made = Machine().boot()
    stage = processes.folder()
    install(stage)
    made.copy_in(stage)
    made.shell("systemd-sysusers && systemctl daemon-reload && journalctl --update-catalog")
    made.shell("useradd --groups mqtt-spoold alice && useradd bob")
    return made


def edit(made, *changes, path=CONFIG):
    """Replaces texts of a file that is installed; each must be there."""
    text = made.read(path)
    for old, new in changes:
        check(old in text, "%s has no %r" % (path, old))
        text = text.replace(old, new)
    made.write(path, text)


def drop_in(made, text):
    made.write("/etc/systemd/system/%s.d/test.conf" % SERVICE, "[Service]\n" + text)
    made.run("systemctl", "daemon-reload")


def use_local_broker(made, url="tcp://127.0.0.1:1883"):
    """The broker of the machine, which does not run yet; and no long pauses between attempts."""
    edit(made, ("ssl://broker.example:8883", url),
         ('min = "1s"', 'min = "100ms"'), ('max = "2m"', 'max = "300ms"'))


def pid(made):
    return int(made.unit(SERVICE, "MainPID"))


def publish(made, count, user="alice", topic="plant/t1"):
    """As any MQTT client."""
    lines = "".join("%06d\n" % number for number in range(count))
    made.run("mosquitto_pub", "--unix", PUBLISH, "-V", "5", "-q", "1", "-t", topic, "-l",
             user=user, stdin=lines.encode())


def status(made, user=None):
    return json.loads(made.run("mqtt-spool", "status", "--json", user=user))


def ledger(made):
    """Of the spool itself: the daemon's file is some seconds old."""
    said = made.run("mqtt-spool", "status", "--json", "--directory", SPOOL, "--socket", "/none")
    return json.loads(said)["ledger"]


def files_of_others(made):
    """Files in the daemon's folders that are not the daemon's."""
    return made.run("find", "/var/lib/mqtt-spoold", "/run/mqtt-spoold", "/var/log/mqtt-spoold", "!",
                    "(", "-user", ME, "-group", ME, ")")


def mode(made, path):
    return made.run("stat", "--format=%U:%G %a", path).strip()


@case
def systemd_sees_it_ready_and_shows_its_status():
    made = machine()
    made.run("systemctl", "start", SERVICE)
    seen = made.unit(SERVICE, "ActiveState", "SubState", "Type", "NRestarts")
    equal((seen["ActiveState"], seen["SubState"], seen["Type"], seen["NRestarts"]),
          ("active", "running", "notify", "0"))
    publish(made, 1)  # ready means ready: nothing was waited for
    wait_for(lambda: "1 spooled" in made.unit(SERVICE, "StatusText"), 15,
             lambda: "a status that counts, it is %r" % made.unit(SERVICE, "StatusText"))
    check("Status: " in made.run("systemctl", "status", SERVICE), "systemctl status shows it")


@case
def it_runs_as_its_own_user_behind_the_sandbox():
    made = machine()
    # A process of the service that tries what only the filter forbids.
    drop_in(made, "ExecStartPre=/bin/sh -c '! ionice --class 3 true'\n")
    made.run("systemctl", "start", SERVICE)
    fields = dict(line.split(":\t", 1)
                  for line in made.read("/proc/%d/status" % pid(made)).splitlines())
    own = made.run("id", "--user", ME).strip()
    check(own != "0", "the user is root")
    equal(fields["Uid"].split(), [own] * 4, "user ids")
    equal({fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
          {"0" * 16}, "capabilities")
    equal((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"), "no new privileges, filter on")

    def inside(script):
        """Root's own commands, in what the daemon sees of the machine."""
        return made.done("nsenter", "--target=%d" % pid(made), "--mount", "sh", "-c", script)

    for path in ("/usr/x", "/etc/mqtt-spoold/x", "/var/x", "/root/x", "/home/x", "/proc/sys/x"):
        check(inside("echo x >" + path).returncode != 0, "may write to " + path)
    for path in ("/var/lib/mqtt-spoold", "/var/log/mqtt-spoold", "/run/mqtt-spoold"):
        equal(inside("echo x >%s/x && rm %s/x" % (path, path)).returncode, 0, "writes to " + path)
    for path in ("/dev", "/tmp"):
        check(inside("stat --format=%d:%i " + path).stdout
              != made.run("stat", "--format=%d:%i", path), path + " is that of the machine")
    equal(len(inside("cat /proc/sys/kernel/random/boot_id").stdout), 37,
          "the boot id, by which it knows of a restart")


@case
def its_exposure_is_at_most_1_5():
    made = machine()
    made.run("systemctl", "start", SERVICE)
    said = made.done("systemd-analyze", "security", "--no-pager", "--threshold=15", SERVICE)
    equal(said.returncode, 0, said.stdout[-300:])
    print("# " + said.stdout.strip().splitlines()[-1].encode("ascii", "ignore").decode())


# A mount that waits for its disk, and fails as long as that is not there.
DISK = """\
[Unit]
Requires=disk.service
After=disk.service
[Mount]
What=tmpfs
Where=/srv/spool
Type=tmpfs
Options=size=64m,mode=0755
"""


@case
def no_spool_is_created_below_a_mount_point_without_its_disk():
    made = machine()
    made.write("/etc/systemd/system/srv-spool.mount", DISK)
    made.write("/etc/systemd/system/disk.service",
               "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/test -e /disk\n")
    made.write("/etc/systemd/system/%s.d/test.conf" % RETRY,
               "[Timer]\nOnActiveSec=\nOnActiveSec=2s\nAccuracySec=100ms\n")
    # As docs/operation.md says.
    made.write("/etc/systemd/system/%s.d/spool.conf" % SERVICE,
               "[Unit]\nRequiresMountsFor=/srv/spool\n"
               "[Service]\nReadWritePaths=/srv/spool\nExecStartPre=+/usr/bin/install --directory "
               "--owner=mqtt-spoold --group=mqtt-spoold --mode=0700 /srv/spool/mqtt-spoold\n")
    made.run("mkdir", "/srv/spool")
    edit(made, ('directory = "/var/lib/mqtt-spoold"', 'directory = "/srv/spool/mqtt-spoold"'))
    made.run("systemctl", "daemon-reload")
    check(made.done("systemctl", "start", SERVICE).returncode != 0, "started without the disk")
    wait_for(lambda: made.unit(RETRY, "ActiveState") == "active", 30, "the timer")
    equal(made.run("ls", "/srv/spool"), "", "what is below the mount point")
    made.run("touch", "/disk")
    wait_for(lambda: made.unit(SERVICE, "ActiveState") == "active", 60, "it runs by itself")
    made.run("mountpoint", "/srv/spool")
    made.run("test", "-s", "/srv/spool/mqtt-spoold/spool.db")
    publish(made, 3)


def use_local_tls_broker(made):
    """As use_local_broker(), by TLS; its certificate is one that the machine trusts."""
    made.write("/etc/hosts", "127.0.0.1 localhost\n")
    made.shell("cd /usr/local/share/ca-certificates && openssl req -x509 -newkey rsa:2048 -nodes "
               "-days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout "
               "/etc/mosquitto/key.pem -out local.crt && chown mosquitto /etc/mosquitto/key.pem && "
               "update-ca-certificates")
    made.write("/etc/mosquitto/conf.d/tls.conf",
               "listener 8883 127.0.0.1\nallow_anonymous true\nkeyfile /etc/mosquitto/key.pem\n"
               "certfile /usr/local/share/ca-certificates/local.crt\n")
    use_local_broker(made, "ssl://localhost:8883")


PASSWORD = "/etc/keys/broker-password"
CREDENTIALS = """\
cd /etc/keys
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.crt
for name in localhost gateway; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
    echo subjectAltName=DNS:$name >$name.ext
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
        -extfile $name.ext -out $name.crt
done
chmod 600 *
install -m 644 ca.crt gateway.crt /etc/mqtt-spoold
mkdir /etc/mosquitto/tls
install -o mosquitto -m 600 ca.crt localhost.crt localhost.key /etc/mosquitto/tls
"""
STRICT_BROKER = """\
listener 8883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
require_certificate true
cafile /etc/mosquitto/tls/ca.crt
certfile /etc/mosquitto/tls/localhost.crt
keyfile /etc/mosquitto/tls/localhost.key
"""


def use_strict_broker(made):
    """It wants a password and a client certificate; the daemon gets both secrets of its unit."""
    made.write("/etc/hosts", "127.0.0.1 localhost\n")
    made.shell("install -d -m 700 /etc/keys && " + CREDENTIALS)
    made.write("/etc/mosquitto/conf.d/strict.conf", STRICT_BROKER)
    use_local_broker(made, "ssl://localhost:8883")
    edit(made, ('username = "";', 'username = "gw";'),
         ('\n    password_file = "";', '\n    password_file = "%d/broker-password";'),
         ('ca_file = "";', 'ca_file = "/etc/mqtt-spoold/ca.crt";'),
         ('cert_file = "";', 'cert_file = "/etc/mqtt-spoold/gateway.crt";'),
         ('\n        key_file = "";', '\n        key_file = "%d/client.key";'))
    drop_in(made, "LoadCredential=broker-password:%s\n"
                  "LoadCredential=client.key:/etc/keys/gateway.key\n" % PASSWORD)


def set_password(made, word):
    """At the broker, and where root keeps that of the unit."""
    made.shell("mosquitto_passwd -c -b /etc/mosquitto/passwords gw %s && "
               "chown mosquitto /etc/mosquitto/passwords" % word)
    made.shell("umask 077 && printf %%s %s >%s" % (word, PASSWORD))


def wait_delivered(made, count):
    wait_for(lambda: ledger(made)["delivered"] == count, 30,
             lambda: "%d delivered: %r" % (count, ledger(made)))


@case
def a_password_and_a_key_come_from_the_credentials_of_the_unit():
    made = machine()
    use_strict_broker(made)
    set_password(made, "first")
    made.run("systemctl", "start", "mosquitto.service", SERVICE)
    publish(made, 3)
    wait_delivered(made, 3)
    for path in (PASSWORD, "/etc/keys/gateway.key"):
        check(made.done("cat", path, user=ME).returncode != 0, "the daemon's user reads " + path)
    equal(status(made, user="alice")["link"]["state"], "online", "the tool, without credentials")

    made.run("systemctl", "reload", SERVICE)
    wait_for(lambda: " reload" in made.run("journalctl", "--unit", SERVICE), 10, "a reload")
    publish(made, 1)
    wait_delivered(made, 4)

    set_password(made, "second")
    made.run("systemctl", "restart", "mosquitto.service")
    wait_for(lambda: status(made)["link"]["state"] != "online"
             and "(code 0x87)" in (status(made)["link"]["last_error"] or ""), 30,
             lambda: "the old password is refused: %r" % status(made)["link"])
    made.run("systemctl", "restart", SERVICE)  # as docs/tls.md says
    publish(made, 1)
    wait_delivered(made, 5)
    said = made.run("journalctl", "--unit", SERVICE)
    check("second" not in said and "first" not in said, "a password in the journal", said)


@case
def a_credential_that_is_missing_is_named():
    made = machine()
    edit(made, ('\n    password_file = "";', '\n    password_file = "%d/broker-password";'))
    done = made.done("systemctl", "start", SERVICE)
    said = made.run("journalctl", "--unit", SERVICE)
    check("uplink.password_file" in said and "CREDENTIALS_DIRECTORY" in said, "the key", said)
    print("# start ended with %d" % done.returncode)


def damage(made):
    made.shell("dd if=/dev/urandom of=%s/spool.db bs=4096 count=1 conv=notrunc" % SPOOL)


@case
def nothing_that_it_does_is_filtered():
    made = machine()
    use_local_tls_broker(made)
    drop_in(made, "SystemCallErrorNumber=kill\n")  # a forbidden call would end it
    made.run("systemctl", "enable", "--now", SERVICE)
    first = pid(made)
    publish(made, 20)
    made.run("systemctl", "start", "mosquitto.service")
    wait_for(lambda: ledger(made)["delivered"] == 20, 30, lambda: "20 delivered: %r" % ledger(made))
    made.run("systemctl", "reload", SERVICE)
    made.run("logrotate", "--force", "/etc/logrotate.d/mqtt-spoold")
    publish(made, 20)
    wait_for(lambda: ledger(made)["delivered"] == 40, 30, lambda: "40 delivered: %r" % ledger(made))
    equal(pid(made), first, "the process, still the same")
    made.run("systemctl", "stop", SERVICE)
    damage(made)
    made.run("systemctl", "start", SERVICE)  # it puts the damaged one aside
    publish(made, 5)
    made.run("systemctl", "stop", SERVICE)
    seen = made.unit(SERVICE, "Result", "ExecMainCode", "ExecMainStatus")
    equal(seen, {"Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0"})
    said = made.run("journalctl", "--unit", SERVICE)
    check("not permitted" not in said and "Permission denied" not in said, "a refusal", said)


@case
def a_call_that_is_filtered_would_be_seen():
    made = machine()
    drop_in(made, "SystemCallErrorNumber=kill\nSystemCallFilter=~listen\n")
    check(made.done("systemctl", "start", SERVICE).returncode != 0, "started without listen()")
    equal(made.unit(SERVICE, "ExecMainStatus"), "31", "killed by SIGSYS")


@case
def folders_and_files_have_their_owner_and_mode():
    made = machine()
    made.run("systemctl", "start", SERVICE)
    publish(made, 1)
    ours = "mqtt-spoold:mqtt-spoold "
    for path, wanted in (("/var/lib/mqtt-spoold", "700"), ("/var/log/mqtt-spoold", "750"),
                         ("/run/mqtt-spoold", "755"), ("/var/lib/mqtt-spoold/spool.db", "600"),
                         (PUBLISH, "660"), ("/run/mqtt-spoold/status.json", "644")):
        wait_for(lambda here=path: made.done("test", "-e", here).returncode == 0, 10, path)
        equal(mode(made, path), ours + wanted, path)
    equal(mode(made, AUDIT), ours + "600", AUDIT)
    equal(mode(made, CONFIG), "root:root 644", CONFIG)
    equal(files_of_others(made), "", "files of others")


@case
def only_the_group_may_publish():
    made = machine()
    for unit in (SERVICE, SOCKET):  # the daemon's own socket, then the one that systemd passes
        made.run("systemctl", "stop", SERVICE)
        made.run("systemctl", "start", unit)
        publish(made, 1, user="alice")
        for user, tool in (("bob", "mosquitto_pub --unix %s -q 1" % PUBLISH),
                           ("bob", "mqtt-spool publish -q 1")):
            done = made.done("sh", "-c", tool + " -t plant/t1 -m no", user=user)
            check(done.returncode != 0, "%s may publish with %s" % (user, tool))
        equal(done.returncode, NOT_ALLOWED, "mqtt-spool publish: " + done.stderr)
        check("mqtt-spoold" in done.stderr, "the group to join", done.stderr)
        equal(mode(made, PUBLISH), "mqtt-spoold:mqtt-spoold 660", PUBLISH)
    equal(ledger(made)["accepted"], 2)


@case
def another_group_may_be_let_in_as_the_unit_says():
    made = machine()
    made.shell("groupadd sensors && usermod --append --groups sensors bob")
    edit(made, ('group = ""', 'group = "sensors"'))
    drop_in(made, "SupplementaryGroups=sensors\n")
    made.run("systemctl", "start", SERVICE)
    equal(mode(made, PUBLISH), "mqtt-spoold:sensors 660", PUBLISH)
    publish(made, 1, user="bob")
    check(made.done("mosquitto_pub", "--unix", PUBLISH, "-t", "a", "-m", "x",
                    user="alice").returncode != 0, "the service's own group")


@case
def the_passed_socket_starts_a_daemon_that_is_stopped():
    made = machine()
    made.run("systemctl", "start", SOCKET)
    equal(made.unit(SERVICE, "ActiveState"), "inactive")
    publish(made, 3)
    equal(made.unit(SERVICE, "ActiveState"), "active")
    equal(ledger(made)["accepted"], 3)
    for _ in range(2):
        made.run("systemctl", "restart", SERVICE)  # the socket stays where it is
        publish(made, 3)
    made.run("systemctl", "stop", SERVICE)
    equal((made.unit(SERVICE, "ActiveState"), made.unit(SOCKET, "ActiveState")),
          ("inactive", "active"))
    publish(made, 3)
    equal(made.unit(SERVICE, "ActiveState"), "active", "started once more")
    equal(ledger(made)["accepted"], 12)
    equal(files_of_others(made), "", "files of others")


RESTARTS = 100


@case(seconds=400)
def a_hundred_restarts_under_load_refuse_nobody():
    made = machine()
    made.run("systemctl", "start", SOCKET, SERVICE)
    # Connected clients are cut off and reconnect; new ones must find a socket.
    one = "mosquitto_pub --unix %s -V 5 -q 1 -t plant/t1 -m x" % PUBLISH
    loop = ("n=0; while [ ! -e /tmp/enough ]; do until %s; do echo again; done; n=$((n + 1)); done; "
            "echo published $n" % one)
    producers = [processes.start(made.command("sh", "-c", loop, user="alice"),
                                 stdout=processes.PIPE, stderr=subprocess.STDOUT)
                 for _ in range(2)]
    for producer in producers:
        cleanup(processes.end, producer)
    made.shell("for n in $(seq %d); do systemctl restart %s || exit; done" % (RESTARTS, SERVICE),
               timeout=300)
    made.shell("touch /tmp/enough")
    published = 0
    for producer in producers:
        said = producer.communicate()[0].decode()
        equal(producer.returncode, 0, said)
        for refusal in REFUSALS:
            check(refusal not in said, "a producer found the door closed", said)
        print("# published %s, cut off %d times" % (said.split()[-1], said.count("again")))
        published += int(said.split()[-1])
    check(published > 1, "nobody published meanwhile")
    check(ledger(made)["accepted"] >= published, "%d are there" % published, ledger(made))
    made.run("systemctl", "stop", SOCKET, SERVICE)  # and it would be seen
    said = made.done("sh", "-c", one, user="alice").stderr
    check(any(refusal in said for refusal in REFUSALS), "the closed door is not seen", said)


@case
def killed_it_comes_back_with_what_it_had():
    made = machine()
    use_local_broker(made)
    made.run("systemctl", "start", SERVICE)
    publish(made, 50)
    first = pid(made)
    made.run("kill", "-s", "KILL", str(first))
    wait_for(lambda: made.unit(SERVICE, "NRestarts", "ActiveState")
             == {"NRestarts": "1", "ActiveState": "active"}, 15, "restarted")
    check(pid(made) not in (0, first), "a new process")
    equal(ledger(made)["spooled"], 50)
    expect_delivery(made, 50)


def expect_delivery(made, count):
    """The broker starts, and accepts everything."""
    made.run("systemctl", "start", "mosquitto.service")
    wait_for(lambda: ledger(made)["delivered"] == count, 30, lambda: "delivered: %r" % ledger(made))
    check_balance(ledger(made))
    done = made.done("mqtt-spool", "audit")
    equal(done.returncode, 0, "mqtt-spool audit: " + done.stdout + done.stderr)


@case
def a_machine_that_crashes_or_reboots_has_it_all_again():
    made = machine()
    made.run("systemctl", "enable", SOCKET, SERVICE)
    made.run("systemctl", "start", SOCKET, SERVICE)
    publish(made, 30)
    made.crash()
    made.boot()
    equal((made.unit(SERVICE, "ActiveState"), made.unit(SOCKET, "ActiveState")),
          ("active", "active"), "after a crash")
    equal(ledger(made)["spooled"], 30)
    publish(made, 30)
    made.power_off()
    made.boot()
    equal(made.unit(SERVICE, "ActiveState"), "active", "after a reboot")
    equal(ledger(made)["spooled"], 60)
    equal(files_of_others(made), "", "files of others")


@case
def a_daemon_that_hangs_is_killed_and_restarted():
    made = machine()
    drop_in(made, "WatchdogSec=1s\n")
    made.run("systemctl", "start", SERVICE)
    publish(made, 5)
    first = pid(made)
    wait_for(lambda: made.unit(SERVICE, "WatchdogTimestampMonotonic") not in ("", "0"), 10)
    began = time.monotonic()
    while time.monotonic() < began + 3:  # three times the limit: it feeds the watchdog by itself
        equal(pid(made), first, "the process while it works")
        time.sleep(0.2)
    made.run("kill", "-s", "STOP", str(first))
    wait_for(lambda: pid(made) not in (0, first)
             and made.unit(SERVICE, "ActiveState") == "active", 20, "killed and restarted")
    check(any("watchdog" in entry["MESSAGE"].lower()
              for entry in made.journal("UNIT=" + SERVICE)), "the watchdog's line in the journal")
    equal(ledger(made)["spooled"], 5)


@case
def a_salvage_may_take_longer_than_a_start():
    made = machine()
    drop_in(made, "TimeoutStartSec=2s\n")
    made.run("systemctl", "start", SERVICE)
    publish(made, 30000)
    made.run("systemctl", "stop", SERVICE)
    damage(made)
    made.run("systemctl", "start", "--no-block", SERVICE)
    made.shell("until systemctl show --property=StatusText %s | grep -q salvaging; do :; done; "
               "systemctl kill --kill-who=main --signal=STOP %s" % (SERVICE, SERVICE), timeout=20)
    equal(made.unit(SERVICE, "ActiveState"), "activating", "caught while it salvages")
    first, began = pid(made), time.monotonic()
    while time.monotonic() < began + 5:  # more than twice the limit
        equal(pid(made), first, "the process while it salvages")
        time.sleep(0.2)
    made.run("systemctl", "kill", "--kill-who=main", "--signal=CONT", SERVICE)
    wait_for(lambda: made.unit(SERVICE, "ActiveState") == "active", 60, "salvaged and ready")
    equal((pid(made), made.unit(SERVICE, "NRestarts")), (first, "0"))
    check(ledger(made)["spooled"] > 29000, "what was salvaged", ledger(made))


@case
def a_bad_configuration_is_not_tried_again():
    made = machine()
    good = made.read(CONFIG)
    made.write(CONFIG, good + 'log_levl = "info";\n')
    check(made.done("systemctl", "start", SERVICE).returncode != 0, "started")
    seen = made.unit(SERVICE, "ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    equal(seen, {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "78",
                 "NRestarts": "0"})
    said = [entry for entry in made.journal("_SYSTEMD_UNIT=" + SERVICE)
            if "log_levl" in entry["MESSAGE"]]
    equal([(entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) for entry in said], [("3", ME)],
          "the line that names the key")
    check("%s:%d" % (CONFIG, good.count("\n") + 1) in said[0]["MESSAGE"], "its place", said)
    made.write(CONFIG, good)
    made.run("systemctl", "start", SERVICE)


@case
def a_bad_configuration_behind_the_passed_socket_ends_too():
    made = machine()
    good = made.read(CONFIG)
    made.write(CONFIG, good + "nonsense = 1;\n")
    made.run("systemctl", "start", SOCKET)
    producer = waiting_producer(made)  # each attempt finds it waiting, and is followed by another
    wait_for(lambda: made.unit(SOCKET, "ActiveState") == "failed", 60,
             lambda: "an end of it: %r" % made.unit(SOCKET, "ActiveState", "SubState", "Result"))
    check(processes.end(producer) != 0, "the producer saw success")
    tried = len([entry for entry in made.journal("_SYSTEMD_UNIT=" + SERVICE)
                 if "config_invalid" in entry["MESSAGE"]])
    print("# %d starts before systemd gave up" % tried)
    made.write(CONFIG, good)
    made.run("systemctl", "restart", SOCKET, SERVICE)  # docs/operation.md
    publish(made, 3)
    equal((made.unit(SERVICE, "ActiveState"), made.unit(SOCKET, "ActiveState")),
          ("active", "active"))


def records_in(text):
    """Of the lines of an audit file: without seals."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if "seal" not in line]


@case
def mosquitto_bridges_to_the_socket_as_the_handbook_says():
    made = machine()
    use_local_broker(made, "tcp://127.0.0.1:1885")
    made.shell("mosquitto -d -p 1885 && systemctl start %s %s" % (SOCKET, SERVICE))
    with open(os.path.join(DOCS, "producers.md"), encoding="utf-8") as page:
        recipe = page.read().split("## mosquitto in front of the socket")[1]
    commands = re.findall(r"^    sudo (.*)$", recipe, re.MULTILINE)
    check(len(commands) >= 4, "commands of the handbook", commands)
    made.shell("cd /usr/share/doc/mqtt-spoold/docs/examples/mosquitto && " + " && ".join(commands))
    made.shell("mosquitto_pub -h 127.0.0.1 -p 1883 -q 1 -t plant/t1 -m 21.5", user="bob")
    wait_for(lambda: ledger(made)["delivered"] == 1, 30, lambda: repr(ledger(made)))
    records = records_in(made.read(AUDIT))
    equal([(record["topic"], record["uid"]) for record in records], [("plant/t1", None)])


def waiting_producer(made):
    started = processes.start(made.command("mosquitto_pub", "--unix", PUBLISH, "-V", "5", "-q", "1",
                                           "-t", "plant/t1", "-m", "x", user="alice"))
    cleanup(processes.end, started)
    return started


@case
def what_no_restart_corrects_is_tried_again_by_the_timer_until_it_is_corrected():
    made = machine()
    made.write("/etc/systemd/system/%s.d/test.conf" % RETRY,
               "[Timer]\nOnActiveSec=\nOnActiveSec=2s\nAccuracySec=100ms\n")
    made.run("systemctl", "daemon-reload")
    edit(made, ('group = ""', 'group = "nosuchgroup"'))
    made.done("systemctl", "start", SERVICE)
    seen = made.unit(SERVICE, "ActiveState", "ExecMainStatus", "NRestarts")
    equal(seen, {"ActiveState": "failed", "ExecMainStatus": str(BAD_CONFIGURATION),
                 "NRestarts": "0"})

    def starts():
        return made.run("journalctl", "--unit", SERVICE).count(" start version=")

    wait_for(lambda: starts() >= 3, 60, "two more starts by the timer")
    made.run("systemctl", "stop", SERVICE)
    wait_for(lambda: made.unit(RETRY, "ActiveState") == "inactive", 10,
             "a stop of the service stops the timer")
    made.done("systemctl", "start", SERVICE)
    wait_for(lambda: made.unit(RETRY, "ActiveState") == "active", 10, "the timer")
    edit(made, ('group = "nosuchgroup"', 'group = ""'))
    wait_for(lambda: made.unit(SERVICE, "ActiveState") == "active", 30, "it runs by itself")
    made.run("systemctl", "stop", SERVICE)


@case
def any_other_failure_is_tried_again_and_again():
    made = machine()
    edit(made, ('directory = "/var/lib/mqtt-spoold"', 'directory = "/srv/spool"'))
    made.run("systemctl", "start", SOCKET)
    producer = waiting_producer(made)
    wait_for(lambda: int(made.unit(SERVICE, "NRestarts")) >= 2, 60, "a third attempt")
    equal(made.unit(SOCKET, "ActiveState"), "active", "the socket")
    check(any("ReadWritePaths" in entry["MESSAGE"] for entry
              in made.journal("_SYSTEMD_UNIT=" + SERVICE)), "the journal says what to do")
    made.run("sh", "-c", "install -d -o mqtt-spoold /srv/spool")
    drop_in(made, "ReadWritePaths=/srv/spool\n")  # corrected while it tries
    wait_for(lambda: made.unit(SERVICE, "ActiveState") == "active", 20, "it runs at last")
    equal(producer.wait(30), 0, "who waited all the time")


@case
def a_reload_with_an_error_is_refused_and_changes_nothing():
    made = machine()
    made.run("systemctl", "start", SERVICE)
    first, good = pid(made), made.read(CONFIG)
    made.write(CONFIG, good + "nonsense = 1;\n")
    check(made.done("systemctl", "reload", SERVICE).returncode != 0, "systemctl reload: no error")
    check(any("nonsense" in entry["MESSAGE"] for entry in made.journal("_SYSTEMD_UNIT=" + SERVICE)),
          "the journal names the key")
    equal((pid(made), made.unit(SERVICE, "ActiveState")), (first, "active"))
    made.write(CONFIG, good.replace('log_level = "info"', 'log_level = "debug"'))
    made.run("systemctl", "reload", SERVICE)
    wait_for(lambda: any(entry["MESSAGE"].startswith("reloaded") for entry
                         in made.journal("_SYSTEMD_UNIT=" + SERVICE)), 10, "taken over")
    equal(pid(made), first)


@case
def failures_reach_the_journal_with_fields_and_an_explanation():
    made = machine()
    made.run("systemctl", "start", SERVICE)
    made.run("mqtt-spool", "publish", "-i", "press-7", "-t", "plant/t1", "-m", "21.5",
             "--expiry", "1", "--ref", "order 66", user="alice")
    entries = wait_for(lambda: made.journal("MQTT_SPOOL_OUTCOME=expired"), 20, "a record")
    equal(len(entries), 1)
    seen = entries[0]
    wanted = {"MESSAGE": 'expired id=1 reason=message_expiry topic="plant/t1"',
              "MESSAGE_ID": EXPIRED, "PRIORITY": "4",
              "SYSLOG_IDENTIFIER": ME, "_SYSTEMD_UNIT": SERVICE, "MQTT_SPOOL_SEQ": "1",
              "MQTT_SPOOL_ID": "1", "MQTT_SPOOL_REASON": "message_expiry",
              "MQTT_SPOOL_CLIENT": "press-7", "MQTT_SPOOL_TOPIC": "plant/t1",
              "MQTT_SPOOL_UID": made.run("id", "--user", "alice").strip(), "MQTT_SPOOL_QOS": "1",
              "MQTT_SPOOL_LANE": "default", "MQTT_SPOOL_BYTES": "4", "MQTT_SPOOL_ATTEMPTS": "0",
              "MQTT_SPOOL_REF": "order 66"}
    equal({name: seen.get(name) for name in wanted}, wanted, "fields")
    check(int(seen["MQTT_SPOOL_AGE_MS"]) >= 1000, "its age", seen)
    for name in ("MQTT_SPOOL_TIME", "MQTT_SPOOL_ACCEPTED"):
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", seen.get(name, "")),
              name, seen)
    said = made.run("journalctl", "--catalog", "MESSAGE_ID=" + EXPIRED)
    check("Subject: Message 1 expired" in said and '"press-7"' in said, "the catalog's text", said)
    check("@" not in said.split("Subject:")[1], "a field that is not there", said)


@case
def logrotate_and_reload_reopen_the_audit_file():
    made = machine()
    use_local_broker(made)
    made.run("systemctl", "start", SERVICE, "mosquitto.service")
    total = 0
    for rotation in range(3):
        publish(made, 10)
        total += 10
        wait_for(lambda: len(re.findall(r'^{"seq":', made.shell(
            "cat %s; zcat -f %s.* 2>/dev/null || true" % (AUDIT, AUDIT)), re.MULTILINE)) == total, 20,
                 "%d records in all files" % total)
        before = made.run("stat", "--format=%i", AUDIT)
        if rotation < 2:
            made.run("logrotate", "--force", "/etc/logrotate.d/mqtt-spoold")
        else:  # by hand, as docs/audit.md has it: a second later the daemon finds it out by itself
            made.shell("mv %s %s.0 && systemctl kill --kill-who=main --signal=HUP %s"
                       % (AUDIT, AUDIT, SERVICE))
        wait_for(lambda seen=before: made.done("stat", "--format=%i", AUDIT).stdout
                 not in ("", seen), 10, "a new file")
    noticed = [entry["MESSAGE"].split()[0] for entry in made.journal("_SYSTEMD_UNIT=" + SERVICE)
               if entry["MESSAGE"].startswith("audit_")]
    equal(noticed, ["audit_chain_started"], "what the daemon had to find out by itself, for no HUP came")
    names = made.run("ls", "/var/log/mqtt-spoold").split()
    equal(names, ["audit.jsonl", "audit.jsonl.0", "audit.jsonl.1", "audit.jsonl.2.gz"])
    for name in names:
        equal(mode(made, "/var/log/mqtt-spoold/" + name), "mqtt-spoold:mqtt-spoold 600", name)
    text = made.shell("zcat -f %s.2.gz %s.1 %s.0 %s" % ((AUDIT,) * 4))
    records = records_in(text)
    equal([record["outcome"] for record in records], ["delivered"] * 30)
    check_audit(records)
    equal(files_of_others(made), "", "files of others")
    done = made.done("sh", "-c", "zcat -f %s.2.gz %s.1 %s.0 %s | mqtt-spool audit --directory "
                                 "/var/lib/mqtt-spoold -" % ((AUDIT,) * 4))
    equal(done.returncode, 0, "mqtt-spool audit: " + done.stdout + done.stderr)


def expect_prompt_stop(made, what):
    began = time.monotonic()
    made.run("systemctl", "stop", SERVICE)
    took = time.monotonic() - began
    print("# systemctl stop, %s: %.2f s" % (what, took))
    check(took < STOP_SECONDS, "%s: the stop took %.1f s" % (what, took))
    seen = made.unit(SERVICE, "Result", "ExecMainCode", "ExecMainStatus", "ActiveState")
    equal(seen, {"Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0",
                 "ActiveState": "inactive"}, what)
    equal(made.done("test", "-e", PUBLISH).returncode, 1, "its socket is gone: status")


@case
def a_stop_is_clean_and_prompt():
    made = machine()
    use_local_broker(made)
    made.run("systemctl", "enable", "--now", SERVICE)  # otherwise systemd forgets how it ended
    publish(made, 20)
    expect_prompt_stop(made, "no broker")
    # The kernel accepts its connection, no process ever answers it.
    made.write("/etc/systemd/system/silent.socket",
               "[Socket]\nListenStream=127.0.0.1:1883\n")
    made.write("/etc/systemd/system/silent.service",
               "[Service]\nExecStart=/bin/sleep infinity\n")
    made.run("systemctl", "start", "silent.socket", SERVICE)
    wait_for(lambda: made.unit("silent.service", "ActiveState") == "active", 10, "a connection")
    expect_prompt_stop(made, "a broker that does not answer")
    made.run("systemctl", "stop", "silent.socket", "silent.service")
    made.run("systemctl", "start", "mosquitto.service", SERVICE)
    wait_for(lambda: ledger(made)["delivered"] == 20, 30, lambda: "20 delivered: %r" % ledger(made))
    expect_prompt_stop(made, "link up")
    equal(ledger(made)["spooled"], 0)


@case
def the_tool_works_for_root_and_says_what_others_may_not():
    made = machine()
    equal(made.done("mqtt-spool", "status").returncode, 69, "no spool yet")
    made.run("systemctl", "start", SERVICE)
    made.run("mqtt-spool", "publish", "-t", "plant/t1", "-m", "x", "--expiry", "1", user="alice")
    publish(made, 4)
    wait_for(lambda: ledger(made)["expired"] == 1, 20, lambda: "expired: %r" % ledger(made))
    wait_for(lambda: status(made)["ledger"]["expired"] == 1, 15, "the daemon's status file")
    for stage in ("running", "stopped", "started again"):
        seen = status(made)
        equal(seen["link"]["state"] == "stopped", stage == "stopped", "link.state, " + stage)
        equal((seen["ledger"]["accepted"], seen["ledger"]["spooled"]), (5, 4), stage)
        check('"plant/t1"' in made.run("mqtt-spool", "failures", "--json"), "failures, " + stage)
        made.run("mqtt-spool", "audit")
        made.run("mqtt-spool", "check")
        for user in ("alice", "bob"):
            for verb, wanted in (("failures", NOT_ALLOWED), ("audit", NOT_ALLOWED), ("check", 2)):
                done = made.done("mqtt-spool", verb, user=user)
                equal(done.returncode, wanted, "%s, %s, %s" % (user, verb, stage))
                check("root" in done.stderr, "what to do", done.stderr)
            equal(made.done("mqtt-spool", "status", user=user).returncode,
                  NOT_ALLOWED if stage == "stopped" else 0, "%s, status, %s" % (user, stage))
        # Files that root reads while the daemon is stopped must not become root's.
        equal(files_of_others(made), "", "files of others, " + stage)
        if stage == "running":
            made.run("systemctl", "stop", SERVICE)
        elif stage == "stopped":
            made.run("systemctl", "start", SERVICE)
            wait_for(lambda: status(made)["link"]["state"] != "stopped", 15, "it runs")


if __name__ == "__main__":
    prepare()
    run_all()

# SPDX-License-Identifier: MIT
"""mqtt-spool doctor: each fault on the way of a message is found at its step, with what to do."""

import json
import os
import pwd
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, all_of_the_disk  # noqa: E402
from name_server import NameServers  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

GOOD, FAILED, UNCHECKED = 0, 1, 2
LOCAL = ["configuration", "rights", "daemon", "disk sync", "disk space", "clock", "audit", "proxy"]
OF_BROKER = ["name", "tcp", "tls", "connect", "announced", "probe"]
NOBODY = 65534
# Errors at once in most cases; a machine under load needs long for a handshake.
PATIENT = {"uplink": {"connect_timeout": "20s"}}


class Report:
    """What a run found."""

    def __init__(self, done):
        self.code, self.error = done.returncode, done.stderr.decode()
        check("ERROR: " not in self.error and "runtime error" not in self.error, "sanitizer",
              self.error)
        self.object = json.loads(done.stdout) if done.stdout else None
        self.steps = self.object["steps"] if self.object else []

    def results(self, step):
        return [entry["result"] for entry in self.steps if entry["step"] == step]

    def finds(self, result, step, *words):
        """There is such a finding with all @words in what was seen or in the remedy."""
        found = [entry for entry in self.steps if entry["step"] == step
                 and entry["result"] == result
                 and all(word in entry["seen"] + " -> " + entry["remedy"] for word in words)]
        check(found, "%s %s with %r" % (result, step, words), json.dumps(self.steps, indent=1))
        check(result in ("ok", "skipped") or found[0]["remedy"], "a remedy", found[0])
        return found[0]


def doctor(gateway, *arguments, wrap=(), env=None):
    command = list(wrap) + [processes.tool_path(), "-c", gateway.config, "doctor", "--json"]
    environment = {key: value for key, value in os.environ.items()
                   if not key.lower().endswith("_proxy")}
    environment.update(env or {})
    return Report(processes.run(command + list(arguments), 150, env=environment))


def doctor_until(accept, run, what):
    """A loaded machine may be too slow for the daemon's answer, or for the time of all steps."""
    last = []

    def is_accepted():
        last[:] = [run()]
        return accept(last[0])
    wait_for(is_accepted, 150, lambda: "%s: %s" % (what, json.dumps(last[0].steps, indent=1)))
    return last[0]


def doctor_answered(gateway, findings):
    """With more than @findings in the step of the daemon: it has answered."""
    return doctor_until(lambda seen: len(seen.results("daemon")) > findings, lambda: doctor(gateway),
                        "an answer of the daemon")


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


# The whole way


@case
def a_good_gateway_has_no_failure_and_keeps_its_connection_and_its_spool():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url, **PATIENT).start()
    gateway.wait_link()
    connects = gateway.fresh_status()["link"]["connects"]
    files = sorted(os.listdir(gateway.spool))
    seen = doctor_until(lambda seen: seen.code == GOOD,
                        lambda: doctor(gateway, "--probe", "doctor/probe"), "nothing failed")
    equal((seen.code, seen.object["verdict"], seen.object["failed"]), (GOOD, "ok", 0), seen.steps)
    names = [entry["step"] for entry in seen.steps]
    equal(sorted(set(names), key=names.index), LOCAL + OF_BROKER, "steps in the order of a message")
    seen.finds("ok", "connect", "gw-test-doctor", "MQTT 5")
    seen.finds("ok", "announced", "Receive Maximum")
    seen.finds("ok", "probe", "doctor/probe", "no subscriber")
    seen.finds("ok", "daemon", "answers a CONNECT")
    seen.finds("ok", "audit", "may write " + gateway.audit, "(which records it has: mqtt-spool audit)")
    check(any("median" in entry["seen"] for entry in seen.steps if entry["step"] == "disk sync"),
          "the time of a sync, whatever it is", seen.steps)
    equal(gateway.fresh_status()["link"]["connects"], connects, "connections of the daemon")
    equal(sorted(os.listdir(gateway.spool)), files, "files of the spool")
    equal(gateway.ledger()["accepted"], 0, "messages accepted")
    gateway.stop()


@case
def the_page_fits_80_columns_and_has_a_verdict():
    gateway = Gateway()
    done = gateway.tool("doctor")
    lines = done.stdout.decode().splitlines()
    equal(done.returncode, FAILED, "exit code")
    wide = [line for line in lines if len(line) > 80 and len(line.split()) > 3]
    equal(wide, [], "lines of more than 80 columns")
    check(lines[-1].startswith("verdict  ") and "FAILED" in lines[-1], "the verdict", lines[-1])


@case
def without_a_topic_nothing_is_published():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT))
    seen.finds("skipped", "probe", "--probe")
    equal(broker.publishes(), [], "messages")
    equal([entry["event"] for entry in broker.ledger if entry.get("event") == "violation"], [])


@case
def wrong_usage_is_no_answer():
    gateway = Gateway()
    for wrong in (["--probe", "a/#"], ["--probe", "$SYS/x"], ["--timeout", "0"],
                  ["--timeout", "99999"], ["what"], ["--nothing"]):
        seen = doctor(gateway, *wrong)
        equal((seen.code, seen.object), (UNCHECKED, None), wrong)


# This machine


@case
def a_wrong_key_is_reported_and_the_rest_of_the_file_is_used():
    gateway = Gateway()
    gateway.configure(retention={"max_age": "nonsense"})
    seen = doctor(gateway)
    equal(seen.code, FAILED)
    seen.finds("failed", "configuration", "max_age", "correct it")
    seen.finds("failed", "tcp", "refused")


@case
def entries_of_the_file_that_never_have_an_effect_are_a_warning():
    gateway = Gateway()
    with open(gateway.config, "a") as out:
        out.write('lanes: ( { name = "all"; topics = ( "#" ); },\n'
                  '{ name = "rest"; topics = ( "a" ); } );\n'
                  'access = ( { user = "*"; }, { user = "root"; } );\n')
    seen = doctor(gateway)
    seen.finds("ok", "configuration", "is good", "2 lanes")
    seen.finds("warning", "configuration", "lanes.topics: lane rest never takes a message",
               "put this lane before")
    seen.finds("warning", "configuration", "access.user: the entry of \"root\" is never used",
               "put this one before")


@case
def a_file_of_conf_d_that_is_not_read_is_named_and_no_fault():
    gateway = Gateway()
    folder = os.path.join(gateway.folder, "conf.d")
    os.mkdir(folder)
    for number in range(10):
        with open(os.path.join(folder, "%d-site" % number), "w") as out:
            out.write("log_level = \"debug\";\n")
    seen = doctor(gateway)
    seen.finds("ok", "configuration", os.path.join(folder, "0-site") +
               ": not read, because its name does not end in .conf")
    seen.finds("ok", "configuration", os.path.join(folder, "7-site") + ": not read", "2 more are")


@case
def a_proxy_of_the_file_is_refused_and_one_of_the_environment_is_not_used():
    gateway = Gateway(uplink={"proxy": "http://proxy.example:3128"})
    doctor(gateway).finds("failed", "configuration", "proxy")
    seen = doctor(Gateway(), env={"https_proxy": "http://proxy.example:3128"})
    seen.finds("warning", "proxy", "https_proxy", "connects directly")


@case
def a_file_that_cannot_be_parsed_or_read_skips_what_needs_it():
    gateway = Gateway()
    with open(gateway.config, "w") as out:
        out.write("uplink = {")
    for words in (("syntax",), ("No such file", "-c FILE", "/usr/share/mqtt-spoold")):
        seen = doctor(gateway)
        equal(seen.code, FAILED)
        seen.finds("failed", "configuration", *words)
        equal(seen.results("rights") + seen.results("disk sync"), ["skipped"] * 2)
        equal(seen.results("tcp"), [], "steps to brokers that are not known")
        equal(len(seen.results("clock")), 1)
        if os.path.exists(gateway.config):
            os.unlink(gateway.config)


@case
def a_daemon_that_does_not_run_or_hangs_is_reported():
    gateway = Gateway()
    doctor(gateway).finds("failed", "daemon", "does not run", "systemctl start")
    gateway.start()
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        seen = doctor(gateway)
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    seen.finds("failed", "daemon", "does not answer")
    equal(seen.code, FAILED)
    gateway.stop()


@case
def a_link_that_is_down_is_reported_with_the_reason_of_the_daemon():
    gateway = Gateway().start()
    wait_for(lambda: "refused" in (gateway.status()["link"]["last_error"] or ""), 60, "the reason")
    seen = doctor_answered(gateway, 2)
    seen.finds("warning", "daemon", "its link is", "refused")
    gateway.stop()


@case
def a_user_that_access_has_no_entry_for_is_told_so_and_the_daemon_is_judged_by_its_file():
    gateway = Gateway(access=[{"user": "nobody", "admin": True}]).start()
    wait_for(lambda: os.path.exists(os.path.join(gateway.run_folder, "status.json")), 30, "the status file")
    seen = doctor_until(lambda seen: any("0x87" in entry["seen"] for entry in seen.steps),
                        lambda: doctor(gateway), "the code of the daemon")
    check("failed" not in seen.results("daemon"), "the step of the daemon", seen.steps)
    seen.finds("warning", "daemon", "it runs and answers a CONNECT at", "0x87",
               "access has no entry for this user (uid %d)" % os.geteuid(), "admin = true")
    seen.finds("warning", "daemon", "its link is")
    gateway.stop()


@case
def a_lane_that_is_full_and_refuses_is_a_failure():
    gateway = Gateway(retention={"when_full": "refuse", "max_messages": 1}).start()
    with gateway.client(5) as client:
        equal(client.publish_wait("plant/t", b"x").reason, 0)
        wait_for(lambda: client.publish_wait("plant/t", b"x").reason == 0x97, 20, "a refusal")
    seen = doctor_answered(gateway, 3)
    equal(seen.code, FAILED)
    seen.finds("failed", "daemon", "lane default is full and refuses", "1 of 1 message,",
               "retention.max_messages")
    seen.finds("warning", "daemon", "refused since the start", "mqtt-spool status")
    seen.finds("warning", "daemon", "1 message is spooled")
    gateway.stop()


@case
def an_audit_file_that_is_not_written_is_a_failure_whatever_its_rights():
    gateway = Gateway().start()
    second = Gateway(audit={"file": gateway.audit}).start()
    wait_for(lambda: second.status()["audit"]["healthy"] is False, 30, "its audit file refused")
    seen = doctor_answered(second, 3)
    equal(seen.code, FAILED)
    seen.finds("failed", "daemon", "audit file is not written", "another process",
               "name another one")
    seen.finds("skipped", "audit", "is not written")
    gateway.stop()
    second.stop()


@case
def a_broker_that_refuses_all_messages_is_reported_with_the_remedy_of_the_daemon():
    broker = FakeBroker(reason=0x97).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, **PATIENT).start()
    with gateway.client(5) as client:
        equal(client.publish_wait("plant/t", b"x").reason, 0)
    # The link forgets it when the connection has lasted, until the message is refused again.
    def has_error(seen):
        return any((entry["step"], entry["result"]) == ("daemon", "warning")
                   and "last error: " in entry["seen"] for entry in seen.steps)
    seen = doctor_until(has_error, lambda: doctor(gateway), "the last error of the link")
    seen.finds("warning", "daemon", "its link is", "last error: ")
    gateway.stop()


@case
def what_an_operator_holds_is_reported_with_release():
    gateway = Gateway(Mosquitto().start().url, **PATIENT).start()
    gateway.wait_link()
    equal(gateway.tool("hold").returncode, 0, "hold")
    seen = doctor_answered(gateway, 3)
    seen.finds("warning", "daemon", "an operator holds all lanes", "mqtt-spool release")
    gateway.stop()


@case
def the_step_disk_space_agrees_with_what_the_daemon_reports():
    gateway = Gateway(retention={"when_full": "refuse"}).start()
    gateway.configure(spool={"disk_reserve": all_of_the_disk()})
    seen = doctor_answered(gateway, 2)
    seen.finds("warning", "disk space", "go into free pages inside spool.db")
    gateway.hup()
    with gateway.client(5) as client:
        wait_for(lambda: client.publish_wait("plant/t", b"x" * 5000).reason == 0x97, 20,
                 "a refusal")
    seen = doctor_answered(gateway, 2)
    seen.finds("failed", "daemon", "new messages are refused: too little disk space")
    seen.finds("failed", "disk space", "are refused, or may evict old ones")
    gateway.stop()
    doctor(gateway).finds("failed", "disk space", "are refused, or may evict old ones")


@case
def files_of_the_spool_that_this_user_may_not_read_have_no_size():
    need_root()
    gateway = Gateway().start()
    gateway.stop()
    os.chmod(gateway.folder, 0o755)
    os.chmod(gateway.config, 0o644)
    setpriv = [processes.need("setpriv"), "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY,
               "--clear-groups"]
    if processes.run(setpriv + [processes.tool_path(), "--version"]).returncode:
        skip("another user cannot run the program where it was built")
    seen = doctor(gateway, wrap=setpriv)
    seen.finds("skipped", "disk space", "cannot be read", "run this as root")
    check("have 0 B" not in json.dumps(seen.steps), "no size", seen.steps)


@case
def a_user_that_may_not_connect_has_the_status_file_judged():
    need_root()
    gateway = Gateway().start()
    os.chmod(gateway.folder, 0o755)
    os.chmod(gateway.config, 0o644)
    setpriv = [processes.need("setpriv"), "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY,
               "--clear-groups"]
    if processes.run(setpriv + [processes.tool_path(), "--version"]).returncode:
        skip("another user cannot run the program where it was built")
    wait_for(lambda: gateway.status()["link"]["last_error"], 60, "an error of the link")
    seen = doctor(gateway, wrap=setpriv)
    seen.finds("skipped", "daemon", "this user may not open", "run this as root (sudo)")
    seen.finds("warning", "daemon", "its link is", "last error: connection refused")
    gateway.stop()


@case
def rights_are_those_of_the_user_of_the_daemon():
    need_root()
    gateway = Gateway()
    os.mkdir(gateway.spool, 0o700)
    secret = os.path.join(gateway.folder, "password")
    with open(secret, "w") as out:
        out.write("canary\n")
    os.chmod(secret, 0o600)
    os.chmod(gateway.folder, 0o755)
    os.chmod(gateway.config, 0o644)
    authority = os.path.join(gateway.folder, "ca.pem")
    with open(authority, "w") as out:
        out.write("no secret\n")
    os.chmod(authority, 0o600)
    gateway.configure(uplink={"username": "user", "password_file": secret,
                              "tls": {"ca_file": authority}})
    os.chmod(gateway.config, 0o644)
    setpriv = [processes.need("setpriv"), "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY,
               "--clear-groups"]
    if processes.run(setpriv + [processes.tool_path(), "--version"]).returncode:
        skip("another user cannot run the program where it was built")
    seen = doctor(gateway, wrap=setpriv)
    name = pwd.getpwuid(NOBODY).pw_name
    seen.finds("failed", "rights", "uplink.password_file", "Permission denied",
               "chown %s %s" % (name, secret), "chmod 0400 " + secret)
    seen.finds("failed", "rights", "uplink.tls.ca_file", "chmod 644 " + authority)
    seen.finds("failed", "rights", "spool.directory", "Permission denied",
               "chown %s %s" % (name, gateway.spool))
    seen.finds("skipped", "disk sync", "may not write")


@case
def a_file_in_the_place_of_a_folder_is_no_lack_of_rights():
    gateway = Gateway()
    file = os.path.join(gateway.folder, "file")
    with open(file, "w"):
        pass
    for folder in (file, os.path.join(file, "below")):
        gateway.configure(spool={"directory": folder},
                          listen={"socket": os.path.join(folder, "publish.sock")},
                          audit={"file": os.path.join(folder, "audit.jsonl")})
        seen = doctor(gateway)
        for step, what in (("rights", "spool.directory"), ("rights", "folder of listen.socket"),
                           ("audit", "folder of audit.file")):
            found = seen.finds("failed", step, what, folder, "Not a directory", "move it away")
            check("chown" not in found["remedy"] and "may not" not in found["seen"], "rights", found)


@case
def a_secret_is_for_the_daemon_alone_and_never_for_a_group():
    gateway = Gateway().start()  # so its user is the one of this test
    files = {}
    for name in ("password_file", "key_file", "key_password_file"):
        files[name] = os.path.join(gateway.folder, name)
        with open(files[name], "w") as out:
            out.write("canary\n")
    gateway.configure(uplink={"username": "user", "password_file": files["password_file"],
                              "tls": {"key_file": files["key_file"], "cert_file": gateway.config,
                                      "key_password_file": files["key_password_file"]}})
    for mode, whose in ((0o640, "its group"), (0o604, "every user"), (0o660, "its group")):
        for name, path in files.items():
            os.chmod(path, mode)
        seen = doctor(gateway)
        for name, path in files.items():
            seen.finds("warning", "rights", name, "mode %04o" % mode, whose,
                       "chmod 0400 " + path, "chown ")
    for path in files.values():
        os.chmod(path, 0o400)
    equal(doctor(gateway).results("rights"), ["ok"])
    gateway.stop()


@case
def a_spool_folder_that_others_may_enter_is_reported():
    gateway = Gateway().start()
    for mode, result in ((0o755, "warning"), (0o770, "warning"), (0o750, "ok"), (0o700, "ok")):
        os.chmod(gateway.spool, mode)
        seen = doctor(gateway)
        if result == "warning":
            seen.finds("warning", "rights", "mode %04o" % mode, "chmod 0700 " + gateway.spool)
        else:
            equal(seen.results("rights"), ["ok"], "mode %o" % mode)
    gateway.stop()


@case
def a_full_disk_and_a_file_system_in_memory_are_reported():
    need_root()
    gateway = Gateway()
    os.mkdir(gateway.spool)
    script = 'mount -t tmpfs -o size=256k none "$0" || exit 99; ' \
             'dd if=/dev/zero of="$0/full" bs=4k 2>/dev/null; exec "$@"'
    wrap = [processes.need("unshare"), "--mount", "sh", "-c", script, gateway.spool]
    if processes.run(wrap + ["true"]).returncode:
        skip("no mount namespace")
    seen = doctor(gateway, wrap=wrap)
    seen.finds("warning", "disk sync", "tmpfs", "power")
    seen.finds("failed", "disk sync", "No space left")
    seen.finds("failed", "disk space", "free space")


# The way to a broker


@case
def a_name_that_is_not_there_and_a_port_that_is_closed_are_distinguished():
    gateway = Gateway(["tcp://name.invalid:1883", "tcp://127.0.0.1:%d" % processes.free_port()])
    seen = doctor(gateway)
    equal(seen.code, FAILED)
    name = seen.finds("failed", "name", "name.invalid")
    equal(name["broker"], "tcp://name.invalid:1883")
    seen.finds("failed", "tcp", "refused", "nothing listens")
    skipped = [entry["step"] for entry in seen.steps if entry["result"] == "skipped"
               and entry["broker"] == name["broker"]]
    equal(skipped, OF_BROKER[1:], "what needs the name")


@case
def a_name_server_that_does_not_answer_ends_with_the_time():
    need_root()
    servers = NameServers("timeout:30 attempts:5")
    gateway = Gateway("tcp://broker.example:1883")
    times = iter((3, 8, 15, 19))
    seen = doctor_until(lambda seen: seen.results("name") == ["failed"],
                        lambda: doctor(gateway, "--timeout", str(next(times)),
                                        wrap=servers.wrap()), "the step name")
    equal(seen.code, FAILED)
    seen.finds("failed", "name", "time", "no name server answers")
    equal(seen.results("probe"), ["skipped"])


@case
def a_port_that_stays_silent_is_not_waited_for_without_end():
    broker = FakeBroker(silent=True).start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url))  # connect_timeout 2 s
    seen.finds("failed", "connect", "no CONNACK within 2000 ms")
    equal(seen.results("probe"), ["skipped"])


@case
def a_refused_connect_is_named_with_its_code():
    broker = FakeBroker(connack=0x87).start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT))
    seen.finds("failed", "connect", "not authorized", "0x87", "client id")


def properties(reason=b"", reference=b""):
    """Of a CONNACK or a DISCONNECT, for the option announce."""
    return b"".join(bytes([kind]) + len(text).to_bytes(2, "big") + text
                    for kind, text in ((0x1C, reference), (0x1F, reason)) if text)


@case
def a_broker_that_sends_clients_away_is_quoted_with_the_server_that_it_names():
    broker = FakeBroker(connack=0x9C, announce=properties(b"full", b"b2.example:1883").hex()).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, **PATIENT)
    seen = doctor(gateway)
    seen.finds("failed", "connect", "use another server", "0x9C", "\"full\"",
               "it refers to b2.example:1883", "add that server to uplink.brokers")
    broker.change(connack=0x9D)
    seen = doctor(gateway)
    seen.finds("failed", "connect", "server moved", "0x9D", "\"full\"",
               "it refers to b2.example:1883", "name that server in uplink.brokers")
    broker.change(announce="")
    for code in (0x9C, 0x9D):
        broker.change(connack=code)
        seen = doctor(gateway)
        found = seen.finds("failed", "connect", "names none", "ask who runs the broker")
        check("refers" not in found["seen"], "no server was named", found)


@case
def each_code_of_a_refusal_has_the_reason_string_behind_it():
    broker = FakeBroker(announce=properties(b"it is so").hex()).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"protocol": 5, "connect_timeout": "20s"})
    for code in (0x80, 0x84, 0x85, 0x86, 0x87, 0x88, 0x8A, 0x97, 0x9F, 0xFE):
        broker.change(connack=code)
        doctor(gateway).finds("failed", "connect", "0x%02X" % code, "\"it is so\"")


@case
def a_disconnect_for_an_answer_is_a_refusal_with_its_code():
    words = properties(b"maintenance", b"b2.example")
    packet = bytes([0xE0, 2 + len(words), 0x9C, len(words)]) + words
    broker = FakeBroker(after_connack=packet.hex()).start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT), "--probe", "t")
    seen.finds("failed", "probe", "DISCONNECT", "use another server", "0x9C", "\"maintenance\"",
               "it refers to b2.example", "add that server")
    broker.change(after_connack="e000")
    seen = doctor(Gateway(broker.url, **PATIENT), "--probe", "t")
    seen.finds("failed", "probe", "DISCONNECT", "log of the broker")


@case
def a_wrong_password_is_named_and_never_shown():
    broker = Mosquitto(users={"gw": "right"}).start()
    gateway = Gateway(broker.url, **PATIENT)
    secret = os.path.join(gateway.folder, "password")
    with open(secret, "w") as out:
        out.write("canary-password\n")
    gateway.configure(uplink={"username": "gw", "password_file": secret})
    seen = doctor(gateway)
    seen.finds("failed", "connect", "uplink.password_file")
    seen.finds("warning", "tls", "without encryption")
    check("canary" not in json.dumps(seen.object) + seen.error, "the password", seen.object)
    with open(secret, "w") as out:
        out.write("right\n")
    doctor(gateway).finds("ok", "connect", "accepted")


@case
def a_broker_of_3_1_1_is_spoken_to_in_its_version():
    broker = FakeBroker(close_connect="5").start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT), "--probe", "t")
    seen.finds("ok", "connect", "MQTT 3.1.1")
    seen.finds("skipped", "announced")
    seen.finds("ok", "probe", "acknowledged")


@case
def what_a_broker_announces_is_compared_with_the_configuration():
    broker = FakeBroker(maximum_packet=1000, receive_maximum=7, announce="2500").start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT))
    seen.finds("ok", "announced", "Receive Maximum 7", "Maximum Packet Size 1000")
    seen.finds("warning", "announced", "listen.max_packet")
    seen.finds("warning", "announced", "uplink.retain = false")


@case
def a_refused_probe_is_named_with_its_code():
    broker = FakeBroker(reason=0x97).start()
    cleanup(broker.stop)
    seen = doctor(Gateway(broker.url, **PATIENT), "--probe", "t")
    seen.finds("failed", "probe", "quota exceeded", "0x97")


@case
def answers_that_are_no_mqtt_and_texts_for_the_terminal_do_no_harm():
    words = properties(b"\x1b[2Jboo", "\x9b2J\u202eec:1".encode() + b" y" * 30000)
    broker = FakeBroker(connack=0x9D, announce=words.hex()).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, **PATIENT)
    page = gateway.tool("doctor").stdout
    check(b"\x1b" not in page and b"\\x1B[2Jboo" in page, "the escaped reason", page)
    check(b"\\u{9B}2J\\u{202E}ec:1" in page, "the escaped server", page)
    check(len(page) < 10000, "no more than a part of it", len(page))
    broker.change(connack=0, announce="")
    for raw in ("20ffffffff7f", "2003000005", "485454502f312e31", "20020000", "2005000002117f"):
        broker.change(connack_raw=raw)
        seen = doctor(gateway)
        equal(len(seen.results("connect")), 1, raw)


@case
def the_client_id_of_a_daemon_that_runs_is_not_taken():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url, **PATIENT).start()
    gateway.wait_link()
    connects = gateway.fresh_status()["link"]["connects"]
    seen = doctor(gateway, "--client-id", "gw-test")
    seen.finds("skipped", "connect", "stop the daemon")
    equal(gateway.fresh_status()["link"]["connects"], connects, "connections of the daemon")
    gateway.stop()
    doctor(gateway, "--client-id", "gw-test").finds("ok", "connect", "client gw-test with")


# TLS


def tls_gateway(broker, host="localhost", **tls):
    return Gateway("ssl://%s:%d" % (host, broker.port),
                   uplink={"tls": tls, "connect_timeout": "20s"})


@case
def a_good_chain_is_shown_and_what_is_wrong_on_this_side_of_it_is_named():
    certificates = Certificates(days=200)
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    own = {"cert_file": certificates.client_cert, "key_file": certificates.client_key}
    seen = doctor(tls_gateway(broker, ca_file=certificates.ca, **own), "--probe", "t")
    seen.finds("ok", "tls", "TLSv1.", "DNS:localhost")
    seen.finds("ok", "tls", "CN=localhost", "issued by CN=Test CA", "valid from")
    seen.finds("ok", "connect", "accepted")
    seen.finds("ok", "probe", "acknowledged")
    # No certificate of the gateway's own; the broker may refuse it after the handshake only.
    seen = doctor(tls_gateway(broker, ca_file=certificates.ca))
    equal(seen.code, FAILED)
    check(any("uplink.tls.cert_file" in entry["remedy"] for entry in seen.steps
              if entry["result"] == "failed"), "the remedy", seen.steps)
    seen = doctor(tls_gateway(broker, ca_file=certificates.ca, cert_file=certificates.client_cert,
                              key_file=certificates.server_key))
    seen.finds("failed", "tls", "is not the key of the certificate")
    # A port of the other kind.
    seen = doctor(Gateway("tcp://localhost:%d" % broker.port, **PATIENT))
    seen.finds("failed", "connect", "ssl://")
    seen = doctor(tls_gateway(Mosquitto().start(), ca_file=certificates.ca))
    seen.finds("failed", "tls", "port for TLS")
    # Its last days.
    certificates.server_cert, certificates.server_key = certificates.issue(
        "soon", "localhost", "subjectAltName=DNS:localhost", 5)
    soon = Mosquitto(tls=certificates).start()
    doctor(tls_gateway(soon, ca_file=certificates.ca)).finds("warning", "tls", "CN=localhost",
                                                             "renew")


@case
def expired_unknown_and_misnamed_certificates_are_named_and_nothing_is_sent():
    certificates = Certificates(server_days=-1)
    broker = Mosquitto(tls=certificates).start()
    seen = doctor(tls_gateway(broker, ca_file=certificates.ca))
    seen.finds("failed", "tls", "expired", "this clock says")
    seen.finds("failed", "tls", "certificate 1 of", "CN=localhost", "renew it at the broker")
    equal(seen.results("connect"), ["skipped"])
    # All that is wrong is reported at once; a certificate that signs nothing vouches for none.
    seen = doctor(tls_gateway(broker, "127.0.0.1", ca_file=certificates.client_cert))
    seen.finds("failed", "tls", "expired")
    seen.finds("failed", "tls", "vouches", certificates.client_cert)
    seen.finds("failed", "tls", "is for DNS:localhost, not for 127.0.0.1")
    equal(seen.results("connect"), ["skipped"])
    seen = doctor(tls_gateway(broker, ca_file=certificates.client_cert, verify=False))
    seen.finds("warning", "tls", "uplink.tls.verify is false")
    seen.finds("warning", "tls", "certificate 1 of", "it has expired")
    equal(seen.results("connect"), ["ok"], "the daemon would connect, too")


run_all()

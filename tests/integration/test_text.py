# SPDX-License-Identifier: MIT
"""Texts from outside: whatever is in them, every output is plain text.

Each class of control, format, separator and non-character, and bytes that are not UTF-8, come in
through client ids, topics, references, texts of the broker, names of files and arguments. One
predicate, raw(), checks every output: the log, the journal with its explanations, the audit file,
the status, each page and each JSON object of the tool. (systemd's texts are in
unit/daemon/host/test_service.)
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import unicodedata

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

UNSAFE = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def is_noncharacter(code):
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def is_unsafe(code):
    return is_noncharacter(code) or unicodedata.category(chr(code)) in UNSAFE


# All that an MQTT string can hold of them: neither NUL nor surrogates.
ALL = "".join(chr(code) for code in range(1, 0x110000)
              if is_unsafe(code) and not 0xD800 <= code <= 0xDFFF)
# All that may be forwarded, as in topics.
FORWARDED = "".join(c for c in ALL if unicodedata.category(c) != "Cc"
                    and not is_noncharacter(ord(c)))
# One of each class, for names of files and arguments, with a part that stays unchanged.
NAME = "pr\u00fcfung\x1b[31m\n\t\r\x07\x7f\u0085\u009b2J\u061c\u200b\u200f\u2028\u202e\u2066\ufeff" \
    "\ufff9\ufdd0\U0001d173\U000e0041\U0010ffff".encode() + b"\xff\xc2\xed\xa0\x80end"
VISIBLE = "pr\u00fcfung\\x1B[31m\\x0A\\x09\\x0D\\x07\\x7F\\u{85}\\u{9B}2J\\u{61C}\\u{200B}\\u{200F}" \
    "\\u{2028}\\u{202E}\\u{2066}\\u{FEFF}\\u{FFF9}\\u{FDD0}\\u{1D173}\\u{E0041}\\u{10FFFF}" \
    "\\xFF\\xC2\\xED\\xA0\\x80end"


def raw(output):
    """The unescaped characters in @output: a list of places, each with its context."""
    found = []
    text = output.decode(errors="surrogateescape")
    for at, c in enumerate(text):
        if c != "\n" and is_unsafe(ord(c)):
            found.append("U+%04X in %r" % (ord(c), text[max(at - 30, 0):at + 10]))
    return found


def is_text(output, what):
    equal(raw(output)[:3], [], "characters that a terminal obeys or hides, in %s" % (what,))
    return output.decode()


def in_json(name):
    """Bytes as the JSON of the programs has them: U+FFFD for each that is not UTF-8."""
    text = name.decode(errors="surrogateescape")
    return "".join("\ufffd" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def tool(*arguments, env=None):
    done = processes.run([processes.tool_path()] + list(arguments), 60, env=env)
    seen = done.stdout + done.stderr
    check(b"ERROR: " not in seen and b"runtime error" not in seen, "sanitizer", seen)
    done.out = is_text(done.stdout, ("output of", arguments))
    done.err = is_text(done.stderr, ("errors of", arguments))
    check("\n" not in done.err.rstrip("\n") or "Try: " in done.err or "Verbs:" in done.err
          or done.err.count("mqtt-spool: ") == done.err.count("\n"), "lines", done.err)
    return done


def look_at_the_tool(gateway):
    """Each verb and each form; returns the outputs by their arguments."""
    seen = {}
    for verb in ("status", "failures", "audit", "check", "list", "shape", "export"):
        for more in ((), ("--json",)):
            done = tool("-c", gateway.config, verb, *more)
            check(done.out or done.err or more, "output of %s" % verb, done)
            seen[(verb,) + more] = done.out
            if more:
                for line in done.out.splitlines():
                    json.loads(line)
    return seen


def look_at_everything(gateway):
    """Each output of the daemon too."""
    with open(gateway.stderr, "rb") as log:
        is_text(log.read(), "the log")
    for path in (gateway.audit, os.path.join(gateway.run_folder, "status.json")):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            is_text(file.read(), path)
    return look_at_the_tool(gateway)


@case
def the_table_is_that_of_unicode():
    build = os.environ.get("SPOOLD_BUILD") or os.path.join(
        os.path.dirname(processes.tool_path()), "..")
    done = processes.run([os.path.join(build, "tests", "hidden_text")])
    hidden = set()
    for line in done.stdout.decode().splitlines():
        first, last = (int(word, 16) for word in line.split())
        hidden.update(range(first, last + 1))
    missing = ["%04X" % code for code in range(0x110000) if is_unsafe(code) and code not in hidden]
    equal(missing, [], "shown as they are")
    # What this Python does not know may be assigned later, as a format character.
    excess = ["%04X" % code for code in sorted(hidden)
              if not is_unsafe(code) and unicodedata.category(chr(code)) != "Cn"]
    equal(excess, [], "hidden letters")


@case
def a_text_of_a_producer_is_only_text_everywhere():
    gateway = Gateway(retention={"max_messages": 1}, log_level="debug").start()
    client_id = "press" + ALL + "7"
    topic, ref = "t/" + FORWARDED + "/e", "r\\x1b" + FORWARDED + "\"e"
    with gateway.client(5, client_id=client_id) as client:
        properties = {"user": [("spool-ref", ref), ("u" + FORWARDED, FORWARDED)],
                      "content_type": FORWARDED}
        for _ in range(2):
            equal(client.publish_wait(topic, b"x", properties=properties).reason, 0)
    with gateway.client(5, client_id="bad" + ALL) as client:
        client.send(b"\x00\x00")  # ends with a line in the log that names the client
        client.expect_closed()
    with contextlib.closing(gateway.raw(5)) as client:
        client.send(mqtt.connect_packet(5, b"bad\xed\xa0\x80\xff"))
        client.expect_closed()
    wait_for(lambda: "client=\"bad" in gateway.log(), 10, gateway.log)
    lines = gateway.wait_audit(1)
    equal((lines[0]["client"], lines[0]["topic"], lines[0]["ref"]), (client_id, topic, ref))
    seen = look_at_everything(gateway)
    check("press\\x01\\x02" in seen["failures",] and "t/\\u{AD}" in seen["failures",],
          "what is visible", seen["failures",])
    record = json.loads(seen["failures", "--json"])
    equal((record["client"], record["topic"], record["ref"]), (client_id, topic, ref))
    gateway.stop()
    look_at_everything(gateway)


JOURNALD = "/lib/systemd/systemd-journald"
# A separate journal in a mount namespace, with the catalog $0.
OWN_JOURNAL = """
mount --make-rprivate / && mount -t tmpfs none /run && mount -t tmpfs none /etc/systemd &&
mount -t tmpfs none /var/lib/systemd && mount -t tmpfs none /usr/lib/systemd/catalog &&
mkdir -p /run/systemd/journal /run/log/journal /var/lib/systemd/catalog &&
cp "$0" /usr/lib/systemd/catalog/ && journalctl --update-catalog &&
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\n' >/etc/systemd/journald.conf &&
touch /run/own && exec "$1"
"""


def start_journal():
    """What enters its namespace, to be put in front of a command."""
    if os.geteuid() != 0:
        skip("only root can have a journal of its own")
    if not os.access(JOURNALD, os.X_OK):
        skip("%s is not there" % JOURNALD)
    for program in ("unshare", "nsenter", "journalctl"):
        processes.need(program)
    source = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(__file__), "../..")
    journald = processes.start(
        ["unshare", "-m", "sh", "-c", OWN_JOURNAL,
         os.path.join(source, "systemd", "mqtt-spoold.catalog"), JOURNALD],
        stdout=processes.PIPE, stderr=processes.PIPE)
    cleanup(processes.end, journald)
    inside = ["nsenter", "-m", "-t", str(journald.pid)]

    def is_ready():
        if journald.poll() is not None:
            skip("no journal of its own here: %r" % journald.stderr.read()[-200:])
        return processes.run(inside + ["test", "-e", "/run/own", "-a", "-S",
                                       "/run/systemd/journal/socket"]).returncode == 0
    wait_for(is_ready, 20, "the journal", 0.1)
    return inside


@case
def a_text_of_a_producer_is_only_text_in_the_journal_and_its_explanations():
    inside = start_journal()
    gateway = Gateway(retention={"max_messages": 1}, audit={"journal": "all"})
    gateway.start(wrap=inside)
    topic = "t/" + FORWARDED
    with gateway.client(5, client_id="press" + ALL + "7") as client:
        for _ in range(2):
            client.publish_wait(topic, b"x", properties={"user": [("spool-ref", FORWARDED)]})
    gateway.wait_audit(1)

    def journal(*options):
        return processes.run(inside + ["journalctl", "-D", "/run/log/journal", "--no-pager", "-a",
                                       *options]).stdout
    wait_for(lambda: b"evicted id=" in journal(), 20, lambda: journal().decode("utf-8", "replace"))
    explained = is_text(journal("-x"), "journalctl -x")
    check("of the client \"press\\x01\\x02" in explained, "what is visible", explained)
    for form in ("short", "verbose", "cat", "json"):
        shown = is_text(journal("-o", form, "SYSLOG_IDENTIFIER=mqtt-spoold"), form)
        check("evicted id=" in shown and "blob data" not in shown, "as text", shown)
    fields = processes.run(inside + ["journalctl", "-D", "/run/log/journal", "--no-pager", "-o",
                                     "verbose", "SYSLOG_IDENTIFIER=mqtt-spoold"]).stdout.decode()
    check("MQTT_SPOOL_CLIENT=press" in fields and "blob data" not in fields, "fields", fields)
    gateway.stop()


class Talker:
    """A broker that puts texts into every answer: it refuses the first connections, then a message,
    then it sends DISCONNECT."""

    TEXTS = {"reason_string": "no\x1b[2J" + FORWARDED + "way", "server_reference": "b\u202e:1",
             "user": [("a" + FORWARDED, FORWARDED)]}

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.refuses = True
        self.code = 0x87
        threading.Thread(target=self.run, daemon=True).start()
        cleanup(self.listener.close)

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError, struct.error, IndexError):
                    self.talk(connection)

    @staticmethod
    def read(stream):
        kind = stream.read(1)[0]
        size = shift = 0
        while True:
            digit = stream.read(1)[0]
            size, shift = size | (digit & 0x7F) << shift, shift + 7
            if not digit & 0x80:
                return kind, stream.read(size)

    def talk(self, connection):
        stream = connection.makefile("rb")
        self.read(stream)
        texts = mqtt.encode_properties(self.TEXTS)
        connection.sendall(mqtt.packet(mqtt.CONNACK, bytes([0, self.code if self.refuses else 0])
                                       + texts))
        while not self.refuses:
            kind, body = self.read(stream)
            if kind >> 4 != mqtt.PUBLISH:
                continue
            size = struct.unpack(">H", body[:2])[0]
            connection.sendall(
                mqtt.packet(mqtt.PUBACK, body[2 + size:4 + size] + bytes([self.code])
                            + mqtt.encode_properties({"reason_string": self.TEXTS["reason_string"]}))
                + mqtt.packet(mqtt.DISCONNECT, b"\x9c" + texts))
            stream.read(1)
            return


@case
def a_text_of_the_broker_is_only_text_everywhere():
    broker = Talker()
    gateway = Gateway(broker.url, log_level="debug", uplink={"on_refusal": "reject"}).start()
    wait_for(lambda: gateway.status()["link"]["last_error"], 20, gateway.status)
    look_at_everything(gateway)
    broker.refuses = False
    gateway.wait_link("online")
    with gateway.client(5) as client:
        client.publish("t", b"x")
        gateway.wait_audit(1)
    wait_for(lambda: "link_lost" in gateway.log(), 20, gateway.log)
    look_at_everything(gateway)
    gateway.stop()
    look_at_everything(gateway)


@case
def a_status_file_of_another_hand_is_only_text():
    gateway = Gateway().start()
    path = os.path.join(gateway.run_folder, "status.json")
    gateway.fresh_status()
    gateway.configure(status_interval="1h")
    gateway.hup()
    wait_for(lambda: "reloaded" in gateway.log(), 10, gateway.log)
    status = gateway.fresh_status() if not gateway.status() else gateway.status()
    gateway.process.send_signal(signal.SIGSTOP)  # it may still write the status of its old interval
    cleanup(gateway.process.send_signal, signal.SIGCONT)
    text = NAME.decode(errors="ignore")
    status["link"].update(broker=text, last_error=text)
    status["version"] = status["lanes"][0]["name"] = text
    # As Python writes it: C0 as escapes, all others as they are.
    with open(path + ".other", "w") as out:
        json.dump(status, out, ensure_ascii=False, indent=2)
        out.write("\n")
    check(raw(open(path + ".other", "rb").read()), "what is to be escaped")
    os.rename(path + ".other", path)
    # A daemon that cannot be asked, beside the file.
    beside = ["-c", gateway.config, "status", "--socket",
              os.path.join(gateway.run_folder, "none.sock")]
    done = tool(*beside, "--json")
    equal(json.loads(done.out), status, "the same values")
    equal(done.out.count("\n"), 1, "lines")
    check("pr\u00fcfung\\x1B" in tool(*beside).out, "what is visible")
    gateway.process.send_signal(signal.SIGCONT)
    gateway.stop()


def quoted(text):
    """Bytes in quotes, as libconfig reads them: it knows \\xHH."""
    return b'"' + b"".join(b"\\x%02x" % c if c < 0x20 or c >= 0x7f or c in b'"\\' else bytes([c])
                           for c in text) + b'"'


def write_config(gateway, **paths):
    """The gateway's file once more, under a name of its own, with other values for some keys."""
    folder = os.fsencode(gateway.folder)
    path = os.path.join(folder, b"conf" + NAME)
    with open(gateway.config, "rb") as seen:
        text = seen.read()
    for value, other in paths.items():
        old = json.dumps(getattr(gateway, value)).encode()
        check(old in text, "%s in the configuration" % value)
        text = text.replace(old, quoted(other))
    with open(path, "wb") as out:
        out.write(text)
    return path


@case
def a_name_of_a_file_is_only_text_everywhere():
    gateway = Gateway(retention={"max_messages": 1}, log_level="debug")
    folder = os.fsencode(gateway.folder)
    gateway.config = write_config(gateway, spool=os.path.join(folder, b"s" + NAME),
                                  audit=os.path.join(folder, b"a" + NAME))
    gateway.spool, gateway.audit = (os.path.join(folder, b"s" + NAME),
                                    os.path.join(folder, b"a" + NAME))
    done = processes.run([processes.daemon_path(), "-c", gateway.config, "--test-config"])
    check(VISIBLE in is_text(done.stdout, "--test-config"), "what is visible", done)
    gateway.start()
    with gateway.client(5) as client:
        for _ in range(3):
            equal(client.publish_wait("t", b"x").reason, 0)
    gateway.wait_audit(2)
    page = look_at_everything(gateway)["check",]
    check("s" + VISIBLE in page and "a" + VISIBLE in page, "what is visible", page)
    gateway.stop()
    with open(gateway.audit, "ab") as out:
        out.write(b'{"seq":3,"outcome":"\xc2\x9b\xe2\x80\xae"}\n' + NAME + b"\n")
    look_at_the_tool(gateway)
    audit = json.loads(tool("-c", gateway.config, "audit", "--json").out)
    equal({problem.get("file") for problem in audit["problem_list"]} - {None},
          {in_json(gateway.audit)}, "names of the file")
    os.rename(gateway.audit, gateway.audit + b".moved")
    os.mkdir(gateway.audit)
    look_at_the_tool(gateway)
    gateway.start()
    wait_for(lambda: "audit_waiting" in gateway.log(), 10, gateway.log)
    gateway.stop()
    with open(os.path.join(gateway.spool, b"spool.db"), "r+b") as out:
        out.write(b"no database " * 1000)
    done = tool("-c", gateway.config, "check")
    check("s" + VISIBLE in done.out, "the damaged spool", done.out)
    for verb in ("status", "failures"):
        check(VISIBLE in tool("-c", gateway.config, verb).err, "the damaged spool")
    with open(gateway.stderr, "rb") as log:
        check(VISIBLE in is_text(log.read(), "the log").replace("\\\\", "\\"),
              "what is visible")


@case
def a_configuration_with_such_texts_is_refused_in_plain_text():
    folder = os.fsencode(processes.folder())
    path = os.path.join(folder, NAME + b".conf")
    for line in (b"log_level = " + quoted(NAME), NAME + b" = 1;", b"uplink = { " + NAME,
                 b'uplink = { brokers = ( "tcp://h" ); client_id = ' + quoted(NAME) + b"; };",
                 b'uplink = { brokers = ( %s ); };' % quoted(b"tcp://" + NAME),
                 b"listen = { socket = %s; };" % quoted(NAME),
                 b'@include "' + NAME.replace(b"\n", b"") + b'"', b"\xff\xfe", b'x = "' + NAME,
                 b'lanes = ( { name = %s; } );' % quoted(NAME),
                 b'lanes = ( { name = "a"; topics = ( %s ); } );' % quoted(b"#/" + NAME)):
        with open(path, "wb") as out:
            out.write(line + b"\n")
        for arguments in (["--test-config"], []):
            done = processes.run([processes.daemon_path(), "-c", path] + arguments)
            equal((done.returncode, done.stdout), (78, b""), "of %r" % line)
            error = is_text(done.stderr, line)
            equal(error.count("\n"), 1, "lines of %r" % error)
        for verb in ("status", "failures", "audit", "check"):
            check("pr\u00fcfung\\x1B" in tool("-c", path, verb).err, "what is visible", line)
        done = tool("-c", path, "publish", "-t", "a", "-m", "x")
        check(done.returncode in (69, 78), "exit code", done)  # 69: it needs the socket only


@case
def an_argument_is_only_text_everywhere():
    elsewhere = os.path.join(os.fsencode(processes.folder()), NAME)
    kept = "pr\u00fcfung\\x1B[31m"
    for arguments in (
            [NAME], [b"help", NAME], [b"--" + NAME], [b"-c", elsewhere, b"status"],
            [b"status", NAME], [b"status", b"--" + NAME], [b"status", b"--json=" + NAME],
            [b"status", b"--directory", elsewhere], [b"check", b"--directory", elsewhere],
            [b"failures", b"--directory", elsewhere], [b"failures", b"--since", NAME],
            [b"failures", b"--limit", NAME], [b"audit", elsewhere], [b"audit", b"--from", NAME],
            [b"audit", b"--directory", elsewhere, b"-"],
            [b"publish", b"-t", b"a", b"-m", b"x", b"--socket", elsewhere[:100]],
            [b"export", b"--topic", b"a#" + NAME], [b"list", b"--user", NAME], [b"show", NAME],
            [b"shape", b"--older-than", NAME], [b"log-level", NAME], [b"list", b"--id", NAME],
            [b"hold", b"--socket", elsewhere[:100]], [b"import", b"--socket", elsewhere[:100]],
            [b"publish", b"-t", b"a", b"-f", elsewhere, b"--socket", b"/nowhere"],
            [b"publish", b"-t", b"a", b"-m", b"x", NAME], [b"publish", b"--" + NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"-q", NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"-V", NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"--user", NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"--expiry", NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"--timeout", NAME],
            [b"publish", b"-t", b"a", b"-m", b"x", b"--payload-format", NAME]):
        done = tool(*arguments)
        check(done.returncode != 0 and kept in done.err, "what is visible", arguments, done.err)
    for option in (b"-\x9b", b"-\x1b", b"-\xc3\xbc"):
        for verb in ([], [b"status"], [b"publish"]):
            check("\\x" in tool(*verb, option).err, "the option", option)
    for arguments in ([NAME], [b"--" + NAME], [b"-\x9b"], [b"-\x1b"], [b"-c"],
                      [b"--version=" + NAME]):
        done = processes.run([processes.daemon_path()] + arguments)
        equal(done.returncode, 2, "exit code")
        is_text(done.stderr, arguments)


@case
def a_topic_that_is_published_comes_back_as_it_was():
    gateway = Gateway().start()
    topic = "a/" + FORWARDED
    done = tool("publish", "--socket", gateway.socket, "-t", topic, "-m", "x", "--json",
                "--ref", FORWARDED, "--user", "a=" + FORWARDED, "-i", "c" + FORWARDED)
    equal((done.returncode, json.loads(done.out)["topic"]), (0, topic))
    for arguments in (["-t", b"a\xff"], ["-t", "a\u009b"], ["-t", "a", "-i", b"\xff"],
                      ["-t", "a", "--ref", b"\xff"]):
        done = tool("publish", "--socket", gateway.socket, "-m", "x", "--json", *arguments)
        check(done.returncode != 0 and done.err, "refused", arguments)
    gateway.stop()


run_all()

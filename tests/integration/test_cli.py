# SPDX-License-Identifier: MIT
"""mqtt-spool: arguments, publishing, and what it reads from a spool and from audit files.

publish is driven against a real mosquitto at a Unix socket, and against a scripted daemon that
answers with any reason code, closes, or does not answer.
"""

import contextlib
import grp
import gzip
import json
import os
import pwd
import re
import resource
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
import processes  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, all_of_the_disk  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

OK, USAGE, DATA, UNAVAILABLE, TRY_AGAIN, NOT_ALLOWED, CONFIG = 0, 64, 65, 69, 75, 77, 78
UNCHECKED = 2  # of check
VERBS = ["publish", "status", "metrics", "failures", "audit", "check", "report", "list", "show",
         "shape", "export", "import", "flush", "hold", "release", "drop", "requeue", "log-level",
         "rotate", "doctor", "bundle"]
OUTCOMES = ("delivered", "evicted", "expired", "rejected", "dropped", "damaged")


def tool(*arguments, stdin=b"", timeout=60, wanted=None, **options):
    """Runs mqtt-spool; .out and .err are its lines as text."""
    done = subprocess.run([processes.tool_path()] + [str(a) for a in arguments], input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          **{"preexec_fn": processes.die_with_parent, **options})
    done.out, done.err = done.stdout.decode(), done.stderr.decode(errors="replace")
    check("ERROR: " not in done.err and "runtime error" not in done.err, "sanitizer", done.err)
    if wanted is not None:
        equal(done.returncode, wanted, "exit code (it says: %s%s)" % (done.out, done.err))
    return done


def says(done, *words):
    for word in words:
        check(word in done.out + done.err, "output lacks %r" % word, done.out, done.err)


def is_sanitized():
    with open(processes.tool_path(), "rb") as seen:  # clang links its sanitizers into the program
        program = seen.read()
    return b"__asan_init" in program or b"__tsan_init" in program


# The remote sides of publish


class Broker:
    """A mosquitto that listens at a Unix socket only, and what a subscriber there gets."""

    def __init__(self, options=""):
        program = processes.need("mosquitto")
        folder = processes.folder()
        self.socket = os.path.join(folder, "m.sock")
        config = os.path.join(folder, "mosquitto.conf")
        with open(config, "w") as out:
            out.write("listener 0 %s\nallow_anonymous true\nmax_inflight_messages 0\n"
                      "max_queued_messages 0\nuser %s\n%s\n"
                      % (self.socket, "root" if os.geteuid() == 0 else "nobody", options))
        self.process = processes.start([program, "-c", config], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        cleanup(processes.end, self.process)
        wait_for(self._accepts, 10, "mosquitto at its socket")

    def _accepts(self):
        with contextlib.suppress(OSError):
            mqtt.dial(self.socket).close()
            return True
        return False

    def publish(self, *arguments, **options):
        return tool("publish", "--socket", self.socket, *arguments, **options)


class Subscriber(mqtt.Client):
    """Subscribed to everything at once; take(n) gives the next n messages."""

    def __init__(self, address):
        super().__init__(address, 5, "far")
        cleanup(self.close)
        self.connect()
        self.send(mqtt.packet(mqtt.SUBSCRIBE, b"\0\1\0" + mqtt.data("#") + b"\0", 2))
        self.expect(mqtt.SUBACK)

    def take(self, count):
        return [self.expect(mqtt.PUBLISH) for _ in range(count)]


class Served(mqtt.Client):
    """The daemon's end of one connection."""

    def __init__(self, sock):  # the base class would dial
        self.sock, self.timeout, self.version = sock, 30, 5
        self.buffer, self.at = bytearray(), 0


class Scripted:
    """A daemon scripted by the case.

    connack: bytes of CONNACK's body; answer(number, packet) gives the bytes that answer the
    PUBLISH of that number (from 1), b"" for none, or None to close.
    """

    def __init__(self, answer, connack=b"\0\0\0"):
        self.socket = os.path.join(processes.folder(), "d.sock")
        self.answer, self.connack = answer, connack
        self.published = []
        self.client = None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        cleanup(self.listener.close)

    def more_came(self, seconds):
        """Did the tool send more than was answered so far? Waits that long for it."""
        read = self.client.at < len(self.client.buffer)
        return read or bool(select.select([self.client.sock], [], [], seconds)[0])

    def _run(self):
        with contextlib.suppress(OSError, mqtt.Closed):
            sock, _ = self.listener.accept()
            with sock:
                self._serve(Served(sock))

    def _serve(self, client):
        self.client = client
        hello = client.expect(mqtt.CONNECT)
        client.version = hello.body[6]
        client.send(mqtt.packet(mqtt.CONNACK, self.connack))
        while True:
            packet = client.receive()
            if packet.kind == mqtt.PINGREQ:
                client.send(mqtt.packet(mqtt.PINGRESP))
            if packet.kind != mqtt.PUBLISH:
                continue
            self.published.append(packet)
            answer = self.answer(len(self.published), packet)
            if answer is None:
                return
            client.send(answer)

    def publish(self, *arguments, **options):
        return tool("publish", "--socket", self.socket, *arguments, **options)


def timed_out(publish):
    """The result of @publish(timeout) if the time was enough to connect."""
    for timeout in ("300ms", "1s", "3s", "10s"):
        done = publish(timeout)
        if "does not answer" not in done.err:
            break
    return done


def puback(packet, reason=0, spool_id=None):
    properties = {"user": [("other", "x"), ("spool-id", str(spool_id))]} if spool_id else {}
    return mqtt.packet(mqtt.PUBACK, packet.packet_id.to_bytes(2, "big") + bytes([reason])
                       + mqtt.encode_properties(properties))


# Arguments


@case
def an_unknown_verb_names_the_known_ones():
    done = tool("frobnicate", wanted=USAGE)
    says(done, 'unknown verb "frobnicate"', "publish", "status", "failures", "audit")
    tool(wanted=USAGE)
    tool("lists", wanted=USAGE)


@case
def help_and_version_are_on_standard_output():
    check("publish" in tool("--help", wanted=OK).out, "the page")
    check("publish" in tool("help", wanted=OK).out, "the page")
    check(tool("--version", wanted=OK).out.startswith("mqtt-spool "), "the version")
    for verb in VERBS:
        page = tool("help", verb, wanted=OK).out
        check(page.startswith("Usage: mqtt-spool %s " % verb), "the page of " + verb, page)
        equal(tool(verb, "--help", wanted=OK).out, page, "--help")


@case
def no_line_of_help_is_wider_than_a_terminal():
    daemon = subprocess.run([processes.daemon_path(), "--help"], capture_output=True, text=True,
                            timeout=20)
    pages = [daemon.stdout, tool("--help", wanted=OK).out]
    for page in pages + [tool("help", verb, wanted=OK).out for verb in VERBS]:
        check(page.count("\n") > 5, "a page", page)
        equal([line for line in page.split("\n") if len(line) > 80], [], "wider than 80 columns")


@case
def every_option_and_verb_is_in_the_manual():
    root = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
        os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(root, "man", "mqtt-spool.1")) as seen:
        manual = seen.read().replace("\\-", "-")
    parts = dict((part.split(None, 1)[0], part) for part in manual.split("\n.SS ")[1:])
    equal(sorted(parts), sorted(VERBS + ["help"]), "verbs")
    for name in re.findall(r"--[a-z-]+", tool("--help", wanted=OK).out):
        check(name in manual.split("\n.SS ")[0], "the manual lacks", name)
    for verb in VERBS:
        for name in re.findall(r"(?<![\w-])--?[a-z0-9-]+", tool("help", verb, wanted=OK).out):
            check(name in parts[verb] or name == "--json", "the part %s lacks" % verb, name)


@case
def the_configuration_is_named_by_a_long_option_too():
    for option in (["-c", "/nonexistent/c"], ["--config", "/nonexistent/c"],
                   ["--config=/nonexistent/c"]):
        says(tool(*option, "status", wanted=CONFIG), "/nonexistent/c")


@case
def wrong_arguments_are_usage_errors():
    for arguments in (["-x", "status"], ["publish"], ["publish", "-t", "a"],
                      ["publish", "-m", "x"], ["publish", "-t", "a", "-m", "x", "-l"],
                      ["publish", "-t", "a", "-m", "x", "-q", "3"],
                      ["publish", "-t", "a", "-m", "x", "-V", "3"],
                      ["publish", "-t", "a", "-m", "x", "more"],
                      ["publish", "-t", "a", "-m", "x", "--expiry", "soon"],
                      ["publish", "-t", "a", "-m", "x", "--expiry", "0"],
                      ["publish", "-t", "a", "-m", "x", "--user", "novalue"],
                      ["publish", "-t", "a", "-m", "x", "-V", "4", "--ref", "r"],
                      ["status", "--nothing"], ["status", "more"], ["failures", "--limit", "0"],
                      ["failures", "--since", "yesterday"], ["audit", "--from", "x", "f"],
                      ["export", "--id", "0"], ["export", "--topic", "a#"], ["shape", "more"],
                      ["shape", "--older-than", "soon"], ["shape", "--levels", "0"],
                      ["import", "more"], ["list", "--user", "no-such-user"], ["show"],
                      ["show", "x"], ["drop"], ["drop", "--all"], ["requeue"],
                      ["drop", "--all", "--id", "1", "--yes"], ["log-level"],
                      ["log-level", "loud"], ["flush", "now"], ["hold", "--lane"],
                      ["release", "more"], ["rotate", "more"]):
        done = tool(*arguments, wanted=USAGE)
        equal(done.out, "", "standard output of %r" % arguments)


@case
def the_configuration_after_the_verb_is_an_error_that_names_its_place():
    for verb in VERBS:
        for option in (["-c", "/nonexistent/c"], ["--config", "/nonexistent/c"], ["-c"],
                       ["--config=/nonexistent/c"]):
            done = tool(verb, *option, wanted=UNCHECKED if verb in ("check", "doctor") else USAGE)
            says(done, "before the verb: mqtt-spool -c FILE " + verb)
            check("invalid" not in done.err and "unrecognized" not in done.err, "said once",
                  done.err)


@case
def every_page_lists_the_exit_codes():
    for verb in VERBS:
        page = tool("help", verb, wanted=OK).out
        check("\nExit codes: 0 " in page, "the page of " + verb, page)


@case
def a_configuration_is_needed_only_where_nothing_replaces_it():
    for verb in (["publish", "-t", "a", "-m", "x"], ["status"], ["metrics"], ["failures"], ["audit"],
                 ["list"], ["show", "1"], ["shape"], ["export"], ["import"], ["flush"], ["hold"],
                 ["release"], ["drop", "--all", "--yes"], ["requeue", "--all"],
                 ["log-level", "info"], ["rotate"]):
        says(tool("-c", "/nonexistent/spoold.conf", *verb, wanted=CONFIG),
             "/nonexistent/spoold.conf")
    tool("publish", "--socket", "/nonexistent/s", "-t", "a", "-m", "x", wanted=UNAVAILABLE)


# Publishing to a real broker


@case
def each_source_of_messages_arrives():
    broker = Broker()
    far = Subscriber(broker.socket)
    path = os.path.join(processes.folder(), "payload")
    with open(path, "wb") as out:
        out.write(b"\0\1\n\2")
    broker.publish("-t", "a/m", "-m", "text", wanted=OK)
    broker.publish("-t", "a/f", "-f", path, wanted=OK)
    broker.publish("-t", "a/s", "-s", stdin=b"one\ntwo\n", wanted=OK)
    broker.publish("-t", "a/l", "-l", stdin=b"one\n\nthree", wanted=OK)
    broker.publish("-t", "a/0", "-m", "", "-q", "0", wanted=OK)
    broker.publish("-t", "a/4", "-m", "old", "-V", "311", wanted=OK)
    seen = [(m.topic, m.payload) for m in far.take(8)]
    equal(seen, [("a/m", b"text"), ("a/f", b"\0\1\n\2"), ("a/s", b"one\ntwo\n"), ("a/l", b"one"),
                 ("a/l", b""), ("a/l", b"three"), ("a/0", b""), ("a/4", b"old")])


@case
def every_property_arrives():
    broker = Broker()
    far = Subscriber(broker.socket)
    broker.publish("-t", "a", "-m", "x", "--expiry", "10m", "--content-type", "text/plain",
                   "--response-topic", "re/ply", "--correlation", "c-1", "--payload-format", "utf8",
                   "--user", "a=b=c", "--user", "d=", "--ref", "order-7", wanted=OK)
    equal(far.take(1)[0].properties,
          {"message_expiry": 600, "content_type": "text/plain", "response_topic": "re/ply",
           "correlation_data": b"c-1", "payload_format": 1,
           "user": [("a", "b=c"), ("d", ""), ("spool-ref", "order-7")]})


@case
def retained_messages_are_sent_as_such():
    broker = Broker()
    broker.publish("-t", "a", "-m", "x", "--retain", wanted=OK)
    check(Subscriber(broker.socket).take(1)[0].retain, "the retain flag")


@case
def many_lines_arrive_in_order():
    broker = Broker()
    far = Subscriber(broker.socket)
    far.timeout = 30
    lines = [b"%d" % number for number in range(20000)]
    reader = threading.Thread(target=lambda: got.extend(m.payload for m in far.take(len(lines))))
    got = []
    reader.start()
    broker.publish("-t", "a", "-l", stdin=b"\n".join(lines) + b"\n", wanted=OK)
    reader.join(60)
    check(got == lines, "the lines as they were sent", len(got))


@case
def a_pause_of_the_input_keeps_the_connection():
    broker = Broker()
    far = Subscriber(broker.socket)
    process = processes.start([processes.tool_path(), "publish", "--socket", broker.socket, "-t",
                               "a", "-l"], stdin=subprocess.PIPE)
    for payload in (b"first", b"second"):
        process.stdin.write(payload + b"\n")
        process.stdin.flush()
        equal(far.take(1)[0].payload, payload, "a line that arrives before the input ends")
    process.stdin.close()
    equal(process.wait(20), OK, "exit code")


@case
def what_is_too_large_is_bad_data():
    broker = Broker("max_packet_size 2000")
    says(broker.publish("-t", "a", "-s", stdin=b"x" * 5000, wanted=DATA), "0x95")
    done = broker.publish("-t", "a", "-l", "-v", stdin=b"one\n" + b"x" * 5000 + b"\ntwo\n",
                          wanted=DATA)
    says(done, "line 2 is longer", "1 of 1 message was accepted")


@case
def a_broker_that_goes_is_tried_again():
    broker = Broker()
    process = processes.start([processes.tool_path(), "publish", "--socket", broker.socket, "-t",
                               "a", "-l", "-v"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    process.stdin.write(b"one\n")
    process.stdin.flush()
    equal(process.stdout.readline(), b"accepted\n", "the first")
    processes.end(broker.process)
    _, err = process.communicate(timeout=20)
    equal(process.returncode, TRY_AGAIN, "exit code")
    check(b"1 of 1 message was accepted" in err, "the count", err)


# Publishing to a scripted daemon


@case
def the_spool_id_is_printed():
    daemon = Scripted(lambda number, packet: puback(packet, 0, 40 + number))
    equal(daemon.publish("-t", "a", "-l", "-v", stdin=b"x\ny\n", wanted=OK).out,
          "accepted id=41\naccepted id=42\n")
    daemon = Scripted(lambda number, packet: puback(packet, 0, 7))
    done = daemon.publish("-t", "a\"b", "-m", "x", "--json", wanted=OK)
    equal(json.loads(done.out), {"id": 7, "topic": "a\"b", "result": "accepted"})


@case
def reason_codes_become_exit_codes():
    # Those that MQTT 5 allows in a PUBACK: libmosquitto 2.0.21 takes others for a broken connection.
    for reason, code in ((0x97, TRY_AGAIN), (0x87, NOT_ALLOWED), (0x90, DATA), (0x99, DATA),
                         (0x80, UNAVAILABLE), (0x83, UNAVAILABLE)):
        daemon = Scripted(lambda number, packet, r=reason: puback(packet, r))
        done = daemon.publish("-t", "a", "-m", "x", "--json", wanted=code)
        line = json.loads(done.out)
        check(line.pop("text"), "a text")
        equal(line, {"topic": "a", "result": "refused", "code": reason})
        says(done, "0x%02X" % reason, "0 of 1 message was accepted")


@case
def a_topic_that_no_client_may_publish_is_reported_as_such():
    daemon = Scripted(lambda number, packet: puback(packet, 0x87))
    done = daemon.publish("-t", "$SYS/x", "-m", "x", "--json", wanted=NOT_ALLOWED)
    says(done, "topics that begin with $ cannot be published (0x87)")
    equal(json.loads(done.out)["text"], "topics that begin with $ cannot be published")


@case
def a_control_character_and_a_quota_are_called_by_their_names():
    daemon = Scripted(lambda number, packet: puback(packet, 0x97))
    for option, text in (("-t", "a\x01b"), ("-t", "a\u0085"), ("-i", "c\x7f")):
        done = daemon.publish(*(["-t", "a"] if option == "-i" else []), option, text, "-m", "x",
                              wanted=DATA)
        says(done, "it has a control character")
    done = daemon.publish("-t", "a", "-m", "x", wanted=TRY_AGAIN)
    says(done, "quota exceeded; mqtt-spool status says why (0x97)")
    check("full" not in done.err, "it may be locked or moved", done.err)


@case
def the_first_failure_decides_and_the_rest_is_still_sent():
    daemon = Scripted(lambda number, packet: puback(packet, {2: 0x87, 3: 0x97}.get(number, 0),
                                                    number))
    done = daemon.publish("-t", "a", "-l", "--json", stdin=b"1\n2\n3\n4\n", wanted=NOT_ALLOWED)
    equal([(line["line"], line["result"]) for line in map(json.loads, done.out.splitlines())],
          [(1, "accepted"), (2, "refused"), (3, "refused"), (4, "accepted")])
    says(done, "line 2 was refused", "2 of 4 messages were accepted")


@case
def many_refusals_are_counted_not_listed():
    daemon = Scripted(lambda number, packet: puback(packet, 0x97))
    done = daemon.publish("-t", "a", "-l", stdin=b"x\n" * 500, wanted=TRY_AGAIN)
    check(len(done.err.splitlines()) < 20, "a short report", done.err)
    says(done, "490 more were refused", "0 of 500 messages were accepted")


@case
def a_close_without_an_answer_is_said_with_its_cause():
    for version, words in (("4", ["-V 5"]), ("5", ["restart"])):
        daemon = Scripted(lambda number, packet: puback(packet) if number < 3 else None,
                          b"\0\0" if version == "4" else b"\0\0\0")
        if version == "4":
            daemon.answer = lambda number, packet: (
                mqtt.packet(mqtt.PUBACK, packet.packet_id.to_bytes(2, "big"))
                if number < 3 else None)
        done = daemon.publish("-t", "a", "-l", "-V", version, "--json", stdin=b"1\n2\n3\n",
                              wanted=TRY_AGAIN)
        results = [json.loads(line)["result"] for line in done.out.splitlines()]
        equal(results, ["accepted", "accepted", "unknown"], "results")
        says(done, "2 of 3 messages were confirmed as accepted", "1 sent without an answer", *words)


@case
def the_reason_of_a_disconnect_is_reported():
    for reason, code in ((0x89, TRY_AGAIN), (0x8B, TRY_AGAIN), (0x95, DATA), (0x9B, DATA),
                         (0x82, UNAVAILABLE)):
        daemon = Scripted(lambda number, packet, r=reason: mqtt.packet(mqtt.DISCONNECT,
                                                                       bytes([r, 0])))
        says(daemon.publish("-t", "a", "-m", "x", wanted=code), "0x%02X" % reason)


@case
def the_reason_of_a_refused_connection_is_reported():
    for version, connack, code in (("5", b"\0\x87\0", NOT_ALLOWED), ("5", b"\0\x89\0", TRY_AGAIN),
                                   ("4", b"\0\5", NOT_ALLOWED)):
        daemon = Scripted(lambda number, packet: b"", connack)
        says(daemon.publish("-t", "a", "-m", "x", "-V", version, wanted=code),
             "refused the connection")
        equal(daemon.published, [], "what was published")


@case
def a_daemon_with_too_many_clients_is_not_reported_as_a_full_spool():
    daemon = Scripted(lambda number, packet: b"", b"\0\x97\0")
    done = daemon.publish("-t", "a", "-m", "x", wanted=TRY_AGAIN)
    says(done, "refused the connection", "listen.max_clients", "0x97")
    check("spool is full" not in done.err, "the cause", done.err)


@case
def silence_ends_at_the_timeout():
    daemon = Scripted(lambda number, packet: b"")
    says(daemon.publish("-t", "a", "-m", "x", "--timeout", "500ms", wanted=TRY_AGAIN), "--timeout")
    path = os.path.join(processes.folder(), "full.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        first = mqtt.dial(path)  # fills the backlog: the next connect(2) waits
        cleanup(first.close)
        tool("publish", "--socket", path, "-t", "a", "-m", "x", "--timeout", "500ms",
             wanted=TRY_AGAIN)


@case
def a_timeout_is_not_reported_as_a_lost_connection():
    words = "did not take the message", "a lane is full and blocks", "mqtt-spool status"
    for version, connack in (("5", b"\0\0\0"), ("4", b"\0\0")):
        done = timed_out(lambda timeout, v=version, c=connack: Scripted(
            lambda number, packet: b"", c).publish("-t", "a", "-m", "x", "-V", v, "--timeout",
                                                   timeout, wanted=TRY_AGAIN))
        says(done, *words)
        check("lost" not in done.err and "connection" not in done.err, "the cause", done.err)
    gateway = Gateway(retention={"max_messages": 1, "when_full": "block"}).start()
    gateway.tool("publish", "-t", "a", "-m", "x")
    done = timed_out(lambda timeout: tool(
        "-c", gateway.config, "publish", "-t", "a", "-l", "--timeout", timeout,
        stdin=b"one\ntwo\n", wanted=TRY_AGAIN))
    says(done, "did not take the messages", *words[1:])
    check("restart" not in done.err, "the cause", done.err)


@case
def a_daemon_that_reads_nothing_for_two_keepalives_is_reported_as_busy():
    done = threading.Event()
    cleanup(done.set)

    def answer(number, packet):  # nor is a ping answered meanwhile
        done.wait(30)

    daemon = Scripted(answer, b"\0\0" + mqtt.encode_properties({"server_keep_alive": 1}))
    seen = daemon.publish("-t", "a", "-m", "x", wanted=TRY_AGAIN)
    says(seen, "did not take the message", "a lane is full and blocks")
    check("lost" not in seen.err, "the cause", seen.err)


@case
def a_connection_that_is_not_answered_is_reported_as_such():
    daemon = Scripted(lambda number, packet: b"")
    daemon._serve = lambda client: client.receive() and client.receive()
    done = daemon.publish("-t", "a", "-m", "x", "--timeout", "300ms", wanted=TRY_AGAIN)
    says(done, "--timeout", "does not answer", "the message was not accepted")
    check("lane" not in done.err and "lost" not in done.err, "the cause", done.err)


@case
def the_window_and_the_receive_maximum_are_kept():
    limited = b"\0\0" + mqtt.encode_properties({"receive_maximum": 7})
    for connack, most in ((b"\0\0\0", 100), (limited, 7)):
        held, beyond = [], []

        def answer(number, packet, held=held, beyond=beyond, most=most):
            # Nothing is answered until the window is full: if the tool kept a smaller one, it would
            # wait forever; if it kept a larger one, more would come.
            held.append(packet)
            if len(held) < most:
                return b""
            beyond.append(number < 2 * most and daemon.more_came(0.3))
            out = b"".join(puback(entry) for entry in held)
            held.clear()
            return out

        daemon = Scripted(answer, connack)
        daemon.publish("-t", "a", "-l", "--timeout", "20s", stdin=b"x\n" * 5 * most, wanted=OK)
        equal(len(daemon.published), 5 * most, "published")
        check(not any(beyond), "nothing comes beyond %d" % most, beyond)


@case
def an_endless_input_takes_little_memory():
    memory = []

    def answer(number, packet):
        if number < 50000:
            return puback(packet)
        memory.append(processes.peak_kb(done))
        return None

    daemon = Scripted(answer)
    feeder = processes.start(["yes", "x" * 1000], stdout=subprocess.PIPE)
    cleanup(processes.end, feeder)
    done = processes.start([processes.tool_path(), "publish", "--socket", daemon.socket, "-t", "a",
                            "-l"], stdin=feeder.stdout, stderr=subprocess.DEVNULL)
    feeder.stdout.close()
    equal(done.wait(60), TRY_AGAIN, "exit code")
    check(memory[0] < (300 if is_sanitized() else 20) * 1024, "KiB resident", memory)


@case
def no_listener_at_the_socket_is_reported_with_the_remedy():
    folder = processes.folder()
    path = os.path.join(folder, "s")
    says(tool("publish", "--socket", path, "-t", "a", "-m", "x", wanted=UNAVAILABLE),
         "systemctl start")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)  # bound and not listening: a daemon that was killed
    says(tool("publish", "--socket", path, "-t", "a", "-m", "x", wanted=UNAVAILABLE),
         "systemctl start")
    says(tool("publish", "--socket", "/" + "x" * 200, "-t", "a", "-m", "x", wanted=UNAVAILABLE),
         "too long")


def as_nobody():
    """A preexec_fn that becomes the user "nobody"; skips if that is impossible."""
    if os.geteuid() != 0:
        skip("only root can become another user")

    def become():
        processes.die_with_parent()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    try:
        tool("--version", wanted=OK, preexec_fn=become)
    except PermissionError:
        skip("the build is in a folder that is closed to other users")
    return become


@case
def a_socket_or_a_spool_that_is_closed_to_us_is_not_allowed():
    become = as_nobody()
    daemon = Scripted(lambda number, packet: puback(packet))
    os.chmod(os.path.dirname(daemon.socket), 0o755)
    os.chmod(daemon.socket, 0o600)
    says(daemon.publish("-t", "a", "-m", "x", wanted=NOT_ALLOWED, preexec_fn=become), "sudo")
    os.chown(daemon.socket, -1, grp.getgrnam("mail").gr_gid)
    os.chmod(daemon.socket, 0o660)
    says(daemon.publish("-t", "a", "-m", "x", wanted=NOT_ALLOWED, preexec_fn=become),
         "sudo adduser %s mail" % pwd.getpwuid(65534).pw_name)
    made = Spool(7)
    os.chmod(made.folder, 0o755)
    os.chmod(made.audit, 0o600)
    for verb in ("failures", "status"):
        says(tool(verb, "--directory", made.directory, wanted=NOT_ALLOWED, preexec_fn=become),
             "sudo")
    tool("audit", made.audit, wanted=NOT_ALLOWED, preexec_fn=become)


@case
def wrong_topics_and_qos_2_are_bad_data():
    daemon = Scripted(lambda number, packet: puback(packet))
    for topic in ("", "a/#", "a/+/b", b"a\xff", "x" * 65536):
        tool("publish", "--socket", daemon.socket, "-m", "x", "-t",
             topic if isinstance(topic, str) else os.fsdecode(topic), wanted=DATA)
    says(daemon.publish("-t", "a", "-m", "x", "-q", "2", wanted=DATA), "QoS 2", "-q 1")
    daemon.publish("-t", "a", "-m", "x", "--response-topic", "a/#", wanted=DATA)
    daemon.publish("-t", "a", "-f", "/nonexistent/file", "-m", "x", wanted=USAGE)
    daemon.publish("-t", "a", "-f", "/nonexistent/file", wanted=UNAVAILABLE)


# Reading a spool: made by the store itself, without a daemon


class Spool:
    """Four delivered, one rejected, two evicted, three spooled; seven outcome rows."""

    def __init__(self, exported, hold=False):
        build = os.environ.get("SPOOLD_BUILD") or os.path.join(
            os.path.dirname(processes.tool_path()), "..")
        program = os.path.join(build, "tests", "make_spool")
        if not os.access(program, os.X_OK):
            raise AssertionError("%s is not built" % program)
        self.folder = processes.folder()
        self.directory = os.path.join(self.folder, "spool")
        self.audit = os.path.join(self.folder, "audit.jsonl")
        self.socket = os.path.join(self.folder, "run.sock")
        self.status_file = os.path.join(self.folder, "status.json")
        command = [program, self.directory, self.audit, str(exported)]
        self.process = processes.start(command + (["hold"] if hold else []),
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cleanup(processes.end, self.process)
        if hold:
            equal(self.process.stdout.readline(), b"ready\n", "make_spool")
        else:
            equal(self.process.wait(20), 0, "make_spool's exit code")

    def status(self, *arguments, **options):
        return tool("status", "--directory", self.directory, "--socket", self.socket, *arguments,
                    **options)

    def lines(self):
        with open(self.audit) as seen:
            return [json.loads(line) for line in seen]

    def write_audit(self, text):
        with open(self.audit, "w") as out:
            out.write(text)

    def check_audit(self, **options):
        done = tool("audit", "--directory", self.directory, "--json", self.audit, **options)
        return json.loads(done.out)


LEDGER = {"accepted": 10, "delivered": 4, "evicted": 2, "expired": 0, "rejected": 1, "dropped": 0,
          "damaged": 0, "spooled": 3, "balanced": True}


@case
def status_of_a_stopped_daemon_comes_from_the_spool():
    made = Spool(7)
    for file_left_behind in (False, True):
        if file_left_behind:
            with open(made.status_file, "w") as out:
                json.dump({"version": "9", "pid": 1, "link": {"state": "online"}}, out)
        done = made.status("--json", wanted=OK)
        equal(done.out.count("\n"), 1, "lines")
        status = json.loads(done.out)
        equal(status["link"], {"state": "stopped", "broker": "", "since": "", "connects": 0,
                               "last_error": None, "last_error_time": None, "remedy": None,
                               "next_attempt": None,
                               "acknowledged": "",
                               "certificate_expires": "", "protocol": "", "window": 0,
                               "late_answers": 0, "refused_code": None, "refused_waiting": 0,
                               "no_subscriber": 0,
                               "held": False, "all_held": False,
                               "presence_error": None,
                               "rate": {"messages": 0, "bytes": 0}}, "link")
        equal(status["configuration"], {"restart_keys": None, "refused": None})
        equal(status["rejected"], {"messages": 0, "bytes": 0, "last": None}, "rejected")
        equal(status["uptime_ms"], 0, "uptime_ms")
        equal(status["ledger"], LEDGER, "ledger")
        equal(status["spool"]["messages"], 3, "messages")
        equal([(lane["name"], lane["messages"]) for lane in status["lanes"]], [("default", 3)])
        says(made.status(wanted=OK), "NOT RUNNING", "systemctl start", "3 messages", "balances")
        says(made.status("--require-running", wanted=UNAVAILABLE), "systemctl start")


def write_status(made, **members):
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".000Z"
    status = {"version": "0.1.0", "pid": made.process.pid, "time": stamp, "uptime_ms": 90061000,
              "link": {"state": "online", "broker": "ssl://b:8883", "since": stamp, "connects": 3,
                       "last_error": "refused\x1b[31m"},
              "ledger": LEDGER, "forecast": {"full_s": None, "drained_s": 61}}
    status.update(members)
    with open(made.status_file, "w") as out:
        json.dump(status, out)
        out.write("\n")
    return status


@case
def status_of_a_running_daemon_is_its_own():
    made = Spool(7, hold=True)
    wanted = write_status(made)
    done = made.status("--json", "--require-running", wanted=OK)
    equal(json.loads(done.out), wanted, "the object")
    equal(done.out.count("\n"), 1, "lines")
    page = made.status(wanted=OK)
    equal(page.err, "", "warnings")
    says(page, "mqtt-spoold 0.1.0, running for 1 d 1 h", "online, broker ssl://b:8883",
         "connected 3 times", "last error: refused\\x1B[31m", "balances", "- messages", "full: -, drained: 1 m")
    check("acknowledgement" not in page.out, "what an earlier version does not say", page.out)
    write_status(made, forecast={"full_s": 0, "drained_s": None})
    says(made.status(wanted=OK), "full: now, drained: -")


@case
def the_page_says_how_long_ago_the_broker_answered_and_failed():
    made = Spool(7, hold=True)
    link = {"state": "online", "broker": "tcp://b", "since": "", "connects": 2, "last_error": "no",
            "last_error_time": "2026-11-01T10:00:00.000Z",
            "acknowledged": "2026-11-01T11:59:57.000Z"}
    # All by the clock of the object: this machine's clock has no effect.
    write_status(made, time="2026-11-01T12:00:00.000Z", link=link)
    says(made.status(wanted=OK), "connected 2 times, last acknowledgement 3 s ago\n",
         "          last error 2 h ago, which is over: no\n")
    link.update(last_error="", last_error_time="", acknowledged="")
    write_status(made, link=link)
    says(made.status(wanted=OK), "connected 2 times, no acknowledgement since the daemon's start\n",
         "          no error of the connection\n")


@case
def the_status_says_when_the_broker_acknowledged_and_failed_last():
    broker = FakeBroker(reason=0x97).start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"backoff": {"max": "1m"}}).start()
    gateway.wait_link()
    link = gateway.fresh_status()["link"]
    equal((link["last_error_time"], link["acknowledged"]), (None, ""), "before anything")
    with gateway.client(5) as client:
        client.publish_wait("t", b"x")
        wait_for(lambda: gateway.status()["link"]["last_error"], 20, gateway.status)
        equal(gateway.status()["link"]["acknowledged"], "", "a refusal that may pass ends nothing")
        broker.change(reason=0)
        wait_for(lambda: gateway.status()["link"]["acknowledged"], 20, gateway.status)
        status = gateway.fresh_status()
        link = status["link"]
        check(link["since"] <= link["last_error_time"] <= link["acknowledged"] <= status["time"],
              "the order of what happened", status)
        wait_for_page(gateway, "last acknowledgement ", "last error ",
                      " ago, which is over: the broker refused")
        broker.change(reason=0x87)  # permanent: the message is rejected
        client.publish_wait("t", b"x")
        wait_for(lambda: gateway.status()["link"]["acknowledged"] > status["time"], 20,
                 gateway.status)
    gateway.stop()
    gateway.start()
    gateway.wait_link()
    link = gateway.fresh_status()["link"]
    equal((link["last_error_time"], link["acknowledged"]), (None, ""), "after a restart")
    gateway.stop()


@case
def an_error_is_not_over_while_a_message_waits_after_its_refusal():
    broker = FakeBroker(reason=0x97, reason_at="bad/").start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "10m", "max": "10m"}}).start()
    gateway.wait_link()
    with gateway.client(5) as client:
        for number in range(3):
            client.publish_wait("bad/%d" % number, b"x")
        wait_for(lambda: gateway.status()["link"]["refused_waiting"] == 3, 20, gateway.status)
        error_time = gateway.status()["link"]["last_error_time"]
        client.publish_wait("good", b"x")
        wait_for(lambda: gateway.status()["link"]["acknowledged"] > error_time, 20, gateway.status)
    wait_for_page(gateway, "link      online", "THE BROKER REFUSES 3 of 3 messages at their last try",
                  " ago: the broker refused a message: quota exceeded")
    check("which is over" not in page_of(gateway), "the page", page_of(gateway))
    broker.change(reason=0)
    equal(gateway.tool("flush").returncode, OK, "flush")
    gateway.wait_drained()
    wait_for(lambda: gateway.status()["link"]["refused_waiting"] == 0, 20, gateway.status)
    wait_for_page(gateway, " ago, which is over: the broker refused")
    gateway.stop()


@case
def an_old_status_of_a_running_daemon_is_marked():
    made = Spool(7, hold=True)
    write_status(made, time="2026-01-01T00:00:00.000Z")
    says(made.status(wanted=OK), "although the daemon runs")


@case
def a_running_daemon_without_a_status_file_is_read_from_the_spool():
    made = Spool(7, hold=True)
    status = json.loads(made.status("--json", wanted=OK).out)
    equal((status["link"]["state"], status["ledger"]), ("unknown", LEDGER))
    with open(made.status_file, "w") as out:
        out.write("{ no status")
    says(made.status(wanted=OK), "running", "looking into the spool")


def shape(value, path=""):
    """Every key of an object with its type, those of arrays as one."""
    found = {}
    if isinstance(value, dict):
        for key, member in value.items():
            found[path + "." + key] = type(member)
            found.update(shape(member, path + "." + key))
    elif isinstance(value, list):
        for member in value:
            found.update(shape(member, path + "[]"))
    return found


@case
def the_status_has_the_same_members_from_daemon_and_tool():
    gateway = Gateway(lanes=[{"name": "alarms", "topics": ["+/alarm/#"]}]).start()
    with gateway.client(5) as client:
        for topic in ("plant/alarm/1", "plant/t"):
            equal(client.publish_wait(topic, b"x").reason, 0)
    gateway.ledger()  # of a file that was written after that
    own = shape(gateway.status())
    check({".memory.rss_bytes", ".clock.synchronized", ".forecast.full_s", ".link.since",
           ".lanes[].ledger.accepted"} <= set(own), "what the daemon writes", own)
    elsewhere = os.path.join(gateway.folder, "nowhere", "publish.sock")
    unknown = tool("status", "--directory", gateway.spool, "--socket", elsewhere, "--json")
    gateway.stop()
    for name, text in (("unknown", unknown.out),
                       ("stopped", gateway.tool("status", "--json").stdout),
                       ("stopped", tool("status", "--directory", gateway.spool, "--json").out)):
        status = json.loads(text)
        equal(status["link"]["state"], name, "link.state")
        seen = shape(status)
        equal(list(seen), list(own), "members of the %s form and their order" % name)
        other = [key for key in own if type(None) not in (own[key], seen[key])
                 and own[key] != seen[key]]
        equal(other, [], "members of another type, in the %s form" % name)
        equal((status["audit"]["healthy"], status["forecast"]),
              (None, {"full_s": None, "drained_s": None}), "what is unknown")
        equal((status["audit"]["last_seq"], status["audit"]["waiting"]), (0, 0), "audit")


def page_of(gateway):
    return gateway.tool("status").stdout.decode()


def wait_for_page(gateway, *words):
    wait_for(lambda: all(word in page_of(gateway) for word in words), 20,
             lambda: "%r on the page, it is %s" % (words, page_of(gateway)))


@case
def a_lane_that_refuses_or_holds_back_is_on_the_page():
    gateway = Gateway(retention={"when_full": "refuse", "max_messages": 2},
                      lanes=[{"name": "alarms", "topics": ["+/alarm/#"], "max_messages": 1,
                              "when_full": "block"}]).start()
    with gateway.client(5) as client:
        equal(client.publish_wait("plant/t", b"x").reason, 0)
        gateway.ledger()
        check("intake" not in page_of(gateway), "nothing was refused", page_of(gateway))
        equal(client.publish_wait("plant/alarm/1", b"x").reason, 0)
        equal(client.publish_wait("plant/t", b"x").reason, 0)
        equal(client.publish_wait("plant/t", b"x").reason, 0x97)
        wait_for_page(gateway, 'intake    lane "default" REFUSES new messages: 2 of 2 messages, '
                      'when_full = "refuse"', "1 message refused since the start",
                      "or raise retention.max_messages", "what is spooled goes out when",
                      "default          2 of 2 messages, ")
        client.publish("plant/alarm/1", b"x")
        wait_for_page(gateway, 'lane "alarms" HOLDS ITS PRODUCERS BACK: 1 of 1 message, '
                      'when_full = "block"', "or raise its max_messages")
        status = gateway.fresh_status()
        equal([(lane["name"], lane["max_messages"], lane["when_full"], lane["full"])
               for lane in status["lanes"]],
              [("default", 2, "refuse", True), ("alarms", 1, "block", True)])
        equal((status["intake"], status["lanes"][0]["max_bytes"]), ({"refusing": ""}, 1 << 30))
    gateway.stop()
    status = gateway.tool_status()
    equal([(lane["max_messages"], lane["when_full"], lane["full"]) for lane in status["lanes"]],
          [(2, "refuse", None), (1, "block", None)], "from the configuration")
    equal((status["intake"]["refusing"], status["spool"]["disk_reserve_bytes"] > 0), (None, True))
    check("2 of 2 messages" in page_of(gateway), "the page", page_of(gateway))
    status = json.loads(tool("status", "--directory", gateway.spool, "--json", wanted=OK).out)
    equal([(lane["max_messages"], lane["max_bytes"], lane["when_full"], lane["full"])
           for lane in status["lanes"]], [(0, 0, "", None)] * 2, "without a configuration")
    equal(status["spool"]["disk_reserve_bytes"], 0)


@case
def a_lane_that_is_full_by_bytes_is_reported():
    gateway = Gateway(retention={"when_full": "refuse", "max_bytes": "1M"}).start()
    with gateway.client(5) as client:
        wait_for(lambda: client.publish_wait("plant/t", b"x" * 5000).reason == 0x97, 20, "refusals")
        wait_for_page(gateway, "of 1.0 MiB (max_bytes), when_full", "raise retention.max_bytes")
    gateway.stop()


@case
def a_disk_that_is_short_is_on_the_page():
    gateway = Gateway(spool={"disk_reserve": all_of_the_disk()},
                      retention={"when_full": "refuse"}).start()
    with gateway.client(5) as client:
        wait_for(lambda: client.publish_wait("plant/t", b"x" * 5000).reason == 0x97, 20, "refusals")
        wait_for_page(gateway, "intake    NO MESSAGE IS ACCEPTED, too little disk space:",
                      "free, spool.disk_reserve is 1.0 TiB", "refused since the start",
                      "below spool.disk_reserve")
    equal(gateway.fresh_status()["intake"], {"refusing": "disk"})
    gateway.configure(spool={"disk_reserve": "1M"})
    gateway.hup()
    wait_for_page(gateway, "found no room on the disk", "free now", "disk_reserve is 1.0 MiB")
    with gateway.client(5) as client:
        wait_for(lambda: client.publish_wait("plant/t", b"x").reason == 0 and
                 gateway.status()["intake"] == {"refusing": ""}, 20, "the end of it")
    wait_for(lambda: "disk_room after_ms=" in gateway.log(), 20, "the end of the shortage")
    wait_for_page(gateway, "\nproducers ", "refused since the start; none now")
    check("\nintake" not in page_of(gateway), "all is accepted", page_of(gateway))
    gateway.stop()


@case
def what_only_a_daemon_knows_is_reported_as_unknown():
    page = Spool(7, hold=True).status(wanted=OK).out
    check("unknown" in page.split("\nrates ")[1].split("\n")[0], "rates", page)
    check("0 in flight" not in page and "0.0/s" not in page, "no unknown figure", page)


@case
def what_waits_for_the_audit_file_is_counted_while_stopped():
    for exported in (0, 5, 7):
        audit_part = json.loads(Spool(exported).status("--json", wanted=OK).out)["audit"]
        equal((audit_part["last_seq"], audit_part["waiting"]), (7, 7 - exported))


@case
def a_salvage_is_reported_even_if_no_damaged_file_is_left():
    gateway = Gateway().start()
    with gateway.client(5) as client:
        equal(client.publish_wait("a", b"x").reason, 0)
    gateway.stop()
    check("SALVAGED" not in gateway.tool("status").stdout.decode(), "nothing was salvaged")
    gateway.start()
    gateway.ledger()
    check("SALVAGED" not in gateway.tool("status").stdout.decode(), "nothing was salvaged")
    gateway.stop()
    remove_database(gateway.spool)
    gateway.start()
    gateway.ledger()
    salvage = gateway.status()["salvage"]
    equal((salvage["salvaged"], salvage["damaged"], salvage["moved_to"]), (0, 1, ""), "salvage")
    check(re.fullmatch(r"2\d{3}-[-:.T\d]+Z", salvage["time"]), "its time", salvage)
    check("moved_to=" not in gateway.log() and "move that file" not in gateway.log(), "the log",
          gateway.log())
    page = gateway.tool("status").stdout.decode()
    check("DAMAGED:" not in page, "no file is left", page)
    check("SALVAGED at %s: the database was damaged or missing;" % salvage["time"] in page,
          "the salvage and its time", page)
    check(re.search(r"0 messages\s+could be read and are kept, 1 is recorded as damaged", page),
          "what", page)


@case
def a_ledger_that_does_not_balance_is_loud():
    made = Spool(7, hold=True)
    write_status(made, ledger=dict(LEDGER, accepted=11))
    says(made.status(wanted=OK), "DOES NOT BALANCE: 11 accepted, 10 accounted for")


def remove_database(directory):
    for name in os.listdir(directory):
        if name.startswith("spool.db"):
            os.unlink(os.path.join(directory, name))


@case
def a_database_that_is_missing_is_reported_as_a_loss():
    made = Spool(7)
    remove_database(made.directory)
    for verb in (["status"], ["failures"], ["audit", made.audit]):
        done = tool(*verb, "--directory", made.directory, wanted=DATA)
        says(done, "spool.db is missing, and ids up to 10 were given out", "the daemon, when it",
             "records the rest as damaged", "put back")
        check("never ran" not in done.err, "no spool that never was", done.err)


@case
def damage_found_while_reading_is_reported_as_damage():
    for table, verb in (("lane", "status"), ("outcome", "failures")):
        made = Spool(7)
        path = os.path.join(made.directory, "spool.db")
        with contextlib.closing(sqlite3.connect(path)) as spool:
            spool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page, = spool.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?",
                                  (table,)).fetchone()
        with open(path, "r+b") as out:
            out.seek((page - 1) * 4096)
            out.write(b"\xa5" * 4096)
        says(tool(verb, "--directory", made.directory, wanted=DATA), "is damaged:",
             "delete nothing", "the daemon, when it starts", "records the rest as damaged")


@case
def a_file_in_the_place_of_the_folder_is_reported_as_such():
    made = Spool(7)
    for mode in (0o600, 0o755):
        os.chmod(made.audit, mode)
        for verb in ("status", "failures", "check"):
            done = tool(verb, "--directory", made.audit,
                        wanted=UNCHECKED if verb == "check" else UNAVAILABLE)
            says(done, made.audit + " is not a directory")
            check("root" not in done.err, "no matter of rights", done.err)


@case
def the_database_of_another_program_is_reported_as_the_daemon_does():
    gateway = Gateway().start()
    gateway.stop()
    remove_database(gateway.spool)
    with contextlib.closing(sqlite3.connect(os.path.join(gateway.spool, "spool.db"))) as theirs:
        theirs.executescript("CREATE TABLE theirs (x)")
    for verb in ("status", "failures"):
        done = tool(verb, "--directory", gateway.spool, wanted=DATA)
        says(done, "database of another program", "does not start", "move that file away")
        check("damaged" not in done.err, "it is not damaged", done.err)
    gateway.start(ready=False)
    equal(gateway.process.wait(20), 78, "the daemon's exit code")
    check("database of another program" in gateway.log(), "the log", gateway.log())


@case
def no_spool_at_all_is_unavailable():
    for verb in ("status", "failures"):
        says(tool(verb, "--directory", "/nonexistent/spool", wanted=UNAVAILABLE), "no spool")
        says(tool(verb, "--directory", processes.folder(), wanted=UNAVAILABLE), "no spool")


@case
def failures_are_listed_oldest_first():
    for hold in (False, True):
        made = Spool(7, hold)
        done = tool("failures", "--directory", made.directory, "--json", wanted=OK)
        records = [json.loads(line) for line in done.out.splitlines()]
        equal([(r["id"], r["outcome"], r["reason"]) for r in records],
              [(5, "rejected", "reason_code"), (6, "evicted", "max_messages"),
               (7, "evicted", "max_messages")])
        equal((records[0]["code"], records[0]["ref"], records[0]["client"]),
              (0x87, "order-5", "sensor"))
        equal(records, [line for line in made.lines() if line["outcome"] != "delivered"],
              "the same as in the audit file")
        says(tool("failures", "--directory", made.directory, wanted=OK), "TIME",
             "rejected/reason_code 0x87", "evicted/max_messages", "plant/1/temperature")


@case
def failures_are_limited_to_the_newest_and_by_time():
    made = Spool(7)

    def ids(*arguments):
        done = tool("failures", "--directory", made.directory, "--json", *arguments, wanted=OK)
        return [json.loads(line)["id"] for line in done.out.splitlines()]

    equal(ids("--limit", "2"), [6, 7], "the newest two")
    equal(ids("--limit", "9"), [5, 6, 7], "more than there are")
    # The rows are of 2026-09-21, by the clock that made them.
    equal(ids("--since", "2026-09-21T00:00:00.000Z"), [5, 6, 7], "since before")
    equal(ids("--since", "2026-09-23T00:00:00.000Z"), [], "since after")
    equal(ids("--since", "1000000h", "--limit", "1"), [7], "an age")
    moment = json.loads(tool("failures", "--directory", made.directory, "--json",
                             "--limit", "1").out)["time"]
    equal(moment, "2026-09-21T14:13:20.000Z", "when they ended")
    for since in ("2026-09-21T14:13:20Z", "2026-09-21T14:13:20.0Z", "2026-09-21t14:13:20.00000z",
                  "2026-09-21T15:13:20+01:00", "2026-09-21T08:43:20.000000000-05:30",
                  "2026-09-22T14:12:20+23:59", "2026-09-21T14:13:20-00:00",
                  "1970-01-01T00:00:00+12:00"):
        equal(ids("--since", since), [5, 6, 7], since)
    for since in ("2026-09-21T14:13:21Z", "2026-09-21T14:13:20.001Z",
                  "2026-09-21T15:13:20.001+01:00", "2026-09-21T14:13:20.5-00:01"):
        equal(ids("--since", since), [], since)
    for since in ("2026-09-21", "2026-09-21T14:13Z", "2026-09-21T14:13:20", "2026-09-21T14:13:20.Z",
                  "2026-09-21T14:13:20.0000000000Z", "2026-09-21T14:13:20+0100",
                  "2026-09-21T14:13:20+24:00", "2026-09-21T14:13:20+01:60",
                  "2026-02-30T00:00:00Z", "2026-09-21T24:00:00Z", "2026-09-21T14:13:20Z ", "Z", "",
                  "2026-09-21T14:13:20+01:0", "2026-09-21T14:13:20+01:000"):
        says(tool("failures", "--directory", made.directory, "--since", since, wanted=USAGE),
             "RFC 3339", "2026-11-01T12:00:00Z", "+01:00", "1h")
    says(tool("failures", "--directory", made.directory, "--since", "2099-01-01T00:00:00.000Z",
              wanted=OK), "No failure")


# Audit files


def record(seq, outcome="delivered", **fields):
    made = {"seq": seq, "time": "2026-11-01T12:00:00.%03dZ" % (seq % 1000), "outcome": outcome,
            "id": 100 + seq, "lane": "default", "client": "c", "uid": 0, "topic": "a/b", "qos": 1,
            "bytes": 3, "accepted": "2026-11-01T11:59:59.000Z", "age_ms": 1000, "attempts": 1}
    if outcome == "evicted":
        made["reason"] = "max_age"
    made.update(fields)
    return made


def audit(*parts, arguments=(), wanted=None, stdin=b"", torn=b""):
    """Each part is one file: a list of records, dicts or raw bytes. Returns the JSON and the run."""
    folder = processes.folder()
    paths = []
    for number, part in enumerate(parts):
        paths.append(os.path.join(folder, "audit.%d" % number))
        with open(paths[-1], "wb") as out:
            for line in part:
                out.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
            out.write(torn if number == len(parts) - 1 else b"")
    tool("audit", *arguments, *paths, wanted=wanted, stdin=stdin)
    done = tool("audit", "--json", *arguments, *paths, wanted=wanted, stdin=stdin)
    return json.loads(done.out) if done.out else None


def problem(*lines, **options):
    """The one problem of a file with these lines."""
    seen = audit(list(lines), wanted=DATA, **options)
    equal((seen["verdict"], seen["problems"]), ("wrong", 1), "verdict of %r" % seen)
    return seen["problem_list"][0]


@case
def a_sound_file_is_sound():
    seen = audit([record(1), record(2, "evicted"), record(3, code=0, ref="r", more="later")],
                 wanted=OK)
    equal((seen["verdict"], seen["lines"], seen["first_seq"], seen["last_seq"], seen["problems"]),
          ("sound", 3, 1, 3, 0))
    equal(seen["outcomes"], dict(dict.fromkeys(OUTCOMES, 0), delivered=2, evicted=1))
    equal(audit([], wanted=OK)["lines"], 0, "lines of an empty file")


@case
def missing_doubled_and_unordered_lines_are_found():
    found = problem(record(1), record(2), record(5))
    equal(found["line"], 3, "line")
    check("2 lines are missing" in found["text"], "the gap", found)
    check("comes after" in problem(record(1), record(2), record(2, id=900))["text"], "doubled")
    check("oldest first" in audit([record(3)], [record(1), record(2)], wanted=DATA)[
        "problem_list"][0]["text"], "the order of files")


@case
def two_outcomes_of_one_message_are_found():
    found = problem(record(1, id=7), record(2, id=8), record(3, "evicted", id=7))
    check("message 7 already had an outcome" in found["text"] and found["line"] == 3, "id", found)
    far_apart = [record(seq, id=1 + (seq * 7919 % 5000) * 70000) for seq in range(1, 4001)]
    audit(far_apart, wanted=OK)
    audit(far_apart + [record(4001, id=far_apart[17]["id"])], wanted=DATA)


@case
def wrong_lines_are_named():
    folded = {"no JSON": b'{"seq": 1,', "no outcome record": b"[1]", "\"seq\"": dict(record(1), seq="1"),
              "\"time\"": record(1, time="yesterday"), "no outcome \"lost\"": record(1, "lost"),
              "does not go": record(1, "evicted", reason="poison"),
              "\"reason\" is none": record(1, "evicted", reason="bored"),
              "\"qos\"": record(1, qos=3), "\"uid\"": record(1, uid=-1),
              "\"topic\" is not a text": record(1, topic=5), "\"code\"": record(1, code=256),
              "\"ref\"": record(1, ref=1), "\"bytes\"": record(1, bytes=1.5),
              "\"age_ms\"": record(1, age_ms=-1), "\"attempts\"": record(1, attempts=None)}
    for text, line in folded.items():
        found = problem(line)
        check(text in found["text"] and found["line"] == 1, "names what is wrong", text, found)
    for name in record(1):
        without = record(1)
        del without[name]
        check("\"%s\" is missing" % name in problem(without)["text"], "missing field", name)
    check("does not go" in problem(record(1, "evicted", reason="max_age"),
                                   dict(record(2, "rejected")))["text"], "a failure needs a reason")
    check("JSON" in problem(b'{"seq":1,"seq":1}')["text"], "a member that comes twice")
    check("longer" in problem(b"x" * 3000000)["text"], "a line without an end")


@case
def many_problems_are_counted():
    seen = audit([record(2 * seq) for seq in range(1, 101)], wanted=DATA)
    equal((seen["problems"], len(seen["problem_list"])), (99, 20))


@case
def a_later_start_is_reported_and_can_be_demanded():
    seen = audit([record(5), record(6)], wanted=OK)
    equal(seen["first_seq"], 5, "first_seq")
    path = os.path.join(processes.folder(), "later")
    with open(path, "w") as out:
        out.write(json.dumps(record(5)) + "\n")
    page = tool("audit", path, wanted=OK)
    says(page, "verdict   sound from seq 5 on; 1 to 4 are not in the files given (rotated, deleted "
         "or cut)")
    check("no line is missing" not in page.out, "that is unknown", page.out)
    audit([record(5), record(6)], arguments=["--from", "5"], wanted=OK)
    found = problem(record(5), arguments=["--from", "1"])
    check("should be 1" in found["text"], "the start", found)


@case
def gaps_are_right_where_deliveries_are_left_out():
    audit([record(2, "evicted"), record(9, "evicted")], arguments=["--deliveries-off"], wanted=OK)
    problem(record(9, "evicted"), record(2, "evicted"), arguments=["--deliveries-off"])


@case
def files_follow_each_other_and_half_a_line_at_the_end_is_no_problem():
    seen = audit([record(1), record(2)], [record(3)], wanted=OK, torn=b'{"seq": 4')
    equal((seen["files"], seen["lines"], seen["torn"]), (2, 3, True))
    folder = processes.folder()
    path = os.path.join(folder, "cut")
    with open(path, "w") as out:
        out.write(json.dumps(record(1)) + "\n" + '{"seq"')
    done = tool("audit", path, path, wanted=DATA)
    says(done, "cut:2: this is no JSON")


@case
def a_clock_set_back_is_counted_only():
    seen = audit([record(1), record(2, time="2020-01-01T00:00:00.000Z"), record(3)], wanted=OK)
    equal(seen["clock_steps"], 1, "clock_steps")


@case
def compressed_files_are_said_to_be_and_standard_input_is_read():
    path = os.path.join(processes.folder(), "audit.1.gz")
    with gzip.open(path, "w") as out:
        out.write(json.dumps(record(1)).encode() + b"\n")
    says(tool("audit", path, wanted=DATA), "compressed", "zcat")
    done = tool("audit", "--json", "-", wanted=OK, stdin=json.dumps(record(1)).encode() + b"\n")
    equal(json.loads(done.out)["lines"], 1, "lines")


@case
def a_file_that_is_not_there_is_unavailable():
    says(tool("audit", "/nonexistent/audit", wanted=UNAVAILABLE), "/nonexistent/audit")
    tool("audit", processes.folder(), wanted=UNAVAILABLE)


@case
def files_and_database_agree_whatever_is_exported():
    for exported in (0, 3, 7):
        for hold in (False, True):
            made = Spool(exported, hold)
            seen = made.check_audit(wanted=OK)
            equal((seen["verdict"], seen["lines"], seen["database"]),
                  ("sound", exported, {"running": hold, "balanced": True, "counts_compared": True,
                                       "accepted": 10, "ended": 7, "spooled": 3,
                                       "exported_seq": exported, "waiting": 7 - exported,
                                       "pruned": 0}))
    says(tool("audit", "--directory", made.directory, made.audit, wanted=OK), "verdict   sound",
         "10 accepted, 7 ended, 3 spooled", "the daemon runs")


@case
def lines_lost_after_the_export_are_found():
    made = Spool(7)
    lines = made.lines()
    made.write_audit("".join(json.dumps(line) + "\n" for line in lines[:5]))
    seen = made.check_audit(wanted=DATA)
    check("wrote up to 7" in seen["problem_list"][0]["text"], "the cut", seen)
    page = tool("audit", "--directory", made.directory, made.audit, wanted=DATA)
    says(page, "2 outcomes that the files lack, still in the database")
    check("not yet written" not in page.out, "they were written", page.out)
    made.write_audit("")
    made.check_audit(wanted=DATA)


@case
def lines_that_were_altered_do_not_have_the_sums_of_the_ledger():
    made = Spool(7)
    lines = made.lines()
    equal(lines[5]["outcome"], "evicted", "the sixth line")
    del lines[5]["reason"]
    lines[5]["outcome"] = "delivered"
    made.write_audit("".join(json.dumps(line) + "\n" for line in lines))
    texts = [entry["text"] for entry in made.check_audit(wanted=DATA)["problem_list"]]
    check(any(text.startswith("evicted: 1 in the files") for text in texts), "evicted", texts)
    check(any(text.startswith("delivered: 5 in the files") for text in texts), "delivered", texts)


# The daemon's log and docs/audit.md say the same.
AHEAD_REMEDY = ("stop the daemon, move the file away under another name (not FILE.1), start it, and "
                "keep that file")


@case
def lines_that_the_database_never_had_are_found():
    made = Spool(7)
    with open(made.audit, "a") as out:
        out.write(json.dumps(record(8, id=500)) + "\n")
    texts = [entry["text"] for entry in made.check_audit(wanted=DATA)["problem_list"]]
    check(any("another spool" in text for text in texts), "the end", texts)
    says(tool("audit", "--directory", made.directory, made.audit, wanted=DATA), AHEAD_REMEDY)
    with open(made.audit, "a") as out:
        out.write(json.dumps(record(6, id=501)) + "\n")
    says(tool("audit", made.audit, wanted=DATA), AHEAD_REMEDY)
    config = os.path.join(made.folder, "conf")
    with open(config, "w") as out:
        out.write('spool = { directory = "%s"; };\naudit = { file = "%s"; };\n'
                  'uplink = { brokers = ( "tcp://127.0.0.1:9" ); };\n'
                  % (made.directory, made.audit))
    says(tool("-c", config, "check", wanted=1), AHEAD_REMEDY)


@case
def a_rotated_history_is_compared_as_far_as_it_goes():
    made = Spool(7)
    lines = made.lines()
    made.write_audit("".join(json.dumps(line) + "\n" for line in lines[3:]))
    seen = made.check_audit(wanted=OK)
    equal((seen["first_seq"], seen["database"]["counts_compared"]), (4, False))


@case
def the_configuration_says_where_everything_is():
    made = Spool(7)
    config = os.path.join(made.folder, "mqtt-spoold.conf")
    with open(config, "w") as out:
        out.write('spool = { directory = "%s"; };\nlisten = { socket = "%s"; };\n'
                  'uplink = { brokers = ( "tcp://127.0.0.1:9" ); };\naudit = { file = "%s"; };\n'
                  % (made.directory, made.socket, made.audit))
    says(tool("-c", config, "audit", wanted=OK), "verdict   sound")
    says(tool("-c", config, "status", wanted=OK), "NOT RUNNING")
    says(tool("-c", config, "failures", wanted=OK), "rejected")
    tool("-c", config, "publish", "-t", "a", "-m", "x", wanted=UNAVAILABLE)
    with open(config, "a") as out:
        out.write("nonsense = 1;\n")
    for verb in ("status", "failures", "audit"):
        done = tool("-c", config, verb, wanted=OK)
        check("warning: " in done.err and "nonsense" in done.err, "a warning", done.err)
    tool("-c", config, "publish", "-t", "a", "-m", "x", wanted=UNAVAILABLE)
    with open(config, "a") as out:
        out.write("more = ;\n")
    says(tool("-c", config, "status", wanted=CONFIG), "syntax error", "--directory DIR or --socket")


# Output that cannot be written


def reading_verbs(made):
    for arguments in (["status", "--directory", made.directory, "--socket", made.socket],
                      ["failures", "--directory", made.directory],
                      ["audit", "--directory", made.directory, made.audit]):
        yield arguments
        yield arguments + ["--json"]
    yield ["--help"]
    yield ["--version"]
    yield ["help", "status"]


UNWRITABLE = ("> /dev/full", ">&-", "< /dev/null >&-", "<&- >&-")


def unwritable(redirection, *arguments, **options):
    """The tool with the shell's @redirection."""
    done = subprocess.run(["sh", "-c", 'exec "$@" ' + redirection, "sh", processes.tool_path()]
                          + [str(a) for a in arguments], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=60,
                          preexec_fn=processes.die_with_parent, **options)
    done.out, done.err = "", done.stderr.decode(errors="replace")
    return done


@case
def an_output_that_cannot_be_written_is_reported_once_and_exits_69():
    made = Spool(7)
    for redirection in UNWRITABLE:
        for arguments in reading_verbs(made):
            done = unwritable(redirection, *arguments)
            equal(done.returncode, UNAVAILABLE, "%r %s" % (arguments, redirection))
            equal(done.err.count("cannot write the output: "), 1, "said by %r" % arguments)
            check("Success" not in done.err, "the reason", done.err)


@case
def answers_that_cannot_be_written_do_not_keep_messages_back():
    daemon = Broker()
    far = Subscriber(daemon.socket)
    for redirection in UNWRITABLE:
        for options in (["-v"], ["--json"]):
            done = unwritable(redirection, "publish", "--socket", daemon.socket, "-t", "a", "-q",
                              "1", "-m", redirection, *options)
            equal(done.returncode, UNAVAILABLE, "%r %s" % (options, redirection))
            equal(done.err.count("cannot write the output: "), 1, "said by %r" % options)
            check("Success" not in done.err, "the reason", done.err)
            equal(far.take(1)[0].payload, redirection.encode(), "payload")


@case
def the_reason_of_the_write_that_failed_is_kept():
    gateway = Gateway().start()
    for options in (["-v"], ["--json"], ["-v", "-q", "0"]):
        done = unwritable("> /dev/full", "-c", gateway.config, "publish", "-t", "a", "-m", "x",
                          *options)
        equal(done.returncode, UNAVAILABLE, "%r" % options)
        check("cannot write the output: No space left on device\n" in done.err, "the reason",
              options, done.err)
    gateway.stop()


@case
def what_was_found_counts_where_it_cannot_be_written():
    made = Spool(7)
    with open(made.audit) as seen:
        lines = seen.readlines()
    made.write_audit("".join(lines[:3] + lines[4:]) + "nonsense" * 1000 + "\n")
    for arguments in ([], ["--json"]):
        done = unwritable("> /dev/full", "audit", *arguments, made.audit)
        equal(done.returncode, DATA, "%r" % arguments)
        equal(done.err.count("cannot write the output: "), 1, "said by %r" % arguments)


def shapes(done):
    return [sorted(shape(json.loads(line))) for line in done.out.splitlines()]


def failing_allocation(number, report):
    """The environment in which the tool's allocation of that number fails."""
    library = os.path.join(os.environ["SPOOLD_BUILD"], "tests", "libfault_io.so")
    return dict(os.environ, LD_PRELOAD=library, FAULT_UNDER="/nonexistent", FAULT_CALLS="alloc",
                FAULT_AT=str(number), FAULT_TIMES="1", FAULT_ERRNO="12", FAULT_REPORT=report)


@case
def memory_that_is_short_is_never_reported_as_success():
    if is_sanitized():
        skip("a sanitizer has its own allocator")
    made = Spool(7)
    report = os.path.join(made.folder, "report")
    for arguments in reading_verbs(made):
        if "--json" not in arguments:
            continue
        whole = tool(*arguments, env=failing_allocation(0, report), wanted=OK)
        with open(report, "rb") as seen:
            count = int.from_bytes(seen.read(8), "little")
        check(count > 20, "allocations of", arguments, count)
        for number in sorted({*range(1, count, 41), *range(max(1, count - 30), count + 1)}):
            done = tool(*arguments, env=failing_allocation(number, report))
            if done.returncode == OK:
                equal(shapes(done), shapes(whole), "allocation %d of %r" % (number, arguments))
            else:
                check(done.returncode == UNAVAILABLE and "memory" in done.err,
                      "allocation %d of %r" % (number, arguments), done.returncode, done.err)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run_all()

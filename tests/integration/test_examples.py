# SPDX-License-Identifier: MIT
"""The examples of docs/producers.md: each is built and run as the page says."""

import json
import os
import re
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import npm  # noqa: E402
from broker import Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from processes import PIPE, find, folder, need, run, start, tool_path  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
OF_METRICS = ("grafana", "prometheus")  # integration/metrics compares them with the program
EXAMPLES = os.path.join(SOURCE, "docs", "examples")
BUILD_SECONDS = 120
LINES = 300


def example(*parts):
    return os.path.join(EXAMPLES, *parts)


def whole_path(with_tcp=False):
    """A gateway at a broker that refuses topics with "bad"; with_tcp: also the address of a TCP
    socket on loopback, passed as systemd does."""
    broker = FakeBroker(reason=0x87, reason_at="bad").start()
    cleanup(broker.stop)
    gateway = Gateway(broker.url, uplink={"on_refusal": "reject"})
    port = None
    if with_tcp:
        unix, tcp = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
        unix.bind(gateway.socket)
        unix.listen(64)
        gateway.start_with_sockets([unix, tcp])
        port = tcp.getsockname()[1]
        unix.close()
        tcp.close()
    else:
        gateway.start()
    gateway.wait_link()
    return broker, gateway, port


def check_three_ends(broker, gateway, command, version, where=None, refused=None):
    """The program runs three times: its message is delivered, is rejected by the broker, and is
    refused by the gateway. @refused is what it prints then, and its exit status."""
    def attempt(topic):
        done = run(command + [where or gateway.socket, "press-7", topic, "21.5"], 60,
                   env=environment)
        text = done.stdout.decode()
        return done.returncode, text.splitlines(), text + done.stderr.decode()

    environment = dict(os.environ, **command_environment(command))
    for topic, status, outcome in (("plant/t1", 0, "delivered"), ("plant/bad", 1, "rejected")):
        seen, lines, text = attempt(topic)
        equal((seen, len(lines)), (status, 2), "exit status and lines: " + text)
        record = json.loads(lines[1])
        equal((record["outcome"], record["topic"], record["client"]), (outcome, topic, "press-7"))
        equal(lines[0], "accepted id=%d" % record["id"] if version == 5 else "accepted")
    seen, lines, text = attempt("$forbidden/t1")
    equal((seen, len(lines)), (refused[1], 1), "exit status and lines: " + text)
    check(lines[0].startswith(refused[0]), "what it prints about the refusal", text)
    equal([(p["topic"], p["head"], p["qos"]) for p in broker.publishes()],
          [("plant/t1", "21.5", 1), ("plant/bad", "21.5", 1)], "what came at the broker")
    gateway.stop()
    check_audit(gateway.audit_lines())


_environments = {}


def command_environment(command):
    return _environments.get(tuple(command), {})


def compiled(name, *libraries):
    compiler = find("cc") or find("gcc")
    if not compiler:
        skip("no C compiler is installed (Debian package gcc)")
    program = os.path.join(folder(), "publish")
    done = run([compiler, "-Wall", "-Wextra", "-Werror", "-o", program, example("c", name),
                *libraries], BUILD_SECONDS)
    equal((done.returncode, done.stderr), (0, b""), "compiling " + name)
    return [program]


@case
def libmosquitto_in_c():
    broker, gateway, _ = whole_path()
    check_three_ends(broker, gateway, compiled("libmosquitto.c", "-lmosquitto"), 5,
                     refused=("refused 0x87", 1))


@case
def paho_in_c_over_loopback():
    broker, gateway, port = whole_path(with_tcp=True)
    check_three_ends(broker, gateway, compiled("paho.c", "-lpaho-mqtt3c"), 5,
                     where="tcp://127.0.0.1:%d" % port, refused=("refused 0x87", 1))


def python_with_paho(major):
    """A Python whose paho-mqtt has this major version. Debian's is in that of the system."""
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        done = run([python, "-c", "import paho.mqtt as paho; print(paho.__version__)"], 60)
        if done.returncode == 0 and done.stdout.decode().split(".")[0] == str(major):
            return [python]
    return skip("no Python has paho-mqtt %d (%s)" % (major, "Debian package python3-paho-mqtt"
                                                     if major == 1 else "Debian 12 has 1.6"))


@case
def paho_1_in_python():
    python = python_with_paho(1)
    broker, gateway, _ = whole_path()
    check_three_ends(broker, gateway, python + [example("python", "paho1.py")], 4,
                     refused=("disconnected", 2))


@case
def a_lasting_producer_in_python_is_stored_once_over_two_kills():
    python = python_with_paho(1)
    broker, gateway, _ = whole_path()
    broker.change(noack=True)
    output = os.path.join(folder(), "output")
    with open(output, "wb") as out:
        producer = start(python + [example("python", "lasting.py"), gateway.socket, "press-7",
                                   "plant/t1"], stdin=PIPE, stdout=out, stderr=out)

    def printed():
        with open(output, encoding="utf-8") as lines:
            return lines.read().splitlines()

    def accepted():
        return [line for line in printed() if line.startswith("accepted ")]

    numbers = ["%d" % number for number in range(3 * LINES)]
    for part in range(3):
        for number in numbers[part * LINES:(part + 1) * LINES]:
            producer.stdin.write(b"%s\n" % number.encode())
        producer.stdin.flush()
        wait_for(lambda part=part: len(accepted()) > part * LINES, 30, printed)
        if part < 2:
            gateway.kill()  # some lines are under way
            gateway.start()
    wait_for(lambda: len(accepted()) == 3 * LINES, 30, printed)
    equal(sorted(accepted()), sorted("accepted " + number for number in numbers))
    broker.change(noack=False)
    broker.reset_all()
    wait_for(lambda: len(printed()) >= 6 * LINES, 30, lambda: repr(printed()))
    records = [json.loads(line) for line in printed() if not line.startswith("accepted ")]
    equal(sorted(record["seq"] for record in records), list(range(1, 3 * LINES + 1)))
    equal({record["outcome"] for record in records}, {"delivered"})
    producer.kill()
    producer.wait()
    gateway.wait_drained()
    gateway.stop()
    equal(gateway.ledger()["accepted"], 3 * LINES, "each line once")
    check_audit(gateway.audit_lines())


@case
def paho_2_in_python():
    python = python_with_paho(2)
    broker, gateway, _ = whole_path()
    check_three_ends(broker, gateway, python + [example("python", "paho2.py")], 5,
                     refused=("refused 0x87", 1))


@case(seconds=180)
def mqttjs_in_node():
    modules = npm.mqttjs_modules()
    broker, gateway, _ = whole_path()
    command = ["node", example("node", "mqttjs.js")]
    _environments[tuple(command)] = {"NODE_PATH": modules}
    check_three_ends(broker, gateway, command, 5, refused=("refused 0x87", 1))


@case(seconds=240)
def paho_in_go():
    go = need("go", "golang-go")
    if not os.path.isdir("/usr/share/gocode/src/github.com/eclipse/paho.mqtt.golang"):
        skip("Debian package golang-github-eclipse-paho.mqtt.golang-dev is not installed")
    program = os.path.join(folder(), "publish")
    done = run([go, "build", "-o", program, example("go", "paho.go")], 180,
               env=dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode",
                        GOCACHE=os.path.join(folder(), "cache"), GOFLAGS=""))
    equal((done.returncode, done.stderr), (0, b""), "go build")
    broker, gateway, _ = whole_path()
    check_three_ends(broker, gateway, [program], 4, refused=("disconnected", 2))


@case
def the_tool_in_a_shell_script():
    broker, gateway, _ = whole_path()
    environment = dict(os.environ, MQTT_SPOOL=tool_path())

    def attempt(topic):
        done = run([example("shell", "publish.sh"), gateway.socket, "press-7", topic, "21.5"], 60,
                   env=environment)
        return done.returncode, done.stdout.decode()
    equal(attempt("plant/t1"), (0, "accepted id=1\n"))
    equal(attempt("$forbidden/t1"), (77, ""))
    gateway.wait_drained()
    gateway.stop()
    equal([p["topic"] for p in broker.publishes()], ["plant/t1"])
    equal(attempt("plant/t1"), (69, ""), "without a daemon it tries ten times")


@case
def mosquitto_rr_in_a_shell_script():
    need("mosquitto_rr", "mosquitto-clients")
    # A real broker: mosquitto_rr adds a Response Topic, which goes there.
    broker = Mosquitto().start()
    gateway = Gateway(broker.url).start()
    gateway.wait_link()

    def attempt(seconds):
        return run([example("shell", "outcome.sh"), gateway.socket, "press-7", "plant/t1", "21.5"],
                   90, env=dict(os.environ, TIMEOUT=str(seconds)))
    done = attempt(60)
    equal((done.returncode, done.stderr), (0, b""))
    equal(json.loads(done.stdout)["outcome"], "delivered")
    broker.kill()
    equal(attempt(1).returncode, 27, "exit status at the timeout")
    gateway.stop()


def settings_of(name):
    """{key: value} of the lines of an example of a configuration."""
    with open(example("mosquitto", name), encoding="utf-8") as text:
        return dict(re.findall(r"^(\w+)[ =](.*)$", text.read(), re.MULTILINE))


@case
def mosquitto_as_a_bridge():
    bridge = settings_of("bridge.conf")
    equal(bridge["address"], settings_of("loopback.conf")["ListenStream"], "the same address")
    broker, gateway, port = whole_path(with_tcp=True)
    with open(example("mosquitto", "bridge.conf"), encoding="utf-8") as text:
        options = text.read().replace(bridge["address"], "127.0.0.1:%d" % port)
    front = Mosquitto(options=options).start()
    for version in ("311", "5"):
        done = run([need("mosquitto_pub", "mosquitto-clients"), "-p", str(front.port), "-V",
                    version, "-q", "1", "-t", "plant/" + version, "-m", "21.5"])
        equal((done.returncode, done.stderr), (0, b""), "mosquitto_pub at the local mosquitto")
    wait_for(lambda: len(broker.publishes()) >= 2, 20, "both messages at the broker")
    seen = gateway.fresh_status()["producers"]
    check(seen["bridge_notifications"] > 0, "the bridge's own notifications are counted", seen)
    equal((seen["messages_refused"], seen["clients_refused"]), (0, 0), "refused")
    gateway.stop()
    equal(sorted((p["topic"], p["head"]) for p in broker.publishes()),
          [("plant/311", "21.5"), ("plant/5", "21.5")])  # mosquitto may send them in any order
    check_audit(gateway.audit_lines())


@case
def handbook_and_man_page_name_the_same_codes():
    with open(os.path.join(SOURCE, "docs", "producers.md"), encoding="utf-8") as page:
        section = page.read().split("## What a refusal means")[1].split("\n## ")[0]
    with open(os.path.join(SOURCE, "man", "mqtt-spool-protocol.7"), encoding="utf-8") as page:
        short = page.read().split(".SH REFUSALS")[1].split(".SH ")[0]
    rows = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| 0x"))
    tags = "\n".join(re.findall(r"^\.TP\n(\.BR? 0x.*)$", short, re.MULTILINE))
    codes = [sorted(set(re.findall("0x[0-9A-F]{2}", text))) for text in (rows, tags)]
    check(len(codes[0]) > 10, "codes in the table", codes)
    equal(codes[0], codes[1], "codes of docs/producers.md and of the man page")


@case
def each_example_is_in_the_handbook_and_in_a_test():
    with open(os.path.join(SOURCE, "docs", "producers.md"), encoding="utf-8") as page:
        linked = sorted(set(re.findall(r"\]\(examples/([^)]+)\)", page.read())))
    there = sorted(os.path.relpath(os.path.join(path, name), EXAMPLES)
                   for path, _, names in os.walk(EXAMPLES) for name in names)
    there = [name for name in there if name.split(os.sep)[0] not in OF_METRICS]
    equal(linked, there, "links of docs/producers.md")
    with open(os.path.abspath(__file__), encoding="utf-8") as test:
        text = test.read()
    equal([name for name in there if '"%s"' % os.path.basename(name) not in text], [],
          "examples without a test")


if __name__ == "__main__":
    run_all()

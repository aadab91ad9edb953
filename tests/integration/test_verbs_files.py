# SPDX-License-Identifier: MIT
"""mqtt-spool shape, export and import: what the files of a spool hold, and moving it to another
gateway.

Two real daemons: the first one's spool is exported, while it runs and after it was stopped or
killed, and imported into the second one's.
"""

import base64
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import Subscriber, spool_id  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

OK, DATA, UNAVAILABLE, TRY_AGAIN = 0, 65, 69, 75
# What a message has of its own: neither id nor times, which are those of the spool.
KEPT = ("topic", "qos", "bytes", "ref", "retain", "payload_format", "content_type",
        "response_topic", "correlation_data", "user_properties", "payload")


def lines_of(done, code=OK):
    equal(done.returncode, code, "exit code (it says: %s)" % done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def export(gateway, *arguments):
    return lines_of(gateway.tool("export", *arguments))


def own(line):
    return {name: line[name] for name in KEPT if name in line}


def publish_each_kind(client):
    """Messages with all that MQTT 5 has; their ids."""
    binary = bytes(range(256)) * 3
    return [spool_id(client.publish_wait(topic, payload, retain=retain, properties=properties))
            for topic, payload, retain, properties in (
                ("plant/1/temp", b"21.5", False, None),
                ("plant/1/state", b"", True, {"payload_format": 1}),
                ("plant/2/picture", binary, False,
                 {"content_type": "image/x", "response_topic": "answers/1",
                  "correlation_data": b"\0\xff\1"}),
                ("office/\u00fc", "gr\u00fc\u00dfe".encode(), False,
                 {"user": [("b", "2"), ("a", "1"), ("b", ""), ("spool-ref", "order 66")]}),
                ("plant/1/temp", b"22", False, {"message_expiry": 3600}))]


@case
def a_spool_that_is_exported_and_imported_is_the_same():
    first, second = Gateway().start(), Gateway().start()
    client = first.client(5)
    ids = publish_each_kind(client)
    lines = export(first)
    equal([line["id"] for line in lines], ids, "in the order of acceptance")
    equal(base64.b64decode(lines[2]["payload"]), bytes(range(256)) * 3, "payload bytes")
    first.stop()
    output = first.tool("export")
    equal([own(line) for line in lines_of(output)], [own(line) for line in lines],
          "of a stopped one")
    done = second.tool("import", "--json", stdin=output.stdout)
    equal([line["result"] for line in lines_of(done)], ["accepted"] * 5, "results")
    moved = export(second)
    equal([own(line) for line in moved], [own(line) for line in lines], "what was moved")
    check(0 <= moved[4]["expiry_ms"] <= lines[4]["expiry_ms"] + 1000, "what is left", moved[4])
    check("expiry_ms" not in moved[0], "none was made", moved[0])


@case
def order_and_number_of_thousands_are_kept_to_the_broker():
    far = Mosquitto().start()
    cleanup(far.stop)
    first = Gateway().start()
    second = Gateway("tcp://127.0.0.1:%d" % far.port).start()
    subscriber = Subscriber(("127.0.0.1", far.port)).start()
    cleanup(subscriber.stop)
    count = 3000
    equal(len(list(first.client(5).publish_many(("a/%d" % (number % 7), b"%d" % number)
                                                for number in range(count)))), count, "published")
    first.kill()
    done = second.tool("import", stdin=first.tool("export").stdout)
    equal(done.stdout, b"%d messages were accepted\n" % count, "accepted")
    second.wait_drained()
    wait_for(lambda: len(subscriber.messages) >= count, 20, "all at the far side")
    equal([int(payload) for payload in subscriber.payloads()], list(range(count)), "in order")
    check_audit(second.wait_audit(count))


@case
def an_import_ends_where_a_message_is_refused_and_names_its_line():
    first = Gateway().start()
    second = Gateway(retention={"max_messages": 3, "when_full": "refuse"}).start()
    client = first.client(5)
    for number in range(6):
        client.publish_wait("a", b"%d" % number)
    lines = first.tool("export").stdout
    done = second.tool("import", stdin=lines)
    equal(done.returncode, TRY_AGAIN, "exit code")
    check(b"line 4 was refused" in done.stderr, "the line", done.stderr)
    equal([base64.b64decode(line["payload"]) for line in export(second)], [b"0", b"1", b"2"],
          "what was accepted")
    done = second.tool("import", stdin=b"{}\n")
    equal(done.returncode, DATA, "exit code of a line that is wrong")
    second.stop()
    equal(second.tool("import", stdin=lines).returncode, UNAVAILABLE, "without a daemon")


@case
def the_shape_of_a_spool_is_shown_while_the_daemon_runs_and_after():
    gateway = Gateway().start()
    client = gateway.client(5)
    for number in range(40):
        client.publish_wait("plant/%d/temp" % (number % 4), b"12345")
    client.publish_wait("office", b"")

    def shape(*arguments):
        return [(line["prefix"], line["messages"], line["bytes"])
                for line in lines_of(gateway.tool("shape", "--json", *arguments))]
    for _ in range(2):
        equal(shape(), [("plant/#", 40, 200), ("office", 1, 0)], "one level")
        equal(sorted(shape("--levels", "2", "--topic", "plant/#")),
              [("plant/%d/#" % number, 10, 50) for number in range(4)], "two levels")
        check(b"(all)" in gateway.tool("shape").stdout, "the page")
        if gateway.is_running():
            gateway.stop()


if __name__ == "__main__":
    run_all()

# SPDX-License-Identifier: MIT
"""Commands of operators, by messages to $CONTROL/spool/v1: answers, acknowledgements, audit lines."""

import base64
import json
import os
import signal
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all, skip, wait_for  # noqa: E402

CONTROL = "$CONTROL/spool/v1"
RESPONSE = CONTROL + "/response"
SUCCESS, NOT_AUTHORIZED, IMPLEMENTATION_SPECIFIC = 0, 0x87, 0x83
QUOTA_EXCEEDED, FORMAT_INVALID = 0x97, 0x99


class Operator:
    """A client that sends commands; each has its PUBACK and its answers."""

    def __init__(self, gateway, version=5, topic=RESPONSE, qos=1, **options):
        if os.geteuid() != 0:
            skip("needs root, which is an operator")
        self.client = gateway.client(version, timeout=60, **options)
        self.topic = topic
        equal(self.client.subscribe(topic, options=qos).reasons, [qos], "SUBACK")

    def take(self, request_id):
        """(PUBACK, answers), until the last of both."""
        ack, answers = None, []
        while ack is None or not answers or not answers[-1]["last"]:
            packet = self.client.receive()
            if packet.kind == mqtt.PUBACK:
                equal(packet.packet_id, request_id, "packet id of the PUBACK")
                ack = packet
                continue
            equal((packet.kind, packet.topic), (mqtt.PUBLISH, self.topic), "an answer")
            if packet.qos:
                self.client.send(mqtt.packet(mqtt.PUBACK, struct.pack(">H", packet.packet_id)))
            answers.append(json.loads(packet.payload))
        return ack, answers

    def ask(self, payload, properties=None):
        if not isinstance(payload, (bytes, str)):
            payload = json.dumps(payload)
        return self.take(self.client.publish(CONTROL, payload, properties=properties))

    def does(self, command, **members):
        """The last answer of a command that succeeds."""
        ack, answers = self.ask(dict(members, command=command))
        equal(ack.reason, SUCCESS, "PUBACK of %s: %r" % (command, answers))
        for answer in answers:
            equal((answer["command"], answer["ok"]), (command, True), "answer")
        return answers[-1]

    def fails(self, code, *words, command=None, **members):
        ack, answers = self.ask(dict(members, command=command))
        equal((ack.reason, len(answers), answers[0]["ok"]), (code, 1, False), answers)
        for word in words:
            check(word in answers[0]["error"], word, answers[0])
        return answers[0]

    def list(self, **members):
        _, answers = self.ask(dict(members, command="list"))
        equal([answer["last"] for answer in answers],
              [False] * (len(answers) - 1) + [True], "last")
        return [message for answer in answers for message in answer["messages"]]


def fill(gateway, count, topic="a/%d", lane_topics=(), payload=b"payload"):
    client = gateway.client()
    topics = list(lane_topics) or [topic % number for number in range(count)]
    return [mqtt.spool_id(ack)
            for _, ack in client.publish_many([(name, payload) for name in topics])]


def admin_lines(gateway):
    return [line for line in gateway.audit_lines() if "admin" in line]


def outcome_lines(gateway):
    return [line for line in gateway.audit_lines() if "outcome" in line]


@case
def the_status_is_that_of_now():
    gateway = Gateway(status_interval="1h").start()
    operator = Operator(gateway)
    equal(operator.does("status")["status"]["spool"]["messages"], 0, "messages")
    fill(gateway, 3)
    status = operator.does("status")["status"]
    equal(status["spool"]["messages"], 3, "messages")
    equal(sorted(status), sorted(gateway.status()), "members as in the file")
    gateway.stop()


@case
def an_answer_has_the_correlation_data_and_the_topic_of_its_request():
    gateway = Gateway().start()
    operator = Operator(gateway, topic=RESPONSE + "/mine")
    operator.client.publish(CONTROL, '{"command":"rotate"}', properties={
        "response_topic": RESPONSE + "/mine", "correlation_data": b"\0\xff1"})
    packets = [operator.client.receive() for _ in range(2)]
    answer = next(packet for packet in packets if packet.kind == mqtt.PUBLISH)
    equal(answer.topic, RESPONSE + "/mine")
    equal(answer.properties["correlation_data"], b"\0\xff1")
    equal(json.loads(answer.payload), {"command": "rotate", "ok": True, "last": True})
    for version in (4, 5):
        operator = Operator(gateway, version, qos=0)
        equal(operator.does("rotate"), {"command": "rotate", "ok": True, "last": True})
    # Another topic is not used, and without a subscription there is no answer.
    client = gateway.client()
    for topic in ("plant/answers", RESPONSE + "s"):
        equal(client.publish_wait(CONTROL, '{"command":"flush"}',
                                  properties={"response_topic": topic}).reason, SUCCESS)
    client.ping()
    gateway.stop()


@case
def a_command_may_have_any_qos():
    gateway = Gateway().start()
    for version in (4, 5):
        operator = Operator(gateway, version)
        operator.client.publish(CONTROL, '{"command":"hold"}', qos=0)
        equal(operator.client.expect(mqtt.PUBLISH).topic, RESPONSE, "an answer")
        packet_id = operator.client.publish(CONTROL, '{"command":"release"}', qos=2)
        packets = {packet.kind: packet for packet in (operator.client.receive(),
                                                      operator.client.receive())}
        equal(packets[mqtt.PUBREC].packet_id, packet_id, "PUBREC")
        equal(json.loads(packets[mqtt.PUBLISH].payload)["command"], "release")
        operator.client.send(mqtt.packet(mqtt.PUBREL, struct.pack(">H", packet_id), 2))
        equal(operator.client.expect(mqtt.PUBCOMP).packet_id, packet_id, "PUBCOMP")
    equal([line["admin"] for line in admin_lines(gateway)], ["hold", "release"] * 2)
    gateway.stop()


@case
def what_is_no_request_is_explained():
    gateway = Gateway().start()
    operator = Operator(gateway)
    for payload, word in ((b"", "no JSON"), (b"\xff", "no JSON"), ("[1]", "no JSON object"),
                          ("null", "no JSON object"),
                          ('{"command":"explode"}', "explode"),
                          ('{"command":"drop"}', "selection"),
                          ('{"command":"drop","topc":"a"}', '"topc" is unknown'),
                          ('{"command":"drop","topic":"a/#/b"}', "topic filter"),
                          ('{"command":"flush","command":"drop"}', "duplicate"),
                          ("[" * 1000 + "]" * 1000, "no JSON object"),
                          ("[" * 65536, "no JSON"), ('{"a":' * 13107, "no JSON")):
        ack, answers = operator.ask(payload)
        equal(ack.reason, FORMAT_INVALID, payload[:40])
        equal((len(answers), answers[0]["ok"]), (1, False), answers)
        check(word in answers[0]["error"], word, answers)
    ack, answers = operator.ask('{"command":"status"}' + " " * 65536)
    equal(ack.reason, QUOTA_EXCEEDED, "more than 64 KiB")
    check("65536" in answers[0]["error"], "the limit", answers)
    # 3.1.1 has no codes: it reads the answer, and its connection stays.
    old = Operator(gateway, 4)
    for _ in range(2):
        ack, answers = old.ask("{}")
        check("command" in answers[0]["error"] and not answers[0]["ok"], "error", answers)
    equal(admin_lines(gateway), [], "nothing was changed")
    gateway.stop()


@case
def only_an_administrator_is_listened_to():
    if os.geteuid() != 0:
        skip("needs root")
    gateway = Gateway(access=({"user": "*"},)).start()
    for version in (4, 5):
        client = gateway.client(version)
        if version == 5:
            equal(client.publish_wait(CONTROL, '{"command":"flush"}').reason, NOT_AUTHORIZED)
        else:
            client.publish(CONTROL, '{"command":"flush"}')
            equal(client.expect_closed(), None, "packets before the end")
    gateway.stop()


@case
def what_is_held_waits_until_it_is_released_also_over_a_restart():
    far = Mosquitto().start()
    seen = mqtt.Subscriber(far.address).start()
    gateway = Gateway(far.url, lanes=({"name": "alarms", "topics": ["alarm/#"]},)).start()
    gateway.wait_link()
    operator = Operator(gateway)
    operator.does("hold", lane="alarms")
    fill(gateway, 2, lane_topics=("alarm/1", "other/1"))
    wait_for(lambda: len(seen.messages) == 1, 10, "the lane that is not held")
    equal(operator.list()[0]["state"], "held")
    lanes = {lane["name"]: lane["held"] for lane in operator.does("status")["status"]["lanes"]}
    equal(lanes, {"default": False, "alarms": True}, "held lanes")
    operator.does("hold")
    equal(operator.does("status")["status"]["link"]["state"], "held")
    fill(gateway, 1, lane_topics=("other/2",))
    gateway.kill()
    gateway.start()
    gateway.wait_link("held")
    operator = Operator(gateway)
    operator.fails(IMPLEMENTATION_SPECIFIC, "all lanes", command="release", lane="alarms")
    fill(gateway, 1, lane_topics=("other/3",))
    equal([message["state"] for message in operator.list()], ["held"] * 3)
    equal(len(seen.messages), 1, "messages at the broker")
    operator.does("release")
    gateway.wait_drained()
    gateway.wait_link()
    equal(sorted(message.topic for message in seen.messages),
          ["alarm/1", "other/1", "other/2", "other/3"])
    operator.fails(IMPLEMENTATION_SPECIFIC, "no lane", command="hold", lane="none")
    equal([(line["admin"], line["uid"], line.get("lane")) for line in admin_lines(gateway)],
          [("hold", 0, "alarms"), ("hold", 0, None), ("release", 0, None)])
    equal(len(gateway.log_lines("admin_change")), 3, "lines of the log")
    gateway.stop()


@case
def flush_ends_a_pause():
    port = Mosquitto()
    gateway = Gateway(port.url, uplink={"backoff": {"min": "10m", "max": "10m"}}).start()
    operator = Operator(gateway)
    wait_for(lambda: gateway.status().get("link", {}).get("last_error"), 20, "a failed attempt")

    def is_pausing():
        status = gateway.fresh_status()
        return status["time"] <= (status["link"]["next_attempt"] or "")
    wait_for(is_pausing, 20, "the time of the next attempt")
    port.start()
    operator.does("flush")
    gateway.wait_link()
    equal(gateway.fresh_status()["link"]["next_attempt"], None, "while it is connected")
    equal(admin_lines(gateway), [], "it changes nothing")
    gateway.stop()


@case
def the_level_of_the_log_and_a_rotation_apply_at_once():
    gateway = Gateway().start()
    operator = Operator(gateway)
    operator.does("log_level", level="debug")
    gateway.client().disconnect()
    wait_for(lambda: gateway.log_lines("client_closed"), 10, "a line of level debug")
    operator.does("log_level", level="error")
    os.rename(gateway.audit, gateway.audit + ".1")
    operator.does("rotate")
    equal([line["admin"] for line in admin_lines(gateway)], ["rotate"], "in the new file")
    equal([line.get("level") for line in gateway.audit_lines(gateway.audit + ".1")],
          ["debug", "error"], "in the old one")
    gateway.kill()
    gateway.start()
    equal(len(gateway.audit_lines()), 1, "lines after a restart")
    done = gateway.tool("audit")
    equal(done.returncode, 0, done.stdout)
    gateway.stop()


@case
def messages_are_listed_and_shown():
    gateway = Gateway(lanes=({"name": "alarms", "topics": ["alarm/#"]},)).start()
    operator = Operator(gateway)
    equal(operator.list(), [], "nothing")
    client = gateway.client(client_id="press-7")
    client.publish_wait("alarm/1", bytes(range(256)), properties={
        "content_type": "text/plain", "user": [("spool-ref", "order/1"), ("n", "v")],
        "correlation_data": b"\xff"})
    fill(gateway, 100)
    found = operator.list()
    equal([message["id"] for message in found], list(range(1, 102)), "ids")
    first = dict(found[0])
    check(0 <= first.pop("age_ms") < 60000, "age", found[0])
    first.pop("accepted")
    equal(first, {"id": 1, "lane": "alarms", "client": "press-7", "uid": 0, "topic": "alarm/1",
                  "qos": 1, "bytes": 256, "attempts": 0, "state": "pending", "ref": "order/1"})
    for selection, wanted in (({"lane": "alarms"}, [1]), ({"client": "press-7"}, [1]),
                              ({"topic": "+/1"}, [1, 3]), ({"ids": [101, 7, 7]}, [7, 101]),
                              ({"user": 0, "limit": 2}, [1, 2]), ({"user": 4711}, []),
                              ({"user": "root", "limit": 1}, [1]),
                              ({"older_than_ms": 3600000}, []),
                              ({"lane": "alarms", "topic": "a/#"}, []), ({"rejected": True}, [])):
        equal([message["id"] for message in operator.list(**selection)], wanted, selection)
    shown = operator.does("show", id=1, payload=True)
    equal(base64.b64decode(shown["payload"]), bytes(range(256)), "payload")
    equal((shown["id"], shown["retain"], shown["content_type"], shown["correlation_data"],
           shown["user_properties"]),
          (1, False, "text/plain", "/w==", [["spool-ref", "order/1"], ["n", "v"]]))
    check("payload" not in operator.does("show", id=2), "it was not asked for")
    _, answers = operator.ask({"command": "show", "id": 4711})
    check(not answers[0]["ok"] and "no message 4711" in answers[0]["error"], "error", answers)
    operator.fails(IMPLEMENTATION_SPECIFIC, "no lane", command="list", lane="none")
    operator.fails(IMPLEMENTATION_SPECIFIC, "no user", command="list", user="no-such-user")
    equal(admin_lines(gateway), [], "it changes nothing")
    gateway.stop()


@case
def a_client_that_reads_no_answers_holds_nobody_up():
    gateway = Gateway().start()
    fill(gateway, 2000, topic="a/long/topic/so/that/it/takes/some/memory/%d")
    slow = Operator(gateway)
    for _ in range(3):
        slow.client.publish(CONTROL, '{"command":"list"}')
    operator = Operator(gateway)
    equal(len(operator.list(limit=10)), 10, "listed")
    equal(operator.does("drop", ids=[1])["dropped"], 1)
    equal(len(fill(gateway, 10)), 10, "accepted")
    answers = 0
    while answers < 3:
        packet = slow.client.receive()
        if packet.kind == mqtt.PUBLISH:
            slow.client.send(mqtt.packet(mqtt.PUBACK, struct.pack(">H", packet.packet_id)))
            answers += json.loads(packet.payload)["last"]
    gateway.stop()


@case
def too_many_commands_at_a_time_are_refused():
    gateway = Gateway().start()
    fill(gateway, 3000)
    slow = Operator(gateway)
    acks = []
    for _ in range(20):
        slow.client.publish(CONTROL, '{"command":"list"}')
    while len(acks) < 20:
        packet = slow.client.receive()
        if packet.kind == mqtt.PUBACK:
            acks.append(packet.reason)
    equal(acks, [SUCCESS] * 4 + [QUOTA_EXCEEDED] * 16)
    other = Operator(gateway)
    for command in ("flush", "hold", "status", "release"):
        other.does(command)
    equal(len(other.list()), 3000, "beside them")
    gateway.stop()


@case
def dropped_messages_have_their_records_and_one_line_says_who_did_it():
    gateway = Gateway().start()
    operator = Operator(gateway)
    fill(gateway, 3000)
    equal(operator.does("drop", topic="a/1/#", dry_run=True),
          {"command": "drop", "ok": True, "matched": 1, "dropped": 1, "in_flight": 0,
           "dry_run": True, "last": True})
    equal(admin_lines(gateway), [], "lines of a dry run")
    equal(operator.does("drop", ids=[7, 8, 8, 9000])["dropped"], 2)
    equal(operator.does("drop", all=True),
          {"command": "drop", "ok": True, "matched": 2998, "dropped": 2998, "in_flight": 0,
           "last": True})
    equal(operator.does("drop", all=True)["matched"], 0, "nothing is left")
    ledger = gateway.ledger()
    equal((ledger["dropped"], ledger["spooled"], ledger["balanced"]), (3000, 0, True))
    wait_for(lambda: len(outcome_lines(gateway)) == 3000, 20, "records")
    equal({(line["outcome"], line["reason"]) for line in outcome_lines(gateway)},
          {("dropped", "operator")})
    found = [(line["admin"], line["uid"], line.get("ids"), line.get("all"), line["matched"],
              line["dropped"]) for line in admin_lines(gateway)]
    equal(found, [("drop", 0, [7, 8, 9000], None, 2, 2), ("drop", 0, None, True, 2998, 2998),
                  ("drop", 0, None, True, 0, 0)])
    gateway.stop()
    for verb in ("audit", "check"):
        done = gateway.tool(verb)
        equal(done.returncode, 0, done.stdout)


@case
def what_is_in_flight_is_passed_over():
    far = Mosquitto().start()
    gateway = Gateway(far.url).start()
    gateway.wait_link()
    far.process.send_signal(signal.SIGSTOP)  # it answers nothing
    try:
        ids = fill(gateway, 3)
        operator = Operator(gateway)
        wait_for(lambda: {message["state"] for message in operator.list()} == {"in_flight"}, 20,
                 "all are in flight")
        answer = operator.does("drop", all=True)
        equal((answer["matched"], answer["dropped"], answer["in_flight"]), (3, 0, 3))
        equal([message["id"] for message in operator.list()], ids, "all are there")
    finally:
        far.process.send_signal(signal.SIGCONT)
    gateway.wait_drained()
    equal(gateway.ledger()["delivered"], 3)
    gateway.stop()


@case
def a_client_that_leaves_ends_its_command():
    gateway = Gateway().start()
    fill(gateway, 20000, payload=b"")
    operator = Operator(gateway)
    leaving = Operator(gateway)
    leaving.client.publish(CONTROL, '{"command":"drop","all":true}')
    wait_for(lambda: operator.does("status")["status"]["ledger"]["dropped"] > 0, 20, "a step")
    leaving.client.close()
    wait_for(lambda: admin_lines(gateway), 20, "its line")
    line = admin_lines(gateway)[0]
    check(line.get("cut_short") and 0 < line["dropped"] < 20000, "its line", line)
    ledger = operator.does("status")["status"]["ledger"]
    equal(ledger["dropped"], line["dropped"])
    equal(operator.does("drop", all=True)["dropped"], 20000 - line["dropped"])
    gateway.stop()


@case
def an_operator_whose_right_is_withdrawn_ends_its_command():
    admins = [{"user": "root", "admin": True}]
    gateway = Gateway(access=admins).start()
    fill(gateway, 20000, payload=b"")
    watch = Operator(gateway)
    operators = [Operator(gateway, version) for version in (5, 4)]
    requests = [operators[0].client.publish(CONTROL, '{"command":"drop","all":true}')]
    wait_for(lambda: watch.does("status")["status"]["ledger"]["dropped"] > 0, 20, "a step")
    requests.append(operators[1].client.publish(CONTROL, '{"command":"drop","all":true}'))
    watch.does("status")  # read after it
    gateway.configure(access=[{"user": "root"}])
    gateway.hup()
    ack, answers = operators[0].take(requests[0])
    answer = answers[-1]
    equal((ack.reason, answer["ok"]), (IMPLEMENTATION_SPECIFIC, False), answer)
    check(0 < answer["dropped"] < 20000 and "no administrator" in answer["error"], "answer", answer)
    _, answers = operators[1].take(requests[1])  # it had not begun
    check("nothing was done" in answers[-1]["error"], "answer", answers)
    line, = admin_lines(gateway)
    check(line.get("cut_short") and line["dropped"] == answer["dropped"], "its line", line)
    equal(operators[0].client.publish_wait(CONTROL, '{"command":"drop","all":true}').reason,
          NOT_AUTHORIZED, "the next one")
    gateway.stop()


@case
def the_place_of_a_list_that_is_not_read_goes_to_another():
    gateway = Gateway().start()
    fill(gateway, 3000, topic="a/long/topic/so/that/it/takes/some/memory/%d")
    slow = [Operator(gateway) for _ in range(8)]
    for operator in slow:
        for _ in range(4):
            operator.client.publish(CONTROL, '{"command":"list"}')
    operator = Operator(gateway)
    for command in ("flush", "hold", "release", "status"):
        operator.does(command)
    operator.does("drop", ids=[1])
    operator.fails(QUOTA_EXCEEDED, "not read", command="list")
    wait_for(lambda: operator.ask({"command": "list", "limit": 1})[0].reason == SUCCESS, 30,
             "a place", every=0.5)
    equal(len(gateway.log_lines("reason=answers_unread")), 1, gateway.log())
    operator.does("status")
    gateway.stop()


@case
def what_was_dropped_before_a_kill_is_dropped_once():
    gateway = Gateway().start()
    fill(gateway, 20000, payload=b"")
    operator = Operator(gateway)
    operator.client.publish(CONTROL, '{"command":"drop","all":true}')
    other = Operator(gateway)
    wait_for(lambda: other.does("status")["status"]["ledger"]["dropped"] > 0, 20, "a step")
    gateway.kill()
    gateway.start()
    ledger = gateway.ledger()
    check(0 < ledger["dropped"] < 20000 and ledger["balanced"], "ledger", ledger)
    equal(admin_lines(gateway), [], "it was not acknowledged")
    equal(Operator(gateway).does("drop", all=True)["dropped"], ledger["spooled"])
    wait_for(lambda: len(outcome_lines(gateway)) == 20000, 20, "records")
    equal(sorted(line["id"] for line in outcome_lines(gateway)), list(range(1, 20001)), "ids")
    gateway.stop()
    for verb in ("audit", "check"):
        done = gateway.tool(verb)
        equal(done.returncode, 0, done.stdout)


@case
def what_was_rejected_is_requeued():
    far = Mosquitto(options="acl_file %s")
    acl = os.path.join(far.folder, "acl")
    far_text = open(far.config).read() % acl
    with open(far.config, "w") as out:
        out.write(far_text)
    with open(acl, "w") as out:
        out.write("topic readwrite good/#\n")
    far.start()
    gateway = Gateway(far.url, uplink={"on_refusal": "reject"}).start()
    gateway.wait_link()
    operator = Operator(gateway)
    fill(gateway, 3, lane_topics=("good/1", "bad/1", "good/2"))
    ledger = gateway.wait_drained()
    if ledger["rejected"] == 0:
        skip("this broker does not refuse by a code")
    kept = operator.list(rejected=True)
    equal([(message["topic"], message["state"]) for message in kept], [("bad/1", "rejected")])
    with open(acl, "w") as out:
        out.write("topic readwrite #\n")
    far.restart()
    equal(operator.does("requeue", all=True),
          {"command": "requeue", "ok": True, "matched": 1, "requeued": 1, "last": True})
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["delivered"], ledger["rejected"]), (4, 3, 1))
    equal(operator.list(rejected=True), [], "kept")
    equal(admin_lines(gateway)[-1]["requeued"], 1)
    last = wait_for(lambda: [line for line in outcome_lines(gateway) if line["seq"] == 4], 10,
                    "its record")[0]
    equal(last.get("requeued_from"), kept[0]["id"])
    gateway.stop()


@case
def a_command_waits_for_the_disk_and_not_for_the_audit_file():
    gateway = Gateway(audit={"file": "/nonexistent/audit.jsonl"}).start()
    operator = Operator(gateway)
    fill(gateway, 3)
    equal(operator.does("drop", all=True)["dropped"], 3)
    gateway.stop()


if __name__ == "__main__":
    run_all()

# SPDX-License-Identifier: MIT
"""The link to the broker: outages, restarts, TLS, passwords, a broker that refuses."""

import collections
import os
import select
import shutil
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Link, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from name_server import NameServers  # noqa: E402
from tap import case, check, cleanup, equal, quick_once, run_all, skip, wait_for  # noqa: E402


def far_side(broker, **options):
    far = Subscriber(broker.address, **options).start()
    cleanup(far.stop)
    return far


def publish(gateway, payloads, topic="plant/t"):
    with gateway.client(5) as client:
        for _, ack in client.publish_many(((topic, payload) for payload in payloads), 200):
            equal(ack.reason, 0, "reason of a PUBACK")


def numbered(start, count):
    return [b"%06d" % number for number in range(start, start + count)]


def firsts(payloads):
    """Each payload once, where it came first."""
    return list(dict.fromkeys(payloads))


def wait_all(far, payloads, seconds=30):
    """Each payload at least once, unaltered, and no other; its first time in order."""
    def there():
        return len(set(far.payloads())) >= len(payloads)
    wait_for(there, seconds, lambda: "%d messages at the broker, there are %d"
             % (len(payloads), len(set(far.payloads()))))
    arrived = firsts(far.payloads())
    wrong = [(index, seen[:40], wanted[:40])
             for index, (seen, wanted) in enumerate(zip(arrived, payloads)) if seen != wanted]
    check(not wrong and len(arrived) == len(payloads),
          "what arrived, where it differs (place, seen, wanted)", len(wrong), wrong[:5])


# Outages


@case
def what_is_published_during_an_outage_arrives_in_order_afterwards():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).restore()
    gateway = Gateway(link.url).start()
    gateway.wait_link()
    publish(gateway, numbered(0, 100))
    wait_all(far, numbered(0, 100))
    gateway.wait_drained()  # acknowledged, too
    link.cut()
    wait_for(lambda: gateway.status()["link"]["state"] != "online", 10, "the link seen as down")
    publish(gateway, numbered(100, 1000))
    equal(gateway.ledger()["spooled"], 1000, "spooled")
    link.restore()
    wait_all(far, numbered(0, 1100))
    equal(gateway.wait_drained()["delivered"], 1100)
    equal(gateway.status()["link"]["connects"], 2, "connects")
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def three_cuts_under_load_lose_nothing():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).restore()
    gateway = Gateway(link.url, uplink={"window": 50}).start()
    gateway.wait_link()
    for cycle in range(3):
        publish(gateway, numbered(cycle * 2000, 1000))
        link.cut(reset=cycle == 1)
        publish(gateway, numbered(cycle * 2000 + 1000, 1000))
        link.restore()
        gateway.wait_link()
    wait_all(far, numbered(0, 6000), 60)
    ledger = gateway.wait_drained()
    equal((ledger["accepted"], ledger["delivered"]), (6000, 6000))
    repeats = len(far.payloads()) - 6000
    check(repeats <= 3 * 50, "repeats stay within the window of each cut", repeats)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_broker_that_restarts_gets_everything():
    broker = Mosquitto(persistence=True).start()
    far = far_side(broker, session=True)
    gateway = Gateway(broker.url).start()
    gateway.wait_link()
    publish(gateway, numbered(0, 300))
    wait_all(far, numbered(0, 300))
    broker.stop()
    publish(gateway, numbered(300, 300))
    broker.start()
    wait_all(far, numbered(0, 600))
    gateway.wait_drained()
    gateway.stop()


@case
def a_gateway_that_starts_before_its_broker_connects_when_it_comes():
    broker = Mosquitto()
    gateway = Gateway(broker.url).start()
    wait_for(lambda: gateway.status().get("link", {}).get("last_error"), 10, "a last_error")
    broker.start()
    gateway.wait_link()
    gateway.stop()


@case
def the_second_broker_is_used_while_the_first_is_away():
    first, second = Mosquitto(), Mosquitto().start()
    far = far_side(second)
    gateway = Gateway([first.url, second.url]).start()
    gateway.wait_link()
    equal(gateway.status()["link"]["broker"], second.url, "broker in use")
    publish(gateway, numbered(0, 10))
    wait_all(far, numbered(0, 10))
    gateway.stop()


def survives_a_storm(far, link, url, **uplink):
    """The link is reset again and again."""
    gateway = Gateway(url, uplink=dict(
        {"window": 128, "backoff": {"min": "10ms", "max": "50ms"}}, **uplink)).start()
    gateway.wait_link()
    payloads = [b"%06d " % number + b"x" * 500 for number in range(3600)]
    publish(gateway, payloads)
    gateway.wait_drained(60)
    wait_all(far, payloads, 60)
    check(link.resets >= 10, "resets", link.resets)
    check(gateway.status()["link"]["connects"] >= 10, "connects", gateway.status()["link"])
    repeats = len(far.messages) - len(payloads)
    check(repeats <= link.resets * 128, "repeats stay within the window of each reset", repeats)
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_storm_of_resets_loses_nothing_and_damages_nothing():
    broker = Mosquitto().start()
    link = Link(broker.port, reset_after=300 * 520).restore()
    survives_a_storm(far_side(broker), link, link.url)


@case
def a_storm_of_resets_over_tls_loses_nothing_and_damages_nothing():
    certificates, port = Certificates(), processes.free_port()
    broker = Mosquitto(tls=certificates, options="listener %d 127.0.0.1" % port).start()
    far = Subscriber(("127.0.0.1", port)).start()
    cleanup(far.stop)
    link = Link(broker.port, reset_after=300 * 520).restore()
    survives_a_storm(far, link, "ssl://localhost:%d" % link.port,
                     tls={"ca_file": certificates.ca})


@case
def a_link_that_stalls_is_noticed_and_what_was_in_flight_is_sent_again():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).restore()
    gateway = Gateway(link.url, uplink={"ack_timeout": "1s", "keepalive": "60s"}).start()
    gateway.wait_link()
    link.stalled = True
    publish(gateway, numbered(0, 50))
    wait_for(lambda: gateway.status()["link"]["last_error"], 20, "the stall noticed")
    link.cut()
    link.restore()
    wait_all(far, numbered(0, 50))
    gateway.wait_drained()
    gateway.stop()


@case
def a_stop_with_the_link_stalled_keeps_what_was_in_flight():
    broker = Mosquitto().start()
    link = Link(broker.port).restore()
    gateway = Gateway(link.url).start()
    gateway.wait_link()
    link.stalled = True
    publish(gateway, numbered(0, 50))
    gateway.stop()
    ledger = gateway.ledger()
    equal((ledger["spooled"], ledger["delivered"]), (50, 0), "spooled and delivered")
    far = far_side(broker)
    link.cut()
    link.restore()
    gateway.start()
    wait_all(far, numbered(0, 50))
    gateway.stop()


# TLS


def need_localhost():
    """The name that the certificates are for."""
    try:
        socket.gethostbyname("localhost")
    except OSError:
        skip("needs the name localhost: this machine has no /etc/hosts")


def tls_gateway(broker, certificates, host="localhost", **tls):
    need_localhost()
    tls = dict({"ca_file": certificates.ca}, **tls)
    return Gateway("ssl://%s:%d" % (host, broker.port), uplink={"tls": tls}).start()


def wait_refused(gateway):
    error = wait_for(lambda: gateway.status().get("link", {}).get("last_error"), 20,
                     "a last_error")
    time.sleep(1)
    equal(gateway.status()["link"]["connects"], 0, "connects")
    return error


@case
def tls_delivers_with_a_client_certificate():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    gateway = tls_gateway(broker, certificates, cert_file=certificates.client_cert,
                          key_file=certificates.client_key)
    gateway.wait_link()
    publish(gateway, numbered(0, 200))
    equal(gateway.wait_drained()["delivered"], 200)
    gateway.stop()


@case
def tls_without_the_wanted_client_certificate_does_not_connect():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    gateway = tls_gateway(broker, certificates)
    wait_refused(gateway)
    gateway.stop()


# Runs the rest of its arguments with the first one, a terminal, as the controlling terminal.
ON_TERMINAL = """import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])"""


def encrypted_key(certificates, password, *form):
    """A copy of the client's key; what openssl makes of it with @form."""
    path = os.path.join(certificates.folder, "encrypted-%d.key" % len(form))
    done = processes.run(["openssl", *form, "-in", certificates.client_key, "-out", path,
                          "-passout", "pass:" + password])
    equal(done.returncode, 0, done.stderr)
    return path


@case
def tls_with_an_encrypted_key_and_no_password_asks_no_terminal_and_names_the_setting():
    need_localhost()
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    ours, theirs = os.openpty()
    cleanup(os.close, ours)
    cleanup(os.close, theirs)
    secret = os.path.join(certificates.folder, "secret")
    with open(secret, "w") as out:
        out.write("open sesame\n")
    for form in (("rsa", "-aes256", "-traditional"),
                 ("pkcs8", "-topk8", "-v2", "aes-256-cbc")):
        key = encrypted_key(certificates, "open sesame", *form)
        # A key of its own file, and one in the file of the certificate.
        both = key + ".pem"
        with open(both, "wb") as out:
            for part in (certificates.client_cert, key):
                with open(part, "rb") as seen:
                    out.write(seen.read())
        for files in ({"cert_file": certificates.client_cert, "key_file": key},
                      {"cert_file": both, "key_file": both}):
            gateway = Gateway("ssl://localhost:%d" % broker.port,
                              uplink={"tls": dict(files, ca_file=certificates.ca)})
            gateway.start(wrap=[sys.executable, "-c", ON_TERMINAL, os.ttyname(theirs)])
            wait_for(lambda made=gateway: "set uplink.tls.key_password_file to a file" in made.log(), 20,
                     "the setting in the log")
            check(files["key_file"] in gateway.log(), "the file is named", gateway.log())
            equal(gateway.client(5).publish_wait("plant/t", b"x").reason, 0, "reason")
            equal(select.select([ours], [], [], 0)[0], [], "what the terminal was asked")
            if files["key_file"] == key:
                gateway.configure(uplink={"tls": {"key_password_file": secret}})
                gateway.stop()
                gateway.start()
                gateway.wait_link()
                gateway.wait_drained()
            gateway.stop()


@case
def tls_to_a_wrong_host_name_is_refused():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates).start()
    gateway = tls_gateway(broker, certificates, host="127.0.0.1")
    wait_refused(gateway)
    publish(gateway, numbered(0, 5))
    equal(gateway.ledger()["spooled"], 5, "kept in the spool")
    gateway.stop()


@case
def tls_to_a_wrong_host_name_connects_when_verify_is_off():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates).start()
    gateway = tls_gateway(broker, certificates, host="127.0.0.1", verify=False)
    gateway.wait_link()
    gateway.stop()


@case
def tls_with_a_certificate_of_another_ca_is_refused():
    broker = Mosquitto(tls=Certificates()).start()
    gateway = tls_gateway(broker, Certificates())
    wait_refused(gateway)
    gateway.stop()


# Passwords


def password_file(text):
    path = os.path.join(processes.folder(), "password")
    with open(path, "w") as out:
        out.write(text)
    return path


@case
def a_user_name_and_a_password_file_are_used():
    broker = Mosquitto(users={"gateway": "s3cret word"}).start()
    for protocol in (4, 5):
        gateway = Gateway(broker.url, uplink={
            "username": "gateway", "protocol": protocol,
            "password_file": password_file("s3cret word\n")}).start()
        gateway.wait_link()
        gateway.stop()


@case
def a_wrong_password_shows_in_the_status_and_is_never_printed():
    broker = Mosquitto(users={"gateway": "s3cret"}).start()
    path = password_file("wrong-one\n")
    gateway = Gateway(broker.url, uplink={"username": "gateway", "password_file": path}).start()
    error = wait_refused(gateway)
    check("uthor" in error or "password" in error, "last_error names the reason", error)
    check("wrong-one" not in gateway.log() + error, "the password is in the log")
    with open(path, "w") as out:
        out.write("s3cret\n")
    gateway.wait_link()
    gateway.stop()


@case
def files_that_do_not_exist_yet_keep_no_client_from_publishing():
    need_localhost()
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, users={"gateway": "s3cret"}).start()
    folder = processes.folder()
    ca, password = os.path.join(folder, "ca.crt"), os.path.join(folder, "password")
    gateway = Gateway("ssl://localhost:%d" % broker.port, uplink={
        "username": "gateway", "password_file": password, "tls": {"ca_file": ca}}).start()
    publish(gateway, numbered(0, 3))
    check("uplink_file_unusable key=uplink.tls.ca_file" in gateway.log(), "the log names the key")
    for path in (password, ca):
        wait_for(lambda: path in (gateway.status().get("link", {}).get("last_error") or ""), 10,
                 "last_error names " + path)
        if path == password:
            with open(password, "w") as out:
                out.write("s3cret\n")
    shutil.copy(certificates.ca, ca)
    equal(gateway.wait_drained()["delivered"], 3)
    gateway.stop()


# A broker that refuses (the scripted one)


def fake_broker(**options):
    made = FakeBroker(**options).start()
    cleanup(made.stop)
    return made


def taken(broker):
    """How often each message came to the scripted broker, by the number its payload begins with."""
    return collections.Counter(entry["seq"] for entry in broker.publishes())


@case
def a_permanent_refusal_ends_in_a_record_with_the_brokers_code():
    broker = fake_broker(reason=0x87, each=2)
    gateway = Gateway(broker.url).start()
    publish(gateway, numbered(0, 20))
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (10, 10))
    gateway.stop()
    lines = gateway.audit_lines()
    check_audit(lines)
    rejected = [line for line in lines if line["outcome"] == "rejected"]
    equal({(line["reason"], line["code"]) for line in rejected}, {("reason_code", 0x87)})
    equal(set(taken(broker).values()), {1}, "how often each was tried")


@case
def a_transient_refusal_is_tried_again_with_backoff_and_never_rejected():
    broker = fake_broker(reason=0x97)
    gateway = Gateway(broker.url).start()
    began = time.monotonic()
    publish(gateway, numbered(0, 5))
    wait_for(lambda: all(taken(broker)[number] >= 2 for number in range(5)), 20, "second tries")
    time.sleep(max(0, began + 2 - time.monotonic()))
    tries = taken(broker)
    most = 15 * (time.monotonic() - began)
    check(all(tries[number] <= most for number in range(5)), "tries in 2 s or more", tries, most)
    equal(gateway.log().count("broker_refuses code=0x97 reason=\"quota exceeded\""), 1, "in the log")
    wait_for(lambda: "quota exceeded" in (gateway.status()["link"]["last_error"] or ""), 5, "in the status")
    ledger = gateway.ledger()
    equal((ledger["spooled"], ledger["rejected"]), (5, 0))
    broker.change(reason=0)
    equal(gateway.wait_drained()["delivered"], 5)
    gateway.stop()
    lines = gateway.audit_lines()
    check(all(line["attempts"] > 1 for line in lines), "attempts in the records", lines)


@case
def resets_before_acknowledgements_lose_nothing():
    broker = fake_broker(reset_after=300)
    gateway = Gateway(broker.url, uplink={"backoff": {"min": "10ms", "max": "50ms"}}).start()
    publish(gateway, numbered(0, 3000))
    equal(gateway.wait_drained(60)["delivered"], 3000)
    equal(set(taken(broker)), set(range(3000)), "numbers at the broker")
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def first_occurrences_keep_their_order_over_resets():
    broker = fake_broker(reset_after=300)
    gateway = Gateway(broker.url, uplink={
        "window": 1000, "backoff": {"min": "10ms", "max": "50ms"}}).start()
    gateway.wait_link()
    publish(gateway, [b"%06d " % number + b"x" * 500 for number in range(6000)])
    gateway.wait_drained(60)
    gateway.stop()
    entries = broker.publishes()
    arrived = firsts(entry["seq"] for entry in entries)
    late = [number for before, number in zip(arrived, arrived[1:]) if number < before]
    # An id may come again after its acknowledgement; this many later it could only be by chance if
    # ids were not assigned in turn, as Paho does.
    by_id = collections.defaultdict(set)
    for entry in entries:
        by_id[entry["conn"], entry["pid"]].add(entry["seq"])
    shared = {key: numbers for key, numbers in by_id.items() if len(numbers) > 1}
    equal(late, [], "messages that came after a later one")
    equal(shared, {}, "packet ids used twice on one connection")


@case
def what_is_never_acknowledged_is_never_recorded_as_delivered():
    broker = fake_broker(noack=True)
    gateway = Gateway(broker.url, uplink={"ack_timeout": "1s", "window": 10}).start()
    publish(gateway, numbered(0, 30))
    wait_for(lambda: taken(broker)[0] >= 2, 20, "the first message sent again")
    ledger = gateway.ledger()
    equal((ledger["delivered"], ledger["spooled"]), (0, 30))
    check(set(taken(broker)) <= set(range(10)), "more than the window was sent", taken(broker))
    broker.change(noack=False)
    equal(gateway.wait_drained(30)["delivered"], 30)
    gateway.stop()


# None of these acknowledges a PUBLISH of QoS 1; ID is the packet id of one that is in flight.
GARBAGE = [
    "00 00", "f0 00", "50 ff", "ff ff ff ff ff ff", "40 00", "40 01 00", "40 04 40 01 00 05",
    "30 ff ff ff 7f 00 01", "32 03 ff ff 61", "90 01 00", "20 02 00 00", "20 09 00 00 06 21 00",
    "62 02 40 01", "70 02 40 01", "c0 00", "e0 00", "e0 02 8b 7f", "82 03 00 01 00", "10 00",
    "40 ff ff ff ff ff", "50 06 40 01 00 03 1f 00", "a2 01 05", "b0 02 40 01", "d0 05 61 61 61",
    "70 02 ID", "50 02 ID", "50 03 ID 87", "62 02 ID", "90 03 ID 01", "90 04 ID 00 01", "b0 02 ID",
    "b0 04 ID 00 00",
]


@case
def an_acknowledgement_cut_short_or_of_another_message_delivers_nothing():
    broker = fake_broker()
    gateway = Gateway(broker.url, uplink={"ack_timeout": "1s", "window": 10}).start()
    for turn, fault in enumerate(("half", "wrong_id")):
        broker.change(**{fault: True})
        publish(gateway, numbered(30 * turn, 30))
        wait_for(lambda: taken(broker)[30 * turn] >= 3, 20, "the first message sent again")
        ledger = gateway.ledger()
        equal((ledger["delivered"], ledger["spooled"]), (30 * turn, 30), fault)
        broker.change(**{fault: False})
        equal(gateway.wait_drained(30)["delivered"], 30 * turn + 30, fault)
    gateway.stop()
    check_audit(gateway.audit_lines())
    equal(set(taken(broker)), set(range(60)), "numbers at the broker")


@case
def an_acknowledgement_that_comes_twice_counts_once():
    broker = fake_broker(twice=True)
    for protocol in (4, 5):
        gateway = Gateway(broker.url, uplink={"protocol": protocol, "keepalive": "60s",
                                              "connect_timeout": "30s"}).start()
        publish(gateway, numbered(0, 3000))
        equal(gateway.wait_drained(60)["delivered"], 3000)
        equal(gateway.status()["link"]["connects"], 1, "connects")
        gateway.stop()
        check_audit(gateway.audit_lines())
    equal(set(taken(broker).values()), {2}, "how often each came, in two runs")


@case
def garbage_from_the_broker_crashes_nothing_and_delivers_nothing():
    broker = fake_broker()
    for protocol in (4, 5):
        gateway = Gateway(broker.url, uplink={
            "protocol": protocol, "ack_timeout": "1s", "window": 10,
            "backoff": {"min": "10ms", "max": "50ms"}}).start()
        publish(gateway, numbered(0, 10))
        gateway.wait_drained()
        start = processes.levels(gateway.process)
        for turn, garbage in enumerate(GARBAGE):
            broker.change(garbage=garbage)
            # Two messages for each garbage: the broker closes at none of them often enough to be
            # taken for one that refuses it.
            before = sum(taken(broker).values())
            publish(gateway, numbered(100 + 2 * turn, 2))
            wait_for(lambda: sum(taken(broker).values()) > before, 20, "sent before " + garbage)
            time.sleep(0.05)  # the answer is read
            ledger = gateway.ledger()
            equal((ledger["delivered"], ledger["spooled"]), (10 + 2 * turn, 2), garbage)
            broker.change(garbage="")
            broker.reset_all()
            gateway.wait_drained(30)
        equal(gateway.ledger()["delivered"], 10 + 2 * len(GARBAGE))
        grown = processes.levels(gateway.process)["memory_kb"] - start["memory_kb"]
        check(gateway.is_sanitized() or grown < 4096, "kB of memory more", grown)
        gateway.stop()
        check_audit(gateway.audit_lines())


@case
def the_brokers_receive_maximum_and_maximum_packet_size_are_kept():
    broker = fake_broker(receive_maximum=7, maximum_packet=1000, late=20)
    gateway = Gateway(broker.url).start()
    publish(gateway, numbered(0, 200) + [b"x" * 2000] + numbered(200, 50))
    ledger = gateway.wait_drained()
    equal((ledger["delivered"], ledger["rejected"]), (250, 1))
    equal([entry for entry in broker.ledger if entry.get("event") == "violation"], [])
    gateway.stop()
    equal([line["reason"] for line in gateway.audit_lines() if line["outcome"] == "rejected"],
          ["too_large"])


@case
def a_broker_that_refuses_the_connection_is_tried_again_and_named_in_the_status():
    broker = fake_broker(connack=0x88)
    gateway = Gateway(broker.url).start()
    error = wait_refused(gateway)
    check("unavailable" in error or "0x88" in error, "last_error names the reason", error)
    broker.change(connack=0)
    gateway.wait_link()
    gateway.stop()


@case
def a_broker_that_never_answers_the_connect_is_given_up_and_tried_again():
    broker = fake_broker(silent=True)
    gateway = Gateway(broker.url, uplink={"connect_timeout": "1s"}).start()
    wait_refused(gateway)
    gateway.stop()


# Name servers


def last_error(gateway):
    return gateway.status().get("link", {}).get("last_error") or ""


@case
def a_silent_name_server_delays_no_acknowledgement_and_no_stop():
    servers = NameServers("timeout:30")
    gateway = Gateway("tcp://broker.test:1883").start(wrap=servers.wrap())
    client = gateway.client(5, timeout=60)
    wait_for(lambda: servers.asked, 10, "a question to the name server")

    # The resolver waits for 30 s: several attempts, each of 2 s, end meanwhile.
    def slowest_puback():
        slowest, until = 0, time.monotonic() + 7
        while time.monotonic() < until:
            began = time.monotonic()
            client.publish_wait("plant/t", b"x")
            slowest = max(slowest, time.monotonic() - began)
        return slowest

    quick_once(1, slowest_puback, "a PUBACK", 3)
    equal(last_error(gateway), "name resolution of broker.test takes longer than 2 s: "
                               "look at the name servers")
    check("reason=\"name resolution of broker.test takes longer than 2 s" in gateway.log(),
          "it is logged", gateway.log())
    gateway.stop()


@case
def a_name_server_that_is_silent_after_its_first_answer_delays_no_acknowledgement():
    servers = NameServers("timeout:30")
    servers.answer("127.0.0.1", questions=2)  # IPv4 and IPv6 of the daemon's own lookup
    broker = Mosquitto().start()
    gateway = Gateway("tcp://broker.test:%d" % broker.port).start(wrap=servers.wrap())
    client = gateway.client(5, timeout=60)

    # If the library asked again, it would wait with its mutex held, and the loop for that at the end
    # of the attempt: no PUBACK would come for two minutes.
    wait_for(lambda: client.publish_wait("plant/t", b"x") and
             gateway.status()["link"]["state"] == "online", 60, "the link")
    equal(len(servers.asked), 2, "questions to the name servers")
    gateway.stop()


@case
def a_stop_does_not_wait_for_a_silent_name_server():
    servers = NameServers("timeout:30")
    gateway = Gateway("tcp://broker.test:1883").start(wrap=servers.wrap())
    wait_for(lambda: servers.asked, 10, "a question to the name server")
    gateway.stop()


@case
def the_link_comes_up_once_the_name_server_answers():
    servers = NameServers("timeout:1")
    broker = Mosquitto().start()
    far = far_side(broker)
    gateway = Gateway("tcp://broker.test:%d" % broker.port)
    gateway.start(wrap=servers.wrap())
    wait_for(lambda: last_error(gateway), 10, "a last_error")
    publish(gateway, numbered(0, 10))
    servers.answer("127.0.0.1")
    gateway.wait_link()
    equal(gateway.status()["link"]["broker"], "tcp://broker.test:%d" % broker.port, "broker")
    wait_all(far, numbered(0, 10))
    gateway.stop()


@case
def a_broker_whose_address_changed_is_found_again():
    servers = NameServers()
    servers.answer("127.0.0.2")
    broker = Mosquitto().start()
    gateway = Gateway("tcp://broker.test:%d" % broker.port)
    gateway.start(wrap=servers.wrap())
    wait_for(lambda: last_error(gateway), 10, "a last_error")
    servers.answer("127.0.0.1")
    gateway.wait_link()
    gateway.stop()


run_all()

"""The link to the broker: outages, restarts, TLS, passwords, a broker that says no."""

import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Link, Mosquitto  # noqa: E402
from gateway import Gateway, check_audit  # noqa: E402
from mqtt import Subscriber  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402


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
    def there():
        return len(set(far.payloads())) >= len(payloads)
    wait_for(there, seconds, lambda: "%d messages at the broker, there are %d"
             % (len(payloads), len(set(far.payloads()))))
    equal(firsts(far.payloads()), payloads, "what arrived, in order")


# Outages


@case
def what_is_published_during_an_outage_arrives_in_order_afterwards():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).mend()
    gateway = Gateway(link.url).start()
    gateway.wait_link()
    publish(gateway, numbered(0, 100))
    wait_all(far, numbered(0, 100))
    link.cut()
    wait_for(lambda: gateway.status()["link"]["state"] != "online", 10, "the link seen as down")
    publish(gateway, numbered(100, 1000))
    equal(gateway.ledger()["spooled"], 1000, "spooled")
    link.mend()
    wait_all(far, numbered(0, 1100))
    equal(gateway.wait_drained()["delivered"], 1100)
    equal(gateway.status()["link"]["connects"], 2, "connects")
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def three_cuts_under_load_lose_nothing():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).mend()
    gateway = Gateway(link.url, uplink={"window": 50}).start()
    gateway.wait_link()
    for cycle in range(3):
        publish(gateway, numbered(cycle * 2000, 1000))
        link.cut(reset=cycle == 1)
        publish(gateway, numbered(cycle * 2000 + 1000, 1000))
        link.mend()
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


@case
def a_storm_of_resets_loses_nothing_and_damages_nothing():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).mend()
    gateway = Gateway(link.url, uplink={"backoff": {"min": "10ms", "max": "50ms"}}).start()
    gateway.wait_link()
    payloads = [b"%06d " % number + b"x" * 500 for number in range(8000)]
    resets = 0
    with gateway.client(5) as client:
        for index, _ in client.publish_many((("plant/t", entry) for entry in payloads), 200):
            if index % 300 == 299:
                link.reset()
                resets += 1
    gateway.wait_drained(60)
    wait_all(far, payloads, 60)
    check(resets >= 20, "resets", resets)
    check(gateway.status()["link"]["connects"] > 3, "connects", gateway.status()["link"])
    gateway.stop()
    check_audit(gateway.audit_lines())


@case
def a_link_that_stalls_is_noticed_and_what_was_in_flight_is_sent_again():
    broker = Mosquitto().start()
    far = far_side(broker)
    link = Link(broker.port).mend()
    gateway = Gateway(link.url, uplink={"ack_timeout": "1s", "keepalive": "60s"}).start()
    gateway.wait_link()
    link.stalled = True
    publish(gateway, numbered(0, 50))
    wait_for(lambda: gateway.status()["link"]["last_error"], 20, "the stall noticed")
    link.cut()
    link.mend()
    wait_all(far, numbered(0, 50))
    gateway.wait_drained()
    gateway.stop()


@case
def a_stop_with_the_link_stalled_keeps_what_was_in_flight():
    broker = Mosquitto().start()
    link = Link(broker.port).mend()
    gateway = Gateway(link.url).start()
    gateway.wait_link()
    link.stalled = True
    publish(gateway, numbered(0, 50))
    gateway.stop()
    ledger = gateway.ledger()
    equal((ledger["spooled"], ledger["delivered"]), (50, 0), "spooled and delivered")
    far = far_side(broker)
    link.cut()
    link.mend()
    gateway.start()
    wait_all(far, numbered(0, 50))
    gateway.stop()


# TLS


def tls_gateway(broker, certificates, host="localhost", **tls):
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


# A broker that says no (the scripted one)


def fake_broker(**options):
    try:
        from fake_broker import FakeBroker
    except ImportError:
        skip("tests/support/fake_broker.py is not there")
    made = FakeBroker(**options)
    cleanup(made.stop)
    return made.start() or made


run_all()

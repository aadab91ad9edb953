# SPDX-License-Identifier: MIT
"""TLS and secrets: each cause is named with its file, before the link needs it and when it fails."""

import datetime
import os
import shutil
import ssl
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Mosquitto  # noqa: E402
from fake_broker import FakeBroker  # noqa: E402
from fake_clock import FakeClock  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

DAY = 24 * 3600


def tls_gateway(broker, **tls):
    return Gateway("ssl://localhost:%d" % broker.port, uplink={"tls": tls})


def last_error(gateway):
    return gateway.status().get("link", {}).get("last_error") or ""


def wait_error(gateway, *parts):
    """The last error has each of @parts."""
    wait_for(lambda: all(part in last_error(gateway) for part in parts), 20,
             lambda: "%r in the last error, which is %r" % (parts, last_error(gateway)))


def test_config(gateway, env=None):
    """The exit code and both outputs of --test-config."""
    environment = dict(os.environ)
    environment.pop("CREDENTIALS_DIRECTORY", None)
    environment.update(env or {})
    done = processes.run([processes.daemon_path(), "-c", gateway.config, "--test-config"],
                         env=environment)
    return done.returncode, (done.stderr + done.stdout).decode()


def written(name, data):
    path = os.path.join(processes.folder(), name)
    with open(path, "wb") as out:
        out.write(data)
    return path


def read(path):
    with open(path, "rb") as seen:
        return seen.read()


def day(moment):
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d")


# What the handshake shows


@case
def an_expired_certificate_of_the_broker_is_named_with_its_date_and_the_clock():
    certificates = Certificates(server_days=-1)
    broker = Mosquitto(tls=certificates).start()
    gateway = tls_gateway(broker, ca_file=certificates.ca).start()
    wait_error(gateway, "broker's certificate has expired (CN=localhost): it ended at "
               + day(time.time() - DAY), ", and this clock says " + day(time.time()))
    gateway.stop()


@case
def a_clock_that_begins_in_1970_is_named_and_when_it_is_set_the_link_comes_up():
    clock = FakeClock()
    clock.set_1970()
    certificates = Certificates()
    broker = Mosquitto(tls=certificates).start()
    gateway = tls_gateway(broker, ca_file=certificates.ca).start(env=clock.env())
    wait_error(gateway, "certificate is not valid yet", "): it begins at " + day(time.time()),
               "clock says 1970-01-01", "set the clock")
    clock.synchronize(time.time())
    gateway.wait_link()
    gateway.stop()


@case
def a_broker_of_another_authority_is_named_with_the_file_that_does_not_vouch_for_it():
    other = Certificates()
    broker = Mosquitto(tls=Certificates()).start()
    gateway = tls_gateway(broker, ca_file=other.ca).start()
    wait_error(gateway, "no certificate in %s vouches" % other.ca, "CN=Test CA")
    equal(gateway.status()["link"]["remedy"],
          "put the certificate of that issuer into the file of uplink.tls.ca_file")
    gateway.stop()


@case
def without_a_file_of_authorities_the_remedy_is_to_set_one():
    broker = Mosquitto(tls=Certificates()).start()
    gateway = tls_gateway(broker).start()
    wait_error(gateway, "no certificate in the system's certificates vouches", "CN=Test CA")
    equal(gateway.status()["link"]["remedy"],
          "set uplink.tls.ca_file to a file that has the certificate of that issuer")
    gateway.stop()


@case
def a_certificate_for_another_host_name_is_named_with_the_names_that_it_is_for():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates).start()
    gateway = Gateway("ssl://127.0.0.1:%d" % broker.port,
                      uplink={"tls": {"ca_file": certificates.ca}}).start()
    wait_error(gateway, "not for the host name in uplink.brokers", "DNS:localhost")
    gateway.stop()


@case
def a_client_certificate_that_the_broker_wants_is_named_as_a_setting():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    gateway = tls_gateway(broker, ca_file=certificates.ca).start()
    wait_error(gateway, "client certificate")
    remedy = gateway.status()["link"]["remedy"]
    check("set uplink.tls.cert_file and uplink.tls.key_file" in remedy, "the remedy", remedy)
    gateway.stop()


@case
def a_client_certificate_that_the_broker_rejects_is_named_with_its_file():
    certificates, other = Certificates(), Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    gateway = tls_gateway(broker, ca_file=certificates.ca, cert_file=other.client_cert,
                          key_file=other.client_key).start()
    wait_error(gateway, "broker rejects the certificate in " + other.client_cert)
    gateway.stop()


# What the files show


def encrypted_key(certificates, password):
    path = os.path.join(certificates.folder, "encrypted.key")
    done = processes.run(["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc",
                          "-in", certificates.client_key, "-out", path,
                          "-passout", "pass:" + password])
    equal(done.returncode, 0, done.stderr)
    return path


@case
def a_file_that_cannot_work_is_named_with_its_cause_at_test_config_at_the_start_and_in_the_status():
    certificates, other = Certificates(), Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    good = {"ca_file": certificates.ca, "cert_file": certificates.client_cert,
            "key_file": certificates.client_key}
    damaged = read(certificates.ca).replace(b"MII", b"AAA", 1)
    secret = written("wrong-password", b"wrong\n")
    rows = [
        ("ca_file", written("empty.pem", b""), "is empty"),
        ("ca_file", certificates.client_key, "has no certificate in PEM form"),
        ("ca_file", written("damaged.pem", damaged), "is damaged"),
        ("ca_file", "/nowhere/ca.pem", "No such file or directory"),
        ("cert_file", written("text.pem", b"not PEM\n"), "has no certificate in PEM form"),
        ("key_file", other.client_key, "is not the key of the certificate in "
         + certificates.client_cert),
        ("key_file", certificates.client_cert, "has no private key in PEM form"),
        ("key_file", encrypted_key(certificates, "right"),
         "is encrypted, and not with the password in " + secret),
    ]
    for key, path, cause in rows:
        tls = dict(good, **{key: path})
        if "password" in cause:
            tls["key_password_file"] = secret
        gateway = tls_gateway(broker, **tls)
        code, seen = test_config(gateway)
        equal(code, 78, (key, path, seen))
        for part in ("uplink.tls." + key, path, cause):
            check(part in seen, "--test-config names", part, seen)
        gateway.start()
        wait_for(lambda made=gateway, part="uplink_file_unusable key=uplink.tls.%s file=\"%s\" reason="
                 % (key, path): part in made.log(), 10, "the file in the log")
        check(cause in gateway.log(), "the log has the cause", cause, gateway.log())
        wait_error(gateway, path, cause)
        check("wrong\n" not in gateway.log(), "no password in the log")
        gateway.stop()
    gateway = tls_gateway(broker, **good)
    equal(test_config(gateway)[0], 0, "exit code with good files")


@case
def a_file_that_is_replaced_is_used_at_the_next_connect():
    first, second = Certificates(), Certificates()
    folder = processes.folder()
    broker = Mosquitto(tls=first).start()
    ca = shutil.copy(first.ca, os.path.join(folder, "ca.crt"))
    gateway = tls_gateway(broker, ca_file=ca).start()
    gateway.wait_link()
    for name in ("server.crt", "server.key"):
        shutil.copy(os.path.join(second.folder, name), os.path.join(first.folder, name))
    broker.restart()
    wait_error(gateway, "no certificate in %s vouches" % ca)
    shutil.copy(second.ca, ca)
    gateway.wait_link()
    gateway.stop()


@case
def after_a_hup_a_replaced_file_is_used_as_soon_as_nothing_is_in_flight():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    password = written("password", b"first\n")
    gateway = Gateway(broker.url, uplink={"username": "u", "password_file": password}).start()
    gateway.wait_link()
    # Nothing was replaced: the connection stays.
    gateway.hup()
    wait_for(lambda: gateway.log().count("reloaded applied=all") == 1, 10, "the first reload")
    broker.change(noack=True)
    equal(gateway.client(5).publish_wait("plant/t", b"000001").reason, 0, "reason")
    wait_for(broker.publishes, 10, "the message at the broker")
    with open(password + ".new", "w") as out:
        out.write("second\n")
    os.rename(password + ".new", password)
    gateway.hup()
    wait_for(lambda: gateway.log().count("reloaded applied=all") == 2, 10, "the second reload")
    # More is accepted, but not sent, until the one in flight has its answer.
    equal(gateway.client(5).publish_wait("plant/t", b"000002").reason, 0, "reason")
    gateway.fresh_status()
    equal((gateway.status()["link"]["connects"], len(broker.publishes())), (1, 1),
          "connects and messages while one is in flight")
    broker.change(noack=False)
    broker.acknowledge_all()
    equal(gateway.wait_drained()["delivered"], 2, "delivered")
    equal([entry["seq"] for entry in broker.publishes()], [1, 2], "sent once each")
    equal(gateway.status()["link"]["connects"], 2, "connects")
    check("link_renew" in gateway.log() and "link_lost" not in gateway.log(),
          "it is no loss", gateway.log())
    gateway.stop()


@case
def after_a_hup_a_file_that_cannot_work_leaves_the_connection_as_it_is():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates).start()
    ca = shutil.copy(certificates.ca, os.path.join(processes.folder(), "ca.crt"))
    gateway = tls_gateway(broker, ca_file=ca).start()
    gateway.wait_link()
    with open(ca, "w") as out:
        out.write("not yet\n")
    gateway.hup()
    wait_for(lambda: "reloaded applied=all" in gateway.log(), 10, "the reload")
    check("uplink_file_unusable key=uplink.tls.ca_file" in gateway.log(), "the log names it",
          gateway.log())
    gateway.fresh_status()
    equal([gateway.status()["link"][name] for name in ("state", "connects")], ["online", 1],
          "state and connects")
    shutil.copy(certificates.ca, ca)
    gateway.hup()
    wait_for(lambda: gateway.status()["link"]["connects"] == 2, 10, "the second connection")
    gateway.stop()


@case
def a_certificate_that_expires_soon_is_a_line_a_day_and_a_member_of_the_status():
    def lines():
        return gateway.log().count("uplink_certificate_dates")

    clock = FakeClock()
    certificates = Certificates(days=30)
    cert, key = certificates.issue("short", "gateway", "extendedKeyUsage=clientAuth", 10)
    broker = Mosquitto(tls=certificates).start()
    expires = time.time() + 10 * DAY
    gateway = tls_gateway(broker, ca_file=certificates.ca, cert_file=cert, key_file=key)
    gateway.start(env=clock.env())
    gateway.wait_link()
    equal(gateway.status()["link"]["certificate_expires"][:10], day(expires),
          "link.certificate_expires")
    equal(lines(), 0, "lines 10 days before")
    for days, (passed, cause) in enumerate([(4, "expires at"), (1, "expires at"),
                                            (6, "expired at")]):
        clock.pass_time(passed * DAY)
        wait_for(lambda wanted=days + 1: lines() == wanted, 15,
                 lambda: "a line a day, there are %d" % lines())
        line = [text for text in gateway.log().splitlines()
                if "uplink_certificate_dates" in text][-1]
        for part in ("key=uplink.tls.cert_file", cert, cause, day(expires), "remedy="):
            check(part in line, "the line names", part, line)
        clock.pass_time(3 * 3600)
        gateway.fresh_status()
        gateway.fresh_status()
        equal(lines(), days + 1, "lines on the same day")
    code, seen = test_config(gateway, clock.env())
    equal(code, 0, "exit code, because the broker decides: " + seen)
    check("warning: %s expired at" % cert in seen, "--test-config warns", seen)
    # A new one, while nothing connects: the member follows within the hour.
    fresh, _ = certificates.issue("fresh", "gateway", "extendedKeyUsage=clientAuth", 25)
    shutil.copy(fresh, cert)
    clock.pass_time(3600)
    wait_for(lambda: gateway.status()["link"]["certificate_expires"][:10]
             == day(time.time() + 25 * DAY), 10, "the new date")
    gateway.stop()


# Secrets


@case
def a_password_file_with_more_than_the_password_is_reported_and_sent_as_it_is():
    broker = FakeBroker().start()
    cleanup(broker.stop)
    rows = [
        (b"s3cret\r\n", "ends with CR LF"),
        (b"\xef\xbb\xbfs3cret\n", "byte order mark"),
        (b"s3cret\n\n", "more than one line end"),
        (b"s3cret\nother\n", "more than one line"),
        (b"s3cret \n", "a blank"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"   \n", "a blank"),
    ]
    path = written("password", b"")
    gateway = Gateway(broker.url, uplink={"username": "gateway", "password_file": path})
    for data, cause in rows:
        with open(path, "wb") as out:
            out.write(data)
        code, seen = test_config(gateway)
        equal(code, 0, (data, seen))
        check("uplink.password_file: warning: %s " % path in seen and cause in seen,
              "--test-config warns", data, seen)
        check("s3cret" not in seen, "no password is printed", seen)
    gateway.start()
    check('uplink_file_suspect key=uplink.password_file file="%s" reason=' % path in gateway.log(),
          "a warning at the start", gateway.log())
    gateway.stop()
    with open(path, "wb") as out:
        out.write(b"s3cret word\n")
    check("warning: " + path not in test_config(gateway)[1], "no warning about a sound file")


@case
def what_is_not_protected_is_a_warning_at_each_start():
    certificates = Certificates(days=30)
    password = written("password", b"s3cret\n")
    open_line = "uplink_insecure key=uplink.password_file"
    unchecked = "uplink_insecure key=uplink.tls.verify"
    rows = [
        ("tcp://127.0.0.1:9", {"username": "u", "password_file": password}, {open_line}),
        ("ssl://127.0.0.1:9", {"username": "u", "password_file": password}, set()),
        ("ssl://127.0.0.1:9", {"tls": {"ca_file": certificates.ca, "verify": False}},
         {unchecked}),
        ("tcp://127.0.0.1:9", {"username": "u"}, set()),
    ]
    for url, uplink, wanted in rows:
        gateway = Gateway(url, uplink=uplink)
        code, seen = test_config(gateway)
        equal((code, "warning" in seen), (0, bool(wanted)), (url, seen))
        for starts in (1, 2):
            gateway.start()
            gateway.stop()
            for line in (open_line, unchecked):
                equal(gateway.log().count(line), starts if line in wanted else 0, (url, line))


@case
def a_byte_order_mark_in_the_configuration_is_named():
    gateway = Gateway()
    text = read(gateway.config)
    with open(gateway.config, "wb") as out:
        out.write(b"\xef\xbb\xbf" + text)
    code, seen = test_config(gateway)
    equal(code, 78, "exit code")
    check("byte order mark" in seen, "the cause", seen)


@case
def credentials_of_the_unit_are_found_by_percent_d():
    certificates = Certificates()
    broker = Mosquitto(tls=certificates, client_certificates=True).start()
    folder = processes.folder()
    for name in ("ca", "client_cert", "client_key"):
        shutil.copy(getattr(certificates, name), os.path.join(folder, name))
    gateway = tls_gateway(broker, ca_file="%d/ca", cert_file="%d/client_cert",
                          key_file="%d/client_key")
    env = {"CREDENTIALS_DIRECTORY": folder}
    code, seen = test_config(gateway, env)
    equal(code, 0, seen)
    gateway.start(env=env)
    gateway.wait_link()
    equal(gateway.tool("status", "--json").returncode, 0, "the tool needs no credentials")
    gateway.hup()
    wait_for(lambda: "reloaded applied=all" in gateway.log(), 10, "a reload that changes nothing")
    gateway.stop()
    code, seen = test_config(gateway)
    equal(code, 78, "exit code without the variable")
    check("CREDENTIALS_DIRECTORY is not set" in seen and "LoadCredential=" in seen,
          "the cause", seen)


# What is asked of the broker


def scripted(certificates, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    for name, value in options.items():
        if callable(getattr(context, name)):
            getattr(context, name)(value)
        else:
            setattr(context, name, value)
    broker = FakeBroker(tls=context).start()
    cleanup(broker.stop)
    return broker


@case
def a_broker_without_the_wanted_version_of_tls_is_refused_and_the_setting_is_named():
    certificates = Certificates()
    broker = scripted(certificates, maximum_version=ssl.TLSVersion.TLSv1_2)
    gateway = tls_gateway(broker, ca_file=certificates.ca).start()
    gateway.wait_link()
    gateway.stop()
    # A server of OpenSSL's, because asyncio closes without the alert.
    port = processes.free_port()
    server = processes.start(["openssl", "s_server", "-quiet", "-tls1_2", "-accept", str(port),
                              "-cert", certificates.server_cert,
                              "-key", certificates.server_key],
                             stdin=processes.PIPE, stdout=processes.PIPE, stderr=processes.PIPE)
    cleanup(processes.end, server)
    gateway = Gateway("ssl://localhost:%d" % port, uplink={
        "tls": {"ca_file": certificates.ca, "min_version": "1.3"}}).start()
    wait_error(gateway, "uplink.tls.min_version")
    gateway.stop()
    broker = scripted(certificates)
    gateway = tls_gateway(broker, ca_file=certificates.ca, min_version="1.3").start()
    gateway.wait_link()
    gateway.stop()


@case
def the_protocol_of_alpn_is_offered():
    certificates = Certificates()
    broker = scripted(certificates, set_alpn_protocols=["x-amzn-mqtt-ca"])
    gateway = tls_gateway(broker, ca_file=certificates.ca, alpn="x-amzn-mqtt-ca").start()
    gateway.wait_link()
    selected = [connection.transport.get_extra_info("ssl_object").selected_alpn_protocol()
                for connection in list(broker.open)]
    equal(selected, ["x-amzn-mqtt-ca"], "what the broker has selected")
    gateway.stop()


@case
def websockets_are_refused_with_the_reason():
    for url in ("ws://broker.example", "wss://broker.example:443"):
        code, seen = test_config(Gateway(url))
        equal(code, 78, url)
        check("WebSocket" in seen and "paho.mqtt.c issue 1688" in seen, "the reason", seen)


run_all()

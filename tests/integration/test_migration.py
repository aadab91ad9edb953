# SPDX-License-Identifier: MIT
"""mosquitto-to-spoold: what it makes of a mosquitto.conf with a bridge, and that it does the same."""

import os
import re
import socket
import stat
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Certificates, Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from mqtt import PUBCOMP, PUBREC, PUBREL, Client, Subscriber, packet  # noqa: E402
from tap import case, check, cleanup, equal, run_all, wait_for  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")
SCRIPT = os.path.join(SOURCE, "scripts", "mosquitto-to-spoold")
SECONDS = 30


def written(text, name="mosquitto.conf", folder=None):
    path = os.path.join(folder or processes.folder(), name)
    with open(path, "w") as out:
        out.write(text)
    return path


def script(path, *arguments):
    done = processes.run([sys.executable, SCRIPT, path, *arguments], timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def convert(text, *arguments, code=0):
    """The configuration that the daemon makes of it: {key: value} from --print-config, and stderr.

    All that is written passes --test-config.
    """
    seen, out, error = script(written(text), *arguments)
    equal(seen, code, "exit code, with %s" % error)
    config = written(out, "mqtt-spoold.conf")
    done = processes.run([processes.daemon_path(), "-c", config, "--test-config"])
    equal(done.returncode, 0, "exit code of --test-config, %r, of\n%s" % (done.stderr, out))
    done = processes.run([processes.daemon_path(), "-c", config, "--print-config"])
    equal(done.returncode, 0, "--print-config")
    return flat(done.stdout.decode()), out, error


def flat(text):
    """{dotted key: value} of what --print-config has printed; lists of groups as their lines."""
    keys, groups, name = {}, [], None
    for line in text.splitlines():
        line = re.sub(r"\s*# .*", "", line)
        setting = re.fullmatch(r"\s*(\w+) = (.*);", line)
        if line.endswith(":"):
            groups.append(line.strip()[:-1])
        elif line.strip() == "};":
            groups.pop()
        elif re.fullmatch(r"\w+ = \(", line):
            name = line.split()[0]
            keys[name] = []
        elif line.startswith(")"):
            name = None
        elif name and setting:
            keys[name].append((setting.group(1), setting.group(2)))
        elif setting:
            keys[".".join(groups + [setting.group(1)])] = setting.group(2)
    return keys


BRIDGE = "connection site7\naddress broker.example\n"


@case
def the_smallest_bridge_is_carried_over():
    keys, out, error = convert(BRIDGE + "topic # out 1\n")
    equal(keys["uplink.brokers"], '( "tcp://broker.example:1883" )')
    equal(keys["uplink.client_id"], '"%s.site7"' % socket.gethostname())
    equal(keys["uplink.max_qos"], "1")
    equal(keys["uplink.topic_prefix"], '""')
    equal(keys["access"], "( )")
    check("NOT CARRIED OVER" not in out and "not carried over" not in error, "all of it", error)


@case
def every_option_with_an_equivalent_is_carried_over():
    certificates = Certificates()
    keys, _, _ = convert(
        "max_queued_messages 5000\r\n"  # as from another system
        "max_queued_bytes 1000000\nmax_inflight_messages 50\nmax_packet_size 100000\n"
        "listener 0 /run/x.sock\n"
        "connection a b%%\n"
        "addresses one.example:8883 [2001:db8::1]:8884 10.0.0.1\n"
        "topic sensors/# out 2 \"\" plant/\n"
        "remote_clientid gw%%H\nremote_username \"u\\\nkeepalive_interval 45\n"
        "bridge_protocol_version mqttv50\nbridge_outgoing_retain false\n"
        "bridge_cafile %s\nbridge_certfile %s\nbridge_keyfile %s\nbridge_tls_version tlsv1.3\n"
        "bridge_alpn mqtt\nrestart_timeout 5 60\nround_robin true\nstart_type automatic\n"
        "notifications false\ncleansession true\ntry_private false\nlocal_clientid x\n"
        % (certificates.ca, certificates.client_cert, certificates.client_key))
    wanted = {
        "retention.max_messages": "5000", "retention.max_bytes": '"1000000"',
        "retention.when_full": '"refuse"', "uplink.window": "50",
        "listen.max_packet": '"100000"', "listen.socket": '"/run/x.sock"',
        "uplink.brokers": '( "ssl://one.example:8883", "ssl://[2001:db8::1]:8884", '
                          '"ssl://10.0.0.1:1883" )',
        "uplink.client_id": '"gw%%H"', "uplink.username": r'"\"u\\"', "uplink.keepalive": '"45s"',
        "uplink.protocol": '"5"', "uplink.retain": "false",
        "uplink.tls.ca_file": '"%s"' % certificates.ca,
        "uplink.tls.cert_file": '"%s"' % certificates.client_cert,
        "uplink.tls.key_file": '"%s"' % certificates.client_key,
        "uplink.tls.min_version": '"1.3"', "uplink.tls.alpn": '"mqtt"',
        "uplink.backoff.min": '"5s"', "uplink.backoff.max": '"1m"', "uplink.failback": '"0"',
        "uplink.max_qos": "2", "uplink.topic_prefix": '"plant/"', "uplink.presence.topic": '""',
    }
    equal({key: keys[key] for key in wanted}, wanted)
    equal([entry for entry in keys["access"] if entry[0] == "publish"],
          [("publish", '( "sensors/#" )')] * 2)


@case
def topics_with_prefixes_and_qos_of_their_own_become_lanes():
    keys, _, error = convert(
        BRIDGE + "topic a/+/b/# out 1 l/ r/\ntopic c out 1\ntopic \"\" out 2 x/y z\n"
        "topic + out 0 p/ p/\nnotification_topic gw/7\n")
    wanted = [("topics", '( "l/a/+/b/#", "c" )'), ("max_qos", "1"),
              ("map", '( "l/a/+/b/#", "r/a/{1}/b/{#}" )'),
              ("topics", '( "x/y" )'), ("max_qos", "2"), ("map", '( "x/y", "z" )'),
              ("topics", '( "p/+" )'), ("max_qos", "0"), ("map", "( )")]
    equal([entry for entry in keys["lanes"] if entry[0] in ("topics", "max_qos", "map")], wanted)
    equal([keys["uplink.presence." + name] for name in ("topic", "online", "offline", "retain")],
          ['"gw/7"', '"1"', '"0"', "true"])
    check("QoS 0 as in mosquitto" in error, "the note", error)


@case
def what_cannot_be_carried_over_is_named_with_its_place_and_the_exit_code():
    lacking = ["topic cmd/# in 1", "topic x both 1", "bridge_insecure true", "bridge_capath /etc/ssl",
               "bridge_require_ocsp true", "bridge_protocol_version mqttv31",
               "bridge_tls_version tlsv1.1", "bridge_bind_address 10.0.0.1", "start_type lazy",
               "notifications true", "keepalive_interval many", "restart_timeout 0",
               "round_robin maybe", "no_such_option 1", "acl_file /etc/acl", "listener 1883"]
    text = BRIDGE + "topic # out 1\n"
    _, out, error = convert(text + "\n".join(lacking) + "\n", code=1)
    for number, line in enumerate(lacking, 4):
        place = "mosquitto.conf:%d: %s: " % (number, line)
        check(place in out.partition("\n\n")[0], "the comment about " + line, out)
        check(place in error, "standard error about " + line, error)
    equal(error.count("not carried over: "), len(lacking))


@case
def a_host_that_the_daemon_would_refuse_is_named():
    text = "connection a\ntopic # out 1\naddress ok.example:1884 h:99999 h:0 h:01 h_é [::1]:8883 fe80::2:1884 [::1] ::2\n"
    keys, _, error = convert(text, code=1)
    equal(keys["uplink.brokers"],
          '( "tcp://ok.example:1884", "tcp://[::1]:8883", "tcp://[fe80::2]:1884", '
          '"tcp://[::1]:1883" )')
    for host in ("h:99999", "h:0", "h:01"):
        check(": %s: the port is not a number from 1 to 65535" % host in error, host, error)
    check("neither a host name nor an address" in error, "the name", error)
    code, out, error = script(written("connection a\ntopic # out 1\naddress h:99999\n"))
    equal((code, out), (2, ""), "no other address")
    check("h:99999" in error and "from 1 to 65535" in error, "why", error)
    for host in ("h:x1", "a.b:x", "1.2.3.4:port", "x" * 300):
        code, out, error = script(written("connection a\ntopic # out 1\naddress %s\n" % host))
        equal((code, out), (2, ""), host)


@case
def a_topic_that_an_earlier_one_covers_is_named():
    for earlier, later, covered in (
            ("a/#", "a/b", True), ("a/#", "a", True), ("#", "a/#", True), ("+/b", "a/b", True),
            ("a/+/#", "a/b/#", True), ("a/#", "a/+/#", True), ("a/+/#", "a/#", False),
            ("a/+", "a/#", False), ("a/b", "a/+", False), ("a/b/#", "a", False), ("+", "a/b", False)):
        lines = "topic %s out 1\ntopic %s out 2\n" % (earlier, later)
        keys, out, error = convert(BRIDGE + lines, code=1 if covered else 0)
        equal("mosquitto.conf:4: topic %s out 2: all its topics match %s before" % (later, earlier)
              in error, covered, lines)
        equal("bridge-2" in out, not covered, lines)
        convert(BRIDGE + lines.replace("out 2", "out 1"))


@case
def an_output_that_cannot_be_written_is_an_error():
    path = written(BRIDGE + "topic # out 1\nremote_username u\nremote_password p\n")
    password = os.path.join(processes.folder(), "password")
    for redirection in (">/dev/full", ">&-"):
        done = processes.run(["sh", "-c", 'exec "$@" ' + redirection, "sh", sys.executable, SCRIPT,
                              path, "--password-file", password])
        equal(done.returncode, 2, redirection)
        check(not os.path.exists(password), "a password file is left")
        check(b"mosquitto-to-spoold: the configuration cannot be written" in done.stderr and
              b"Traceback" not in done.stderr and b"Exception" not in done.stderr, redirection,
              done.stderr)


@case
def a_pre_shared_key_is_refused_and_nothing_is_written():
    for line in ("bridge_psk deadbeef", "bridge_identity gw"):
        code, out, error = script(written(BRIDGE + "topic # out\n" + line + "\n"))
        equal((code, out), (2, ""))
        check("mosquitto.conf:4" in error and "pre-shared keys" in error, "the reason", error)
        check("deadbeef" not in error, "the key is shown", error)


@case
def the_password_goes_to_a_file_of_its_own():
    path = os.path.join(processes.folder(), "password")
    text = BRIDGE + "topic # out 1\nremote_username gw\nremote_password s3cret word\n"
    keys, out, error = convert(text, "--password-file", path)
    equal(keys["uplink.password_file"], '"%s"' % path)
    check("s3cret" not in out + error, "the password is shown", out, error)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600)
    with open(path) as seen:
        equal(seen.read(), "s3cret word\n")
    code, out, error = script(written(text), "--password-file", path)
    equal((code, out), (2, ""), "it is there already")
    check("remove it, or name another file with --password-file" in error, "the remedy", error)
    code, out, error = script(written(text))
    equal(code, 0)
    check('password_file = "/etc/mqtt-spoold/password"' in out, "the usual place", out)
    check("install -m 0400 -o mqtt-spoold" in error and "s3cret" not in out + error, "the note",
          error)


@case
def secrets_of_misspelled_and_local_options_are_not_shown():
    text = BRIDGE + "topic # out 1\nremote_pasword s3cret\nlocal_password s3cret\n"
    code, out, error = script(written(text))
    equal(code, 1)
    check("remote_pasword ...: unknown here" in error, "its name", error)
    check("s3cret" not in out + error, "the password is shown", out, error)


@case
def files_of_include_dir_are_read_in_mosquittos_order():
    folder = processes.folder()
    more = os.path.join(folder, "more")
    os.mkdir(more)
    written("connection site7\naddress first\n", "a.conf", more)
    written("address second\ntopic # out 1\n", "b.conf", more)
    written("wrong\n", "c.off", more)
    path = written("include_dir %s\n" % more, folder=folder)
    code, out, error = script(path)
    equal(code, 0, error)
    check('"tcp://second:1883"' in out, "the last address", out)
    written("include_dir %s\n" % more, "d.conf", more)
    code, out, error = script(path)
    equal((code, out), (2, ""), "a folder that includes itself")


@case
def of_several_bridges_one_is_chosen():
    text = ("connection one\naddress a\ntopic # out 1\nmax_queued_messages 7\n"
            "connection two\naddress b\ntopic # out 2\n")
    code, out, error = script(written(text))
    equal((code, out), (2, ""))
    check("--connection: one, two" in error, "the names", error)
    keys, _, _ = convert(text, "--connection", "two")
    equal((keys["uplink.brokers"], keys["uplink.max_qos"]), ('( "tcp://b:1883" )', "2"))
    equal(keys["retention.max_messages"], "7", "an option of mosquitto itself, wherever it stands")
    equal(script(written(text), "--connection", "three")[0], 2)


@case
def what_is_no_bridge_is_refused():
    for text, reason in (("persistence true\n", "there is no bridge"),
                         ("connection a\ntopic # out\n", "has no address"),
                         (BRIDGE, "no topic goes out"), (BRIDGE + "topic # in\n", "no topic goes out"),
                         ("connection\n", "needs a name"), ("x" * (1 << 20) + "\n", "1 MiB")):
        code, out, error = script(written(text))
        equal((code, out), (2, ""), text[:100])
        check(reason in error, "the reason", error)
    equal(script("/nonexistent")[0], 2)
    fifo = os.path.join(processes.folder(), "fifo")
    os.mkfifo(fifo)
    equal(script(fifo)[0], 2, "a FIFO, without waiting for a writer")


@case
def text_of_the_file_stays_text():
    keys, out, error = convert(BRIDGE + "topic # out 1\nremote_clientid a\"; };\u202e\\\n"
                               "wrong \x1b[2J\u202e\n", code=1)
    check(not set("\x1b\u202e") & set(out + error), "escapes", out, error)
    check("wrong \\u{1B}[2J\\u{202E}: unknown here" in error, "the visible form", error)
    equal(keys["uplink.client_id"], r'"a\"; };\xE2\x80\xAE\\"')


def send(client, topic, qos):
    """The reason of the acknowledgement."""
    if qos == 1:
        return client.publish_wait(topic, b"1").reason
    packet_id = client.publish(topic, b"2", qos=2)
    reason = client.expect(PUBREC).reason
    client.send(packet(PUBREL, struct.pack(">H", packet_id), 2))
    client.expect(PUBCOMP)
    return reason


def received(far):
    return sorted((message.topic, message.payload, message.qos) for message in list(far.messages))


@case
def the_gateway_sends_to_the_broker_what_the_bridge_sent():
    remote = Mosquitto().start()
    far = Subscriber(remote.address).start()
    cleanup(far.stop)
    local = Mosquitto(options="\n".join([
        "connection site7", "address 127.0.0.1:%d" % remote.port, "bridge_protocol_version mqttv311",
        "topic sensors/+/t/# out 1 \"\" plant7/", "topic x/# out 2 l/ r/", "topic \"\" out 1 one two",
        "notification_topic gw/7"])).start()
    name = " as %s.site7 " % socket.gethostname()
    connects = open(remote.log, errors="replace")
    cleanup(connects.close)

    def count():
        connects.seek(0)
        return connects.read().count(name)

    wait_for(lambda: count() == 1, SECONDS, "the bridge at the remote broker")
    messages = [("sensors/7/t/a/b", 1), ("sensors/8/t", 1), ("l/x/1", 2), ("l/x", 1), ("one", 1),
                ("other/topic", 1)]
    with Client(local.address, 5) as client:
        for topic, qos in messages[:-1]:
            send(client, topic, qos)
    wait_for(lambda: len(far.messages) == 6, SECONDS, lambda: "5 messages and the state of the "
             "bridge, of which came %r" % received(far))
    local.stop()
    wait_for(lambda: b"0" in far.payloads(), SECONDS,
             lambda: "the end of the bridge in %r" % received(far))
    bridged = received(far)
    del far.messages[:]

    gateway = Gateway(remote.url)
    folder = os.path.join(gateway.folder, "conf.d")
    os.mkdir(folder)
    code, out, error = script(local.config)
    check("listener" in error and error.count("not carried over") == code == 1, "all but the TCP "
          "listener", error)
    written(out, "50-bridge.conf", folder)
    gateway.start()
    gateway.wait_link()
    wait_for(lambda: count() == 2, SECONDS, "the gateway, with the same client id")
    with gateway.client(5) as client:
        for topic, qos in messages:
            equal(send(client, topic, qos), 0x87 if topic == "other/topic" else 0, topic)
    gateway.wait_drained()
    gateway.stop()
    wait_for(lambda: len(far.messages) == len(bridged), SECONDS,
             lambda: "%r, of which came %r" % (bridged, received(far)))
    equal(received(far), bridged)


run_all()

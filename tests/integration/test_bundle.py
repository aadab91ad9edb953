# SPDX-License-Identifier: MIT
"""mqtt-spool bundle: all that a bug report needs, and no secret in it."""

import contextlib
import gzip
import io
import json
import os
import re
import stat
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

PEM = "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n"
JOURNAL = """#!/bin/sh
echo 'event=one password=CANARY-log-word topic=plant/CANARY-topic'
echo 'event=two broker=ssl://user:CANARY-log-url@host:8883?token=CANARY-log-query reason="x"'
echo 'event=three error="CANARY-password-file and CANARY-key-password"'
cat <<'END'
%sEND
echo event=last
""" % (PEM % "CANARYlogkey")


class Bundle:
    """What is in a bundle that was written."""

    def __init__(self, done, path):
        self.error = done.stderr.decode()
        check("ERROR: " not in self.error and "runtime error" not in self.error, "sanitizer",
              self.error)
        equal(done.returncode, 0, self.error)
        with open(path, "rb") as file:
            self.raw = gzip.decompress(file.read())
        with tarfile.open(fileobj=io.BytesIO(self.raw), mode="r:") as archive:
            self.names = archive.getnames()
            self.texts = {name: archive.extractfile(name).read().decode() for name in self.names}

    def canaries(self, word="CANARY"):
        return [(name, line) for name, text in self.texts.items() for line in text.splitlines()
                if word in line]


def write(path, text, mode=0o600):
    with open(path, "w") as out:
        out.write(text)
    os.chmod(path, mode)
    return path


def fake_programs(folder):
    """A journalctl of our own, because no journal is written here."""
    programs = os.path.join(folder, "programs")
    os.mkdir(programs)
    write(os.path.join(programs, "journalctl"), JOURNAL, 0o755)
    return dict(os.environ, PATH=programs + ":" + os.environ["PATH"])


def bundle(gateway, *arguments, env=None, name="out.tar.gz"):
    path = os.path.join(gateway.folder, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # none is replaced
    command = [processes.tool_path(), "-c", gateway.config, "bundle", *arguments, path]
    return Bundle(processes.run(command, 150, env=env), path)


def planted():
    """A gateway that has a canary in each place that a secret can be in."""
    broker = Mosquitto().start()
    gateway = Gateway(broker.url)
    gateway.start()
    gateway.wait_link()
    client = gateway.client()
    client.publish_wait("plant/CANARY-topic", b"CANARY-payload", properties={
        "user": [("spool-ref", "CANARY-ref"), ("x", "CANARY-property")]})
    client.disconnect()
    gateway.wait_audit(1)
    secrets = os.path.join(gateway.folder, "secrets")
    os.mkdir(secrets)
    # The daemon does not read it again.
    gateway.configure(uplink={
        "brokers": ["ssl://127.0.0.1:%d" % broker.port], "username": "CANARY-username",
        "password_file": write(os.path.join(secrets, "password"), "CANARY-password-file\n"),
        "tls": {"key_password_file": write(os.path.join(secrets, "kp"), "CANARY-key-password\n"),
                "cert_file": write(os.path.join(secrets, "crt"), "CANARY-certificate"),
                "key_file": write(os.path.join(secrets, "key"), PEM % "CANARYkeylineCANARY")}},
        lanes=[{"name": "plant", "topics": ["plant/CANARY-topic"]}])
    with open(gateway.config, "a") as out:
        out.write("# CANARY-comment\n// CANARY-comment\n/* CANARY\ncomment */\n"
                  "password = \"CANARY-in-file\";\nextra = { api_token = \"CANARY_word\"; };\n"
                  "uplink_url = \"ssl://me:CANARY-url@host?x=CANARY-query\";\n")
    os.mkdir(os.path.join(gateway.folder, "conf.d"))
    write(os.path.join(gateway.folder, "conf.d", "20-b.conf"),
          "uplink = { password = \"CANARY-snippet\"; window = 3; };\n")
    write(os.path.join(gateway.folder, "conf.d", "10-a.conf"), "log_level = \"debug\";\n")
    write(os.path.join(gateway.folder, "conf.d", "other.txt"), "CANARY-other\n")
    return gateway


@case
def no_secret_is_anywhere_in_a_bundle_and_all_else_is():
    gateway = planted()
    seen = bundle(gateway, env=fake_programs(gateway.folder))
    left = [row for row in seen.canaries() if "CANARY-topic" not in row[1]]
    left += [row for row in seen.canaries() if row[1].count("CANARY") != row[1].count("CANARY-topic")]
    equal(left, [], "secrets in the bundle")
    check(b"CANARY-payload" not in seen.raw, "the payload")
    equal(seen.names[0], "MANIFEST")
    check({"status.json", "config/mqtt-spoold.conf", "config/conf.d/10-a.conf",
           "config/conf.d/20-b.conf", "log.txt", "audit.jsonl", "doctor.txt", "files.txt",
           "versions.txt"} <= set(seen.names), "members", seen.names)
    equal(seen.names.count("config/conf.d/other.txt"), 0)
    check("event=last" in seen.texts["log.txt"], "the log", seen.texts["log.txt"])
    line = json.loads(seen.texts["audit.jsonl"].splitlines()[-1])
    equal((line["outcome"], line["topic"], "ref" in line), ("delivered", "plant/CANARY-topic", False))
    check("verdict" in seen.texts["doctor.txt"] and "spool.db" in seen.texts["files.txt"], "doctor, files")
    equal(json.loads(seen.texts["status.json"])["pid"], gateway.process.pid)
    check("window = 3" in seen.texts["config/conf.d/20-b.conf"], "a setting that is no secret")
    manifest = seen.texts["MANIFEST"]
    check("READ IT BEFORE YOU SEND IT" in manifest and "(ref)" in manifest, "MANIFEST", manifest)
    for name in seen.names[1:]:
        check(re.search(r"^  %s +\d+ bytes" % re.escape(name), manifest, re.MULTILINE), name, manifest)
    gateway.stop()


@case
def a_password_that_is_a_word_leaves_the_manifest_readable_which_names_what_was_replaced():
    gateway = Gateway()
    gateway.configure(uplink={"username": "me", "password_file": write(
        os.path.join(gateway.folder, "pw"), "secret\n")})
    with open(gateway.config, "a") as out:
        out.write('extra = "a secret and another secret";\n/* it does not end')
    seen = bundle(gateway)
    manifest = seen.texts["MANIFEST"]
    check("secrets are removed as far as" in manifest, "its own texts", manifest)
    check("without comments and secrets" in manifest, "what the files are", manifest)
    check("%s: its end is left out" % gateway.config in manifest, "a note", manifest)
    places = {name: text.count("(removed)") for name, text in seen.texts.items()
              if "(removed)" in text and name != "MANIFEST"}
    equal(places["config/mqtt-spoold.conf"], 3, "the user, and the password twice")
    check(": %d places, in\n" % sum(places.values()) in manifest, "how many", manifest, places)
    for name, count in places.items():
        check(re.search(r"^  %s +%d$" % (re.escape(name), count), manifest, re.MULTILINE), name, manifest)
    os.rename(gateway.config, os.path.join(gateway.folder, "a-secret.conf"))
    gateway.config = os.path.join(gateway.folder, "a-secret.conf")
    manifest = bundle(gateway).texts["MANIFEST"]
    check("/a-secret.conf" not in manifest and "/a-(removed).conf: its end" in manifest,
          "a text from outside", manifest)


@case
def without_topics_a_topic_has_one_number_in_all_files():
    gateway = planted()
    seen = bundle(gateway, "--no-topics", env=fake_programs(gateway.folder))
    equal(seen.canaries(), [], "topics in the bundle")
    numbers = {re.search(r"topic-\d+", seen.texts[name]).group()
               for name in ("log.txt", "audit.jsonl", "config/mqtt-spoold.conf")}
    equal(len(numbers), 1, "numbers of one topic: %s" % numbers)
    gateway.stop()


@case
def an_error_of_the_configuration_does_not_repeat_a_secret():
    gateway = Gateway(uplink={"password_file": "CANARY-not-a-path"})
    equal(bundle(gateway).canaries(), [])
    # One that cannot be parsed; its files are found anyway.
    secret = write(os.path.join(gateway.folder, "password"), "CANARY-password-file\n")
    other = write(os.path.join(gateway.folder, "other"), "CANARY-key-password\r\n")
    write(gateway.config, "uplink = { password_file = \"%s\"; key_password_file = \"%s\"; "
                          "password = CANARY-unquoted!;" % (secret, other))
    seen = bundle(gateway, env=fake_programs(gateway.folder))
    equal([row for row in seen.canaries() if "CANARY-topic" not in row[1]], [])
    check("event=three" in seen.texts["log.txt"], "the log", seen.texts["log.txt"])


@case
def the_file_is_whole_and_its_owners_only():
    gateway = Gateway()
    first = bundle(gateway)
    path = os.path.join(gateway.folder, "out.tar.gz")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode")
    again = gateway.tool("bundle", path)
    equal((again.returncode, b"it is not replaced" in again.stderr), (64, True), "a second one")
    equal(bundle(gateway, name="other.tar.gz").names, first.names, "the order of the members")
    tar = processes.run([processes.need("tar"), "-tzf", path])
    equal(tar.stdout.decode().split(), first.names, "as tar lists it")
    equal(len(first.raw) % 512, 0, "whole blocks")
    equal([name for name in os.listdir(gateway.folder) if "out.tar" in name], ["out.tar.gz"])


@case
def zeros_behind_the_audit_file_take_no_place_of_lines():
    broker = Mosquitto().start()
    gateway = Gateway(broker.url)
    gateway.start()
    gateway.wait_link()
    with gateway.client() as client:
        client.publish_wait("plant/t", b"x")
    gateway.wait_audit(1)
    gateway.stop()
    size = os.path.getsize(gateway.audit)
    os.truncate(gateway.audit, size + (20 << 20))
    seen = bundle(gateway)
    check('"outcome":"delivered"' in seen.texts["audit.jsonl"].replace(" ", ""), "the record", seen.texts["audit.jsonl"])
    note = "%s: left out, 20971520 zero bytes with which it ends, from byte %d on" % (gateway.audit, size)
    check(note in seen.texts["MANIFEST"], "the zeros", seen.texts["MANIFEST"])
    gateway.start()
    check("audit_mended" in gateway.log(), "the daemon cuts them", gateway.log())
    equal(os.path.getsize(gateway.audit), size)
    gateway.stop()


@case
def what_a_terminal_obeys_is_escaped():
    gateway = Gateway(audit={"deliveries": True}, retention={"max_messages": 1})
    gateway.start()
    with gateway.client(client_id="ev\u202eil\u0085") as client:
        for number in range(3):
            client.publish_wait("t", b"%d" % number)
    gateway.wait_audit(2)
    with open(os.path.join(gateway.folder, "spool", "ev\x1b[31m\nname\u202e"), "w"):
        pass
    gateway.stop()
    seen = bundle(gateway)
    hidden = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
    texts = seen.texts
    equal([(name, hidden.findall(texts[name])[:3]) for name in texts if hidden.search(texts[name])], [],
          "members with such characters")
    check("ev\\x1B[31m" in texts["files.txt"], "the name", texts["files.txt"])
    check("ev\\u202Eil\\u0085" in texts["audit.jsonl"], "the client id", texts["audit.jsonl"])


@case
def what_cannot_be_written_leaves_nothing():
    gateway = Gateway()
    done = gateway.tool("bundle", os.path.join(gateway.folder, "no", "such.tar.gz"))
    check(done.returncode in (69, 77) and done.stderr, "exit code", done.returncode, done.stderr)
    equal(gateway.tool("bundle").returncode, 64, "without a file")
    path = os.path.join(gateway.folder, "json.tar.gz")
    result = json.loads(gateway.tool("bundle", "--json", path).stdout)
    equal((result["file"], sorted(result)), (path, ["file", "files", "notes"]))
    equal(gateway.tool("bundle", "a", "b").returncode, 64, "with two files")
    full = gateway.tool("bundle", "/dev/full")
    check(full.returncode != 0, "a device is no file", full.returncode)


run_all()

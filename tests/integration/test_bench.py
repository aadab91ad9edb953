# SPDX-License-Identifier: MIT
"""bench/run.py before it measures: it builds what it needs, or reports in one line what is missing.
And what it measures with: the sink that counts messages, the counts of bytes, and the tables."""

import json
import os
import shutil
import ssl
import struct
import sys
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import mqtt  # noqa: E402
from broker import Certificates  # noqa: E402
from processes import PIPE, end, folder, free_port, run, start  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

BUILD = os.environ.get("SPOOLD_BUILD") or os.path.join(SOURCE, "build", "dev")


def program(place, name, *lines):
    path = os.path.join(place, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(("#!/bin/sh",) + lines) + "\n")
    os.chmod(path, 0o755)


def bench(place, *arguments):
    """Ends before anything is measured; the programs in @place come first."""
    environment = dict(os.environ, PATH=place + ":" + os.environ["PATH"], TMPDIR=place)
    program(place, "mosquitto", "exit 1")
    done = run([sys.executable, os.path.join(SOURCE, "bench", "run.py"), *arguments],
               env=environment)
    said = done.stderr.decode()
    check("Traceback" not in said, "no traceback", said)
    equal(done.returncode, 1, "the exit code, with %r" % said)
    return said


@case
def a_folder_without_a_build_is_named_with_the_command_that_makes_one():
    place = folder()
    said = bench(place, "--build", place)
    check(said.splitlines()[-1].endswith("cmake -S %s -B %s" % (SOURCE, os.path.realpath(place))),
          "the command", said)


@case
def what_is_measured_is_built_first():
    place = folder()
    program(place, "cmake", 'echo "$@" >>"$TMPDIR/asked"',
            '[ "$1" = --preset ] || { echo "no compiler"; exit 1; }')
    said = bench(place)
    with open(os.path.join(place, "asked"), encoding="utf-8") as seen:
        asked = seen.read().splitlines()
    release = os.path.join(SOURCE, "build", "release")
    equal(asked, ["--preset release", "--build %s --target mqtt-spoold mqtt_load paho_load "
                  "disk_load fault_io sink file_count" % release], "what cmake was asked for")
    check("no compiler" in said, "what cmake said", said)
    check(said.splitlines()[-1].endswith(": cmake " + asked[-1]), "what failed", said)


@case
def a_folder_to_write_to_that_is_not_there_is_wrong_usage():
    place = folder()
    done = run([sys.executable, os.path.join(SOURCE, "bench", "run.py"), "--folder",
                os.path.join(place, "none")])
    equal(done.returncode, 2, "the exit code, with %r" % done.stderr)
    check(b"none is no folder" in done.stderr, "why", done.stderr)


class Sink:
    """The ideal broker, which waits for @count messages."""

    def __init__(self, count, *certificate):
        self.port = free_port()
        self.process = start([os.path.join(BUILD, "bench", "sink"), str(self.port), str(count),
                              *certificate], stdout=PIPE)
        equal(self.line(), "ready")

    def line(self):
        return self.process.stdout.readline().decode().strip()

    def counts(self):
        found = json.loads(self.line())
        return found["distinct"], found["repeated"], found["foreign"]


def numbered(number):
    """A payload as those of the bench: its number, when it was sent, and more."""
    return struct.pack(">QQ", number, 1) + b"more"


def check_counts(version):
    sink = Sink(3)
    with mqtt.Client(("127.0.0.1", sink.port), version) as client:
        equal(sink.line(), "connected")
        for number in (0, 2, 2, 3):  # one is repeated, one was never sent, and 1 is missing
            client.publish_wait("a/b", numbered(number))
        client.publish("a/b", numbered(2), qos=0)
        client.publish("a/b", numbered(0), qos=2)
        client.expect(mqtt.PUBREC)
        client.send(mqtt.packet(mqtt.PUBREL, struct.pack(">H", client.last_id), 2))
        client.expect(mqtt.PUBCOMP)
        client.publish_wait("a/b", numbered(1))
        equal(sink.counts(), (3, 3, 1), "when all are there")
        client.publish_wait("a/b", numbered(1))
    sink.process.terminate()
    equal(sink.counts(), (3, 4, 1), "at its end")
    equal(end(sink.process), 0, "its exit code")


@case
def the_sink_counts_missing_and_repeated_messages():
    check_counts(4)
    check_counts(5)


@case
def the_sink_that_misses_a_message_does_not_report_all():
    sink = Sink(2)
    with mqtt.Client(("127.0.0.1", sink.port)) as client:
        equal(sink.line(), "connected")
        client.publish_wait("a/b", numbered(1))
    sink.process.terminate()
    equal(sink.counts(), (1, 0, 0))
    equal(end(sink.process), 0, "its exit code")


@case
def the_sink_answers_over_tls():
    certificates = Certificates()
    sink = Sink(100, certificates.server_cert, certificates.server_key)
    client = mqtt.Client(("127.0.0.1", sink.port))
    context = ssl.create_default_context(cafile=certificates.ca)
    client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
    with client:
        equal(sink.line(), "connected")
        # In one record of TLS that the sink cannot read in one go.
        client.send(b"".join(
            mqtt.publish_packet(5, "a/b", numbered(i) + bytes(4000), 1, i + 1) for i in range(100)))
        equal([client.expect(mqtt.PUBACK).packet_id for _ in range(100)], list(range(1, 101)))
        equal(sink.counts(), (100, 0, 0))
    end(sink.process)


@case
def bytes_and_syncs_are_counted_by_kind_of_file():
    place = folder()
    counts = os.path.join(place, "counts")
    script = ("import os\n"
              "for name in ('s.db-wal', 's.db', 'a.jsonl'):\n"
              "    fd = os.open(os.path.join(%r, name), os.O_CREAT | os.O_WRONLY)\n"
              "    os.write(fd, bytes(len(name)))\n"
              "    os.pwrite(fd, bytes(100), 0)\n"
              "    os.fsync(fd)\n"
              "    os.close(fd)\n"
              "os.write(os.pipe()[1], b'no file')\n") % place
    done = run([sys.executable, "-c", script], env=dict(
        os.environ, LD_PRELOAD=os.path.join(BUILD, "bench", "libfile_count.so"), FILE_COUNT=counts))
    equal(done.returncode, 0, done.stderr)
    with open(counts, "rb") as file:
        numbers = struct.unpack("=24Q", file.read())
    kinds = {number: numbers[3 * number:3 * number + 3] for number in range(8)}
    equal(kinds[2], (108, 2, 1), "the log")
    equal(kinds[3], (104, 2, 1), "the database")
    equal(kinds[4], (107, 2, 1), "the audit file")


@case
def sectors_of_a_device_are_those_that_were_written():
    """A file of 4 MiB, and what the file system adds for it."""
    script = ("import os, pathlib, sys\n"
              "sys.path.insert(0, %r)\n"
              "from measure.counters import Device, why_no_device\n"
              "folder = pathlib.Path(%r)\n"
              "reason = why_no_device(folder)\n"
              "if reason:\n"
              "    sys.exit(reason)\n"
              "device = Device(folder, 'one', 64)\n"
              "before = device.written_bytes()\n"
              "(device.path / 'file').write_bytes(bytes(4 << 20))\n"
              "print(device.written_bytes() - before)\n"
              "print(device.written_bytes() - before)\n"
              "device.close()\n") % (os.path.join(SOURCE, "bench"), folder())
    done = run(["unshare", "--mount", sys.executable, "-B", "-c", script])
    if done.returncode != 0:
        skip(done.stderr.decode().strip())
    first, second = map(int, done.stdout.split())
    check(4 << 20 <= first <= (4 << 20) + 200000, "bytes", first)
    check(second - first <= 20000, "bytes while nothing is written", second - first)


def save_results(path):
    """Three rounds of two cells, and a cell that could not be measured."""
    numbers = (50000, 4.0), (60000, 4.0), (70000, 4.0)
    with open(path, "w", encoding="utf-8") as out:
        for number, (rate, cpu) in enumerate(numbers):
            for cell, values in (
                    ("sink/daemon", {"rate": rate, "cpu_gateway": cpu, "repeated": 1}),
                    ("sink/bridge", {"rate": 10000, "cpu_gateway": 3 * cpu, "repeated": 0})):
                print(json.dumps({"cell": cell, "round": number, "values": values}), file=out)
        print(json.dumps({"cell": "calls", "skipped": "no strace"}), file=out)


def report(place, *arguments):
    saved = os.path.join(place, "saved")
    save_results(saved)
    done = run([sys.executable, os.path.join(SOURCE, "bench", "run.py"), "--load", saved, *arguments])
    equal(done.returncode, 0, done.stderr)
    return done.stdout.decode()


@case
def saved_results_become_tables_with_what_is_reached():
    said = report(folder())
    for line in ("| to the sink: rate / tuned bridge | 6.00 [5.00..7.00] | >= 4 | yes | ",
                 "CPU of the daemon | 3.00 [3.00..3.00] | >= 3.3 | no | ", "repeated: 3.",
                 "Not measured, calls: no strace."):
        check(line in said, line, said)


@case
def tables_and_plot_of_the_documents_are_replaced():
    place = folder()
    page = os.path.join(place, "performance.md")
    shutil.copy(os.path.join(SOURCE, "docs", "performance.md"), page)
    said = report(place, "--write", place)
    with open(page, encoding="utf-8") as written:
        first = written.read()
    check(said.strip() in first, "the tables", first)
    report(place, "--write", place)
    with open(page, encoding="utf-8") as written:
        equal(written.read(), first, "written twice")
    names = {element.tag.rpartition("}")[2] for element in
             xml.etree.ElementTree.parse(os.path.join(place, "performance.svg")).iter()}
    check({"svg", "style", "text", "rect"} <= names, "the elements of the plot", names)


run_all()

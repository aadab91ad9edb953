# SPDX-License-Identifier: MIT
"""bench/run.py before it measures: it builds what it needs, or reports in one line what is
missing."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from processes import folder, run  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


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
                  "disk_load fault_io" % release], "what cmake was asked for")
    check("no compiler" in said, "what cmake said", said)
    check(said.splitlines()[-1].endswith(": cmake " + asked[-1]), "what failed", said)


@case
def a_folder_to_write_to_that_is_not_there_is_wrong_usage():
    place = folder()
    done = run([sys.executable, os.path.join(SOURCE, "bench", "run.py"), "--folder",
                os.path.join(place, "none")])
    equal(done.returncode, 2, "the exit code, with %r" % done.stderr)
    check(b"none is no folder" in done.stderr, "why", done.stderr)


run_all()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/tap-count, whose verdict all others depend on: what counts as failed, whatever happened."""

import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

import processes  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

COUNT = os.path.join(os.environ.get("SPOOLD_SOURCE", "."), "scripts", "tap-count")
ASAN = "# ==1==ERROR: AddressSanitizer: heap-use-after-free\n"


def program(name, output, good):
    return ("1/1 Test: %s\nOutput:\n%s<end of output>\nTest %s.\n"
            % (name, output, "Passed" if good else "Failed"))


def count(last, first=None):
    """The exit code, the last line and all lines."""
    folder = os.path.join(processes.folder(), "dev", "Testing", "Temporary")
    os.makedirs(folder)
    for name, text in (("LastTest.log", last), ("FirstTest.log", first)):
        if text is not None:
            with open(os.path.join(folder, name), "w") as out:
                out.write(text)
    done = subprocess.run([sys.executable, COUNT, os.path.join(folder, "LastTest.log")],
                          capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.rstrip("\n").split("\n")[-1], done.stdout


GOOD = "1..2\nok 1 - a\nok 2 - b\n"
BAD = "1..2\nok 1 - a\nnot ok 2 - b\n"


@case
def each_case_counts_once():
    skipped = "1..3\nok 1 - a\nok 2 - b # SKIP no root\nok 3 - c\n"
    equal(count(program("x", skipped, True))[:2], (0, "2 passed, 0 failed, 1 skipped"))


@case
def what_was_not_reported_has_failed():
    for output, good, line in ((BAD, False, "1 passed, 1 failed, 0 skipped"),
                               ("1..2\nok 1 - a\n", True, "1 passed, 1 failed, 0 skipped"),
                               (GOOD, False, "2 passed, 1 failed, 0 skipped"),
                               ("", False, "0 passed, 1 failed, 0 skipped")):
        equal(count(program("x", output, good))[:2], (1, line), output)
    equal(count(None)[:2], (1, "0 passed, 1 failed, 0 skipped"), "no log")


@case
def what_passes_alone_is_shown_as_unsteady():
    first = program("x", BAD, False) + program("y", GOOD, True)
    code, line, shown = count(program("x", GOOD, True), first)
    equal((code, line), (0, "4 passed, 0 failed, 0 skipped"))
    check("UNSTEADY, passed alone: b" in shown, "named", shown)


@case
def a_second_failure_and_a_finding_of_a_sanitizer_count():
    first = program("x", BAD, False) + program("y", GOOD, True)
    equal(count(program("x", BAD, False), first)[:2], (1, "3 passed, 1 failed, 0 skipped"))
    found = program("x", "1..2\nok 1 - a\n" + ASAN + "not ok 2 - b\n", False)
    equal(count(program("x", GOOD, True), found)[:2], (1, "1 passed, 1 failed, 0 skipped"))
    equal(count(None, first)[:2], (1, "3 passed, 1 failed, 0 skipped"), "it did not run again")


if __name__ == "__main__":
    sys.exit(run_all())

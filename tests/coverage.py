# SPDX-License-Identifier: MIT
"""The share of each folder's lines and branches that unit tests run, in a build of preset `coverage`.

    ctest --test-dir build/coverage -R '^(unit/|coverage$)' && cat build/coverage/coverage.txt

Branches are printed only: many of them are failures of the machine.
"""

import collections
import json
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all, skip  # noqa: E402

ROOT = os.path.realpath(os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), ".."))
BUILD = os.path.realpath(os.environ["SPOOLD_BUILD"])
FOLDERS = ("base", "store", "daemon", "cli")
LINES_PERCENT = 85
# Folders below it, each with its reason.
REASONS = {
    "daemon": "its files are run as a program only: test_life.py and test_config.py of integration",
    "cli/bundle": "it collects what a running gateway has: tests/integration/test_bundle.py",
    "cli/doctor": "its steps run in a process of their own, against brokers: "
                  "tests/integration/test_doctor.py",
}

Share = collections.namedtuple("Share", "lines branches total")


def measured():
    if not shutil.which("gcovr"):
        skip("gcovr is not installed")
    # With two workers one removes what gcov writes of a common header while the other reads it.
    ended = subprocess.run(
        ["gcovr", "--root", ROOT, "--object-directory", BUILD, "--json-summary", "-"]
        + ["--filter=%s/" % os.path.join(ROOT, folder) for folder in FOLDERS]
        + [os.path.join(BUILD, folder) for folder in FOLDERS + ("tests",)],
        capture_output=True, text=True, check=False)
    check(ended.returncode == 0, "gcovr failed", ended.stderr[-1000:])
    return json.loads(ended.stdout)["files"]


def by_folder(files):
    """{folder: Share} in percent, of the sources: what headers hold is counted in each user."""
    counts = collections.defaultdict(collections.Counter)
    for file in files:
        if file["filename"].endswith(".c"):
            for name in ("line_covered", "line_total", "branch_covered", "branch_total"):
                counts[os.path.dirname(file["filename"])][name] += file[name]
    return {folder: Share(100 * count["line_covered"] / max(1, count["line_total"]),
                          100 * count["branch_covered"] / max(1, count["branch_total"]),
                          count["line_total"]) for folder, count in counts.items()}


def table(shares):
    rows = ["%-20s %7s %9s %7s" % ("folder", "lines", "branches", "of")]
    rows += ["%-20s %5.1f %% %7.1f %% %7d" % (folder, *shares[folder]) for folder in sorted(shares)]
    return "\n".join(rows) + "\n"


def judged(shares, reasons):
    """What is wrong with them."""
    found = ["%s: %.1f %% of lines are run by unit tests, wanted %d %%"
             % (folder, share.lines, LINES_PERCENT) for folder, share in sorted(shares.items())
             if share.lines < LINES_PERCENT and folder not in reasons]
    found += ["%s: has no need of its reason any more" % folder for folder in sorted(reasons)
              if folder not in shares or shares[folder].lines >= LINES_PERCENT]
    return found


@case
def unit_tests_run_most_lines_of_each_folder():
    shares = by_folder(measured())
    check(len(shares) > 10, "folders measured", sorted(shares))
    with open(os.path.join(BUILD, "coverage.txt"), "w") as out:
        out.write(table(shares))
    print("# " + table(shares).strip().replace("\n", "\n# "))
    found = judged(shares, REASONS)
    check(not found, "\n".join(found))


@case
def a_folder_that_is_run_too_little_is_found():
    files = [{"filename": "base/a.c", "line_covered": 80, "line_total": 100, "branch_covered": 1,
              "branch_total": 2},
             {"filename": "base/b.h", "line_covered": 20, "line_total": 20, "branch_covered": 0,
              "branch_total": 0},
             {"filename": "cli/a.c", "line_covered": 9, "line_total": 10, "branch_covered": 0,
              "branch_total": 0}]
    shares = by_folder(files)
    equal(shares["base"], Share(80, 50, 100))
    equal([line.split(":")[0] for line in judged(shares, {})], ["base"])
    equal([line.split(":")[0] for line in judged(shares, {"base": "why", "cli": "why"})], ["cli"])


run_all()

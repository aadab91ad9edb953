# SPDX-License-Identifier: MIT
"""Holds the form of the source: the licence in its first lines, of the C source what clang-format
would change in it, with .clang-format, and of the Python source what pyflakes reports.

Another version of clang-format has another opinion: Debian 12 carries 14.
"""

import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, equal, run_all, skip  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
FOLDERS = ("base", "store", "daemon", "cli", "bench", "docs", "scripts", "tests")


def clang_format():
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            told = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
            if " version 14." in told.stdout:
                return name
    return skip("clang-format 14 is not installed")


def sources(pattern):
    for folder in FOLDERS:
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            yield from (os.path.join(path, name) for name in names if re.search(pattern, name))


# What has no comments, or is the licence.
NO_LICENCE_LINE = re.compile(r"(\.md|\.json|LICENSE|\.git-blame-ignore-revs)$|^tests/fuzz/corpus/"
                             r"|^debian/(changelog$|copyright$|source/|po/|.*README)")


@case
def each_file_names_its_licence_in_its_first_lines():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode != 0:
        skip("the files of the project are listed by git, and this is no repository")
    without = []
    for name in listed.stdout.decode().split("\0"):
        path = os.path.join(ROOT, name)
        is_picture = name.endswith(".png")
        if name and not is_picture and not NO_LICENCE_LINE.search(name) and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                if "SPDX-License-Identifier: MIT" not in file.read(200):
                    without.append(name)
    equal(without, [], "files without a line SPDX-License-Identifier")


@case
def clang_format_would_change_nothing():
    told = subprocess.run([clang_format(), "--dry-run", "--style=file", *sorted(sources(r"\.[ch]$"))],
                          capture_output=True, text=True, check=False)
    places = re.findall(r"^(.+?):(\d+):\d+: warning: code should be", told.stderr, re.MULTILINE)
    equal(sorted({"%s:%s" % (os.path.relpath(path, ROOT), line) for path, line in places}), [],
          "lines that clang-format -i would change")
    equal(told.returncode, 0, told.stderr[-500:])


def imported_for_its_effects(path, line):
    with open(path, encoding="utf-8") as file:
        return "F401" in file.read().split("\n")[int(line) - 1]


@case
def pyflakes_reports_nothing():
    if not shutil.which("pyflakes3"):
        skip("pyflakes3 is not installed")
    told = subprocess.run(["pyflakes3", *sorted(sources(r"\.py$|^tap-count$"))], capture_output=True, text=True,
                          check=False)
    equal(told.stderr, "", "what it could not read")
    lines = [re.match(r"(.+?):(\d+):\d*:? (.*)", line).groups() for line in told.stdout.splitlines()]
    equal(["%s:%s: %s" % (os.path.relpath(path, ROOT), line, text) for path, line, text in lines
           if not imported_for_its_effects(path, line)], [], "unused imports and their like")


run_all()

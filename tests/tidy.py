# SPDX-License-Identifier: MIT
"""Runs clang-tidy over the product's sources, as this build compiles them, with the tree's
.clang-tidy.

Each source has a process of its own: with several, clang-tidy 14 reports each va_list after the first
source as uninitialized. Other versions report other things: Debian 12 carries 14.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all, skip  # noqa: E402

ROOT = os.path.realpath(os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), ".."))
BUILD = os.environ["SPOOLD_BUILD"]
FOLDERS = ("base", "store", "daemon", "cli")
FINDING = re.compile(r"^(/[^:\n]+):(\d+):\d+: (?:warning|error): (.+?) \[([\w.,-]+)\]$",
                     re.MULTILINE)
LEAK = re.compile(r"Potential leak of memory pointed to by '(?:\w+\.)*(\w+)'")


os.nice(10)  # other tests that run beside it are more pressing


def clang_tidy():
    for name in ("clang-tidy-14", "clang-tidy"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True,
                                     check=True)
            if " version 14." in version.stdout:
                return name
    return skip("clang-tidy 14 is not installed")


def sources():
    with open(os.path.join(BUILD, "compile_commands.json")) as commands:
        files = {os.path.realpath(entry["file"]) for entry in json.load(commands)}
    return sorted(file for file in files
                  if os.path.relpath(file, ROOT).split(os.sep)[0] in FOLDERS)


def is_freed_by_scope(path, message):
    """The analyzer does not know the attribute cleanup: a leak of an AUTO_FREE is none."""
    leak = LEAK.match(message)
    if not leak:
        return False
    with open(path) as source:
        return re.search(r"\bAUTO_FREE [^;=]*\b%s\b" % leak.group(1), source.read()) is not None


def findings(text):
    """{"file:line: what [check]"} of what clang-tidy printed."""
    return {"%s:%s: %s [%s]" % (os.path.relpath(path, ROOT), line, message, name)
            for path, line, message, name in FINDING.findall(text)
            if not is_freed_by_scope(path, message)}


def inspect(program, path):
    ended = subprocess.run([program, "-p", BUILD, "--quiet", path],
                           capture_output=True, text=True, check=False)
    found = findings(ended.stdout)
    if ended.returncode != 0 and not found:
        found = {"%s: clang-tidy ended with %d: %s" % (path, ended.returncode, ended.stderr[-500:])}
    return found


@case(seconds=900)
def clang_tidy_finds_nothing():
    program, paths = clang_tidy(), sources()
    check(len(paths) > 100, "sources of this build", len(paths))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = set().union(*pool.map(lambda path: inspect(program, path), paths))
    check(not found, "%d findings:\n%s" % (len(found), "\n".join(sorted(found))))


@case
def the_configuration_of_the_tree_applies():
    """A fault of a check that only .clang-tidy names, in a file that the build does not know."""
    program = clang_tidy()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fault.c")
        with open(path, "w") as fault:
            fault.write("int twice(int a);\nint twice(int a)\n{\n"
                        "    return a == a ? 2 * a : 0;\n}\n")
        ended = subprocess.run(
            [program, "--quiet", "--config-file=" + os.path.join(ROOT, ".clang-tidy"), path, "--"],
            capture_output=True, text=True, check=False)
    equal([name for _, line, _, name in FINDING.findall(ended.stdout) if line == "4"],
          ["misc-redundant-expression"], ended.stdout + ended.stderr)


@case
def only_a_leak_of_what_its_scope_frees_is_ignored():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "leak.c")
        with open(path, "w") as source:
            source.write("AUTO_FREE char *name = strdup(path);\nchar *other = strdup(path);\n")
        line = ("%s:1:2: warning: Potential leak of memory pointed to by '%%s'"
                " [clang-analyzer-unix.Malloc]")
        equal(len(findings(line % path % "loader.name")), 0, "freed by its scope")
        equal(len(findings(line % path % "other")), 1, "not freed by its scope")


run_all()

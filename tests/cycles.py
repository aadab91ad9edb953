# SPDX-License-Identifier: MIT
"""No two files need each other: looks at what the objects of this build define and want.

A cycle is a set of files each of which, directly or over others, calls or reads something of each
other one. Calls through tables of functions are not seen.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all  # noqa: E402

BUILD = os.environ["SPOOLD_BUILD"]
ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
FOLDERS = ("base", "store", "daemon", "cli")
OBJECT = re.compile(r"(?:^|/)CMakeFiles/[^/]+\.dir/(.+)\.o$")


def objects():
    """The source that an object was made of, from the root of the tree, and the object's path."""
    for top in FOLDERS:
        for folder, _, names in os.walk(os.path.join(BUILD, top)):
            for name in names:
                path = os.path.join(folder, name)
                found = OBJECT.search(os.path.relpath(path, BUILD))
                if not found:
                    continue
                place = os.path.relpath(path, BUILD)[:found.start()]
                source = os.path.normpath(os.path.join(place, found.group(1)))
                if os.path.exists(os.path.join(ROOT, source)):  # else a build of before is left
                    yield source, path


def symbols(path):
    """What the object defines for others, and what it wants of them."""
    out = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return ({row[2] for row in rows if len(row) == 3 and row[1] in "TDBRCVW"},
            {row[1] for row in rows if len(row) == 2 and row[0] == "U"})


def needs(table):
    """For each file the files that it needs. @table: file -> (defined, wanted)."""
    home = {name: file for file, (defined, _) in table.items() for name in defined
            if name != "main"}
    return {file: {home[name] for name in wanted if name in home} - {file}
            for file, (_, wanted) in table.items()}


def reachable(graph, start):
    seen, left = set(), list(graph[start])
    while left:
        file = left.pop()
        if file not in seen:
            seen.add(file)
            left.extend(graph[file])
    return seen


def cycles(graph):
    beyond = {file: reachable(graph, file) for file in graph}
    found = {frozenset(other for other in beyond[file] if file in beyond[other])
             for file in graph if file in beyond[file]}
    return sorted(sorted(files) for files in found)


@case
def no_two_files_need_each_other():
    table = {file: symbols(path) for file, path in objects()}
    check(len(table) > 60, "objects read", len(table))
    equal(cycles(needs(table)), [])


@case
def a_cycle_is_found():
    table = {"a.c": ({"a"}, {"b", "puts"}), "b.c": ({"b"}, {"c"}), "c.c": ({"c"}, {"a"}),
             "d.c": ({"d"}, {"a"}), "main.c": ({"main"}, {"d"})}
    equal(cycles(needs(table)), [["a.c", "b.c", "c.c"]])
    table["c.c"] = ({"c"}, set())
    equal(cycles(needs(table)), [])


run_all()

# SPDX-License-Identifier: MIT
"""Each function of Paho that is replaced is called under that name in the archive that is linked.

The linker says nothing about a --wrap of a name that is called nowhere: then the library's own function
is back in force. The list is daemon/uplink/paho/seam.txt, per version of the library.
"""

import os
import re
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

import processes  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

BUILD = os.environ["SPOOLD_BUILD"]
ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
LIST = os.path.join(ROOT, "daemon", "uplink", "paho", "seam.txt")
# As nm of an archive of each version shows its calls, without those that both have.
OLD = {"Thread_start": "TU", "MQTTAsync_NULLPublishCommands": "TU"}
NEW = {"Paho_thread_start": "TU"}


def settings():
    """What this build was configured with."""
    with open(os.path.join(BUILD, "CMakeCache.txt")) as cache:
        return dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read(), re.MULTILINE))


def seam():
    found = settings()
    if found["PAHO_LINK"] != "static":
        skip("linked to the shared library, in which no call can be redirected")
    return found


def rows():
    """[(names, versions)] of the list, and its versions: {version: name that it defines}."""
    functions, versions = [], {}
    with open(LIST) as source:
        for line in source:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "version":
                versions[words[1]] = words[2]
            else:
                functions.append((words[0].split("|"), words[1:]))
    return functions, versions


def symbols(path, nm="nm"):
    """{name: kinds} of an archive, as nm calls them: U is called, T is defined."""
    out = subprocess.run([nm, "--format=posix", path], capture_output=True, text=True,
                         check=True).stdout
    table = {}
    for line in out.splitlines():
        words = line.split()
        if len(words) >= 2 and not words[-1].endswith(":"):
            table[words[0]] = table.get(words[0], "") + words[1]
    return table


def redirected():
    """The names for which the linker has an option when it makes the daemon."""
    with open(os.path.join(BUILD, "build.ninja")) as rules:
        found = re.search(r"^build daemon/mqtt-spoold: .*?^  LINK_FLAGS = (.*?)$|^  LINK_LIBRARIES",
                          rules.read(), re.MULTILINE | re.DOTALL)
    return set(re.findall(r"--wrap=(\w+)", found.group(1)))


# This build


@case
def each_replaced_name_is_called_in_the_archive():
    found = seam()
    table = symbols(found["PAHO_LIBRARY"], found["CMAKE_NM"])
    functions, versions = rows()
    version = [name for name, mark in versions.items() if "T" in table.get(mark, "")]
    equal(len(version), 1, "versions whose mark the archive has")
    uncalled = [names for names, where in functions
                if (not where or version[0] in where)
                and not any("U" in table.get(name, "") for name in names)]
    equal(uncalled, [], "replaced, and called nowhere")


@case
def the_linker_redirects_each_name_that_the_archive_calls():
    found = seam()
    table = symbols(found["PAHO_LIBRARY"], found["CMAKE_NM"])
    called = {name for names, _ in rows()[0] for name in names if "U" in table.get(name, "")}
    options = redirected()
    equal(called - options, set(), "called, and not redirected")
    equal(options - called - {"getsockopt"}, set(), "redirected, and not called")


@case
def each_name_of_the_list_has_its_replacement():
    found = seam()
    table = symbols(os.path.join(BUILD, "daemon", "uplink", "paho", "libpaho_link.a"),
                    found["CMAKE_NM"])
    ours = {name[len("__wrap_"):] for name, kinds in table.items()
            if name.startswith("__wrap_") and "T" in kinds}
    equal(ours, {name for names, _ in rows()[0] for name in names})


# Synthetic archives


def check_of_cmake(changes, without=()):
    """cmake/seam.cmake on an archive with the calls of the list and @changes."""
    folder = processes.folder()
    table = {names[0]: "TU" for names, where in rows()[0] if not where}
    table.update(changes)
    lines = ["archive.a[part.o]:"] + ["%s %s" % (name, kind) for name, kinds in table.items()
                                      for kind in kinds if name not in without]
    nm = os.path.join(folder, "nm")
    with open(nm, "w") as script:
        script.write("#!/bin/sh\ncat <<'END'\n%s\nEND\n" % "\n".join(lines))
    os.chmod(nm, stat.S_IRWXU)
    done = subprocess.run(
        ["cmake", "-DSEAM_LIST=" + LIST, "-DSEAM_ARCHIVE=archive.a", "-DCMAKE_NM=" + nm, "-P",
         os.path.join(ROOT, "cmake", "seam.cmake")], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def names_of(changes):
    code, said = check_of_cmake(changes)
    equal(code, 0, said)
    return set(said.split())


def refused(words, changes, without=()):
    code, said = check_of_cmake(changes, without)
    check(code != 0, "the configuration ends with an error")
    for word in words:
        check(word in " ".join(said.split()), word, said)


@case
def each_version_gets_its_own_names():
    old, new = names_of(OLD), names_of(NEW)
    equal(old - new, set(OLD))
    equal(new - old, set(NEW))
    # A version between the two.
    both = names_of(dict(NEW, MQTTAsync_NULLPublishCommands="TU"))
    equal(both - new, {"MQTTAsync_NULLPublishCommands"})


@case
def with_64_bit_time_the_other_name_is_redirected():
    names = names_of(dict(NEW, getsockopt="T", __getsockopt64="U"))
    equal(names - names_of(NEW), {"__getsockopt64"})
    check("getsockopt" in names, "the original's own name is there")


@case
def a_renamed_function_ends_the_configuration():
    for version in (OLD, NEW):
        refused(["called nowhere", "MQTTPacket_Factory", "docs/paho.md"],
                dict(version, MQTTPacket_Factory="T", Paho_packet_factory="TU"))
    refused(["MQTTAsync_NULLPublishCommands", "1.3.12"], OLD, ["MQTTAsync_NULLPublishCommands"])
    refused(["getsockopt|__getsockopt64"], NEW, ["getsockopt"])


@case
def an_unknown_version_ends_the_configuration():
    refused(["is of no version", "seam.txt", "docs/paho.md"], {"Other_thread_start": "TU"})


run_all()

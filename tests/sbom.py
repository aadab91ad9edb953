# SPDX-License-Identifier: MIT
"""The bill of materials (sbom.cdx.json): is it CycloneDX, and does it have what the programs link?"""

import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

import processes  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

BUILD = os.environ["SPOOLD_BUILD"]
ROOT = os.environ["SPOOLD_SOURCE"]
PROGRAMS = {"mqtt-spoold": processes.daemon_path(), "mqtt-spool": processes.tool_path()}
# No part of what is shipped: the sanitizers of a test build, and the compiler's own run time.
OF_COMPILER = re.compile(r"lib(asan|ubsan|tsan|lsan|gcov|gcc_s|atomic)\.so|ld-linux.*\.so")
# The parts of glibc; since 2.34 libc.so.6 has most of them.
OF_LIBC = re.compile(r"lib(c|m|pthread|dl|rt|resolv|anl)\.so")
PKG_CONFIG = {"sqlite": "sqlite3", "openssl": "libcrypto", "libconfig": "libconfig",
              "libsystemd": "libsystemd", "jansson": "jansson", "mosquitto": "libmosquitto",
              "zlib": "zlib"}


def bill():
    with open(os.path.join(BUILD, "sbom.cdx.json")) as file:
        return json.load(file)


def write_again():
    """As each build does. Packages may have been upgraded since the last one."""
    done = processes.run([processes.need("cmake"), "-D",
                          "VALUES=" + os.path.join(BUILD, "sbom-values.cmake"),
                          "-P", os.path.join(ROOT, "cmake", "sbom.cmake")])
    equal(done.returncode, 0, done.stderr)


def components():
    return {entry["name"]: entry for entry in bill()["components"]}


def properties(component, name):
    return [entry["value"] for entry in component["properties"]
            if entry["name"] == "mqtt-spoold:" + name]


def output(*command):
    if not shutil.which(command[0]):
        skip("%s is not installed" % command[0])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(program):
    """The shared libraries that the dynamic section of the program names, without versions."""
    libraries = re.findall(r"\(NEEDED\).*\[(.+?)\]", output("readelf", "-d", program))
    check(len(libraries) > 3, "libraries", libraries)
    return {re.sub(r"\.so.*", ".so", library) for library in libraries}


@case
def it_is_cyclonedx_1_5_with_the_members_that_are_required():
    seen = bill()
    equal((seen["bomFormat"], seen["specVersion"], seen["version"]), ("CycloneDX", "1.5", 1))
    check(re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
                       seen["serialNumber"].lower()), "serial number", seen["serialNumber"])
    equal(seen["metadata"]["component"]["name"], "mqtt-spoold")
    references = [entry["bom-ref"] for entry in seen["components"]]
    equal(len(set(references)), len(references), "references")
    equal(seen["dependencies"], [{"ref": "mqtt-spoold", "dependsOn": references}])
    for entry in seen["components"]:
        check(entry["type"] == "library" and re.fullmatch(r"\d[\w.~+-]*", entry["version"]),
              "a version", entry)
        check(entry["purl"].startswith("pkg:") and entry["licenses"][0]["expression"], "purl", entry)
        check(entry["cpe"].startswith("cpe:2.3:a:") and entry["cpe"].count(":") == 12, "cpe", entry)


@case
def each_library_of_a_program_is_a_component_that_names_the_program():
    for program, path in PROGRAMS.items():
        known = {library for entry in components().values()
                 if program in properties(entry, "used-by")[0].split()
                 for library in properties(entry, "library")}
        found = {"libc.so" if OF_LIBC.match(library) else library for library in needed(path)
                 if not OF_COMPILER.match(library)}
        equal(found - known, set(), "of %s, not in the bill" % program)
        equal(known - found, set(), "in the bill, and not of %s" % program)


@case
def paho_is_there_as_it_is_linked():
    paho = components()["paho.mqtt.c"]
    names = output("nm", "--defined-only", PROGRAMS["mqtt-spoold"])
    is_static = " T MQTTAsync_sendMessage\n" in names
    equal(properties(paho, "linkage"), ["static" if is_static else "dynamic"])
    check(paho["licenses"][0]["expression"] == "EPL-2.0 OR BSD-3-Clause", "licence", paho)


@case
def versions_are_those_of_the_installed_packages():
    write_again()
    for name, module in PKG_CONFIG.items():
        equal(components()[name]["version"], output("pkg-config", "--modversion", module).strip(),
              name)


@case
def versions_of_debian_packages_are_those_of_dpkg():
    for name, entry in components().items():
        package = re.fullmatch(r"pkg:deb/debian/([^@]+)@([^?]+)\?arch=(\w+)", entry["purl"])
        if not package:
            check(not os.path.exists("/etc/debian_version") or not shutil.which("dpkg-query"),
                  "a package of Debian", entry)
            continue
        name, version, arch = package.groups()
        shown = output("dpkg-query", "--show", "--showformat=${Version} ", name + ":" + arch)
        equal(version.replace("%2B", "+").replace("%3A", ":"), shown.split()[0], name)
        check(entry["version"] in shown, "the version of the library in that of the package", entry)


@case
def the_same_packages_give_the_same_file():
    write_again()
    before = bill()
    write_again()
    equal(bill(), before)
    with open(os.path.join(BUILD, "sbom.cdx.json")) as file:
        text = file.read()
    check(ROOT not in text and BUILD not in text, "a path of this machine")
    # In a package it is that of SOURCE_DATE_EPOCH; the builds of the tests do not set it.
    check("timestamp" not in text or "SOURCE_DATE_EPOCH" in os.environ, "a time")


run_all()

# SPDX-License-Identifier: MIT
"""Bash completion of mqtt-spool: verbs, options, lanes and ids, in a real bash."""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from gateway import Gateway  # noqa: E402
import processes  # noqa: E402
from mqtt import spool_id  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SCRIPT = os.path.join(SOURCE, "completion", "mqtt-spool")
# As bash has them when Tab is pressed at the end of the line.
ASK = """set -u
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_mqtt_spool || exit 9
printf '%s\\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
"""


def complete(*words, tool=None):
    """What is offered for the last of @words."""
    done = subprocess.run(["bash", "--norc", "--noprofile", "-c", ASK, "bash", SCRIPT,
                           tool or processes.tool_path()] + list(words),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False,
                          env=dict(os.environ, MQTT_SPOOL_COMPLETION_S="50"))
    equal((done.returncode, done.stderr), (0, b""), "silent")
    return sorted(done.stdout.decode().split())


def help_of(*arguments):
    return subprocess.run([processes.tool_path(), *arguments], stdout=subprocess.PIPE,
                          timeout=60, check=True).stdout.decode()


def verbs():
    part = help_of("--help").split("Verbs:\n")[1].split("\n\n")[0]
    return sorted(re.findall(r"^  ([a-z-]+)", part, re.MULTILINE))


def options_of(verb):
    """Each option is at the start of its line."""
    page = help_of("help", verb)
    return sorted(set(re.findall(r"^ {2,6}(--?[a-zA-Z][a-z-]*)", page, re.MULTILINE)) | {"--help"})


def bash_needed():
    if not processes.find("bash"):
        skip("bash is not installed")


@case
def the_script_is_sound_for_bash():
    bash_needed()
    subprocess.run(["bash", "-n", SCRIPT], check=True, timeout=30)
    if processes.find("shellcheck"):
        subprocess.run(["shellcheck", SCRIPT], check=True, timeout=60)


@case
def verbs_and_options_are_those_of_the_help():
    bash_needed()
    check(len(verbs()) > 15, "verbs are found", verbs())
    equal(complete(""), verbs(), "verbs")
    equal(complete("help", ""), verbs(), "verbs after help")
    equal(complete("sta"), ["status"], "one that begins so")
    for option in ("-c", "--config", "--help", "--version"):
        check(option in complete("-"), "global options have", option, complete("-"))
    for verb in verbs():
        if verb != "help":
            equal(complete(verb, "-"), options_of(verb), "options of " + verb)
    equal(complete("status", "--w"), ["--watch"], "one that begins so")


@case
def lanes_and_ids_are_those_of_the_spool():
    bash_needed()
    gateway = Gateway(lanes=[{"name": "alarms", "topics": ["a/#"]}]).start()
    client = gateway.client(5)
    ids = sorted(str(spool_id(client.publish_wait("a/%d" % number, b"x"))) for number in range(3))
    start = ("-c", gateway.config)
    for _state in ("running", "stopped"):
        equal(complete(*start, "hold", "--lane", ""), ["alarms", "default"], "lanes")
        equal(complete(*start, "list", "--lane", "al"), ["alarms"], "a lane")
        equal(complete(*start, "list", "--lane", "=", "al"), ["alarms"], "after =")
        equal(complete(*start, "list", "--lane", "="), ["alarms", "default"], "at =")
        equal(complete(*start, "show", ""), ids, "ids")
        equal(complete(*start, "drop", "--id", ids[0]), ids[:1], "an id")
        equal(complete(*start, "requeue", "--id", ""), [], "none was rejected")
        gateway.stop()
    equal(complete("list", "--directory", gateway.spool, "--lane", ""), ["alarms", "default"],
          "of that folder")


@case
def what_cannot_be_had_is_not_offered():
    bash_needed()
    equal(complete("-c", "/nonexistent/c", "hold", "--lane", ""), [], "lanes")
    equal(complete("show", "--directory", "/nonexistent", ""), [], "ids")
    equal(complete("", tool="/nonexistent/mqtt-spool"), [], "no tool")
    equal(complete("list", "--topic", ""), [], "a free text")
    equal(complete("log-level", "w"), ["warning"], "levels")
    equal(complete("publish", "-q", ""), ["0", "1"], "QoS")


@case
def files_are_offered_where_a_file_is_wanted():
    bash_needed()
    place = processes.folder()
    for name in ("audit.jsonl", "audit.jsonl.1"):
        with open(os.path.join(place, name), "w", encoding="utf-8"):
            pass
    os.mkdir(os.path.join(place, "audits"))
    begin = os.path.join(place, "au")
    equal(complete("audit", begin), sorted(os.path.join(place, name) for name in
                                           ("audit.jsonl", "audit.jsonl.1", "audits")), "files")
    equal(complete("list", "--directory", begin), [os.path.join(place, "audits")], "folders")
    equal(complete("-c", os.path.join(place, "audit.jsonl.")),
          [os.path.join(place, "audit.jsonl.1")], "a configuration")


run_all()

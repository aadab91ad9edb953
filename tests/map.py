# SPDX-License-Identifier: MIT
"""Holds docs/map.md: one line a folder and file, as the heads of the files say.

    tests/map.py --write    writes it anew

The purpose of a folder stands here, that of a file in its first comment: "name - purpose".
"""

import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
PAGE = os.path.join(ROOT, "docs", "map.md")
FOLDERS = {
    "base": "what any program could use; libc only",
    "store": "the durable truth: messages, outcomes, ledger, in one SQLite database",
    "store/salvage": "reading a spool that may be damaged, and building a sound one of it",
    "daemon": "the daemon",
    "daemon/mqtt": "the MQTT codec and topics; pure",
    "daemon/record": "the outcome record and the status object, as JSON",
    "daemon/seal": "seals of the audit file: bytes in, digest out; pure",
    "daemon/config": "the configuration file",
    "daemon/control": "requests of operators",
    "daemon/ingress": "the local side: the socket and the producers' connections",
    "daemon/tls": "certificates and keys: opened, and checked before they are used",
    "daemon/uplink": "the link to the remote broker",
    "daemon/uplink/paho": "the seam to Paho MQTT C",
    "daemon/audit": "the audit file",
    "daemon/host": "what systemd sees",
    "daemon/gateway": "all policy, from a producer's PUBLISH to the recorded outcome",
    "cli": "the tool mqtt-spool",
    "cli/verbs": "its verbs, one a file",
    "cli/audit": "checking audit files",
    "cli/report": "the page of mqtt-spool report",
    "cli/bundle": "one file for a bug report, without secrets",
    "cli/doctor": "what is wrong on the way of a message; a step group a file",
}
HEAD = re.compile(r"/\* SPDX[^\n]*\n/\*\s+(?:\* )?(\S+) - (.+?)(?:\n \*\n|\n \*/|\s*\*/)", re.DOTALL)
TITLE = """# Where each line lives

One line a folder and file, from the heads of the files; `tests/map.py` compares, and writes this page with
`--write`. A module is a header and the source of the same name, and is listed once.
"""


def purpose(path):
    """What the head of the file says it is for."""
    with open(path) as source:
        found = HEAD.match(source.read())
    if not found or found.group(1) != os.path.basename(path):
        raise AssertionError("%s has no head \"%s - purpose\""
                             % (os.path.relpath(path, ROOT), os.path.basename(path)))
    return re.sub(r"\s*\n \*\s*", " ", found.group(2)).strip().rstrip(".")


def rows(folder):
    """[(names, purpose)] of the sources right in the folder."""
    names = sorted(name for name in os.listdir(os.path.join(ROOT, folder))
                   if name.endswith((".c", ".h")))
    for name in names:
        stem, ending = os.path.splitext(name)
        has_header = stem + ".h" in names
        if ending == ".c" and has_header:
            purpose(os.path.join(ROOT, folder, name))  # it has a head as well
            continue
        both = ending == ".h" and stem + ".c" in names
        yield stem + (".h .c" if both else ending), purpose(os.path.join(ROOT, folder, name))


def page():
    parts = [TITLE]
    for folder, what in FOLDERS.items():
        parts.append("## %s/\n\n%s\n" % (folder, what[0].upper() + what[1:] + "."))
        parts.append("| file | what for |\n|---|---|\n" + "".join(
            "| `%s` | %s |\n" % row for row in rows(folder)))
    return "\n".join(parts)


if "--write" in sys.argv:
    with open(PAGE, "w") as out:
        out.write(page())
    sys.exit(0)


@case
def every_folder_of_the_source_is_on_the_page():
    found = {os.path.relpath(folder, ROOT) for top in ("base", "store", "daemon", "cli")
             for folder, _, names in os.walk(os.path.join(ROOT, top))
             if any(name.endswith((".c", ".h")) for name in names)}
    equal(sorted(found ^ set(FOLDERS)), [])


@case
def the_page_is_what_the_files_say():
    with open(PAGE) as seen:
        equal(seen.read(), page(), "docs/map.md; tests/map.py --write mends it")


run_all()

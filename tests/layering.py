# SPDX-License-Identifier: MIT
"""Holds the layers: reads every #include of the source and compares it with the arrows.

docs/design.md says the same as prose. A module is a folder; an include is spelled from the root of
the tree, so that its line shows the arrow. An arrow may only point down, and each foreign library
has one door.
"""

import fnmatch
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from layers import ARROWS, allows  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
FOLDERS = ("base", "store", "daemon", "cli")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)

GENERATED = {"schema-sql.h"}
# Foreign header -> where it may stand.
DOORS = {
    "sqlite3.h": ["store/*"],
    "MQTTAsync.h": ["daemon/uplink/*"],
    "MQTTClient.h": [],
    "openssl/err.h": ["daemon/tls/*", "daemon/uplink/paho/*", "cli/doctor/tls_probe.c"],
    "openssl/sha.h": ["daemon/seal/sha256.c"],
    "openssl/pem.h": ["daemon/tls/*"],
    "openssl/bio.h": ["daemon/uplink/paho/*"],
    "openssl/ssl.h": ["daemon/uplink/paho/*", "cli/doctor/tls_probe.c"],
    "openssl/x509.h": ["daemon/tls/*"],
    "openssl/x509v3.h": ["daemon/uplink/paho/*", "cli/doctor/tls_probe.c"],
    "libconfig.h": ["daemon/config/*"],
    "systemd/sd-daemon.h": ["daemon/host/*"],
    "systemd/sd-journal.h": [],
    "systemd/sd-event.h": ["daemon/*"],
    "pthread.h": ["base/mailbox.*", "base/thread.c", "daemon/uplink/paho/*", "daemon/uplink/resolve.c"],
    "mosquitto.h": ["cli/verbs/*"],
    "zlib.h": ["cli/bundle/archive.c"],
    "jansson.h": ["cli/*", "daemon/control/*"],
}


def wrong_local(path, header):
    """Why the quoted @header may not stand in @path, or None."""
    module = os.path.dirname(path)
    if module not in ARROWS:
        return "the folder %s is not in ARROWS" % module
    if header in GENERATED:
        return None
    if "/" not in header:
        return "it is not spelled from the root of the tree"
    return None if allows(module, header) else "%s may include %s" % (
        module, ", ".join(ARROWS[module]) or "nothing of the project")


def wrong_foreign(path, header):
    places = next((places for door, places in DOORS.items()
                   if header == door or header.endswith("/" + door)), None)
    if places is None or any(fnmatch.fnmatch(path, place) for place in places):
        return None
    return "the door to it is %s" % (", ".join(places) or "closed")


def is_door(header):
    return any(header == door or header.endswith("/" + door) for door in DOORS)


def findings(path, text):
    found = []
    for quoted, angled in INCLUDE.findall(text):
        reason = wrong_foreign(path, quoted or angled)
        if quoted and not reason and not is_door(quoted):
            reason = wrong_local(path, quoted)
        if reason:
            found.append("%s includes %s: %s" % (path, quoted or angled, reason))
    return found


def sources():
    for top in FOLDERS:
        for folder, _, names in sorted(os.walk(os.path.join(ROOT, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path) as source:
                        yield os.path.relpath(path, ROOT), source.read()


@case
def every_include_keeps_the_layers():
    found, count = [], 0
    for path, text in sources():
        count += 1
        found += findings(path, text)
    check(count > 100, "sources read", count)
    check(not found, "\n".join(found))


@case
def every_include_names_a_file():
    missing = ["%s includes %s" % (path, quoted) for path, text in sources()
               for quoted, _ in INCLUDE.findall(text)
               if quoted and quoted not in GENERATED
               and not os.path.exists(os.path.join(ROOT, quoted))]
    equal(missing, [])


@case
def every_folder_has_arrows_and_every_arrow_a_folder():
    folders = {os.path.dirname(path) for path, _ in sources()}
    equal(folders ^ set(ARROWS), set())


@case
def every_door_is_used():
    seen = {header for _, text in sources() for _, header in INCLUDE.findall(text)}
    wanted = {door for door, places in DOORS.items() if places}
    equal(wanted - seen, set(), "libraries without a user: the table is out of date")


@case
def forbidden_lines_are_found():
    forbidden = [
        ("daemon/ingress/connection.c", '#include "daemon/uplink/uplink.h"'),
        ("daemon/uplink/uplink.c", '#include "daemon/ingress/connection.h"'),
        ("daemon/audit/audit.c", '#include "daemon/config/config.h"'),
        ("daemon/mqtt/packet.c", '#include "daemon/ingress/connection.h"'),
        ("daemon/config/config.h", '#include "daemon/uplink/uplink.h"'),
        ("daemon/uplink/uplink.c", '#include "daemon/config/config.h"'),
        ("base/cursor.c", '#include "daemon/mqtt/packet.h"'),
        ("base/log.c", '#include "store/spool.h"'),
        ("daemon/ingress/connection.c", '#include "daemon/gateway/gateway.h"'),
        ("daemon/ingress/connection.c", '#include "store/spool.h"'),
        ("daemon/gateway/gateway.c", '#include "store/stmt.h"'),
        ("daemon/gateway/gateway.c", '#include "cli/cli.h"'),
        ("daemon/gateway/gateway.c", '#include <sqlite3.h>'),
        ("daemon/gateway/gateway.c", '#include "sqlite3.h"'),
        ("daemon/gateway/gateway.c", '  #  include <MQTTAsync.h>'),
        ("daemon/gateway/gateway.c", '#include "gateway.h"'),
        ("daemon/uplink/uplink.c", '#include <MQTTClient.h>'),
        ("daemon/main.c", '#include <systemd/sd-daemon.h>'),
        ("daemon/gateway/gateway.c", '#include <libconfig.h>'),
        ("daemon/uplink/attempt.c", '#include <openssl/ssl.h>'),
        ("daemon/tls/tls_check.c", '#include "daemon/uplink/uplink.h"'),
        ("daemon/uplink/uplink.c", '#include <pthread.h>'),
        ("daemon/uplink/paho/paho_link.c", '#include "daemon/uplink/uplink.h"'),
        ("daemon/newcomer/file.c", '#include "base/log.h"'),
        ("store/open.c", '#include "daemon/gateway/gateway.h"'),
        ("store/open.c", '#include <systemd/sd-event.h>'),
        ("cli/main.c", '#include "daemon/gateway/gateway.h"'),
        ("cli/main.c", '#include "store/spool-private.h"'),
        ("cli/main.c", '#include <sqlite3.h>'),
        ("store/open.c", '#include <jansson.h>'),
        ("daemon/gateway/control.c", '#include <jansson.h>'),
    ]
    missed = [line for line in forbidden if len(findings(*line)) != 1]
    equal(missed, [], "not found")
    allowed = [
        ("daemon/ingress/connection.c",
         '#include "daemon/mqtt/packet.h"\n#include "base/log.h"\n#include <string.h>'),
        ("daemon/gateway/gateway.c", '#include "daemon/gateway/gateway-private.h"\n'
                                     '#include "store/spool.h"'),
        ("daemon/ingress/connection.c", '#include "base/failpoint.h"'),
        ("daemon/config/config.h", '#include "daemon/uplink/settings.h"'),
        ("store/open.c", '#include "store/spool-private.h"\n#include <sqlite3.h>'),
        ("cli/verbs/publish.c", '#include "cli/cli.h"\n#include <mosquitto.h>'),
    ]
    equal([line for line in allowed if findings(*line)], [], "found, though allowed")


run_all()

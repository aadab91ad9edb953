"""Holds the layers: reads every #include of the source and compares it with the arrows.

docs/design.md tells the same as prose. An arrow may only point down, the peers of daemon/ do not
know each other, and each foreign library has one door.
"""

import fnmatch
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
FOLDERS = ("store", "daemon", "cli")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)

# Modules of daemon/: files by name, and what each may include of daemon/ besides its own headers.
BASE = ["cleanup.h", "cursor.h", "bytes.h", "clock.h", "log.h", "mailbox.h", "json.h", "text.h", "utf8.h",
        "peer.h", "read_full.h", "condition.h"]
MODULES = {
    "base": (["cleanup.*", "cursor.*", "bytes.*", "clock.*", "condition.*", "log.*", "log_sink.*",
              "mailbox.*", "json.*", "text.*", "utf8.*", "peer.*", "read_full.*"], []),
    "record": (["record*"], BASE),
    "packet": (["packet*", "topic.*"], BASE),
    "config": (["config*"], BASE + ["packet.h"]),
    "lanes": (["lanes.*"], BASE + ["config.h"]),
    "listener": (["listener*"], BASE),
    "session": (["session*"], BASE + ["packet.h", "topic.h"]),
    "uplink": (["uplink*", "paho_link*"], BASE + ["packet.h", "topic.h"]),
    "audit": (["audit*"], BASE + ["record.h"]),
    "service": (["service*", "journal.*", "notify.*"], BASE + ["record.h"]),
    "gateway": (["gateway*"], BASE + ["packet.h", "topic.h", "record.h", "record_status.h",
                                      "config.h", "lanes.h", "listener.h", "session.h", "uplink.h",
                                      "audit.h", "audit_history.h", "service.h"]),
    "main": (["main.c"], BASE + ["config.h", "service.h", "gateway.h"]),
}
# Modules of daemon/ that may see store/spool.h.
STORE_READERS = {"record", "lanes", "audit", "service", "gateway"}
# What every module may use: it knows nothing of the project.
COMMON = {"store/failpoint.h", "store/regular.h"}
# What the tool may use of the rest.
CLI_MAY = {"store/spool.h", "daemon/config.h", "daemon/record.h", "daemon/record_status.h",
           "daemon/lanes.h", "daemon/json.h", "daemon/clock.h", "daemon/bytes.h",
           "daemon/cleanup.h", "daemon/read_full.h", "daemon/text.h"}
# Foreign header -> where it may stand.
DOORS = {
    "sqlite3.h": ["store/*"],
    "MQTTAsync.h": ["daemon/uplink*", "daemon/paho_link.c"],
    "MQTTClient.h": [],
    "libconfig.h": ["daemon/config*"],
    "systemd/sd-daemon.h": ["daemon/service.c"],
    "systemd/sd-journal.h": [],
    "systemd/sd-event.h": ["daemon/*"],
    "pthread.h": ["daemon/mailbox.*", "daemon/paho_link.c", "daemon/uplink_resolve.c"],
    "mosquitto.h": ["cli/*"],
    "jansson.h": ["cli/*"],
}


def module_of(name):
    for module, (patterns, _) in MODULES.items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            return module
    return None


def wrong_local(folder, name, header):
    """Why the quoted @header may not stand in folder/name, or None."""
    inside = header if "/" in header else folder + "/" + header
    target = inside.split("/")[0]
    if inside in COMMON:
        return None
    if folder == "store":
        return None if target == "store" else "store/ uses nothing of the project above it"
    if folder == "cli":
        return None if target == "cli" or inside in CLI_MAY else "the tool may not use it"
    if target == "store":
        allowed = inside == "store/spool.h" and module_of(name) in STORE_READERS
        return None if allowed else "store/spool.h is for %s" % ", ".join(sorted(STORE_READERS))
    if target != "daemon":
        return "daemon/ may not use %s/" % target
    module, wanted = module_of(name), inside.split("/")[1]
    if module is None:
        return "%s belongs to no module; add it to MODULES" % name
    if module_of(wanted) == module or wanted in MODULES[module][1]:
        return None
    return "module %s may not use %s" % (module, wanted)


def wrong_foreign(folder, name, header):
    places = next((places for door, places in DOORS.items()
                   if header == door or header.endswith("/" + door)), None)
    if places is None or any(fnmatch.fnmatch(folder + "/" + name, place) for place in places):
        return None
    return "the door to it is %s" % (", ".join(places) or "closed")


def findings(folder, name, text):
    found = []
    for quoted, angled in INCLUDE.findall(text):
        reason = wrong_foreign(folder, name, quoted or angled)
        if quoted and not reason and (quoted + "").split("/")[-1] not in DOORS \
                and quoted != "schema-sql.h":
            reason = wrong_local(folder, name, quoted)
        if reason:
            found.append("%s/%s includes %s: %s" % (folder, name, quoted or angled, reason))
    return found


def sources():
    for folder in FOLDERS:
        for name in sorted(os.listdir(os.path.join(ROOT, folder))):
            if name.endswith((".c", ".h")):
                with open(os.path.join(ROOT, folder, name)) as source:
                    yield folder, name, source.read()


@case
def every_include_keeps_the_layers():
    found, count = [], 0
    for folder, name, text in sources():
        count += 1
        found += findings(folder, name, text)
    check(count > 30, "sources read", count)
    check(not found, "\n".join(found))


@case
def every_source_of_the_daemon_belongs_to_a_module():
    equal([name for folder, name, _ in sources() if folder == "daemon" and not module_of(name)],
          [])


@case
def every_door_is_used():
    seen = {header for _, _, text in sources() for _, header in INCLUDE.findall(text)}
    wanted = {door for door, places in DOORS.items() if places}
    equal(wanted - seen, set(), "libraries without a user: the table is out of date")


@case
def forbidden_lines_are_found():
    forbidden = [
        ("daemon", "session.c", '#include "uplink.h"'),
        ("daemon", "uplink.c", '#include "session.h"'),
        ("daemon", "audit.c", '#include "config.h"'),
        ("daemon", "packet.c", '#include "session.h"'),
        ("daemon", "cursor.c", '#include "packet.h"'),
        ("daemon", "session.c", '#include "gateway.h"'),
        ("daemon", "session.c", '#include "store/spool.h"'),
        ("daemon", "gateway.c", '#include "store/stmt.h"'),
        ("daemon", "gateway.c", '#include "cli/cli.h"'),
        ("daemon", "gateway.c", '#include <sqlite3.h>'),
        ("daemon", "gateway.c", '#include "sqlite3.h"'),
        ("daemon", "gateway.c", '  #  include <MQTTAsync.h>'),
        ("daemon", "uplink.c", '#include <MQTTClient.h>'),
        ("daemon", "main.c", '#include <systemd/sd-daemon.h>'),
        ("daemon", "gateway.c", '#include <libconfig.h>'),
        ("daemon", "uplink.c", '#include <pthread.h>'),
        ("daemon", "newcomer.c", '#include "log.h"'),
        ("store", "spool.c", '#include "daemon/log.h"'),
        ("store", "spool.c", '#include <systemd/sd-event.h>'),
        ("cli", "main.c", '#include "daemon/gateway.h"'),
        ("cli", "main.c", '#include "daemon/packet.h"'),
        ("cli", "main.c", '#include "store/spool-private.h"'),
        ("cli", "main.c", '#include <sqlite3.h>'),
        ("store", "spool.c", '#include <jansson.h>'),
    ]
    missed = [line for line in forbidden if len(findings(*line)) != 1]
    equal(missed, [], "not found")
    allowed = [
        ("daemon", "session.c", '#include "packet.h"\n#include "log.h"\n#include <string.h>'),
        ("daemon", "gateway_life.c", '#include "gateway-private.h"\n#include "store/spool.h"'),
        ("daemon", "session.c", '#include "store/failpoint.h"'),
        ("store", "spool.c", '#include "spool-private.h"\n#include <sqlite3.h>'),
        ("cli", "publish.c", '#include "cli.h"\n#include <mosquitto.h>'),
    ]
    equal([line for line in allowed if findings(*line)], [], "found, though allowed")


run_all()

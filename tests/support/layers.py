# SPDX-License-Identifier: MIT
"""Which folder's headers a folder may include; docs/design.md has the same table."""

import os

# What the headers of a folder may be included by, besides itself: folders, or single headers.
SPOOL = "store/spool.h"
UPLINK_SETTINGS = "daemon/uplink/settings.h"  # types only: group "uplink" of the configuration
UPLINK_CHECK = "daemon/uplink/file_check.h"  # for --test-config: are the files of the link usable?
UPLINK_SECRET = "daemon/uplink/secret.h"  # reads passwords, knows nothing of the link
PEERS = ["daemon/mqtt", "daemon/record", "daemon/config", "daemon/control", "daemon/ingress",
         "daemon/uplink", "daemon/audit", "daemon/host"]
ARROWS = {
    "base": [],
    "store": ["base", "store/salvage"],
    "store/salvage": ["base", "store"],
    "daemon/mqtt": ["base"],
    "daemon/record": ["base", "daemon/mqtt", SPOOL],
    "daemon/seal": ["base"],
    "daemon/config": ["base", "daemon/mqtt", UPLINK_SETTINGS, SPOOL],
    "daemon/control": ["base"],
    "daemon/ingress": ["base", "daemon/mqtt"],
    "daemon/tls": ["base", UPLINK_SETTINGS],
    "daemon/uplink": ["base", "daemon/mqtt", "daemon/tls", "daemon/uplink/paho"],
    "daemon/uplink/paho": ["base"],
    "daemon/audit": ["base", "daemon/record", "daemon/seal", SPOOL],
    "daemon/host": ["base", "daemon/record", SPOOL],
    "daemon/gateway": ["base", SPOOL] + PEERS,
    "daemon": ["base", "daemon/gateway", "daemon/host", "daemon/config", UPLINK_CHECK, UPLINK_SETTINGS],
    "cli": ["base", "cli/verbs", "cli/audit", "cli/doctor", "cli/bundle", "daemon/config", SPOOL],
    "cli/verbs": ["base", "cli", "cli/audit", "cli/report", "daemon/mqtt", "daemon/record", "daemon/config", SPOOL],
    "cli/audit": ["base", "cli", "daemon/config", "daemon/mqtt", "daemon/record", "daemon/seal", SPOOL],
    "cli/bundle": ["base", "cli", "cli/verbs", "cli/doctor", "daemon/config"],
    "cli/doctor": ["base", "cli", "cli/verbs", "daemon/mqtt", "daemon/config", "daemon/tls",
                   UPLINK_SETTINGS, UPLINK_SECRET, SPOOL],
    "cli/report": ["base", "cli", "cli/audit", "daemon/seal", SPOOL],
}


def allows(module, header):
    """May a file of the folder @module include @header?"""
    folder = os.path.dirname(header)
    return folder == module or any(arrow in (folder, header) for arrow in ARROWS[module])

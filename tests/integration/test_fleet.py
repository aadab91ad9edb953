# SPDX-License-Identifier: MIT
"""Ten gateways at one broker that is killed while all publish. bench/fleet.py does it with 200."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from fleet import Fleet  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402


@case(seconds=600)
def gateways_come_back_to_a_broker_that_was_killed_and_nothing_is_lost():
    fleet = Fleet(10, rate=20, backoff={"min": "200ms", "max": "1s"})
    fleet.wait_online()
    seen = fleet.storm(outage_s=2)
    equal((seen["lost"], seen["refused"]), (0, 0), "lost and refused")
    check(seen["accepted"] > 100, "messages", seen)
    fleet.stop()


run_all()

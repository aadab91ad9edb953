#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How many gateways come back to one broker that was killed while all publish.

    cmake --preset release && cmake --build --preset release --target mqtt-spoold mqtt-spool
    bench/fleet.py                        200 gateways, a message a second each, broker away for 30 s
    bench/fleet.py --gateways 50 --outage 5

All of it runs on this machine: the gateways of build/release, a mosquitto, producers and a
subscriber. 200 gateways need 3 GB of memory and a few minutes. docs/fleet.md has what was measured.
"""

import os
import pathlib
import platform
import sys

sys.dont_write_bytecode = True
SOURCE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests" / "support"))
BUILD = pathlib.Path(os.environ.get("SPOOLD_BUILD") or SOURCE / "build" / "release")
os.environ.setdefault("SPOOLD_BIN", str(BUILD / "daemon" / "mqtt-spoold"))
os.environ.setdefault("SPOOL_BIN", str(BUILD / "cli" / "mqtt-spool"))

from fleet import Fleet  # noqa: E402
from tap import case, equal, run_all  # noqa: E402


def arguments(parser):
    parser.add_argument("--gateways", type=int, default=200, metavar="N")
    parser.add_argument("--rate", type=float, default=1, metavar="N",
                        help="messages a second of each gateway (1)")
    parser.add_argument("--outage", type=float, default=30, metavar="SECONDS",
                        help="how long the broker is away (30)")


def show(what, value):
    print("# %-52s %s" % (what, value), flush=True)


@case(seconds=7200)
def all_gateways_come_back_and_nothing_is_lost():
    options = run_all.options
    before = os.getloadavg()[0]
    show("gateways, messages a second of each", "%d, %g" % (options.gateways, options.rate))
    fleet = Fleet(options.gateways, options.rate)
    fleet.wait_online()
    seen = fleet.storm(options.outage)
    show("broker away, s", "%g" % seen["outage_s"])
    show("all online after, s", "%.1f" % seen["online_s"])
    show("connects in the busiest second", seen["peak"])
    show("messages accepted, refused", "%d, %d" % (seen["accepted"], seen["refused"]))
    show("messages lost, repeated", "%d, %d" % (seen["lost"], seen["repeated"]))
    show("CPU of all gateways until all were online, s", "%.1f" % seen["gateways_cpu_s"])
    memory = seen["memory"]
    show("resident memory of one gateway, at most, MB", "%.1f" % (memory["rss_max"] / 1e6))
    show("its part of the machine's, shared pages divided, MB", "%.1f" % (memory["pss_mean"] / 1e6))
    show("memory of all gateways, MB", "%.0f" % (memory["pss_sum"] / 1e6))
    show("load average before, after", "%.1f, %.1f" % (before, os.getloadavg()[0]))
    show("machine", "%d processors, Linux %s" % (os.cpu_count(), platform.release()))
    equal((seen["lost"], seen["refused"]), (0, 0), "lost and refused")
    fleet.stop()


run_all(arguments)

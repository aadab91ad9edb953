# SPDX-License-Identifier: MIT
"""Power loss: what was acknowledged is there, whatever the cut left of what was not synced.

One run of the daemon is recorded (ingest by four producers, evictions, deliveries, refusals, closed
connections, reports, checkpoints, the audit file rotated, a death, a stop); then --images disks are generated from it, each cut at another
step and with another fate of what was not synced, and the daemon itself opens each.
tests/support/power_replay.c describes what a disk may do, tests/support/power.py what is checked.

Then the power fails again while the daemon recovers such a disk, and while a spool with damaged
pages is salvaged.

A rig that finds nothing may be blind: so disks that lie, SQLite's synchronous=NORMAL and each
sync of the daemon left out by itself must be found losing.

With SPOOLD_KEEP=FOLDER the recording of a run with findings is kept; --recording FOLDER checks it
again, with --seed and --image for one image of it.
"""

import os
import sys
import time

sys.dont_write_bytecode = True
os.environ.setdefault("SPOOLD_SEGMENT_ROWS", "50")  # so that many are filled and emptied
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import power  # noqa: E402
from tap import case, check, run_all  # noqa: E402

MESSAGES = 100  # of each of the six parts of a recorded run
CONTROL_IMAGES = 40  # of a round
CONTROL_SPOOLS = 8
MOST_ROUNDS = 10
_recorded = {}


def options():
    return run_all.options


def the_recording():
    """The same for all cases; if it failed once it is not tried again."""
    power.built("power_recorder.so")  # or the case is skipped, each with the reason
    if "run" not in _recorded:
        _recorded["run"] = None
        folder = options().recording
        _recorded["run"] = power.Recording.load(folder) if folder else power.record(MESSAGES)
        print("# the recorded run: " + _recorded["run"].figures())
    check(_recorded["run"], "there is no recorded run")
    return _recorded["run"]


def numbers():
    return range(options().images) if options().image is None else [options().image]


def expect_good(result, what):
    result.show(what)
    if not result.bad:
        return
    for number, cut, done, findings in result.bad[:5]:
        print("# image %d, cut after step %d, %s:" % (number, cut, done))
        for finding in findings[:8]:
            print("#   " + finding[:300])
    keep = os.environ.get("SPOOLD_KEEP")
    if keep:
        the_recording().save(keep)
    check(False, "%d of %d images are bad, seed %d" % (len(result.bad), result.images,
                                                       options().seed))


def rounds(size):
    """The numbers of each: what is drawn by chance may be too rare for one round."""
    return [range(first, first + size) for first in range(0, MOST_ROUNDS * size, size)]


def expect_losing(recording, what, disk="honest", kinds=("LOST",)):
    for images in rounds(CONTROL_IMAGES):
        result = power.judge_many(recording, options().seed, images, disk)
        result.show(what)
        if set(kinds) & set(result.kinds()):
            return
    check(False, "the rig is blind to " + what, result.kinds())


def expect_a_bad_salvage(recording, what, disk):
    for spools in rounds(CONTROL_SPOOLS):
        result, _ = power.judge_salvages(recording, options().seed, spools, disk)
        result.show(what)
        if result.bad:
            return
    check(False, "the rig is blind to " + what)


@case
def the_recorded_run_has_all_that_a_cut_may_meet():
    recording = the_recording()
    ledger, counts = recording.history.ledger, recording.counts
    check(len(recording.acks) >= 6 * MESSAGES, "too few messages", len(recording.acks))
    for outcome in ("delivered", "evicted", "rejected"):
        check(ledger[outcome] > 0, "nothing was " + outcome, ledger)
    check("poison" in {record.get("reason") for record in recording.history.outcomes},
          "the broker closed at no message often enough")
    check(recording.history.reports, "no failure was reported")
    check(recording.history.stamps, "no message was stamped")
    check(counts["checkpoints"] >= 3, "too few checkpoints", counts)
    check(counts["renames"] == 2, "not the new database and the rotated file", counts)
    check(counts["starts"] == 4, "not three lives and the rotation", counts)


@case(seconds=3600)
def no_cut_of_the_power_loses_what_was_acknowledged():
    expect_good(power.judge_many(the_recording(), options().seed, numbers()), "power cuts")


@case(seconds=3600)
def nor_does_a_second_cut_while_the_first_is_recovered():
    some = range(max(options().images // 20, 1))
    expect_good(power.judge_many(the_recording(), options().seed, some, twice=True),
                "cuts while an image is recovered")


@case(seconds=3600)
def nor_is_a_damaged_spool_lost_while_it_is_salvaged():
    wanted, seen = max(options().images // 400, 3), 0
    for spools in rounds(2 * wanted):
        result, salvaged = power.judge_salvages(the_recording(), options().seed, spools)
        expect_good(result, "cuts while one of %d damaged spools is salvaged" % salvaged)
        seen += salvaged
        if seen >= wanted:
            break
    check(seen > 0, "no spool was damaged enough")


@case
def a_disk_that_lies_about_syncs_is_found_losing():
    expect_losing(the_recording(), "a disk that lies", "lying")


@case
def synchronous_normal_is_found_losing():
    recording = power.record(MESSAGES // 2, normal=True)
    check(recording.counts["WAL syncs"] * 4 < len(recording.acks), "it still syncs each commit",
          recording.counts)
    expect_losing(recording, "synchronous=NORMAL")


@case(seconds=300)
def each_sync_that_is_left_out_is_found():
    expect_losing(the_recording(), "a WAL that is never synced", "deaf:spool/spool.db-wal")
    # Most such images are torn rather than short: LOST alone is in one of 13 to one of 40
    expect_losing(the_recording(), "a database that is never synced", "deaf:spool/spool.db",
                  ["LOST", "DAMAGED", "UNSOUND"])
    expect_losing(the_recording(), "an audit file that is never synced", "deaf:log/audit.jsonl",
                  ["AUDIT"])
    expect_losing(the_recording(), "a rotated file that is not synced", "deaf:log/audit.jsonl.1",
                  ["AUDIT"])
    expect_losing(the_recording(), "the spool's folder never synced", "deaf:spool")
    expect_losing(the_recording(), "the audit file's folder never synced", "deaf:log", ["AUDIT"])
    expect_losing(the_recording(), "the name of the spool's folder never synced", "deaf:")
    expect_a_bad_salvage(the_recording(), "a salvaged database that is never synced",
                         "deaf:spool/spool.db.new")


def add_arguments(parser):
    parser.add_argument("--images", type=int, default=2000, help="how many disks")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of cuts and fates")
    parser.add_argument("--image", type=int, metavar="NUMBER", help="this one of the seed only")
    parser.add_argument("--recording", metavar="FOLDER", help="a run that was kept")


run_all(add_arguments)

# SPDX-License-Identifier: MIT
"""Tests of the checker: a good history passes, each way to spoil it is named."""

import collections
import copy
import json
import os
import shutil
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

import processes  # noqa: E402
from checker import History, collect_daemon, digest, hold, repeats_by_cut, verdict  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")

DELIVERED, EVICTED, SPOOLED = 60, 20, 10


def good():
    """Two producers in turn; the first messages delivered, some evicted, the last spooled."""
    history = History()
    total = DELIVERED + EVICTED + SPOOLED
    for identity in range(1, total + 1):
        key = "p%d/%d" % (identity % 2, identity)
        topic, payload = "plant/%d" % (identity % 2), key.encode() + b" payload"
        history.sent[key] = (topic, payload)
        history.acked[key] = identity
        if identity > DELIVERED + EVICTED:
            history.spooled[identity] = key
            continue
        record = {"seq": identity, "id": identity, "outcome": "delivered", "topic": topic,
                  "ref": key}
        if identity > DELIVERED:
            record.update(outcome="evicted", reason="max_messages")
        else:
            history.remote.append((key, topic, payload))
        history.outcomes.append(record)
    history.remote.insert(6, history.remote[5])
    history.connections = [1] * 6 + [2] * (len(history.remote) - 6)
    history.cuts, history.window = 1, 4
    history.levels = [{"memory_kb": 1000, "descriptors": 20, "threads": 3},
                      {"memory_kb": 1612, "descriptors": 20, "threads": 3}]
    history.ledger = {"accepted": total, "delivered": DELIVERED, "evicted": EVICTED,
                      "expired": 0, "rejected": 0, "dropped": 0, "damaged": 0,
                      "spooled": SPOOLED}
    return history


def named(history, kind):
    found = verdict(history)
    check(any(line.startswith(kind + ":") for line in found), "not named as " + kind, found)


def only_named(history, kind):
    """So that a kind is not found by chance, as a consequence of another."""
    named(history, kind)
    equal({line.split(":")[0] for line in verdict(history)}, {kind}, "kinds")


@case
def a_good_history_passes():
    equal(verdict(good()), [])


@case
def an_acknowledged_message_that_is_nowhere_is_lost():
    history = good()
    identity = DELIVERED + EVICTED + 1
    del history.spooled[identity]
    history.ledger["spooled"] -= 1
    history.ledger["accepted"] -= 1
    only_named(history, "LOST")


@case
def a_delivery_that_the_remote_side_never_saw_is_forged():
    history = good()
    history.remote = [entry for entry in history.remote if entry[0] != "p1/11"]
    only_named(history, "FORGED")


@case
def a_forged_delivery_of_an_evicted_message_is_named():
    history = good()
    record = history.outcomes[DELIVERED]
    record["outcome"] = "delivered"
    del record["reason"]
    named(history, "FORGED")
    named(history, "BALANCE")


@case
def an_evicted_message_that_the_remote_side_took_is_named_beyond_the_window():
    history = good()
    for number in range(DELIVERED, DELIVERED + 5):
        key = history.outcomes[number]["ref"]
        equal(verdict(history), [], "within the window")
        history.remote.append((key,) + history.sent[key])
        history.connections.append(2)
    only_named(history, "UNSETTLED")


@case
def without_records_what_was_acknowledged_and_has_not_arrived_is_lost():
    history = good()
    history.recorded, history.outcomes, history.spooled, history.ledger = False, [], {}, {}
    only_named(history, "LOST")
    arrived = {key for key, _, _ in history.remote}
    history.acked = {key: None for key in history.acked if key in arrived}
    equal(verdict(history), [])


@case
def two_outcomes_of_one_id_are_named():
    history = good()
    again = copy.deepcopy(history.outcomes[3])
    again["seq"] = len(history.outcomes) + 1
    history.outcomes.append(again)
    named(history, "TWICE")


@case
def an_outcome_of_what_is_still_spooled_is_named():
    history = good()
    history.spooled[1] = history.outcomes[0]["ref"]
    named(history, "TWICE")


@case
def a_message_stored_twice_is_named():
    history = good()
    history.spooled[1000] = "p1/11"
    named(history, "TWICE")


@case
def a_missing_record_is_a_gap():
    history = good()
    del history.outcomes[7]
    named(history, "GAP")
    named(history, "LOST")


@case
def records_in_the_wrong_place_are_a_gap():
    history = good()
    history.outcomes[7], history.outcomes[8] = history.outcomes[8], history.outcomes[7]
    named(history, "GAP")


@case
def more_repeats_than_the_window_allows_are_named():
    history = good()
    history.connections = []
    history.remote[6:6] = history.remote[2:5]
    equal(verdict(history), [], "as many as the window allows")
    history.remote.insert(6, history.remote[1])
    only_named(history, "REPEATED")


@case
def more_repeats_after_one_cut_than_its_window_are_named_though_the_sum_allows_them():
    history = good()
    history.cuts = 2
    history.remote[6:6] = history.remote[0:5]
    history.connections[6:6] = [2] * 5
    equal(repeats_by_cut(history), [6])
    only_named(history, "REPEATED")
    history.connections[6:6 + 3] = [3] * 3
    history.connections[9:] = [4] * len(history.connections[9:])
    equal(repeats_by_cut(history), [3, 3])
    equal(verdict(history), [], "two cuts share them")


@case
def a_repeat_without_a_cut_is_named():
    history = good()
    history.connections = [1] * len(history.remote)
    only_named(history, "REPEATED")


@case
def two_swapped_messages_of_a_topic_are_named():
    history = good()
    history.remote[20], history.remote[22] = history.remote[22], history.remote[20]
    only_named(history, "ORDER")


@case
def what_is_spooled_after_the_fault_healed_is_named():
    history = good()
    history.drained = True
    only_named(history, "STUCK")


@case
def what_is_not_back_at_its_level_is_named():
    for name, after in (("memory_kb", 1613), ("descriptors", 21), ("threads", 4)):
        history = good()
        history.levels[1][name] = after
        only_named(history, "GREW")


@case
def an_altered_payload_is_named():
    history = good()
    key, topic, payload = history.remote[9]
    history.remote[9] = (key, topic, payload + b"!")
    named(history, "ALTERED")


@case
def a_refused_message_that_went_through_is_named():
    history = good()
    history.refused["p1/11"] = 0x97
    named(history, "REFUSED")


@case
def a_message_that_was_never_sent_is_named():
    history = good()
    history.remote.append(("p9/1", "plant/9", b"?"))
    named(history, "STRANGE")


@case
def a_message_accepted_without_an_acknowledgement_and_with_a_living_connection_is_named():
    history = good()
    del history.acked["p1/11"]
    named(history, "STRANGE")
    history.unknown.add("p1/11")
    equal(verdict(history), [])


@case
def an_acknowledgement_with_another_id_is_named():
    history = good()
    history.acked["p1/11"] = 4711
    named(history, "ID")


@case
def a_ledger_that_does_not_balance_is_named():
    for term in ("accepted", "delivered", "evicted", "spooled"):
        history = good()
        history.ledger[term] += 1
        named(history, "BALANCE")


# What else the database holds


def keeping():
    """The same, of which some were rejected and are kept, with stamps, a suspect and reports."""
    history = good()
    history.is_exact = True
    history.ledger.update(evicted=EVICTED - 5, rejected=5)
    for record in history.outcomes:
        record["lane"] = "ab"[record["id"] % 2]
    for record in history.outcomes[DELIVERED:DELIVERED + 5]:
        record.update(outcome="rejected", reason="poison")
    ended = DELIVERED + EVICTED
    history.tables = {
        "numbers": [[identity, "ab"[identity % 2], (identity + 1) // 2]
                    for identity in history.spooled],
        "newest": {"a": len(history.acked) // 2, "b": len(history.acked) // 2},
        "kept": [[record["id"], record["seq"], record["ref"], record["topic"],
                  digest(history.sent[record["ref"]][1])]
                 for record in history.outcomes[DELIVERED:DELIVERED + 5]],
        "kept_count": 5, "suspects": [ended + 1], "reported": ended,
        "tallies": dict(collections.Counter(record.get("reason") or "delivered"
                                            for record in history.outcomes)),
        "reports": [json.dumps({"records": history.outcomes[DELIVERED + 8:]})]}
    history.reports = [json.dumps({"records": history.outcomes[DELIVERED:DELIVERED + 8]})] * 2
    history.stamps = [(identity, "ab"[identity % 2], (identity + 1) // 2)
                      for identity in range(1, DELIVERED + 1)]
    return history


@case
def a_good_history_of_all_tables_passes():
    equal(verdict(keeping()), [])


@case
def a_number_that_is_not_the_place_in_the_lane_is_named():
    for spoil in (lambda history: history.tables["numbers"][3].__setitem__(2, 1),
                  lambda history: history.tables["newest"].update(a=44),
                  lambda history: history.stamps.append((5, "b", 4)),
                  lambda history: history.stamps.append((6, "b", 3))):
        history = keeping()
        spoil(history)
        only_named(history, "NUMBER")


@case
def a_rejected_message_that_is_not_kept_as_it_was_is_named():
    for spoil in (lambda kept: kept.pop(), lambda kept: kept[0].__setitem__(1, 9),
                  lambda kept: kept[0].__setitem__(4, digest(b"other")),
                  lambda kept: kept.append([1, 1, "p1/1", "plant/1", digest(b"p1/1 payload")])):
        history = keeping()
        spoil(history.tables["kept"])
        only_named(history, "KEPT")


@case
def a_tally_that_is_not_the_number_of_records_is_named():
    for name in ("delivered", "poison", "corrupt"):
        history = keeping()
        history.tables["tallies"][name] = history.tables["tallies"].get(name, 0) + 1
        only_named(history, "TALLY")


@case
def closings_of_a_message_that_has_ended_are_named():
    history = keeping()
    history.tables["suspects"].append(DELIVERED)
    only_named(history, "SUSPECT")


@case
def a_failure_in_no_report_or_in_two_is_named():
    history = keeping()
    history.reports = []
    only_named(history, "REPORT")
    history = keeping()
    history.tables["reports"] *= 2
    only_named(history, "REPORT")


@case
def a_reason_that_is_none_is_named():
    history = good()
    history.outcomes[DELIVERED]["reason"] = "because"
    named(history, "REASON")


# Reading: a database made with the schema of the source, and an audit file torn at its end


def written(history, exported):
    """(audit file, spool folder) that hold the daemon's side of @history."""
    folder = processes.folder()
    audit = os.path.join(folder, "audit.jsonl")
    with open(audit, "w") as out:
        for record in history.outcomes[:exported]:
            out.write(json.dumps(record) + "\n")
        out.write('{"seq":' + str(exported + 1))
    database = sqlite3.connect(os.path.join(folder, "spool.db"))
    with open(os.path.join(SOURCE, "store", "schema.sql")) as schema:
        database.executescript(schema.read())
    for record in history.outcomes[exported - 5:]:
        evicted = record["outcome"] == "evicted"
        database.execute("INSERT INTO outcome VALUES (?,?,0,0,0,?,?,NULL,1,0,1,9,0,0,'c',?,?)",
                         (record["seq"], record["id"], int(evicted), int(evicted),
                          record["topic"], record["ref"]))
    database.execute("INSERT INTO lane (number, name, accepted, delivered, evicted, messages) "
                     "VALUES (0, 'default', ?, ?, ?, ?)",
                     [history.ledger[name]
                      for name in ("accepted", "delivered", "evicted", "spooled")])
    for identity, key in history.spooled.items():
        database.execute("INSERT INTO message VALUES (?,0,0,NULL,9,0,1,'c','t',NULL,?,x'')",
                         (identity, key))
    database.commit()
    database.close()
    return audit, folder


@case
def a_torn_file_and_the_table_together_are_the_whole_history():
    wanted = good()
    audit, folder = written(wanted, DELIVERED - 3)
    history = good()
    history.outcomes, history.spooled, history.ledger = [], {}, {}
    collect_daemon(history, [audit], folder)
    equal(verdict(history), [])
    equal(history.ledger, wanted.ledger)
    equal((len(history.outcomes), history.spooled), (len(wanted.outcomes), wanted.spooled))


@case
def a_file_that_contradicts_the_table_is_named():
    history = good()
    audit, folder = written(history, DELIVERED - 3)
    with open(audit) as seen:
        lines = seen.read().split("\n")
    lines[DELIVERED - 5] = lines[DELIVERED - 5].replace('"delivered"', '"dropped"')
    with open(audit, "w") as out:
        out.write("\n".join(lines))
    collect_daemon(history, [audit], folder)
    named(history, "DIFFERS")


@case
def a_line_that_is_no_record_is_named():
    history = good()
    audit, folder = written(history, DELIVERED - 3)
    with open(audit) as seen:
        text = seen.read()
    with open(audit, "w") as out:
        out.write(text[1:])
    collect_daemon(history, [audit], folder)
    named(history, "UNSOUND")
    named(history, "GAP")


@case
def a_database_that_is_damaged_is_named():
    history = good()
    audit, folder = written(history, DELIVERED - 3)
    database = sqlite3.connect(os.path.join(folder, "spool.db"))
    page = database.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'message_expiry'").fetchone()[0]
    size = database.execute("PRAGMA page_size").fetchone()[0]
    database.close()
    with open(os.path.join(folder, "spool.db"), "r+b") as out:
        out.seek((page - 1) * size)
        out.write(b"\x55" * 64)
    collect_daemon(history, [audit], folder)
    named(history, "UNSOUND")


# As a program of its own


CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "checker.py")


def judged(path):
    """(exit code, lines) of the program."""
    done = processes.run([sys.executable, CHECKER, path])
    return done.returncode, (done.stdout + done.stderr).decode().strip().split("\n")


@case
def the_program_finds_nothing_in_a_good_history():
    folder = os.path.join(processes.folder(), "ledgers")
    good().save(folder)
    code, lines = judged(folder)
    equal((code, lines[-1]), (0, "nothing found"))
    file = os.path.join(folder, "history.json")
    with open(file, "w") as out:
        json.dump(good().sections(), out)
    equal(judged(file), (0, lines), "one file with all sections")


@case
def the_program_names_what_it_finds_and_exits_with_1():
    history = good()
    history.remote[20], history.remote[22] = history.remote[22], history.remote[20]
    history.acked["p1/11"] = 4711
    folder = os.path.join(processes.folder(), "ledgers")
    history.save(folder)
    code, lines = judged(folder)
    equal((code, [line.split(":")[0] for line in lines[1:]]), (1, ["ID", "ORDER", "2 findings"]))


@case
def the_program_reads_the_files_of_the_daemon_itself():
    history = good()
    history.spooled.popitem()
    audit, folder = written(history, DELIVERED - 3)
    history.save(folder)
    os.remove(os.path.join(folder, "daemon.json"))
    os.mkdir(os.path.join(folder, "spool"))
    shutil.move(os.path.join(folder, "spool.db"), os.path.join(folder, "spool"))
    code, lines = judged(folder)
    equal((code, [line.split(":")[0] for line in lines[1:]]),
          (1, ["BALANCE", "BALANCE", "LOST", "3 findings"]))


@case
def the_program_exits_with_2_when_it_cannot_read_the_ledgers():
    folder = processes.folder()
    equal(judged(folder)[0], 2, "an empty folder")
    equal(judged(os.path.join(folder, "none.json"))[0], 2, "no such file")
    for text in ("{", "[]", '{"producers": {"sent": 7}}', '{"daemon": {"outcomes": [{}]}}',
                 '{"remote": {"elsewhere": []}}'):
        with open(os.path.join(folder, "history.json"), "w") as out:
            out.write(text)
        code, lines = judged(os.path.join(folder, "history.json"))
        equal((code, len(lines)), (2, 1), text)
        check("Traceback" not in lines[0], "in words", lines)
    equal(processes.run([sys.executable, CHECKER]).returncode, 2, "no argument")


@case
def a_finding_fails_the_rig_and_its_history_is_kept_on_demand():
    history = good()
    hold(history)
    del history.acked["p1/11"]
    folder = os.path.join(processes.folder(), "kept")
    os.environ["SPOOLD_KEEP"] = folder
    try:
        hold(history)
    except AssertionError as error:
        check("STRANGE" in str(error), "named", error)
    else:
        raise AssertionError("not raised")
    finally:
        del os.environ["SPOOLD_KEEP"]
    equal(judged(folder)[0], 1, "the kept one")


run_all()

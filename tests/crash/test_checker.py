"""The checker is itself checked: a good history passes, each way to spoil it is named."""

import copy
import json
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

import processes  # noqa: E402
from checker import History, collect_daemon, verdict  # noqa: E402
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
    history.cuts, history.window = 1, 4
    history.ledger = {"accepted": total, "delivered": DELIVERED, "evicted": EVICTED,
                      "expired": 0, "rejected": 0, "dropped": 0, "damaged": 0,
                      "spooled": SPOOLED}
    return history


def named(history, kind):
    found = verdict(history)
    check(any(line.startswith(kind + ":") for line in found), "not named as " + kind, found)


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
    named(history, "LOST")


@case
def a_delivery_that_the_remote_side_never_saw_is_lost():
    history = good()
    history.remote = [entry for entry in history.remote if entry[0] != "p1/11"]
    named(history, "LOST")


@case
def a_forged_delivery_of_an_evicted_message_is_named():
    history = good()
    record = history.outcomes[DELIVERED]
    record["outcome"] = "delivered"
    del record["reason"]
    named(history, "LOST")
    named(history, "BALANCE")


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
    history.remote[6:6] = [history.remote[5]] * 4
    named(history, "REPEATED")


@case
def two_swapped_messages_of_a_topic_are_named():
    history = good()
    history.remote[20], history.remote[22] = history.remote[22], history.remote[20]
    named(history, "ORDER")


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
def a_message_nobody_sent_is_named():
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
    history.outcomes, history.spooled = [], {}
    collect_daemon(history, [audit], folder)
    equal(verdict(history), [])
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
    try:
        collect_daemon(history, [audit], folder)
    except AssertionError as error:
        check("differs" in str(error), "named", error)
        return
    raise AssertionError("not named")


run_all()

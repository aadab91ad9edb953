#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The judge: one definition of correct. Three ledgers, compared in set arithmetic.

P, the producers: what was sent, acknowledged, refused, or left unknown when a connection died.
R, the remote side: what the remote broker received, in order.
S, the daemon: outcome records (audit file and outcome table) and the messages still spooled,
read from a copy of the files after the daemon stopped.

A message is known by its key "producer/number", which travels as the user property spool-ref and
at the front of the payload. verdict() returns findings, each "KIND: what: which"; none is good.

  LOST       acknowledged, but without outcome and not spooled
  FORGED     recorded as delivered, and the remote broker never received it
  TWICE      an id with two outcomes, or with one and spooled still; a key under two ids
  GAP        seq is not 1, 2, 3 ...
  REASON     a reason that the outcome cannot have
  BALANCE    the daemon's ledger is not what its records and its spool add up to
  REFUSED    refused, and accepted anyway
  STRANGE    accepted without an acknowledgement though the connection lived; never sent at all
  ID         acknowledged under another id than recorded
  ALTERED    topic or payload changed on the way
  REPEATED   more repeats at the remote broker than one window for each cut
  UNSETTLED  more received by the remote broker without a record than one window for each cut
  ORDER      first seen after a later message of the same producer and topic
  STUCK      still spooled, though the fault is healed and there was time to drain
  GREW       memory, descriptors or threads are not back at their level
  DIFFERS    audit file and outcome table disagree about one seq
  UNSOUND    a database or an audit file that is damaged

As a program: checker.py HISTORY.json, or the folder that History.save() writes, in which the
daemon's own files (audit.jsonl and spool/) may replace daemon.json. It prints the findings;
exit code 0: none, 1: some, 2: the ledgers cannot be read.
"""

import collections
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile

TERMS = ("delivered", "evicted", "expired", "rejected", "dropped", "damaged")
REASONS = {
    "delivered": {None},
    "evicted": {"max_messages", "max_bytes", "max_age", "disk"},
    "expired": {"message_expiry"},
    "rejected": {"reason_code", "too_large", "poison", "attempts"},
    "dropped": {"operator"},
    "damaged": {"corrupt"},
}
# The numbers of store/spool.h in the outcome table.
_OUTCOMES = TERMS
_REASONS = (None, "max_messages", "max_bytes", "max_age", "disk", "message_expiry",
            "reason_code", "too_large", "poison", "attempts", "operator", "corrupt")
_ID_MASK = (1 << 48) - 1
_SHOWN = 5
# Memory may exceed its level by this: allocators keep pages, and SQLite's cache fills up.
MEMORY_SLACK, MEMORY_SLACK_KB = 0.10, 512

_SECTIONS = {
    "producers": ("sent", "acked", "refused", "unknown"),
    "remote": ("remote", "connections"),
    "daemon": ("recorded", "outcomes", "spooled", "ledger", "faults"),
    "run": ("cuts", "window", "drained", "levels"),
}


class Unreadable(Exception):
    """The ledgers are missing or malformed."""


class History:
    """What one run left behind; every part may be filled manually to test the checker.

    A payload may be given as bytes or as digest() of them.
    """

    def __init__(self):
        self.sent = {}  # key -> (topic, payload)
        self.acked = {}  # key -> spool id, or None if the subject gives none
        self.refused = {}  # key -> reason code
        self.unknown = set()  # keys whose connection died first
        self.remote = []  # (key, topic, payload) in order of arrival
        self.connections = []  # of each of these the number of its connection, if known
        self.recorded = True  # False: the subject keeps no records, as no bridge does
        self.outcomes = []  # records, as in the audit file
        self.spooled = {}  # id -> key
        self.ledger = {}  # the daemon's own
        self.faults = []  # findings made while the daemon's files were read
        self.cuts = 0  # how often daemon or link were cut
        self.window = 0  # how many may be in flight at a cut
        self.drained = False  # True: nothing may still be spooled
        self.levels = []  # [before, after], each {"memory_kb", "descriptors", "threads"}

    def sections(self):
        """The history as plain values for JSON, by section."""
        plain = dict(vars(self), unknown=sorted(self.unknown),
                     sent={key: (topic, digest(payload))
                           for key, (topic, payload) in self.sent.items()},
                     remote=[(key, topic, digest(payload))
                             for key, topic, payload in self.remote])
        return {name: {part: plain[part] for part in parts}
                for name, parts in _SECTIONS.items()}

    def save(self, folder):
        """One file a ledger, and run.json for what the rig knows."""
        os.makedirs(folder, exist_ok=True)
        for name, section in self.sections().items():
            with open(os.path.join(folder, name + ".json"), "w") as out:
                json.dump(section, out)

    def take(self, name, section):
        if not isinstance(section, dict) or not set(section) <= set(_SECTIONS[name]):
            raise Unreadable("section %r has parts that are none" % name)
        vars(self).update(section)
        self.unknown = set(self.unknown)
        self.spooled = {int(identity): key for identity, key in self.spooled.items()}
        self.sent = {key: tuple(value) for key, value in self.sent.items()}
        self.remote = [tuple(entry) for entry in self.remote]


def digest(payload):
    return payload if isinstance(payload, str) else hashlib.sha256(payload).hexdigest()


def load(path):
    """A History from a file with all sections, or from a folder."""
    history = History()
    try:
        if os.path.isdir(path):
            _load_folder(history, path)
        else:
            with open(path) as seen:
                sections = json.load(seen)
            for name in _SECTIONS:
                history.take(name, sections.get(name, {}))
    except (OSError, ValueError, TypeError, AttributeError, sqlite3.Error) as error:
        raise Unreadable("%s: %s" % (path, error)) from error
    return history


def _load_folder(history, folder):
    for name in _SECTIONS:
        path = os.path.join(folder, name + ".json")
        if name == "daemon" and not os.path.exists(path):
            collect_daemon(history, [os.path.join(folder, "audit.jsonl")],
                           os.path.join(folder, "spool"))
            continue
        with open(path) as seen:
            history.take(name, json.load(seen))


# The checks


def _some(keys):
    keys = sorted(keys, key=str)
    more = " and %d more" % (len(keys) - _SHOWN) if len(keys) > _SHOWN else ""
    return ", ".join(map(str, keys[:_SHOWN])) + more


def _finding(kind, text, keys):
    return ["%s: %s: %s" % (kind, text, _some(keys))] if keys else []


def _by_key(history):
    """key -> record, for the records that name one."""
    names = {identity: key for key, identity in history.acked.items()}
    return {record.get("ref") or names.get(record["id"]): record for record in history.outcomes}


def _check_terminal(history):
    counts = collections.Counter(record["id"] for record in history.outcomes)
    found = _finding("TWICE", "ids with more than one outcome",
                     [identity for identity, count in counts.items() if count > 1])
    found += _finding("TWICE", "ids that have an outcome and are spooled",
                      set(counts) & set(history.spooled))
    found += _finding("TWICE", "keys accepted under two ids",
                      [key for key, count in collections.Counter(
                          [record.get("ref") for record in history.outcomes]
                          + list(history.spooled.values())).items() if key and count > 1])
    return found + _finding(
        "REASON", "records with a reason that is none",
        [record["seq"] for record in history.outcomes
         if record.get("reason") not in REASONS.get(record["outcome"], ())])


def _check_sequence(history):
    seen = [record["seq"] for record in history.outcomes]
    wanted = list(range(1, len(seen) + 1))
    return _finding("GAP", "seq is not contiguous from 1, first at (seen, wanted)",
                    [pair for pair in zip(seen, wanted) if pair[0] != pair[1]][:1])


def _check_balance(history):
    if not history.ledger:
        return []
    found = []
    counts = collections.Counter(record["outcome"] for record in history.outcomes)
    for term in TERMS:
        if history.ledger[term] != counts[term]:
            found += ["BALANCE: the ledger says %d %s, the records %d"
                      % (history.ledger[term], term, counts[term])]
    if history.ledger["spooled"] != len(history.spooled):
        found += ["BALANCE: the ledger says %d spooled, there are %d"
                  % (history.ledger["spooled"], len(history.spooled))]
    if history.ledger["accepted"] != len(history.outcomes) + len(history.spooled):
        found += ["BALANCE: accepted %d, ended %d, spooled %d"
                  % (history.ledger["accepted"], len(history.outcomes), len(history.spooled))]
    return found


def _check_acceptance(history, records, remote):
    accepted = (set(records) | set(history.spooled.values())) - {None}
    found = _finding("LOST", "acknowledged, but in no outcome and not spooled",
                     set(history.acked) - accepted)
    found += _finding("FORGED", "recorded as delivered, never seen remotely",
                      [key for key, record in records.items()
                       if record["outcome"] == "delivered" and key not in remote])
    found += _finding("REFUSED", "refused, and accepted anyway",
                      set(history.refused) & accepted)
    found += _finding("STRANGE", "accepted, but neither acknowledged nor unknown",
                      accepted - set(history.acked) - history.unknown)
    ids = {key: record["id"] for key, record in records.items() if key}
    ids.update({key: identity for identity, key in history.spooled.items()})
    return found + _finding("ID", "acknowledged under another id than recorded",
                            [key for key, identity in history.acked.items()
                             if identity is not None and key in ids and ids[key] != identity])


def _check_records(history, remote):
    records = _by_key(history)
    found = _check_terminal(history) + _check_sequence(history) + _check_balance(history)
    found += _check_acceptance(history, records, remote)
    delivered = {key for key, record in records.items() if record["outcome"] == "delivered"}
    unsettled = (remote & (set(records) | set(history.spooled.values()))) - delivered
    allowed = history.window * history.cuts
    if len(unsettled) > allowed:
        found += ["UNSETTLED: %d taken remotely and not recorded as delivered, %d cuts of a "
                  "window of %d allow %d: %s" % (len(unsettled), history.cuts, history.window,
                                                 allowed, _some(unsettled))]
    return found


def _check_without_records(history, remote):
    """All that can be required of a bridge: what it acknowledged has arrived."""
    return _finding("LOST", "acknowledged, never seen remotely", set(history.acked) - remote)


def _check_repeats(history):
    repeats = measured_repeats(history)
    found = []
    if repeats > history.window * history.cuts:
        found += ["REPEATED: %d repeats remotely, %d cuts of a window of %d allow %d"
                  % (repeats, history.cuts, history.window, history.window * history.cuts)]
    again, within = _repeats(history)
    found += _finding("REPEATED", "more than one window after one cut (connection, repeats)",
                      [pair for pair in again.items() if pair[1] > history.window])
    return found + _finding("REPEATED", "twice on one connection", within)


def _check_order(history):
    newest, seen, wrong = {}, set(), []
    for key, topic, _ in history.remote:
        if key in seen or key not in history.sent:
            continue
        seen.add(key)
        producer, _, number = key.rpartition("/")
        stream = (producer, topic)
        if int(number) < newest.get(stream, -1):
            wrong.append(key)
        newest[stream] = max(newest.get(stream, -1), int(number))
    return _finding("ORDER", "first seen remotely after a later one of its topic", wrong)


def _check_remote(history, remote):
    found = _finding("STRANGE", "remote, but never sent", remote - set(history.sent))
    sent = {key: (topic, digest(payload)) for key, (topic, payload) in history.sent.items()}
    found += _finding("ALTERED", "topic or payload differ from what was sent",
                      {key for key, topic, payload in history.remote
                       if key in sent and sent[key] != (topic, digest(payload))})
    return found + _check_repeats(history) + _check_order(history)


def _check_afterwards(history):
    found = []
    if history.drained:
        found += _finding("STUCK", "still spooled after the fault healed",
                          history.spooled.values())
    if not history.levels:
        return found
    before, after = history.levels
    for name, level in before.items():
        most = level
        if name == "memory_kb":
            most = level * (1 + MEMORY_SLACK) + MEMORY_SLACK_KB
        if after[name] > most:
            found += ["GREW: %s was %d and is %d" % (name, level, after[name])]
    return found


def verdict(history):
    remote = {key for key, _, _ in history.remote}
    check = _check_records if history.recorded else _check_without_records
    return (list(history.faults) + check(history, remote) + _check_remote(history, remote)
            + _check_afterwards(history))


def hold(history, what="the run"):
    """Raises with all findings. With SPOOLD_KEEP=FOLDER the history is kept there then."""
    found = verdict(history)
    if not found:
        return
    keep = os.environ.get("SPOOLD_KEEP")
    if keep:
        history.save(keep)
    raise AssertionError("findings of the checker in %s:\n  %s" % (what, "\n  ".join(found)))


# Figures


def measured_repeats(history):
    return len(history.remote) - len({key for key, _, _ in history.remote})


def _repeats(history):
    """({connection: repeats of what earlier ones carried}, keys twice on one connection)."""
    last, again, within = {}, collections.Counter(), set()
    for (key, _, _), connection in zip(history.remote, history.connections):
        if key in last:
            again[connection] += 1
            if last[key] == connection:
                within.add(key)
        last[key] = connection
    return again, within


def repeats_by_cut(history):
    """How many repeats each connection brought, for all but the first; [] if none is known."""
    again, _ = _repeats(history)
    return [again[connection] for connection in sorted(set(history.connections))[1:]]


def figures(history):
    text = ("%d sent, %d acknowledged, %d refused, %d unknown, %d taken remotely, %d repeats, "
            "%d records, %d spooled, %d cuts"
            % (len(history.sent), len(history.acked), len(history.refused),
               len(history.unknown), len(history.remote), measured_repeats(history),
               len(history.outcomes), len(history.spooled), history.cuts))
    cuts = repeats_by_cut(history)
    if cuts:
        text += ", at most %d repeats after one cut of a window of %d" % (max(cuts),
                                                                         history.window)
    return text


# Reading S: the audit files and a copy of the database


def read_audit(paths, faults):
    """Records of the audit files, oldest file first; a torn last line, as a crash leaves it, is not
    a record: it is still in the outcome table."""
    records = []
    for path in paths:
        with open(path, "rb") as audit:
            lines = audit.read().split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except ValueError:
                faults.append("UNSOUND: line %d of %s is no record: %r"
                              % (number, os.path.basename(path), line[:60]))
    return records


_LEDGER = "SELECT sum(accepted), %s, sum(messages) FROM lane" % ", ".join(
    "sum(%s)" % term for term in TERMS)


def read_spool(directory, faults):
    """(records of the outcome table, {id: ref} of the messages, ledger) from a copy, so that
    neither the evidence nor a daemon's files are changed. What cannot be read is a fault."""
    records, spooled, sums = [], {}, (None,)
    with tempfile.TemporaryDirectory(prefix="spoold-copy-") as copy:
        for name in ("spool.db", "spool.db-wal"):
            if os.path.exists(os.path.join(directory, name)):
                shutil.copy(os.path.join(directory, name), copy)
        if not os.path.exists(os.path.join(copy, "spool.db")):
            raise FileNotFoundError("there is no spool.db in %s" % directory)
        database = sqlite3.connect(os.path.join(copy, "spool.db"))
        try:
            sound = database.execute("PRAGMA integrity_check").fetchall()
            if sound != [("ok",)]:
                faults.append("UNSOUND: integrity_check of spool.db: %r" % sound[:3])
            records = [{"seq": seq, "id": identity, "outcome": _OUTCOMES[outcome],
                        "reason": _REASONS[reason], "topic": topic, "ref": ref}
                       for seq, identity, outcome, reason, topic, ref in database.execute(
                           "SELECT seq, id, outcome, reason, topic, ref FROM outcome "
                           "ORDER BY seq")]
            spooled = {key & _ID_MASK: ref
                       for key, ref in database.execute("SELECT key, ref FROM message")}
            sums = database.execute(_LEDGER).fetchone()
        except sqlite3.DatabaseError as error:
            faults.append("UNSOUND: spool.db: %s" % error)
        finally:
            database.close()
    names = ("accepted",) + TERMS + ("spooled",)
    return records, spooled, dict(zip(names, sums)) if sums[0] is not None else {}


def collect_daemon(history, audit_paths, directory):
    """Puts the daemon's side into @history: records, messages, and the ledger in the database
    unless there is another already. A record in both file and table must be the same."""
    history.outcomes = read_audit([path for path in audit_paths if os.path.exists(path)],
                                  history.faults)
    table, history.spooled, ledger = read_spool(directory, history.faults)
    history.ledger = history.ledger or ledger
    in_file = {record["seq"]: record for record in history.outcomes}
    for record in table:
        twin = in_file.get(record["seq"])
        if twin is None:
            history.outcomes.append(record)
        elif (twin["id"], twin["outcome"]) != (record["id"], record["outcome"]):
            history.faults.append("DIFFERS: seq %d: the file says id %d %s, the table id %d %s"
                                  % (record["seq"], twin["id"], twin["outcome"], record["id"],
                                     record["outcome"]))


def main(arguments):
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: checker.py HISTORY.json | FOLDER", file=sys.stderr)
        return 2
    try:
        history = load(arguments[0])
        found = verdict(history)
    except Unreadable as error:
        print("checker: %s" % error, file=sys.stderr)
        return 2
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        print("checker: %s: a ledger is not in its form: %r" % (arguments[0], error),
              file=sys.stderr)
        return 2
    print(figures(history))
    for line in found:
        print(line)
    print("%d findings" % len(found) if found else "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

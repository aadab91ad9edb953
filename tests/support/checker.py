"""One definition of correct: three ledgers, compared in set arithmetic.

P, the producers: what was sent, acknowledged, refused, or left unknown when a connection died.
R, the remote side: what the far broker took, in order.
S, the daemon: outcome records (audit file and outcome table) and the messages still spooled,
read from a copy of the files after the daemon stopped.

A message is known by its key "producer/seq", which travels as the user property spool-ref and
at the front of the payload. verdict() returns findings, each "KIND: what, which"; none is good.
"""

import collections
import json
import os
import shutil
import sqlite3
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


class History:
    """What one run left behind; every part may be filled by hand to test the checker."""

    def __init__(self):
        self.sent = {}  # key -> (topic, payload)
        self.acked = {}  # key -> spool id
        self.refused = {}  # key -> reason code
        self.unknown = set()  # keys whose connection died first
        self.remote = []  # (key, topic, payload) in order of arrival
        self.outcomes = []  # records, as in the audit file
        self.spooled = {}  # id -> key
        self.ledger = {}  # the daemon's own
        self.cuts = 0  # how often daemon or link were cut
        self.window = 0  # how many may be in flight at a cut


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
    return _finding("GAP", "seq is not contiguous from 1, first at",
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


def _check_acceptance(history, records):
    accepted = (set(records) | set(history.spooled.values())) - {None}
    remote = {key for key, _, _ in history.remote}
    found = _finding("LOST", "acknowledged, but in no outcome and not spooled",
                     set(history.acked) - accepted)
    found += _finding("LOST", "recorded as delivered, never seen remotely",
                      [key for key, record in records.items()
                       if record["outcome"] == "delivered" and key not in remote])
    found += _finding("REFUSED", "refused, and accepted all the same",
                      set(history.refused) & accepted)
    found += _finding("STRANGE", "accepted, but neither acknowledged nor unknown",
                      accepted - set(history.acked) - history.unknown)
    found += _finding("STRANGE", "remote, but never sent", remote - set(history.sent))
    ids = {key: record["id"] for key, record in records.items() if key}
    ids.update({key: identity for identity, key in history.spooled.items()})
    return found + _finding("ID", "acknowledged under another id than recorded",
                            [key for key, identity in history.acked.items()
                             if identity is not None and key in ids and ids[key] != identity])


def _check_remote(history):
    """Content, repeats within the window of each cut, order of first occurrences."""
    found = _finding("ALTERED", "topic or payload differ from what was sent",
                     [key for key, topic, payload in history.remote
                      if key in history.sent and history.sent[key] != (topic, payload)])
    repeats = len(history.remote) - len({key for key, _, _ in history.remote})
    if repeats > history.window * history.cuts:
        found += ["REPEATED: %d repeats remotely, %d cuts of a window of %d allow %d"
                  % (repeats, history.cuts, history.window, history.window * history.cuts)]
    newest, seen, wrong = {}, set(), []
    for key, topic, _ in history.remote:
        if key in seen:
            continue
        seen.add(key)
        producer, _, number = key.rpartition("/")
        stream = (producer, topic)
        if int(number) < newest.get(stream, -1):
            wrong.append(key)
        newest[stream] = max(newest.get(stream, -1), int(number))
    return found + _finding("ORDER", "first seen remotely after a later one of its topic", wrong)


def verdict(history):
    records = _by_key(history)
    return (_check_terminal(history) + _check_sequence(history) + _check_balance(history)
            + _check_acceptance(history, records) + _check_remote(history))


def measured_repeats(history):
    return len(history.remote) - len({key for key, _, _ in history.remote})


# Reading S: the audit files and a copy of the database


def read_audit(paths):
    """Records of the audit files, oldest file first; a torn last line, as a crash leaves it, is
    no record: it is in the outcome table still."""
    records = []
    for path in paths:
        with open(path, "rb") as audit:
            records += [json.loads(line) for line in audit.read().split(b"\n")[:-1]]
    return records


def read_spool(directory):
    """(records of the outcome table, {id: ref} of the messages) from a copy, so that neither the
    evidence nor a daemon's files are touched."""
    with tempfile.TemporaryDirectory(prefix="spoold-copy-") as copy:
        for name in ("spool.db", "spool.db-wal"):
            if os.path.exists(os.path.join(directory, name)):
                shutil.copy(os.path.join(directory, name), copy)
        database = sqlite3.connect(os.path.join(copy, "spool.db"))
        try:
            sound = database.execute("PRAGMA integrity_check").fetchall()
            if sound != [("ok",)]:
                raise AssertionError("integrity_check: %r" % sound[:3])
            records = [{"seq": seq, "id": identity, "outcome": _OUTCOMES[outcome],
                        "reason": _REASONS[reason], "topic": topic, "ref": ref}
                       for seq, identity, outcome, reason, topic, ref in database.execute(
                           "SELECT seq, id, outcome, reason, topic, ref FROM outcome "
                           "ORDER BY seq")]
            spooled = {key & _ID_MASK: ref
                       for key, ref in database.execute("SELECT key, ref FROM message")}
        finally:
            database.close()
    return records, spooled


def collect_daemon(history, audit_paths, directory):
    """Puts the daemon's side into @history. A record that is in file and table must be one."""
    history.outcomes = read_audit(audit_paths)
    table, history.spooled = read_spool(directory)
    in_file = {record["seq"]: record for record in history.outcomes}
    for record in table:
        twin = in_file.get(record["seq"])
        if twin is None:
            history.outcomes.append(record)
        elif (twin["id"], twin["outcome"]) != (record["id"], record["outcome"]):
            raise AssertionError("seq %d differs: file %r, table %r"
                                 % (record["seq"], twin, record))

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
  NUMBER     the number of a message within its lane is not how many the lane had accepted
  KEPT       a rejected message is not kept as it was, or another one is
  TALLY      the counts by delay and by reason are not those of the records
  SUSPECT    closings are counted of a message that is not spooled
  REPORT     a failure that counts as reported is in no report, or one is in two
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
_BUCKETS = 19
_ID_MASK = (1 << 48) - 1
_SHOWN = 5
REPORT_LANE = "$report"
# Memory may exceed its level by this: allocators keep pages, and SQLite's cache fills up.
MEMORY_SLACK, MEMORY_SLACK_KB = 0.10, 512

_SECTIONS = {
    "producers": ("sent", "acked", "refused", "unknown"),
    "remote": ("remote", "connections", "stamps", "reports"),
    "daemon": ("recorded", "outcomes", "spooled", "ledger", "faults", "tables"),
    "run": ("cuts", "window", "drained", "levels", "is_exact"),
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
        self.stamps = []  # (id, lane, number), as they were stamped
        self.reports = []  # payloads
        self.recorded = True  # False: the subject keeps no records, as no bridge does
        self.outcomes = []  # records, as in the audit file
        self.spooled = {}  # id -> key
        self.ledger = {}  # the daemon's own
        self.tables = None  # what else is in the database: see _read_tables()
        self.faults = []  # findings made while the daemon's files were read
        self.cuts = 0  # how often daemon or link were cut
        self.window = 0  # how many may be in flight at a cut
        self.drained = False  # True: nothing may still be spooled
        self.is_exact = False  # True: one life of lanes, all rejected ones are kept, no salvage
        self.levels = []  # [before, after], each {"memory_kb", "descriptors", "threads"}

    def sent_digests(self):
        """{key: (topic, digest of the payload)}"""
        return {key: (topic, digest(payload)) for key, (topic, payload) in self.sent.items()}

    def sections(self):
        """The history as plain values for JSON, by section."""
        plain = dict(vars(self), unknown=sorted(self.unknown),
                     sent=self.sent_digests(),
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
    return {record.get("ref") or names.get(record["id"]): record for record in history.outcomes
            if record.get("lane") != REPORT_LANE}


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
    settled = {key for key, record in records.items()
               if record["outcome"] in ("delivered", "rejected")}
    unsettled = (remote & (set(records) | set(history.spooled.values()))) - settled
    allowed = history.window * history.cuts
    if len(unsettled) > allowed:
        found += ["UNSETTLED: %d taken remotely and not recorded as answered, %d cuts of a "
                  "window of %d allow %d: %s" % (len(unsettled), history.cuts, history.window,
                                                 allowed, _some(unsettled))]
    return found


def _check_without_records(history, remote):
    """All that can be required of a bridge: what it acknowledged has arrived."""
    return _finding("LOST", "acknowledged, never seen remotely", set(history.acked) - remote)


def _check_repeats(history):
    tried_again = _tried_again(history)
    again, within = _repeats(history, tried_again)
    keys = [key for key, _, _ in history.remote if key not in tried_again]
    repeats = len(keys) - len(set(keys))
    found = []
    if repeats > history.window * history.cuts:
        found += ["REPEATED: %d repeats remotely, %d cuts of a window of %d allow %d"
                  % (repeats, history.cuts, history.window, history.window * history.cuts)]
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
    sent = history.sent_digests()
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


# What else the database holds


def _numbers(history):
    """{id: (lane, how many the lane had accepted with it)}."""
    lanes = {record["id"]: record["lane"] for record in history.outcomes}
    lanes.update({identity: lane for identity, lane, _ in history.tables["numbers"]})
    counts, numbers = collections.Counter(), {}
    for identity in sorted(lanes):
        counts[lanes[identity]] += 1
        numbers[identity] = (lanes[identity], counts[lanes[identity]])
    return numbers, counts


def _check_numbers(history):
    numbers, counts = _numbers(history)
    found = _finding("NUMBER", "in the database (id, lane, number)", [
        (identity, lane, number) for identity, lane, number in history.tables["numbers"]
        if numbers[identity] != (lane, number)])
    found += _finding("NUMBER", "stamped (id, lane, number)", {
        (identity, lane, number) for identity, lane, number in history.stamps
        if numbers.get(identity) != (lane, number)})
    return found + _finding("NUMBER", "the newest of a lane (lane, number, accepted)", [
        (lane, newest, counts[lane]) for lane, newest in history.tables["newest"].items()
        if newest != counts[lane]])


def _check_kept(history):
    tables = history.tables
    rejected = {record["id"]: record["seq"] for record in history.outcomes
                if record["outcome"] == "rejected"}
    kept = {identity: seq for identity, seq, *_ in tables["kept"]}
    found = _finding("KEPT", "rejected and not kept, or kept otherwise (id, seq)",
                     set(rejected.items()) ^ set(kept.items()))
    if tables["kept_count"] != len(kept):
        found += ["KEPT: %d counted, there are %d" % (tables["kept_count"], len(kept))]
    sent = history.sent_digests()
    return found + _finding("KEPT", "not what was sent", [
        ref for _, _, ref, topic, payload in tables["kept"]
        if ref in sent and sent[ref] != (topic, payload)])


def _check_reports(history):
    """Each failure up to the cursor is in one report; which report it was is known only of those
    that are spooled or that the remote side has."""
    tables, pages = history.tables, []
    if tables["reported"] is None:
        return []
    for text in list(tables["reports"]) + sorted(set(history.reports)):
        pages.append(json.loads(text))
    reported = {(record["seq"], record["id"]) for page in pages for record in page["records"]}
    ended = [record for record in history.outcomes
             if record["outcome"] != "delivered" and record["seq"] <= tables["reported"]]
    found = []
    if not any(record["lane"] == REPORT_LANE for record in ended):  # else some reports are lost
        found = _finding("REPORT", "failures up to %d in no report (seq, id)" % tables["reported"],
                         {(record["seq"], record["id"]) for record in ended} - reported)
    spooled = collections.Counter(record["seq"] for text in tables["reports"]
                                  for record in json.loads(text)["records"])
    return found + _finding("REPORT", "in two reports that are spooled",
                            [seq for seq, count in spooled.items() if count > 1])


def _check_tallies(history):
    """None: of a schema that has none."""
    tallies = history.tables.get("tallies")
    if tallies is None:
        return []
    counts = collections.Counter(record.get("reason") or "delivered"
                                 for record in history.outcomes)
    return _finding("TALLY", "not so many records (of, tally, records)",
                    [(name, tallies.get(name, 0), counts[name])
                     for name in sorted(set(tallies) | set(counts))
                     if tallies.get(name, 0) != counts[name]])


def _check_tables(history):
    if not history.is_exact or not history.tables:
        return []
    found = _finding("SUSPECT", "not spooled",
                     set(history.tables["suspects"]) - set(history.spooled))
    return (found + _check_numbers(history) + _check_kept(history) + _check_reports(history)
            + _check_tallies(history))


def verdict(history):
    remote = {key for key, _, _ in history.remote}
    check = _check_records if history.recorded else _check_without_records
    return (list(history.faults) + check(history, remote) + _check_remote(history, remote)
            + _check_tables(history) + _check_afterwards(history))


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


def _tried_again(history):
    """Keys of what the broker refused: that is sent again, also on one connection."""
    if not history.recorded:
        return set()
    return {key for key, record in _by_key(history).items() if record["outcome"] != "delivered"}


def _repeats(history, tried_again):
    """({connection: repeats of what earlier ones carried}, keys twice on one connection), without
    @tried_again."""
    last, again, within = {}, collections.Counter(), set()
    for (key, _, _), connection in zip(history.remote, history.connections):
        if key in last and key not in tried_again:
            again[connection] += 1
            if last[key] == connection:
                within.add(key)
        last[key] = connection
    return again, within


def repeats_by_cut(history):
    """How many repeats each connection brought, for all but the first; [] if none is known."""
    again, _ = _repeats(history, _tried_again(history))
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
    a record: it is still in the outcome table. Nor is what an operator changed, or a seal."""
    records = []
    for path in paths:
        with open(path, "rb") as audit:
            lines = audit.read().split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                records += [record] if "admin" not in record and "seal" not in record else []
            except ValueError:
                faults.append("UNSOUND: line %d of %s is no record: %r"
                              % (number, os.path.basename(path), line[:60]))
    return records


_LEDGER = "SELECT sum(accepted), %s, sum(messages) FROM lane" % ", ".join(
    "sum(%s)" % term for term in TERMS)


def _has_runs(database):
    return database.execute("PRAGMA user_version").fetchone()[0] >= 9


def _pending(database):
    return "spooled" if _has_runs(database) else "message"


def _runs(blob):
    """The runs of a lane, as mqtt-spool-format(5) has them."""
    numbers, value, shift = [], 0, 0
    for byte in blob or b"":
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte & 0x80:
            continue
        numbers.append(value >> 1 ^ -(value & 1))
        value = shift = 0
    before, found = [0] * 9, []
    for start in range(0, len(numbers), 9):
        before = [old + new for old, new in zip(before, numbers[start:start + 9])]
        found.append(before)
    return found


def _tallies(database):
    """{"delivered" or reason: how many}, of all lanes; the buckets are in no record."""
    if database.execute("PRAGMA user_version").fetchone()[0] < 12:
        return None
    sums = collections.Counter()
    for blob, in database.execute("SELECT tallies FROM lane"):
        numbers, value, shift = [], 0, 0
        for byte in blob or b"":
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                numbers.append(value)
                value = shift = 0
        sums["delivered"] += sum(numbers[1:1 + _BUCKETS])
        sums.update(dict(zip(_REASONS[1:], numbers[1 + _BUCKETS:])))
    return dict(sums)


def run_records(database):
    """The records of deliveries that have no row in the outcome table and are not exported."""
    records = []
    if not _has_runs(database):
        return records
    gone = max(database.execute("SELECT exported_seq, pruned_seq FROM spool").fetchone())
    for lane, name, blob in database.execute("SELECT number, name, runs FROM lane").fetchall():
        for seq, count, first, last, segment, *_ in _runs(blob):
            if seq + count - 1 <= gone:
                continue
            rows = database.execute(
                "SELECT key, topic, ref FROM segment%d WHERE key BETWEEN ? AND ? ORDER BY key"
                % segment, (lane << 48 | first, lane << 48 | last)).fetchall()
            if len(rows) != count:
                raise sqlite3.DatabaseError("run %d of %d has %d rows" % (seq, count, len(rows)))
            records += [{"seq": seq + index, "id": key & _ID_MASK, "outcome": _OUTCOMES[0],
                         "reason": _REASONS[0], "topic": topic, "ref": ref, "lane": name}
                        for index, (key, topic, ref) in enumerate(rows) if seq + index > gone]
    return records


def _read_tables(database):
    """What the judge asks of the rest of the database, as JSON can hold it; None if it is of an
    earlier schema."""
    columns = {name for name, in database.execute("SELECT name FROM pragma_table_info('message')")}
    if "behind" not in columns:
        return None
    lane = "(SELECT name FROM lane WHERE number = key >> 48)"
    pending = _pending(database)
    kept_count, reported = database.execute(
        "SELECT rejected_messages, reported_seq FROM spool").fetchone()
    return {
        "numbers": [list(row) for row in database.execute(
            "SELECT key & 0xffffffffffff, %s, (key & 0xffffffffffff) - behind FROM %s"
            " WHERE behind IS NOT NULL ORDER BY key" % (lane, pending))],
        "newest": dict(database.execute("SELECT name, accepted - unnumbered FROM lane")),
        "kept": [list(row[:4]) + [digest(row[4])] for row in database.execute(
            "SELECT key & 0xffffffffffff, seq, ref, topic, payload FROM rejected ORDER BY seq")],
        "kept_count": kept_count,
        "suspects": [row[0] for row in database.execute(
            "SELECT key & 0xffffffffffff FROM suspect ORDER BY key")],
        "reported": reported,
        "tallies": _tallies(database),
        "reports": [row[0].decode() for row in database.execute(
            "SELECT payload FROM %s WHERE %s = ? ORDER BY key" % (pending, lane),
            (REPORT_LANE,))],
    }


def read_spool(directory, faults):
    """(records of the outcome table, {id: ref} of the messages, ledger, the other tables) from a
    copy, so that neither the evidence nor a daemon's files are changed. What cannot be read is a
    fault."""
    records, spooled, sums, tables = [], {}, (None,), None
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
                        "reason": _REASONS[reason], "topic": topic, "ref": ref, "lane": lane}
                       for seq, identity, outcome, reason, topic, ref, lane in database.execute(
                           "SELECT seq, id, outcome, reason, topic, ref,"
                           " (SELECT name FROM lane WHERE number = outcome.lane) FROM outcome "
                           "ORDER BY seq")]
            spooled = {key & _ID_MASK: ref
                       for key, ref in database.execute(
                           "SELECT key, ref FROM %s" % _pending(database))}
            records = sorted(records + run_records(database), key=lambda record: record["seq"])
            sums = database.execute(_LEDGER).fetchone()
            tables = _read_tables(database)
        except sqlite3.DatabaseError as error:
            faults.append("UNSOUND: spool.db: %s" % error)
        finally:
            database.close()
    names = ("accepted",) + TERMS + ("spooled",)
    ledger = dict(zip(names, sums)) if sums[0] is not None else {}
    return records, spooled, ledger, tables


def collect_daemon(history, audit_paths, directory):
    """Puts the daemon's side into @history: records, messages, and the ledger in the database
    unless there is another already. A record in both file and table must be the same."""
    history.outcomes = read_audit([path for path in audit_paths if os.path.exists(path)],
                                  history.faults)
    table, history.spooled, ledger, history.tables = read_spool(directory, history.faults)
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

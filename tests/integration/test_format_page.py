# SPDX-License-Identifier: MIT
"""mqtt-spool-format(5) against what the daemon writes: the page must stay true.

A spool, a mark and an audit file are read here only with what the page says.
"""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from gateway import Gateway  # noqa: E402
from processes import folder  # noqa: E402
from tap import case, check, equal, run_all  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
COLUMN = re.compile(r'^\.BR (\w+) " \((INTEGER|TEXT|BLOB)( or NULL)?(?:, since version (\d+))?\)"$',
                    re.MULTILINE)
POLYNOMIAL = 0x82F63B78  # that of the page, reflected
KEPT = 3
SEGMENTS = ["segment%d" % number for number in range(8)]


def text_of(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as file:
        return file.read()


PAGE = text_of("man", "mqtt-spool-format.5").replace("\\-", "-").replace("\\~", " ")


def section(name):
    return re.search(r"^\.SH %s\n(.*?)^\.SH " % re.escape(name), PAGE,
                     re.MULTILINE | re.DOTALL).group(1)


def tables():
    """{table: [(column, type, may be NULL, since version)]}, as the page has them."""
    parts = re.split(r"^\.SS Table (\w+)\n", section("THE DATABASE"), flags=re.MULTILINE)[1:]
    return {name: [(column, kind, bool(null), int(since or 1))
                   for column, kind, null, since in COLUMN.findall(part)]
            for name, part in zip(parts[::2], parts[1::2])}


def tags(part):
    """The words that .TP sets at the left."""
    return re.findall(r"^\.TP\n\.B (\w+)$", part, re.MULTILINE)


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def stopped_gateway():
    """Five messages were accepted and two of them evicted, at a broker that does not exist."""
    gateway = Gateway(retention={"max_messages": KEPT}).start()
    for number in range(5):
        done = gateway.tool("publish", "-t", "plant/%d" % number, "-m", "21.5", "--retain",
                            "--ref", "order-%d" % number, "--content-type", "text/plain",
                            "--user", "a=b", "--expiry", "1h")
        equal(done.returncode, 0, "publish (%r)" % done.stderr)
    done = gateway.tool("publish", "-t", "plant/last", "-s", "-V", "4")
    equal(done.returncode, 0, "publish (%r)" % done.stderr)
    gateway.wait_audit(6 - KEPT)
    gateway.stop()
    return gateway


def copy_of(gateway):
    """As the page says that a spool is read."""
    copied = os.path.join(folder(), "spool-copy")
    shutil.copytree(gateway.spool, copied)
    database = sqlite3.connect(os.path.join(copied, "spool.db"))
    database.row_factory = sqlite3.Row
    return contextlib.closing(database)


@case
def tables_and_columns_are_those_of_the_database():
    wanted = tables()
    with copy_of(stopped_gateway()) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        names = [row[0] for row in database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        check("\n.SS Tables %s to %s\n" % (SEGMENTS[0], SEGMENTS[-1]) in PAGE, "the segments", "")
        equal(sorted(list(wanted) + SEGMENTS), names, "tables")
        wanted.update((name, wanted["message"]) for name in SEGMENTS)
        for name in names:
            found = [(row["name"], row["type"], not row["notnull"] and not row["pk"])
                     for row in database.execute("PRAGMA table_info(%s)" % name)]
            equal([column[:3] for column in wanted[name] if column[3] <= version], found,
                  "columns of table %s: the page, the database" % name)
        for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'index'"
                                    " AND sql IS NOT NULL"):
            check(".B %s\n" % row[0] in PAGE, "the page has no index", row[0])
    known = int(re.search(r"^It describes schema version (\d+)", PAGE, re.MULTILINE).group(1))
    equal(version, known, "the schema versions of the database and of the page")


@case
def the_head_of_the_database_is_recognized():
    with open(os.path.join(stopped_gateway().spool, "spool.db"), "rb") as seen:
        head = seen.read(72)
    number = int(re.search(r"^(0x[0-9a-f]+), the letters", PAGE, re.MULTILINE).group(1), 16)
    equal(head[68:72], number.to_bytes(4, "big"), "application_id")
    equal(head[68:72], b"mqsp", "its letters")


@case
def outcomes_and_reasons_have_the_numbers_of_the_store():
    header = text_of("store", "spool.h")
    reasons = {name.lower(): int(number)
               for name, number in re.findall(r"\bSPOOL_REASON_(\w+) = (\d+),", header)}
    outcomes = {name.lower(): int(number)
                for name, number in re.findall(r"\bSPOOL_([A-Z]+) = (\d+),", header)}
    part = section("OUTCOMES AND REASONS")
    numbers = {name: int(number) for name, number in re.findall(r'^\.BR (\w+) " = (\d+)"', part,
                                                                re.MULTILINE)}
    check(numbers, "the outcomes are found")
    equal(numbers, {name: outcomes.get(name) for name in numbers}, "outcomes")
    last = max(numbers.values())
    check(re.search(r"= %d,\n +SPOOL_OUTCOMES\b" % last, header), "the last outcome", last)
    equal({("none" if name == "reason" else name): int(number)
           for name, number in re.findall(r"(\w+) = (\d+)[,.]", part)}, reasons, "reasons")


@case
def key_flags_and_checksum_are_made_as_the_page_says():
    with copy_of(stopped_gateway()) as database:
        lanes = {row["name"]: row for row in database.execute("SELECT * FROM lane")}
        rows = list(database.execute("SELECT *, key >> 48 AS lane FROM spooled ORDER BY key"))
    equal([row["key"] & 0xFFFFFFFFFFFF for row in rows], [4, 5, 6], "ids")
    equal({row["lane"] for row in rows}, {lanes["default"]["number"]}, "lane")
    equal([row["flags"] for row in rows], [5, 5, 1], "QoS 1, retain")
    equal([row["ref"] for row in rows], ["order-3", "order-4", None], "ref")
    equal([row["expires_at"] and row["expires_at"] - row["accepted_at"] for row in rows],
          [3600000, 3600000, None], "expiry")
    equal(sum(row["charge"] for row in rows), lanes["default"]["bytes"], "charge")
    equal(rows[2]["properties"], None, "properties of MQTT 3.1.1")
    check(b"a" in rows[0]["properties"] and b"text/plain" in rows[0]["properties"],
          "properties of MQTT 5", rows[0]["properties"])
    equal(crc32c(b"123456789"), 0xE3069283, "CRC-32C")
    for row in rows:
        parts = [row[name] or b"" for name in ("client", "topic", "properties", "ref", "payload")]
        parts = [part.encode() if isinstance(part, str) else part for part in parts]
        number = (row["key"] & 0xFFFFFFFFFFFF) - row["behind"]
        head = struct.pack("=10Q", row["key"], row["accepted"], row["uid"], row["flags"],
                           *map(len, parts), number)
        equal(crc32c(head + b"".join(parts)), row["sum"], "sum")


@case
def the_ledger_is_the_sum_that_the_page_says():
    with copy_of(stopped_gateway()) as database:
        lane, = database.execute("SELECT * FROM lane")
        spool, = database.execute("SELECT * FROM spool")
        outcomes = list(database.execute("SELECT * FROM outcome ORDER BY seq"))
    terms = re.search(r"^accepted = (.*)$", PAGE, re.MULTILINE).group(1).split(" + ")
    names = [column[0] for column in tables()["lane"]]
    equal(terms, names[names.index("accepted") + 1:names.index("messages") + 1], "the terms")
    equal(lane["accepted"], sum(lane[term] for term in terms), "accepted")
    equal((lane["accepted"], lane["messages"], lane["last_id"]), (6, KEPT, 6), "the lane")
    equal(lane["unnumbered"], 0, "the newest number is 6")
    equal([row["seq"] for row in outcomes], [1, 2, 3], "seq")
    equal(spool["failures_pruned"], 0, "failures_pruned")
    check(spool["exported_seq"] <= lane["last_seq"], "exported_seq", spool["exported_seq"])


@case
def the_mark_has_the_layout_of_the_page():
    with open(os.path.join(stopped_gateway().spool, "spool.mark"), "rb") as seen:
        mark = seen.read()
    layout = [(int(at), int(size)) for at, size in re.findall(
        r'^\.BR (\d+) ", (\d+) bytes"', section("THE MARK"), re.MULTILINE)]
    fields = [mark[at:at + size] for at, size in layout]
    equal(len(mark), sum(size for _, size in layout), "its size")
    equal(fields[0], b"mqspmark", "its letters")
    equal([int.from_bytes(field, sys.byteorder) for field in fields[1:]],
          [0, crc32c(mark[:12] + bytes(4) + mark[16:]), 6, 3], "flags, sum, id, seq")


@case
def the_files_are_those_of_the_page():
    gateway = stopped_gateway()
    part = section("FILES OF A SPOOL")
    for name in os.listdir(gateway.spool):
        check(re.search(r"^\.IR? %s$" % re.escape(name), part, re.MULTILINE), "no entry for", name)
    equal(os.stat(gateway.spool).st_mode & 0o777, 0o700, "mode of the folder")


@case
def each_name_in_the_headers_of_the_store_is_on_the_page():
    names = set()
    for header in ("names.h", "salvage/mark.h", "spool.h"):
        for base, text in re.findall(
                r'^#define \w+_(?:NAME|PREFIX) +(DATABASE_NAME )?"([^"]+)"',
                text_of("store", header), re.MULTILINE):
            names.add("spool.db" * bool(base) + text)
    check({"spool.db", "spool.db-wal", "spool.mark"} < names, "the names are found", names)
    part = section("FILES OF A SPOOL")
    equal(sorted(name for name in names
                 if not re.search(r"^\.IR? %s( |$)" % re.escape(name), part, re.MULTILINE)), [],
          "names without an entry")


@case
def the_members_of_a_line_are_those_of_the_audit_file():
    part = section("THE AUDIT FILE")
    record, others = part.split("A line without\n")
    pruned, others = others.split("A line with\n")
    admin, seal = others.split("A line with a\n")
    audit = text_of("docs", "audit.md")
    rows = re.findall(r"^\| `(\w+)` \|", audit.split("| field |")[1].split("\n\n")[0], re.MULTILINE)
    equal(tags(record), rows, "the page, docs/audit.md")
    example = re.search(r'^\{.*"pruned":.*\}$', audit, re.MULTILINE).group(0)
    equal(tags(pruned), list(json.loads(example)), "a line for missing numbers")
    example = re.search(r'^\{"admin":.*\}$', audit, re.MULTILINE).group(0)
    equal(tags(admin), list(json.loads(example))[:3], "a line about an operator")
    rows = re.findall(r"^\| `(\w+)` \|", audit.split("| field |")[3].split("\n\n")[0], re.MULTILINE)
    equal(tags(seal), rows, "a seal")
    with open(stopped_gateway().audit, encoding="utf-8") as seen:
        lines = [json.loads(line) for line in seen]
    for line in [line for line in lines if "seal" in line]:
        equal(list(line), [name for name in tags(seal) if name in line], "members of a seal")
    for line in [line for line in lines if "seal" not in line]:
        equal(list(line), [name for name in tags(record) if name in line], "members of a line")
        check(set(tags(record)) - set(line) <= {"reason", "code", "ref", "requeued_from"}, "absent", line)


@case
def the_queries_of_the_page_work_on_a_copy():
    queries = re.findall(r'^sqlite3 \S+ "\n(.*?)"$', section("EXAMPLES"),
                         re.MULTILINE | re.DOTALL)
    with copy_of(stopped_gateway()) as database:
        found = [database.execute(query.replace("4711", "5")).fetchall() for query in queries]
    equal([tuple(row) for row in found[0]][0][2:], (1, 4), "messages and bytes of a topic")
    equal(tuple(found[1][0])[2:], ("plant/4", "21.5".encode().hex().upper()), "one message")


run_all()

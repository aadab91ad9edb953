# SPDX-License-Identifier: MIT
"""The results as tables of Markdown."""

import statistics

from measure.cells import wear
from measure.figures import FIGURES

LINKS = (
    ("daemon to the sink", "sink/daemon"), ("bridge to the sink", "sink/bridge"),
    ("bridge at a Unix socket to the sink", "sink/bridge, unix"),
    ("bare Paho to the sink", "sink/paho"),
    ("daemon to the sink, TLS", "tls/daemon"), ("bridge to the sink, TLS", "tls/bridge"),
    ("daemon to mosquitto", "mosquitto/daemon"), ("bridge to mosquitto", "mosquitto/bridge"),
    ("bridge at a Unix socket to mosquitto", "mosquitto/bridge, unix"),
    ("bare Paho to mosquitto", "mosquitto/paho"),
)
PROCESSES = ("producer", "gateway", "far", "subscriber")
THREADS = ("mqtt-spoold", "MQTTAsync_send", "MQTTAsync_rcv")
PERCENTILES = ("p50", "p95", "p99", "p999", "max")
LATENCIES = (
    ("PUBACK, window 100, link down", "puback/down", "puback"),
    ("PUBACK, window 100, link up", "puback/up", "puback"),
    ("PUBACK, window 100, link down, each sync +5 ms", "puback/down, slow", "puback"),
    ("PUBACK, window 100, link up, each sync +5 ms", "puback/up, slow", "puback"),
    ("PUBACK, window 1, link down", "lone/puback", "puback"),
    ("PUBACK, 100 a second, link up", "lone/daemon", "puback"),
    ("to the subscriber, 100 a second, daemon", "lone/daemon", "arrival"),
    ("to the subscriber, 100 a second, bridge", "lone/bridge", "arrival"),
)
STREAMS = [
    *((f"{pace:,} a second", "wear/paced", pace) for pace in wear.PACES),
    (f"{wear.NEW_PACE} a second, a new spool", "wear/paced", "new"),
    *((f'{pace:,} a second, commit_interval = "{wear.INTERVAL}"', "wear/interval", pace)
      for pace in wear.PACES),
]


def spread(values, digits=2, unit=""):
    """The median, and the range if there is one."""
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" [{min(values):,.{digits}f}..{max(values):,.{digits}f}]"
    return text + unit


def short(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


class Table:
    """Left out if it has no row."""

    def __init__(self, *heads):
        self._lines = [heads, ["---"] * len(heads)]

    def add(self, *fields):
        self._lines.append(fields)

    def __str__(self):
        if len(self._lines) == 2:
            return ""
        return "".join("| " + " | ".join(map(str, fields)) + " |\n" for fields in self._lines)


def figures(results):
    table = Table("figure, in one run", "median [min..max]", "wanted", "reached", "medians")
    for figure in FIGURES:
        values = results.values(figure.value)
        if not values:
            continue
        reached = figure.is_reached(statistics.median(values))
        details = [f"{label} {short(statistics.median(results.values(function)))}"
                   for label, function in figure.details.items() if results.values(function)]
        table.add(figure.text, spread(values, figure.digits, figure.unit), figure.wanted,
                  "" if reached is None else "yes" if reached else "no", ", ".join(details))
    return str(table)


def column(results, cell, key, digits=2, factor=1.0):
    values = results.values(lambda row: row[cell][key] * factor)
    return spread(values, digits) if values else ""


def links(results):
    table = Table("set-up, CPU us a message", "messages/s", *PROCESSES[:2],
                  "of it loop / send / receive", *PROCESSES[2:], "sum")
    for text, cell in LINKS:
        if not results.values(lambda row: row[cell]):
            continue
        threads = [column(results, cell, f"cpu_gateway/{thread}", 1).split(" ")[0]
                   for thread in THREADS]
        parts = [column(results, cell, f"cpu_{process}", 1) for process in PROCESSES]
        total = results.values(
            lambda row: sum(row[cell].get(f"cpu_{name}", 0) for name in PROCESSES))
        table.add(text, column(results, cell, "rate", 0), *parts[:2],
                  " / ".join(threads) if all(threads) else "", *parts[2:], spread(total, 1))
    return str(table)


def streams(results):
    table = Table("256 B, delivered at once", "device, B a message", "log", "database", "audit",
                  "mark", "other files", "messages a sync", "PUBACK p50, ms")
    for text, cell, stream in STREAMS:
        if not results.values(lambda row: row[cell][f"{stream}/written"]):
            continue
        files = [column(results, cell, f"{stream}/file/{kind}", 0).split(" ")[0] or "0"
                 for kind in ("log", "database", "audit", "mark", "other")]
        table.add(text, column(results, cell, f"{stream}/written", 0), *files,
                  column(results, cell, f"{stream}/messages_per_sync", 1),
                  column(results, cell, f"{stream}/puback_p50_us", 2, 1e-3))
    return str(table)


def latencies(results):
    table = Table("latency, us", "p50", "p95", "p99", "p99.9", "max")
    for text, cell, kind in LATENCIES:
        if results.values(lambda row: row[cell][f"{kind}_p50_us"]):
            table.add(text, *(column(results, cell, f"{kind}_{name}_us", 0)
                              for name in PERCENTILES))
    return str(table)


def notes(results):
    repeated = sum(values[key] for row in (*results.rounds, results.once) for values in row.values()
                   for key in values if key.split("/")[-1] == "repeated")
    lines = [f"Rounds: {len(results.rounds)}. In each run all messages arrived, and the ledger "
             f"balanced; repeated: {repeated:,}."]
    lines += [f"{name}: {value}." for name, value in results.machine.items()]
    lines += [f"Not measured, {cell}: {reason}." for cell, reason in results.skipped.items()]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def markdown(results):
    parts = [figures(results), links(results), streams(results), latencies(results), notes(results)]
    return "\n".join(part for part in parts if part)

# SPDX-License-Identifier: MIT
"""The figures that are wanted, and how each comes from the cells of one round."""

import operator
import re
import typing

from measure.cells import intake, latency, wear

OPERATORS = {">=": operator.ge, "<=": operator.le}
MEGABYTE = 1_000_000


def of(cell, key, factor=1.0):
    """A function of a round."""
    return lambda row: row[cell][key] * factor


def ratio(a, b):
    return lambda row: a(row) / b(row)


class Figure(typing.NamedTuple):
    text: str
    value: typing.Callable
    wanted: str = ""  # ">= 4" or "<= 8"; "": none
    details: dict = {}  # what it was made of: {label: function of a round}
    digits: int = 2
    unit: str = ""

    def is_reached(self, value):
        """None where nothing is wanted."""
        found = re.match(r"([<>]=) ([\d.]+)", self.wanted)
        return OPERATORS[found.group(1)](value, float(found.group(2))) if found else None


def compare(text, wanted, key, a, b, labels=("daemon", "bridge"), **more):
    """The ratio of one number of two cells."""
    functions = of(a, key), of(b, key)
    return Figure(text, ratio(*functions), wanted, dict(zip(labels, functions)), **more)


def puback(cell, text, wanted, unit_us=1):
    low, high = of(cell, "puback_p50_us", 1 / unit_us), of(cell, "puback_p99_us", 1 / unit_us)
    details = {"p50": low, "p99": high, "p99.9": of(cell, "puback_p999_us", 1 / unit_us)}
    return Figure(f"PUBACK p99 / p50, window 100, 256 B, {text}", ratio(high, low), wanted, details)


RATES = [
    compare("to the sink: rate / tuned bridge", ">= 4", "rate", "sink/daemon", "sink/bridge"),
    compare("to the sink: CPU of the bridge / CPU of the daemon", ">= 3.3", "cpu_gateway",
            "sink/bridge", "sink/daemon", ("bridge us", "daemon us")),
    compare("the same over TLS, CPU", ">= 2", "cpu_gateway", "tls/bridge", "tls/daemon",
            ("bridge us", "daemon us")),
    compare("to mosquitto with a subscriber, defaults: rate / bridge", ">= 1.3", "rate",
            "mosquitto/daemon", "mosquitto/bridge"),
    compare("the same, CPU of the bridge / CPU of the daemon", "", "cpu_gateway",
            "mosquitto/bridge", "mosquitto/daemon", ("bridge us", "daemon us")),
    compare("to the sink: rate / a bridge at a Unix socket", "", "rate", "sink/daemon",
            "sink/bridge, unix"),
    compare("to mosquitto: rate / a bridge at a Unix socket", "", "rate", "mosquitto/daemon",
            "mosquitto/bridge, unix"),
    compare("to the sink: rate / bare Paho through the same seam", "", "rate", "sink/daemon",
            "sink/paho", ("daemon", "Paho")),
    compare("to mosquitto: rate / bare Paho through the same seam", "", "rate", "mosquitto/daemon",
            "mosquitto/paho", ("daemon", "Paho")),
]

WEAR = [
    Figure("device bytes / payload byte, 256 B, the broker keeps up",
           of("wear/bulk", "written", 1 / wear.SIZE), "<= 4",
           {"messages a commit": of("wear/bulk", "messages_per_commit"),
            "application bytes": of("wear/bulk", "application", 1 / wear.SIZE)}),
    Figure("device bytes a message, 256 B, 10 a second, delivered at once",
           of("wear/paced", "10/written", 1e-3), "<= 8",
           {"application kB": of("wear/paced", "10/application", 1e-3)}, 1, " kB"),
    Figure("the same with a new spool, whose log still grows",
           of("wear/paced", "new/written", 1e-3), "<= 8",
           {"application kB": of("wear/paced", "new/application", 1e-3)}, 1, " kB"),
    Figure(f'the same in a used spool with commit_interval = "{wear.INTERVAL}"',
           of("wear/interval", "10/written", 1e-3), "<= 2",
           {"application kB": of("wear/interval", "10/application", 1e-3)}, 1, " kB"),
]

LATENCY = [
    puback("puback/down", "link down, us", "<= 4"),
    puback("puback/up", "link up, us", "<= 3.5"),
    puback("puback/down, slow", f"link down, each sync +{latency.SLOW_MS} ms, ms", "<= 2.5", 1e3),
    puback("puback/up, slow", f"link up, each sync +{latency.SLOW_MS} ms, ms", "<= 2.5", 1e3),
    Figure("ingress / plain SQLite, window 100, 256 B",
           ratio(of("puback/down", "rate"), of("sqlite", "rate")), ">= 0.7",
           {"ingress": of("puback/down", "rate"), "SQLite": of("sqlite", "rate"),
            "CPU us": of("puback/down", "cpu_gateway"), "of SQLite": of("sqlite", "cpu")}),
    Figure("PUBACK p50 of a lone producer, window 1, to one fdatasync of 4 KiB",
           ratio(of("lone/puback", "puback_p50_us"), of("sync", "p50_us")), "<= 1.3",
           {"PUBACK us": of("lone/puback", "puback_p50_us"), "fdatasync us": of("sync", "p50_us")}),
    compare(f"lone message at {latency.LONE_PACE} a second to the far subscriber, p50 / bridge",
            "<= 1", "arrival_p50_us", "lone/daemon", "lone/bridge", ("daemon us", "bridge us")),
]

CALLS = [Figure("system calls a message under load (strace)", of("calls", "all"), "<= 1",
                {name: of("calls", f"call/{name}")
                 for name in ("recvfrom", "poll", "futex", "writev", "pwrite64", "epoll_wait")})]


def memory(cell, key="memory"):
    return of(cell, key, 1 / MEGABYTE)


BACKLOG = [
    compare("drain at 10,000,000 spooled / 10,000, to the sink", ">= 0.9", "rate", "backlog/most",
            "backlog/small", ("10,000,000", "10,000")),
    compare("drain at 1,000,000 spooled / 10,000, to the sink", ">= 0.9", "rate",
            "backlog/million", "backlog/small", ("1,000,000", "10,000")),
    compare("start with 10,000,000 spooled / with 10,000", "<= 2", "start_ms", "backlog/most",
            "backlog/small", ("10,000,000 ms", "10,000 ms")),
    Figure("resident, 1,000,000 spooled", memory("backlog/million"), "<= 12.6",
           {"after the drain": memory("backlog/million", "memory_drained")}, 1, " MB"),
    Figure("resident, 10,000,000 spooled", memory("backlog/most"), "<= 12.3",
           {"after the drain": memory("backlog/most", "memory_drained"),
            "10,000": memory("backlog/small")}, 1, " MB"),
    Figure("resident memory over 1,000,000 evictions", memory("backlog/evictions"), "",
           {"before": memory("backlog/evictions", "memory_before")}, 1, " MB"),
]

INTAKE = [
    Figure("PUBACK p99 of a lone producer while a lowered limit evicts, to that before",
           ratio(of("lowered/1", "during"), of("lowered/1", "before")), "<= 2",
           {"during us": of("lowered/1", "during"), "before us": of("lowered/1", "before")}),
    Figure("the same with 100 in flight",
           ratio(of("lowered/100", "during"), of("lowered/100", "before")), "<= 2",
           {"during us": of("lowered/100", "during"), "before us": of("lowered/100", "before")}),
] + [
    compare(text, ">= 0.33", "rate", cell, "evicting/none", ("with journal", "without"))
    for text, cell in (
        ('PUBACKs/s while each message evicts another, to audit.journal = "none"', "evicting/fast"),
        (f"the same beside a journald that reads {intake.JOURNALD_RATE:,} entries a second",
         "evicting/slow"),
        ("the same beside a journald that is stopped", "evicting/stopped"))
] + [
    Figure(f"PUBACK p50 of an honest producer beside {count} greedy ones of QoS 0, each sync "
           f"+{slow_ms} ms, to that without them", ratio(of(cell, "beside"), of(cell, "alone")),
           "<= 5", {"beside us": of(cell, "beside"), "alone us": of(cell, "alone")})
    for slow_ms in intake.SLOW_MS for count in intake.GREEDY
    for cell in (f"fairness/{count}, {slow_ms} ms",)
]

FIGURES = RATES + WEAR + LATENCY + CALLS + BACKLOG + INTAKE

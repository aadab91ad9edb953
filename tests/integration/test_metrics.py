# SPDX-License-Identifier: MIT
"""mqtt-spool metrics: the format, the figures, what survives a restart, and who uses the names."""

import contextlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from processes import find, folder  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

SOURCE = os.environ.get("SPOOLD_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
OK, USAGE, UNAVAILABLE = 0, 64, 69
LABELS = {"lane", "state", "outcome", "reason", "version", "le"}
NAME = r"[a-z][a-z0-9_]*"
SAMPLE = re.compile(r'(%s)(?:\{((?:%s="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9]+(?:\.[0-9]+)?)'
                    % (NAME, NAME))
LABEL = re.compile(r'(%s)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)' % NAME)
ENDS = ("_bucket", "_sum", "_count")


def parse(text):
    """The samples, {(name, labels): value}, and {metric: (type, help)}. Stricter than Prometheus:
    each metric has HELP, then TYPE, then all of its samples."""
    check(text.endswith("\n"), "the last line ends")
    samples, kinds, current = {}, {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current, words = line[7:].split(" ", 1)
            check(current not in kinds and words.endswith("."), "HELP", line)
            kinds[current] = (None, words)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            equal((name, kinds[name][0]), (current, None), "TYPE follows HELP")
            check(kind in ("gauge", "counter", "histogram"), "type", line)
            kinds[name] = (kind, kinds[name][1])
        else:
            found = SAMPLE.fullmatch(line)
            check(found, "a sample", line)
            name, labels, value = found.groups()
            pairs = LABEL.findall(labels or "")
            equal(",".join('%s="%s"' % pair for pair in pairs), labels or "", "all labels")
            check({key for key, _value in pairs} <= LABELS, "labels of few values", line)
            kind = kinds[current][0]
            check(name == current or (kind == "histogram" and name[len(current):] in ENDS),
                  "below its TYPE", line, current)
            key = (name, tuple(pairs))
            check(key not in samples, "twice", line)
            samples[key] = float(value)
    check_names(samples, kinds)
    return samples, kinds


def check_names(samples, kinds):
    for name, (kind, _words) in kinds.items():
        check(name.startswith("mqtt_spool_"), "prefix", name)
        equal(name.endswith("_total"), kind == "counter", "only counters end with _total: " + name)
        check(not re.search("_(ms|milliseconds|kb|mb|kib|minutes|percent)(_|$)", name), "unit", name)
    for name, (kind, _words) in kinds.items():
        if kind == "histogram":
            check_histogram(samples, name)


def check_histogram(samples, name):
    lanes = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            lanes.setdefault(labels[:-1], []).append((labels[-1], value))
    check(lanes, "has buckets", name)
    for labels, buckets in lanes.items():
        bounds = [float(bound.replace("+Inf", "inf")) for (_le, bound), _value in buckets]
        equal(bounds, sorted(set(bounds)), "bounds rise")
        equal(bounds[-1], float("inf"), "the last one")
        counts = [value for _bound, value in buckets]
        equal(counts, sorted(counts), "counts are cumulative")
        equal(samples[(name + "_count", labels)], counts[-1], "count")
        check(samples[(name + "_sum", labels)] >= 0, "sum")


def metrics(gateway, *arguments):
    done = gateway.tool("metrics", *arguments)
    equal((done.returncode, done.stderr), (OK, b""), "metrics")
    return parse(done.stdout.decode())


def cumulative(read):
    """Counters and all of the histogram."""
    samples, kinds = read
    return {key: value for key, value in samples.items()
            if kinds.get(key[0], ("histogram",))[0] != "gauge"}


def assert_no_step_back(before, after):
    for key, value in before.items():
        check(after.get(key, -1) >= value, "stepped back", key, value, after.get(key))


def far_broker():
    far = Mosquitto().start()
    cleanup(far.stop)
    return far


LANES = [{"name": "alarms", "topics": ["plant/alarm/#"]}]


@case
def metrics_of_a_running_daemon_have_the_figures_of_its_status():
    far = far_broker()
    gateway = Gateway("tcp://127.0.0.1:%d" % far.port, lanes=LANES).start()
    client = gateway.client(5)
    for number in range(7):
        client.publish_wait("plant/alarm/1", b"x")
        client.publish_wait("plant/%d" % number, b"y")
    gateway.wait_drained()
    samples, kinds = metrics(gateway)
    name = "mqtt_spool_messages_ended_total"
    for lane in ("default", "alarms"):
        equal(samples[(name, (("lane", lane), ("outcome", "delivered")))], 7, lane)
        equal(samples[("mqtt_spool_messages_accepted_total", (("lane", lane),))], 7, lane)
        equal(samples[("mqtt_spool_delivery_delay_seconds_count", (("lane", lane),))], 7, lane)
    equal(kinds["mqtt_spool_delivery_delay_seconds"][0], "histogram")
    equal(samples[("mqtt_spool_up", ())], 1, "up")
    equal(samples[("mqtt_spool_ledger_balanced", ())], 1, "balanced")
    states = {labels[0][1]: value for (sample, labels), value in samples.items()
              if sample == "mqtt_spool_link_state"}
    equal([state for state, value in states.items() if value == 1], ["online"], "one state")
    status = gateway.tool_status()
    check(samples[("mqtt_spool_disk_free_bytes", ())] > 0, "free space")
    equal(samples[("mqtt_spool_link_window_messages", ())], status["link"]["window"], "window")


@case
def counters_never_step_back_over_stops_and_kills():
    far = far_broker()
    gateway = Gateway("tcp://127.0.0.1:%d" % far.port, lanes=LANES,
                      retention={"max_messages": 5}).start()
    client = gateway.client(5)
    client.publish_wait("plant/alarm/1", b"x")
    gateway.wait_drained()
    far.stop()
    for number in range(9):
        client.publish_wait("plant/%d" % number, b"y")
    wait_for(lambda: gateway.ledger()["evicted"] >= 4, 30, "four evicted")
    before = cumulative(metrics(gateway))
    evicted = ("mqtt_spool_messages_failed_total",
               (("lane", "default"), ("outcome", "evicted"), ("reason", "max_messages")))
    equal(before[evicted], 4, "by reason")
    samples, _kinds = metrics(gateway)
    for lane, evicts in (("default", 1), ("alarms", 0)):
        equal(samples[("mqtt_spool_lane_evicting", (("lane", lane),))], evicts, lane)
        equal(samples[("mqtt_spool_lane_full", (("lane", lane),))], 0, lane)
    gateway.stop()
    stopped = cumulative(metrics(gateway))
    assert_no_step_back(before, stopped)
    equal(set(before), set(stopped), "the series of a stopped one")
    gateway.start()
    assert_no_step_back(stopped, cumulative(metrics(gateway)))
    gateway.client(5).publish_wait("plant/alarm/2", b"x")
    before = cumulative(metrics(gateway))
    gateway.kill()
    assert_no_step_back(before, cumulative(metrics(gateway)))
    gateway.start()
    assert_no_step_back(before, cumulative(metrics(gateway)))


@case
def a_stopped_daemon_has_no_metrics_that_only_a_running_one_knows():
    gateway = Gateway().start()
    running, _kinds = metrics(gateway)
    gateway.stop()
    samples, _kinds = metrics(gateway)
    equal(samples[("mqtt_spool_up", ())], 0, "up")
    equal(samples[("mqtt_spool_link_state", (("state", "stopped"),))], 1, "state")
    check(("mqtt_spool_uptime_seconds", ()) in running, "of a running one")
    for name in ("uptime_seconds", "link_connects", "audit_healthy", "producers_connected"):
        check(("mqtt_spool_" + name, ()) not in samples, "known", name)


@case
def a_file_is_written_whole_or_not_at_all():
    gateway = Gateway().start()
    gateway.stop()
    place = folder()
    path = os.path.join(place, "mqtt-spool.prom")
    for _round in range(2):
        done = gateway.tool("metrics", "--output", path)
        equal((done.returncode, done.stdout, done.stderr), (OK, b"", b""), "metrics --output")
        equal(os.listdir(place), ["mqtt-spool.prom"], "nothing besides")
    equal(stat.S_IMODE(os.stat(path).st_mode) & 0o444, 0o444 & ~current_umask(), "its mode")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    parse(text)
    done = gateway.tool("metrics", "--output", path, "--directory", os.path.join(place, "absent"))
    equal(done.returncode, UNAVAILABLE, "no spool")
    with open(path, encoding="utf-8") as file:
        equal(file.read(), text, "the old file stays")
    done = gateway.tool("metrics", "--output", os.path.join(place, "absent", "file"))
    equal((done.returncode, b"No such file" in done.stderr), (UNAVAILABLE, True), "no folder")
    done = gateway.tool("metrics", "--output", "/dev/null")
    equal(done.returncode, USAGE, "a device is not replaced")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@case
def the_json_form_has_the_same_samples():
    gateway = Gateway(lanes=LANES).start()
    gateway.client(5).publish_wait("plant/alarm/1", b"x")
    gateway.stop()
    samples, kinds = metrics(gateway)
    done = gateway.tool("metrics", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    seen = {(row["name"], tuple(row["labels"].items())) for row in rows}
    equal(seen, set(samples), "samples")
    for row in rows:
        if row["name"] in kinds:
            equal(row["type"], kinds[row["name"]][0], row["name"])


@case
def names_of_lanes_are_escaped():
    """The configuration takes no such name, but a file may have any."""
    gateway = Gateway(lanes=LANES).start()
    gateway.stop()
    with contextlib.closing(sqlite3.connect(os.path.join(gateway.spool, "spool.db"))) as database:
        database.execute("UPDATE lane SET name = ? WHERE name = 'alarms'", ('a"b\\c\nd\x1b',))
        database.commit()
    samples, _kinds = metrics(gateway)
    lanes = {labels[0][1] for (name, labels) in samples if name == "mqtt_spool_backlog_messages"}
    equal(lanes, {"default", r'a\"b\\c\\x0Ad\\x1B'}, "in the visible form, then escaped")


@case
def promtool_has_no_complaint():
    if not find("promtool"):
        skip("promtool is not installed (package prometheus)")
    gateway = Gateway(lanes=LANES).start()
    text = gateway.tool("metrics").stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    equal((done.returncode, done.stdout), (0, b""), "promtool check metrics")
    rules = os.path.join(SOURCE, "docs/examples/prometheus/alerts.yml")
    done = subprocess.run(["promtool", "check", "rules", rules], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    equal(done.returncode, 0, done.stdout.decode())


# ---- the documents ----

def text_of(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as file:
        return file.read()


def documented():
    """{name: (type, labels, is only known to a running daemon)} of the page's table."""
    rows = re.findall(r"^\| `(mqtt_spool_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$",
                      text_of("docs", "metrics.md"), re.MULTILINE)
    check(len(rows) > 20, "the table", len(rows))
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), words.endswith("(d)"))
            for name, kind, labels, words in rows}


def in_source():
    source = text_of("cli", "verbs", "metrics_page.c")
    names = re.findall(r'^ +\{"([a-z_]+)",\s+"', source, re.MULTILINE)
    names += re.findall(r'begin\(writer, "([a-z_]+)",', source)
    return {"mqtt_spool_" + name for name in names}


@case
def the_page_has_each_metric_and_no_other():
    known = documented()
    equal(set(known), in_source(), "metrics of docs/metrics.md and of the program")
    gateway = Gateway(lanes=LANES).start()
    gateway.client(5).publish_wait("plant/alarm/1", b"x")
    running = metrics(gateway)
    gateway.stop()
    stopped = metrics(gateway)
    for samples, kinds in (running, stopped):
        for name, (kind, _words) in kinds.items():
            equal(known[name][0], kind, "type of " + name)
        for (name, labels), _value in samples.items():
            base = name if name in known else re.sub("_(bucket|sum|count)$", "", name)
            equal({key for key, _text in labels} - {"le"}, known[base][1], "labels of " + name)
    for name in stopped[1]:
        check(not known[name][2], "marked (d), but known without a daemon", name)


@case
def dashboard_and_alerts_use_metrics_that_exist():
    known = documented()
    dashboard = json.loads(text_of("docs", "examples", "grafana", "mqtt-spool.json"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = re.findall(r"^ +expr: (.*)$", text_of("docs", "examples", "prometheus", "alerts.yml"),
                        re.MULTILINE)
    check(len(expressions) > 10 and len(alerts) > 10, "they are found")
    examples = re.findall(r"\| `([^`|]*mqtt_spool_[^`|]*)`", text_of("docs", "metrics.md"))
    for expression in expressions + alerts + examples:
        names = re.findall(r"mqtt_spool_\w+", expression)
        check(names, "uses one", expression)
        for name in names:
            base = name if name in known else re.sub("_(bucket|sum|count)$", "", name)
            check(base in known, "no such metric", name)
            check(base == name or known[base][0] == "histogram", "no histogram", name)
        for label in re.findall(r'(\w+)(?:=~|!=|=)"', expression):
            check(label in LABELS | {"instance"}, "label", label)
        equal(expression.count("("), expression.count(")"), "brackets of " + expression)
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    equal(len(identifiers), len(set(identifiers)), "panels")


@case
def the_parser_is_strict():
    head = "# HELP mqtt_spool_a A.\n# TYPE mqtt_spool_a gauge\n"
    parse(head + "mqtt_spool_a 1\n")
    for wrong in ("mqtt_spool_a 1", head + "mqtt_spool_b 1\n", head + "mqtt_spool_a  1\n",
                  head + 'mqtt_spool_a{topic="x"} 1\n', head + 'mqtt_spool_a{lane="x} 1\n',
                  head + "mqtt_spool_a 1\nmqtt_spool_a 2\n", head + "mqtt_spool_a NaN\n",
                  head + 'mqtt_spool_a{lane="\\x"} 1\n', head + head,
                  head.replace("gauge", "counter") + "mqtt_spool_a 1\n"):
        try:
            parse(wrong)
        except (AssertionError, KeyError):
            continue
        check(False, "taken for good", wrong)


run_all()

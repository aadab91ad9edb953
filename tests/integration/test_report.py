# SPDX-License-Identifier: MIT
"""mqtt-spool report: the numbers of the page are those of the ledger, text from outside is text,
and the page is one that a person can read.

The page is parsed for its data attributes and tables. Headless Chromium draws it, if it is
installed; the pictures are kept in artefacts/ of the build folder. SPOOLD_LONG=1: a year of
10,000,000 records instead of 200,000
(20,000 with sanitizers).
"""

import contextlib
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import history  # noqa: E402
import processes  # noqa: E402
from broker import Mosquitto  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, cleanup, equal, run_all, skip, wait_for  # noqa: E402

OK, USAGE, DATA, UNAVAILABLE, NOT_ALLOWED, CONFIG = 0, 64, 65, 69, 77, 78
HOUR, DAY = 3600 * 1000, 86400 * 1000
PAGE_MAX = 500 * 1000
OUTCOMES = ("delivered", "evicted", "expired", "rejected", "dropped", "damaged")
VOID = {"meta", "path", "br"}
# Elements whose end may be left out, and what they may not be within.
OPTIONAL = {"td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"}, "thead": set(),
            "tbody": {"td", "th", "tr"}}


class Page(html.parser.HTMLParser):
    """What the page says: numbers by key, rows by table, elements, and all of its text."""

    def __init__(self, text):
        super().__init__()
        self.text, self.values, self.tables = text, {}, {}
        self.elements, self.attributes, self.words = [], [], []
        self._open, self._table, self._key = [], None, None
        self.feed(text)
        self.close()
        equal(self._open, [], "elements that were not closed")

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append(tag)
        self.attributes += attrs
        while tag in OPTIONAL and self._open and self._open[-1] in OPTIONAL[tag]:
            self._open.pop()
        if tag not in VOID:
            self._open.append(tag)
        if "data-key" in attributes:
            self._key = attributes["data-key"]
        if "data-value" in attributes and self._key:
            self.values.setdefault(self._key, int(attributes["data-value"]))
        if tag == "table":
            self._table = self.tables.setdefault(attributes.get("id", ""), [])
        if tag == "tr" and self._table is not None:
            self._table.append([])
        if tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        while self._open and self._open[-1] != tag and self._open[-1] in OPTIONAL:
            self._open.pop()
        check(self._open and self._open[-1] == tag, "</%s> closes %r" % (tag, self._open[-3:]))
        self._open.pop()
        if tag == "table":
            self._table = None

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)
        if self._table and self._table[-1]:
            self._table[-1][-1] += data.strip()

    def plain(self):
        return " ".join(" ".join(self.words).split())


def now_ms():
    return int(time.time() * 1000)


def number(text):
    return int(text.replace(",", ""))


def place(name="report.html"):
    return os.path.join(processes.folder(), name)


def make(*arguments, code=OK, config=None, path=None, timeout=120, env=None):
    """Runs the verb; the page, which is checked as each must be."""
    path = path or place()
    command = [processes.tool_path()] + (["-c", config] if config else [])
    done = processes.run(command + ["report", path] + list(arguments), timeout, env=env)
    equal(done.returncode, code, "exit code (%s)" % done.stderr.decode(errors="replace"))
    with open(path, encoding="utf-8") as file:
        page = Page(file.read())
    check_page(page)
    return page


def check_page(page):
    """No page needs anything besides itself, or runs anything."""
    check(len(page.text.encode()) < PAGE_MAX, "bytes of the page", len(page.text.encode()))
    outside = [name for name in page.elements
               if name in ("script", "link", "img", "iframe", "object", "embed", "base", "form")]
    equal(outside, [], "elements that load or run something")
    check(not re.search(r"https?:|url\(|@import|//[a-z]", page.text), "an address outside")
    active = [pair for pair in page.attributes if pair[0].startswith("on") or pair[0] in ("src", "href")]
    equal(active, [], "attributes that load or run something")
    equal(page.elements.count("title") - 1, page.elements.count("svg"), "charts with a title")
    equal(page.elements.count("desc"), page.elements.count("svg"), "charts with a description")
    check("prefers-color-scheme:dark" in page.text and "@media print" in page.text, "its styles")


def write_lines(*lines):
    path = place("audit.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)
    return path


def publish(gateway, count, topic="plant/1/temperature", client_id="press"):
    with gateway.client(client_id=client_id) as client:
        for _ in client.publish_many([("%s/%d" % (topic, index % 3), b"x" * 100)
                                      for index in range(count)]):
            pass


@case
def numbers_are_those_of_the_ledger():
    far = Mosquitto().start()
    cleanup(far.stop)
    gateway = Gateway(far.url, retention={"max_messages": 40}).start()
    gateway.wait_link(seconds=60)
    publish(gateway, 300)
    gateway.wait_drained(60)
    far.stop()
    publish(gateway, 100)
    gateway.stop()
    ledger = gateway.ledger()
    path = place()
    page = make(config=gateway.config, path=path)
    equal(page.values["accepted"], ledger["accepted"], "accepted")
    equal(page.values["delivered"], ledger["delivered"], "delivered")
    equal(page.values["failed"], ledger["evicted"], "failed")
    equal(page.values["waiting"], ledger["spooled"], "waiting")
    for name in OUTCOMES + ("spooled", "accepted"):
        equal(page.values["ledger-" + name], ledger[name], "ledger: " + name)
    equal(page.values["problems"], 0, "problems")
    steps = page.tables["t-steps"][1:]
    equal([sum(number(row[column]) for row in steps) for column in (1, 2, 3)],
          [ledger["accepted"], ledger["delivered"], ledger["evicted"]], "sums of the steps")
    check(number(steps[-1][4]) >= ledger["spooled"], "backlog at the end", steps[-1])
    equal([row[:2] for row in page.tables["t-reasons"][1:]], [["evicted", "max_messages"]], "reasons")
    equal(sum(number(row[1]) for row in page.tables["t-topics"][1:]), ledger["evicted"], "topics")
    check("Every one of %s accepted messages was delivered or is explained"
          % format(ledger["accepted"], ",") in page.plain(), "the headline", page.plain()[:300])
    check("SOUND" in page.plain() and "NOT SOUND" not in page.plain(), "the verdict")
    equal(os.stat(path).st_mode & 0o007, 0, "others may not read it")


@case
def a_running_daemon_is_measured_and_its_rows_are_counted():
    gateway = Gateway().start()
    publish(gateway, 50)
    page = make(config=gateway.config)
    equal(page.values["waiting"], 50, "waiting")
    equal(page.values["accepted"], 50, "accepted")
    check("has sent" in page.plain() or os.geteuid() != 0, "what the daemon wrote", page.plain())
    check("The link" not in page.plain(), "no claim about the link")


@case
def a_file_that_was_changed_is_not_sound_in_words():
    begin = now_ms() - HOUR
    path = write_lines(*[history.record(seq, begin + seq) for seq in (1, 2, 4, 5)])
    page = make(path, code=DATA)
    check(re.search(r'class="word">NOT SOUND<', page.text), "the verdict, large")
    check("1 problem: the records do not prove what became of every message." in page.plain(),
          "the headline", page.plain()[:300])
    check("seq jumps from 2 to 4" in page.plain(), "which one", page.plain()[:600])
    equal(page.values["problems"], 1, "problems")
    equal(page.values["delivered"], 4, "the rest is shown")


@case
def a_ledger_that_differs_from_the_files_is_not_sound():
    gateway = Gateway(retention={"max_messages": 5}).start()
    publish(gateway, 20)
    gateway.wait_audit(15, 60)
    gateway.stop()
    with open(gateway.audit, encoding="utf-8") as file:
        lines = file.readlines()
    with open(gateway.audit, "w", encoding="utf-8") as file:
        file.writelines(lines[:-3])
    page = make(config=gateway.config, code=DATA)
    check("NOT SOUND" in page.plain(), "the verdict", page.plain()[:400])
    check("lines were cut off" in page.plain(), "why", page.plain()[:800])


@case
def text_from_outside_is_text():
    begin = now_ms() - HOUR
    evil = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='x",
            "</title><svg onload=alert(1)>", "&lt;b&gt;", "a\u202eb\x1b[31m", "--></style>",
            "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]
    lines = [history.record(seq, begin + seq, "evicted", reason="max_age", topic=text, client=text,
                            lane=text, attempts=0) for seq, text in enumerate(evil, 1)]
    lines.append(history.record(len(lines) + 1, begin + 99, "evil<script>", topic="x"))
    path = os.path.join(processes.folder(), "<img src=x onerror=1>&\".jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)
    page = make(path, code=DATA)
    check("img" not in page.elements, "an element of a topic")
    topics = {row[0] for row in page.tables["t-topics"][1:]}
    for text in evil[:5] + evil[6:]:
        check(text in topics, "topic", text, topics)
        check(text in {row[0] for row in page.tables["t-clients"][1:]}, "client", text)
    check("a\\u{202E}b\\x1B[31m" in topics, "hidden characters", topics)
    check("evil<script>" in page.plain(), "the finding has it as text")


@case
def a_spool_without_messages_has_a_page():
    gateway = Gateway().start()
    gateway.stop()
    page = make(config=gateway.config)
    check("No message has been accepted yet." in page.plain(), "the headline", page.plain()[:300])
    equal(page.values["accepted"], 0, "accepted")
    equal(page.elements.count("svg"), 0, "charts")


@case
def one_message_and_a_link_that_never_was_up():
    gateway = Gateway().start()
    publish(gateway, 1)
    gateway.stop()
    page = make(config=gateway.config)
    check("The one message that was accepted" in page.plain(), "the headline", page.plain()[:300])
    check("No delivery is recorded in this period." in page.plain(), "delays")
    equal(page.values["waiting"], 1, "waiting")


@case
def without_an_audit_file_nothing_is_proved():
    gateway = Gateway(audit={"file": ""}, retention={"max_messages": 5}).start()
    publish(gateway, 20)
    gateway.stop()
    page = make(config=gateway.config)
    check("NOT PROVED" in page.plain() and "There is no audit file" in page.plain(), "the verdict",
          page.plain()[:300])
    equal(page.values["ledger-evicted"], 15, "the ledger")


@case
def rotated_files_are_read_before_the_configured_one():
    gateway = Gateway(retention={"max_messages": 2}).start()
    for last in (6, 14, 20):
        publish(gateway, 8 if last == 6 else last - (8 if last == 14 else 16))
        wait_for(lambda: 0 < sum_lines(gateway) == gateway.ledger()["evicted"], 60, "all written")
        if last < 20:
            rotate(gateway)
    gateway.stop()
    page = make(config=gateway.config)
    equal(page.values["problems"], 0, "problems")
    equal(page.values["lines"], page.values["ledger-evicted"], "records in three files")
    check("audit.jsonl.2" in page.plain(), "the names", page.plain()[-600:])


def rotate(gateway):
    for index in (2, 1):
        older = "%s.%d" % (gateway.audit, index - 1) if index > 1 else gateway.audit
        if os.path.exists(older):
            os.rename(older, "%s.%d" % (gateway.audit, index))
    gateway.hup()
    wait_for(lambda: os.path.exists(gateway.audit), 30, "a new audit file")


def sum_lines(gateway):
    return sum(len(gateway.audit_lines(gateway.audit + suffix)) for suffix in ("", ".1", ".2"))


@case
def clocks_that_were_set_do_not_bend_the_charts():
    now = now_ms() // 1000 * 1000
    lines = [history.record(1, 5000, age_ms=100), history.record(2, now + 400 * DAY),
             history.record(3, now - HOUR), history.record(4, now - HOUR - 60000),
             history.record(5, now - HOUR + 300000, accepted="1970-01-01T00:00:09.000Z", age_ms=200)]
    page = make(write_lines(*lines))
    equal(page.values["delivered"], 5, "all are counted")
    steps = page.tables["t-steps"][1:]
    equal(sum(number(row[2]) for row in steps), 3, "in the charts")
    check("2 records written while the clock was not set" in page.plain(), "a note", page.plain()[:900])
    check(all(number(row[4]) <= 1 for row in steps), "no backlog of centuries", steps)
    check("The clock was set back 2 times." in page.plain(), "steps", page.plain()[:1200])


@case
def a_period_narrows_the_charts_and_not_the_proof():
    now = now_ms() // 1000 * 1000
    lines = [history.record(seq, now - (11 - seq) * HOUR, age_ms=30 * 60000) for seq in range(1, 11)]
    path = write_lines(*lines)
    page = make("--since", history.moment(now - 5 * HOUR), "--until", history.moment(now - 2 * HOUR),
                path)
    equal(page.values["delivered"], 3, "deliveries from 5 h to 2 h ago")
    equal(page.values["lines"], 10, "all are verified")
    page = make("--since", "330m", path)
    equal(page.values["delivered"], 5, "deliveries of five and a half hours")
    page = make("--since", "1970-01-01T00:00:00Z", path)
    equal(page.values["delivered"], 10, "all of them")


@case
def outages_are_derived_and_stated():
    now = now_ms() // 1000 * 1000
    begin = now - 10 * HOUR
    lines = [history.record(1, begin), history.record(2, begin + 1000),
             history.record(3, begin + 3 * HOUR, age_ms=2 * HOUR),
             json.dumps({"admin": "hold", "time": history.moment(begin + 4 * HOUR), "uid": 0}) + "\n",
             json.dumps({"admin": "release", "time": history.moment(begin + 5 * HOUR), "uid": 0}) + "\n",
             history.record(4, begin + 5 * HOUR, age_ms=HOUR), history.record(5, begin + 9 * HOUR)]
    page = make(write_lines(*lines))
    equal(page.values["pauses"], 2, "outages")
    rows = page.tables["t-pauses"][1:]
    equal([row[2:] for row in rows], [["2 h", ""], ["1 h", "an operator held messages"]], "rows")
    check("2 times, 3 h in all." in page.plain(), "the sum")
    check("Derived:" in page.plain(), "where it comes from")


@case
def times_are_local_with_their_offset():
    begin = (now_ms() - 3 * HOUR) // HOUR * HOUR
    path = write_lines(history.record(1, begin, age_ms=0))
    page = make(path, env=dict(os.environ, TZ="XXX-05:30"))
    local = history.moment(begin + 5 * HOUR + HOUR // 2)
    check("Times are local, UTC+05:30." in page.plain(), "the zone", page.plain()[:600])
    equal(page.tables["t-steps"][1][0], local[:10] + " " + local[11:16], "time of the step")
    check('datetime="%s"' % history.moment(begin) in page.text, "UTC beside it")


@case
def a_page_is_written_whole_or_not_at_all():
    folder = processes.folder()
    old = os.path.join(folder, "report.html")
    processes.run([processes.tool_path(), "report", old, "-"], stdin=history.record(1, now_ms()).encode())
    with open(old) as file:
        page = file.read()
    check(page.startswith("<!DOCTYPE html>"), "a page")
    done = processes.run([processes.tool_path(), "report", old, os.path.join(folder, "absent.jsonl")])
    equal(done.returncode, UNAVAILABLE, "exit code")
    with open(old) as file:
        equal(file.read(), page, "the old page")
    equal(os.listdir(folder), ["report.html"], "nothing else is left")
    done = processes.run([processes.tool_path(), "report", os.path.join(folder, "no", "r.html"), "-"])
    check(done.returncode in (UNAVAILABLE, NOT_ALLOWED), "no folder", done)
    for wrong in ([], ["x.html", "--since", "soon"], ["x.html", "--since", "1h", "--until", "2h"]):
        equal(processes.run([processes.tool_path(), "report"] + wrong).returncode, USAGE, wrong)


@case
def standard_input_and_json():
    begin = now_ms() - HOUR
    path = place()
    lines = "".join(history.record(seq, begin + seq) for seq in range(1, 6))
    done = processes.run([processes.tool_path(), "report", "--json", path, "-"], stdin=lines.encode())
    equal(done.returncode, OK, "exit code (%s)" % done.stderr)
    seen = json.loads(done.stdout)
    equal({name: seen[name] for name in ("verdict", "problems", "lines", "accepted", "delivered",
                                         "failed", "waiting")},
          {"verdict": "SOUND", "problems": 0, "lines": 5, "accepted": 5, "delivered": 5, "failed": 0,
           "waiting": 0}, "the object")


@case
def a_terminal_is_shown_how_far_it_is():
    master, slave = os.openpty()
    cleanup(os.close, master)
    process = processes.start([processes.tool_path(), "report", place(), "-"], stdin=processes.PIPE,
                              stdout=subprocess.DEVNULL, stderr=slave)
    cleanup(processes.end, process)
    os.close(slave)
    os.set_blocking(master, False)
    begin, written, seen = now_ms() - HOUR, [0], [b""]

    def is_shown():
        lines = "".join(history.record(written[0] + n, begin + n) for n in range(1, 1025))
        written[0] += 1024
        process.stdin.write(lines.encode())
        process.stdin.flush()
        with contextlib.suppress(BlockingIOError):
            seen[0] += os.read(master, 65536)
        return b"\rreading " in seen[0]
    wait_for(is_shown, 60, "a line of progress")
    process.stdin.close()
    equal(process.wait(60), OK, "exit code")


@case
def the_largest_page_is_bounded():
    begin = now_ms() - 400 * DAY
    long = "\u202e" * 12000
    lines = []
    for seq in range(1, 3001):
        text = ("%d/" % (seq % 1500)) + long[:12000 if seq % 100 == 0 else 300]
        lines.append(history.record(2 * seq, begin + seq * 3 * HOUR, "evicted", reason="max_age",
                                    topic=text, client=text, attempts=0, age_ms=HOUR))
    page = make(write_lines(*lines), code=DATA)
    check("At most too high by" in page.plain(), "the error of the counts is stated")
    equal(len(page.tables["t-topics"]), 22, "rows: head, 20, others")


def percentile(values, share):
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 1000) - 1)]


def measured_run(command, timeout):
    """(peak kB, seconds)"""
    begin = time.monotonic()
    process = processes.start(command, stdout=subprocess.DEVNULL)
    cleanup(processes.end, process)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, processes.peak_kb(process))
        except (OSError, StopIteration):
            break  # it has ended meanwhile
        check(time.monotonic() - begin < timeout, "it takes too long")
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    equal(process.wait(), OK, "exit code")
    return peak, time.monotonic() - begin


@case(seconds=3600)
def a_year_takes_bounded_memory():
    is_long = bool(os.environ.get("SPOOLD_LONG"))
    count = 10000000 if is_long else 20000 if Gateway.is_sanitized() else 200000
    begin = now_ms() - 365 * DAY
    outages = [(begin + 40 * DAY, begin + 40 * DAY + 3 * HOUR),
               (begin + 200 * DAY, begin + 201 * DAY + 9 * HOUR)]
    path, page_path = place("audit.jsonl"), place()
    written = history.write(path, count, begin, 364 * DAY, outages)
    peak, seconds = measured_run([processes.tool_path(), "report", page_path, path], 3000)
    print("# %d records: %d kB at its peak, %.1f s, page of %d bytes"
          % (count, peak, seconds, os.path.getsize(page_path)))
    with open(page_path, encoding="utf-8") as file:
        page = Page(file.read())
    check_page(page)
    equal(page.values["accepted"], count, "accepted")
    equal(page.values["delivered"], written.outcomes["delivered"], "delivered")
    equal({row[0]: number(row[3]) for row in page.tables["t-reasons"][1:]},
          {name: many for name, many in written.outcomes.items() if name != "delivered"}, "reasons")
    for key, share in (("p50", 500), ("p90", 900), ("p99", 990)):
        wanted = percentile(written.delays, share)
        check(abs(page.values[key] - wanted) <= wanted / 64 + 1, key, page.values[key], wanted)
    equal(page.values["max"], max(written.delays), "the longest")
    top = dict((row[0], number(row[1])) for row in page.tables["t-topics"][1:-1])
    equal(top, {topic: written.failed_topics[topic] for topic in top}, "topics")
    equal(len(page.tables["t-pauses"]) - 1, 2, "outages")
    # Memory does not follow the records: one bit for each id, and less than 64 MB otherwise.
    if not Gateway.is_sanitized():
        check(peak < 64 * 1024 + count // 8 // 1024, "peak kB", peak)


def chromium(*arguments):
    program = processes.find("chromium") or skip("chromium is not installed (Debian package chromium)")
    profile = os.path.join(processes.folder(), "profile")
    done = processes.run([program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                          "--disable-dev-shm-usage", "--hide-scrollbars",
                          "--user-data-dir=" + profile] + list(arguments), 100)
    equal(done.returncode, OK, "chromium (%s)" % done.stderr.decode(errors="replace")[-2000:])


def example_page():
    begin = (now_ms() - 7 * DAY) // HOUR * HOUR
    outages = [(begin + 30 * HOUR, begin + 32 * HOUR), (begin + 90 * HOUR, begin + 99 * HOUR)]
    path = place("audit.jsonl")
    history.write(path, 20000, begin, 7 * DAY - HOUR, outages)
    page = place()
    make(path, path=page)
    return page


@case(seconds=400)
def it_is_drawn_in_light_in_dark_on_a_phone_and_on_paper():
    if not processes.find("chromium"):
        skip("chromium is not installed (Debian package chromium)")
    folder = os.path.join(os.environ.get("SPOOLD_BUILD") or processes.folder(), "artefacts")
    os.makedirs(folder, exist_ok=True)
    page = example_page()
    phone = place("phone.html")  # no window is as narrow as a phone
    with open(phone, "w") as file:
        file.write("<body style='margin:0'><iframe src='file://%s' width=360 height=4800 "
                   "style='border:0'></iframe>" % page)
    target = {name: os.path.join(folder, "report-" + name)
              for name in ("light.png", "dark.png", "phone.png", "print.pdf")}
    chromium("--window-size=1000,3600", "--screenshot=" + target["light.png"], "file://" + page)
    chromium("--window-size=1000,3600", "--blink-settings=preferredColorScheme=0",
             "--screenshot=" + target["dark.png"], "file://" + page)
    chromium("--window-size=500,4800", "--screenshot=" + target["phone.png"], "file://" + phone)
    chromium("--no-pdf-header-footer", "--print-to-pdf=" + target["print.pdf"], "file://" + page)
    for name, path in target.items():
        with open(path, "rb") as file:
            equal(file.read(4), b"%PDF" if name.endswith("pdf") else b"\x89PNG", name)
        check(os.path.getsize(path) > 20000, "something is drawn", name)
    draw_paper(target["print.pdf"], os.path.join(folder, "report-print"))


def draw_paper(pdf, prefix):
    if shutil.which("pdftoppm"):
        equal(processes.run(["pdftoppm", "-r", "70", "-png", pdf, prefix]).returncode, OK, "pdftoppm")


@case(seconds=200)
def nothing_is_wider_than_a_phone():
    page, probe = example_page(), place("probe.html")
    with open(page, encoding="utf-8") as file:
        text = file.read()
    # The page itself has no script: this one measures a copy of it.
    with open(probe, "w", encoding="utf-8") as file:
        file.write("<iframe id=f width=360 height=4000 style='border:0'></iframe><script>"
                   "f.srcdoc=%s;f.onload=()=>{let d=f.contentDocument.documentElement;"
                   "document.title='width '+d.scrollWidth;"
                   "document.body.append(' width='+d.scrollWidth+' ')}</script>"
                   % json.dumps(text).replace("</", "<\\/"))
    program = processes.find("chromium") or skip("chromium is not installed (Debian package chromium)")
    done = processes.run([program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                          "--disable-dev-shm-usage", "--user-data-dir=" + place("profile"),
                          "--virtual-time-budget=10000", "--dump-dom", "file://" + probe], 100)
    found = re.search(rb" width=(\d+) ", done.stdout)
    check(found, "measured", done.stderr[-500:])
    check(int(found.group(1)) <= 360, "width of the page in a frame of 360", found.group(1))


run_all()

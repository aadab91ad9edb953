# SPDX-License-Identifier: MIT
"""Holds the form of the log: every line that daemon/ can write is `event key=value ...`.

Reads the format of each log_error() and so on, and looks for each event in mqtt-spoold(8).
"""

import glob
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
CALL = re.compile(r"\blog_(?:error|warning|notice|info|debug)\(|\blog_(?:write|emit)\(\s*[A-Za-z_]+\s*,")
# One literal or PRIu64 of a format that is made of several.
PIECE = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|PRI([diux])\w+)')
EVENT = r"[a-z][a-z0-9_]*"
# A value with blanks is quoted; %s may stand for one that log_quote() has quoted.
VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s"=,]+)'
LINE = re.compile(r"%s(?: %s=%s)*" % (EVENT, EVENT, VALUE))
QUOTED = re.compile(r'"|%%|%[-+ #0-9.*]*(?:hh|h|ll|l|z|j)?[a-zA-Z]')
# What may stand for a %s between quotes: words of our own that hold no quotes. All else goes
# through log_quote(), which sets the quotes itself.
PLAIN = re.compile(r'"(?:[^"\\]|\\.)*"|why|remedy|'
                   r"(?:strerror|regular_error|audit_error_text|packet_reason_text|gateway_spool_remedy|"
                   r"intake_full_remedy|"
                   r"uplink_build_limitations|uplink_remedy)\([^()]*\)")


def reload_remedies():
    """The literals that stand in formats for the names of base/reload.h."""
    with open(os.path.join(ROOT, "base", "reload.h")) as header:
        return dict(re.findall(r'#define (RE\w+_REMEDY) ("[^"]*")', header.read()))


def format_at(text, at):
    """The format that begins there, or None where it is no literal."""
    parts = []
    while True:
        piece = PIECE.match(text, at)
        if not piece:
            return "".join(parts) if parts else None
        parts.append(piece.group(2) or piece.group(1).replace('\\"', '"'))
        at = piece.end()


def arguments_at(text, at):
    """The arguments of the call whose bracket has been opened just before @at."""
    found, depth, start = [], 0, at
    while depth >= 0:
        literal = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, at)
        if literal:
            at = literal.end()
            continue
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth < 0 or (depth == 0 and text[at] == ","):
            found.append(" ".join(text[start:at].split()))
            start = at + 1
        at += 1
    return found


def unquoted(form, arguments):
    """The arguments of @form that stand between its quotes and may hold quotes themselves."""
    found, between, number = [], False, 0
    for piece in QUOTED.findall(form or ""):
        if piece == '"':
            between = not between
        elif piece != "%%":
            choices = re.split(r" \? | : ", arguments[number])
            if between and piece.endswith("s") and not all(
                    PLAIN.fullmatch(choice) for choice in choices[len(choices) > 1:]):
                found.append(arguments[number])
            number += 1
    return found


def formats():
    """[(file:line, format)] of all calls."""
    return [(place, form) for place, form, _ in calls()]


def calls(pattern=CALL.pattern):
    """[(file:line, format, the arguments behind it)]"""
    found, remedies = [], reload_remedies()
    for path in sorted(glob.glob(os.path.join(ROOT, "daemon", "**", "*.c"), recursive=True)
                       + glob.glob(os.path.join(ROOT, "base", "*.c"))):
        with open(path) as source:
            text = source.read()
        for name, literal in remedies.items():
            text = text.replace(name, literal)
        for call in re.finditer(pattern, text):
            place = "%s:%d" % (os.path.relpath(path, ROOT), text.count("\n", 0, call.start()) + 1)
            found.append((place, format_at(text, call.end()),
                          arguments_at(text, call.end())[1:]))
    return found


@case
def every_line_is_an_event_and_pairs():
    seen = formats()
    check(len(seen) > 50, "the calls are found", len(seen))
    equal([(place, line) for place, line in seen if line is None or not LINE.fullmatch(line)], [],
          "lines of another form")


@case
def every_event_is_in_the_manual():
    with open(os.path.join(ROOT, "man", "mqtt-spoold.8")) as page:
        diagnostics = page.read().split(".SH DIAGNOSTICS")[1]
    events = {line.split()[0] for _, line in formats()}
    equal(sorted(event for event in events if not re.search(r"\b%s\b" % event, diagnostics)), [],
          "events that are not in mqtt-spoold(8)")


@case
def the_time_to_the_next_attempt_has_one_name():
    keys = {key for _, line in formats() for key in re.findall(r" (\w+)=", line)}
    check("retry_ms" in keys, "the keys are found")
    equal(sorted(keys & {"in_ms", "again_in_ms", "retry_in_ms", "next_ms"}), [], "other names")


# The calls of an event that have none, and why.
WITHOUT_REMEDY = {
    "audit_mended": (1, "nothing has to be done: the line that was cut is written again"),
    "not_started": (1, "the line before it has the reason and the remedy"),
    "spool_damaged": (1, "the next line is spool_salvaged or spool_not_opened, with a remedy"),
}


@case
def a_line_that_names_a_failure_names_its_remedy():
    lines = [(place, form) for place, form, _ in calls(r"\blog_(?:error|warning)\(")]
    check(len(lines) > 30, "the calls are found", len(lines))
    bare = [(form.split()[0], place) for place, form in lines if " remedy=" not in form]
    equal([line for line in bare if line[0] not in WITHOUT_REMEDY], [], "lines without a remedy")
    for event, (count, why) in WITHOUT_REMEDY.items():
        equal(sum(line[0] == event for line in bare), count, "%s, because %s" % (event, why))


@case
def who_has_to_reload_is_told_the_command():
    texts = [(place, text) for place, form, arguments in calls() for text in [form] + arguments]
    check(any("systemctl reload" in text for _, text in texts), "the texts are found")
    words = reload_remedies()["RELOAD_REMEDY"][1:-1]
    equal([found for found in texts if "HUP" in found[1].replace(words, "")], [],
          "texts with a HUP of their own: base/reload.h has the words")


@case
def the_check_would_notice_another_form():
    for line in ("audit_waiting file=%s records=spooled, retrying", "lost=no: it is repeated",
                 "Event key=%s", "event key = %s", "event two words", "event key=a b"):
        check(not LINE.fullmatch(line), "taken for good", line)
    check(LINE.fullmatch('event key=%s other="two %s" third=%lu/%s'), "taken for bad")


@case
def a_text_from_elsewhere_is_quoted():
    equal([(place, wrong) for place, form, arguments in calls()
           for wrong in unquoted(form, arguments)], [],
          "texts that may hold quotes; let log_quote() set them")


@case
def the_check_would_notice_a_text_from_elsewhere():
    text = 'log_error("event a=%d detail=\\"%s\\"", f(1, 2), spool_error(g(")")));'
    form, arguments = format_at(text, 10), arguments_at(text, 10)[1:]
    equal(arguments, ["f(1, 2)", 'spool_error(g(")"))'], "the arguments")
    equal(unquoted(form, arguments), ['spool_error(g(")"))'], "found")
    equal(unquoted('event detail=%s', ["spool_error(g)"]), [], "without quotes it has its own")
    equal(unquoted('event error="%s"', ['r == 1 ? "a word" : strerror(-r)']), [], "our own words")


run_all()

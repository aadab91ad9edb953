# SPDX-License-Identifier: MIT
"""A tiny test runner that speaks TAP.

A case is a function whose name is a sentence; @case collects it, run_all() runs what was collected
and prints one line for each. What a case starts it registers with cleanup(), which runs in reverse
order however the case ends. A case that hangs is ended by an alarm.
"""

import argparse
import contextlib
import signal
import sys
import time
import traceback

CASE_SECONDS = 120

_cases = []
_stack = contextlib.ExitStack()
_notes = []


class Skip(Exception):
    """Raised by skip(): the case cannot run here, with the reason."""


class TooSlow(Exception):
    """The case, or one of its conditions, was not satisfied in time."""


def case(function=None, seconds=CASE_SECONDS):
    """Collects a case; @case or @case(seconds=300)."""

    def collect(wanted):
        _cases.append((wanted, seconds))
        return wanted

    return collect(function) if function else collect


def skip(reason):
    raise Skip(reason)


def cleanup(function, *arguments):
    """Calls @function when the case ends, last one first."""
    _stack.callback(function, *arguments)


def on_failure(function):
    """@function returns a text that is printed when the case fails."""
    _notes.append(function)


def forget_notes():
    """For a case of many parts that itself prints the details when it fails."""
    _notes.clear()


def wait_for(condition, seconds=15, what=None, every=0.02):
    """Returns the first true value of @condition(); raises TooSlow after @seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            described = what() if callable(what) else what
            raise TooSlow("not within %g s: %s" % (seconds, described or condition))
        time.sleep(every)


def quick_once(seconds, attempt, what, tries=5):
    """@attempt() returns how long it took. One of a few must take no more than @seconds: a machine
    that stands still for a moment makes one slow, a fault makes all of them slow."""
    took = []
    while len(took) < tries:
        took.append(attempt())
        if took[-1] <= seconds:
            return
    raise TooSlow("%s: each time more than %g s: %r" % (what, seconds, took))


def equal(seen, wanted, what="value"):
    if seen == wanted:
        return
    if isinstance(seen, list) and isinstance(wanted, list) and len(wanted) > 50:
        raise AssertionError("%s: %s" % (what, first_difference(seen, wanted)))
    raise AssertionError("%s is %r, wanted %r" % (what, seen, wanted))


def first_difference(seen, wanted):
    """Of two long lists, in a few words."""
    at = next((index for index, pair in enumerate(zip(seen, wanted)) if pair[0] != pair[1]),
              min(len(seen), len(wanted)))
    here = [", ".join(repr(entry)[:40] for entry in entries[at:at + 3]) or "nothing"
            for entries in (seen, wanted)]
    return ("%d entries, wanted %d; they part at entry %d: %s, wanted %s"
            % (len(seen), len(wanted), at, here[0], here[1]))


def check(truth, what, *seen):
    if not truth:
        raise AssertionError(what + "".join(" | %r" % (value,) for value in seen))


def _on_alarm(_number, _frame):
    raise TooSlow("the case ran longer than it may")


def _diagnose(text):
    for line in text.rstrip("\n").split("\n"):
        print("# " + line)


def _run(function, seconds):
    """Runs one case; returns "", a skip reason as ("skip", why), or raises."""
    global _stack
    _stack = contextlib.ExitStack()
    _notes.clear()
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(seconds)
    try:
        with _stack:
            try:
                function()
            except Skip:
                raise
            except BaseException:
                signal.alarm(0)
                for note in _notes:
                    with contextlib.suppress(Exception):
                        _diagnose(note())
                raise
            finally:
                signal.alarm(0)
    finally:
        signal.alarm(0)


def _report(number, name, function, seconds):
    try:
        _run(function, seconds)
    except Skip as reason:
        print("ok %d - %s # SKIP %s" % (number, name, reason), flush=True)
        return True
    except KeyboardInterrupt:
        raise
    except BaseException:
        _diagnose(traceback.format_exc())
        print("not ok %d - %s" % (number, name), flush=True)
        return False
    print("ok %d - %s" % (number, name), flush=True)
    return True


def run_all(add_arguments=None):
    """Runs every collected case, or those whose name holds the word given with -k; exits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", metavar="WORD", help="only cases with this in the name")
    if add_arguments:
        add_arguments(parser)
    options = parser.parse_args()
    run_all.options = options
    chosen = [entry for entry in _cases if options.k in entry[0].__name__]
    print("1..%d" % len(chosen), flush=True)
    good = True
    for number, (function, seconds) in enumerate(chosen, 1):
        name = function.__name__.replace("_", " ").strip()
        good = _report(number, name, function, seconds) and good
    sys.exit(0 if good else 1)

# SPDX-License-Identifier: MIT
"""Writes audit files with a history of any length, for tests of what reads them.

The messages come at an even pace. A broker takes each after a moment; in an outage they wait, and
those that are older than the limit are evicted. All numbers that a reader should find are returned.
"""

import datetime
import functools
import json
import random

LINE = ('{"seq":%d,"time":"%s","outcome":"%s"%s,"id":%d,"lane":"default","client":"%s","uid":1001,'
        '"topic":"%s","qos":1,"bytes":%d,"accepted":"%s","age_ms":%d,"attempts":%d%s}\n')


@functools.lru_cache(maxsize=4)
def hour(number):
    begin = datetime.datetime.fromtimestamp(number * 3600, datetime.timezone.utc)
    return begin.strftime("%Y-%m-%dT%H")


def moment(wall_ms):
    """RFC 3339, UTC, milliseconds."""
    rest = wall_ms % 3600000
    return "%s:%02d:%02d.%03dZ" % (hour(wall_ms // 3600000), rest // 60000, rest // 1000 % 60,
                                   rest % 1000)


class History:
    """What write() wrote."""

    def __init__(self):
        self.outcomes = {}
        self.delays = []
        self.failed_topics = {}
        self.payload = 0

    def count(self, outcome, topic, age_ms, size):
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.payload += size
        if outcome == "delivered":
            self.delays.append(age_ms)
        else:
            self.failed_topics[topic] = self.failed_topics.get(topic, 0) + 1


def outage_end(outages, wall_ms):
    return next((end for begin, end in outages if begin <= wall_ms < end), wall_ms)


def write(path, count, begin_ms, span_ms, outages=(), max_age_ms=6 * 3600 * 1000, seed=1):
    """@outages: [(begin, end)] in ms of wall clock. One message in 500 is rejected by the broker."""
    shuffled = random.Random(seed)
    delays = [int(shuffled.lognormvariate(3.6, 0.7)) for _ in range(4099)]
    history, last = History(), begin_ms
    step = span_ms / count
    topics = ["plant/%d/%s" % (hall, what) for hall in range(1, 9)
              for what in ("temperature", "pressure", "state", "energy", "vibration")]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(1, count + 1):
            accepted = begin_ms + int(number * step)
            topic = topics[number * 7 % 41 % 40]
            size = 64 + number % 192
            sent = accepted + delays[number % len(delays)]
            end = max(last, outage_end(outages, sent))
            outcome, more, attempts, code = "delivered", "", 1, ""
            if end - accepted > max_age_ms:
                outcome, more, attempts = "evicted", ',"reason":"max_age"', 0
                end = max(last, accepted + max_age_ms)
            elif number % 500 == 0:
                outcome, more, code = "rejected", ',"reason":"reason_code"', ',"code":135'
                topic = "plant/%d/secret" % (number // 500 % 3)
            last = end
            history.count(outcome, topic, end - accepted, size)
            file.write(LINE % (number, moment(end), outcome, more, number, "press-%d" % (number % 7),
                               topic, size, moment(accepted), end - accepted, attempts, code))
    return history


def record(seq, time_ms, outcome="delivered", age_ms=10, **members):
    """One line; @members replace those of a plain one."""
    line = {"seq": seq, "time": moment(time_ms), "outcome": outcome, "id": seq, "lane": "default",
            "client": "press-1", "uid": 1001, "topic": "plant/1/temperature", "qos": 1, "bytes": 100,
            "accepted": moment(time_ms - age_ms), "age_ms": age_ms, "attempts": 1}
    line.update(members)
    return json.dumps(line) + "\n"

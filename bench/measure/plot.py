# SPDX-License-Identifier: MIT
"""The results as an SVG that is readable on a light and on a dark page."""

import math
import statistics
from xml.sax.saxutils import escape

from measure.report import LATENCIES, LINKS, PROCESSES, STREAMS

WIDTH, LEFT, RIGHT = 880, 330, 100  # LEFT: of the labels; RIGHT: of the figures behind the bars
ROW, BAR, HEAD, LEGEND = 22, 13, 32, 18
STYLE = """
    text { font: 12px sans-serif; fill: #24292f; }
    .title { font-weight: bold; font-size: 14px; }
    .small { font-size: 11px; fill: #57606a; }
    .right { text-anchor: end; }
    .middle { text-anchor: middle; }
    .grid { stroke: #d0d7de; stroke-width: 1; }
    .range { stroke: #24292f; stroke-width: 1.5; }
    .c0 { fill: #8c959f; } .c1 { fill: #0969da; } .c2 { fill: #bf8700; } .c3 { fill: #8250df; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .small { fill: #9198a1; }
      .grid { stroke: #3d444d; }
      .range { stroke: #e6edf3; }
      .c0 { fill: #656c76; } .c1 { fill: #4493f8; } .c2 { fill: #d29922; } .c3 { fill: #ab7df8; }
    }
"""


class Scale:
    """From values to x; @ticks are drawn."""

    def __init__(self, low, high, ticks, is_log=False):
        self._low, self._high, self._is_log = low, high, is_log
        self.ticks = ticks

    def x(self, value):
        low, high = self._low, self._high
        if self._is_log:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)


def linear(high):
    step = 10 ** math.floor(math.log10(high))
    while high / step < 4:
        step /= 2
    top = math.ceil(high / step)
    return Scale(0, top * step, [i * step for i in range(top + 1)])


def logarithmic(low, high):
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return Scale(10 ** first, 10 ** last, [10 ** i for i in range(first, last + 1)], True)


class Canvas:
    def __init__(self):
        self._parts, self._y = [], 0

    def text(self, x, y, words, style=""):
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, style):
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                           f'class="{style}"/>')

    def bar(self, x1, x2, y, style):
        self._parts.append(f'<rect x="{x1:.1f}" y="{y - BAR / 2:.1f}" '
                           f'width="{max(x2 - x1, 0.5):.1f}" height="{BAR}" class="{style}"/>')

    def panel(self, title, rows, scale, draw, legend=()):
        """@draw(row, y) draws a row whose first member is its label."""
        if not rows:
            return
        top = self._y + HEAD + (LEGEND if legend else 0)
        bottom = top + ROW * len(rows)
        self.text(8, self._y + 20, title, "title")
        at = LEFT
        for style, words in legend:
            self.bar(at, at + 10, self._y + 34, style)
            self.text(at + 14, self._y + 38, words, "small")
            at += 24 + 7 * len(words)
        for tick in scale.ticks:
            self.line(scale.x(tick), top, scale.x(tick), bottom, "grid")
            self.text(scale.x(tick), bottom + 14, f"{tick:,.10g}", "small middle")
        for number, row in enumerate(rows):
            y = top + ROW * (number + 0.5)
            self.text(LEFT - 8, y + 4, row[0], "right")
            draw(row, y)
        self._y = bottom + 30

    def svg(self):
        body = "\n  ".join(self._parts)
        return ("<!-- SPDX-License-Identifier: MIT; written by bench/run.py -->\n"
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._y}" '
                f'width="{WIDTH}" height="{self._y}">\n'
                f"  <style>{STYLE}  </style>\n  {body}\n</svg>\n")


def median(results, cell, key):
    """None where it was not measured."""
    values = results.values(lambda row: row[cell][key])
    return statistics.median(values) if values else None


def plot_cpu(canvas, results):
    """Stacked: who spends how much for a message; and the rate behind the bar."""
    rows = []
    for text, cell in LINKS:
        parts = [median(results, cell, f"cpu_{process}") or 0 for process in PROCESSES]
        if any(parts):
            rows.append((text, parts, median(results, cell, "rate")))
    scale = linear(max((sum(parts) for _, parts, _ in rows), default=1))

    def draw(row, y):
        at = 0
        for number, part in enumerate(row[1]):
            canvas.bar(scale.x(at), scale.x(at + part), y, f"c{number}")
            at += part
        canvas.text(scale.x(at) + 6, y + 4, f"{row[2] / 1e3:,.0f} k/s", "small")
    legend = (("c0", "producer"), ("c1", "gateway"), ("c2", "far broker or sink"),
              ("c3", "subscriber"))
    canvas.panel("CPU, us a message of 128 B, and messages a second", rows, scale, draw, legend)


def plot_latency(canvas, results):
    rows = [(text, *(median(results, cell, f"{kind}_{name}_us") for name in ("p50", "p99", "p999")))
            for text, cell, kind in LATENCIES if median(results, cell, f"{kind}_p50_us")]
    numbers = [number for row in rows for number in row[1:]] or [1, 10]
    scale = logarithmic(min(numbers), max(numbers))

    def draw(row, y):
        low, high, most = row[1:]
        canvas.bar(scale.x(low), scale.x(high), y, "c1")
        canvas.line(scale.x(high), y, scale.x(most), y, "range")
        canvas.line(scale.x(most), y - 5, scale.x(most), y + 5, "range")
        canvas.text(scale.x(most) + 6, y + 4, f"{high / low:.1f}", "small")
    canvas.panel("Latency, us: p50 to p99, line to p99.9; behind it p99 / p50", rows, scale, draw)


def plot_wear(canvas, results):
    rows = [(text, median(results, cell, f"{stream}/written")) for text, cell, stream in STREAMS]
    rows = [row for row in rows if row[1]]
    bulk = median(results, "wear/bulk", "written")
    rows += [("one producer, 100 in flight", bulk)] if bulk else []
    numbers = [row[1] for row in rows] or [1, 10]
    scale = logarithmic(min(numbers), max(numbers))

    def draw(row, y):
        canvas.bar(scale.x(0), scale.x(row[1]), y, "c2")
        canvas.text(scale.x(row[1]) + 6, y + 4, f"{row[1]:,.0f} B", "small")
    canvas.panel("Bytes written to the device for a message of 256 B", rows, scale, draw)


def svg(results):
    canvas = Canvas()
    plot_cpu(canvas, results)
    plot_latency(canvas, results)
    plot_wear(canvas, results)
    return canvas.svg()

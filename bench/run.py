#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the daemon and what limits it, alternating in one run, and prints tables of Markdown.

    bench/run.py [--quick] [--cells PATTERN,...] [--repeats N] [--long] [--write]

Machines are shared and noisy, so nothing here is compared with a figure of another day: each
figure is a median over rounds, and each round runs every cell once. docs/performance.md explains
the tables.
Everything runs on loopback and in a temporary folder; servers are started and ended here. The
journal is on, as it is by default: as root beside a stand-in for journald that only the programs
started here see, which reads as fast as it can unless a line says otherwise. What is measured is
built first: the preset "release", or what --build names. A run in which a message is lost ends the
measurement.
"""
import argparse
import fnmatch
import os
import pathlib
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from measure import machine, plot, programs, report  # noqa: E402
from measure.cells import CELLS, LONG_CELLS, Skipped  # noqa: E402
from measure.cells import backlog, intake, latency, rates, wear  # noqa: E402,F401 - they add cells
from measure.processes import Bench, Scope  # noqa: E402
from measure.results import Results  # noqa: E402

BEGIN, END = "<!-- bench/run.py --write: begin -->\n", "<!-- bench/run.py --write: end -->\n"


def chosen(cells, patterns):
    return {name: function for name, function in cells.items()
            if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}


def run_cell(bench, results, number, name, function):
    began = time.monotonic()
    try:
        with Scope(bench) as scope:
            results.add(cell=name, round=number, values=function(scope))
    except Skipped as reason:
        results.add(cell=name, skipped=str(reason))
    print(f"  {name}: {time.monotonic() - began:.1f} s, load {os.getloadavg()[0]:.1f}",
          file=sys.stderr, flush=True)


def measure(bench, results, arguments):
    results.add(machine=machine.describe(bench))
    loads = [os.getloadavg()[0]]
    for number in range(arguments.repeats):
        print(f"round {number + 1} of {arguments.repeats} ...", file=sys.stderr, flush=True)
        for name, function in chosen(CELLS, arguments.cells).items():
            run_cell(bench, results, number, name, function)
            loads.append(os.getloadavg()[0])
    if arguments.long:
        for name, function in chosen(LONG_CELLS, arguments.cells).items():
            run_cell(bench, results, None, name, function)
    results.add(machine={"Load average": f"{loads[0]:.1f} before, {max(loads):.1f} at most"})


def run(arguments):
    programs.find_mosquitto()
    programs.build(arguments.build)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spoold-bench-", dir=arguments.folder))
    results = Results(arguments.save)
    try:
        bench = Bench(arguments.build, folder, arguments.quick)
        measure(bench, results, arguments)
        bench.stop_journald()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def write_documents(results, page):
    """Replaces the tables between the marks of the page, and the plot beside it."""
    text = page.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    tables = report.markdown(results)
    image = f"![CPU time, latency and bytes written]({page.stem}.svg)"
    page.write_text(f"{text[:begin]}\n{image}\n\n{tables}\n{text[end:]}")
    page.with_suffix(".svg").write_text(plot.svg(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=lambda name: pathlib.Path(name).resolve(),
                        default=programs.RELEASE, help="the build folder; default: build/release")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages: for a look")
    parser.add_argument("--long", action="store_true", help="also spool and drain 10,000,000")
    parser.add_argument("--cells", type=lambda text: text.split(","), default=[],
                        help="only these, such as 'sink/*,wear/*'")
    parser.add_argument("--folder", help="where to write: the disk that is measured")
    parser.add_argument("--save", metavar="FILE", help="append the results to it, as JSON lines")
    parser.add_argument("--write", metavar="FOLDER", nargs="?", const=programs.SOURCE / "docs",
                        help="put tables and plot into performance.md and .svg; default: of docs/")
    parser.add_argument("--load", metavar="FILE", help="measure nothing: report what was saved")
    arguments = parser.parse_args()
    if arguments.folder and not os.path.isdir(arguments.folder):
        parser.error(f"--folder: {arguments.folder} is no folder")
    if arguments.repeats < 1:
        parser.error("--repeats is at least 1")
    results = Results.load(arguments.load) if arguments.load else run(arguments)
    print(report.markdown(results))
    if arguments.write:
        write_documents(results, pathlib.Path(arguments.write) / "performance.md")


if __name__ == "__main__":
    main()

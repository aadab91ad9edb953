# SPDX-License-Identifier: MIT
"""What the cells returned, by round; kept as JSON lines, so that a report can be made again."""

import json


class Results:
    def __init__(self, path=None):
        self.rounds = []  # {cell: values}
        self.once = {}  # of cells that run once
        self.skipped = {}  # cell: reason
        self.machine = {}
        self._file = open(path, "a") if path else None

    @classmethod
    def load(cls, path):
        results = cls()
        for line in open(path):
            results._apply(json.loads(line))
        return results

    def add(self, **record):
        self._apply(record)
        if self._file:
            print(json.dumps(record), file=self._file, flush=True)

    def _apply(self, record):
        if "machine" in record:
            self.machine.update(record["machine"])
        elif "skipped" in record:
            self.skipped[record["cell"]] = record["skipped"]
        elif record["round"] is None:
            self.once[record["cell"]] = record["values"]
        else:
            while len(self.rounds) <= record["round"]:
                self.rounds.append({})
            self.rounds[record["round"]][record["cell"]] = record["values"]

    def values(self, function):
        """What @function makes of each round that has what it needs, those of --long included."""
        found = []
        for row in self.rounds or [{}]:
            try:
                found.append(function({**self.once, **row}))
            except KeyError:
                pass
        return found

# SPDX-License-Identifier: MIT
"""The cells: each runs once in each round and returns numbers by name.

A cell is a function of a Scope. It raises Skipped where the machine lacks what it needs.
"""

CELLS = {}  # name -> function, in the order in which a round runs them
LONG_CELLS = {}  # those of --long, run once


class Skipped(Exception):
    """With the reason."""


def cell(name, is_long=False):
    def add(function):
        (LONG_CELLS if is_long else CELLS)[name] = function
        return function
    return add

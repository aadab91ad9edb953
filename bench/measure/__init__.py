# SPDX-License-Identifier: MIT
"""What bench/run.py is made of: programs, processes, counters, cells, figures, report and plot."""

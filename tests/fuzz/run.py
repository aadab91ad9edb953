# SPDX-License-Identifier: MIT
"""Runs one fuzz target for SPOOLD_FUZZ_SECONDS (60), from its corpus: run.py TARGET CORPUS

Inputs that reach new code are kept in new/ beside the target, and the next run starts from them, too.
What makes the target fail is kept in found/, and its path is printed. ctest calls it in a build of
the preset `fuzz`, for each target of CMakeLists.txt.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from tap import case, check, run_all  # noqa: E402

SECONDS = int(os.environ.get("SPOOLD_FUZZ_SECONDS") or 60)
TARGET, CORPUS = map(os.path.abspath, sys.argv[1:3])
del sys.argv[1:3]
NAME = os.path.basename(TARGET)
STOPPED = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
ARTIFACT = re.compile(r"Test unit written to (\S+)")


def fuzz():
    check(os.path.isdir(CORPUS) and os.listdir(CORPUS), "no corpus to start from", CORPUS)
    new, found = (os.path.join(os.path.dirname(TARGET), kind, NAME) for kind in ("new", "found"))
    for folder in (new, found):
        os.makedirs(folder, exist_ok=True)
    ended = subprocess.run(
        [TARGET, "-max_total_time=%d" % SECONDS, "-timeout=25", "-rss_limit_mb=1024",
         "-artifact_prefix=" + os.path.join(found, ""), new, CORPUS],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    done = STOPPED.search(ended.stdout)
    artifacts = ARTIFACT.findall(ended.stdout)
    if ended.returncode != 0 or not done:
        print("# " + "\n# ".join(ended.stdout.splitlines()[-40:]))
    for path in artifacts:
        print("# the input is in %s; add it to %s when the fault is corrected" % (path, CORPUS))
    check(not artifacts and ended.returncode == 0, "the target failed", ended.returncode, artifacts)
    check(done and int(done.group(1)) > 0, "no input was tried")
    print("# %s inputs in %s s" % done.groups())


fuzz.__name__ = "%s withstands %d s" % (NAME, SECONDS)
case(fuzz, seconds=SECONDS + 120)
run_all()

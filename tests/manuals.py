# SPDX-License-Identifier: MIT
"""Holds the manuals: each verb, option, key and metric is in its page, and the pages format cleanly.

What there is comes from the programs themselves, by --help, help VERB, --print-config and metrics.
tests/log_form.py does the same for the lines of the log, test_config for the defaults of the keys.
"""

import glob
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

import processes  # noqa: E402
from gateway import Gateway  # noqa: E402
from tap import case, check, equal, run_all, skip  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[A-Za-z])(?![\w-])")


def output(program, *arguments):
    done = processes.run([program, *arguments])
    equal(done.returncode, 0, "exit code of %s %s" % (program, " ".join(arguments)))
    return done.stdout.decode()


def page(name):
    with open(os.path.join(ROOT, "man", name), encoding="utf-8") as seen:
        return seen.read()


def plain(roff):
    """Without escapes of fonts and minus signs, and without the quotes of arguments."""
    roff = re.sub(r"\\f(?:.|\(..|\[.*?\])", "", roff)
    return roff.replace("\\-", "-").replace("\\&", "").replace('"', "")


def sections(roff):
    """{first word of the heading: text} of .SH and .SS."""
    found = {}
    for part in re.split(r"^\.S[HS] ", roff, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        found[plain(heading).split(" ")[0]] = plain(heading) + "\n" + text
    return found


def tags(text):
    """The options that are tags of paragraphs, or in a line of the heading."""
    lines = text.split("\n")
    shown = [plain(lines[0])] + [plain(after) for before, after in zip(lines, lines[1:])
                                 if before.strip() == ".TP" or before.startswith(".TQ")]
    return {option for line in shown for option in OPTION.findall(line)}


def helped(text):
    """The options of a page of help: those that begin a line, and their other names."""
    found = set()
    for line in text.splitlines():
        row = re.match(r" {2,8}(-.*?)(?:  |$)", line)
        if row:
            found.update(OPTION.findall(row.group(1)))
    return found


def verbs():
    return re.findall(r"^  ([a-z][a-z-]*) +\S", output(processes.tool_path(), "--help").partition(
        "Verbs:\n")[2].partition("\n\n")[0], flags=re.MULTILINE)


@case
def each_verb_has_its_section_with_each_of_its_options():
    pages = sections(page("mqtt-spool.1"))
    names = verbs()
    check(len(names) > 10, "verbs of --help", names)
    missing = []
    for name in names:
        if name not in pages:
            missing.append("no section .SS %s" % name)
            continue
        known = tags(pages[name])
        if "SELECTION" in pages[name].partition("\n")[0]:
            known |= tags(pages["SELECTION"])
        wanted = set() if name == "help" else helped(output(processes.tool_path(), "help", name))
        missing += ["%s %s" % (name, option) for option in sorted(wanted - known - {"--help"})]
    check(not missing, "mqtt-spool(1) lacks:\n" + "\n".join(missing))


@case
def the_page_has_no_verb_and_no_option_that_the_tool_has_not():
    pages, names, surplus = sections(page("mqtt-spool.1")), verbs(), []
    headings = re.findall(r"^\.SS ([a-z][a-z-]*)", plain(page("mqtt-spool.1")), flags=re.MULTILINE)
    surplus += ["a section .SS %s" % heading for heading in headings if heading not in names]
    for name in set(headings) & set(names) - {"help"}:
        text = output(processes.tool_path(), "help", name)
        surplus += ["%s %s" % (name, option) for option in sorted(tags(pages[name]))
                    if option not in OPTION.findall(text)]
    check(not surplus, "mqtt-spool(1) has, and the tool has not:\n" + "\n".join(surplus))


@case
def each_option_of_the_programs_is_in_their_pages():
    for program, name in ((processes.daemon_path(), "mqtt-spoold.8"),
                          (processes.tool_path(), "mqtt-spool.1")):
        wanted = helped(output(program, "--help"))
        check("--version" in wanted, "options of --help", sorted(wanted))
        equal(sorted(wanted - tags(sections(page(name))["OPTIONS"])), [], name + " lacks")


@case
def each_key_is_in_its_page():
    text = plain(page("mqtt-spoold.conf.5"))
    gateway = Gateway(lanes=[{"name": "a", "topics": ["a"], "prefix": "p/"}],
                      access=[{"user": "*"}, {"group": "*"}])
    groups, keys = [], set()
    for line in output(processes.daemon_path(), "-c", gateway.config, "--print-config").split("\n"):
        line = re.sub(r"\s*# .*", "", line)
        key = re.match(r"\s*(\w+) = ", line)
        if key:
            keys.add(".".join(groups + [key.group(1)]))
        if line.endswith(":"):
            groups.append(line.strip()[:-1])
        elif line.endswith(" = ("):
            groups.append(line.split()[0])
        elif line.strip().startswith(("};", ");")):
            groups.pop()
    check({"uplink.tls.alpn", "lanes.prefix", "access.group", "log_level"} <= keys, "keys",
          sorted(keys))
    equal(sorted(key for key in keys if not re.search(
        r"^\.B %s(?: = |$)" % re.escape(key), text, flags=re.MULTILINE)), [], "the page lacks")


@case
def each_metric_is_in_a_page():
    if "metrics" not in verbs():
        skip("the tool has no verb metrics")
    documented = page("mqtt-spool.1")
    path = os.path.join(ROOT, "docs", "metrics.md")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as seen:
            documented += seen.read()
    gateway = Gateway().start()
    done = gateway.tool("metrics")
    equal(done.returncode, 0, "exit code of metrics: %r" % done.stderr)
    names = set(re.findall(r"^# TYPE (\w+) ", done.stdout.decode(), flags=re.MULTILINE))
    check(len(names) > 5, "metrics", sorted(names))
    equal(sorted(name for name in names if not re.search(r"\b%s\b" % name, documented)), [],
          "metrics that no page has")
    gateway.stop()


def warnings(command):
    """Of a formatter: what it reports of each page."""
    found = []
    for path in sorted(glob.glob(os.path.join(ROOT, "man", "*.[0-9]"))):
        done = processes.run(command + [path])
        found += (done.stderr + (done.stdout if command[0].endswith("mandoc") else b"")).decode(
            errors="replace").splitlines()
    return found


@case
def groff_warns_of_nothing():
    found = warnings([processes.need("groff", "groff-base"), "-ww", "-z", "-man", "-Tutf8"])
    check(not found, "\n".join(found))


@case
def man_warns_of_nothing():
    found = warnings([processes.need("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8",
                      "-Z"])
    check(not found, "\n".join(found))


@case
def mandoc_finds_no_error():
    found = warnings([processes.need("mandoc"), "-T", "lint", "-W", "error"])
    check(not found, "\n".join(found))


@case
def pages_refer_to_pages_that_there_are():
    own = {os.path.basename(path) for path in glob.glob(os.path.join(ROOT, "man", "*.[0-9]"))}
    missing = set()
    for name in own:
        for title, section in re.findall(r"\b(mqtt-spool[a-z.-]*) ?\((\d)\)",
                                         re.sub(r"^\.\w+ ", "", plain(page(name)),
                                                flags=re.MULTILINE)):
            if "%s.%s" % (title, section) not in own:
                missing.add("%s: %s(%s)" % (name, title, section))
    equal(sorted(missing), [])


@case
def what_is_missing_would_be_found():
    text = ".SH VERBS\n.SS list [OPTION]...\n.TP\n.BI \\-\\-limit \" N\"\n.SS drop \\-\\-all\n"
    pages = sections(text)
    equal(sorted(pages), ["VERBS", "drop", "list"])
    equal(tags(pages["list"]), {"--limit"})
    equal(tags(pages["drop"]), {"--all"})
    equal(helped("  -c FILE, --config FILE\n      --limit N  as -x\n  text --no\n"),
          {"-c", "--config", "--limit"})


run_all()

# SPDX-License-Identifier: MIT
"""Checks the shape of the sources: length of functions and lines, size of structs, heads of files, and
subjects of commits.

The sources are read by a light parser, which expects the form that clang-format gives them.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all, skip  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
PRODUCT = ("base", "store", "daemon", "cli")
FOLDERS = PRODUCT + ("tests", "bench")
FUNCTION_LINES = 60
STRUCT_MEMBERS = 25
COLUMNS = 96
SUBJECT_CHARACTERS = 72
# The rule for subjects holds for what came after this commit.
SUBJECTS_SINCE = "463594e"
SUBJECT = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?:,? [a-z0-9_./-]+){0,3}: \S.*|Merge .*|Revert .*")
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
HEAD = re.compile(r"/\* SPDX[^\n]*\n/\*\n \* (\S+) - \S|/\* SPDX[^\n]*\n/\* (\S+) - \S")
EVENT = re.compile(r"\blog_(?:error|warning|notice|info|debug)\(\s*\"([a-z][a-z0-9_]*)")
# What a callback is handed back is called userdata.
OTHER_USERDATA = re.compile(r"\bvoid \*(?:const )?"
                            r"(?:context|opaque|cookie|closure|arg|argument|user_data)\b")


def sources(folders=FOLDERS):
    for top in folders:
        for folder, _, names in sorted(os.walk(os.path.join(ROOT, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as source:
                        yield os.path.relpath(path, ROOT), source.read()


def bare(text):
    """@text without what comments and literals hold; each line keeps its number."""
    return COMMENT_OR_TEXT.sub(lambda found: "\n" * found.group().count("\n") or '""', text)


def functions(text):
    """[(name, first line, lines between the braces)]; the braces of a function stand in column 0."""
    found, name, start, named = [], None, 0, 0
    for number, line in enumerate(bare(text).split("\n"), 1):
        if re.match(r"[A-Za-z_].*\w\(", line):
            name, named = re.search(r"(\w+)\(", line).group(1), number
        elif line == "{":
            start = number
        elif line == "}" and start:
            found.append((name, named, number - start - 1))
            start = 0
    return found


def structs(text):
    """[(name, line, members)]; a nested struct counts as one member, and by itself."""
    text = bare(text)
    for found in re.finditer(r"\b(?:struct|union)\s*(\w*)\s*\{", text):
        depth, at, members = 1, found.end(), 0
        while depth:
            if text[at] == ";" and depth == 1:
                members += 1
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
        yield found.group(1) or "without a name", text.count("\n", 0, found.start()) + 1, members


def none(found, what):
    check(not found, "%d %s:\n%s" % (len(found), what, "\n".join(found)))


@case
def functions_are_short():
    seen = [(path, *row) for path, text in sources() for row in functions(text)]
    check(len(seen) > 1000, "functions read", len(seen))
    none(["%s:%d %s has %d lines" % (path, line, name, lines)
          for path, name, line, lines in seen if lines > FUNCTION_LINES
          and (name, path.split("/")[0]) != ("main", "tests")],  # the list of the cases
         "functions of more than %d lines" % FUNCTION_LINES)


@case
def structs_are_small():
    seen = [(path, *row) for path, text in sources(PRODUCT) for row in structs(text)]
    check(len(seen) > 50, "structs read", len(seen))
    none(["%s:%d %s has %d members" % (path, line, name, members)
          for path, name, line, members in seen if members > STRUCT_MEMBERS],
         "structs of more than %d members: group them" % STRUCT_MEMBERS)


def wide(text):
    """[(line, columns)] of comments that are wider than the code; tables that are set by hand may be."""
    text = re.sub(r"/\* clang-format off \*/.*?/\* clang-format on \*/",
                  lambda found: "\n" * found.group().count("\n"), text, flags=re.DOTALL)
    lines, found = text.split("\n"), set()
    for comment in COMMENT_OR_TEXT.finditer(text):
        if comment.group().startswith("/*"):
            first = text.count("\n", 0, comment.start())
            found.update(range(first, first + comment.group().count("\n") + 1))
    return [(number + 1, len(lines[number])) for number in sorted(found)
            if len(lines[number]) > COLUMNS]


@case
def comments_are_no_wider_than_the_code():
    none(["%s:%d has %d columns" % (path, *row) for path, text in sources() for row in wide(text)],
         "comments of more than %d columns" % COLUMNS)


@case
def each_file_says_what_it_is_for():
    found = []
    for path, text in sources():
        head = HEAD.match(text)
        if not head or os.path.basename(path) not in head.groups():
            found.append("%s has no head \"%s - what for\"" % (path, os.path.basename(path)))
    none(found, "files")


def undocumented(text):
    """The log events of a source that its head does not name after "Diagnostics:"."""
    events = set(EVENT.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    head = text[:text.find("*/", text.find("*/") + 2)].partition("Diagnostics:")[2]
    return sorted(events - set(re.findall(r"\w+", head)))


@case
def a_file_that_logs_names_its_diagnostics():
    found = {path: undocumented(text) for path, text in sources(PRODUCT) if path.endswith(".c")}
    none(["%s: \"Diagnostics:\" in its head lacks %s" % (path, ", ".join(events))
          for path, events in found.items() if events], "files")


@case
def what_a_callback_gets_back_is_called_userdata():
    none(["%s:%d %s" % (path, number, found.group()) for path, text in sources(PRODUCT)
          for number, line in enumerate(bare(text).split("\n"), 1)
          for found in OTHER_USERDATA.finditer(line)], "arguments of another name")


@case
def subjects_of_commits_have_the_form():
    history = subprocess.run(
        ["git", "-C", ROOT, "log", "--format=%h %s", SUBJECTS_SINCE + "..HEAD"],
        capture_output=True, text=True, check=False)
    if history.returncode != 0:
        skip("there is no history of git here, or not all of it")
    none([line for line in history.stdout.splitlines()
          if not SUBJECT.fullmatch(line.split(" ", 1)[1])
          or len(line.split(" ", 1)[1]) > SUBJECT_CHARACTERS],
         "subjects that are not \"module: imperative\" of at most %d characters"
         % SUBJECT_CHARACTERS)


@case
def each_check_finds_its_fault():
    body = "".join("    a();\n" for _ in range(61))
    equal(functions("static int\nlong_one(int a,\n         int b)\n{\n%s}\n" % body),
          [("long_one", 2, 61)])
    equal(functions("int f(void)\n{\n    puts(\"}\");\n}\n"), [("f", 1, 1)])
    nested = "struct s {\n int a; /* ; */\n struct {\n  int b;\n  int c;\n } d;\n};\n"
    equal(list(structs(nested)), [("s", 1, 2), ("without a name", 3, 2)])
    check(HEAD.match("/* SPDX x */\n/*\n * a.c - what\n"), "a head")
    check(not HEAD.match("/* SPDX x */\n/*\n * What it does.\n"), "no head")
    logs = 'log_info("one a=%d");\n/* log_info("not") */ log_error(\n    "two");\n'
    line = "/* " + 94 * "a" + "\n * short */"
    equal(wide("int a;\n" + line), [(2, 97)])
    equal(wide("/* clang-format off */\n" + line + "\n/* clang-format on */\n"), [], "by hand")
    head = "/* SPDX */\n/*\n * a.c - what\n%s */\n"
    equal(undocumented(head % "" + logs), ["one", "two"], "no diagnostics")
    equal(undocumented(head % " * Diagnostics: one.\n" + logs), ["two"], "one of two")
    check(OTHER_USERDATA.search("int f(void *context);"), "another name")
    for subject in ("Add a thing", "tests:", "store : c", "no colon here"):
        check(not SUBJECT.fullmatch(subject), "taken for good", subject)
    for subject in ("store: keep a thing", "audit test: keep a thing", "tests/unit: keep"):
        check(SUBJECT.fullmatch(subject), "taken for bad", subject)


run_all()

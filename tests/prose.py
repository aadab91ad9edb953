# SPDX-License-Identifier: MIT
"""Finds private English where a standard term exists: in comments, literals, documents and manual
pages.

Each pattern comes with what to write instead. A pattern belongs here only if it has no other meaning
in this project; there is no list of exceptions.
"""

import io
import os
import re
import sys
import tokenize

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

from tap import case, check, equal, run_all  # noqa: E402

ROOT = os.environ.get("SPOOLD_SOURCE") or os.path.join(os.path.dirname(
    os.path.abspath(__file__)), "..")
PRODUCT = ("base", "store", "daemon", "cli")
FOLDERS = PRODUCT + ("tests", "bench", "scripts", "docs", "man", "systemd", "etc", "cmake")
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
# Regular expressions over text with single blanks -> what to write.
WORDS = {
    r"told(?! apart)": "reported, logged, returned, notified",
    r"tells?(?! (?:\S+ ){0,5}?(?:apart|from)\b)": "reports, logs, returns, shows",
    r"(?<!\")nobody|somebody|whoever|anybody|everybody": "the caller, the operator, another process",
    r"all the same(?= ?(?:[,.;:)]|$))": "anyway",
    r"in vain": "without effect, without success",
    r"but for": "except, except for",
    r"(?:comes?|came) to be": "is created",
    r"(?:begins?|began|begun|starts?|started) anew": "restarts, starts again",
    r"(?:gave|gives?|given) way": "was evicted, was pruned",
    r"(?:made|makes?|making) up(?! of)": "fabricate, synthesize",
    r"turn(?:s|ed)? away": "rejects, rejected",
    r"last words|farewells?|obituar(?:y|ies)|goodbyes?": "final bytes, DISCONNECT, lost record",
    r"(?:met|meets?) (?:a|the|such a) bad place|bad places?": "media error, bad block",
    r"(?:know|knows|knew) no more": "has no, stops at",
    r"befell|befalls?|befallen": "occurred",
    r"says? so|said so": "is logged, is reported, is documented",
    r"(?:goes|go|went|going) on(?! (?:the|a|top|disk|it|pages?)\b)": "continues",
    r"surplus clients?": "over-limit client",
    r"none of ours": "not one of ours",
    r"sated": "full, has enough",
}
PATTERNS = [(re.compile(r"\b(?:%s)(?!\w)" % pattern, re.IGNORECASE), instead)
            for pattern, instead in WORDS.items()]
# Parts of identifiers of the product.
IDENTIFIER = re.compile(
    r"\b\w*?(?<![A-Za-z])(told|sated|go_on|bad_place|met_bad|farewell|obituary|nobody|somebody|whoever"
    r"|last_words|gave_way|turned_away)(?![A-Za-z])\w*", re.IGNORECASE)
C_PROSE = re.compile(r'/\*(.*?)\*/|"((?:\\.|[^"\\\n])*)"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def c_prose(text):
    """[(line, text)] of comments and literals."""
    for found in C_PROSE.finditer(text):
        prose = found.group(1) or found.group(2)
        if prose:
            yield text.count("\n", 0, found.start()) + 1, re.sub(r"\n\s*\*", "\n", prose)


def python_prose(text):
    comment = None  # those of neighbouring lines are one text
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("#")
            if comment and comment[0] + comment[1].count("\n") + 1 == token.start[0]:
                comment = comment[0], comment[1] + "\n" + words
            else:
                if comment:
                    yield comment
                comment = token.start[0], words
        elif token.type == tokenize.STRING:
            yield token.start[0], token.string
    if comment:
        yield comment


def hash_prose(text):
    """Scripts of the shell, of CMake and units: their comments."""
    for found in re.finditer(r"(?:^[ \t]*#[^\n]*\n)+|[ \t]#[^\n]*", text, re.MULTILINE):
        prose = re.sub(r"^[ \t]*#", "", found.group(), flags=re.MULTILINE)
        yield text.count("\n", 0, found.start()) + 1, prose


def page_prose(text):
    yield 1, text


def reader(path):
    ending = os.path.splitext(path)[1]
    if ending in (".c", ".h"):
        return c_prose
    if ending == ".py":
        return python_prose
    if ending in (".md", ".1", ".5", ".7", ".8", ".catalog"):
        return page_prose
    with_hash = ("", ".sh", ".txt", ".cmake", ".service", ".socket", ".conf", ".timer")
    return hash_prose if ending in with_hash else None


def findings(place, prose):
    """["file:line: words; write: what"] of [(line, text)]."""
    found = []
    for start, text in prose:
        lines = text.split("\n")
        # A sentence is read over the ends of its lines; @at counts where each of them begins.
        flat, begins = "", []
        for line in lines:
            begins.append(len(flat))
            flat += " ".join(line.split()) + " "
        for pattern, instead in PATTERNS:
            for match in pattern.finditer(flat):
                line = start + max(i for i, at in enumerate(begins) if at <= match.start())
                found.append("%s:%d: \"%s\"; write: %s" % (place, line, match.group(), instead))
    return found


def files():
    paths = [os.path.join(ROOT, page) for page in PAGES]
    for top in FOLDERS:
        for folder, _, names in sorted(os.walk(os.path.join(ROOT, top))):
            paths += [os.path.join(folder, name) for name in sorted(names)]
    for path in paths:
        place = os.path.relpath(path, ROOT)
        if reader(place) and "corpus" not in place and place != os.path.join("tests", "prose.py"):
            with open(path, encoding="utf-8") as file:
                yield place, file.read()


@case
def comments_and_documents_use_standard_terms():
    found, count = [], 0
    for place, text in files():
        count += 1
        found += findings(place, reader(place)(text))
    check(count > 200, "files read", count)
    check(not found, "%d places:\n%s" % (len(found), "\n".join(found)))


@case
def identifiers_use_standard_terms():
    found = []
    for place, text in files():
        if place.split("/")[0] in PRODUCT and place.endswith((".c", ".h")):
            code = C_PROSE.sub(lambda part: "\n" * part.group().count("\n"), text)
            found += sorted({"%s: %s" % (place, name.group()) for name in IDENTIFIER.finditer(code)})
    check(not found, "%d identifiers:\n%s" % (len(found), "\n".join(found)))


@case
def each_pattern_finds_its_words():
    bad = ["the caller is told", "it tells of it", "somebody waits", "All the same, it waits",
           "asked in\n * vain", "all but for one", "how it comes to be", "begins anew",
           "a message gave way", "makes up an id", "was turned away", "its last words",
           "met a bad place", "knows no more", "what befell it", "the log says so", "the loop goes on",
           "a surplus client", "a file, none of ours", "the queue is sated"]
    missed = [words for words in bad if not findings("a.c", c_prose("/* %s */" % words))]
    equal(missed, [], "not found")
    good = ["shown as user \"nobody\"", "cannot be told apart", "tells one record from another",
            "all the same size", "made up of two parts", "a page that goes on the free list",
            "it goes on a page"]
    wrong = [words for words in good if findings("a.c", c_prose("/* %s */" % words))]
    equal(wrong, [], "found, though good")
    equal(findings("a.c", c_prose("int told;")), [], "code is no prose")
    in_python = findings("a.py", python_prose("a = 1  # asked in\n        # vain\n"))
    equal(in_python[0].split(":")[:2], ["a.py", "1"])
    equal(findings("a.md", page_prose("One\ntwo, in\nvain."))[0].split(":")[:2], ["a.md", "2"])
    check(IDENTIFIER.search("x->was_told = 1") and not IDENTIFIER.search("untoldable"), "identifiers")


run_all()

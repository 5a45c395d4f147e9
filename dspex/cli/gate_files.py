"""What `dspex gate` writes for other tools: JUnit for a CI server, Markdown for a pull request."""

import re
from xml.etree import ElementTree as Xml

from dspex.evaluate.compare import ProgramComparison
from dspex.evaluate.comparison_text import described, scored, visible
from dspex.evaluate.report import cost

SHOWN = 20
LONGEST = 200
NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MEANING_IN_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~@:&-])")


def junit(found: ProgramComparison, passed: bool, words: str) -> str:
    """One test case, which fails if the gate does."""
    counts = {"tests": "1", "failures": "0" if passed else "1", "errors": "0", "skipped": "0"}
    suite = Xml.Element("testsuite", {"name": "dspex gate", **counts})
    case = Xml.SubElement(suite, "testcase", {"classname": "dspex.gate", "name": "not worse than the baseline"})
    report = NOT_IN_XML.sub("\ufffd", found.report(SHOWN))
    if not passed:
        Xml.SubElement(case, "failure", {"message": words}).text = report
    Xml.SubElement(case, "system-out").text = report
    suites = Xml.Element("testsuites", counts)
    suites.append(suite)
    return Xml.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def markdown(found: ProgramComparison, passed: bool, words: str) -> str:
    """A heading, both scores, and the examples lost and won; what programs wrote is shown as plain text."""
    lines = [f"## {'Passed' if passed else 'Failed'}: {words}", "", str(found), ""]
    lines += ["| | score, per cent | paid |", "|---|---|---|"]
    for name, result in (("before", found.before), ("after", found.after)):
        lines.append(f"| {name} | {scored(result)} | {cost(result.usage)} |")
    for title, rows in (("Lost", found.lost), ("Won", found.won)):
        if rows:
            lines += ["", f"<details><summary>{title} ({len(rows):,})</summary>", ""]
            for old, new in rows[:SHOWN]:
                lines += [f"* example {old.index}: {old.score:g} → {new.score:g}"]
                lines += [f"  * {plain(name)}: {plain(text)}" for name, text in described(old, new)]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no link, tag, mention or table cell."""
    return MEANING_IN_MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", visible(text)[:LONGEST])

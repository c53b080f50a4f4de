"""The result of a run: one JSON with every raw sample, and the Markdown made from it and from nothing else.

    python -m compare.report FILE.json                    prints the Markdown
    python -m compare.report FILE.json --brief            only the figures, without goals, settings and notes
    python -m compare.report FILE.json --into DOCUMENT    replaces what stands between the two marks there

A goal is met if the worse end of its spread meets it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compare.contest import CERTAINTY, Sample, spread
from compare.sections import Column, Goal, Section

Data = dict[str, Any]

BEGIN, END = "<!-- made by `make bench`: begin -->", "<!-- made by `make bench`: end -->"

AIM, MUST, MISSED, UNKNOWN = "aim", "must", "missed", "not measured"


def judge(goal: Goal) -> str:
    """The most that the worse end of the spread reaches."""
    if goal.spread is None:
        return UNKNOWN
    worst = worse_end(goal)
    reached = {bound for bound in (goal.must, goal.aim) if bound is not None and _reaches(worst, bound, goal.at_least)}
    return AIM if goal.aim in reached else MUST if goal.must in reached else MISSED


def worse_end(goal: Goal) -> float:
    """The end of the spread that is farther from the goal."""
    assert goal.spread is not None
    return goal.spread.least if goal.at_least else goal.spread.most


def _reaches(value: float, bound: float, at_least: bool) -> bool:
    return value >= bound if at_least else value <= bound


def section_data(section: Section) -> Data:
    """All of a section as JSON holds it."""
    return {
        "title": section.title,
        "notes": list(section.notes),
        "facts": dict(section.facts),
        "columns": [{"title": column.title, "form": column.form, "ends": column.ends} for column in section.columns],
        "contestants": [
            {
                "name": contestant.name,
                "settings": contestant.settings,
                "missing": contestant.missing,
                "figures": _figures(section.columns, _of(section.samples, contestant.name)),
            }
            for contestant in section.contestants
        ],
        "goals": [_goal_data(goal) for goal in section.goals],
        "samples": [asdict(sample) for sample in section.samples],
    }


def _of(samples: Sequence[Sample], contestant: str) -> list[Sample]:
    return [sample for sample in samples if sample.contestant == contestant]


def _figures(columns: Sequence[Column], samples: Sequence[Sample]) -> list[Data | None]:
    figures: list[Data | None] = []
    for column in columns:
        found = [column.figure(sample.outcome) for sample in samples]
        values = [value for value in found if value is not None]
        figures.append(asdict(spread(values)) if values else None)
    return figures


def _goal_data(goal: Goal) -> Data:
    known = None if goal.spread is None else {**asdict(goal.spread), "worst": worse_end(goal)}
    return {**asdict(goal), "spread": known, "verdict": judge(goal)}


def markdown(report: Data) -> str:
    """The whole report for a reader."""
    texts = [*_head(report), *(text for section in report["sections"] for text in _section(section))]
    return "\n\n".join(texts) + "\n"


def brief(report: Data) -> str:
    """The figures alone, for a reader who passes by."""
    machine = report["machine"]
    texts = [f"{machine['processor']}, {machine['cores']} cores for services and contestants; {_days(report)}."]
    for section in report["sections"]:
        texts += [f"**{section['title']}**", _contestants(section)]
    return "\n\n".join(texts) + "\n"


def _head(report: Data) -> list[str]:
    machine = report["machine"]
    return [
        f"Contests have {_range([section['rounds'] for section in report['sections']])} counted rounds in random order "
        f"after a warm-up, seed {report['seed']}; what ran otherwise says so. A figure is the median of the rounds, "
        "brackets hold both ends; a ratio is made within a round, and the worse end of its spread decides whether a "
        "goal is met. That spread is the whole one of few rounds, and of six or more, for what is compared within a "
        f"round, the interval that holds the median with {CERTAINTY:.0%} certainty.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; "
        "PostgreSQL, the broker and whatever is measured share it. "
        + ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        + f". Measured on {_days(report)}.",
    ]


def _days(report: Data) -> str:
    return _range([section["began"][:10] for section in report["sections"]])


def _range(values: Sequence[Any]) -> str:
    """The one value, or the least and the greatest of them."""
    least, greatest = min(values), max(values)
    return f"{least}" if least == greatest else f"{least} to {greatest}"


def _section(section: Data) -> list[str]:
    texts = [f"### {section['title']}", _contestants(section)]
    if section["goals"]:
        texts.append(_goals(section["goals"]))
    settings = [f"- {each['name']}: {each['settings']}" for each in section["contestants"] if each["settings"]]
    notes = [f"- {note}" for note in section["notes"]]
    return [*texts, *(["\n".join([*notes, *settings])] if notes or settings else [])]


def _contestants(section: Data) -> str:
    columns = section["columns"]
    rows = []
    for contestant in section["contestants"]:
        if contestant["missing"] is not None:
            cells = [f"missing: {contestant['missing']}", *[""] * (len(columns) - 1)]
        else:
            cells = [_figure(column, figure) for column, figure in zip(columns, contestant["figures"], strict=True)]
        rows.append([contestant["name"], *cells])
    return _table(["", *(column["title"] for column in columns)], rows)


def _figure(column: Data, figure: Data | None) -> str:
    if figure is None:
        return "–"
    median, least, most = (format(figure[name], column["form"]) for name in ("median", "least", "most"))
    return f"{median} [{least}–{most}]" if column["ends"] else median


_VERDICTS = {AIM: "aim met", MUST: "must met", MISSED: "**missed**"}


def _goals(goals: Sequence[Data]) -> str:
    rows = []
    for goal in goals:
        sign = "≥" if goal["at_least"] else "≤"
        unit = goal["unit"] if goal["unit"] in ("", "×") else f" {goal['unit'].strip()}"
        bounds = ["" if goal[name] is None else f"{sign} {goal[name]:g}{unit}" for name in ("must", "aim")]
        known = goal["spread"]
        if known is None:
            found = ["–", "–", f"not measured{': ' + goal['reason'] if goal['reason'] else ''}"]
        else:
            found = [f"{number(known[name])}{unit}" for name in ("median", "worst")]
            found.append(_VERDICTS[goal["verdict"]])
        rows.append([goal["name"], *bounds, *found])
    return _table(["goal", "must", "aim", "median", "worse end", ""], rows)


def number(value: float) -> str:
    """Three digits, as far as they say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rules, *rows])


def into(text: str, document: str) -> str:
    """``document`` with ``text`` between its two marks, in place of what stands there."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m compare.report", description="Markdown of a benchmark's JSON.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--brief", action="store_true", help="only the figures")
    parser.add_argument("--into", type=Path, metavar="DOCUMENT", help="document with the two marks")
    options = parser.parse_args(arguments)
    report: Data = json.loads(options.file.read_text(encoding="utf-8"))
    text = brief(report) if options.brief else markdown(report)
    if options.into is None:
        sys.stdout.write(text)
    else:
        options.into.write_text(into(text, options.into.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

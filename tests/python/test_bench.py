"""The benchmark's accounts, its judgement and its report; the contests themselves are run by `make bench`."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compare import report
from compare.contest import (
    Contestant,
    Outcome,
    Sample,
    Spread,
    contest,
    of_many_ratios,
    of_median,
    ratios,
    runs_until_steady,
)
from compare.measure import kept, merged
from compare.process import Failed, Usage, run
from compare.sections import SPEED, Column, Goal, Section, extra

linux = pytest.mark.skipif(sys.platform != "linux", reason="the accounts are Linux's")

ROOT = Path(__file__).resolve().parents[2]
BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
HOLD = "held = bytearray(80_000_000); held[::4096] = b'x' * len(held[::4096])\n"
# Says its id, then sleeps past the end of any test.
SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(600)\n"


def python(script: str) -> list[str | Path]:
    return [sys.executable, "-I", "-S", "-c", script]


def with_a_child(script: str, then: str = "") -> list[str | Path]:
    """A command that starts another in a session of its own, does `then`, and ends."""
    start = f"import subprocess, sys; child = subprocess.Popen(sys.argv[1:], start_new_session=True)\n{then}"
    return [*python(start), *python(script)]


@linux
def test_time_and_memory_are_the_commands(tmp_path: Path) -> None:
    usage = run(python(HOLD + BURN), tmp_path / "log")
    assert 0.4 <= usage.cpu_sec < 2
    assert usage.wall_sec >= 0.4
    assert 80e6 < usage.peak_bytes < 130e6


@linux
def test_a_process_left_behind_is_waited_for_and_counted(tmp_path: Path) -> None:
    usage = run(with_a_child(HOLD + BURN + "print('done')"), tmp_path / "log")
    assert usage.cpu_sec >= 0.4
    assert usage.peak_bytes > 80e6
    assert (tmp_path / "log").read_text() == "done\n"


@linux
def test_a_large_caller_does_not_make_its_commands_large(tmp_path: Path) -> None:
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert run(python("pass"), tmp_path / "log").peak_bytes < 50e6
    assert len(held) == 300_000_000


@linux
def test_a_command_that_fails_is_no_sample_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"ended with 3; the end of .*\nout of beans"):
        run(python("import sys; print('out of beans'); sys.exit(3)"), tmp_path / "log")
    with pytest.raises(Failed, match="no-such-command"):
        run(["no-such-command"], tmp_path / "log")


@linux
def test_what_is_late_is_ended_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not done after 1 s"):
        run(with_a_child(SLEEP, then="child.wait()"), tmp_path / "log", timeout_sec=1.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


@linux
def test_a_signal_to_the_benchmark_ends_what_it_runs(tmp_path: Path) -> None:
    script = f"from compare.process import run; from pathlib import Path; run({python(SLEEP)!r}, Path('log'))"
    bench = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "benches")},
        stderr=subprocess.DEVNULL,
    )
    log = tmp_path / "log"
    while not (log.exists() and log.read_text().endswith("\n")):
        assert bench.poll() is None
    bench.send_signal(signal.SIGINT)
    assert bench.wait() == -signal.SIGINT
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def outcome(wall: float = 1.0, rows: int = 1_000, hashed: str = "7", **further: float) -> Outcome:
    return Outcome(Usage(wall, wall * 2, 50_000_000), rows, 12_000, {"rows": str(rows), "item": hashed}, further)


def test_each_round_runs_all_that_are_not_missing_and_the_warm_up_is_not_counted(tmp_path: Path) -> None:
    ran: list[str] = []

    def runs(name: str) -> Contestant:
        def once(folder: Path) -> Outcome:
            assert list(folder.iterdir()) == []
            ran.append(name)
            return outcome()

        return Contestant(name, "", once)

    absent = Contestant("absent", "", runs("absent").run, missing="not to be had")
    samples = contest([runs("a"), runs("b"), absent, runs("c")], 5, 1, tmp_path, lambda _: None)
    rounds = [tuple(ran[at : at + 3]) for at in range(0, len(ran), 3)]
    assert [sorted(names) for names in rounds] == [["a", "b", "c"]] * 6
    assert len(set(rounds)) > 1
    assert sorted((sample.round, sample.contestant) for sample in samples) == [
        (number, name) for number in range(1, 6) for name in "abc"
    ]
    assert list(tmp_path.iterdir()) == []


def test_at_once_means_at_the_same_time(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def once(_folder: Path) -> Outcome:
        both.wait(timeout=60)
        return outcome()

    samples = contest([Contestant(name, "", once) for name in "ab"], 2, 1, tmp_path, lambda _: None, at_once=True)
    assert sorted((sample.round, sample.contestant) for sample in samples) == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("figures", "most", "found"),
    [
        ([40, 25, 20, 19.8, 19.7, 10], 9, (5, True)),
        ([40, 41, 25, 26, 24.9, 10], 9, (5, True)),
        ([40, 25, 20, 10], 3, (3, False)),
        ([40], 1, (1, False)),
    ],
)
def test_runs_end_when_two_in_a_row_were_no_faster(figures: list[float], most: int, found: tuple[int, bool]) -> None:
    assert runs_until_steady(iter(figures).__next__, most) == found


def test_a_contest_ends_when_one_writes_other_rows(tmp_path: Path) -> None:
    def contestant(name: str, hashed: str) -> Contestant:
        return Contestant(name, "", lambda _: outcome(hashed=hashed))

    with pytest.raises(Failed, match=r"wrote other rows than .*: item differ"):
        contest([contestant("a", "7"), contestant("b", "8")], 1, 1, tmp_path / "1", lambda _: None)
    with pytest.raises(Failed, match=r"a wrote other rows than the table holds: item differ"):
        contest([contestant("a", "7")], 1, 1, tmp_path / "2", lambda _: None, expected={"rows": "1000", "item": "8"})


def test_a_ratio_is_made_of_two_runs_of_one_round() -> None:
    # The machine became ten times slower in the second round; the ratios did not.
    samples = [
        Sample("slow", 1, outcome(3.0)),
        Sample("fast", 1, outcome(1.0)),
        Sample("fast", 2, outcome(10.0)),
        Sample("slow", 2, outcome(40.0)),
        Sample("slow", 3, outcome(9.0)),
    ]
    found = ratios(samples, "slow", "fast", lambda run: run.usage.wall_sec)
    assert found == Spread(median=3.5, least=3.0, most=4.0)
    assert ratios(samples, "slow", "absent", lambda run: run.usage.wall_sec) is None


@pytest.mark.parametrize(
    ("count", "rank"),
    # From six on the ranks that tables of the sign test hold for 95 %.
    [(1, 1), (3, 1), (5, 1), (6, 1), (8, 1), (9, 2), (12, 3), (15, 4), (20, 6), (25, 8)],
)
def test_many_rounds_tell_where_the_median_lies(count: int, rank: int) -> None:
    values = [float(value) for value in range(count, 0, -1)]
    assert of_median(values) == Spread(median=(count + 1) / 2, least=rank, most=count + 1 - rank)


# The greatest sum of ranks on one side that five in a hundred do not exceed, as printed tables have it.
@pytest.mark.parametrize(("count", "critical"), [(10, 8), (20, 52), (25, 89)])
def test_the_interval_of_many_ratios_is_wilcoxons(count: int, critical: int) -> None:
    draw = random.Random(count)
    values = [math.exp(draw.gauss(0, 0.1)) for _ in range(count)]
    found = of_many_ratios(values)
    for end, side in ((found.least, -1), (found.most, 1)):
        outside, inside = (end * math.exp(step * side * 1e-9) for step in (1, -1))
        assert (ranks_beyond(values, outside, side), ranks_beyond(values, inside, side)) == (critical, critical + 1)


def ranks_beyond(values: list[float], ratio: float, side: int) -> int:
    """Wilcoxon's sum: by distance from the ratio, the ranks of what lies on one side of it."""
    distances = sorted((side * math.log(value / ratio) for value in values), key=abs)
    return sum(rank for rank, distance in enumerate(distances, 1) if distance > 0)


def test_a_few_wild_ratios_hardly_move_the_middle_of_many() -> None:
    shuffle = random.Random(7)
    calm = [math.exp(shuffle.gauss(math.log(0.99), 0.03)) for _ in range(150)]
    found = of_many_ratios(calm)
    assert found.least < 0.99 < found.most < found.least + 0.012
    wild = of_many_ratios([*calm, 1.5, 1.5, 0.6, 1.4])
    assert abs(wild.median - found.median) < 0.002
    with pytest.raises(ValueError, match="9 ratios are too few"):
        of_many_ratios([1.0] * 9)


@pytest.mark.parametrize(
    ("at_least", "least", "most", "verdict"),
    [
        (True, 3.5, 9.0, "aim"),
        (True, 3.4, 9.0, "must"),
        # The median reaches the goal, one round does not.
        (True, 2.1, 9.0, "missed"),
        (False, 0.1, 2.2, "aim"),
        (False, 0.1, 3.5, "must"),
        (False, 0.1, 3.6, "missed"),
    ],
)
def test_the_worse_end_decides(at_least: bool, least: float, most: float, verdict: str) -> None:
    must, aim = (2.2, 3.5) if at_least else (3.5, 2.2)
    assert report.judge(Goal("wall", must, aim, at_least, Spread(3.0, least, most))) == verdict


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert report.judge(Goal("wall", 2.2, 3.5, True, None)) == "not measured"
    assert report.judge(Goal("a must alone", 2.2, None, True, Spread(9.0, 9.0, 9.0))) == "must"


BUILD = {
    "machine": {"processor": "A", "cores": 2, "memory_gb": 24, "system": "Linux 6"},
    "versions": {"foodstream": "1.0"},
    "build": "5c8b3f0e9d2a7741",
    "seed": 1,
}


def a_report() -> report.Data:
    section = Section(
        title="Kafka → Parquet",
        contestants=[
            Contestant("fast", "1.0", lambda _: outcome()),
            Contestant("gone", "of old", lambda _: outcome(), missing="nobody has it"),
        ],
        samples=[Sample("fast", number, outcome(wall, first=wall / 10)) for number, wall in enumerate((1.0, 2.0, 4.0))],
        goals=[
            Goal("wall, gone over fast", 2.2, 3.5, True, None, reason="nobody has it"),
            Goal("peak memory", 220, 120, False, Spread(50.0, 49.0, 1_051.0), "MB"),
        ],
        columns=(*SPEED, Column("first ms", extra("first", 1_000), ",.0f"), Column("never", extra("never"))),
        notes=["All wrote the same rows."],
        facts={"messages": 1_000},
    )
    of = {"part": "consume", "kind": "narrow", "began": "2025-11-18T10:00:00+00:00", "rounds": 3}
    # As it is read back from the file.
    written: report.Data = json.loads(json.dumps({**BUILD, "sections": [{**of, **report.section_data(section)}]}))
    return written


def test_the_report_shows_medians_what_is_missing_and_what_was_missed() -> None:
    lines = report.markdown(a_report()).splitlines()
    assert "|  | wall s | rows/s | CPU s | peak MB | bytes/row | first ms | never |" in lines
    assert "| fast | 2.00 [1.00–4.00] | 500 | 4.00 | 50 | 12.0 | 200 | – |" in lines
    assert "| gone | missing: nobody has it |  |  |  |  |  |  |" in lines
    assert "| wall, gone over fast | ≥ 2.2× | ≥ 3.5× | – | – | not measured: nobody has it |" in lines
    assert "| peak memory | ≤ 220 MB | ≤ 120 MB | 50.0 MB | 1,051 MB | **missed** |" in lines
    assert "- All wrote the same rows." in lines


def test_the_brief_report_has_the_figures_and_nothing_of_how_they_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(a_report()))
    report.main([str(file), "--brief"])
    printed = capsys.readouterr().out
    assert "| fast | 2.00 [1.00–4.00] | 500 | 4.00 | 50 | 12.0 | 200 | – |\n" in printed
    assert "| gone | missing: nobody has it |" in printed
    assert "goal" not in printed
    assert "same rows" not in printed


def test_every_sample_is_in_the_report() -> None:
    samples = a_report()["sections"][0]["samples"]
    assert [sample["outcome"]["usage"]["wall_sec"] for sample in samples] == [1.0, 2.0, 4.0]


def test_a_report_replaces_what_stands_between_its_marks_and_nothing_else() -> None:
    document = f"# Title\n{report.BEGIN}\nold\n{report.END}\nthe rest"
    once = report.into("new\n", document)
    assert once == f"# Title\n{report.BEGIN}\n\nnew\n\n{report.END}\nthe rest"
    assert report.into("new\n", once) == once
    with pytest.raises(ValueError, match="no marks"):
        report.into("new\n", "# Title")


def test_a_part_measured_again_takes_the_place_of_its_own_section() -> None:
    order = [("consume", "narrow"), ("consume", "wide"), ("publish", "narrow"), ("rhythm", "narrow")]
    sections: list[report.Data] = []
    for part, kind in reversed(order):
        sections = merged(sections, {"part": part, "kind": kind, "rounds": 3})
    sections = merged(sections, {"part": "consume", "kind": "wide", "rounds": 5})
    assert [(each["part"], each["kind"]) for each in sections] == order
    assert [each["rounds"] for each in sections] == [3, 5, 3, 3]


def test_only_sections_of_the_same_build_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert kept(file, BUILD) == []
    file.write_text(json.dumps(a_report()))
    assert kept(file, BUILD) == a_report()["sections"]
    with pytest.raises(Failed, match="of another build and another seed"):
        kept(file, {**BUILD, "build": "0", "seed": 2})


def test_a_report_made_in_pieces_says_so() -> None:
    whole = a_report()
    again = {**whole["sections"][0], "kind": "wide", "began": "2025-11-19T10:00:00+00:00", "rounds": 5}
    text = report.markdown({**whole, "sections": [*whole["sections"], again]})
    assert "3 to 5 counted rounds" in text
    assert "Measured on 2025-11-18 to 2025-11-19." in text

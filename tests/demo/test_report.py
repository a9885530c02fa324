"""The report and the screen: what they show of a run, and that a difference is said in words."""

from __future__ import annotations

import pytest

from crdtsync.ops.demo.compare import compare
from crdtsync.ops.demo.expected import expect
from crdtsync.ops.demo.outcome import Outcome, Recovery
from crdtsync.ops.demo.report import print_report
from crdtsync.ops.demo.screen import Lane, PlainScreen, Rates, make_screen
from tests.demo.sample import records
from tests.demo.test_compare import shown


def outcome(wrong: bool = False, digests: tuple[str, str] = ("abc", "abc")) -> Outcome:
    expected, facts = expect(records())
    found = {"EWR": shown(expected), "JFK": shown(expected)}
    if wrong:
        found["JFK"]["flights per carrier"]["UA"] = 7
    reports = {
        airport: {"dead": 3, "digest": digest, "bytes_sent": 1000, "rows_sent": 40, "memory": 2**25}
        for airport, digest in zip(found, digests, strict=True)
    }
    return Outcome(9, 3.0, 0.25, [Recovery("JFK since its restart", 12, 1.5)], reports, compare(expected, found), facts)


def test_an_equal_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = outcome()
    assert run.equal
    print_report(run)
    lines = capsys.readouterr().out.splitlines()
    united = next(line for line in lines if line.split()[:2] == ["UA", "flights"])
    assert united.split()[2:] == ["6", "6", "6", "-"]
    text = "\n".join(lines)
    for part in ("3 rows/s", "12 missed events", "25.0", "dead rows uncollected", "cancelled 2", "EQUAL: "):
        assert part in text
    assert "DIFFERENCE" not in text and "\x1b" not in text


def test_a_wrong_number_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    run = outcome(wrong=True)
    assert not run.equal
    print_report(run)
    text = capsys.readouterr().out
    assert "DIFFERENCE  flights per carrier, UA: JFK shows 7, expected 6" in text
    assert "NOT EQUAL: 1 differences." in text


def test_digests_that_differ_are_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    run = outcome(digests=("abc", "abd"))
    assert not run.equal
    print_report(run)
    assert "NOT EQUAL: 0 differences; the digests differ." in capsys.readouterr().out


def test_a_run_without_reports_is_not_equal() -> None:
    assert not Outcome(9).equal


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = make_screen()
    assert isinstance(screen, PlainScreen)
    with screen:
        screen.next = 0.0
        screen.show([Lane("EWR", 500, 1000, 7, ""), Lane("JFK", 10, 1000, 0, "killed")])
        screen.say("JFK: killed.")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "EWR 500/1,000" in shown.err and "behind 7" in shown.err and "killed" in shown.err


def test_rates_follow_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("crdtsync.ops.demo.screen.time.monotonic", lambda: now[0])
    rates = Rates()
    seen = []
    for second in range(10):
        now[0] = float(second)
        seen.append(rates.rate(Lane("EWR", 100 * second if second < 5 else 400, 1000, 0, "")))
    assert seen[1:5] == [100.0] * 4
    assert seen[-1] == 0.0

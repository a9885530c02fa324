"""A seed that fails becomes a small case that fails in the same way, and can be kept and run again."""

from __future__ import annotations

import msgspec
import pytest

from crdtsync import kernels
from crdtsync.sim import __main__ as program
from crdtsync.sim import run
from crdtsync.sim.faults import Nemesis
from crdtsync.sim.plan import CLOCKS, STRIKES, TROUBLES, WEATHER, draw, without
from crdtsync.sim.shrinking import Case, kind_of, shrink, simpler
from tests.sim.test_planted_bugs import skip_a_delta

pytestmark = pytest.mark.skipif(kernels.IMPLEMENTATION != "native", reason="shrinking is the same on both")


@pytest.mark.timeout(600)
def test_a_failing_seed_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_a_delta(monkeypatch)
    monkeypatch.setattr("crdtsync.sim.shrinking.SEEDS", 2)
    seed = next(seed for seed in range(5) if not run(seed).ok)
    lines: list[str] = []
    case = shrink(seed, told=lines.append)
    assert case is not None and len(lines) > 2
    assert case.plan.operations < 100 and case.plan.nodes <= draw(seed).nodes
    assert sum(rate > 0 for rate in case.plan.rates.values()) <= sum(rate > 0 for rate in draw(seed).rates.values())
    kept = msgspec.json.decode(msgspec.json.encode(case), type=Case)
    assert kept == case
    verdict = kept.run()
    assert not verdict.ok and kind_of(verdict.problem) == kind_of(case.problem) == "meaning"


def test_a_clean_seed_is_left_alone() -> None:
    assert shrink(0) is None


def test_simpler_plans_have_less() -> None:
    for seed in range(50):
        plan = draw(seed)
        steps = dict(simpler(plan))
        assert steps and plan not in steps.values()


def test_every_trouble_can_be_left_out() -> None:
    drawn = {name for seed in range(2_000) for name, rate in draw(seed).rates.items() if rate}
    assert drawn == STRIKES, "what can go wrong does, in some seed"
    for name in STRIKES:
        assert hasattr(Nemesis, "_" + name.replace(" ", "_"))
    for name in WEATHER:
        assert any(getattr(draw(seed).weather, name) for seed in range(100))
    for name in TROUBLES:
        plan = without(draw(3), name)
        assert not plan.rates.get(name) and (name not in WEATHER or not getattr(plan.weather, name))
        assert name not in CLOCKS or {*plan.skews, *plan.drifts} <= {0.0, 1.0, *draw(3).skews, *draw(3).drifts}


def test_the_command(tmp_path, capsys) -> None:
    assert program.main(["--seed", "2", "--only", "loss"]) == 0
    assert "ok" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no trouble 'rain'"):
        program.main(["--seed", "2", "--without", "rain"])
    assert program.main(["--seed", "0", "--shrink"]) == 0
    assert "does not fail" in capsys.readouterr().out
    case = tmp_path / "case.json"
    case.write_bytes(msgspec.json.encode(Case(1, draw(1), "")))
    assert program.main(["--case", str(case)]) == 0

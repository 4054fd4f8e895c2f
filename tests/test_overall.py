import json
import math

import making
import numpy as np
import pytest
import scipy.stats

from ganbench import effects, overall, ranking
from ganbench.cli import main
from ganbench.errors import ResultsError
from ganbench.frames import frame
from ganbench.overall_table import tables_of
from ganbench.records import Record, Value
from ganbench.render import render
from ganbench.results import Results

FD = {"fd": ("lower", "")}
NAMES = ("none", "r1", "r2")


def trial(seed, fd, *, status="done", better="lower", **roles):
    labels = making.labels(**roles)
    name = "-".join(labels.values())
    measures = {"fd": Value(last=fd, better=better)} if status == "done" else {}
    timing = {"step_ms": 1.0} if status == "done" else {}
    facts = {"steps": 9}
    return Record(
        cell=name, id=name, seed=seed, status=status, labels=labels, measures=measures, timing=timing, facts=facts
    )


def grid(values, failed=(), **more):
    """Records of ``values`` [levels, blocks, seeds]; ``failed`` are (level, block, seed)."""
    return [
        trial(s, float(fd), loss=f"l{b}", regularizer=name, status="oom" if (i, b, s) in failed else "done", **more)
        for i, (name, blocks) in enumerate(zip(NAMES, values, strict=False))
        for b, seeds in enumerate(blocks)
        for s, fd in enumerate(seeds)
    ]


def stand(records, measures=FD, **options):
    (found,) = overall.overall(frame(records), measures, **options)
    return found


def test_ranks_are_over_the_blocks_that_all_levels_have_and_failures_are_last():
    values = np.ones((3, 2, 2)) * np.array([2.0, 1.0, 3.0])[:, None, None]
    records = grid(values, failed={(1, 0, 0), (1, 1, 0)})
    found = stand([*records, trial(0, 1.0, loss="alone")])
    assert [level.level for level in found.levels] == ["none", "r1", "r2"]
    assert (found.blocks, found.left_out, found.seeds) == (2, 1, 2)
    assert [level.rank.mean for level in found.levels] == [1, 2, 3]  # r1 is first in one seed, and last in the other
    assert (found.levels[1].done, found.levels[1].total, found.levels[1].failures) == (2, 4, {"oom": 2})
    assert found.levels[1].improved.mean == 0.5


def test_the_iqm_is_that_of_logs_over_the_baselines_mean_less_the_baselines():
    values = np.exp(np.random.default_rng(0).normal(size=(3, 4, 5)))
    found = stand(grid(values))
    logs = np.log(values) - np.log(values[0]).mean(-1, keepdims=True)
    trimmed = scipy.stats.trim_mean(logs.reshape(3, -1), 0.25, axis=1)
    assert found.levels[0].iqm is None
    for level, centre in zip(found.levels[1:], trimmed[1:] - trimmed[0], strict=True):
        assert level.iqm.mean == pytest.approx(100 * math.expm1(centre))
        assert level.iqm.low < level.iqm.mean < level.iqm.high
    assert stand(grid(values[:, :3])).levels[1].iqm.low is None  # fifteen values


def test_a_measure_that_is_better_when_higher_is_turned_around_and_back():
    values = np.random.default_rng(1).normal(size=(2, 5, 4))
    lower = stand(grid(values))
    higher = stand(grid(-values, better="higher"), {"fd": ("higher", "")})
    assert lower.scale == higher.scale == "difference"  # some are negative
    for a, b in zip(lower.levels, higher.levels, strict=True):
        assert a.rank == b.rank
        assert (a.better, a.worse, a.p, a.improved) == (b.better, b.worse, b.p, b.improved)
    (iqm, turned) = lower.levels[1].iqm, higher.levels[1].iqm
    assert (iqm.mean, iqm.low, iqm.high) == pytest.approx((-turned.mean, -turned.high, -turned.low))
    assert [-t for t in lower.thresholds] == pytest.approx(higher.thresholds)
    assert [p.mean for p in lower.levels[1].profile] == [p.mean for p in higher.levels[1].profile]


def test_a_profile_counts_failures_as_good_as_nothing():
    values = np.ones((2, 5, 4))
    values[1, :2] = 0.5
    found = stand(grid(values, failed={(1, 4, s) for s in range(4)}))
    assert found.thresholds == overall.RATIOS
    none, r1 = ([p.mean for p in level.profile] for level in found.levels)
    assert none == [0, 0, 0, 1, 1, 1, 1]
    assert r1 == pytest.approx([0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8])
    assert all(p.low <= p.mean <= p.high for level in found.levels for p in level.profile)


def test_with_many_failures_there_is_no_iqm_rather_than_a_flattering_one():
    values = np.ones((2, 4, 4))
    lost = {(1, b, s) for b in range(2) for s in range(4)}
    assert stand(grid(values, failed=lost)).levels[1].iqm is None
    assert stand(grid(values, failed=set(list(lost)[:4]))).levels[1].iqm.mean == 0


def test_wilcoxons_test_is_that_of_scipy_and_needs_blocks():
    differences = list(np.random.default_rng(2).normal(size=9))
    wanted = scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert overall.signed_rank(differences) == pytest.approx(wanted)
    assert overall.signed_rank([*differences, 0.0]) == pytest.approx(wanted)
    assert overall.signed_rank(differences[:5]) is None
    assert overall.signed_rank([math.inf, *[1.0] * 6]) == 2 / 2**7

    values = np.exp(np.random.default_rng(3).normal(size=(3, 8, 3)))
    found = stand(grid(values))
    logs = np.log(values).mean(-1)
    ps = [scipy.stats.wilcoxon(logs[i] - logs[0], method="exact").pvalue for i in (1, 2)]
    assert (found.tests, found.need) == (2, 7)
    assert [level.p for level in found.levels[1:]] == pytest.approx(effects.holm(ps))
    few = stand(grid(values[:, :6]))
    assert [level.p for level in few.levels] == [None] * 3
    assert "need 7" in render(tables_of([few]), width=120, color=False)


def test_several_data_sets_are_blocks_of_one_standing():
    values = np.exp(np.random.default_rng(4).normal(size=(2, 3, 2)))
    found = stand([*grid(values), *grid(values, dataset="digits")])
    assert (found.datasets, found.blocks) == (("ring", "digits"), 6)


def test_what_cannot_be_ranked_is_said():
    records = grid(np.ones((2, 2, 2)))
    with pytest.raises(ResultsError, match="no role 'regularizers'"):
        stand(records, role="regularizers")
    with pytest.raises(ResultsError, match="fewer than two levels of update"):
        stand(records, role="update")
    with pytest.raises(ResultsError, match="no better way"):
        stand(records, {"fd": (None, "")}, show=["fd"])
    with pytest.raises(ResultsError, match="do not compare"):
        stand(records, show=["step_ms"])
    with pytest.raises(ResultsError, match="no measure 'fds'"):
        stand(records, show=["fds"])
    apart = [trial(0, 1.0, loss="a"), trial(0, 1.0, loss="b", regularizer="r1")]
    with pytest.raises(ResultsError, match="otherwise equal"):
        stand(apart)


@pytest.mark.parametrize("style", ["rich", "md", "latex", "html", "csv", "json"])
def test_the_command_prints_standings_and_profiles(tmp_path, capsys, monkeypatch, style):
    run = making.make_run(tmp_path / "run", {"hinge": None, "minimax": None})
    for loss, value in (("hinge", 2.0), ("minimax", 3.0)):
        for seed in (0, 1):
            changed = {"measures": {"fd": Value(last=value + seed, better="lower")}}
            making.add_trial(run, loss, seed, **changed)
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["rank", str(run), "--by", "loss", "--profile", "--format", style]) == 0
    out = capsys.readouterr().out
    assert "hinge" in out
    assert "minimax" in out
    if style == "json":
        whole, profile = json.loads(out)
        assert [row["rank"] for row in whole["rows"]] == [1, 2]
        assert profile["rows"][0]["at_1"] == 0.5
    elif style != "csv":
        assert "1 blocks" in out or "1 block" in out
    found = Results(run).rank("loss")
    assert list(found["rank"]) == [1, 2]
    assert found["iqm"].iloc[1] == pytest.approx(100 * (math.exp(np.log([1.5, 4 / 3]).mean()) - 1))
    assert main(["rank", str(run)]) == 2
    assert "nothing to rank" in capsys.readouterr().err


def test_intervals_of_iqms_keep_what_seeds_share():
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(1, 6, 5))
    found = stand(grid(np.exp(np.concatenate([shared, shared - 1]))))
    iqm = found.levels[1].iqm
    assert (iqm.low, iqm.high) == pytest.approx((iqm.mean, iqm.mean))
    assert iqm.n == 30 >= ranking.POOLED

"""Training one trial: what is shared between cells, what a checkpoint keeps, what evaluation must not touch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import checkpoint
from ganbench.cohort import run_trial
from ganbench.errors import ConfigError
from ganbench.grid import Cell, Grid, Trial
from ganbench.records import read_lines
from ganbench.registry import Registry
from ganbench.state import State
from ganbench.training import Trainer, Training

QUIET = Training(evaluations=1, checkpoint_every=0)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(
        [Path(__file__).parent / "plugins" / "trouble.py", Path(__file__).parent / "plugins" / "points.py"]
    )


@pytest.fixture
def cell(small: dict[str, Any], registry: Registry):
    """A function from changes of the axes to a cell."""

    def make(run: dict[str, Any] | None = None, **axes: Any) -> Cell:
        grid = {"run": small["run"] | (run or {}), "grid": small["grid"] | {"regularizer": "none"} | axes}
        (combination,) = Grid.load(grid).combinations(registry)
        assert combination.skip is None
        return combination.cell

    return make


def trainer(cell: Cell, folder: Path, seed: int = 0, training: Training = QUIET) -> Trainer:
    folder.mkdir(exist_ok=True, parents=True)
    return Trainer(Trial(cell, seed), folder, training, lambda kind, content: None)


def same(a: State, b: State) -> bool:
    left, right = checkpoint.flatten(a), checkpoint.flatten(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


STACK = ["spectral-norm", "drift", {"use": "gradient-penalty", "every": 4}, "instance-noise"]


@pytest.mark.parametrize("seed", [0, 3])
def test_a_rerun_is_bit_identical(cell, tmp_path, seed):
    states = []
    for name in "ab":
        t = trainer(cell(regularizer=[STACK]), tmp_path / name, seed)
        t.advance(15)
        states.append(t.state)
    assert same(*states)


def test_trials_of_one_process_share_a_training_set_and_train_as_they_would_without(cell, tmp_path):
    made = cell(dataset="digits", loss="hinge")
    first = trainer(made, tmp_path / "first")
    alone = trainer(made, tmp_path / "alone", seed=1)
    beside = Trainer(Trial(made, 1), tmp_path / "beside", QUIET, lambda kind, content: None, first)
    for t in (first, alone, beside):
        t.advance(5)
    assert beside.feed.samples is first.feed.samples or beside.feed.samples.x is first.feed.samples.x
    assert alone.feed.samples.x is not first.feed.samples.x
    assert same(beside.state, alone.state)
    other = Trainer(Trial(cell(), 1), tmp_path / "other", QUIET, lambda kind, content: None, first)
    assert other.feed.samples is None


def test_another_seed_gives_other_weights(cell, tmp_path):
    states = [trainer(cell(), tmp_path / str(seed), seed).state for seed in (0, 1)]
    assert not same(*states)


@pytest.mark.parametrize("stop", [1, 7, 12])
@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"regularizer": [STACK]},
        {"loss": "relativistic-pairing", "optimizer": "rmsprop", "update": {"use": "alternating", "critic_steps": 3}},
        {"dataset": "digits", "generator": {"use": "dcgan", "width": 4}, "discriminator": {"use": "dcgan", "width": 4}},
        {"update": {"use": "lookahead", "k": 3, "inner": {"use": "optimistic", "inner": "alternating"}}},
        {"update": {"use": "consensus", "gamma": 0.1}, "loss": "hinge", "regularizer": [["gradient-clipping"]]},
    ],
    ids=["plain", "stack", "critic-steps", "digits-batchnorm", "update-with-state", "tallies"],
)
def test_resuming_from_a_checkpoint_is_bit_identical_to_never_stopping(cell, tmp_path, axes, stop):
    chosen = cell(run={"batch": 32}, **axes)
    whole = trainer(chosen, tmp_path / "whole")
    whole.advance(20)
    first = trainer(chosen, tmp_path / "parts")
    first.advance(stop)
    checkpoint.save(tmp_path, first.state, first.feed.state(), {})
    second = trainer(chosen, tmp_path / "parts")
    found = checkpoint.load(tmp_path, second.state, torch.device("cpu"))
    assert found is not None
    second.state, feed, _ = found
    second.feed.restore(feed)
    second.step = int(second.state.step)
    second.advance(20 - stop)
    assert same(whole.state, second.state)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.feed.state().values(), second.feed.state().values(), strict=True)
    )


def test_the_state_of_a_users_regularizer_is_in_the_checkpoint(cell, tmp_path):
    t = trainer(cell(regularizer=[["r1", "drift"]]), tmp_path)
    t.advance(3)
    saved = checkpoint.flatten(t.state)
    assert saved["regularizers/1/d/mean"] != 0
    checkpoint.save(tmp_path, t.state, t.feed.state(), {})
    found = checkpoint.load(tmp_path, t.state, torch.device("cpu"))
    assert found is not None
    assert torch.equal(found[0].regularizers[1]["d"]["mean"], saved["regularizers/1/d/mean"])


def test_diagnostics_are_means_over_the_run_in_curves_and_records(cell, tmp_path):
    clipping = {"use": "gradient-clipping", "max_norm": 0.5}
    t = trainer(cell(loss="hinge", regularizer=[["none", clipping]]), tmp_path)
    norms, active = [], []
    for _ in range(6):
        turns = t.feed.turns((True,))
        plain = dataclasses.replace(t.game(0), regularizers=(), active=())
        turn = turns.d[0]._replace(noise=())
        grads, _ = plain.d_grads(t.state, turn)
        norms.append(torch.cat([g.flatten() for g in grads.values()]).norm().item())
        fake = plain.generator(t.state.g.params, {}, turn.latents, None)[0]
        scores = [plain.discriminator(t.state.d.params, {}, x, None)[0] for x in (turn.real, fake)]
        active.append(((scores[0] < 1).double().mean() + (scores[1] > -1).double().mean()).item() / 2)
        t.state = t.game(0).finish(t.cell.update.step(t.game(0), t.state, turns))
    assert t.state.logs["d_norm-0"].item() == pytest.approx(sum(norms) / 6, rel=1e-5)
    assert t.state.logs["d_clipped-0"].item() == pytest.approx(sum(n > 0.5 for n in norms) / 6)
    assert t.state.logs["loss-active"].item() == pytest.approx(sum(active) / 6)

    (tmp_path / "run").mkdir()
    record = run_trial(Trial(t.cell, 0), tmp_path / "run", Training(evaluations=2), lambda kind, content: None)
    assert record.status == "done", record.reason
    (*_, last) = read_lines(tmp_path / "run" / "curves.jsonl")
    for name in ("d_norm-0", "d_clipped-0", "loss-active"):
        assert record.row()[name] == pytest.approx(last[name], rel=1e-6)


def test_cells_of_one_seed_share_data_latents_and_initial_weights(cell, tmp_path):
    a = trainer(cell(), tmp_path / "a")
    b = trainer(cell(loss="hinge", regularizer=[["instance-noise", "gradient-penalty", "vat"]]), tmp_path / "b")
    assert all(torch.equal(a.state.g.params[k], b.state.g.params[k]) for k in a.state.g.params)
    assert all(torch.equal(a.state.d.params[k], b.state.d.params[k]) for k in a.state.d.params)
    for _ in range(5):
        one, other = a.feed.turns(()), b.feed.turns((True, True, True))
        assert torch.equal(one.d[0].real, other.d[0].real)
        assert torch.equal(one.d[0].latents, other.d[0].latents)
        assert torch.equal(one.g.latents, other.g.latents)


def test_another_discriminator_leaves_the_generators_initial_weights_alone(cell, tmp_path):
    a = trainer(cell(), tmp_path / "a")
    b = trainer(cell(discriminator={"use": "mlp", "width": 16}), tmp_path / "b")
    assert all(torch.equal(a.state.g.params[k], b.state.g.params[k]) for k in a.state.g.params)


def test_evaluating_and_checkpointing_often_leaves_the_training_alone(cell, tmp_path):
    tensors = []
    for name, training in (("seldom", QUIET), ("often", Training(evaluations=10, checkpoint_every=3))):
        folder = tmp_path / name
        folder.mkdir()
        record = run_trial(Trial(cell(regularizer=[["drift"]]), 0), folder, training, lambda kind, content: None)
        assert record.status == "done", record.reason
        template = trainer(cell(regularizer=[["drift"]]), tmp_path / "t")
        found = checkpoint.load(folder, template.state, torch.device("cpu"))
        assert found is not None
        tensors.append(found[0])
    assert same(*tensors)


def test_every_hook_point_is_reached_for_each_network_it_acts_on(cell, tmp_path, registry):
    points = registry.get("regularizer", "all-points")
    for on, expected in (("d", {"d"}), ("g", {"g"}), ("both", {"d", "g"})):
        seen: dict[str, set[str]] = {}
        points.seen = seen  # type: ignore[attr-defined] # the fixture's own class variable
        trainer(cell(regularizer={"use": "all-points", "on": on}), tmp_path / on).advance(1)
        for hook in ("init", "prepare", "reparameterize", "weight_penalty", "transform_grads", "project"):
            assert seen[hook] == expected, hook
        assert seen["observe"] == expected
        assert seen["d_penalty"] == {"d"}
        assert seen["g_penalty"] == {"g"}
        assert seen["mix"] == {"d"}
        assert seen["augment"] == {"real", "fake"}
        assert seen["score"] == {"both"}
        assert seen["noise"] == {"d", "g"}


def test_a_lazy_regularizer_acts_every_nth_step_and_weighs_n_times(cell, tmp_path):
    """Over a whole period with frozen weights, the penalty's gradient is the one of the eager regularizer."""
    frozen = {"use": "sgd", "lr_g": 0.0, "lr_d": 0.0}
    gradients = {}
    for every in (1, 4):
        t = trainer(cell(optimizer=frozen, regularizer={"use": "r1", "every": every}), tmp_path / str(every))
        plain = trainer(cell(optimizer=frozen), tmp_path / f"plain{every}")
        turn = t.feed.turns((True,)).d[0]
        total: dict[str, torch.Tensor] = {}
        for step in range(4):
            with_penalty, _ = t.game(step).d_grads(t.state, turn)
            without, _ = plain.game(step).d_grads(plain.state, turn._replace(noise=()))
            for name, value in with_penalty.items():
                total[name] = total.get(name, torch.zeros_like(value)) + value - without[name]
        gradients[every] = total
    for name, value in gradients[1].items():
        torch.testing.assert_close(gradients[4][name], value, rtol=1e-4, atol=1e-5)
    assert any(v.abs().max() > 1e-3 for v in gradients[1].values())


def test_d_passes_are_counted_without_moving_a_stream(cell, tmp_path):
    t = trainer(cell(regularizer="r1"), tmp_path / "a")
    before = {k: v.clone() for k, v in t.feed.state().items()}
    assert t.count_passes() == {"d_forwards": 3.0, "d_backwards": 4.0}
    assert all(torch.equal(v, before[k]) for k, v in t.feed.state().items())
    lazy = trainer(cell(regularizer={"use": "gradient-penalty", "every": 4}), tmp_path / "b")
    assert lazy.count_passes()["d_forwards"] == 3.25
    critic = trainer(cell(update={"use": "alternating", "critic_steps": 5}), tmp_path / "c")
    assert critic.count_passes() == {"d_forwards": 11.0, "d_backwards": 11.0}


def test_one_epoch_shows_every_sample_once():
    from ganbench.feed import Shuffled
    from ganbench.samples import Samples
    from ganbench.seeding import stream

    source = Shuffled(Samples(torch.arange(10.0)[:, None], torch.arange(10)), stream(0, "data"), 4)
    drawn = torch.cat([source.draw(4).x[:, 0] for _ in range(5)])
    assert sorted(drawn[:10].tolist()) == list(range(10))
    assert sorted(drawn[10:].tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("run", "most", "warm_up"),
    [
        ({"ema": 0.9}, 0.9, 10),
        ({"ema": 0.9, "ema_warmup": 1.0}, 0.9, 1),
        ({"ema_images": 40.0, "ema_warmup": 3.0, "batch": 10}, 0.5**0.25, 3),
    ],
)
def test_the_averaged_generator_follows_the_stated_rule(cell, tmp_path, run, most, warm_up):
    t = trainer(cell(run=run), tmp_path)
    expected = {k: v.clone() for k, v in t.state.ema.items()}
    for step in range(30):
        t.advance(1)
        decay = min(most, (1 + step) / (warm_up + step))
        expected = {k: decay * v + (1 - decay) * t.state.g.params[k] for k, v in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(t.state.ema[name], value)


def test_half_life_in_samples_is_a_decay_and_of_its_identity(cell):
    halved = cell(run={"ema_images": 10_000.0, "batch": 64})
    assert halved.ema == pytest.approx(0.99557368318819457, rel=1e-15)
    assert halved.id == cell(run={"ema": 0.5 ** (64 / 10_000), "batch": 64}).id
    assert halved.id != cell(run={"ema_images": 10_000.0, "batch": 128}).id
    assert halved.id != cell(run={"ema_images": 10_000.0, "batch": 64, "ema_warmup": 1.0}).id
    with pytest.raises(ConfigError, match="ema and ema_images"):
        cell(run={"ema": 0.9, "ema_images": 100.0})


def test_a_torn_checkpoint_starts_the_trial_anew(cell, tmp_path):
    t = trainer(cell(), tmp_path)
    checkpoint.save(tmp_path, t.state, t.feed.state(), {})
    path = tmp_path / checkpoint.TENSORS
    path.write_bytes(path.read_bytes()[:-100])
    assert checkpoint.load(tmp_path, t.state, torch.device("cpu")) is None


def test_a_checkpoint_of_another_shape_is_not_taken(cell, tmp_path):
    t = trainer(cell(), tmp_path)
    checkpoint.save(tmp_path, t.state, t.feed.state(), {})
    other = trainer(cell(generator={"use": "mlp", "width": 9, "latent": 4}), tmp_path / "o")
    assert checkpoint.load(tmp_path, other.state, torch.device("cpu")) is None

"""Banks: everything once, neighbours as loops find them, and a shelf that survives damage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ganbench import keeping, neighbours
from ganbench.bank import Bank
from ganbench.errors import ConfigError, ContractError
from ganbench.keeping import Shelf
from ganbench.samples import Samples
from ganbench.seeding import stream


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=stream(seed, "samples"))


class Counting:
    """An extractor that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x.flatten(1) * 2

    def head(self, features):
        return features[:, :2]


def test_features_are_extracted_once_and_everything_else_follows_from_them():
    extractor = Counting()
    bank = Bank(normal(20, 1, 2, 2), extractor)
    assert bank.rows.shape == (20, 4)
    assert torch.equal(bank.logits, bank.rows[:, :2])
    assert torch.allclose(bank.mean, bank.rows.mean(0))
    assert torch.allclose(bank.covariance, torch.from_numpy(np.cov(bank.rows.T.numpy())), rtol=1e-12)
    assert torch.allclose(bank.centred.T @ bank.centred, bank.covariance, rtol=1e-12)
    assert bank.radii(3) is bank.radii(3)
    assert extractor.calls == 1
    assert Bank(normal(3, 2), lambda x: 2 * x).logits is None
    assert torch.equal(Bank(normal(3, 2)).logits, normal(3, 2))


def test_features_lie_on_one_device_wherever_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(keeping, "WORTH_S", 0.0)
    x, device = normal(6, 4), torch.device("meta")
    banks = [Bank(x, Counting(), shelf=shelf, device=device) for shelf in (None, Shelf("a"), Shelf("a"))]
    assert [bank.features.device for bank in banks] == [device] * 3
    assert Bank(x, lambda x: x.flatten(1), device=device).features.device == x.device


def test_a_covariance_far_from_the_origin_loses_nothing():
    x = normal(500, 6)
    far = Bank(x + 1e5)
    assert torch.allclose(far.covariance, Bank(x).covariance, rtol=1e-9)


def test_integers_become_floats_and_double_precision_stays():
    assert Bank(torch.arange(6).reshape(3, 2)).rows.dtype == torch.float32
    assert Bank(normal(3, 2)).rows.dtype == torch.float64


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_are_counted_in_samples_and_in_features(bad):
    x = normal(20, 3)
    assert Bank(x).bad == 0
    x[4, 1] = x[9, 2] = bad
    assert Bank(x).bad == 2
    assert Bank(x, lambda x: x.clamp(-1, 1).nan_to_num()).bad == 2  # the features hide it
    clean = normal(20, 3)
    assert Bank(clean, lambda y: torch.where(y > 0, bad, y)).bad == int((clean > 0).any(1).sum())


def test_large_finite_values_are_finite():
    assert Bank(torch.full((4, 8), 3e38)).bad == 0


def test_too_few_samples_and_other_sizes_are_taught_about():
    with pytest.raises(ConfigError, match="needs at least 2 real samples, not 1"):
        Bank(normal(1, 2), side="real").need(2)
    with pytest.raises(ContractError, match="a fake sample has 3 values and a real one 2"):
        Bank(normal(4, 3)).same_size(Bank(normal(4, 2), side="real"))
    with pytest.raises(ConfigError, match=r"3\. neighbour needs at least 4 fake samples, not 3"):
        Bank(normal(3, 2)).radii(3)


# -- neighbours ---------------------------------------------------------------------------------------------


def squares(x, y) -> np.ndarray:
    """All squared distances, by loops over differences."""
    return np.array([[((a - b) ** 2).sum() for b in y.double().numpy()] for a in x.double().numpy()])


@pytest.fixture(params=[(1, 2**62), (64, 2**62), (2**22, 0)], ids=["row by row", "tiles", "float32"])
def route(request, monkeypatch):
    monkeypatch.setattr(neighbours, "TILE", request.param[0])
    monkeypatch.setattr(neighbours, "SINGLE_FROM", request.param[1])


@pytest.mark.parametrize("d", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_neighbours_are_those_of_loops(route, d, offset):
    x, y = (normal(n, d, seed=s).float() + offset for n, s in ((23, 0), (31, 1)))
    y[4:7] = y[3]  # duplicates
    x[2] = y[3]
    own = squares(y, y)
    np.fill_diagonal(own, np.inf)
    for k in (1, 3, 5):
        radii, _ = neighbours.nearest(y, y, k, others=True)
        assert radii.tolist() == pytest.approx(np.sort(own, axis=1)[:, k - 1].tolist(), rel=1e-12)
    found, place = neighbours.nearest(x, y)
    assert found.tolist() == pytest.approx(squares(x, y).min(1).tolist(), rel=1e-12)
    assert torch.allclose((x.double() - y[place].double()).square().sum(1), found, rtol=1e-12)
    for k, strict in itertools.product((1, 3), (False, True)):
        radii, _ = neighbours.nearest(y, y, k, others=True)
        reach = np.sort(own, axis=1)[:, k - 1]
        near = squares(x, y) < reach if strict else squares(x, y) <= reach
        held = neighbours.inside(x, y, radii, strict=strict)
        assert held.of_points.tolist() == near.sum(1).tolist()
        assert held.of_balls.tolist() == near.sum(0).tolist()


@pytest.mark.parametrize("d", [2, 100])
def test_a_copy_of_the_set_lies_on_the_rims_whatever_the_order(route, d):
    y = normal(40, d).float()
    radii, place = neighbours.nearest(y, y, 1, others=True)
    copies = y[place]  # each at exactly the radius of its ball
    loose = neighbours.inside(copies, y, radii, strict=False).of_balls
    tight = neighbours.inside(copies, y, radii, strict=True).of_balls
    assert bool((loose > tight).all())


@pytest.mark.parametrize("d", [3, 100])
def test_questions_answered_from_the_same_distances_are_those_asked_one_by_one(route, d):
    x, y = normal(19, d).float(), normal(23, d, seed=1).float()
    y[4:7] = y[3]
    for k, (radii, place) in zip((5, 1, 3), neighbours.several(y, y, (5, 1, 3), others=True), strict=True):
        alone = neighbours.nearest(y, y, k, others=True)
        assert torch.equal(radii, alone[0])
        assert torch.equal((y[place] - y).square().sum(1), (y[alone[1]] - y).square().sum(1))
    of_x, of_y = ([z.nearest(b, b, k, others=True)[0] for k in (2, 4)] for z, b in ((neighbours, x), (neighbours, y)))
    questions = [neighbours.Balls(of_y[0], of_x[0], strict=True), neighbours.Balls(of_y[1])]
    (first, back), (second, nothing) = neighbours.counted(x, y, questions)
    for found, expected in (
        (first, neighbours.inside(x, y, of_y[0], strict=True)),
        (back, neighbours.inside(y, x, of_x[0], strict=True)),
        (second, neighbours.inside(x, y, of_y[1], strict=False)),
    ):
        assert torch.equal(found.of_points, expected.of_points)
        assert torch.equal(found.of_balls, expected.of_balls)
    assert not nothing.of_points.any()


def test_what_is_expected_is_answered_by_one_pass_and_changes_nothing(monkeypatch):
    passes = []
    tiles = neighbours.tiles
    monkeypatch.setattr(neighbours, "tiles", lambda *args, **more: passes.append(1) or tiles(*args, **more))

    def asked(*, expecting):
        x, y = Bank(normal(20, 4)), Bank(normal(25, 4, seed=1), side="real")
        if expecting:
            x.expect(y, 3, mutual=True)
            x.expect(y, 5, strict=True)
            x.expect(y, 22, mutual=True)  # more than x has: not asked for here, and no trouble
        passes.clear()
        answers = [*x.mutual(y, 3), x.inside(y, 5, strict=True), x.inside(y, 3), x.inside(y, 4)]
        return [part for answer in answers for part in answer], len(passes)

    alone, many = asked(expecting=False)
    together, few = asked(expecting=True)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert (many, few) == (7, 5)  # of which radii of y and distances once more for k = 4, which was not expected


# -- the shelf ----------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(keeping, "WORTH_S", 0.0)
    return Shelf("one set")


def test_what_was_dear_is_read_back_bit_for_bit_and_made_once(shelf):
    made = []

    def make():
        made.append(1)
        return normal(5, 3)

    first, second = (shelf.kept("x", make, torch.device("cpu")) for _ in range(2))
    assert torch.equal(first, second)
    assert len(made) == 1
    assert Shelf("another set").path("x") != shelf.path("x") != shelf.path("y")


def test_what_was_fast_is_not_kept(shelf, monkeypatch):
    monkeypatch.setattr(keeping, "WORTH_S", 60.0)
    shelf.kept("x", lambda: normal(2), torch.device("cpu"))
    assert not shelf.path("x").exists()


@pytest.mark.parametrize("content", [b"", b"not a tensor", None], ids=["empty", "text", "altered"])
def test_a_damaged_file_is_replaced(shelf, content):
    cpu = torch.device("cpu")
    shelf.kept("x", lambda: normal(5, 3), cpu)
    path = shelf.path("x")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if content is None else content)
    assert torch.equal(shelf.kept("x", lambda: normal(5, 3), cpu), normal(5, 3))
    assert torch.equal(shelf.kept("x", lambda: pytest.fail("made again"), cpu), normal(5, 3))


def test_a_full_disk_costs_nothing_but_time(shelf, tmp_path):
    (tmp_path / "measures").write_text("in the way")
    with pytest.warns(UserWarning, match="is not kept"):
        assert torch.equal(shelf.kept("x", lambda: normal(2), torch.device("cpu")), normal(2))


def test_a_real_bank_finds_its_radii_again(shelf):
    first = Bank(Samples(normal(30, 4)), side="real", shelf=shelf).radii(3)
    assert torch.equal(Bank(Samples(normal(30, 4)), side="real", shelf=shelf).radii(3), first)
    assert shelf.path("radii-1 k=3").exists()

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ganbench import (
    ContractError,
    Dataset,
    Discriminator,
    Extractor,
    Generator,
    Loss,
    Measure,
    Metric,
    Optimizer,
    Regularizer,
    Samples,
    SampleSpec,
    Update,
    create,
    field,
    stream,
)
from ganbench.testing import check, check_extractor, check_regularizer, d_penalty, g_penalty
from ganbench_zoo import losses, networks, optimizers, regularizers, updates, vat
from ganbench_zoo.losses import Hinge, NonSaturating
from ganbench_zoo.optimizers import SGD
from ganbench_zoo.updates import Alternating

SOURCE = "https://example.org/paper"
X = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
Y = torch.tensor([[0.0, 3.0], [-2.0, 1.0]], dtype=torch.float64)


def half_square(x):
    """D(x) = |x|^2 / 2, whose gradient is x."""
    return x.square().sum(1) / 2


def broken(component, **kwargs):
    """The names of the checks that do not hold, joined."""
    return "; ".join(f"{f.name} ({f.message})" for f in check(component, **kwargs) if not f.ok)


class R1(Regularizer, name="r1", source=SOURCE):
    """(gamma / 2) E |grad_x D(x)|^2 over real x."""

    gamma: float = field(default=10.0, ge=0.0)

    def d_penalty(self, at):
        return self.gamma / 2 * at.score_grad(at.real).square().flatten(1).sum(1).mean()


# -- one regularizer outside training --------------------------------------------------------------------------


def test_the_penalty_is_the_formula_without_the_lazy_factor():
    expected = 2.0 / 2 * X.square().sum(1).mean()
    torch.testing.assert_close(d_penalty(R1(gamma=2.0, every=16), half_square, X, Y).detach(), expected)


def test_the_penalty_is_differentiable_in_what_the_score_closes_over():
    weight = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(d_penalty(R1(), lambda x: x @ weight, X, Y), weight)
    torch.testing.assert_close(gradient, 10 * weight.detach())
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0)).double()
    d_penalty(R1(), module, X, Y).backward()
    assert module[0].weight.grad.any()


@pytest.mark.parametrize("name", ["r1", "r2", "gradient-penalty", "vat", "adversarial-lipschitz"])
def test_no_gradient_reaches_what_made_the_samples(name):
    made = torch.randn(6, 2, generator=stream(0, "made")).requires_grad_()
    weight = torch.ones(2, requires_grad=True)
    value = d_penalty(create("regularizer", name), lambda x: x @ weight + 0.1 * x[:, 0] ** 2, made, made / 3)
    to_weight, to_samples = torch.autograd.grad(value, (weight, made), allow_unused=True)
    assert to_weight.abs().sum() > 0
    assert to_samples is None


def test_noise_comes_from_the_regularizers_own_stream_and_can_be_given():
    class Noisy(Regularizer):
        def noise(self, batch, rng):
            return {"n": batch.normal(rng), "m": batch.per_sample(rng)}

        def d_penalty(self, at):
            return (at.noise["n"] * at.real + at.noise["m"] * at.fake).sum()

    rng = stream(3, "regularizer-0")
    n = torch.randn(2, 2, generator=rng, dtype=torch.float64)
    m = torch.rand(2, 1, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(d_penalty(Noisy(), half_square, X, Y, seed=3).detach(), (n * X + m * Y).sum())
    given = d_penalty(Noisy(), half_square, X, Y, noise={"n": torch.ones(2, 2), "m": torch.zeros(2, 1)})
    torch.testing.assert_close(given.detach(), X.sum())


def test_step_and_state_reach_the_regularizer():
    class Stateful(Regularizer):
        def init(self, params):
            (p,) = params.values()
            return {"a": torch.full_like(p, 3.0)}

        def prepare(self, params, state):
            return {"a": state["a"] + 1}

        def d_penalty(self, at):
            return at.step * at.state["a"].sum()

        def g_penalty(self, at):
            return at.state["a"].sum() + at.fake_scores.mean()

    assert d_penalty(Stateful(), half_square, X, Y, step=7) == 28
    assert d_penalty(Stateful(), half_square, X, Y, step=7, state={"a": torch.ones(1)}) == 7
    # prepare belongs to D's turn: the generator's penalty reads the state as it was
    assert g_penalty(Stateful(), lambda x: 0 * x.sum(1), lambda z: z, X).item() == 3


def test_the_generators_penalty_is_differentiable_in_the_generator():
    class Push(Regularizer):
        def g_penalty(self, at):
            return (at.fake - at.generate(-at.latents)).square().mean() + at.score_grad(at.fake).square().mean()

    weight = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    value = g_penalty(Push(), half_square, lambda z: z @ weight, X)
    torch.testing.assert_close(value.detach(), 5 * (X @ weight.detach()).square().mean())
    (gradient,) = torch.autograd.grad(value, weight)
    torch.testing.assert_close(gradient, 10 * X.T @ (X @ weight.detach()) / X.numel())


def test_real_scores_are_there_if_real_samples_are():
    class Paired(Regularizer):
        def g_penalty(self, at):
            return at.fake.sum() if at.real_scores is None else at.real_scores.mean()

    assert g_penalty(Paired(), half_square, lambda z: z, X) == X.sum()
    assert g_penalty(Paired(), half_square, lambda z: z, X, real=Y).item() == half_square(Y).mean()


def test_augmentation_is_part_of_what_a_penalty_sees():
    class Shift(Regularizer):
        def augment(self, x, side, noise, state):
            return x + (1 if side == "real" else 2)

        def d_penalty(self, at):
            return (at.real - at.fake).mean()

    torch.testing.assert_close(d_penalty(Shift(), half_square, X, Y).detach(), (X - Y).mean() - 1)


def test_regularizers_without_a_penalty_have_none():
    assert d_penalty(Regularizer(), half_square, X, Y) == 0
    assert g_penalty(Regularizer(), half_square, lambda z: z, X) == 0


def test_mistakes_are_said():
    class Vector(Regularizer, name="vector"):
        def d_penalty(self, at):
            return at.real_scores

    class Asks(Regularizer):
        def d_penalty(self, at):
            return at.generate(at.latents).mean()

    with pytest.raises(ContractError, match="single number"):
        d_penalty(Vector(), half_square, X, Y)
    with pytest.raises(ContractError, match="squeeze"):
        d_penalty(R1(), lambda x: x[:, :1], X, Y)
    with pytest.raises(ContractError, match="generate="):
        d_penalty(Asks(), half_square, X, Y)
    assert d_penalty(Asks(), half_square, X, Y, latents=Y, generate=lambda z: 2 * z) == 2 * Y.mean()


def test_observe_can_ask_for_input_gradients_of_anything():
    seen = []

    class Watch(Regularizer, name="watch", source=SOURCE):
        """Remembers the mean slope halfway between real and fake."""

        def init(self, params):
            return {"slope": torch.zeros((), dtype=next(iter(params.values())).dtype)}

        def observe(self, at, state):
            slope = at.score_grad((at.real + at.fake) / 2, create_graph=False).norm(dim=1).mean()
            seen.append(slope)
            return {"slope": slope}

    assert all(f.ok for f in check_regularizer(Watch(), shape=(2,)))
    assert all(slope > 0 for slope in seen)


# -- the checks ------------------------------------------------------------------------------------------------

SHIPPED = [
    cls for module in (losses, regularizers, vat, optimizers, updates, networks) for cls in module.ganbench_components()
]


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: f"{cls.role}-{cls.name}")
def test_first_party_components_keep_the_contract(cls):
    findings = check(cls)
    assert len(findings) > 3
    assert broken(cls) == ""


@pytest.mark.parametrize("component", [vat.VAT(mode="exact", inputs="fake"), regularizers.SpectralNorm(on="both")])
def test_components_are_checked_with_their_fields(component):
    assert broken(component) == ""


def test_fields_without_defaults_are_found():
    class Needy(Loss, name="needy"):
        a: float

    assert "default for every field" in broken(Needy)


def test_components_must_say_what_they_are():
    class Silent(Hinge, name="silent", source="a paper"):
        pass

    assert "says what it is" in broken(Silent)


def regularizer(**methods):
    """A regularizer with the given methods, and a docstring."""
    return type("Broken", (Regularizer,), {"__doc__": "Something.", **methods}, name="broken", source=SOURCE)()


def scale_in_place(self, grads, params, state):
    for g in grads.values():
        g.mul_(0.5)
    return grads


@pytest.mark.parametrize(
    ("methods", "finding"),
    [
        ({"transform_grads": scale_in_place}, "transform_grads wrote to"),
        ({"project": lambda self, p, s: {n: t.clamp_(-0.1, 0.1) for n, t in p.items()}}, "project wrote to"),
        ({"project": lambda self, p, s: dict(list(p.items())[1:])}, "takes three steps"),
        (
            {"transform_grads": lambda self, g, p, s: {n: t.float() for n, t in g.items()}},
            "their names, shapes and types",
        ),
        ({"d_penalty": lambda self, at: at.real_scores.square()}, "single number"),
        ({"d_penalty": lambda self, at: at.real_scores.detach().mean()}, "d_penalty is a number with a gradient"),
        ({"d_penalty": lambda self, at: torch.randn(2).sum() * at.real_scores.mean()}, "global generators"),
        ({"d_penalty": lambda self, at: random.random() * at.real_scores.mean()}, "global generators"),
        ({"d_penalty": lambda self, at: np.random.rand() * at.real_scores.mean()}, "global generators"),  # noqa: NPY002 # the mistake
        ({"d_penalty": lambda self, at: at.real_scores.mean() / 0}, "finite"),
        ({"d_penalty": lambda self, at: at.score(at.real.float()).mean()}, "takes three steps"),
        ({"noise": lambda self, batch, rng: {"n": torch.randn(3)}}, "same from the same stream"),
        ({"observe": lambda self, at, state: {"new": at.real_scores.mean()}}, "types of its state"),
        ({"augment": lambda self, x, side, noise, state: x.detach()}, "cutting gradients"),
        ({"augment": lambda self, x, side, noise, state: x[:, :1].expand(-1, 2)[:4]}, "without changing shapes"),
        ({"g_penalty": lambda self, at: at.fake.detach().mean()}, "g_penalty is a number with a gradient"),
    ],
)
def test_broken_regularizers_are_found(methods, finding):
    found = broken(regularizer(**methods))
    assert any(part in found for part in finding.split("|")), found


class Bad(Loss, name="bad", source=SOURCE):
    """A loss with a mistake."""

    def d_loss(self, real, fake):
        return NonSaturating().d_loss(real, fake)

    def g_loss(self, fake, real):
        return -fake.mean()


@pytest.mark.parametrize(
    ("d_loss", "finding"),
    [
        (lambda self, real, fake: fake - real, "single numbers"),
        (lambda self, real, fake: (fake - real).mean().float(), "single numbers"),
        (
            lambda self, real, fake: -torch.log(torch.sigmoid(real)).mean() + fake.float().exp().exp().mean(),
            "is finite",
        ),
        (lambda self, real, fake: fake.mean() - real.mean().detach(), "gradient in every score"),
        (lambda self, real, fake: (fake * torch.arange(len(fake))).mean() - real.mean(), "order of the samples"),
        (lambda self, real, fake: fake.mul_(2).mean() - real.mean(), "leaves its inputs"),
        (lambda self, real, fake: (fake - real).mean() * torch.rand(()), "global generators"),
    ],
)
def test_broken_losses_are_found(d_loss, finding):
    loss = type("Broken", (Bad,), {"__doc__": "Something.", "d_loss": d_loss}, name="broken", source=SOURCE)()
    assert finding in broken(loss)


def test_broken_optimizers_are_found():
    class Normalised(Optimizer, name="normalised", source=SOURCE):
        """p <- p - lr g / |g|, which mixes the seeds of a stack."""

        def update(self, params, grads, slots, lr):
            norm = sum(g.square().sum() for g in grads.values()).sqrt()
            return {n: p - lr * grads[n] / norm for n, p in params.items()}, slots

    class InPlace(Optimizer, name="in-place", source=SOURCE):
        """p <- p - lr g, in place."""

        def update(self, params, grads, slots, lr):
            return {n: p.sub_(lr * grads[n]) for n, p in params.items()}, slots

    class Ascent(SGD, name="ascent", source=SOURCE):
        """p <- p + lr g."""

        def update(self, params, grads, slots, lr):
            return super().update(params, grads, slots, -lr)

    class Forgets(SGD, name="forgets", source=SOURCE):
        """Loses its slots."""

        def init(self, params):
            return {"b": params}

        def update(self, params, grads, slots, lr):
            return super().update(params, grads, slots, lr)[0], {}

    assert "elementwise" in broken(Normalised)
    assert "leaves its inputs" in broken(InPlace)
    assert "downhill" in broken(Ascent)
    assert "the slots" in broken(Forgets)


def test_broken_updates_are_found():
    class Alone(Update, name="alone", source=SOURCE):
        """Only D moves."""

        def step(self, game, state, turns):
            grads, state = game.d_grads(state, turns.d[0])
            return game.apply_d(state, grads)

    class Counts(Alternating, name="counts", source=SOURCE):
        """Counts the step itself."""

        def step(self, game, state, turns):
            state = super().step(game, state, turns)
            return state._replace(step=state.step + 1)

    class Surprises(Alternating, name="surprises", source=SOURCE):
        """Has a slot that a checkpoint would not know of."""

        def step(self, game, state, turns):
            state = super().step(game, state, turns)
            return state._replace(update={"late": state.g.params})

    assert "'g' did not move" in broken(Alone)
    assert "a step left ['late']" in broken(Surprises)
    assert "counted the step" in broken(Counts)


class Line(nn.Module):
    def __init__(self, out, draw=torch.randn):
        super().__init__()
        self.out = out
        self.weight = nn.Parameter(draw(2))
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, y=None):
        return self.out(x.flatten(1).mean(1), self.weight)


def test_broken_networks_are_found():
    class Column(Discriminator, name="column", source=SOURCE):
        """Scores of shape [B, 1]."""

        def build(self, spec):
            return Line(lambda m, w: m[:, None] * w[0] + w[1])

    class Lucky(Generator, name="lucky", source=SOURCE):
        """Starts from numbers that no stream gives, and leaves the range."""

        def build(self, spec):
            size = (BATCH := 8, *spec.shape)
            draw = lambda n: torch.from_numpy(np.random.default_rng().normal(size=n)).float()  # noqa: E731 # short
            return Line(lambda m, w: 100 * (m * w.sum()).reshape(BATCH, *(1 for _ in spec.shape)).expand(size), draw)

    assert "shape [8, 1]" in broken(Column)
    assert "unused" in broken(Column)
    found = broken(Lucky)
    assert "same weights for the same stream" in found
    assert "lie outside" in found


def test_networks_that_raise_are_found_rather_than_raised():
    class Crash(Discriminator, name="crash", source=SOURCE):
        """Cannot be built."""

        def build(self, spec):
            raise RuntimeError("boom")

    assert "boom" in broken(Crash)


def test_broken_datasets_are_found():
    class Wrong(Dataset, name="wrong", source=SOURCE):
        """Ones that should be zeros."""

        def spec(self):
            return SampleSpec(shape=(2,), classes=2, low=0.0, high=0.5)

        def load(self, split, rng):
            return Samples(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))

    class Lucky(Wrong, name="lucky", source=SOURCE):
        """Ones with noise from the global generator."""

        def load(self, split, rng):
            return Samples(torch.rand(4, 2) / 2, torch.tensor([0, 1, 1, 0]))

    found = broken(Wrong)
    assert "lie outside [0, 0.5]" in found
    assert "1 samples are in both" in found
    found = broken(Lucky)
    assert "same samples from the same stream" in found
    assert "global generators" in found


def test_broken_metrics_are_found():
    class Vague(Metric, name="vague", source=SOURCE):
        """Yields another name than it declares."""

        measures = (Measure("distance", "lower"),)

        def compute(self, fake, real, rng):
            return {"length": torch.rand(1, generator=rng)}

    found = broken(Vague)
    assert "its measures are ['distance']" in found


def test_extractors_are_tried_where_they_can_be():
    class Sum(Extractor, name="sum", source=SOURCE):
        """The sum of the values of a sample, which is no row."""

        def load(self, dataset, device):
            return lambda x: x.flatten(1).sum(1)

    class Trained(Extractor, name="trained", source=SOURCE):
        """Needs a dataset."""

        def load(self, dataset, device):
            if dataset is None:
                raise ContractError("it needs a dataset")
            return lambda x: x.flatten(1)

    assert "expected [8, d]" in broken(Sum)
    assert broken(Trained) == ""
    assert any("not tried" in f.message for f in check(Trained))
    dataset = SimpleNamespace(spec=lambda: SampleSpec(shape=(3,)))
    assert all(f.ok and not f.message for f in check_extractor(Trained(), dataset))


def test_checks_leave_the_global_generators_alone():
    before = torch.get_rng_state(), random.getstate()
    for cls in (R1, NonSaturating, SGD, Alternating):
        assert broken(cls) == ""
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ganbench import ContractError, stream
from ganbench.testing import d_penalty, g_penalty
from ganbench_zoo.consistency import BalancedConsistency, Consistency, LatentConsistency
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.regularizers import InstanceNoise

W = np.array([0.6, -0.8, 1.5])
REAL = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
FAKE = np.array([[0.5, 0.0, -1.0], [2.0, 1.0, 0.0]])


def t(array):
    return torch.tensor(array, dtype=torch.float64)


def square(x):
    """A score that tells where it was asked."""
    return (x * x) @ t(W)


def moved(x, n):
    return ((x**2) @ W - ((x + n) ** 2) @ W) ** 2


def test_consistency_compares_each_real_sample_with_its_own_transform():
    n = 0.3 * torch.randn(2, 3, generator=stream(0, "regularizer-0"), dtype=torch.float64).numpy()
    value = d_penalty(Consistency(weight=2.0, transform="noise", sigma=0.3), square, t(REAL), t(FAKE)).item()
    assert value == pytest.approx(2 * moved(REAL, n).mean(), rel=1e-13)


def test_a_linear_critic_sees_the_transform_alone():
    delta = np.array([0.5, 0.2, 1.0])  # w . delta = 1.64
    noise = {"real-noise": t(np.stack([delta, delta]))}
    value = d_penalty(
        Consistency(weight=1.0, transform="noise", sigma=1.0), lambda x: x @ t(W), t(REAL), t(FAKE), noise=noise
    )
    assert value.item() == pytest.approx((W @ delta) ** 2, rel=1e-14)


def test_balanced_consistency_weighs_both_sides():
    rng = stream(3, "regularizer-0")
    real, fake = (0.1 * torch.randn(2, 3, generator=rng, dtype=torch.float64).numpy() for _ in range(2))
    regularizer = BalancedConsistency(weight_real=2.0, weight_fake=5.0, transform="noise")
    value = d_penalty(regularizer, square, t(REAL), t(FAKE), seed=3).item()
    assert value == pytest.approx(2 * moved(REAL, real).mean() + 5 * moved(FAKE, fake).mean(), rel=1e-13)


def test_images_are_flipped_and_shifted_over_a_mirror():
    x = torch.arange(2 * 3 * 6 * 5, dtype=torch.float64).reshape(2, 3, 6, 5)
    u = t([[0.2, 0.0, 0.999], [0.7, 0.5, 0.3]])  # flipped, 2 up and 2 right; as it is, 0 down, 1 left
    regularizer = Consistency(pixels=2)
    seen = regularizer.transformed(x, {"real-uniform": u}, "real").numpy()
    flipped = x[0].numpy()[:, :, ::-1]
    padded = np.pad(flipped, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    np.testing.assert_array_equal(seen[0], padded[:, 4:10, 0:5])
    padded = np.pad(x[1].numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
    np.testing.assert_array_equal(seen[1], padded[:, 2:8, 3:8])


def test_latents_are_nudged_in_both_turns():
    rng = stream(1, "regularizer-0")
    n = 0.2 * torch.randn(2, 2, generator=rng, dtype=torch.float64).numpy()
    m, z = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]), np.array([[1.0, -1.0], [0.0, 2.0]])
    generate = lambda z: torch.tanh(z @ t(m))  # noqa: E731 # a generator in a line
    fake, near = np.tanh(z @ m), np.tanh((z + n) @ m)
    regularizer = LatentConsistency(weight_d=3.0, weight_g=0.7, sigma=0.2)
    value = d_penalty(regularizer, square, t(REAL), t(fake), seed=1, latents=t(z), generate=generate).item()
    assert value == pytest.approx(3 * ((fake**2 @ W - near**2 @ W) ** 2).mean(), rel=1e-12)
    value = g_penalty(regularizer, square, generate, t(z), seed=1).item()
    assert value == pytest.approx(-0.7 * ((fake - near) ** 2).mean(), rel=1e-12)


def test_what_has_no_meaning_is_refused():
    def cell(*regularizers, dataset=None, output="scores", norm="none"):
        loss = SimpleNamespace(name="a-loss", output=output)
        discriminator = SimpleNamespace(norm=norm)
        return SimpleNamespace(
            dataset=dataset or Digits(), regularizers=regularizers, loss=loss, discriminator=discriminator
        )

    for regularizer in (Consistency(), BalancedConsistency()):
        assert "flips and shifts images" in regularizer.mismatch(cell(dataset=Ring()))
        assert type(regularizer)(transform="noise").mismatch(cell(dataset=Ring())) is None
        assert regularizer.mismatch(cell()) is None
        assert "batch normalisation" in regularizer.mismatch(cell(norm="batch"))
        assert "compares scores" in regularizer.mismatch(cell(output="energy"))
        with pytest.raises(ContractError, match="flips and shifts images"):
            d_penalty(regularizer, square, t(REAL), t(FAKE))
    assert "changes what D sees" in LatentConsistency().mismatch(cell(LatentConsistency(), InstanceNoise()))
    assert LatentConsistency().mismatch(cell(LatentConsistency(), BalancedConsistency())) is None
    assert "compares scores" in LatentConsistency().mismatch(cell(output="embedding"))

"""Losses of energies, their state, and the autoencoders that make energies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganbench import LossStep, SampleSpec, stream
from ganbench_zoo.losses_energy import BEGAN, EBGAN
from ganbench_zoo.networks_autoencoder import DCGANAutoencoder, MLPAutoencoder
from ganbench_zoo.networks_embedding import DCGANEmbedding, MLPEmbedding

REAL, FAKE = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.4, 1.5, 1.2])
NOTHING = torch.empty(0)


def at(state=None, fake=NOTHING, code=None):
    return LossStep(real=NOTHING, fake=fake, state=state or {}, code=code or (lambda x: x))


def test_ebgan_leaves_fakes_beyond_the_margin_alone():
    fake = FAKE.clone().requires_grad_()
    value = EBGAN().d_loss(REAL, fake)
    assert value.item() == pytest.approx((0.2 + 0.5 + 0.3) / 3 + (1.0 - 0.4) / 3)
    (gradient,) = torch.autograd.grad(value, fake)
    assert gradient.tolist() == pytest.approx([-1 / 3, 0.0, 0.0])
    assert float(EBGAN().g_loss(FAKE, None)) == pytest.approx(3.1 / 3)


def test_the_pulling_away_term_is_the_mean_squared_cosine_of_different_codes():
    codes = torch.randn(4, 3, generator=stream(0, "codes"), dtype=torch.float64)
    s = codes.numpy()
    cosines = [
        (s[i] @ s[j] / np.linalg.norm(s[i]) / np.linalg.norm(s[j])) ** 2 for i in range(4) for j in range(4) if i != j
    ]
    energies = FAKE.double()
    value = EBGAN(pulling_away=0.1).g_loss_at(energies, None, at(fake=codes))
    assert float(value) == pytest.approx(3.1 / 3 + 0.1 * np.mean(cosines), rel=1e-6)


@pytest.mark.parametrize(
    ("codes", "expected"), [(torch.eye(3), 0.0), (torch.ones(3, 2), 1.0), (torch.zeros(3, 2), 0.0)]
)
def test_orthogonal_codes_cost_nothing_and_equal_ones_all(codes, expected):
    value = EBGAN(pulling_away=1.0).g_loss_at(torch.zeros(3), None, at(fake=codes))
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_no_code_is_asked_for_where_nothing_pulls_away():
    def never(x):
        raise AssertionError

    assert EBGAN().g_loss_at(FAKE, None, at(code=never)) == FAKE.mean()


def test_began_weighs_fakes_with_k():
    loss = BEGAN()
    state = {"k": torch.tensor(0.25)}
    assert float(loss.d_loss_at(REAL, FAKE, at(state))) == pytest.approx(1 / 3 - 0.25 * 3.1 / 3)
    assert loss.g_loss_at(FAKE, None, at(state)) == FAKE.mean()


@given(
    k=st.floats(0, 1),
    gamma=st.floats(0, 1),
    rate=st.floats(0, 1),
    real=st.floats(0, 10),
    fake=st.floats(0, 10),
)
def test_k_moves_by_the_papers_rule_and_stays_a_fraction(k, gamma, rate, real, fake):
    r, f = (torch.tensor([t, t], dtype=torch.float64) for t in (real, fake))
    after = BEGAN(gamma=gamma, rate=rate).observe(r, f, {"k": torch.tensor(k, dtype=torch.float64)})["k"]
    assert float(after) == pytest.approx(min(1.0, max(0.0, k + rate * (gamma * real - fake))), abs=1e-12)


def test_k_begins_at_zero_in_the_type_of_the_networks():
    k = BEGAN().init(torch.zeros((), dtype=torch.float64))["k"]
    assert k == 0
    assert k.dtype == torch.float64


# -- the networks that make energies and embeddings ------------------------------------------------------------

LINE, IMAGE = SampleSpec(shape=(3,)), SampleSpec(shape=(1, 9, 12), low=0.0, high=1.0)


@pytest.mark.parametrize("error", ["absolute", "squared"])
@pytest.mark.parametrize(
    ("network", "spec"),
    [(MLPAutoencoder(width=6, code=2), LINE), (MLPAutoencoder(width=6), IMAGE), (DCGANAutoencoder(width=3), IMAGE)],
    ids=["vectors", "flat-images", "images"],
)
def test_an_energy_is_the_mean_error_over_the_values_of_each_sample(network, spec, error):
    network = type(network)(width=network.width, code=network.code, error=error)
    module = network.build(spec)
    x = torch.rand(5, *spec.shape, generator=stream(0, "data"))
    rebuilt = module.decoder(module(x, None, True))
    assert rebuilt.shape == x.shape
    difference = (rebuilt - x).detach().numpy()
    each = np.abs(difference) if error == "absolute" else difference**2
    np.testing.assert_allclose(module(x).detach().numpy(), each.reshape(5, -1).mean(1), rtol=1e-5)


def test_a_rebuilt_image_stays_in_the_range_of_the_data():
    module = DCGANAutoencoder(width=3).build(IMAGE)
    rebuilt = module.decoder(100 * torch.randn(5, 64, generator=stream(0, "codes")))
    assert rebuilt.min() >= 0
    assert rebuilt.max() <= 1


def test_sizes_of_codes_and_embeddings_are_fields():
    x, image = torch.zeros(2, 3), torch.zeros(2, 1, 9, 12)
    assert MLPAutoencoder(code=2).build(LINE)(x, None, True).shape == (2, 2)
    assert DCGANAutoencoder(code=7, width=3).build(IMAGE)(image, None, True).shape == (2, 7)
    assert MLPEmbedding(dimension=5).build(LINE)(x).shape == (2, 5)
    assert DCGANEmbedding(dimension=6, width=3).build(IMAGE)(image).shape == (2, 6)


def test_the_embedding_network_has_the_parameters_it_says():
    network = MLPEmbedding(width=10, depth=3, dimension=4)
    assert sum(p.numel() for p in network.build(LINE).parameters()) == 4 * 10 + 2 * 11 * 10 + 11 * 4

"""Metrics against the libraries that people use, or against mathematics where a library is wrong.

Run with ``make test-reference``, which installs them. Versions: torch-fidelity 0.4.0, prdc 0.2, POT 0.9.7, vendi-score
0.0.3, torchmetrics 1.9.0, SciPy.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from ganbench import measure, stream

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries


def features(n: int, d: int, seed: int, *, shift: float = 0.0) -> torch.Tensor:
    """Float32 rows like those of a network: not negative, of a falling spectrum, correlated."""
    rng = stream(seed, "features")
    mixing = torch.randn(d, d, generator=stream(0, "mixing")) * (1 + torch.arange(d)[:, None]) ** -0.5
    return (torch.randn(n, d, generator=rng) @ mixing + shift).relu()


PAIRS = {
    "few features": (features(800, 16, 0), features(700, 16, 1, shift=0.1)),
    "many features": (features(900, 256, 0), features(800, 256, 1, shift=0.1)),
    "fewer samples than features": (features(120, 256, 0), features(140, 256, 1, shift=0.1)),
}


@pytest.fixture(params=PAIRS, ids=str)
def pair(request):
    return PAIRS[request.param]


# -- torch-fidelity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_fd_is_that_of_torch_fidelity_except_where_it_has_fewer_samples_than_features(pair, method):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    fake, real = (x.double() for x in pair)
    stats = [fid_features_to_statistics(x) for x in (fake, real)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    ours = measure("frechet-distance", fake=fake, real=real, method=method)["fd"]
    traces = float(sum(np.trace(s["sigma"]) for s in stats))
    if len(fake) > fake.shape[1]:
        assert ours == pytest.approx(theirs, rel=1e-9)
    else:  # eigenvalues of 0 come out as about 1e-16, and their roots are added
        assert theirs < ours == pytest.approx(theirs, abs=1e-5 * traces)


def test_fd_is_that_of_the_matrix_square_root(pair):
    fake, real = (x.double().numpy() for x in pair)
    s1, s2 = np.cov(fake.T), np.cov(real.T)
    root = np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
    theirs = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    ours = measure("frechet-distance", fake=fake, real=real)["fd"]
    tolerance = 1e-8 if len(fake) > fake.shape[1] else 1e-5
    assert ours == pytest.approx(theirs, abs=tolerance * (np.trace(s1) + np.trace(s2)))


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_fd_is_the_nuclear_norm_of_centred_samples(pair, method):
    """The truth, where libraries are not: no covariance is formed, so nothing is squared."""
    fake, real = (x.double().numpy() for x in pair)
    x, y = ((z - z.mean(0)) / math.sqrt(len(z) - 1) for z in (fake, real))
    traces = (x**2).sum() + (y**2).sum()
    truth = ((fake.mean(0) - real.mean(0)) ** 2).sum() + traces - 2 * np.linalg.norm(x @ y.T, "nuc")
    ours = measure("frechet-distance", fake=fake, real=real, method=method)["fd"]
    assert ours == pytest.approx(truth, abs=(1e-13 if method == "exact" else 1e-9) * traces)


def test_kid_of_subsets_is_that_of_torch_fidelity(pair):
    from torch_fidelity.metric_kid import kid_features_to_metric

    fake, real = (x.double() for x in pair)
    theirs = kid_features_to_metric(fake, real, kid_subsets=20, kid_subset_size=100, rng_seed=2020, verbose=False)
    ours = measure("kid", fake=fake, real=real, subsets=20, subset_size=100)
    assert ours["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9, abs=1e-12)
    assert ours["kid_se"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9, abs=1e-12)


def test_kid_of_all_pairs_is_what_many_subsets_tend_to(pair):
    fake, real = pair
    whole = measure("kid", fake=fake, real=real)
    subsets = measure("kid", fake=fake, real=real, subsets=400, subset_size=60)
    assert whole["kid"] == pytest.approx(subsets["kid"], abs=5 * subsets["kid_se"] / 20 + 2 * whole["kid_se"])


def test_inception_scores_are_those_of_torch_fidelity_except_for_certain_logits():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 4 * torch.randn(1003, 10, generator=stream(0, "logits"))
    theirs = isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    ours = measure("inception-score", fake=logits, real=logits)
    assert ours["is"] == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert ours["is_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-9)
    certain = torch.full((40, 2), -math.inf)
    certain[:, 0] = 0.0  # no probability at all for the other class
    assert math.isnan(isc_features_to_metric(certain, splits=1)["inception_score_mean"])
    finite = certain.clamp(min=-1e30)
    assert measure("inception-score", fake=finite, real=finite, splits=1)["is"] == 1.0


def test_precision_and_recall_are_those_of_torch_fidelity(pair):
    from torch_fidelity.metric_prc import prc_features_to_metric

    fake, real = (x.double() for x in pair)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=10_000, verbose=False)
    ours = measure("precision-recall", fake=fake.float(), real=real.float())
    # their mean is one of float32
    assert ours == {k: pytest.approx(theirs[k], abs=1e-6) for k in ("precision", "recall")}


def test_far_from_the_origin_precision_is_right_where_torch_fidelity_in_float32_is_not():
    from torch_fidelity.metric_prc import prc_features_to_metric

    near = PAIRS["many features"]
    far = [x / 8 + 1000 for x in near]  # float32: the features themselves are rounded by this
    exact = measure("precision-recall", fake=far[0].double(), real=far[1].double())
    ours = measure("precision-recall", fake=far[0], real=far[1])
    theirs = prc_features_to_metric(*far, prc_neighborhood=3, prc_batch_size=10_000, verbose=False)
    assert ours == exact
    assert abs(theirs["precision"] - exact["precision"]) > 0.05


# -- prdc ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 5])
def test_prdc_agrees(pair, k):
    from prdc import compute_prdc

    fake, real = (x.double() for x in pair)
    theirs = compute_prdc(real_features=real.numpy(), fake_features=fake.numpy(), nearest_k=k)
    ours = measure("precision-recall", fake=fake, real=real, k=k, strict=True)
    ours |= measure("density-coverage", fake=fake, real=real, k=k)
    assert ours == {name: pytest.approx(float(theirs[name]), rel=1e-12) for name in ours}


def test_equal_constants_are_covered_here_and_not_by_prdc():
    from prdc import compute_prdc

    x = torch.full((30, 20), 0.3)
    theirs = compute_prdc(real_features=x.numpy(), fake_features=x.numpy(), nearest_k=3)
    assert theirs["precision"] == 0
    assert measure("precision-recall", fake=x, real=x) == {"precision": 1.0, "recall": 1.0}


# -- POT -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 64])
def test_exact_transport_is_that_of_pot(d):
    import ot

    fake, real = features(300, d, 0).double(), features(300, d, 1, shift=0.2).double()
    theirs = math.sqrt(ot.emd2([], [], ot.dist(fake.numpy(), real.numpy())))
    assert measure("wasserstein", fake=fake, real=real)["w2"] == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 2), (300, 211, 20)])
def test_sliced_transport_is_that_of_pot_along_the_same_directions(n, m, d):
    import ot

    fake, real = features(n, d, 0).double(), features(m, d, 1, shift=0.2).double()
    directions = torch.randn(200, d, dtype=torch.float64, generator=stream(0, "eval-sliced-wasserstein"))
    unit = (directions / directions.norm(dim=1, keepdim=True)).T.numpy()
    theirs = ot.sliced_wasserstein_distance(fake.numpy(), real.numpy(), projections=unit)
    assert measure("sliced-wasserstein", fake=fake, real=real)["sw2"] == pytest.approx(theirs, rel=1e-9)


def test_the_worst_of_random_directions_is_that_of_pot():
    import ot

    fake, real = features(300, 20, 0).double(), features(300, 20, 1, shift=0.2).double()
    directions = torch.randn(200, 20, dtype=torch.float64, generator=stream(0, "eval-max-sliced-wasserstein"))
    unit = (directions / directions.norm(dim=1, keepdim=True)).T.numpy()
    theirs = ot.max_sliced_wasserstein_distance(fake.numpy(), real.numpy(), projections=unit)
    ours = measure("max-sliced-wasserstein", fake=fake, real=real, steps=0)["msw2"]
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert measure("max-sliced-wasserstein", fake=fake, real=real)["msw2"] > theirs


def test_one_sample_that_is_not_a_number_has_no_distance_where_pot_says_zero():
    import ot

    fake, real = features(50, 4, 0).double(), features(50, 4, 1).double()
    fake[3, 1] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ot.emd2([], [], ot.dist(fake.numpy(), real.numpy())) == 0.0
    assert math.isnan(measure("wasserstein", fake=fake, real=real)["w2"])


# -- the others ------------------------------------------------------------------------------------------------


def test_vendi_scores_are_those_of_their_authors(pair):
    from vendi_score import vendi

    fake = pair[0].double()
    for q in (1.0, 2.0):
        theirs = vendi.score_dual(fake.numpy(), q=int(q))
        assert measure("vendi", fake=fake, real=fake, q=q)["vendi"] == pytest.approx(theirs, rel=1e-9)


def test_mifid_is_that_of_torchmetrics():
    from torchmetrics.image.mifid import _mifid_compute

    train = features(400, 12, 1).double()
    fake = train[:300] + 0.05 * torch.randn(300, 12, dtype=torch.float64, generator=stream(2, "noise"))
    # they have one real set, which stands for the reference and for the training set
    moments = [(x.mean(0), torch.cov(x.T), x) for x in (fake, train)]
    theirs = float(_mifid_compute(*moments[0], *moments[1]))
    assert measure("mifid", fake=fake, real=train, train=train)["mifid"] == pytest.approx(theirs, rel=1e-6)


def test_similarity_of_pictures_is_that_of_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure as theirs

    from ganbench_zoo.metrics_diversity import ssim

    x, y = (torch.rand(6, 3, 32, 32, dtype=torch.float64, generator=stream(s, "pictures")) for s in (0, 1))
    blend = 0.7 * x + 0.3 * y
    _, whole = theirs(x, blend, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True)
    inside = whole[..., 5:-5, 5:-5].flatten(1).mean(1)  # their mean is over windows that hang over the edge, too
    assert ssim(x, blend, 1.0).tolist() == pytest.approx(inside.tolist(), rel=1e-9)


def test_the_rank_statistic_of_ct_is_that_of_scipy():
    fake, held, train = (features(n, 5, s).double() for n, s in ((120, 0), (110, 1), (130, 2)))
    gaps = [torch.cdist(x, train).min(1).values.numpy() for x in (fake, held)]
    u = scipy.stats.mannwhitneyu(*gaps).statistic
    expected = (u - 120 * 110 / 2) / math.sqrt(120 * 110 * 231 / 12)
    assert measure("ct", fake=fake, real=held, train=train, cells=1)["ct"] == pytest.approx(expected, rel=1e-9)

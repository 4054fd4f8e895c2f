"""Filters of images: wavelets by what defines them, resampling by an independent one of padded images."""

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from ganbench import stream
from ganbench_zoo.filtering import filtered, resampled
from ganbench_zoo.wavelets import bands, symlet


def t(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2, 4, 6, 8])
def test_symlets_are_orthonormal_low_passes_with_as_many_vanishing_moments_as_their_order(order):
    h = symlet(order)
    k = np.arange(2 * order)
    assert h.sum() == pytest.approx(1, abs=1e-12)
    autocorrelation = np.correlate(h, h, "full")[2 * order - 1 :: 2]
    np.testing.assert_allclose(autocorrelation, [0.5] + [0] * (order - 1), atol=1e-9)
    for moment in range(order):
        assert abs(((-1.0) ** k * (k / order) ** moment) @ h) < 1e-9


def test_symlets_are_those_of_the_tables():
    root = 3**0.5
    np.testing.assert_allclose(symlet(2), np.array([1 + root, 3 + root, 3 - root, 1 - root]) / 8, rtol=1e-12)
    # Daubechies, Ten Lectures on Wavelets, table 6.3, N = 6, of sum 2
    table = [0.021784700327, 0.004936612372, -0.166863215412, -0.068323121587, 0.694457972958, 1.113892783926]
    table += [0.477904371333, -0.102724969862, -0.029783751299, 0.063250562660, 0.002499922093, -0.011031867509]
    np.testing.assert_allclose(2 * symlet(6), table, atol=1e-11)


def test_bands_are_octaves_that_add_up_to_nothing_done():
    found = bands()
    assert found.shape == (4, 43)
    np.testing.assert_allclose(found.sum(0), np.eye(43)[21], atol=1e-14)
    np.testing.assert_allclose(found, found[:, ::-1], atol=1e-15)  # zero phase
    response = np.abs(np.fft.fft(np.roll(np.pad(found, ((0, 0), (0, 85))), -21, 1)).real)
    np.testing.assert_allclose(response[:, 0], [1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(response[:, 64], [0, 0, 0, 1], atol=1e-12)  # the highest frequency
    assert list(response.argmax(1)) == sorted(response.argmax(1))


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 5, 9), (3, 1, 4)])
def test_the_identity_and_shifts_by_whole_pixels_survive_resampling(shape):
    image = torch.randn(2, *shape, generator=stream(0, "x"), dtype=torch.float64)
    same = t([[1.0, 0, 0], [0, 1, 0]]).expand(2, 2, 3)
    torch.testing.assert_close(resampled(image, same, t(symlet(6))), image, rtol=1e-11, atol=1e-11)
    moved = same.clone()
    moved[:, 0, 2], moved[:, 1, 2] = 2, -1
    wide = np.pad(image.numpy(), ((0, 0), (0, 0), *((9, 9) if n > 1 else (0, 0) for n in shape[1:])), mode="reflect")
    expected = wide[:, :, 8 : 8 + shape[1]] if shape[1] > 1 else wide
    np.testing.assert_allclose(
        resampled(image, moved, t(symlet(6))), expected[..., 11 : 11 + shape[2]], rtol=1e-10, atol=1e-10
    )


def test_a_resampling_is_that_of_a_padded_image_filtered_by_scipy():
    n, pad, low = 6, 48, symlet(6)
    rng = np.random.default_rng(0)
    image = torch.randn(3, 1, n, n, generator=stream(0, "x"), dtype=torch.float64)
    source = np.concatenate([np.eye(2) + 0.4 * rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2, 1))], 2)
    found = resampled(image, t(source), t(low))
    for i in range(3):
        wide = np.pad(image[i, 0].numpy(), pad, mode="reflect")
        fine = wide
        for axis in (0, 1):  # zeros between pixels, then the filter: pixel j of the image is at 2 j + 5
            spread = np.zeros([2 * s if a == axis else s for a, s in enumerate(fine.shape)])
            spread[(slice(None),) * axis + (slice(None, None, 2),)] = fine
            fine = 2 * signal.convolve(spread, low.reshape([-1 if a == axis else 1 for a in (0, 1)]), "full")
        at = np.arange(-12, 2 * n + 12)
        down, right = np.meshgrid((at - (n - 1)) / 2, (at - (n - 1)) / 2, indexing="ij")
        a = source[i]
        places = [a[1, 0] * right + a[1, 1] * down + a[1, 2], a[0, 0] * right + a[0, 1] * down + a[0, 2]]
        seen = ndimage.map_coordinates(fine, [2 * p + (n - 1) + 2 * pad + 5 for p in places], order=1)
        small = signal.correlate(seen, np.outer(low, low), "valid")[7::2, 7::2][:n, :n]
        np.testing.assert_allclose(found[i, 0], small, rtol=1e-9, atol=1e-9)


def test_filters_and_resampling_have_second_derivatives():
    image = torch.randn(2, 1, 4, 4, generator=stream(0, "x"), dtype=torch.float64).requires_grad_()
    source = t(np.random.default_rng(1).normal(size=(2, 2, 3)))
    taps = t(np.random.default_rng(2).normal(size=(2, 5)))
    for function in (lambda x: resampled(x, source, t(symlet(2))), lambda x: filtered(x, taps)):
        assert torch.autograd.gradgradcheck(lambda x, f=function: f(x).square(), image)

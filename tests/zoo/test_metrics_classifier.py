"""Classifier metrics against the definitions, and numbers that stacked digits spell."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from measuring import measured, normal

from ganbench import Bank, ConfigError, Dataset, Samples, SampleSpec, stream
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.extractors import Classifier
from ganbench_zoo.extractors_channels import PerChannel
from ganbench_zoo.metrics_classifier import ClassHistogram, ClassifierAccuracy, InceptionScore
from ganbench_zoo.metrics_stacked import StackedModes

# -- inception score -----------------------------------------------------------------------------------------


def naive_score(logits: np.ndarray) -> float:
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean = p.mean(0)
    return math.exp(np.mean([sum(a * math.log(a / b) for a, b in zip(row, mean, strict=True) if a > 0) for row in p]))


def test_the_score_is_that_of_the_definition_part_by_part():
    logits = 3 * normal(43, 5)
    order = np.random.RandomState(2020).permutation(43)
    parts = [logits.numpy()[order][i * 43 // 4 : (i + 1) * 43 // 4] for i in range(4)]
    scores = [naive_score(p) for p in parts]
    found = measured(InceptionScore(splits=4), logits, logits)
    assert found == {"is": pytest.approx(np.mean(scores)), "is_std": pytest.approx(np.std(scores))}


def test_uncertain_logits_score_one_and_certain_ones_their_classes():
    flat = torch.zeros(20, 6, dtype=torch.float64)
    assert measured(InceptionScore(splits=1), flat, flat) == {"is": pytest.approx(1.0), "is_std": 0.0}
    sure = (1e5 * torch.eye(6, dtype=torch.float64)).repeat(5, 1)
    assert measured(InceptionScore(splits=1), sure, sure)["is"] == pytest.approx(6.0)


def test_an_extractor_that_does_not_classify_is_refused():
    bank = Bank(normal(20, 4), lambda x: 2 * x)
    for metric in (InceptionScore(), ClassHistogram()):
        with pytest.raises(ConfigError, match="has no logits"):
            metric.measured(bank, bank, stream(0, "eval"))
        assert "it has none" in metric.mismatch(SimpleNamespace(dataset=Digits()))
        assert type(metric)(extractor=Classifier()).mismatch(SimpleNamespace(dataset=Digits())) is None


# -- classes ---------------------------------------------------------------------------------------------------


def one_hot(counts: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.eye(len(counts), dtype=torch.float64), torch.tensor(counts), dim=0)


def test_the_histogram_of_classes_has_its_divergence():
    fake, real = [10, 30, 0, 5], [20, 20, 7, 0]
    expected = sum(f / 45 * math.log(f / 45 / ((r + 0.5) / 49)) for f, r in zip(fake, real, strict=True) if f)
    assert measured(ClassHistogram(), one_hot(fake), one_hot(real))["class_kl"] == pytest.approx(expected)


def labelled(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(n) % 3
    return normal(n, d, seed=seed) + 4 * torch.eye(3, d, dtype=torch.float64)[y], y


def test_accuracy_is_learned_from_fakes_and_measured_on_real_samples():
    (x, y), (real, true) = labelled(150, 5, 0), labelled(120, 5, 1)
    good = measured(ClassifierAccuracy(), x, real, labels=(y, true))["cas"]
    assert good > 0.95
    wrong = measured(ClassifierAccuracy(), x, real, labels=((y + 1) % 3, true))["cas"]
    assert wrong < 0.05
    ignored = measured(ClassifierAccuracy(), normal(150, 5, seed=3), real, labels=(y, true))["cas"]
    assert 0.1 < ignored < 0.6


def test_the_classifier_is_at_the_minimum_of_its_loss():
    from sklearn.linear_model import LogisticRegression

    (x, y), (real, true) = labelled(90, 4, 0), labelled(200, 4, 1)
    mean, scale = x.mean(0), x.std(0, correction=0)
    weight = ClassifierAccuracy(penalty=0.05, iterations=500)._learn((x - mean) / scale, y, 3)
    # scikit-learn minimises the sum of losses times C with half the squared weights
    fit = LogisticRegression(C=1 / (0.05 * 90), tol=1e-10, max_iter=5000).fit(((x - mean) / scale).numpy(), y.numpy())
    assert weight[:, :-1].numpy() == pytest.approx(fit.coef_, abs=1e-3)
    found = measured(ClassifierAccuracy(penalty=0.05, iterations=500), x, real, labels=(y, true))["cas"]
    assert found == pytest.approx(fit.score(((real - mean) / scale).numpy(), true.numpy()), abs=0.01)


def test_accuracy_needs_labels_and_classes():
    with pytest.raises(ConfigError, match="needs labels"):
        measured(ClassifierAccuracy(), normal(9, 2), normal(9, 2))
    assert "ring has none" in ClassifierAccuracy().mismatch(SimpleNamespace(dataset=Ring()))


# -- stacked digits --------------------------------------------------------------------------------------------


def spelled(numbers: list[int]) -> torch.Tensor:
    """Logits [n, 30] that say these numbers of three digits."""
    digits = torch.tensor([[n // 100, n // 10 % 10, n % 10] for n in numbers])
    return torch.eye(10, dtype=torch.float64)[digits].flatten(1)


def test_numbers_are_counted_and_compared_with_the_uniform_distribution():
    every = spelled(list(range(1000)))
    assert measured(StackedModes(), every, every) == {
        "stacked_modes": 1000.0,
        "stacked_kl": pytest.approx(0.0, abs=1e-12),
    }
    some = spelled([7, 7, 7, 123, 999, 999])
    kl = sum(c / 6 * math.log(c / 6 * 1000) for c in (3, 1, 2))
    assert measured(StackedModes(), some, some) == {"stacked_modes": 3.0, "stacked_kl": pytest.approx(kl)}


def test_true_numbers_have_the_expected_divergence():
    n = 26_000
    numbers = torch.randint(1000, (n,), generator=stream(0, "numbers")).tolist()
    found = measured(StackedModes(), spelled(numbers), spelled([0]))
    assert found["stacked_modes"] == 1000
    # 2 n KL is about chi-squared of 999 degrees of freedom
    assert 2 * n * found["stacked_kl"] == pytest.approx(999, abs=5 * math.sqrt(2 * 999))


class StackedDigits(Dataset, name="stacked-digits"):
    """Three digits of scikit-learn over each other."""

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(3, 8, 8), classes=1000, low=-1.0, high=1.0)

    def load(self, split, rng) -> Samples:
        digits = Digits().load(split, rng)
        index = torch.randint(len(digits), (200, 3), generator=stream(1, split))
        return Samples(digits.x[index, 0], digits.y[index] @ torch.tensor([100, 10, 1]))

    def channel(self) -> Dataset:
        return Digits()


def test_each_channel_goes_through_the_classifier_of_its_own_dataset():
    data = StackedDigits().load("test", stream(0, "data"))
    extractor = PerChannel(extractor=Classifier(features=8, epochs=3))
    features = extractor.load(StackedDigits(), torch.device("cpu"))
    bank = Bank(data, features)
    assert bank.rows.shape == (200, 24)
    read = bank.logits.reshape(200, 3, 10).argmax(2) @ torch.tensor([100, 10, 1])
    assert (read == data.y).double().mean() > 0.5
    found = StackedModes(extractor=extractor).measured(bank, bank, stream(0, "eval"))
    assert found["stacked_modes"] == len(read.unique())
    assert len(features.digest) == 16
    with pytest.raises(ConfigError, match="those of digits are none"):
        extractor.load(Digits(), torch.device("cpu"))
    assert "digits" in StackedModes().mismatch(SimpleNamespace(dataset=Digits()))
    assert StackedModes().mismatch(SimpleNamespace(dataset=StackedDigits())) is None

"""Every component that comes with ganbench keeps the contract of its role, and the catalogue is as long as it says."""

from __future__ import annotations

import typing

import pytest

from ganbench.component import Component
from ganbench.registry import Registry
from ganbench.testing import check, check_extractor
from ganbench_zoo.datasets import Digits
from ganbench_zoo.extractors import Classifier
from ganbench_zoo.losses_divergence import FGAN, Divergence
from ganbench_zoo.penalties_weight import Orthogonal
from ganbench_zoo.regularizers import SpectralNorm

REGISTRY = Registry.load()
FROM_FILES = {"mnist", "fashion-mnist", "stacked-mnist", "cifar10", "cifar100", "folder", "npz"}
"""Datasets that need files: test_datasets_files.py checks them on small ones."""
WIDE = {"resnet-sngan", "sndcgan"}
"""Networks that take seconds at their published width."""
COMPONENTS = [cls for _, _, cls in REGISTRY.components() if REGISTRY.origin(cls).where.partition(" ")[0] == "ganbench"]
VARIANTS: dict[str, list[Component]] = {
    "f-gan": [
        FGAN(divergence=divergence, alternative=alternative)
        for divergence in typing.get_args(Divergence)
        for alternative in (False, True)
    ],
    "spectral-norm": [SpectralNorm(), SpectralNorm(bounded=True), SpectralNorm(bidirectional=True, scale=2.0)],
    "orthogonal": [Orthogonal(), Orthogonal(variant="brock")],
}
"""What a component counts for, whose fields make techniques that were published apart."""


def identify(cls: type[Component]) -> str:
    return f"{cls.role}-{cls.name}"


@pytest.mark.parametrize("cls", [cls for cls in COMPONENTS if cls.name not in FROM_FILES], ids=identify)
def test_a_component_keeps_the_contract_of_its_role(cls: type[Component]) -> None:
    findings = check(cls(width=16) if cls.name in WIDE else cls)
    assert findings
    assert {f.name: f.message for f in findings if not f.ok} == {}


@pytest.mark.parametrize("component", [pytest.param(c, id=c.label) for variants in VARIANTS.values() for c in variants])
def test_every_published_variant_keeps_it(component: Component) -> None:
    assert {f.name: f.message for f in check(component) if not f.ok} == {}


def test_the_classifier_keeps_it_on_the_data_that_it_learns_from() -> None:
    findings = check_extractor(Classifier(), Digits())
    assert {f.name: f.message for f in findings if not f.ok} == {}


def count(role: str) -> int:
    """The techniques of a role; ``none`` is none."""
    return sum(len(VARIANTS.get(cls.name, [cls])) for cls in COMPONENTS if cls.role == role and cls.name != "none")


def test_the_catalogue_has_thirty_losses_and_thirty_five_regularizers() -> None:
    assert count("loss") >= 30
    assert count("regularizer") >= 35

"""Whether a component keeps the contract of its role: each check is a sentence that holds or does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganbench.component import Component
from ganbench.conformance.data import check_dataset, check_extractor, check_metric
from ganbench.conformance.findings import Finding, identity, run
from ganbench.conformance.networks import check_discriminator, check_generator
from ganbench.conformance.training import check_loss, check_optimizer, check_regularizer, check_update
from ganbench.dataset import Dataset
from ganbench.errors import GanbenchError
from ganbench.loss import Loss
from ganbench.metric import Extractor, Metric
from ganbench.networks import Discriminator, Generator
from ganbench.optimizer import Optimizer
from ganbench.regularizer import Regularizer
from ganbench.update import Update


def check(component: Component | type[Component]) -> list[Finding]:
    """Every check of the component's role; a class is tried with its defaults."""
    if isinstance(component, type):
        try:
            component = component()
        except (GanbenchError, TypeError) as error:
            return [Finding("has a default for every field", ok=False, message=str(error))]
    for role, function in _BY_ROLE.items():
        if isinstance(component, role):
            return function(component)
    return run(identity(component))


__all__ = [
    "Finding",
    "check",
    "check_dataset",
    "check_discriminator",
    "check_extractor",
    "check_generator",
    "check_loss",
    "check_metric",
    "check_optimizer",
    "check_regularizer",
    "check_update",
]

_BY_ROLE: dict[type[Component], Callable[[Any], list[Finding]]] = {
    Loss: check_loss,
    Regularizer: check_regularizer,
    Optimizer: check_optimizer,
    Update: check_update,
    Generator: check_generator,
    Discriminator: check_discriminator,
    Dataset: check_dataset,
    Metric: check_metric,
    Extractor: check_extractor,
}

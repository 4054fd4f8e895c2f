"""For plugin authors: a regularizer outside training, and the checks that a component keeps its contract.

``d_penalty`` and ``g_penalty`` evaluate a formula so that a test can hold it against a closed form;
``spectral_radius`` says whether a technique lets the two-parameter Dirac-GAN converge;
``check(component)`` runs every check of its role, as ``ganbench check`` does. A plugin's test is one line:
``assert all(finding.ok for finding in check(MyRegularizer))``.
"""

from ganbench.conformance import (
    Finding,
    check,
    check_dataset,
    check_discriminator,
    check_extractor,
    check_generator,
    check_loss,
    check_metric,
    check_optimizer,
    check_regularizer,
    check_update,
)
from ganbench.dirac import spectral_radius, verdict
from ganbench.isolation import d_penalty, g_penalty

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
    "d_penalty",
    "g_penalty",
    "spectral_radius",
    "verdict",
]

"""A regularizer that uses every hook point and notes where it was called."""

from typing import ClassVar

from ganbench import DStep, Regularizer, hookimpl


class AllPoints(Regularizer, name="all-points"):
    """0, through every hook point."""

    seen: ClassVar[dict] = {}

    def _note(self, hook, where):
        type(self).seen.setdefault(hook, set()).add(where)

    @staticmethod
    def _player(params):
        # the test's generator has 4 latents, its discriminator 2 inputs
        return "g" if next(p for p in params.values() if p.dim() == 2).shape[1] == 4 else "d"

    def init(self, params):
        self._note("init", self._player(params))
        return {"n": next(iter(params.values())).new_zeros(())}

    def noise(self, batch, rng):
        self._note("noise", batch.player)
        return {"n": batch.per_sample(rng)}

    def prepare(self, params, state):
        self._note("prepare", self._player(params))
        return {"n": state["n"] + 1}

    def reparameterize(self, params, state):
        self._note("reparameterize", self._player(params))
        return {k: p + 0 * state["n"] for k, p in params.items()}

    def mix(self, real, fake, noise, state):
        self._note("mix", "d")
        return real + 0 * noise["n"], fake

    def augment(self, x, side, noise, state):
        self._note("augment", side)
        return x + 0 * noise["n"]

    def score(self, inner, x, noise, state):
        scores, gradient = inner.with_grad(x)
        self._note("score", "both" if gradient.shape == x.shape else "neither")
        return scores + 0 * gradient.sum() + 0 * state["n"]

    def observe(self, at, state):
        self._note("observe", "d" if isinstance(at, DStep) else "g")
        return {"n": state["n"] + 1}

    def d_penalty(self, at):
        self._note("d_penalty", "d")
        return 0 * at.score_grad(at.fake).sum() + 0 * at.score(at.real).sum() + 0 * at.generate(at.latents).sum()

    def g_penalty(self, at):
        self._note("g_penalty", "g")
        return 0 * at.generate(at.latents).sum() + 0 * at.score(at.fake).sum() + 0 * at.score_grad(at.fake).sum()

    def weight_penalty(self, params, state):
        self._note("weight_penalty", self._player(params))
        return 0 * state["n"] * sum(p.sum() for p in params.values())

    def transform_grads(self, grads, params, state):
        self._note("transform_grads", self._player(params))
        return grads

    def project(self, params, state):
        self._note("project", self._player(params))
        return params


@hookimpl
def ganbench_components():
    return [AllPoints]

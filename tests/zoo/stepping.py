"""Training with a stack of regularizers on two small smooth networks, for one seed or for several stacked ones."""

import torch
from torch import nn

from ganbench import Samples, stream
from ganbench.derivatives import Autograd
from ganbench.feed import Feed
from ganbench.forms import Form
from ganbench.initial import initial_state
from ganbench.inputs import block
from ganbench.lift import Transforms, over_seeds, stack
from ganbench.networks import Network
from ganbench.step import Game
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.updates import Alternating

BATCH, LATENT = 8, 4
VECTORS, IMAGES = (2,), (3, 8, 8)
CPU = torch.device("cpu")


class Net(nn.Module):
    """A layer, tanh, and a last layer without a bias."""

    def __init__(self, size, out, shape, seed, name):
        super().__init__()
        rng = stream(seed, name)
        self.first, self.last = nn.Linear(size, 6), nn.Linear(6, out, bias=False)
        self.shape = shape
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) / p[0].numel() ** 0.5)

    def forward(self, x, y=None, code=False):  # noqa: FBT002 # modules are called by position
        hidden = torch.tanh(self.first(x.flatten(1)))
        return hidden if code else self.last(hidden).reshape(len(x), *self.shape)


class Training:
    """One seed: the state, the feed, and the game of each step."""

    def __init__(
        self, regularizers, shape=VECTORS, seed=0, dtype=torch.float64, loss=None, generator=None, discriminator=None
    ):
        self.regularizers, self.loss = tuple(regularizers), loss or NonSaturating()
        seen = shape
        for r in self.regularizers:
            _, seen = r.packed(BATCH, seen)
        sizes = [torch.Size(s).numel() for s in (shape, seen)]
        self.g = generator(seed) if generator else Network(Net(LATENT, sizes[0], shape, seed, "init-g").to(dtype))
        self.d = discriminator(seed) if discriminator else Network(Net(sizes[1], 1, (), seed, "init-d").to(dtype))
        self.optimizer = Adam(lr_g=2e-3, lr_d=2e-3, beta1=0.5, beta2=0.9)
        data = torch.randn(64, *shape, generator=stream(seed, "data"), dtype=torch.float64)
        self.feed = Feed(
            Samples(data),
            self.regularizers,
            seed=seed,
            batch=BATCH,
            d_turns=1,
            latent=LATENT,
            shape=shape,
            dtype=dtype,
            device=CPU,
            discriminator=self.d,
        )
        self.state = initial_state(self.g, self.d, self.regularizers, self.optimizer)

    def game(self, step, derivatives=None):
        return Game(
            generator=self.g,
            discriminator=self.d,
            loss=self.loss,
            regularizers=self.regularizers,
            active=tuple(step % r.every == 0 for r in self.regularizers),
            optimizer=self.optimizer,
            ema_decay=0.9,
            derivatives=derivatives or Autograd(),
        )


def train(regularizers, steps, **settings):
    """The state after ``steps`` steps of one seed."""
    one = Training(regularizers, **settings)
    for step in range(steps):
        game = one.game(step)
        one.state = game.finish(Alternating().step(game, one.state, one.feed.turns(game.active)))
    return one.state


def train_stacked(regularizers, steps, seeds, **settings):
    """The state with a leading seed axis after ``steps`` steps of several seeds at once."""
    single = [Training(regularizers, seed=seed, **settings) for seed in range(seeds)]
    state = stack([t.state for t in single])
    for step in range(steps):
        game = single[0].game(step, Transforms())

        def one(state, turns, game=game):
            return game.finish(Alternating().step(game, state, turns))

        turns, (inputs,) = block([t.feed for t in single], game.active, 1, mapped=True)
        with torch.no_grad():
            state = over_seeds(one)(state._replace(logs={}), Form(turns).opened(inputs))
    return state


def parameters(state):
    """The parameters of both networks."""
    return {f"{player}.{n}": p for player in ("g", "d") for n, p in getattr(state, player).params.items()}

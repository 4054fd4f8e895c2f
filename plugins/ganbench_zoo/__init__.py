"""The first-party components: they enter by the same door as everybody else's."""

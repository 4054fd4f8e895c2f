"""Work in processes of their own: one that fails, hangs or loses its device stops no other."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ganbench.timing import now

Task = TypeVar("Task")
Work = Callable[..., None]
"""Called in a process with a connection and the arguments it was started with."""


class Failed(Exception):  # noqa: N818 # it is what a process says, and named so
    """What a process that could not do its work said last."""


class Child(Generic[Task]):
    """One process, started; ``task`` is what it is for."""

    def __init__(self, task: Task, work: Work, *args: object) -> None:
        context = multiprocessing.get_context("spawn")  # a process with a device must not be forked
        self.task, self.begun = task, now()
        self.line, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there, work, args))
        self.process.start()
        there.close()

    def said(self) -> Any:
        """What it says next.

        Raises:
            Failed: it could not go on, or ended.
        """
        try:
            failed, said = self.line.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise Failed(f"its process ended with code {self.process.exitcode}") from None
        if failed:
            raise Failed(said)
        return said

    def tell(self, what: Any) -> None:
        with contextlib.suppress(OSError):  # what a dead process would have said is what counts
            self.line.send(what)

    def end(self, patience: float = 0.0) -> None:
        """See it end, by force after ``patience`` seconds."""
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.line.close()


def _work(line: Connection, work: Work, args: Sequence[Any]) -> None:
    def say(what: Any) -> None:
        line.send((False, what))

    try:
        work(say, line.recv, *args)
    except Exception as error:  # noqa: BLE001 # whatever it is, it is said
        line.send((True, f"{type(error).__name__}: {error}".splitlines()[0]))


def answers(children: Sequence[Child[Task]], until: float) -> Iterator[tuple[Child[Task], Any]]:
    """What each of ``children`` says next, or the :class:`Failed` of it, as they come before ``until``."""
    waiting = {child.line: child for child in children}
    while waiting:
        ready = wait(list(waiting), timeout=max(0.0, until - now()))
        if not ready:
            return
        for line in ready:
            assert isinstance(line, Connection)
            child = waiting.pop(line)
            try:
                yield child, child.said()
            except Failed as failed:
                yield child, failed


def each(
    tasks: Sequence[Task],
    work: Work,
    *args: object,
    jobs: int,
    until: float,
    room: float,
    size: Callable[[Task], float],
) -> Iterator[tuple[Task, float, Any]]:
    """Do ``tasks`` by ``work(say, hear, task, *args)``, ``jobs`` at a time; yield each with its seconds and answer.

    They begin in order, while the sum of ``size`` of those under way stays within ``room``. What is not done by
    ``until`` is killed, and yields :class:`Failed`, too.
    """
    left, running = list(tasks), list[Child[Task]]()
    try:
        while (left or running) and now() < until:
            while (
                left
                and len(running) < jobs
                and (not running or sum(map(size, (c.task for c in running))) + size(left[0]) <= room)
            ):
                task = left.pop(0)
                running.append(Child(task, work, task, *args))
            ready = wait([c.line for c in running], timeout=max(0.0, until - now()))
            for child in [c for c in running if c.line in ready]:
                running.remove(child)
                answer: Any
                try:
                    answer = child.said()
                except Failed as failed:
                    answer = failed
                child.end(5.0)
                yield child.task, now() - child.begun, answer
    finally:
        stopped = [(child.task, now() - child.begun) for child in running]
        for child in running:
            child.end()
    yield from ((task, seconds, Failed("the time was up")) for task, seconds in stopped)
    yield from ((task, 0.0, Failed("there was no time")) for task in left)

"""What a factor did, in a sentence that says no more than is known."""

from __future__ import annotations

from collections.abc import Sequence

from ganbench.compare import Comparison
from ganbench.effects import least_n
from ganbench.stats import Estimate
from ganbench.text import plural
from ganbench.verdicts import Effect

LISTED = 6
"""Levels that a headline names of each kind; the sentences below it have them all."""


def sentence(effect: Effect) -> str:
    """``lowers fd by 12 % [3, 20] against none, averaged over 3 losses; better in 2 of 3 blocks; ...``."""
    said = [_changed(effect) + (f", averaged over {effect.averaged}" if effect.averaged else "")]
    found = effect.found
    if found.cells > 1:
        said.append(f"better in {found.better} of {found.cells} blocks")
    if found.failed or found.failed_baseline:
        told = f"{plural(found.failed, 'trial')} of it failed, {found.failed_baseline} of {effect.baseline}"
        if effect.change is not None and not found.used:
            told += ", so the mean is over the trials that both completed"
        elif 0 < len(found.used) < found.cells:
            told += f", so the mean is over {len(found.used)} of {found.cells} blocks"
        said.append(told)
    if effect.cost:
        unsure = " (timed beside other work)" if effect.unsure else ""
        said.append(f"a step takes {_times(effect.cost)} as long{unsure}")
    if effect.change is not None:
        said += _tests(effect.comparison, effect.change.n)
    return "; ".join(said) + "."


def headline(effects: Sequence[Effect]) -> str:
    """One sentence for a factor in one measure: which levels are clearly better than the baseline, which worse."""
    first = effects[0]
    groups: dict[str, list[str]] = {
        name: [] for name in ("better", "worse", "the same within noise", "no clear change", "not completed")
    }
    for e in effects:
        groups[_group(e)].append(e.level)
    told = "; ".join(f"{which}: {_listed(levels)}" for which, levels in groups.items() if levels)
    return f"Against {first.baseline}, in {first.measure}, by 95 % intervals that no correction widens: {told}."


def _group(effect: Effect) -> str:
    if effect.change is None:
        return "not completed"
    if effect.same:
        return "the same within noise"
    if not effect.clear:
        return "no clear change"
    return "better" if effect.improves else "worse"


def _listed(levels: Sequence[str]) -> str:
    shown = ", ".join(levels[:LISTED])
    return shown + (f" and {len(levels) - LISTED} more" if len(levels) > LISTED else "")


def interaction(comparison: Comparison) -> str:
    """``with loss hinge its effect on fd is 75 % [4, 195] more than elsewhere``."""
    where = ", ".join(f"{role} {level}" for role, level in comparison.split.items())
    others = comparison.others
    assert others is not None  # asked only of an interaction
    size = _size(others, relative=comparison.found.effect.scale == "ratio")
    more = "more" if others.mean > 0 else "less"
    return f"with {where} its effect on {comparison.measure} is {size} {more} than elsewhere."


def _tests(comparison: Comparison, n: int) -> list[str]:
    """Both tests, or how many seeds they would take."""
    tests = max(1, comparison.tests)
    if comparison.p is not None:
        about = f"paired t over {n} seeds" + (f", Holm over {tests} tests" if tests > 1 else "")
        flip = "" if comparison.flip is None else f"; p {_p(comparison.flip)} by sign flips"
        return [f"p {_p(comparison.p)} ({about}){flip}"]
    if n >= least_n(tests):
        return []
    of = f" for {tests} tests" if tests > 1 else ""
    return [f"{'1 seed is' if n == 1 else f'{n} seeds are'} too few to test (need {least_n(tests)}{of})"]


def _changed(effect: Effect) -> str:
    against = f"against {effect.baseline}"
    change = effect.change
    if change is None:
        return f"cannot be compared in {effect.measure} {against}: no seed of any block was completed by both"
    if change.mean == 0 and not change.half:
        return f"leaves {effect.measure} as it is {against}"
    if change.mean == 0:
        return f"shows no clear change: on average {effect.measure} is as it is {against}, ±{short(change.half or 0)}"
    up = change.mean > 0
    which = "better" if effect.improves else "worse"
    size = _size(change, relative=effect.relative)
    margin = effect.comparison.margin
    if effect.same and margin is not None:
        more = "higher" if up else "lower"
        return (
            f"leaves {effect.measure} the same within what real samples differ by, ±{short(margin)} "
            f"(two one-sided tests), {against}: it is {size} {more}"
        )
    if change.low is not None and change.high is not None and change.high - change.low <= 1e-9 * abs(change.mean):
        alone = f"; the same in each of {change.n} seeds"
    elif change.low is not None and not effect.clear:
        more = "higher" if up else "lower"
        return f"shows no clear change: {effect.measure} is {size} {more} ({which}) {against}"
    else:
        alone = "; one seed gives no interval" if change.low is None else ""
    return f"{'raises' if up else 'lowers'} {effect.measure} by {size} {against} ({which}{alone})"


def _size(change: Estimate, *, relative: bool) -> str:
    """``12 % [3, 20]``: the size of a change in its direction, with its interval."""
    sign = 1.0 if change.mean > 0 else -1.0
    text = short(sign * change.mean) + ("\N{NO-BREAK SPACE}%" if relative else "")
    if change.low is None or change.high is None:
        return text
    low, high = sorted((sign * change.low, sign * change.high))
    return f"{text} [{short(low)}, {short(high)}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _times(ratio: Estimate) -> str:
    text = f"{ratio.mean:.2f} times"
    return text if ratio.low is None else f"{text} [{ratio.low:.2f}, {ratio.high:.2f}]"


def short(x: float) -> str:
    """A number for prose: about two significant digits, a true minus sign, thousands apart."""
    size = abs(x)
    text = (
        f"{size:.1e}"
        if size >= 1e7
        else f"{size:,.0f}"
        if size >= 10
        else f"{size:.1f}"
        if size >= 1
        else f"{size:.2g}"
    )
    return f"\N{MINUS SIGN}{text}" if x < 0 and float(text.replace(",", "")) else text

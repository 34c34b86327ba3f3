"""The paragraphs under the price table: sentences that fit every outcome, ties and empty tables included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from reckoner.finops.compare import ALPHA, Difference, Loss, accuracy_difference, cpqu_ratio, losses
from reckoner.finops.cost import NOT_READY, READY_ACCURACY
from reckoner.finops.table import Advice, CostTable, Row, advise
from reckoner.report.tables import Table, number


def best_cpqu(table: CostTable) -> str:
    """Who has the lowest CpQU, whether that is the INT8 version, and whether the runner-up can be told from it."""
    if not table.ready:
        return (
            f"No version is deployment-ready: every accuracy is below {READY_ACCURACY:.2f}, where a CpQU would be a "
            "large number made by a small denominator. None is given."
        )
    best, *others = table.ready
    said = [f"{name_of(best)} has the lowest CpQU: {cpqu_of(table, best)}."]
    said += [_int8_verdict(table, best)]
    said += [_against_runner_up(best, others[0]) if others else "No other version has a CpQU to compare it with."]
    out = [name_of(row) for row in table.rows if row.cpqu is None]
    if out:
        verb = "is" if len(out) == 1 else "are"
        said += [f"{listed(out)} {verb} {NOT_READY} (accuracy below {READY_ACCURACY:.2f}): no CpQU is given."]
    return " ".join(part for part in said if part)


def best_accuracy(table: CostTable) -> str:
    """Who answers best, at what CpQU, and whether the lead is more than chance."""
    top = table.by_accuracy[0]
    best = [row for row in table.by_accuracy if row.accuracy.value == top.accuracy.value]
    rest = table.by_accuracy[len(best) :]
    graded = top.model.report.accuracy
    share = f"{graded.accuracy:.3f} ({graded.correct} of {graded.n})"
    if len(table.rows) == 1:
        return f"{name_of(top)} is the only version; its conjugation accuracy is {share}."
    verb = "has" if len(best) == 1 else "share"
    said = [f"{listed(name_of(row) for row in best)} {verb} the highest conjugation accuracy: {share}."]
    said += [_lora_verdict(table, best)]
    cheap = table.ready[0] if table.ready else None
    if len(best) == 1 and cheap is not None and cheap is not top and cheap.cpqu and top.cpqu:
        said += [f"Its CpQU is {cpqu_of(table, top)}, {top.cpqu / cheap.cpqu:.2f} times that of {name_of(cheap)}."]
    if rest:
        difference = accuracy_difference(top.model, rest[0].model)
        said += [f"The lead over {name_of(rest[0])} is {_points(difference)}: {_verdict(difference)}."]
    return " ".join(part for part in said if part)


def caveat(table: CostTable) -> tuple[str, Table | None]:
    """Every bucket in which the most accurate version is not the best: a paragraph, and a table where there are any."""
    best, *rest = table.by_accuracy
    if not rest:
        return f"{name_of(best)} is the only version: there is none to lose to.", None
    found, looked = losses(best.model, [row.model for row in rest])
    first = "the most accurate version"
    if rest[0].accuracy.value == best.accuracy.value:
        first = "of the most accurate versions the cheapest"
    said = [
        f"{name_of(best)}, {first}, was compared with the best of the others in {looked} buckets (by language, tense, "
        "person, regularity and verb)."
    ]
    if not found:
        return f"{said[0]} It loses in none of them.", None
    kinds = [
        f"{kind}: {listed(_bucket(loss) for loss in found if loss.dimension == kind)}"
        for kind in dict.fromkeys(loss.dimension for loss in found)
    ]
    said += [f"It loses in {'one' if len(found) == 1 else len(found)} of them. By {'; by '.join(kinds)}."]
    clear = sum(loss.difference.distinguishable for loss in found)
    if clear:
        which = "This loss is" if len(found) == 1 else f"{clear} of these losses {'is' if clear == 1 else 'are'}"
        said += [
            f"{which} distinguishable, taken alone. Among {looked} comparisons chance alone would make about "
            f"{number(ALPHA * looked, 2)} look so: read a single one as a reason to look closer."
        ]
    else:
        said += ["None of these losses is distinguishable." if len(found) > 1 else "This loss is not distinguishable."]
    return " ".join(said), loss_table(found)


def loss_table(found: Sequence[Loss]) -> Table:
    """The buckets that the most accurate version loses, with the better version and the difference."""
    return Table(
        headers=("By", "Bucket", "Items", "Accuracy", "Better version", "Its accuracy", "Difference [95%]", "Verdict"),
        rows=tuple(
            (
                loss.dimension,
                loss.bucket,
                loss.difference.n,
                f"{loss.winner_accuracy:.3f}",
                loss.other.semver,
                f"{loss.other_accuracy:.3f}",
                f"{loss.difference.value:+.3f} [{loss.difference.low:+.3f}, {loss.difference.high:+.3f}]",
                _told(loss.difference.distinguishable),
            )
            for loss in found
        ),
    )


def recommendation(table: CostTable) -> str:
    """Which version to serve by default, which as the premium tier, and from which price of an error."""
    advice = advise(table)
    default = advice.default
    if default is None:
        return "Serve none of them: no version is deployment-ready."
    if len(table.ready) == 1:
        said = [f"Serve {name_of(default)}: it is the only version that is deployment-ready."]
        return " ".join([*said, "There is no other to make a premium tier of."])
    said = [f"On a small CPU instance serve {name_of(default)} by default: it has the lowest CpQU."]
    said += [_choice_of_default(table), _premium(advice, default)]
    cheapest = advice.cheapest_with_errors
    price = f"Where wrong answers go undetected and each costs ${number(table.inputs.usd_per_error)}"
    if cheapest is default:
        said += [f"{price}, the default is also the cheapest per answer."]
    elif cheapest is not None and accuracy_difference(cheapest.model, default.model).distinguishable:
        said += [
            f"{price}, {name_of(cheapest)} is the cheapest per answer and the better default: compute is then the "
            "smaller part of the price."
        ]
    elif cheapest is not None:
        said += [
            f"{price}, {name_of(cheapest)} comes out cheapest per answer, but only by that lead, which these items "
            "cannot confirm."
        ]
    return " ".join(part for part in said if part)


def limits(table: CostTable) -> str:
    """What holds for the measured machine only, and what is left out."""
    said = [
        "Prices are for hardware that is busy all the time; divide by the utilisation otherwise.",
        "Latency is not in CpQU; it is measured apart.",
    ]
    if len(table.rows) > 1:
        said += [
            "Another hourly rate scales every row alike and leaves the ranking as it is. Other hardware does not: how "
            "fast INT8 is against FP32, or an adapter against its base, differs from machine to machine, so the "
            "ranking holds for the hardware that was measured."
        ]
    return " ".join(said)


def _choice_of_default(table: CostTable) -> str:
    """Say so where the default is not clearly cheaper per unit of quality than the next."""
    default, runner = table.ready[:2]
    times = cpqu_ratio(runner.model, default.model)
    if times is None or times.low > 1:
        return ""
    return f"Its lead over {name_of(runner)} is not distinguishable, so that one would do as well."


def _premium(advice: Advice, default: Row) -> str:
    if advice.premium is not None:
        said = (
            f"Offer {name_of(advice.premium)} as the premium tier: its accuracy, {advice.premium.accuracy.value:.3f} "
            f"against {default.accuracy.value:.3f}, is distinguishably higher."
        )
        if advice.break_even_usd_per_error is not None:
            price = number(1e6 * advice.break_even_usd_per_error, 3)
            said += f" It is the cheaper one in all once a million undetected wrong answers cost more than ${price}."
        return said
    if advice.contender is not None:
        difference = accuracy_difference(advice.contender.model, default.model)
        return (
            f"The candidate for a premium tier is {name_of(advice.contender)}, but its lead in accuracy, "
            f"{_points(difference)}, is not distinguishable: grade more items before charging for it."
        )
    return "None is more accurate, so the premium tier needs no other."


def _against_runner_up(best: Row, runner: Row) -> str:
    times = cpqu_ratio(runner.model, best.model)
    if best.cpqu == runner.cpqu:
        said = f"{name_of(runner)} has the same CpQU."
    elif times is None:
        said = (
            f"The runner-up is {name_of(runner)}; whether the two CpQU differ cannot be told, for the throughput has "
            "too few repeats for an interval."
        )
    else:
        span = f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}]"
        told = _told(not times.low <= 1 <= times.high)
        said = f"The runner-up, {name_of(runner)}, costs {span} times as much per unit of quality: {told}."
    difference = accuracy_difference(best.model, runner.model)
    if difference.value == 0:
        return f"{said} Their accuracies are equal on this set."
    side = "higher" if difference.value > 0 else "lower"
    return (
        f"{said} The accuracy of the best is {_points(difference)} {side} than the runner-up's: {_verdict(difference)}."
    )


def _int8_verdict(table: CostTable, best: Row) -> str:
    quantised = [row for row in table.rows if "int8" in row.model.notes.lower()]
    if not quantised:
        return ""
    if best in quantised:
        return "It is the INT8 version, as usual."
    return f"It is not the INT8 version, {listed(name_of(row) for row in quantised)}, which usually has it."


def _lora_verdict(table: CostTable, best: Sequence[Row]) -> str:
    adapted = [row for row in table.rows if "lora" in row.model.notes.lower()]
    if not adapted:
        return ""
    among = "It is" if len(best) == 1 else "Among them is"
    if any(row in adapted for row in best):
        return f"{among} the LoRA version, which was trained for it."
    none = "It is not" if len(best) == 1 else "Among them is not"
    return f"{none} the LoRA version, {listed(name_of(row) for row in adapted)}, which was trained for it."


def _verdict(difference: Difference) -> str:
    """Whether a difference can be told from chance, by the exact McNemar test, and how many items would tell."""
    told = _told(difference.distinguishable)
    where = f"{told} on these {difference.n} items (exact McNemar p {_p(difference.p_value)})"
    if difference.distinguishable or difference.items_per_arm is None:
        return where
    return f"{where}; to tell such accuracies apart would need about {_about(difference.items_per_arm)} items for each"


def _told(distinguishable: bool) -> str:
    return "distinguishable" if distinguishable else "not distinguishable"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _about(count: int) -> str:
    """A sample size to three digits: more would be pretence."""
    return f"{int(float(f'{count:.3g}')):,}"


def _points(difference: Difference) -> str:
    """A difference without its sign, in percentage points: the sentence says who leads."""
    sign = -1 if difference.value < 0 else 1
    low, high = sorted((100 * sign * difference.low, 100 * sign * difference.high))
    return f"{100 * abs(difference.value):.1f} percentage points [{low:.1f}, {high:.1f}]"


def _bucket(loss: Loss) -> str:
    return (
        f"`{loss.bucket}` (n = {loss.difference.n}, {loss.winner_accuracy:.3f} against {loss.other_accuracy:.3f} of "
        f"{loss.other.semver}, {_told(loss.difference.distinguishable)})"
    )


def name_of(row: Row) -> str:
    """How sentences call a version."""
    return row.model.label


def cpqu_of(table: CostTable, row: Row) -> str:
    """A CpQU with as many decimals as its column."""
    return NOT_READY if row.cpqu is None else f"{row.cpqu:.{price_decimals(table)}f}"


def price_decimals(table: CostTable) -> int:
    """Decimals that leave the smallest price three significant digits: a column is read by its magnitudes."""
    prices = [row.usd_per_1k_tokens for row in table.rows] + [row.cpqu for row in table.rows if row.cpqu is not None]
    return max(2 - math.floor(math.log10(min(prices))), 0)


def listed(parts: Iterable[str]) -> str:
    """Join parts as a sentence does.

    >>> listed(["a"]), listed(["a", "b"]), listed("abc")
    ('a', 'a and b', 'a, b and c')
    """
    every = list(parts)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}"

"""Prices: the forms that a module or a shared object can have, each with its bytes and what a start pays for it. Pure.

The milliseconds are those of one kind of processor, measured once (``docs/fit.md`` says how, and how far predictions
were off). What matters to the choice is how they compare with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimpack.elf.pack import block_size_of
from slimpack.fit import Form, FormName
from slimpack.modules.archive import READ, UNREAD, Tier, expected, stub
from slimpack.warm import met

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from slimpack.model import PackedFile
    from slimpack.modules.archive import Module
    from slimpack.warm import Degree

TIERS: dict[FormName, Tier] = {"raw": Tier.RAW, "hot": Tier.HOT, "cold": Tier.COLD}
"""The packed forms of modules."""

LIBRARY_FORMS: tuple[FormName, ...] = ("warm", "packed", "dense")
"""Those of shared objects; the last is wanted by nobody without need."""

_COMPILING = 130e-6
"""Milliseconds to compile a byte of source."""

_COMPILING_ANY = 0.03
"""Milliseconds to compile a module with nothing in it."""

_OPENING = 0.040
"""Milliseconds to find and read a file, of bytecode or of source."""

_FINDING = _OPENING
"""Milliseconds to find a module in the archive. It was 0.010 where that was measured, while loader and index of the
archive take 8 once. Neither counts, so that nothing looks quicker for being packed: that is for want of room only."""

_INFLATING = 3.5e-6
"""Milliseconds for a byte of code that is packed quickly."""

_EXPANDING = 30e-6
"""The same of code that is packed well, with what lies in its block beside it; half of it in the order of a profile."""

_LOADING = 1.4e-6
"""Milliseconds for a byte of a shared object that the pager puts in place when it is loaded: data, in large pieces."""

_DECODING = 2.4e-6
"""The same for what it puts in place when it is touched: code, block by block."""

_MAPPING = 0.016
"""Milliseconds for a run of code that stays raw in a packed shared object: a loader maps it, and the hole behind it."""

_BINDING = 0.56e-3
"""Milliseconds that a loader saves for an export that is pruned."""

_ATTACHING = 0.15
"""Milliseconds for a packed shared object, whatever its size: the pager has to get to know it."""

_AT_ONCE = 0.15
"""Share of a packed shared object that is put in place when it is loaded."""

_TOUCHED = 0.25
"""Share that a start puts in place later, block by block, where nobody has looked."""

DENSE = 0x100000
"""Bytes of a block of code where that has to be small before all: a tenth less of the file, at a price."""

_DENSER = 0.9
"""What a shared object is expected to have in such blocks, of what it has in smaller ones."""

_ALONE = 0.8
"""Share of the blocks with code that loaders run in which a start touches nothing else."""

_RAW = 0.75
"""Bytes that a byte of code takes more if it stays raw."""

_TOUCHED_DENSE = 0.45
"""Share of a shared object that a start puts in place later, in such blocks."""

_CHANGED: dict[FormName, float] = {"plain": 0.0, "compiled": 1e-8, "raw": 1e-7, "hot": 1e-7, "cold": 1e-7}
"""Milliseconds that are added so that of two forms that cost a start the same the one is taken that changes less. They
are less than any difference that counts, and those of a whole bundle less than what is shown."""

_CHANGED_LIBRARY = 1e-7
"""The same for any packed form of a shared object."""

_INDEX = 40
"""Bytes that a packed module takes besides its parts: its entry and its path, packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What is known of the code of a shared object that a start touches."""

    pages: tuple[int, ...] = ()
    """Addresses of pages of it, ascending."""
    seen: bool = False
    """Whether runs have shown all of it; otherwise this is what the file tells."""
    degrees: tuple[Degree, ...] = ()
    """How much of it could stay raw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """How small the code and the sources of a bundle's modules become, as shares of what they were."""

    code: Mapping[Tier, float]
    """Of code."""
    source: Mapping[bool, float]
    """Of sources: whether a start reads them."""


def ratios(modules: Sequence[Module]) -> Ratios:
    """Returns how small modules are expected to become, judged by some of them."""
    code, sources = [one.code for one in modules], [one.source for one in modules]
    return Ratios(
        code={tier: expected(tier.value, code) for tier in Tier},
        source={True: expected(READ, sources), False: expected(UNREAD, sources)},
    )


def module(
    *,
    source: int,
    code: int | None,
    packable: Module | None,
    share: float,
    ratios: Ratios | None,
    allowed: Collection[FormName],
) -> tuple[Form, ...]:
    """Returns the forms that a module can have.

    Args:
        source: Bytes of its source.
        code: Bytes of its ``.pyc``; None if it has none.
        packable: What would go into the archive; None if it cannot be packed.
        share: Share of starts that import it.
        ratios: How small modules become; None if none is packed.
        allowed: The forms that are wanted; if it can have none of them it stays as it is, compiled if that is possible.
    """
    forms: list[Form] = []

    def offer(name: FormName, size: int, cost: float) -> None:
        forms.append(Form(name=name, size=size, cost=share * cost + _CHANGED[name]))

    offer("plain", source, _OPENING + _COMPILING_ANY + source * _COMPILING)
    if code is not None:
        offer("compiled", source + code, _OPENING)
        if packable is not None and ratios is not None:
            kept = len(stub(packable)) + _INDEX + round(ratios.source[packable.read] * source)
            length = len(packable.code)
            unpacking: dict[FormName, float] = {"raw": 0.0, "hot": _INFLATING, "cold": _EXPANDING}
            for name, tier in TIERS.items():
                offer(name, kept + round(ratios.code[tier] * length), _FINDING + length * unpacking[name])
    wanted = tuple(one for one in forms if one.name in allowed)
    return wanted or (forms[1] if "compiled" in allowed and code is not None else forms[0],)


def as_it_is(size: int) -> tuple[Form, ...]:
    """Returns the one form of what nothing may be done to."""
    return (Form(name="plain", size=size, cost=0.0),)


def library(
    *,
    size: int,
    estimate: int,
    results: Mapping[tuple[FormName, int], tuple[int, PackedFile | None]],
    share: float,
    touched: Touched,
    allowed: Collection[FormName],
) -> tuple[Form, ...]:
    """Returns the forms that a shared object can have.

    Args:
        size: Bytes of it as it came.
        estimate: Bytes that it is expected to have once it is packed.
        results: Bytes of it in the forms and degrees that were tried, and what was done; None if it stayed as it was.
        share: Share of starts that load it.
        touched: What is known of the code that starts touch.
        allowed: The forms that are wanted.
    """
    raw: dict[tuple[FormName, int], int] = {
        ("warm", number): degree.raw for number, degree in enumerate(touched.degrees)
    }
    known = [one for one, (_, facts) in results.items() if facts is not None and one[0] != "dense"]
    if known:
        estimate = round(results[known[0]][0] - _RAW * raw.get(known[0], 0))
    # Each form prunes the same. A form that was not tried would look slow beside one that was.
    symbols = max((facts.symbols for _, facts in results.values() if facts is not None), default=0)
    refused = ("packed", 0) in results and results["packed", 0][1] is None
    # Packing takes long: once a degree was tried, only smaller ones are worth it, and none once one was refused.
    tried = (raw[one] if facts is not None else 0 for one, (_, facts) in results.items() if one[0] == "warm")
    least = min(tried, default=size + 1)
    expected_sizes: dict[tuple[FormName, int], int] = {
        **{one: round(estimate + _RAW * more) for one, more in raw.items() if more < least or one in results},
        ("packed", 0): estimate,
        ("dense", 0): round(estimate * _DENSER),
    }
    forms = [Form(name="plain", size=size, cost=0.0)]
    for (name, degree), expected_size in expected_sizes.items():
        if name == "dense" and refused:
            continue
        real_size, facts = results.get((name, degree), (expected_size, None))
        if (name, degree) in results and facts is None:
            continue  # it was refused, or not worth it
        cost = (
            _ATTACHING
            + _AT_ONCE * size * _LOADING
            + _later(name, degree, size, touched) * _DECODING
            + (len(touched.degrees[degree].runs) * _MAPPING if name == "warm" else 0)
            - symbols * _BINDING
        )
        forms.append(
            Form(
                name=name,
                degree=degree,
                size=min(real_size, size),
                cost=share * max(0.0, cost) + _CHANGED_LIBRARY,
            )
        )
    return tuple(one for one in forms if one.name in allowed) or (forms[0],)


def _later(name: FormName, degree: int, size: int, touched: Touched) -> float:
    """Returns the bytes that a start puts in place block by block."""
    most = (1 - _AT_ONCE) * size
    if name == "dense":
        return min(most, met(touched.pages, DENSE)) if touched.seen else _TOUCHED_DENSE * size
    blocks = min(most, met(touched.pages, block_size_of(size)))
    later = blocks if touched.seen else max(blocks, _TOUCHED * size)
    spared = touched.degrees[degree].spared if name == "warm" else 0
    return max(0.0, later - spared * (1 if touched.seen else _ALONE))

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

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from slimpack.model import PackedFile
    from slimpack.modules.archive import Module

TIERS: dict[FormName, Tier] = {"raw": Tier.RAW, "hot": Tier.HOT, "cold": Tier.COLD}
"""The packed forms of modules."""

_COMPILING = 150e-6
"""Milliseconds to compile a byte of source."""

_COMPILING_ANY = 0.03
"""Milliseconds to compile a module with nothing in it."""

_OPENING = 0.040
"""Milliseconds to find and read a file, of bytecode or of source."""

_FINDING = 0.010
"""Milliseconds to find a module in the archive."""

_INFLATING = 4e-6
"""Milliseconds for a byte of code that is packed quickly."""

_EXPANDING = 30e-6
"""The same of code that is packed well, with what lies in its block beside it."""

_DECODING = 2.4e-6
"""Milliseconds for a byte of a shared object that the pager puts in place."""

_BINDING = 0.56e-3
"""Milliseconds that a loader saves for an export that is pruned."""

_AT_ONCE = 0.25
"""Share of a packed shared object that is put in place when it is loaded."""

_TOUCHED = 0.25
"""Share that a start puts in place later, block by block, where nobody has looked."""

DENSE = 0x100000
"""Bytes of a block of code where that has to be small before all: a tenth less of the file, at a price."""

_DENSER = 0.9
"""What a shared object is expected to have in such blocks, of what it has in smaller ones."""

_TOUCHED_DENSE = 0.45
"""Share of a shared object that a start puts in place later, in such blocks."""

_CHANGED: dict[FormName, float] = {"plain": 0.0, "compiled": 0.0001, "raw": 0.05, "hot": 0.05, "cold": 0.05}
"""Milliseconds that are added so that of two forms that cost a start the same the one is taken that changes less."""

_CHANGED_LIBRARY = 0.5
"""The same for any packed form of a shared object."""

_INDEX = 40
"""Bytes that a packed module takes besides its parts: its entry and its path, packed."""


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
    results: Mapping[FormName, tuple[int, PackedFile | None]],
    share: float,
    touched: Sequence[tuple[int, int]],
    allowed: Collection[FormName],
) -> tuple[Form, ...]:
    """Returns the forms that a shared object can have.

    Args:
        size: Bytes of it as it came.
        estimate: Bytes that it is expected to have once it is packed.
        results: Bytes of it in the forms that were tried, and what was done; None if it stayed as it was.
        share: Share of starts that load it.
        touched: Runs of addresses of code that starts were seen to touch; empty if nobody looked. Without them no form
            leaves such code raw.
        allowed: The forms that are wanted.
    """
    hot = sum(end - start for start, end in touched)
    forms = [Form(name="plain", size=size, cost=0.0)]
    packed, done = results.get("packed", (estimate, None))
    refused = "packed" in results and done is None
    estimates: dict[FormName, int] = {
        "warm": estimate + hot,
        "packed": estimate,
        "dense": round(packed * _DENSER),
    }
    for name, expected_size in estimates.items():
        if (name == "warm" and not touched) or (name == "dense" and refused):
            continue
        real_size, facts = results.get(name, (expected_size, None))
        if name in results and facts is None:
            continue  # it was refused, or not worth it
        symbols = facts.symbols if facts is not None else 0
        cost = (_AT_ONCE * size + _later(name, size, touched)) * _DECODING - symbols * _BINDING
        forms.append(
            Form(name=name, size=min(real_size, size), cost=share * max(0.0, cost) + _CHANGED_LIBRARY)
        )
    return tuple(one for one in forms if one.name in allowed) or (forms[0],)


def _later(name: FormName, size: int, touched: Sequence[tuple[int, int]]) -> float:
    """Returns the bytes that a start puts in place block by block."""
    if name == "warm":
        return 0.0
    if not touched:
        return (_TOUCHED_DENSE if name == "dense" else _TOUCHED) * size
    block = DENSE if name == "dense" else block_size_of(size)
    met = {one for start, end in touched for one in range(start // block, (end - 1) // block + 1)}
    return float(len(met) * block)

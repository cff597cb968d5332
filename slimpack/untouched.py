"""Untouched: what no run of a profile has used, for those who insist on removing it (``--drop-cold``). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimpack.model import APP, Action, Evidence, Examples, Need, Risk, Rule

if TYPE_CHECKING:
    from slimpack.model import Inventory
    from slimpack.profile import Profile

RULE = Rule(
    id="profile/cold",
    distributions=("*",),
    action=Action.REMOVE,
    paths=(),
    whole=False,
    versions="",
    targets=(),
    risk=Risk.OPT_IN,
    breaks="Events that need what no run of the profile has needed: they fail for want of a module or a file, or code "
    "that can do without goes another way.",
    reason="No run of the profile has imported, opened or loaded it, and nothing that is kept imports it at once or "
    "links to it.",
    required_by=(),
    tolerates=(Need.LAZY_IMPORT, Need.MENTION, Need.EXPORT, Need.ENTRY_POINT),
    provided=False,
    optional_libraries=(),
    content=None,
    sections=(),
    probe=None,
    evidence=(Evidence(version="", files=0, bytes=0, shown="The profile is the evidence."),),
    examples=Examples(),
    origin="--drop-cold",
)
"""Stands for all of it in plans and manifests.

The guard keeps what kept code imports at import time all the same, what kept shared objects link to, and, since no run
has seen how far it goes, all that those name. What other code names in functions, in strings, in ``__all__`` or by
entry points goes, be it of the same distribution, of another one, or the app's.
"""


def untouched(inventory: Inventory, profile: Profile, *, prefix: str) -> frozenset[str]:
    """Returns the files that no run has used, by place in the installed tree.

    The app's own are not among them, nor what distributions say of themselves (``.dist-info``).

    Args:
        inventory: Everything that a plain install would bring.
        profile: Of the same handler.
        prefix: Folder of the bundle that the installed tree is in.
    """
    used = {one.file for one in profile.modules}
    used |= {one.path for one in profile.files}
    used |= {one.path for one in profile.libraries}
    return frozenset(
        file.path
        for file in inventory.files
        if file.owner != APP and prefix + file.path not in used and ".dist-info/" not in file.path
    )

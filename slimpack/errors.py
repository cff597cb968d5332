"""The error tree: what went wrong, where, and the fix, each with its exit code."""

from __future__ import annotations


class SlimpackError(Exception):
    """Anything that ends a command without a result.

    A failed gate is a verdict and no exception; see ``slimpack.findings``.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        """One sentence, without a final full stop."""
        self.where = where
        """A file, ``file:line``, an option or a package; None if the whole command is concerned."""
        self.fix = fix
        """What the user can do about it, as an imperative sentence; None if slimpack does not know."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}"


class UsageError(SlimpackError):
    """Options that contradict each other or name what does not exist."""


class ConfigError(SlimpackError):
    """A configuration file that cannot be read as one."""


class RuleError(SlimpackError):
    """A rule file that breaks the laws of rules."""


class RequirementsError(SlimpackError):
    """Requirements that cannot be read."""


class ResolutionError(SlimpackError):
    """Requirements that no set of wheels for the target satisfies."""


class WheelError(SlimpackError):
    """A wheel that is damaged, hostile, or not what the lock says it is."""


class SourceError(SlimpackError):
    """An application folder that cannot become part of a bundle."""


class ManifestError(SlimpackError):
    """A file that is no manifest, or one of a schema that this version does not know."""


class OutputError(SlimpackError):
    """The output cannot be written: no room, no permission, or another build is writing it."""


class BundleError(SlimpackError):
    """A bundle that is no zip or directory, or a zip that is damaged or hostile."""


class RuntimeRoomError(SlimpackError):
    """A bundle cannot be run on this machine: no interpreter of the target's, or one that does not start."""


class ProfileError(SlimpackError):
    """A file that is no profile, or profiles that speak of different runtimes."""


class ForgeError(SlimpackError):
    """GitHub or GitLab refuses, or cannot be reached."""


class BooksError(SlimpackError):
    """The account does not balance: a fault in slimpack, never in its input."""


class Interrupted(SlimpackError):  # noqa: N818 -- the user is no error
    """The user stopped the command."""

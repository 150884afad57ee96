"""Every error a user can cause, as one tree; each message says what is wrong, where, and what to do.

EdgeskinError               exit code 1
├── RecipeError             a recipe, profile or gate file: all its mistakes at once
├── DataError               a data folder: missing column, unreadable image, a case in two splits
├── PhotoError              one photo that cannot be screened; `code` is a stable word for machines
├── RunError                a training run that cannot be read or resumed
├── GraphError              an ONNX file or Graph folder outside what edgeskin reads
│   └── ContractError       a network that breaks the QAT contract; lists rule and node
├── BundleError             a bundle or release that is incomplete or was changed
├── TargetError             a target that cannot do what was asked here
└── MissingDependencyError  an extra that is not installed
"""

from collections.abc import Sequence


class EdgeskinError(Exception):
    """A mistake the user can mend; the command line prints it without a traceback."""


class RecipeError(EdgeskinError):
    """A recipe, profile or gate file with one or more mistakes.

    `problems` holds one sentence per mistake, each naming the key.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


class DataError(EdgeskinError):
    """A data folder that cannot be used as it is."""


class PhotoError(EdgeskinError):
    """A photo that cannot be screened.

    `code` is one of: missing, empty, unreadable, truncated, too-large, too-small, too-elongated, sixteen-bit,
    greyscale, cmyk, transparent, animated.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class RunError(EdgeskinError):
    """A training run that cannot be read, resumed or exported."""


class GraphError(EdgeskinError):
    """An ONNX file or Graph folder outside what edgeskin reads."""


class ContractError(GraphError):
    """A network that breaks the QAT contract; the message lists each broken rule and its node."""


class BundleError(EdgeskinError):
    """A bundle or a release that is incomplete, was changed, or has not passed its gate."""


class TargetError(EdgeskinError):
    """A target that cannot build or run what was asked on this machine."""


class MissingDependencyError(EdgeskinError):
    """An optional dependency that is not installed."""

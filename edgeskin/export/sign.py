"""Signing: a signature is the word of whoever gives it that this very bundle passed its gate."""

from pathlib import Path

from edgeskin.benchmarks.report import Report
from edgeskin.contract import signature
from edgeskin.contract.bundle import MANIFEST
from edgeskin.errors import BundleError
from edgeskin.export import journey


def sign(
    folder: Path,
    private_key: Path,
    *,
    password: str | None = None,
    rules: str | None = None,
    profile: str | None = None,
) -> tuple[str, Report]:
    """Judge a bundle as `journey.judge` does and, if it passed, sign it; the key's hash and the report.

    private_key, password: as `signature.write`.

    Raises: BundleError where the verdict is not passed, the bundle was changed or is signed already; EdgeskinError
    where the key cannot be used; MissingDependencyError. Nothing is written then.
    """
    report = journey.judge(folder, rules=rules, profile=profile, unsigned_too=True)
    verdict = report.verdict
    if verdict.state != "passed":
        trouble = (*verdict.in_state("failed"), *verdict.in_state("pending"))
        raise BundleError(
            f"{folder}: not signed, its gate says {verdict.state}"
            + "".join(f"\n  {promise.state} {promise.name}: {promise.sentence}" for promise in trouble)
        )
    return signature.write(folder / MANIFEST, private_key, password), report

"""Signing: a signature is the word of whoever gives it that this very bundle passed its gate."""

from functools import partial
from pathlib import Path

from edgeskin.benchmarks.report import JSON_NAME, Report
from edgeskin.contract import signature
from edgeskin.contract.bundle import MANIFEST
from edgeskin.errors import BundleError, EdgeskinError
from edgeskin.export import journey
from edgeskin.export.profile import Profile


def sign(
    folder: Path,
    private_key: Path,
    *,
    password: str | None = None,
    rules: str | None = None,
    profile: str | None = None,
) -> tuple[str, Report]:
    """Judge a bundle and, if it passed when it was exported and passes now, sign it; the key's hash and the report.

    private_key, password: as `signature.write`. rules, profile: as of `journey.judge`. It must pass by these and by the
    gate and profile of its report, so they can demand more and never less; a profile that is not here is given anew.

    What other machines attest lies outside the signature and may be removed: it can fail a bundle here, and makes none
    pass.

    Raises: BundleError where a verdict is not passed, the bundle was changed or is signed already; EdgeskinError where
    the gate, the profile or the key cannot be used; MissingDependencyError. Nothing is written then.
    """
    judge = partial(journey.judge, folder, unsigned_too=True)
    report = judge(rules=rules, profile=profile)
    written = Report.read(folder / JSON_NAME)
    own = partial(judge, profile=None if _is_here(written.profile) else profile)
    alone = (written, own(attested_too=False), judge(rules=rules, profile=profile, attested_too=False))
    for judged in (*alone, own(), report):
        verdict = judged.verdict.at(folder)
        if verdict.state != "passed":
            raise BundleError(
                f"{folder}: not signed, the gate {judged.gate} says {verdict.state}"
                + (_UNCOVERED if report.attestations and judged in alone else "")
                + verdict.trouble
            )
    return signature.write(folder / MANIFEST, private_key, password), report


_UNCOVERED = " where nothing counts but what was measured on export: no signature covers an attestation"


def _is_here(profile: str) -> bool:
    try:
        Profile.find(profile)
    except EdgeskinError:
        return False
    return True

"""Symmetry by vote: what people who looked at a lesion said of it, as one word."""

from collections.abc import Mapping, Sequence

from edgeskin.errors import DataError

SYMMETRY = "symmetry"
WORDS = ("symmetric", "asymmetric")
_MEDIANS = ("asym_crowd_median", "asym_student_median")
"""Medians of votes from 0 (symmetric about both axes) over 1 (about one) to 2 (about none); the first known counts."""
_ASYMMETRIC = 2.0


def symmetry_word(median: str) -> str:
    """`symmetric` for 0 or 1, `asymmetric` for 2 and what was typed larger, '' for no vote.

    Raises: DataError for what is no number. Source: papers/se_lcn_symmetry_cascade_2024.txt, section 5.1: symmetry
    about one axis and about two are one class.
    """
    try:
        return WORDS[float(median) >= _ASYMMETRIC] if median else ""
    except ValueError as error:
        raise DataError(
            f"the median vote on asymmetry is {median!r}; write a number from 0 to 2, or nothing"
        ) from error


def voted(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The word of each row, the crowd's before the students'; empty where the table has no votes."""
    columns = [column for column in _MEDIANS if column in rows[0]]
    return (
        [symmetry_word(next((row[column] for column in columns if row[column]), "")) for row in rows] if columns else []
    )

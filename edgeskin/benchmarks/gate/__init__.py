"""The gate: every promise is one number against one limit, and what was not measured has failed.

A gate file (benchmarks/gates/*.toml) says what must hold; the profile says which sections may stay pending until a
device has measured them, and whether accuracy may be inherited from evidence.
"""

from edgeskin.benchmarks.gate.rules import Drops, Gate, Limit, Subgroups
from edgeskin.benchmarks.gate.term import Section
from edgeskin.benchmarks.gate.verdict import Outcome, Promise, State, Verdict, judge

__all__ = [
    "Drops",
    "Gate",
    "Limit",
    "Outcome",
    "Promise",
    "Section",
    "State",
    "Subgroups",
    "Verdict",
    "judge",
]

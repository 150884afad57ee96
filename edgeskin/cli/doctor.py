"""`edgeskin doctor`: what works on this machine, and how to get what does not."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeskin.benchmarks.device import Machine
    from edgeskin.benchmarks.doctor import Examination


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as one JSON object.")] = False,
) -> None:
    """Say what is installed and what can be built here.

    Also what this CPU means for int8, and where data, runs and releases are looked for.
    """
    from edgeskin.benchmarks.doctor import examine

    found = examine()
    if as_json:
        facts = found.machine.facts.model_dump(mode="json")
        value = dataclasses.asdict(found)
        value["machine"]["facts"] = facts
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    for line in [*_software(found), "", *_machine(found.machine), "", *_places(found)]:
        typer.echo(line)


def _software(found: "Examination") -> list[str]:
    lines = [f"edgeskin {found.edgeskin_version}, Python {found.python}", "", "Extras"]
    for extra in found.extras:
        state = "installed" if not extra.missing else f"without {', '.join(extra.missing)}: {extra.install}"
        lines.append(f"  {_tick(not extra.missing)} {extra.name:<15} {state}")
    if not found.extras:
        lines.append("  unknown: edgeskin itself is not installed. Install it with: pip install -e .")
    lines += ["", "Targets"]
    for target in found.targets:
        state = target.missing or target.here or "can be built here"
        lines.append(f"  {_tick(target.missing is None)} {target.name:<15} {state}")
    return lines


def _machine(machine: "Machine") -> list[str]:
    from edgeskin.benchmarks.device import INTEGER_FLAGS

    facts = machine.facts
    known = {
        "memory": machine.memory_mib and f"{machine.memory_mib / 1024:.1f} GiB",
        "governor": facts.governor,
        "clock": facts.clock_mhz and f"{facts.clock_mhz:.0f} MHz",
        "temperature": facts.temperature_c and f"{facts.temperature_c:.0f} °C",
        "slowed by heat": machine.throttle_events and f"{machine.throttle_events} times since boot",
        "load": None if machine.load_average is None else f"{machine.load_average:.2f}",
    }
    told = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    lines = ["Machine", f"  {facts.cpu}: {facts.cores} of {machine.logical_cores} cores, {facts.os}", f"  {told}"]
    lines += [f"  {_tick(True)} {flag:<15} {INTEGER_FLAGS[flag]}" for flag in facts.flags]
    return [*lines, f"  ! {machine.saturation}"] if machine.saturation else lines


def _places(found: "Examination") -> list[str]:
    data = "EDGESKIN_DATA is not set; commands that need images take --data"
    if found.data is not None:
        data = found.data if found.data_exists else f"{found.data} (EDGESKIN_DATA) does not exist"
    release = found.release or "none is shipped; give one with --from"
    named = f"; by name: {', '.join(found.releases)}" if len(found.releases) > 1 else ""
    free = "" if found.runs_free_mib is None else f", {found.runs_free_mib / 1024:.1f} GiB free"
    return [
        "Places",
        f"  {_tick(found.release is not None)} release  {release}{named}",
        f"  {_tick(found.data_exists)} data     {data}",
        f"  {_tick(found.runs_writable)} runs     {found.runs}{free}{'' if found.runs_writable else ', not writable'}",
    ]


def _tick(good: bool) -> str:
    return "✓" if good else "✗"

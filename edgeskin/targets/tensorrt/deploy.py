"""The deploy folder: all that a board needs to build its own engine, made where there is no GPU.

A Graph folder, with fp32.opset17.onnx  int8.opset17.onnx  fp16.onnx  fp16.opset17.onnx  build.sh  recipe.json

It is a Graph folder, of the same hash as the one it was made from, so that `edgeskin export --from FOLDER --target
tensorrt` finishes on the board; only checkpoint.safetensors stays behind. fp32.onnx and int8.onnx are the files of
opset 21, those of opset 17 the same networks for the generations that get these. fp16.onnx is the float network for the
generations that compute in what the file says; the others make float16 of fp32.opset17.onnx when they are told to.
`build.sh` needs a shell and trtexec alone, and builds beside itself, so not in a bundle, whose files are counted. Equal
inputs give equal bytes.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from edgeskin import files
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import GraphError
from edgeskin.graph.conformity import float_network, integer_network
from edgeskin.graph.folder import PARTS, REPAIR, Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.write import OPSET, Opset, write_onnx
from edgeskin.targets.base import Precision
from edgeskin.targets.tensorrt import ahead, lint
from edgeskin.targets.tensorrt.generations import TRTEXEC, Generation, Version
from edgeskin.targets.tensorrt.runtime.inputs import PRECISIONS, input_shapes
from edgeskin.targets.tensorrt.runtime.trtexec import JETPACK_PLACE, build_line

RECIPE, SCRIPT = "recipe.json", "build.sh"
FORMAT = 1
_LEFT_BEHIND = ("checkpoint.safetensors",)
_GROWING = "evidence.json"
_CARRIED = tuple(part for part in (*PARTS, REPAIR) if part not in _LEFT_BEHIND)


class Line(Frozen):
    """How one generation of TensorRT builds one precision.

    generation: its name in `generations`. onnx: the file, of opset `opset`. engine: what it becomes. options: of
    trtexec, run inside the folder.
    """

    generation: str
    precision: Precision
    opset: int
    onnx: str
    engine: str
    options: tuple[str, ...]


class Recipe(Frozen):
    """What a deploy folder is for.

    files: the SHA-256 of every other part, as `files.sha256`, by name; but of the evidence, which grows.
    """

    format: Literal[1] = 1
    network: str
    graph_sha256: str
    largest_batch: int
    lines: tuple[Line, ...]
    files: dict[str, str]


@dataclass(frozen=True)
class Deploy:
    """A deploy folder whose parts are known to be what was written."""

    folder: Path
    graph: Graph
    recipe: Recipe

    def onnx(self, generation: Generation, precision: Precision) -> Path:
        """The file that a generation gets. Raises: GraphError where the folder has none for it."""
        if generation.build_only is None:  # trtexec has no line for what it does not drive
            return self.folder / _onnx(precision, generation)
        return self.folder / self.line(generation, precision).onnx

    def line(self, generation: Generation, precision: Precision) -> Line:
        """How a generation builds a precision. Raises: GraphError where the folder does not say."""
        for line in self.recipe.lines:
            if (line.generation, line.precision) == (generation.name, precision):
                return line
        raise GraphError(f"{self.folder / RECIPE}: no line for TensorRT {generation.name} in {precision}. {_AGAIN}")


_AGAIN = "Make the deploy folder again: edgeskin export --target tensorrt"


def write(graph: Graph, folder: Path, *, largest_batch: int = 8) -> Deploy:
    """Make the deploy folder of a Graph folder, in the place of `folder`. One that is a deploy folder already, for such
    batches, is copied as it is, with the engines that were built for it ahead of time.

    Raises: GraphError where the Graph folder has no golden cases or cannot be read, or as `read`; ContractError where a
    network breaks the QAT contract, or a file a rule of the parser that is to read it; TargetError as `ahead.read`.
    """
    if (graph.folder / RECIPE).exists():
        made = read(graph.folder)
        if made.recipe.largest_batch == largest_batch:
            return _copied(made, folder)
    if not graph.golden.is_dir():
        raise GraphError(f"{graph.golden}: no such folder. Export the run again: edgeskin export --from RUN")
    exact = float_network(graph)
    networks: Mapping[Precision, Network] = {"int8": integer_network(graph), "fp16": exact, "fp32": exact}
    with files.new_folder(folder) as building:
        for part in _CARRIED:
            if (graph.folder / part).exists():
                files.copy(graph.folder / part, building / part)
        for generation in TRTEXEC:
            for precision in map(partial(_held, generation), PRECISIONS):
                name = _named(precision, generation.opset)
                if not (building / name).exists():
                    half = precision == "fp16"
                    write_onnx(networks[precision], building / name, opset=generation.opset, half=half)
                place = graph.folder if name in PARTS else building  # so that an error names what is there
                lint.check(place / name, generation)
        lines = tuple(_line(graph, each, precision, largest_batch) for each in TRTEXEC for precision in PRECISIONS)
        files.write_text(building / SCRIPT, _script(graph, lines))
        (building / SCRIPT).chmod(0o755)
        listed = (path for path in sorted(building.iterdir()) if path.name != _GROWING)
        parts = {path.name: files.sha256(path) for path in listed}
        recipe = Recipe(
            network=f"{graph.card.name} {graph.card.version}",
            graph_sha256=graph.sha256,
            largest_batch=largest_batch,
            lines=lines,
            files=parts,
        )
        files.write_json(building / RECIPE, recipe.model_dump(mode="json"))
    return read(folder)


def _copied(made: Deploy, folder: Path) -> Deploy:
    """A deploy folder in another place, without what was built in it here."""
    networks = [made.folder / _named(precision, OPSET) for precision in PRECISIONS]
    ready = [
        path.name for onnx in networks if ahead.read(onnx) for path in (ahead.note_of(onnx), ahead.engine_of(onnx))
    ]
    with files.new_folder(folder) as building:
        for part in {RECIPE, *made.recipe.files, *_CARRIED, *ready}:
            if (made.folder / part).exists():
                files.copy(made.folder / part, building / part)
        (building / SCRIPT).chmod(0o755)
    return read(folder)


def read(folder: Path) -> Deploy:
    """Open a deploy folder; what a board added to it is left alone.

    Raises: GraphError that names every part that is missing or was changed, or the recipe where it cannot be read.
    """
    recipe = _read_recipe(folder / RECIPE)
    unlisted = sorted({line.onnx for line in recipe.lines} - recipe.files.keys())
    if unlisted:
        raise GraphError(f"{folder / RECIPE}: has lines for {', '.join(unlisted)}, but not their hashes. {_AGAIN}")
    problems = [problem for name, sha256 in recipe.files.items() if (problem := _difference(folder / name, sha256))]
    if problems:
        raise GraphError(f"{folder}: not the deploy folder that was made: {'; '.join(problems)}. {_AGAIN}")
    graph = Graph.open(folder)
    if graph.sha256 != recipe.graph_sha256:
        raise GraphError(f"{folder / RECIPE}: speaks of another network than lies beside it. {_AGAIN}")
    return Deploy(folder, graph, recipe)


def _difference(path: Path, sha256: str) -> str | None:
    if not path.exists():
        return f"{path.name} is missing"
    return None if files.sha256(path) == sha256 else f"{path.name} was changed"


def _read_recipe(path: Path) -> Recipe:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise GraphError(f"{path}: format {value.get('format')!r}, this edgeskin reads format {FORMAT}. {_AGAIN}")
        return Recipe.model_validate(value)
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file. {_AGAIN}") from error
    except ValidationError as error:
        raise GraphError(f"{path}: {wrong_fields(error)}. {_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise GraphError(f"{path}: cannot be read as JSON: {error}. {_AGAIN}") from error


def files_of(folder: Path, precision: Precision) -> tuple[Path, ...]:
    """Every ONNX file of a precision in a deploy folder, that of the highest opset first."""
    names = (_named(precision, opset) for opset in sorted({each.opset for each in TRTEXEC}, reverse=True))
    return tuple(folder / name for name in names)


def _onnx(precision: Precision, generation: Generation) -> str:
    return _named(_held(generation, precision), generation.opset)


def _held(generation: Generation, precision: Precision) -> Precision:
    """What the file of a generation is in: where flags permit float16, it is made of float32."""
    return "fp32" if (generation.typing, precision) == ("flags", "fp16") else precision


def _named(precision: Precision, opset: Opset) -> str:
    return f"{precision}.onnx" if opset == OPSET else f"{precision}.opset{opset}.onnx"


def _line(graph: Graph, generation: Generation, precision: Precision, largest_batch: int) -> Line:
    onnx, stem = _onnx(precision, generation), f"{precision}.tensorrt-{generation.name}"
    options = build_line(
        generation,
        precision,
        onnx=onnx,
        engine=f"{stem}.plan",
        layers=f"{stem}.layers.json",
        inputs=input_shapes(graph.card),
        largest_batch=largest_batch,
        timing_cache=f"tensorrt-{generation.name}.cache",
    )
    return Line(
        generation=generation.name,
        precision=precision,
        opset=generation.opset,
        onnx=onnx,
        engine=f"{stem}.plan",
        options=options,
    )


# --- build.sh ---


def _script(graph: Graph, lines: tuple[Line, ...]) -> str:
    """The script that runs the one line for the TensorRT of the machine that it is on."""
    ranges = "\n".join(
        f'{"if" if place == 0 else "elif"} [ "$number" -ge {_number(each.oldest)} ] && '
        f'[ "$number" -lt {_number(each.below)} ]; then\n  generation={each.name}'
        for place, each in enumerate(TRTEXEC)
    )
    known = ", ".join(f"{each.oldest[0]}.{each.oldest[1]} to below {each.below[0]}.{each.below[1]}" for each in TRTEXEC)
    return _SCRIPT.format(
        graph=graph.sha256,
        place=JETPACK_PLACE,
        precisions="|".join(PRECISIONS),
        first=PRECISIONS[0],
        ranges=ranges,
        known=known,
        lines="\n".join(map(_case, lines)),
    )


def _number(version: Version) -> int:
    return version[0] * 100 + version[1]


def _case(line: Line) -> str:
    options = "".join(f" \\\n      {shlex.quote(option)}" for option in line.options)
    return (
        f'  "{line.generation} {line.precision}")\n    engine={line.engine}\n    "$trtexec"{options} || failed\n    ;;'
    )


_SCRIPT = """#!/bin/sh
# Builds an engine with the TensorRT of this machine. recipe.json holds the same lines.
# Network: {graph}
#
#   sh build.sh [{precisions}] [VERSION]
#
# VERSION is that of TensorRT, such as 8.5.2, for where it cannot be found out.
set -eu
cd "$(dirname "$0")"
precision=${{1:-{first}}}
version=${{2:-}}

stop() {{
  echo "build.sh: $1" >&2
  exit 1
}}

if [ -e ../manifest.json ]; then
  copy="cp -r '$PWD' DIR && sh DIR/build.sh"
  stop "'$PWD' lies in a bundle, which an engine would break. Copy it out and build there: $copy"
fi

failed() {{
  stop "trtexec failed; its last lines say why. Out of memory: close other programs, or add swap"
}}

trtexec=$(command -v trtexec || true)
if [ -z "$trtexec" ]; then
  trtexec={place}
fi
if [ ! -x "$trtexec" ]; then
  stop "no trtexec on the PATH, nor at $trtexec. On a Jetson: sudo apt install nvidia-jetpack"
fi

if [ -z "$version" ]; then
  # Its first line says [TensorRT v8502] for 8.5.2, and [TensorRT v100300] for 10.3.0.
  said=$("$trtexec" --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9][0-9]*\\)\\].*/\\1/p' | head -n 1)
  if [ -n "$said" ] && [ "$said" -ge 10000 ]; then
    version=$((said / 10000)).$((said / 100 % 100))
  elif [ -n "$said" ]; then
    version=$((said / 1000)).$((said / 100 % 10))
  elif command -v dpkg-query >/dev/null; then
    version=$(dpkg-query -W -f '${{Version}}\\n' libnvinfer8 libnvinfer10 libnvinfer11 2>/dev/null | head -n 1)
  fi
fi
major=${{version%%.*}}
minor=${{version#"$major"}}
minor=${{minor#.}}
minor=${{minor%%[!0-9]*}}
case $major-$minor in
  -* | *- | *[!0-9-]*) stop "cannot tell which TensorRT this is ('$version'). Say it: sh build.sh $precision 8.5.2" ;;
esac
number=$((major * 100 + minor))

{ranges}
else
  stop "TensorRT $version is none that this folder has a line for: {known}"
fi

echo "TensorRT $version builds $precision"
case "$generation $precision" in
{lines}
  *) stop "cannot build '$precision'; choose one of {precisions}" ;;
esac

echo "built $engine, which nobody has run: whether it is fast and right is not known"
echo "Where edgeskin is installed: edgeskin export --from '$PWD' --target tensorrt"
echo "It builds an engine of its own from the same file, runs that on the golden cases, measures and judges it."
"""

"""What the documentation says is true: commands parse, names exist, links lead somewhere, figures are measured ones."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from scripts import loaded

import edgeskin
from edgeskin import shipped
from edgeskin.cli import app
from edgeskin.graph.folder import Graph
from edgeskin.optional import available, require
from edgeskin.targets import coreml
from edgeskin.targets.coreml.describe import describe

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "train/*.md", "export/*.md", "benchmarks/*.md") for path in ROOT.glob(pattern)
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPORT = (ROOT / "export/README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The arguments of every `edgeskin` call in the bash blocks of a document."""
    found = []
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and words[0] == "edgeskin":
                stop = next((index for index, word in enumerate(words) if word[0] in "|>&;"), len(words))
                found.append(words[1:stop])
    return found


def parse(arguments: list[str]) -> None:
    """Parse a command line down to its command without running it; a wrong name or value raises."""
    command = typer.main.get_command(app)
    name, *rest = "edgeskin", *arguments
    while known := getattr(command, "commands", None):
        if rest[0] == "--help":
            return
        name, *rest = rest
        assert name in known, f"No such command: {name}"
        command = known[name]
    if "--help" not in rest:
        command.make_context(name, rest)


def test_the_parser_used_here_refuses_what_does_not_exist() -> None:
    parse(["verify", "bundles/demo"])
    for wrong in (["verifi", "bundles/demo"], ["verify", "bundles/demo", "--nothing"], ["data", "chekc", "DIR"]):
        with pytest.raises(Exception, match="No such"):
            parse(wrong)


def test_the_readme_shows_commands() -> None:
    shown = {arguments[0] for arguments in commands(README)}
    assert {"train", "export", "evaluate", "benchmark", "predict", "verify", "data", "doctor"} <= shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_parses(document: Path) -> None:
    for arguments in commands(document.read_text(encoding="utf-8")):
        parse(arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    broken = [link for link in links if link and "://" not in link and not (document.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_imported_name_exists(document: Path) -> None:
    for block in blocks(document.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.ImportFrom):
                continue
            assert node.module is not None
            if node.module.startswith(("edgeskin.train", "edgeskin.models")) and not available("torch"):
                continue
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}"), name.name


def test_the_swift_program_reads_what_a_bundle_holds() -> None:
    (program,) = blocks(EXPORT, "swift")
    golden = Graph.open(shipped.default_release()).golden
    named = set(re.findall(r'"((?:inputs|photos)/[^"]+|golden\.json)"', program)) - {"inputs/metadata.npy"}
    assert named == {r"inputs/\(one.name).png", r"photos/\(one.name).png", "golden.json"}
    absent = [name for name in named if not (golden / name.replace(r"\(one.name)", "00")).is_file()]
    assert absent == []
    assert f'"{coreml.FILE}"' in program
    fields = re.findall(r"^ +let (\w+): [^=\n]+$", program.partition("struct Problem")[0], flags=re.MULTILINE)
    index = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    (case, *_) = index["cases"]
    assert set(fields) == {"name", "findings", "heads", "lesion_fraction", "cases"}
    assert set(fields) <= {*index, *case, *case["findings"]}


@pytest.mark.skipif(not available("coremltools"), reason="coremltools is not installed")
def test_the_swift_program_reads_what_a_package_says() -> None:
    (program,) = blocks(EXPORT, "swift")
    specification = require("coremltools.proto.Model_pb2").Model()
    describe(specification, Graph.open(shipped.default_release()).card, {})
    entries = specification.description.metadata.userDefined
    keys = re.findall(r'"(edgeskin\.\w+\.)\\\(head\)"', program)
    assert {f"{key}mask" for key in keys} == {"edgeskin.labels.mask", "edgeskin.threshold.mask"}
    assert {f"{key}mask" for key in keys} <= set(entries)


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="swiftc is not installed")
def test_the_swift_program_parses(tmp_path: Path) -> None:
    (program,) = blocks(EXPORT, "swift")
    file = tmp_path / "golden.swift"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(["swiftc", "-parse", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_changelog_names_this_version() -> None:
    assert f"## [{edgeskin.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_holds_the_figures_of_the_evidence() -> None:
    if not (ROOT / "export/release/default").is_file():
        pytest.skip("no release is shipped: export/release/default does not exist")
    (table,) = (results.table(Graph.open(shipped.default_release())) for results in loaded("results.py"))
    assert table in README, "README.md, Results: write there what benchmarks/results.py prints"

"""`edgeskin train`: from a recipe and a data folder to a run."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data folder; otherwise the recipe's own under EDGESKIN_DATA.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run folder; otherwise RECIPE under EDGESKIN_RUNS or runs/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="EDGESKIN_WEIGHTS", help="Folder of the ImageNet starts.", file_okay=False),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; otherwise a GPU where there is one.")] = None,
) -> None:
    """Train a network in float, then with quantization in the loop.

    Ctrl-C leaves a run that --resume takes up again, exactly.

    Exit codes: 0 trained to its end, 1 error, 2 usage, 130 interrupted.
    """
    from edgeskin import optional, shipped
    from edgeskin.data.cases import data_folder

    optional.demand("torch", "torchao", "safetensors", "tensorboard")
    from edgeskin.train import recipe as recipes
    from edgeskin.train.loop import train as run_training
    from edgeskin.train.memory import keep_freed_memory
    from edgeskin.train.plan import Places, Plan, problems

    path = shipped.find("recipes", recipe)

    def places_of(chosen: recipes.Recipe) -> Places:
        folder = run or Path(os.environ.get("EDGESKIN_RUNS", "runs")) / chosen.name
        return Places(path, data_folder(data, chosen.data.dataset), folder, weights)

    plans: list[Plan] = []
    chosen = recipes.read(path, tuple(set_ or ()), lambda read: problems(read, places_of(read), plans.append))
    places = places_of(chosen)
    folder = places.run
    again = ["edgeskin", "train", recipe, "--run", str(folder), "--resume"]
    for option, value in (("--data", data), ("--weights", weights), ("--device", device)):
        again += [] if value is None else [option, str(value)]
    for assignment in set_ or ():
        again += ["--set", assignment]
    keep_freed_memory()
    try:
        record = run_training(chosen, places, resume=resume, device=device, planned=plans[0])
    except KeyboardInterrupt:
        kept = "finished epochs are kept" if (folder / "run.json").is_file() else "no epoch was finished"
        typer.echo(f"{folder}: {kept}. Go on with: {shlex.join(again)}", err=True)
        raise
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes speaks for all
    for phase, best in record.best.items():
        figures = ", ".join(f"{name} {value:.3f}" for name, value in best.metrics.items())
        typer.echo(f"{phase}: best epoch {best.epoch}, select: {figures}")
    typer.echo(f"Export: edgeskin export --from {shlex.quote(str(folder))} --target onnx", err=True)

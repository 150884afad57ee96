"""Photos in, findings out: decoding ahead of the network and tidying behind it, in the photos' own order."""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgeskin import files, targets
from edgeskin.benchmarks.device import usable_cores
from edgeskin.contract.findings import Failure, Findings, decode
from edgeskin.contract.image import Letterbox, read_photo
from edgeskin.contract.metadata import Values
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import look
from edgeskin.errors import EdgeskinError, PhotoError
from edgeskin.screen import overlay
from edgeskin.screen.runnable import runnable
from edgeskin.targets.base import Artifact, Float32, Session, UInt8

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
"""What counts as a photo when a folder is given."""

_AHEAD = 4
"""Photos prepared before the network asks for them, and answers waiting behind it; bounds the memory."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A photo ready for the network. backdrop: the photo for the overlay, None where none is wanted.

    values, metadata: what is known beside the photo, and that as the network's input.
    """

    file: Path
    image: UInt8
    values: Values
    metadata: Float32 | None
    box: Letterbox
    backdrop: UInt8 | None


class Predictor:
    """A network opened once, for any number of photos.

    card: what it answers. network_seconds, total_seconds: time spent inside the network and in all, of every finished
    `predict`, the consumer's own time between two answers included in all.
    """

    def __init__(self, session: Session, card: ModelCard, *, workers: int = 1) -> None:
        self.card = card
        self.network_seconds = 0.0
        self.total_seconds = 0.0
        self._session = session
        self._workers = workers

    @staticmethod
    def open(path: Path | None = None, *, threads: int | None = None) -> "Predictor":
        """Open a bundle, a Graph folder, or (None) the release that comes with edgeskin.

        threads: of the network; by default half of the cores, at least one. The others, two at least, work on photos.

        Raises: BundleError, GraphError, TargetError or MissingDependencyError where it cannot be opened.
        """
        cores = usable_cores()
        chosen = max(1, cores // 2) if threads is None else threads
        with runnable(path) as bundle:
            manifest = bundle.manifest
            artifact = Artifact(bundle.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
            session = targets.get(manifest.target).open(artifact, threads=chosen)
        return Predictor(session, bundle.card, workers=min(max(2, cores - chosen), _AHEAD))

    @property
    def network_share(self) -> float:
        """The network's part of all the time spent, 0 to 1; 0 before anything was predicted."""
        return self.network_seconds / self.total_seconds if self.total_seconds else 0.0

    def predict(
        self,
        photos: Sequence[Path],
        *,
        metadata: Mapping[Path, Values] | None = None,
        masks: Path | None = None,
        overlays: Path | None = None,
    ) -> Iterator[Findings | Failure]:
        """Screen photos, one answer each, in their order; a photo that cannot be screened gives a Failure.

        metadata: what is known beside a photo, by its path, for a network that takes it (`screen.metadata.read`); of
        all other photos nothing is. masks: folder for `<stem>.png`, 0 or 255, the photo's own size. overlays: folder
        for `<stem>.jpg`, the photo with the lesion's outline. Both replace older files of that name.

        Raises: EdgeskinError, before any photo is read, where outputs would overwrite each other or lie among the
        photos, or the network draws no mask, takes no metadata or does not know such a value; later where an output
        cannot be written.
        """
        told = metadata or {}
        for values in told.values():
            self._encoded(values)
        wanted = [folder for folder in (masks, overlays) if folder is not None]
        if wanted and self.card.mask is None:
            raise EdgeskinError(f"{self.card.name} draws no mask; ask for neither masks nor overlays")
        if wanted:
            _refuse_collisions(photos, wanted)
        return self._stream(photos, told, masks, overlays)

    def _stream(
        self, photos: Sequence[Path], told: Mapping[Path, Values], masks: Path | None, overlays: Path | None
    ) -> Iterator[Findings | Failure]:
        begin = time.perf_counter()
        waiting: deque[Future[_Prepared | Failure]] = deque()
        finishing: deque[Future[Findings | Failure]] = deque()
        remaining = iter(photos)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="edgeskin-photos")

        def prepare_next() -> None:
            photo = next(remaining, None)
            if photo is not None:
                values = told.get(photo, {})
                encoded = self._encoded(values)
                waiting.append(pool.submit(_prepare, photo, self.card, values, encoded, overlays is not None))

        try:
            for _ in range(_AHEAD):
                prepare_next()
            while waiting:
                prepared = waiting.popleft().result()
                prepare_next()
                outputs = {} if isinstance(prepared, Failure) else self._run(prepared)
                finishing.append(pool.submit(_answer, prepared, outputs, self.card, masks, overlays))
                while finishing and (finishing[0].done() or len(finishing) > _AHEAD):
                    yield finishing.popleft().result()
            while finishing:
                yield finishing.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.total_seconds += time.perf_counter() - begin

    def _encoded(self, values: Values) -> Float32 | None:
        """Shapes: -> [1, M]; None for a network that takes the photo alone. Raises: EdgeskinError as `predict`."""
        if self.card.metadata is not None:
            return self.card.metadata.encode(values)[None]
        if values:
            raise EdgeskinError(f"{self.card.name} takes no metadata; give it photos alone")
        return None

    def _run(self, prepared: _Prepared) -> dict[str, Float32]:
        """The outputs of one photo, by head."""
        outputs = look(self._pass, self.card, prepared.box, prepared.image[None], prepared.metadata)
        return {name: values[0] for name, values in outputs.items()}

    def _pass(self, image: UInt8, metadata: Float32 | None) -> Mapping[str, Float32]:
        """One run of the network, timed."""
        begin = time.perf_counter()
        outputs = self._session.run(image, metadata)
        self.network_seconds += time.perf_counter() - begin
        return outputs


def photos_in(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The photos meant by `paths`: a folder stands for the pictures directly in it, sorted by name.

    Raises: EdgeskinError where a folder holds no picture or cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        except OSError as error:
            raise EdgeskinError(f"{path}: this folder cannot be read: {error.strerror}") from error
        if not inside:
            raise EdgeskinError(f"{path}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
        found += inside
    return tuple(found)


def _prepare(
    file: Path, card: ModelCard, values: Values, metadata: Float32 | None, with_backdrop: bool
) -> _Prepared | Failure:
    try:
        photo = read_photo(file)
    except PhotoError as error:
        return Failure.of(str(file), error)
    image, box = network_input(photo, card.size, card.preprocessing)
    return _Prepared(file, image, values, metadata, box, overlay.backdrop(photo) if with_backdrop else None)


def _answer(
    prepared: _Prepared | Failure,
    outputs: dict[str, Float32],
    card: ModelCard,
    masks: Path | None,
    overlays: Path | None,
) -> Findings | Failure:
    if isinstance(prepared, Failure):
        return prepared
    findings, mask = decode(outputs, card, prepared.box, str(prepared.file), prepared.values)
    if mask is not None and masks is not None:
        files.write_bytes(masks / f"{prepared.file.stem}.png", overlay.mask_png(mask))
    if mask is not None and overlays is not None and prepared.backdrop is not None:
        files.write_bytes(overlays / f"{prepared.file.stem}.jpg", overlay.jpeg(overlay.draw(prepared.backdrop, mask)))
    return findings


def _refuse_collisions(photos: Sequence[Path], folders: Sequence[Path]) -> None:
    stems = Counter(photo.stem.casefold() for photo in photos)  # two names that differ in case are one on many disks
    twice = [str(photo) for photo in photos if stems[photo.stem.casefold()] > 1]
    if twice:
        raise EdgeskinError(
            f"masks and overlays are named by the photo's stem, and these are equal: {', '.join(twice)}"
        )
    among = {os.path.realpath(photo.parent) for photo in photos} & {os.path.realpath(folder) for folder in folders}
    if among:
        raise EdgeskinError(f"{min(among)}: holds the photos themselves; give another folder for masks and overlays")

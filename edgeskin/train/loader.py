"""Batches: decoded once, augmented ahead of the network, the same on every run with the same seed."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeskin.contract.model import HeadSpec
from edgeskin.contract.preprocess import Preprocessing, ZScore, apply, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.data.cases import Case, read_image, read_mask
from edgeskin.data.labels import MISSING, Truth
from edgeskin.train.augment import UInt8, augment
from edgeskin.train.clinical import ClinicalFields, Shown
from edgeskin.train.recipe import Augmentation
from edgeskin.train.sampling import Order, occurrences
from edgeskin.train.second_view import as_second_pass
from edgeskin.train.standardise import z_score

CACHE_OVER_SIZE = 4 / 3
"""Images are cached with their longer side at most this many times the network's, room for zooming in."""
AHEAD = 3
"""Batches prepared while the network works."""

SHARE_OF_FIRST_PASSES = 0.5
"""Of the views of a case with a mask, where a second pass is declared; the others are views of that second pass."""


class View(NamedTuple):
    """What the network sees of one case: image [S, S, 3] and mask [S, S] of 0 and 1; whether of a second pass.

    A second pass teaches no mask, and only the heads that it answers.
    """

    image: UInt8
    mask: UInt8
    second: bool = False


class Batch(NamedTuple):
    """One step's tensors.

    Shapes: image (N, 3, S, S) float32 in [−1, 1); mask (N, 1, S, S) of 0 and 1, has_mask (N,) of 0 and 1;
    labels: head name -> (N,) int64, −1 where missing. Where the network takes clinical fields: metadata (N, M) as it is
    given, complete (N, M) as the table has it, hidden (N, M) 1 on slots that were hidden though they are known. case
    (N,) int64: the place of each among the samples.
    """

    image: Tensor
    mask: Tensor
    has_mask: Tensor
    labels: dict[str, Tensor]
    metadata: Tensor | None = None
    complete: Tensor | None = None
    hidden: Tensor | None = None
    case: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is called with."""
        return (self.image,) if self.metadata is None else (self.image, self.metadata)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def only(self, rows: Tensor) -> "Batch":
        """Some of its cases: rows (N,) bool."""
        return self._each(lambda tensor: tensor[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        rest = (self.metadata, self.complete, self.hidden, self.case)
        fields = (None if value is None else change(value) for value in rest)
        labels = {name: change(label) for name, label in self.labels.items()}
        return Batch(change(self.image), change(self.mask), change(self.has_mask), labels, *fields)


@dataclass(frozen=True)
class Showing:
    """How the network is shown a photo: the side of its square input, declared preprocessing, a second pass."""

    size: int
    preprocessing: Preprocessing = ()
    second_pass: SecondPass | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """Decoded cases: images [h, w, 3], masks [h, w] (None where there is none), the truth of every other head, fields.

    Images are as they were photographed; preprocessing is applied as they are shown.
    """

    images: tuple[UInt8, ...]
    masks: tuple[UInt8 | None, ...]
    labels: dict[str, Truth]
    showing: Showing
    fields: ClinicalFields | None = None

    def __len__(self) -> int:
        return len(self.images)

    def only(self, rows: npt.NDArray[np.int64]) -> "Samples":
        """Some of the cases, by their places."""
        return Samples(
            tuple(self.images[row] for row in rows),
            tuple(self.masks[row] for row in rows),
            {name: answers[rows] for name, answers in self.labels.items()},
            self.showing,
            None if self.fields is None else self.fields.only(rows),
        )


def decode(
    cases: Sequence[Case],
    heads: Sequence[HeadSpec],
    showing: Showing,
    labels: Mapping[str, Truth],
    fields: ClinicalFields | None = None,
) -> Samples:
    """Read every image and mask once and keep them, reduced where they are much larger than the network's input.

    labels: of every head but the mask. Raises: DataError that names the file.
    """
    with_masks = any(head.kind == "mask" for head in heads)
    longest = round(showing.size * CACHE_OVER_SIZE)

    def one(case: Case) -> tuple[UInt8, UInt8 | None]:
        image = read_image(case)
        mask = read_mask(case).astype(np.uint8) if with_masks and case.mask is not None else None
        scale = longest / max(image.shape[:2])
        if scale < 1:
            shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)
            mask = mask if mask is None else np.asarray(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA), np.uint8)
        return image, mask

    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(one, cases))
    images, masks = tuple(image for image, _ in decoded), tuple(mask for _, mask in decoded)
    return Samples(images, masks, dict(labels), showing, fields)


def _batch(samples: Samples, index: npt.NDArray[np.int64], views: Sequence[View], shown: Shown | None) -> Batch:
    pixels = torch.from_numpy(np.stack([view.image for view in views]))
    masks = torch.from_numpy(np.stack([view.mask for view in views]))
    second = np.array([view.second for view in views])
    present = torch.tensor([samples.masks[i] is not None for i in index]) & ~torch.from_numpy(second)
    # Augmented pixels are interleaved: permuted they are channels-last, the layout in which a CPU trains 1.4× as fast.
    image = (pixels.permute(0, 3, 1, 2).float() - 128) / 128
    if any(isinstance(step, ZScore) for step in samples.showing.preprocessing):
        image = z_score(image)
    labels = {}
    for name, answers in samples.labels.items():
        unseen = second & (samples.showing.second_pass is not None and name not in samples.showing.second_pass.heads)
        labels[name] = torch.from_numpy(np.where(unseen, MISSING, answers[index]))
    metadata, complete, hidden = (None, None, None) if shown is None else (torch.from_numpy(each) for each in shown)
    case = torch.from_numpy(index)
    return Batch(image, masks[:, None].float(), present.float(), labels, metadata, complete, hidden, case)


def training_batches(
    samples: Samples,
    settings: Augmentation,
    batch: int,
    seed: Sequence[int],
    order: Order | None = None,
    share: Callable[[Order], Order] | None = None,
) -> Iterator[Batch]:
    """One epoch of augmented batches in a shuffled order; a last batch of fewer than `batch` is left out.

    seed: numbers that name the epoch (recipe seed, phase, epoch). Each image's view depends on them, on its place, and
    on how often it was shown in the epoch alone, so an epoch that is resumed sees the same pixels. order: of
    `sampling.epoch_order`; without it every case once. share: which part of each batch is this process's.
    """
    if order is None:
        order = np.random.default_rng([*seed, 0]).permutation(len(samples))
    turns = occurrences(order)
    batches = [np.arange(start, start + batch) for start in range(0, len(order) - batch + 1, batch)]

    def random_of(purpose: int, place: int) -> np.random.Generator:
        turn = int(turns[place])
        return np.random.default_rng([*seed, purpose, int(order[place]), *([turn] if turn else [])])

    showing = samples.showing

    def view(place: int) -> View:
        case = int(order[place])
        image, mask = apply(showing.preprocessing, samples.images[case]), samples.masks[case]
        empty = np.zeros(image.shape[:2], np.uint8) if mask is None else mask
        random = random_of(1, place)
        image, square = augment(image, empty, settings, showing.size, random)
        if showing.second_pass is None or mask is None or random.random() < SHARE_OF_FIRST_PASSES:
            return View(image, square)
        return View(*as_second_pass(image, square, showing.second_pass, random), second=True)

    def draw(places: npt.NDArray[np.int64]) -> Batch:
        index = order[places]
        shown = None
        if samples.fields is not None:
            shown = samples.fields.draw(index, [random_of(2, int(place)) for place in places])
        return _batch(samples, index, [view(int(place)) for place in places], shown)

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[Batch]] = deque()
        for places in batches:
            waiting.append(pool.submit(draw, places if share is None else share(places)))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def plain_batches(samples: Samples, batch: int) -> Iterator[Batch]:
    """Every case once, in order, letterboxed exactly as at inference; the last batch may be smaller."""
    for start in range(0, len(samples), batch):
        index = np.arange(start, min(start + batch, len(samples)))
        shown = None if samples.fields is None else samples.fields.whole(index)
        yield _batch(samples, index, [_letterboxed(samples, int(i)) for i in index], shown)


def _letterboxed(samples: Samples, case: int) -> View:
    size = samples.showing.size
    planar, box = network_input(samples.images[case], size, samples.showing.preprocessing)
    mask = samples.masks[case]
    square = np.zeros((size, size), np.uint8)
    if mask is not None:
        content = cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_NEAREST)
        square[box.top : box.top + box.height, box.left : box.left + box.width] = content
    return View(planar.transpose(1, 2, 0), square)

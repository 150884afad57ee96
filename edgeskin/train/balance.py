"""Class weights against imbalance."""

import numpy as np
import numpy.typing as npt


def balanced_weights(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """N / (classes · n_c) for each class c; missing labels (−1) do not count.

    Shapes: labels (N,) -> (classes,). Every class must occur. Source: papers/unet_multitask_thesis.txt, class weights.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    assert counts.min() > 0, "an empty class is refused where the labels are read"
    return np.asarray(counts.sum() / (classes * counts), np.float32)

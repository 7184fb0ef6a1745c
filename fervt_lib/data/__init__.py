"""Datasets as plain uint8 tensors, in one label order."""

from .augment import Augment
from .drawn import ACTION_UNITS, UNITS_OF, DrawnFaces, load_drawn
from .faces import DataError, Faces, to_distribution
from .ferplus import choose_faces, find_root, load_ferplus
from .labels import EXPRESSIONS, FER2013_CODES, USAGES, VOTE_COLUMNS

LOADERS = {"drawn": load_drawn, "ferplus": load_ferplus}


def load(name: str, split: str = "train", **options) -> Faces:
    """Load a split of a dataset by name.

    Args:
        name: "drawn" (always there) or "ferplus".
        split: "train", "validation" or "test".
        **options: what the dataset's own loader takes: see `load_drawn`, `load_ferplus`.

    Raises:
        ValueError: no such dataset or option value. DataError: its files are missing or damaged.
    """
    if name not in LOADERS:
        raise ValueError(f"dataset {name!r}: there are {', '.join(sorted(LOADERS))}")
    return LOADERS[name](split, **options)

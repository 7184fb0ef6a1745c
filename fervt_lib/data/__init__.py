"""Datasets as plain uint8 tensors, in one label order."""

from .augment import Augment
from .balance import repeat_rare
from .ckplus import CKPlusFaces, load_ckplus
from .drawn import ACTION_UNITS, UNITS_OF, DrawnFaces, load_drawn
from .faces import DataError, Faces, to_distribution
from .fer2013 import load_fer2013
from .ferplus import choose_faces, load_ferplus
from .files import find_root
from .labels import CK48_FOLDERS, CKPLUS_CODES, EXPRESSIONS, FER2013_CODES, RAFDB_CODES, USAGES, VOTE_COLUMNS
from .rafdb import load_rafdb
from .twins import find_twins, seen, shared

LOADERS = {
    "ckplus": load_ckplus,
    "drawn": load_drawn,
    "fer2013": load_fer2013,
    "ferplus": load_ferplus,
    "rafdb": load_rafdb,
}
LOADER_OPTIONS = {"ckplus": ("fold", "classes"), "ferplus": ("protocol",)}
"""Options of a loader that a training recipe decides; they say which faces there are."""


def load(name: str, split: str = "train", **options) -> Faces:
    """Load a split of a dataset by name.

    Args:
        name: "drawn" (always there), "ferplus", "fer2013" (the same faces with their own labels), "ckplus" or "rafdb".
        split: "train", "validation" or "test"; CK+ has "all" too.
        **options: what the dataset's own loader takes: see `load_drawn`, `load_ferplus`, `load_fer2013`,
            `load_ckplus`, `load_rafdb`.

    Raises:
        ValueError: no such dataset or option value. DataError: its files are missing or damaged.
    """
    if name not in LOADERS:
        raise ValueError(f"dataset {name!r}: there are {', '.join(sorted(LOADERS))}")
    return LOADERS[name](split, **options)

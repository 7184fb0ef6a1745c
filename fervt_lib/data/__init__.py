"""Load datasets as plain uint8 tensors, all in the same label order."""

from ..disk import DataError, check_choice
from .augment import AUGMENTATIONS, Augment, write_augmented
from .ckplus import CKPLUS, CKPlusFaces, load_ckplus
from .drawn import DRAWN, DrawnFaces, load_drawn
from .faces import Dataset, Faces, NotFoundError, as_faces, found_below, repeat_rare, to_distribution
from .fer import FER2013, FERPLUS, choose_faces, load_fer2013, load_ferplus
from .files import find_root
from .inspect import checksum, examine, is_duplicate, overlap
from .labels import CK48_FOLDERS, CKPLUS_CODES, EXPRESSIONS, FER2013_CODES, RAFDB_CODES, VOTE_COLUMNS
from .rafdb import RAFDB, load_rafdb

DATASETS = {dataset.name: dataset for dataset in (CKPLUS, DRAWN, FER2013, FERPLUS, RAFDB)}


def load(name: str, split: str = "train", **options) -> Faces:
    """Load a split of a dataset by name.

    Args:
        name: "drawn" (always there), "ferplus", "fer2013" (the same faces with their own labels), "ckplus" or "rafdb".
        split: "train", "validation" or "test"; CK+ also has "all".
        **options: passed on to the dataset's own loader, see `load_drawn`, `load_ferplus`, `load_fer2013`,
            `load_ckplus`, `load_rafdb`.

    Raises:
        FervtError: the dataset or an option value does not exist. DataError: its files are missing or damaged.
    """
    check_choice("dataset", name, DATASETS)
    try:
        return DATASETS[name].load(split, **options)
    except NotFoundError as error:
        if below := found_below(DATASETS[name], find_root(DATASETS[name].folder, options.get("root"))):
            raise DataError(f"{error} One level down there is one: use root={str(below)!r}, or move it up.") from error
        raise

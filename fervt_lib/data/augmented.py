"""An augmented training set as files: `python -m fervt_lib.data.augmented ferplus ~/ferplus-augmented`.

Training here changes the faces anew in every epoch and needs no such set. It is for programs that read folders of
pictures: OUT/happiness/0000012-1.png is copy 1 of the face in row 12, and OUT/faces.csv has a line per picture with its
votes. Faces of rare expressions get more copies, and no face is upside down unless that is asked for.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype, to_pil_image
from tqdm.auto import tqdm

from . import LOADER_OPTIONS, LOADERS, load
from .augment import Augment
from .balance import repeat_rare
from .faces import DataError, Faces
from .labels import EXPRESSIONS

BATCH = 256


def write_augmented(
    faces: Faces,
    folder: str | Path,
    *,
    copies: int = 2,
    rare_share: float = 0.1,
    augment: Augment | None = None,
    vertical_flips: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Write changed copies of faces as PNG files, a folder per expression, and `faces.csv`.

    Args:
        folder: must not be there yet; it appears when all is written.
        copies: of every face, at least 1; those of rare expressions come more often, see `repeat_rare`.
        augment: the changes; None means `Augment()`.
        vertical_flips: probability that a copy is upside down. No such face occurs, so a model learns worse with them.

    Returns:
        What faces.csv holds: a row per picture, `file`, `row` in the source, `label`, and the votes by expression.

    Raises:
        DataError: the folder is there already, or cannot be written. ValueError: a number out of its range.
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError(f"{folder} is there already; name a new folder, or remove it")
    if copies < 1 or not (0 <= vertical_flips <= 1 and 0 <= rare_share <= 1):
        raise ValueError(
            f"copies {copies}, vertical_flips {vertical_flips}, rare_share {rare_share}: at least 1, and from 0 to 1"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = [i for _ in range(copies) for i in repeat_rare(faces, rare_share, generator).indices]
    changed = _changed(faces, chosen, augment or Augment(), vertical_flips, generator)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            part = Path(beside) / folder.name
            table = pd.DataFrame(_write_pictures(part, faces, chosen, changed))
            table.to_csv(part / "faces.csv", index=False)
            part.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}. Make room, or name another folder") from error
    return table


def _changed(
    faces: Faces, chosen: list[int], augment: Augment, vertical_flips: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """The changed picture `(c, h, w)`, float32 in [0, 1], of each chosen face."""
    for start in tqdm(range(0, len(chosen), BATCH), desc="augmenting", unit_scale=BATCH, unit=" faces", leave=False):
        images, _ = faces[chosen[start : start + BATCH]]
        upside_down = torch.rand(len(images), generator=generator) < vertical_flips
        changed = augment(images, generator)
        yield from torch.where(upside_down[:, None, None, None], changed.flip(2), changed)


def _write_pictures(part: Path, faces: Faces, chosen: list[int], changed: Iterator[Tensor]) -> Iterator[dict]:
    for name in EXPRESSIONS:
        (part / name).mkdir(parents=True)
    labels, copies = faces.labels, Counter()
    for i, image in zip(chosen, changed, strict=True):
        label, row = EXPRESSIONS[labels[i]], int(faces.rows[i])
        copies[row] += 1
        file = f"{label}/{row:07}-{copies[row]}.png"
        to_pil_image(to_dtype(image, torch.uint8, scale=True)).save(part / file)
        votes = dict(zip(EXPRESSIONS, faces.votes[i].tolist(), strict=True))
        yield {"file": file, "row": row, "label": label} | votes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fervt_lib.data.augmented",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=sorted(LOADERS))
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--protocol", default="majority", help="of FER+: majority or argmax")
    parser.add_argument("--fold", type=int, default=0, help="of CK+, 0 to 9: its training faces are the other eight")
    parser.add_argument("--classes", type=int, default=7, help="of CK+: 7, or 8 with neutral")
    parser.add_argument("--copies", type=int, default=2, help="of every face; more of the rare expressions")
    parser.add_argument("--rare-share", type=float, default=0.1, help="below this share an expression is rare; 0: none")
    parser.add_argument("--vertical-flips", type=float, default=0.0, help="probability that a copy is upside down")
    parser.add_argument("--seed", type=int, default=0)
    for field in fields(Augment):
        parser.add_argument(f"--{field.name}", type=float, default=field.default, help="strength of this change")
    args = vars(parser.parse_args(arguments))
    strengths = {field.name: args.pop(field.name) for field in fields(Augment)}
    dataset, out = args.pop("dataset"), args.pop("out")
    given = {name: args.pop(name) for name in ("protocol", "fold", "classes")}
    try:
        faces = load(dataset, "train", **{name: given[name] for name in LOADER_OPTIONS.get(dataset, ())})
        table = write_augmented(faces, out, augment=Augment(**strengths), **args)
    except ValueError as error:  # DataError, a number out of its range
        sys.exit(f"error: {error}")
    print(f"{out}: {len(table):,} pictures of {len(faces):,} training faces ({faces.protocol})")
    print(table["label"].value_counts().reindex(EXPRESSIONS, fill_value=0).to_string())


if __name__ == "__main__":
    main()

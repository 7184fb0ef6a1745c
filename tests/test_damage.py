"""Whatever happens to the files of a dataset, loading it names the damage or gives the same faces."""

import gzip
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trees import bomb, lead_out, put_folder, state_of, write_ckplus, write_fer2013, write_ferplus, write_rafdb

from fervt_lib.data import DataError, load

WRITERS = {"fer2013": write_fer2013, "ferplus": write_ferplus, "ckplus": write_ckplus, "rafdb": write_rafdb}
LAYOUTS = [
    *(("fer2013", layout) for layout in ("csv", "gz", "icml")),
    *(("ferplus", layout) for layout in ("csv", "gz", "icml", "pictures")),
    *(("ckplus", layout) for layout in ("official", "ck48")),
    *(("rafdb", layout) for layout in ("official", "kaggle")),
]
GAPS = r"its frames do not run from 1 to its peak|pictures are not numbered 1 to"
WARNINGS = f"no face was found in|{GAPS}"
NO_ROW = "no row of|a second time|no column|columns|_emotion.txt"  # the header; a picture left over; one number alone
WAYS_OUT = r"[Ff]etch|[Uu]npack|[Mm]ove|[Pp]ut the file|keep one|[Nn]eed"


@dataclass(repr=False)
class Original:
    """An undamaged tree and its faces."""

    name: str
    layout: str
    root: Path
    faces: list[dict]


class Damage(NamedTuple):
    """What is done to which file. Numbers are counted round: file 7 of 3 is file 1."""

    kind: str
    group: int  # files by their endings
    file: int
    row: int
    place: int  # a byte, a word of the row, or another file
    word: str
    junk: bytes


# --- what can happen to any file ---------------------------------------------------------------------------------


def cut_short(file: Path, damage: Damage, root: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: damage.place % len(data)])


def overwrite(file: Path, damage: Damage, root: Path) -> None:
    data = bytearray(file.read_bytes())
    start = damage.place % len(data)
    data[start : start + len(damage.junk)] = damage.junk
    file.write_bytes(data)


def link_to(target: str) -> Callable:
    def link(file: Path, damage: Damage, root: Path) -> None:
        file.unlink()
        file.symlink_to(target.format(file.name))

    return link


def swap(file: Path, damage: Damage, root: Path) -> Path:
    other = counted_round(files_in(root), damage.place)
    mine, others = file.read_bytes(), other.read_bytes()
    file.write_bytes(others)
    other.write_bytes(mine)
    return other


def copy_beside(file: Path, damage: Damage, root: Path) -> Path:
    """Under another name that its dataset knows too, where there is one."""
    if ".csv" in file.name:
        name = file.name.removesuffix(".gz") if file.suffix == ".gz" else file.name + ".gz"
    else:
        name = re.sub(r"\d{4,}(?=\D*$)", lambda number: f"{98:0{len(number[0])}}", file.name)
    assume(name != file.name)
    return Path(shutil.copy(file, file.with_name(name)))


ANY_FILE = {
    "gone": lambda file, damage, root: file.unlink(),
    "empty": lambda file, damage, root: file.write_bytes(b""),
    "cut short": cut_short,
    "overwritten": overwrite,
    "junk": lambda file, damage, root: file.write_bytes(damage.junk),
    "a folder": lambda file, damage, root: put_folder(file),
    "a link to nothing": link_to("nothing"),
    "a link to itself": link_to("{}"),
    "a link out": lambda file, damage, root: lead_out(file, root),
    "swapped": swap,
    "copied": copy_beside,
}
PICTURES = {"a bomb": lambda file, damage, root: bomb(file, counted_round([9000, 12_000, 50_000], damage.place))}


# --- what can happen to a text -----------------------------------------------------------------------------------


def in_rows(change: Callable[[list[str], Damage], object]) -> Callable:
    """A damage that changes the list of a text's rows."""

    def damage_text(file: Path, damage: Damage, root: Path) -> None:
        rows = text_of(file).splitlines()
        change(rows, damage)
        write_text(file, "".join(f"{row}\n" for row in rows).encode())

    return damage_text


def in_bytes(change: Callable[[str], bytes]) -> Callable:
    """A damage that writes the same text in another way."""
    return lambda file, damage, root: write_text(file, change(text_of(file)))


def text_of(file: Path) -> str:
    data = file.read_bytes()
    return (gzip.decompress(data) if file.suffix == ".gz" else data).decode()


def write_text(file: Path, data: bytes) -> None:
    file.write_bytes(gzip.compress(data, 1) if file.suffix == ".gz" else data)


def change_word(rows: list[str], damage: Damage, separators: str = r",\s") -> None:
    row = damage.row % len(rows)
    word = counted_round(list(re.finditer(f"[^{separators}]+", rows[row])), damage.place)
    rows[row] = rows[row][: word.start()] + damage.word + rows[row][word.end() :]


def put_quote(rows: list[str], damage: Damage) -> None:
    row = damage.row % len(rows)
    place = damage.place % (len(rows[row]) + 1)
    rows[row] = rows[row][:place] + '"' + rows[row][place:]


def swap_rows(rows: list[str], damage: Damage) -> None:
    one, other = damage.row % len(rows), damage.place % len(rows)
    rows[one], rows[other] = rows[other], rows[one]


def add_column(rows: list[str], damage: Damage) -> None:
    rows[:] = [f"{row},{damage.word if i == 0 else i}" for i, row in enumerate(rows)]


def add_field(rows: list[str], damage: Damage) -> None:
    rows[damage.row % len(rows)] += ("," if "," in rows[0] else " ") + damage.word


TEXTS = {
    "a row gone": in_rows(lambda rows, damage: rows.pop(damage.row % len(rows))),
    "a row twice": in_rows(lambda rows, damage: rows.insert(damage.place % len(rows), counted_round(rows, damage.row))),
    "two rows swapped": in_rows(swap_rows),
    "another word": in_rows(change_word),
    "another field": in_rows(lambda rows, damage: change_word(rows, damage, ",")),
    "a field more": in_rows(add_field),
    "a column more": in_rows(add_column),
    "a quote": in_rows(put_quote),
    "a blank row": in_rows(lambda rows, damage: rows.insert(damage.row % len(rows), "")),
    "a mark": in_bytes(lambda text: text.encode("utf-8-sig")),
    "UTF-16": in_bytes(lambda text: text.encode("utf-16")),
    "UTF-16 without a mark": in_bytes(lambda text: text.encode("utf-16-le")),
    "UTF-32": in_bytes(lambda text: text.encode("utf-32")),
    "Latin 1": in_bytes(lambda text: text.replace("0", "é", 1).encode("latin-1")),
    "CRLF": in_bytes(lambda text: text.replace("\n", "\r\n").encode()),
    "CR": in_bytes(lambda text: text.replace("\n", "\r").encode()),
    "no last line end": in_bytes(lambda text: text.strip().encode()),
}
KINDS = {**ANY_FILE, **PICTURES, **TEXTS}
WORDS = (
    *("", " ", "0", "1", "3", "7", "8", "9", "10", "-1", "256", "1.5", "3.0", "nan", "inf", "1e400", "9" * 20, "0x1"),
    *("é", "٣", "\0", "3\0", '"', "1_0", "True", "x" * 300, "../x.png", "Training", "PrivateTest", " Usage"),
    *("fer0000001.png", "fer٠٠٠٠٠٠١.png", "train_00002.jpg"),
)
DAMAGES = st.builds(
    Damage,
    kind=st.sampled_from(sorted(KINDS)),
    group=st.integers(0, 3),
    file=st.integers(0, 99),
    row=st.integers(0, 99),
    place=st.integers(-99, 99_999),
    word=st.sampled_from(WORDS) | st.text(max_size=4),
    junk=st.binary(min_size=1, max_size=8),
)

# Damage that leaves a tree as good as any: (kind, dataset, layout and file). It may change what is loaded.
UNDETECTABLE = {
    "gone": r"_emotion\.txt$|rafdb kaggle .*train_00070",  # a sequence without a label; the last picture
    "junk": r"_emotion\.txt$",  # a digit
    "cut short": r"fer2013 (csv|icml) |ferplus icml icml",  # at the end of a row, or in the last pixel
    "overwritten": r"\.(png|jpg|csv|txt)$",  # another pixel, another vote
    "swapped": r"\.(png|jpg|txt)$",  # two pictures, two labels
    "a row gone": r"fer2013 ",
    "a row twice": r"fer2013 ",
    "two rows swapped": r"fer2013 |fer2013\.csv|icml_face_data\.csv|label\.csv",  # faces swapped, or in another order
    "another word": r".",  # where VALID_WORD
    "another field": r".",
}
VALID_WORD = r"\s*(\+?\d+(\.0*)?|Training|PublicTest|PrivateTest|)\s*"  # a vote, code, pixel; no image name


def undetectable(damage: Damage, where: str) -> bool:
    if damage.kind in ("another word", "another field") and not re.fullmatch(VALID_WORD, damage.word, re.ASCII):
        return False
    return bool(re.search(UNDETECTABLE.get(damage.kind, "(?!)"), where))


# --- the property ------------------------------------------------------------------------------------------------


def counted_round(things: list, number: int):
    return things[number % len(things)]


def files_in(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def inflict(damage: Damage, root: Path) -> list[Path]:
    """Damage one file of the tree that this can happen to; returns the files that are not as they were."""
    files = files_in(root)
    if damage.kind not in ANY_FILE:
        files = [file for file in files if (file.suffix in (".png", ".jpg")) == (damage.kind in PICTURES)]
    assume(files)
    ending = counted_round(sorted({file.suffix for file in files}), damage.group)
    file = counted_round([file for file in files if file.suffix == ending], damage.file)
    other = KINDS[damage.kind](file, damage, root)
    return [file, other] if isinstance(other, Path) else [file]


def load_all(name: str, layout: str, root: Path) -> list[dict]:
    """Every split, CK+ with 8 classes too where it has them."""
    options = [{}, {"classes": 8}] if layout == "official" and name == "ckplus" else [{}]
    sets = [load(name, split, root=root, **o) for o in options for split in ("train", "validation", "test")]
    return [vars(faces) | {"pictures": faces.images} for faces in sets]


def same(some: list[dict], others: list[dict]) -> bool:
    pairs = [(one[key], other[key]) for one, other in zip(some, others, strict=True) for key in one]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def check_message(message: str, damage: Damage, touched: list[Path], root: Path) -> None:
    """It names a damaged file (a folder where the file is gone or too many), its row and a way out."""
    is_there = all(file.is_file() for file in touched) and damage.kind != "copied"
    assert any(str(path) in message for path in (touched if is_there else [root])), message
    assert re.search(WAYS_OUT, message), message
    if damage.kind == "another word" and damage.word.isprintable() and '"' not in damage.word:
        rows = len(text_of(touched[0]).splitlines())
        named = re.findall(r"(?:row|line) (\d+)", message)
        assert str(damage.row % rows + 1) in named or re.search(NO_ROW, message), message


@contextmanager
def tree_of(whole: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """A copy of a tree and an empty cache of its own."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_CACHE", f"{folder}/cache")
        yield Path(shutil.copytree(whole, f"{folder}/{name}")), Path(folder, "cache")


@pytest.fixture(scope="module", params=LAYOUTS, ids=" ".join)
def original(request, tmp_path_factory):
    name, layout = request.param
    root = tmp_path_factory.mktemp(layout) / name
    WRITERS[name](root, layout)
    with tree_of(root, name) as (copy, _):
        return Original(name, layout, root, load_all(name, layout, copy))


def attempt(original: Original, root: Path) -> tuple[list[dict] | DataError, str]:
    """What loading gives, faces or an error, and the warnings: there may be none but the loaders' own."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            outcome = load_all(original.name, original.layout, root)
        except DataError as error:
            outcome = error
    for warning in warned:
        assert warning.category is UserWarning and re.search(WARNINGS, str(warning.message)), str(warning)
    return outcome, "\n".join(str(warning.message) for warning in warned)


@pytest.mark.filterwarnings("ignore:CK")
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(damage=DAMAGES, warm=st.booleans())
def test_damage_is_named_or_does_no_harm_and_a_mended_tree_loads(original, damage, warm):
    with tree_of(original.root, original.name) as (root, cache):
        if warm:
            load_all(original.name, original.layout, root)
        touched = inflict(damage, root)
        before = state_of(root)
        outcome, warned = attempt(original, root)
        if isinstance(outcome, DataError):
            check_message(str(outcome), damage, touched, root)
            assert warm or not list(cache.glob("*"))
        else:
            where = f"{original.name} {original.layout} {touched[0].relative_to(root)}"
            assert same(outcome, original.faces) or re.search(GAPS, warned) or undetectable(damage, where)
        assert state_of(root) == before and not list(cache.glob("*.part"))
        shutil.rmtree(root)
        shutil.copytree(original.root, root)
        assert same(load_all(original.name, original.layout, root), original.faces)

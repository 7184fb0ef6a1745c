"""Whatever happens to a file of a dataset, loading it names the damage or gives the same faces."""

import gzip
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import state_of

from fervt_lib.cli import main
from fervt_lib.data import DataError, load

LAYOUTS = ["fer2013 csv", "ferplus csv", "ferplus pictures", "ckplus official", "ckplus ck48", "rafdb official"]
REWRITTEN = {  # other ways to write a text file, and the layouts that allow them
    "a mark and CRLF": (lambda text: ("\ufeff" + text.strip()).replace("\n", "\r\n").encode(), LAYOUTS),
    "UTF-16 and blanks": (lambda text: (text.replace("\n", " \t\n") + " \n\n").encode("utf-16"), LAYOUTS),
    "gzip, twice": (lambda text: gzip.compress(text[:9].encode()) + gzip.compress(text[9:].encode()), LAYOUTS[:3]),
    "another column": (lambda text: text.replace(",", " , ").replace("\n", ", more\n").encode(), LAYOUTS[:2]),
}
OF_TEXT = ("row gone", "row twice", "word")
WORDS = ["", "0", "3", "8", "11", "-1", "256", "1.5", "nan", "é", '"', "x", "../x.png", "PrivateTest", "fer0000001.png"]
UNDETECTABLE = re.compile(  # by counting and joining: kind, word, dataset and file of damage that may change faces
    "gone .* ckplus (Emotion|cohn).*"  # one label or frame fewer
    "|cut .* fer2013 .*|row (gone|twice) .* fer2013 .*"  # one face fewer or more, with no votes to join
    r"|byte .*|word (|\d+|PrivateTest) .*"  # a different pixel, vote, label or Usage; no name
)
pytestmark = pytest.mark.filterwarnings("ignore:CK")


def load_all(name: str, root: Path) -> list[torch.Tensor]:
    sets = [load(name, split, root=root) for split in ("train", "validation", "test")]
    return [tensor for faces in sets for tensor in (faces.images, faces.raw_votes, faces.votes, faces.rows)]


@pytest.mark.parametrize(("way", "layout"), [(way, layout) for way in REWRITTEN for layout in REWRITTEN[way][1]])
def test_other_ways_to_write_a_text_are_read(tree, way, layout):
    name, layout = layout.split()
    root = tree(name, layout)
    expected = load_all(name, root)
    for file in [*root.rglob("*.csv"), *root.rglob("*.txt")]:
        file.write_bytes(REWRITTEN[way][0](file.read_text()))
    assert all(map(torch.equal, load_all(name, root), expected))


def damaged(data: bytes, kind: str, row: int, at: int, word: str) -> bytes:
    """A file's content after one kind of damage; numbers wrap around."""
    if kind not in OF_TEXT:
        at %= len(data)
        return data[:at] + (bytes([row % 256]) + data[at + 1 :] if kind == "byte" else b"")
    rows = data.decode().splitlines(keepends=True)
    i = row % len(rows)
    words = re.split(r"([,\s])", rows[i])
    words[at % len(words) // 2 * 2] = word  # every second one is a separator
    rows[i : i + 1] = {"row gone": [], "row twice": [rows[i]] * 2, "word": ["".join(words)]}[kind]
    return "".join(rows).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_is_named_or_does_no_harm(tree, layout, tmp_path):
    name, layout = layout.split()
    sound, root, number = tree(name, layout), tmp_path / name, st.integers(0, 99_999)
    expected, files = load_all(name, sound), sorted(path for path in sound.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix in (".csv", ".txt")]

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(["gone", "cut", "byte", *(OF_TEXT if texts else ())]), *[number] * 3, st.sampled_from(WORDS))
    def check(kind, which, row, at, word):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(sound, root)
        choice = texts if kind in OF_TEXT or (texts and which % 2) else files
        file = root / choice[which % len(choice)].relative_to(sound)
        file.unlink() if kind == "gone" else file.write_bytes(damaged(file.read_bytes(), kind, row, at, word))
        before = state_of(root)
        try:
            same = all(map(torch.equal, load_all(name, root), expected))
            assert same or UNDETECTABLE.fullmatch(f"{kind} {word} {name} {file.relative_to(root)}")
        except DataError as error:
            assert str(root) in str(error)
        assert state_of(root) == before and not list((tmp_path / "cache").glob("*.part"))

    check()


@pytest.mark.parametrize("layout", [*LAYOUTS, "fer2013 folders", "rafdb kaggle", "rafdb flat"])
def test_a_pipe_among_the_files_is_named_and_nobody_waits_for_it(tree, layout):
    name, layout = layout.split()
    root = tree(name, layout)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name[0] not in ".T")
    for file in (files[0], files[-2:][0]):  # the very last frame of CK+ is not read
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(DataError, match="is a pipe or a device|is there, but not|no FER2013 in|must hold"):
            load(name, root=root)
        file.unlink()
        file.write_bytes(content)
    load(name, root=root)


@pytest.mark.parametrize("layout", [*LAYOUTS, "fer2013 folders", "rafdb kaggle", "rafdb flat"])
def test_a_dataset_one_level_deeper_is_pointed_at(tree, layout, tmp_path, capsys):
    name, layout = layout.split()
    root = tree(name, layout)
    root.rename(deeper := tmp_path / "archive-2")
    (tmp_path / "outer").mkdir()
    deeper.rename(deeper := tmp_path / "outer" / "archive")
    (deeper.parent / "another").mkdir()
    with pytest.raises(DataError, match=f"One level down there is one: use root='{deeper}'"):
        load(name, root=deeper.parent)
    assert load(name, root=deeper)
    with pytest.raises(SystemExit):
        main(["data", name, str(deeper.parent)])
    assert f"fault: {deeper} holds it, one level down" in capsys.readouterr().out

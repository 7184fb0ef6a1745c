"""Whatever happens to a file of a dataset, loading it names the damage or gives the same faces."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import WRITERS, state_of

from fervt_lib.data import DataError, load

LAYOUTS = ["fer2013 csv", "ferplus csv", "ferplus pictures", "ckplus official", "ckplus ck48"]
LAYOUTS += ["rafdb official", "rafdb kaggle"]
KINDS = ["gone", "swapped", "cut", "byte", "row gone", "row twice", "rows swapped", "word"]
WORDS = ["", "0", "3", "8", "11", "-1", "256", "1.5", "nan", "é", '"', "x", "../x.png", "PrivateTest", "fer0000001.png"]
UNDETECTABLE = re.compile(  # by counting and joining: kind, word, dataset and file of what may change the faces
    r"gone .* (ckplus (Emotion|cohn)|rafdb DATASET).*"  # a label or a picture fewer
    r"|cut .* fer2013 .*"  # at the end of a row
    r"|byte .*|swapped .*(png|jpg|txt)"  # another pixel or vote; two pictures, two labels
    r"|row (gone|twice) .* fer2013 .*|rows swapped .*(fer2013|label)\.csv"
    r"|word (|\d+|PrivateTest) .*"  # another vote, label, pixel or Usage; no name
)


def damaged(data: bytes, kind: str, row: int, at: int, word: str) -> bytes:
    """The content of a file after one damage; numbers are counted round."""
    if kind in ("cut", "byte"):
        at %= len(data)
        return data[:at] if kind == "cut" else data[:at] + bytes([row % 256]) + data[at + 1 :]
    rows = data.decode().splitlines(keepends=True)
    i, j = row % len(rows), at % len(rows)
    if kind == "row gone":
        del rows[i]
    elif kind == "row twice":
        rows.insert(j, rows[i])
    elif kind == "rows swapped":
        rows[i], rows[j] = rows[j], rows[i]
    else:
        words = re.split(r"([,\s])", rows[i])  # every second one is a separator
        words[at % len(words) // 2 * 2] = word
        rows[i] = "".join(words)
    return "".join(rows).encode()


def load_all(name: str, root: Path) -> list[torch.Tensor]:
    sets = [load(name, split, root=root) for split in ("train", "validation", "test")]
    return [tensor for faces in sets for tensor in (faces.images, faces.raw_votes, faces.votes, faces.rows)]


@pytest.mark.filterwarnings("ignore:CK")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_is_named_or_does_no_harm(layout, tmp_path, monkeypatch):
    name, layout = layout.split()
    sound, root, cache = tmp_path / "sound", tmp_path / name, tmp_path / "cache"
    WRITERS[name](sound, layout)
    monkeypatch.setenv("FERVT_CACHE", str(cache))
    expected, number = load_all(name, sound), st.integers(0, 99_999)
    files = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix in (".csv", ".txt")]

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(KINDS if texts else KINDS[:4]), number, number, number, st.sampled_from(WORDS))
    def check(kind, which, row, at, word):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(sound, root)
        files_hit = files if kind in KINDS[:4] else texts
        file, other = root / files_hit[which % len(files_hit)], root / files_hit[at % len(files_hit)]
        data, others = file.read_bytes(), other.read_bytes()
        if kind == "swapped":
            file.write_bytes(others)
            other.write_bytes(data)
        elif kind == "gone":
            file.unlink()
        else:
            file.write_bytes(damaged(data, kind, row, at, word))
        before = state_of(root)
        try:
            same = all(map(torch.equal, load_all(name, root), expected))
            assert same or UNDETECTABLE.fullmatch(f"{kind} {word} {name} {file.relative_to(root)}")
        except DataError as error:
            assert str(root) in str(error)
        assert state_of(root) == before and not list(cache.glob("*.part"))

    check()

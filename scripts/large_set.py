"""What a large set costs: `python scripts/large_set.py --sequences 100000` makes 300,000 pictures and prepares them.

The pictures are gray noise in the layout of CK+48. Printed are the peak memory of the process that prepares them,
beside that of one which prepares a hundredth of them, and how fast batches are read and augmented from the disk,
against the same faces in memory. The operating system keeps the cache's pages in memory then, as it does while
training. Everything is made in a temporary folder and removed.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler

from fervt_lib.data import Augment, Faces, load
from fervt_lib.data.labels import CK48_FOLDERS

PICTURES = 1000  # different ones
ROUNDS = 5


def write_tree(root: Path, sequences: int) -> None:
    """Three frames of each sequence, a hundred sequences a subject, the expressions in turn."""
    noise = torch.randint(0, 256, (PICTURES, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = list(CK48_FOLDERS)
    for name in names:
        (root / name).mkdir(parents=True)
    for i in range(sequences):
        for frame in (1, 2, 3):
            picture = root / names[i % len(names)] / f"S{i // 100:03}_{i % 100:03}_{frame:08}.png"
            Image.fromarray(noise[(3 * i + frame) % PICTURES].numpy()).save(picture, compress_level=1)


def prepare(root: Path) -> tuple[float, float]:
    """Fill the cache; returns seconds, and the peak memory of this process in MB, the libraries included."""
    start = time.perf_counter()
    load("ckplus", "all", root=root)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare_alone(root: Path) -> tuple[float, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(prepare, root).result()


def seconds_to_read(faces: Faces, batches: int, seed: int) -> float:
    """Draw and augment random batches of 128, as a training does."""
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(faces, num_samples=128 * batches, generator=generator)
    augment, start = Augment(), time.perf_counter()
    for images, _ in DataLoader(faces, 128, sampler=sampler, collate_fn=lambda batch: batch):
        augment(images, generator)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000, help="at most 100,000; 3 pictures each")
    parser.add_argument("--batches", type=int, default=400, help="read in each round")
    args = parser.parse_args()
    if not 100 <= args.sequences <= 100_000:
        parser.error("100 to 100,000 sequences")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FERVT_CACHE"] = f"{folder}/cache"
        for sequences in (args.sequences // 100, args.sequences):
            root = Path(folder) / str(sequences)
            write_tree(root, sequences)
            seconds, peak = prepare_alone(root)
            print(f"{3 * sequences:,} pictures prepared in {seconds:.1f} s, peak memory {peak:,.0f} MB", flush=True)
        on_disk = load("ckplus", "all", root=root)
        in_memory = replace(on_disk, pictures=on_disk.images)
        speeds = {}
        for name, faces in {"disk": on_disk, "memory": in_memory}.items():
            seconds = min(seconds_to_read(faces, args.batches, seed) for seed in range(ROUNDS))
            speeds[name] = 128 * args.batches / seconds
            print(f"from {name}: {speeds[name]:,.0f} faces/s read and augmented")
        print(f"disk over memory: {speeds['disk'] / speeds['memory']:.3f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# A visit to a GPU of under nine minutes: bash scripts/gpu_run.sh FACES WHEELS OUT
# FACES holds the packed faces with unpack.py, or already ferplus/. WHEELS holds what the machine lacks:
#   pip wheel --no-deps -w WHEELS . && pip download -d WHEELS tyro pytest
# OUT gets the records, which data/results takes as they are.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
faces="$1" wheels="$2" out="$3"
mkdir -p "$out"
python -m pip install --quiet --no-index --find-links "$wheels" tyro pytest
python -m pip install --quiet --no-index --no-deps "$wheels"/fervt_lib-*.whl # its commands; the code is this folder's
if [ -d "$faces/ferplus" ]; then
    export FERVT_DATA="$faces"
else
    python "$faces/unpack.py" /tmp/faces "$faces" /tmp && export FERVT_DATA=/tmp/faces
fi
export FERVT_CACHE=/tmp/cache
# Each part under a limit of its own, so that one that hangs does not cost the others.
timeout 120 python -m pytest -q tests/gpu -p no:cacheprovider > "$out/test-gpu.txt" 2>&1; tail -3 "$out/test-gpu.txt"
timeout 100 python -m fervt_lib benchmark --out "$out/benchmark-gpu.json" --scaling > "$out/benchmark.txt" 2>&1; tail -30 "$out/benchmark.txt"
for seed in 0 1 2; do
    run="/tmp/runs/compact-$seed"
    timeout 100 python -m fervt_lib train --protocol argmax --epochs 40 --batch-size 256 --seed "$seed" --folder "$run" \
        > "$out/train-$seed.txt" 2> "$out/train-$seed.err"
    tail -2 "$out/train-$seed.txt"
    cp "$run/model.safetensors" "$out/compact-$seed.safetensors" && cp "$run/model.json" "$out/compact-$seed.json"
done

#!/usr/bin/env bash
# A visit to a GPU of under nine minutes: bash scripts/gpu_run.sh PART FACES WHEELS OUT
#   PART    check     the tests that need CUDA, and the benchmark
#           weights   compact on all votes with five seeds, wide with three, then a compact student of the wide ones
#           ablation  every variant at 40 epochs with five seeds, the tiny preset first
#           paper     the paper's preset at 224², whole and without its low-level part
#   FACES   the packed faces with unpack.py, or already ferplus/
#   WHEELS  what the machine lacks: pip wheel --no-deps -w WHEELS . && pip download -d WHEELS tyro pytest
#   OUT     gets the records, which data/results takes as they are, and weights
# A part goes on where the visit before stopped: bring what it left in OUT back into data/results, weights into OUT.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
part="$1" faces="$2" wheels="$3" out="$4"
deadline=$((SECONDS + ${LIMIT:-500}))
mkdir -p "$out"
python -m pip install --quiet --no-index --find-links "$wheels" tyro pytest
python -m pip install --quiet --no-index --no-deps "$wheels"/fervt_lib-*.whl # its commands; the code is this folder's
if [ -d "$faces/ferplus" ]; then
    export FERVT_DATA="$faces"
else
    python "$faces/unpack.py" /tmp/faces "$faces" /tmp && export FERVT_DATA=/tmp/faces
fi
export FERVT_CACHE=/tmp/cache

# A command under the time that is left, with its output in OUT/NAME.txt; not begun where SECONDS_NEEDED are not left.
timed() { # NAME SECONDS_NEEDED COMMAND…
    local name="$1" left=$((deadline - SECONDS)) needed="$2"
    shift 2
    [ "$left" -gt "$needed" ] || { echo "$name: left for the next visit"; return 1; }
    timeout "$left" "$@" > "$out/$name.txt" 2> "$out/$name.err"
    local status=$?
    tail -3 "$out/$name.txt"
    return $status
}

# A run of `fervt train` whose weights go to OUT; one that is there already is not made again.
trained() { # NAME SECONDS_NEEDED OPTIONS…
    local name="$1" needed="$2"
    shift 2
    [ ! -f "$out/$name.safetensors" ] || { echo "$name: is there"; return 0; }
    timed "$name" "$needed" python -m fervt_lib train --protocol argmax --batch-size 256 --folder "/tmp/runs/$name" "$@" || return 1
    cp "/tmp/runs/$name/model.safetensors" "$out/$name.safetensors" && cp "/tmp/runs/$name/model.json" "$out/$name.json"
}

ablated() { # PRESET SECONDS_NEEDED SEED OPTIONS… : one run a call, so that each stops at the deadline by itself
    local preset="$1" needed="$2" seed="$3"
    shift 3
    timed "ablate-$preset-$1-$seed" "$needed" python -m fervt_lib ablate "$@" --preset "$preset" --seeds "$seed" --runs /tmp/runs
}

case "$part" in
check)
    timed test-gpu 60 python -m pytest -q tests/gpu -p no:cacheprovider
    timed benchmark 60 python -m fervt_lib benchmark --out "$out/benchmark-gpu.json" --scaling
    ;;
weights)
    for seed in 0 1 2; do trained "wide-$seed" 150 --preset wide --epochs 50 --peak-lr 1.5e-3 --seed "$seed"; done
    teachers=("$out"/wide-[0-9].safetensors)
    [ "${#teachers[@]}" -lt 3 ] || trained student-0 150 --epochs 80 --teachers "${teachers[@]}"
    for seed in 0 1 2 3 4; do trained "compact-$seed" 70 --epochs 40 --seed "$seed"; done
    [ "${#teachers[@]}" -lt 3 ] || timed ensemble 40 python -m fervt_lib evaluate --split validation --ensemble --checkpoint "${teachers[@]}"
    ;;
ablation)
    everything=(reference equal_weights no_low_level bare_cnn no_transformer level_tokens hard_labels all_votes scrambled_map
        dark_attention dense_split shared_fusion no_normalisation shared_levels upside_down no_warm_up fixed_scale
        level_equal deep deep_equal hard_equal grid_of_3)
    for seed in 0 1 2 3 4; do
        for name in "${everything[@]}"; do ablated tiny 45 "$seed" "$name" --epochs 40; done
        for name in reference equal_weights no_low_level bare_cnn; do
            ablated compact 70 "$seed" "$name" --epochs 40 --batch-size 256
        done
    done
    ;;
paper)
    for name in reference no_low_level; do ablated paper 200 0 "$name" --epochs "${EPOCHS:-20}" --batch-size 128; done
    ;;
*)
    echo "$part: check, weights, ablation or paper" >&2
    exit 2
    ;;
esac
find data/results -newer "$wheels" -name '*-*-*-*.json' -exec cp {} "$out" \;

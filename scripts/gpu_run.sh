#!/usr/bin/env bash
# Use a GPU machine for less than nine minutes: bash scripts/gpu_run.sh "PART …" FACES WHEELS OUT
#   PART    check     the tests that need CUDA, and the benchmark; run this part alone, because it measures times
#           weights   wide on all votes with three seeds, a compact student of these three, compact with five seeds
#           ablation  every variant at 40 epochs with five seeds; first the four that answer the question, at full size
#           paper     the paper's preset at 224², complete and without its low-level part
#   FACES   folder with the packed faces and unpack.py, or with ferplus/ already unpacked
#   WHEELS  folder with packages the machine lacks: pip download -d WHEELS --no-deps tyro docstring-parser typeguard
#   OUT     receives the weights and the records; you can copy the records to data/results as they are
# Parts run in parallel, with JOBS runs each (default 4), because one small model leaves most of a GPU idle.
# A part resumes where the previous visit stopped: copy that visit's records to data/results and its weights to OUT.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts="$1" faces="$2" wheels="$3" out="$4"
for part in $parts; do
    case "$part" in check | weights | ablation | paper) ;; *) echo "$part: check, weights, ablation or paper" >&2 && exit 2 ;; esac
done
deadline=$((SECONDS + ${LIMIT:-500}))
mkdir -p "$out" && touch "$out/.begun"
python -c "import tyro" 2> /dev/null || python -m pip install --quiet --no-index --find-links "$wheels" tyro
# the names of the library's commands; setuptools 77 or newer writes them
[ -d fervt_lib.egg-info ] || python setup.py --quiet egg_info
if [ ! -d "$faces/ferplus" ]; then
    python "$faces/unpack.py" /tmp/faces "$faces" /tmp
    faces=/tmp/faces
fi
export FERVT_DATA="$faces" FERVT_CACHE=/tmp/cache OMP_NUM_THREADS=2
python -c "from fervt_lib.data import load; [load('ferplus', split) for split in ('train', 'validation', 'test')]" # parsed once

# With this service on, the runs use the GPU at the same time rather than taking turns.
if [ "$parts" != check ] && command -v nvidia-cuda-mps-control > /dev/null; then
    nvidia-cuda-mps-control -d && trap 'echo quit | nvidia-cuda-mps-control' EXIT
    timeout 30 python -c "import torch; torch.ones(1).cuda()" || { echo quit | nvidia-cuda-mps-control; trap - EXIT; }
fi

# Run a command within the time left and write its output to OUT/NAME.txt; skip it if less than SECONDS_NEEDED remain.
timed() { # NAME SECONDS_NEEDED COMMAND…
    local name="$1" left=$((deadline - SECONDS)) needed="$2" begun=$SECONDS
    shift 2
    [ "$left" -gt "$needed" ] || { echo "$name: left for the next visit"; return 1; }
    timeout "$left" "$@" > "$out/$name.txt" 2> "$out/$name.err"
    local status=$?
    echo "$name: $((SECONDS - begun)) s, status $status: $(tail -1 "$out/$name.txt")"
    return $status
}

# Start a command as soon as fewer than JOBS others of this part are running.
pooled() {
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-4}" ]; do wait -n; done
    "$@" &
}

# Run `fervt train` and copy its weights to OUT; skip the run if they are there already.
trained() { # NAME SECONDS_NEEDED OPTIONS…
    local name="$1" needed="$2"
    shift 2
    [ ! -f "$out/$name.safetensors" ] || { echo "$name: already there"; return 0; }
    timed "$name" "$needed" python -m fervt_lib train --protocol argmax --batch-size 256 --folder "/tmp/runs/$name" "$@" || return 1
    cp "/tmp/runs/$name/model.json" "$out/$name.json" && cp "/tmp/runs/$name/model.safetensors" "$out/$name.safetensors"
}

ablated() { # PRESET SECONDS_NEEDED SEEDS NAMES OPTIONS…: one run per call, so each stops at the deadline on its own
    local preset="$1" needed="$2" seeds="$3" names="$4" seed name
    shift 4
    for seed in $seeds; do
        for name in $names; do
            [ ! -f "data/results/$preset-$name-${EPOCHS:-40}-$seed.json" ] || continue
            pooled timed "ablate-$preset-$name-$seed" "$needed" python -m fervt_lib ablate "$name" --preset "$preset" \
                --seeds "$seed" --epochs "${EPOCHS:-40}" --runs /tmp/runs "$@"
        done
    done
}

weights() {
    local seed teachers student
    for seed in 0 1 2; do
        pooled trained "wide-$seed" 250 --preset wide --epochs 50 --peak-lr 1.5e-3 --seed "$seed"
    done
    wait
    teachers=("$out"/wide-[0-2].safetensors)
    if [ "${#teachers[@]}" = 3 ]; then
        student=(--start fervt_lib/weights/compact-ferplus.safetensors --teacher-share 0.7 --teachers "${teachers[@]}")
        trained student-0 "${NEEDED:-70}" --augmentation strong --epochs "${STUDENT:-40}" --peak-lr 1e-3 "${student[@]}"
        timed ensemble 30 python -m fervt_lib evaluate --split validation --ensemble --checkpoint "${teachers[@]}"
    fi
    for seed in 0 1 2 3 4; do pooled trained "compact-$seed" "${NEEDED:-70}" --epochs 40 --seed "$seed"; done
}

ablation() {
    local needed="${NEEDED:-70}" four="reference equal_weights no_low_level bare_cnn"
    local others="no_transformer level_tokens hard_labels all_votes scrambled_map dark_attention dense_split shared_fusion
        no_normalisation shared_levels upside_down no_warm_up fixed_scale level_equal deep deep_equal hard_equal grid_of_3"
    ablated compact "$needed" "0 1 2" "$four" --batch-size 256
    ablated tiny "$needed" "0 1 2" "$four"
    ablated compact "$needed" "3 4" "$four" --batch-size 256
    ablated tiny "$needed" "0 1 2 3 4" "$four $others"
}

paper() { EPOCHS="${EPOCHS:-20}" ablated paper 200 0 "reference no_low_level" --batch-size 128; }

check() {
    timed test-gpu 60 python -m pytest -q tests/gpu -p no:cacheprovider -k "not speeds" # the next line measures speed
    timed benchmark 60 python -m fervt_lib benchmark --out "$out/benchmark-gpu.json"
}

for part in $parts; do { "$part"; wait; } & done
wait
find data/results -newer "$out/.begun" -name '*-*-*-*.json' -exec cp {} "$out" \;

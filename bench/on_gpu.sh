#!/usr/bin/env bash
# On a bare CUDA machine with PyTorch: training for some minutes, the model's tests on the device beside it, then the
# speed there of the weights that came out.
#
#   bench/on_gpu.sh [MINUTES] [further arguments of model.training.train]
#
# Run from the repository's root. Nothing is installed: Python with torch, numpy, pillow, safetensors, tqdm and pytest
# is enough. Before, on a machine with the project installed: python -m bench.pack_for_gpu --imagery FOLDER, which
# fills .gpu/ with the base picture and imagery; carry that folder along. Without MINUTES, or with 0, nothing is trained.
# Results are there as soon as they are made, so that a lease that ends early loses little.
#
#   OUT      folder of the results (default runs/gpu): tests.log, gpu.md, tiles.md, training.log, log.jsonl,
#            ema.safetensors and, with --keep-every, ema-STEP.safetensors
#   PYTHON   the Python to use (default python3)
#   DEVICE   cuda (default) or cuda:N; cpu to try the script out
#   METAEARTH_BASE_PICTURE, IMAGERY: other places than .gpu/bmng.jpg and .gpu/imagery
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-0}
shift || true
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
out=${OUT:-runs/gpu}
imagery=${IMAGERY:-.gpu/imagery}
mkdir -p "$out"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1

if [ "${device#cuda}" != "$device" ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "PyTorch sees no CUDA device on this machine: run this on one with a GPU." >&2
  exit 2
fi
if [ -z "${METAEARTH_BASE_PICTURE:-}" ] && [ -f .gpu/bmng.jpg ]; then
  export METAEARTH_BASE_PICTURE=$PWD/.gpu/bmng.jpg
fi
if [ "$minutes" != 0 ] && [ ! -f "$imagery/manifest.csv" ]; then
  echo "There is no $imagery/manifest.csv: run python -m bench.pack_for_gpu --imagery FOLDER first, or set IMAGERY." >&2
  exit 2
fi

failed=0
training=
weights=()
if [ "$minutes" != 0 ]; then
  echo "== training for $minutes minutes"
  # Crops come from other processes through shared memory, which some machines hardly have.
  workers=$(($(nproc) > 2 ? $(nproc) - 2 : 0))
  [ "$(df --output=avail -m /dev/shm | tail -n 1)" -gt 8000 ] || workers=0
  # Amplitudes are measured afterwards, at home.
  "$python" -m model.training.train --imagery "$imagery" --out "$out" --minutes "$minutes" --device "$device" \
    --workers "$workers" --calibration 0 "$@" >"$out/training.log" 2>&1 &
  training=$!
fi

echo "== tests of the model on $device"
# The shared conftest.py is the server's: it needs FastAPI, which a bare machine lacks.
TEST_DEVICE=$device "$python" -m pytest --noconftest -p no:cacheprovider -q --durations=5 \
  tests/test_noise.py tests/test_halo.py tests/test_planet.py tests/test_training.py tests/test_energy.py \
  tests/test_critic.py >"$out/tests.log" 2>&1 || failed=1
tail -n 12 "$out/tests.log"

if [ -n "$training" ]; then
  wait "$training" || failed=1
  tr '\r' '\n' <"$out/training.log" | tail -n 2
  weights=(--weights "$out/ema.safetensors")
fi

echo "== speed"
"$python" -m bench.gpu --device "$device" --out "$out/gpu.md" --areas 3 --steps 1 2 4 8 "${weights[@]}" || failed=1
"$python" -m bench.tiles --device "$device" --out "$out/tiles.md" "${weights[@]}" || failed=1
exit "$failed"

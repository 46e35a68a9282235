#!/usr/bin/env bash
# On a bare CUDA machine with PyTorch: the model's tests on the device, its speed there, then training for some minutes.
#
#   bench/on_gpu.sh [MINUTES] [further arguments of model.training.train]
#
# Run from the repository's root. Nothing is installed: Python with torch, numpy, pillow, safetensors, tqdm and pytest
# is enough. Before, on a machine with the project installed: python -m bench.pack_for_gpu --imagery FOLDER, which
# fills .gpu/ with the base picture and imagery; carry that folder along. Without MINUTES, or with 0, nothing is trained.
#
#   OUT      folder of the results (default runs/gpu): tests.log, gpu.md, tiles.md, training.log, log.jsonl,
#            ema.safetensors, evaluation.md
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
echo "== tests of the model on $device"
# The shared conftest.py is the server's: it needs FastAPI, which a bare machine lacks.
TEST_DEVICE=$device "$python" -m pytest --noconftest -p no:cacheprovider -q --durations=5 \
  tests/test_noise.py tests/test_grid.py tests/test_base.py tests/test_stage.py tests/test_halo.py \
  tests/test_planet.py tests/test_training.py tests/test_energy.py tests/test_critic.py 2>&1 | tee "$out/tests.log" || failed=1

echo "== speed"
"$python" -m bench.gpu --device "$device" --out "$out/gpu.md" || failed=1
"$python" -m bench.tiles --device "$device" --out "$out/tiles.md" || failed=1

if [ "$minutes" != 0 ]; then
  echo "== training for $minutes minutes"
  run=$out/run
  "$python" -m model.training.train --imagery "$imagery" --out "$run" --minutes "$minutes" --device "$device" \
    --workers "$(($(nproc) > 2 ? $(nproc) - 2 : 0))" "$@" 2>&1 | tr '\r' '\n' >"$out/training.log" || failed=1
  tail -n 2 "$out/training.log"
  # What may come back from a lent machine is limited: the checkpoint stays behind.
  "$python" -m model.training.evaluate --imagery "$imagery" --weights "$run/ema.safetensors" --out "$run" \
    --quick || failed=1
  for name in log.jsonl ema.safetensors evaluation.md; do
    cp "$run/$name" "$out/" || failed=1
  done
  rm -rf "$run"
fi
exit "$failed"

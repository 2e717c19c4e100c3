#!/usr/bin/env bash
# bash main.sh N --train [--data DIR] …: N ranks, one a GPU, or N CPU ranks where there is no GPU.
set -euo pipefail
ranks=${1:-}
if ! [[ $ranks =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: bash main.sh N --train [--data DIR] …, N the number of GPUs (or CPU ranks)" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
if [[ -z ${PYTHON:-} && -z ${VIRTUAL_ENV:-} && -x $here/.venv/bin/python ]]; then python=$here/.venv/bin/python; fi
# As many threads a rank as its share of the cores, unless the caller has decided.
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores / ranks > 0 ? cores / ranks : 1))}
exec "$python" -m torch.distributed.run --standalone --nproc-per-node="$ranks" "$here/main.py" "${@:2}"

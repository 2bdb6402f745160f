#!/bin/sh
# On a machine with an NVIDIA GPU (Linux, x86-64, driver 525 or later), from a fresh checkout: sh benchmarks/gpu/run.sh
# Makes .venv-gpu once (PYTHON= picks the interpreter, 3.11 or later; about 8 GB), tests the engine against arrow's,
# then times it. Arguments go to gpu_loader.py. What is printed is kept in benchmarks/results/gpu/.
set -eu
cd "$(dirname "$0")/../.."
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || { echo "no NVIDIA GPU here"; exit 1; }
venv=.venv-gpu
if [ ! -e $venv/.installed ]; then
    "${PYTHON:-python3}" -m venv $venv
    $venv/bin/python -m pip install --quiet --upgrade pip
    $venv/bin/python -m pip install --quiet --editable '.[gpu]' hypothesis pytest
    touch $venv/.installed
fi
out=benchmarks/results/gpu
mkdir -p $out
$venv/bin/python -m pip freeze > $out/packages.txt
nvidia-smi > $out/gpu.txt
export TF_FORCE_GPU_ALLOW_GROWTH=true PYTHONUNBUFFERED=1
for step in 'tests -m pytest -q tests/data/test_device_frames.py' "loader benchmarks/gpu/gpu_loader.py $*"; do
    name=${step%% *}
    echo "== $name"
    # The status is that of Python, not of tee.
    { $venv/bin/python ${step#* } 2>&1; echo $? > $out/status; } | tee "$out/$name.txt"
    [ "$(cat $out/status)" = 0 ] || exit 1
done

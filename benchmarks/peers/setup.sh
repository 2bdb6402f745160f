#!/bin/sh
# Makes the peers' virtual environments beside this file, one a peer since their pins exclude each other's.
# keras-rs needs none: it is one of the project's own development dependencies.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

pip=.venv-torchrec/bin/pip
[ -x $pip ] || "$PYTHON" -m venv .venv-torchrec
$pip install --quiet torch==2.13.0
# TorchRec's own requirements name the CUDA build of fbgemm.
$pip install --quiet --no-deps 'fbgemm-gpu-cpu==1.8.*' 'torchrec==1.8.*'
$pip install --quiet numpy tqdm pyre-extensions iopath tensordict torchmetrics==1.0.3
.venv-torchrec/bin/python -c 'import fbgemm_gpu, torch; print("torchrec: torch", torch.__version__)'

#!/bin/sh
# Makes the peers' virtual environments beside this file, one a peer since their pins exclude each other's: all of
# them, or those that are named (`sh setup.sh merlin`). keras-rs needs none: it is one of the project's own
# development dependencies.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

torchrec() {
    pip=.venv-torchrec/bin/pip
    [ -x $pip ] || "$PYTHON" -m venv .venv-torchrec
    $pip install --quiet torch==2.13.0
    # TorchRec's own requirements name the CUDA build of fbgemm.
    $pip install --quiet --no-deps 'fbgemm-gpu-cpu==1.8.*' 'torchrec==1.8.*'
    $pip install --quiet numpy tqdm pyre-extensions iopath tensordict torchmetrics==1.0.3
    .venv-torchrec/bin/python -c 'import fbgemm_gpu, torch; print("torchrec: torch", torch.__version__)'
}

# NVIDIA Merlin 23.8 on CPUs: NVTabular and its dataloader. It is of Python 3.11 or older, and calls what later
# releases of each of these dropped.
merlin() {
    pip=.venv-merlin/bin/pip
    [ -x $pip ] || "$PYTHON" -m venv .venv-merlin
    $pip install --quiet 'tensorflow-cpu<2.13' 'numpy<2' 'pandas<2' 'pyarrow<15' 'setuptools<70' 'fsspec<2024' \
        dask==2023.5.1 distributed==2023.5.1 'tensorflow-metadata<1.15' 'betterproto<2' 'pynvml<11.5' numba \
        npy-append-array packaging scipy tqdm
    # Merlin's own requirements name dask-cuda, which it does not use on CPUs and whose pins exclude this dask.
    $pip install --quiet --no-deps merlin-core==23.8.0 merlin-dataloader==23.8.0 nvtabular==23.8.0
    .venv-merlin/bin/python -W ignore -c 'import nvtabular; print("merlin: nvtabular", nvtabular.__version__)'
}

sklearn() {
    pip=.venv-sklearn/bin/pip
    [ -x $pip ] || "$PYTHON" -m venv .venv-sklearn
    $pip install --quiet scikit-learn
    .venv-sklearn/bin/python -c 'import sklearn; print("sklearn: scikit-learn", sklearn.__version__)'
}

# FuxiCTR's wheel has its layers and its training loop. Its models are in the model_zoo of its repository: without
# it, fuxictr_models.py puts most of them together from the layers, and the others are left out.
fuxictr() {
    pip=.venv-fuxictr/bin/pip
    [ -x $pip ] || "$PYTHON" -m venv .venv-fuxictr
    $pip install --quiet torch==2.13.0
    $pip install --quiet fuxictr==2.3.10
    [ -d .venv-fuxictr/model_zoo ] || curl --fail --silent --show-error --location \
        https://github.com/reczoo/FuxiCTR/archive/refs/tags/v2.3.10.tar.gz |
        tar -xz -C .venv-fuxictr --strip-components=1 --wildcards '*/model_zoo' ||
        echo "fuxictr: no model_zoo (it can be copied to .venv-fuxictr/model_zoo); see fuxictr_models.py"
    .venv-fuxictr/bin/python -c 'import fuxictr, torch; print("fuxictr:", fuxictr.__version__)'
}

# RecTools on PyTorch, for next-item models; it wants NumPy 1 on Python 3.11.
rectools() {
    pip=.venv-rectools/bin/pip
    [ -x $pip ] || "$PYTHON" -m venv .venv-rectools
    $pip install --quiet torch==2.13.0
    $pip install --quiet 'rectools[torch]==0.19.0'
    .venv-rectools/bin/python -W ignore -c 'import rectools, torch; print("rectools:", rectools.__version__)'
}

for peer in ${*:-torchrec merlin sklearn fuxictr rectools}; do "$peer"; done

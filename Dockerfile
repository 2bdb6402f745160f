# kerasrec with TensorFlow and Horovod, ready for one machine or several.
#
#   docker build -t kerasrec .                                         # for CPUs
#   docker build -t kerasrec:gpu --build-arg EXTRAS=gpu,horovod .      # for NVIDIA GPUs: docker run --gpus all ...
#   docker run --rm kerasrec demo --rows 100000
#   docker run --rm -v "$PWD:/work" kerasrec train clicks.parquet --target clicked --out run
#   docker run --rm -v "$PWD:/work" --entrypoint horovodrun kerasrec -np 2 python train.py
#
# TensorFlow's GPU wheels bring CUDA, so both images start from Python's. Horovod built on it exchanges through Gloo; for
# NCCL pass --build-arg BASE= an image with Python and the CUDA toolkit, and --build-arg HOROVOD_GPU_OPERATIONS=NCCL.
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG EXTRAS=cpu,horovod,remote
ARG HOROVOD_GPU_OPERATIONS=

# The compiler stays: Horovod is built here, and kerasrec compiles its kernels for the processor that it runs on.
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/kerasrec
COPY pyproject.toml README.md LICENSE ./
COPY kerasrec kerasrec
RUN python -m pip install --no-cache-dir ".[${EXTRAS}]"
RUN if [ -z "${HOROVOD_GPU_OPERATIONS}" ]; then unset HOROVOD_GPU_OPERATIONS; fi; \
    python -m kerasrec.parallel.horovod_wheel

# Two ranks must be able to talk to each other before this is an image.
RUN kerasrec doctor

ENV TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /work
ENTRYPOINT ["kerasrec"]
CMD ["--help"]

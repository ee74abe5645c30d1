# GPU image. Not built by this project's own checks: they have no container engine.
#   docker build -t mmgcp .
#   docker run --gpus all --shm-size 8g -v /data:/opt/project/data mmgcp make study
#   docker run --gpus all --shm-size 8g -v /data/report:/opt/project/work_dirs mmgcp make gpu-report
FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    UV_NO_CACHE=1 \
    MMGCP_CACHE=/opt/mmgcp-cache \
    # mmcv's CUDA operators are compiled although no GPU is visible while building.
    FORCE_CUDA=1 \
    TORCH_CUDA_ARCH_LIST="7.0;7.5;8.0;8.6;8.9;9.0"

RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential git libgl1 libglib2.0-0 make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/project
COPY . .
RUN make setup

CMD ["make", "test"]

# The recipe's requirements on top of an image that has torch; scripts/docker/build.sh names such images.
ARG BASE_IMAGE=nvcr.io/nvidia/pytorch:25.05-py3
FROM ${BASE_IMAGE}

# Of the base, torch stays and what was built with it; the rest is the lock's. PIP_CONSTRAINT takes the place of the
# file of NVIDIA's images, which holds every package at the version that it came with.
COPY requirements/runtime.txt scripts/docker/keep_torch.py /opt/bart/
RUN python /opt/bart/keep_torch.py split /opt/bart \
    && PIP_CONSTRAINT=/opt/bart/constraints.txt PIP_BREAK_SYSTEM_PACKAGES=1 \
        python -m pip install --no-cache-dir --requirement /opt/bart/requirements.txt \
    && python /opt/bart/keep_torch.py check /opt/bart

# The scripts run this instead of making a .venv.
ENV PYTHON=python
WORKDIR /workspace/bart
COPY . .

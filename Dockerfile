# Adds the recipe's requirements to an image that has torch; scripts/docker/build.sh names such images.
ARG BASE_IMAGE=nvcr.io/nvidia/pytorch:25.05-py3
FROM ${BASE_IMAGE}

# Keeps the base image's torch and what was built with it, and installs the rest of the lock. PIP_CONSTRAINT replaces
# the file of NVIDIA's images, which holds every package at the version that they bring.
COPY requirements/runtime.txt scripts/docker/keep_torch.py /opt/bart/
RUN python /opt/bart/keep_torch.py split /opt/bart \
    && PIP_CONSTRAINT=/opt/bart/constraints.txt PIP_BREAK_SYSTEM_PACKAGES=1 \
        python -m pip install --no-cache-dir --requirement /opt/bart/requirements.txt \
    && python /opt/bart/keep_torch.py check /opt/bart

# The scripts use this interpreter instead of making a .venv.
ENV PYTHON=python
WORKDIR /workspace/bart
COPY . .

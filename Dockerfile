# Adds the recipe's requirements to an image that has torch; scripts/docker/build.sh names such images.
ARG BASE_IMAGE=nvcr.io/nvidia/pytorch:25.05-py3
FROM ${BASE_IMAGE}

# Keeps the base image's torch and what was built with it, and installs the rest of the lock.
COPY requirements/runtime.txt requirements/numpy1.txt scripts/docker/keep_torch.py scripts/docker/install.sh /opt/bart/
RUN bash /opt/bart/install.sh /opt/bart

# The scripts use this interpreter instead of making a .venv.
ENV PYTHON=python
WORKDIR /workspace/bart
COPY . .

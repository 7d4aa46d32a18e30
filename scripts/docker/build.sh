#!/usr/bin/env bash
# Builds the container image.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"

usage="usage: bash scripts/docker/build.sh [BASE] [--flag ...]

  BASE        the image to build on (default: apex):
              apex     nvcr.io/nvidia/pytorch:25.05-py3, the newest one with apex.amp
              current  nvcr.io/nvidia/pytorch:25.12-py3, without apex.amp
              volta    pytorch/pytorch:2.8.0-cuda12.6-cudnn9-runtime, whose torch still runs on V100; without apex
              or the name of any image with Python 3.11 to 3.14 and torch 2.8 or newer
  --flag ...  further flags of docker build
Names the new image \$BART_IMAGE, by default bart_pyt."

read_command_line "$usage" 1 "$@"
case ${positionals[0]:-apex} in
    apex) base=nvcr.io/nvidia/pytorch:25.05-py3 ;;
    current) base=nvcr.io/nvidia/pytorch:25.12-py3 ;;
    volta) base=pytorch/pytorch:2.8.0-cuda12.6-cudnn9-runtime ;;
    *[/:]*) base=${positionals[0]} ;;
    *) die "BASE is '${positionals[0]}': it must be apex, current, volta or the name of an image (see --help)" ;;
esac
command -v docker >/dev/null || die "docker is not installed"

docker build --build-arg BASE_IMAGE="$base" --tag "${BART_IMAGE:-bart_pyt}" "${flags[@]}" "$root"

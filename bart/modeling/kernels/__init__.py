"""This project's own GPU kernels, written in Triton, and the choice between these and torch's."""

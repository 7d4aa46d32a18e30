"""Processes, machines, devices, signals and precision."""

"""What a program runs on: processes, machines, devices, signals and precision."""

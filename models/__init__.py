"""Networks, noise schedule, samplers and checkpoints. Torch only: usable on a bare GPU machine."""

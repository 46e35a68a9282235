"""Training of the denoiser: imagery, flow-matching loss, EMA, checkpoints, evaluation."""
